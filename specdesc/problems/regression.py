"""Regression for a matrix: least squares under heavy-tailed noise, and classes by their logits."""

from dataclasses import dataclass

import numpy

from specdesc import backends
from specdesc._lib import extras, host
from specdesc._lib.arrays import per_batch
from specdesc._lib.typing import Array
from specdesc._linalg.basic import frobenius
from specdesc.backends import Backend
from specdesc.backends.entry import enter
from specdesc.problems.covariance import root_of
from specdesc.problems.sampling import minibatch, student_t


@dataclass(frozen=True)
class MatrixRegression:
    """f(x) = sum_i ||x a_i - b_i||² / (2 N), the a_i and b_i being rows of two real arrays.

    Attributes
    ----------
    inputs : array, shape (N, n)
        The a_i.
    targets : array, shape (N, m)
        The b_i.
    truth : array, shape (m, n), or None
        The matrix that made the targets, where it is known.
    batch : int
        How many rows a sample has.
    seed : int
        Of the samples.
    backend : Backend
        That of the arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import problems
    >>> problem = problems.random_regression(4, 3, rank=2, count=100)
    >>> value, grad = problem.value_and_grad(problem.start())
    >>> grad.shape, bool(value > 0.0)
    ((4, 3), True)
    """

    inputs: Array
    targets: Array
    truth: Array | None
    batch: int
    seed: int
    backend: Backend

    def value_and_grad(self, x: Array, sample: Array | None = None, /) -> tuple[Array, Array]:
        """Return f, of the batch shape, and its gradient; of the rows of the sample if given.

        Cost: 4 N m n flops, N being the number of rows.
        """
        enter("problems", x)
        xp = self.backend.xp
        inputs, targets = _rows(sample, self.inputs, self.targets, xp)
        residual = xp.matmul(inputs, xp.matrix_transpose(x)) - targets
        weight = 1.0 / inputs.shape[0]
        value = 0.5 * weight * xp.sum(residual * residual, axis=(-2, -1))
        return value, weight * xp.matmul(xp.matrix_transpose(residual), inputs)

    def sample(self, t: int, /) -> Array:
        """Return the rows of step `t`: a function of the seed and of `t` alone."""
        count = self.inputs.shape[0]
        return minibatch(count, self.batch, self.seed, t, self.inputs, backend=self.backend)

    def error(self, x: Array, /) -> Array:
        """Return ||x - truth||_F / ||truth||_F for each matrix.

        Raises
        ------
        ValueError
            If the truth is not known.
        """
        if self.truth is None:
            msg = "the error needs truth=, which this problem does not have"
            raise ValueError(msg)
        xp = self.backend.xp
        distance = per_batch(frobenius(x - self.truth, xp=xp))
        return distance / per_batch(frobenius(self.truth, xp=xp))

    def start(self) -> Array:
        """Return zeros."""
        xp = self.backend.xp
        shape = (self.targets.shape[1], self.inputs.shape[1])
        return xp.zeros(shape, dtype=self.inputs.dtype, device=self.backend.device(self.inputs))


def random_regression(
    m: int,
    n: int,
    /,
    *,
    rank: int,
    count: int,
    tail: float = 1.6,
    noise: float = 0.3,
    covariance: Array | None = None,
    batch: int = 16,
    seed: int = 0,
    backend: str = "numpy",
    dtype: str = "float64",
    device: str | None = None,
) -> MatrixRegression:
    """Return a regression for an m by n matrix with unit singular values, with heavy-tailed errors.

    Parameters
    ----------
    m, n, rank : int
        Shape of the truth, and the number of its singular values, all equal to 1.
    count : int
        Number of rows, with normal inputs.
    tail, noise : float
        Degrees of freedom and scale of the Student t errors of the targets.
    covariance : array, shape (n, n), optional
        Of the inputs, such as `geometric_covariance` and `spiked_covariance` make. None is the
        identity.
    batch, seed : int
        Rows of a sample; of all numbers, drawn on the host.
    backend, dtype, device : str
        Where the arrays are made.

    Returns
    -------
    MatrixRegression
        With its truth.

    Raises
    ------
    ValueError
        If `covariance` is not one of n inputs.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import problems
    >>> problem = problems.random_regression(4, 3, rank=2, count=100)
    >>> problem.truth.shape
    (4, 3)
    """
    root = root_of(covariance, n)
    random = host.generator(seed)
    left, right = (numpy.linalg.qr(random.standard_normal((k, rank)))[0] for k in (m, n))
    truth = left @ right.T
    inputs = random.standard_normal((count, n))
    inputs = inputs if root is None else inputs @ root
    errors = student_t((count, m), tail, (seed,), 0)[0][0]
    leaf = backends.load(backend)
    rows, targets, known = (
        leaf.from_host(part, dtype=dtype, device=device)
        for part in (inputs, inputs @ truth.T + noise * errors, truth)
    )
    return MatrixRegression(rows, targets, known, batch, seed, leaf)


@dataclass(frozen=True)
class MultinomialRegression:
    """f(x) = mean_i of -log softmax(x a_i)[class of i] + ridge ||x||_F² / 2.

    Attributes
    ----------
    inputs : array, shape (N, n)
        The a_i; real.
    labels : array, shape (N, classes)
        One 1 in each row, 0 elsewhere, in the dtype of the inputs.
    ridge : float
        At least 0.
    batch, seed : int
        Rows of a sample, and the seed of the samples.
    backend : Backend
        That of the arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import problems
    >>> train, test = problems.mnist1d(count=500)
    >>> value, grad = train.value_and_grad(train.start())
    >>> grad.shape, round(float(value), 4)
    ((10, 41), 2.3026)
    """

    inputs: Array
    labels: Array
    ridge: float
    batch: int
    seed: int
    backend: Backend

    def value_and_grad(self, x: Array, sample: Array | None = None, /) -> tuple[Array, Array]:
        """Return f, of the batch shape, and its gradient at x of shape (..., classes, n).

        With a sample, those of its rows. Safe for logits of any size. Cost: 4 N classes n flops.
        """
        enter("problems", x)
        xp = self.backend.xp
        inputs, labels = _rows(sample, self.inputs, self.labels, xp)
        logits = xp.matmul(inputs, xp.matrix_transpose(x))
        logits = logits - xp.max(logits, axis=-1, keepdims=True)
        sizes = xp.exp(logits)
        totals = xp.sum(sizes, axis=-1, keepdims=True)
        losses = xp.log(totals[..., 0]) - xp.sum(labels * logits, axis=-1)
        value = xp.mean(losses, axis=-1) + 0.5 * self.ridge * xp.sum(x * x, axis=(-2, -1))
        excess = (sizes / totals - labels) / inputs.shape[0]
        return value, xp.matmul(xp.matrix_transpose(excess), inputs) + self.ridge * x

    def accuracy(self, x: Array, /) -> Array:
        """Return the share of the rows whose class has the largest logit, of the batch shape."""
        xp = self.backend.xp
        logits = xp.matmul(self.inputs, xp.matrix_transpose(x))
        right = xp.argmax(logits, axis=-1) == xp.argmax(self.labels, axis=-1)
        return xp.mean(xp.astype(right, x.dtype), axis=-1)

    def sample(self, t: int, /) -> Array:
        """Return the rows of step `t`: a function of the seed and of `t` alone."""
        count = self.inputs.shape[0]
        return minibatch(count, self.batch, self.seed, t, self.inputs, backend=self.backend)

    def start(self) -> Array:
        """Return zeros."""
        xp = self.backend.xp
        shape = (self.labels.shape[1], self.inputs.shape[1])
        return xp.zeros(shape, dtype=self.inputs.dtype, device=self.backend.device(self.inputs))


def digits(
    *,
    held_out: float = 1.0 / 3.0,
    ridge: float = 0.0,
    batch: int = 128,
    seed: int = 0,
    backend: str = "numpy",
    dtype: str = "float64",
    device: str | None = None,
) -> tuple[MultinomialRegression, MultinomialRegression]:
    """Return the regression on 8 by 8 pictures of digits, and the same on pictures held out.

    Parameters
    ----------
    held_out : float
        Share of the 1797 pictures that the second problem gets, in (0, 1).
    ridge : float
        Weight of half the squared Frobenius norm, in the first problem.
    batch, seed : int
        Rows of a sample; which pictures are held out, and the samples.
    backend, dtype, device : str
        Where the arrays are made.

    Returns
    -------
    tuple of MultinomialRegression
        Pixels in [0, 1] and a last input that is 1: x has shape (10, 65).

    Raises
    ------
    specdesc.MissingExtra
        If scikit-learn, which has the pictures, is not there.
    ValueError
        If `held_out` lies outside (0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import problems
    >>> train, test = problems.digits()
    >>> train.inputs.shape, test.inputs.shape
    ((1198, 65), (599, 65))
    """
    if not 0.0 < held_out < 1.0:
        msg = f"held_out must lie in (0, 1), got {held_out!r}"
        raise ValueError(msg)
    data = extras.require("sklearn.datasets", "data").load_digits()
    leaf = backends.load(backend)
    order = host.generator(seed).permutation(data.target.size)
    inputs = numpy.insert(data.data[order] / 16.0, data.data.shape[1], 1.0, axis=1)
    labels = (data.target[order][:, None] == numpy.asarray(range(10))) * 1.0
    split = data.target.size - round(held_out * data.target.size)

    def problem(rows: slice, ridge: float) -> MultinomialRegression:
        given, classes = (
            leaf.from_host(part[rows], dtype=dtype, device=device) for part in (inputs, labels)
        )
        return MultinomialRegression(given, classes, ridge, batch, seed, leaf)

    return problem(slice(split), ridge), problem(slice(split, None), 0.0)


def _rows(sample: Array | None, inputs: Array, outputs: Array, xp: Array) -> tuple[Array, Array]:
    if sample is None:
        return inputs, outputs
    return xp.take(inputs, sample, axis=0), xp.take(outputs, sample, axis=0)
