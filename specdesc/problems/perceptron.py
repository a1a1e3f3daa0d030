"""A small neural network with its gradient by hand, on arrays of any library."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy

from specdesc._lib import host
from specdesc._lib.typing import Array, Namespace
from specdesc.backends import Backend
from specdesc.backends.entry import enter
from specdesc.problems.sampling import minibatch


@dataclass(frozen=True)
class Perceptron:
    """f(W_1, ..., W_L) = mean_i of -log softmax(W_L relu(... relu(W_1 a_i)))[class of i].

    A chain of matrices (outputs, inputs) without biases: an input that is always 1 gives the first
    layer one. Parameters are a tree, ``{"layers": [W_1, ..., W_L]}``, for `specdesc.trees`.

    Attributes
    ----------
    inputs : array, shape (N, n)
        The a_i; real.
    labels : array, shape (N, classes)
        One 1 in each row, 0 elsewhere, in the dtype of the inputs.
    batch, seed : int
        Rows of a sample, and the seed of the samples.
    backend : Backend
        That of the arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import backends, problems
    >>> numpy = backends.load("numpy")
    >>> problem = problems.Perceptron(np.eye(3), np.eye(3), 2, 0, numpy)
    >>> params = problem.start((8,), seed=0)
    >>> [layer.shape for layer in params["layers"]]
    [(8, 3), (3, 8)]
    >>> value, grads = problem.value_and_grad(params, problem.sample(0))
    >>> [layer.shape for layer in grads["layers"]]
    [(8, 3), (3, 8)]
    """

    inputs: Array
    labels: Array
    batch: int
    seed: int
    backend: Backend

    def value_and_grad(self, params: Any, sample: Array | None = None, /) -> tuple[Array, Any]:
        """Return f, a 0-d array, and its gradient, a tree of the same form.

        With a sample, those of its rows. At 0 the derivative of relu is taken as 0. Safe for logits
        of any size. Cost: 6 flops for every row and every entry of a layer.
        """
        xp = self.backend.xp
        inputs, labels = self._rows(sample)
        layers = params["layers"]
        seen = _forward(layers, inputs, xp)
        value, pull = _cross_entropy(seen[-1], labels, xp)
        grads = []
        for layer, given in zip(reversed(layers), reversed(seen[:-1]), strict=True):
            grads.append(xp.matmul(xp.matrix_transpose(pull), given))
            # What a layer was given is positive where its relu let something through.
            pull = xp.matmul(pull, layer) * xp.astype(given > 0, given.dtype)
        return value, {"layers": grads[::-1]}

    def value(self, params: Any, /) -> Array:
        """Return f of all rows."""
        logits = _forward(params["layers"], self.inputs, self.backend.xp)[-1]
        return _cross_entropy(logits, self.labels, self.backend.xp)[0]

    def accuracy(self, params: Any, /) -> Array:
        """Return the share of the rows whose class has the largest logit."""
        xp = self.backend.xp
        logits = _forward(params["layers"], self.inputs, xp)[-1]
        right = xp.argmax(logits, axis=-1) == xp.argmax(self.labels, axis=-1)
        return xp.mean(xp.astype(right, logits.dtype))

    def sample(self, t: int, /) -> Array:
        """Return the rows of step `t`: a function of the seed and of `t` alone."""
        count = self.inputs.shape[0]
        return minibatch(count, self.batch, self.seed, t, self.inputs, backend=self.backend)

    def part(self, first: int, last: int, /) -> "Perceptron":
        """Return the problem of the rows from `first` up to, and without, `last`."""
        rows = slice(first, last)
        return replace(self, inputs=self.inputs[rows, :], labels=self.labels[rows, :])

    def start(self, hidden: tuple[int, ...], /, *, seed: int) -> Any:
        """Return layers with these numbers of hidden units, and all singular values 1."""
        enter("problems", self.inputs)
        random = host.generator(seed)
        widths = (self.inputs.shape[1], *hidden, self.labels.shape[1])
        return {
            "layers": [
                self._like(_isometry(random.standard_normal((rows, columns))))
                for columns, rows in pairwise(widths)
            ]
        }

    def _rows(self, sample: Array | None) -> tuple[Array, Array]:
        if sample is None:
            return self.inputs, self.labels
        xp = self.backend.xp
        return xp.take(self.inputs, sample, axis=0), xp.take(self.labels, sample, axis=0)

    def _like(self, values: Array) -> Array:
        xp = self.backend.xp
        made = self.backend.from_host(values.astype("float32"), dtype="float32")
        return xp.astype(
            xp.asarray(made, device=self.backend.device(self.inputs)), self.inputs.dtype
        )


def _forward(layers: list[Array], inputs: Array, xp: Namespace) -> list[Array]:
    """Return what every layer is given, and the logits last."""
    seen = [inputs]
    for layer in layers[:-1]:
        reached = xp.matmul(seen[-1], xp.matrix_transpose(layer))
        seen.append(xp.where(reached > 0, reached, xp.zeros_like(reached)))
    return [*seen, xp.matmul(seen[-1], xp.matrix_transpose(layers[-1]))]


def _cross_entropy(logits: Array, labels: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return the mean loss and its gradient with respect to the logits."""
    logits = logits - xp.max(logits, axis=-1, keepdims=True)
    sizes = xp.exp(logits)
    totals = xp.sum(sizes, axis=-1, keepdims=True)
    losses = xp.log(totals[..., 0]) - xp.sum(labels * logits, axis=-1)
    return xp.mean(losses), (sizes / totals - labels) / logits.shape[0]


def _isometry(block: Array) -> Array:
    """Return a host matrix of the same shape with orthonormal columns, or rows if it is wide."""
    if block.shape[0] < block.shape[1]:
        return _isometry(block.T).T
    return numpy.linalg.qr(block)[0]
