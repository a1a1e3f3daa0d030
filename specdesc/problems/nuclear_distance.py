"""The nuclear distance to a matrix, with a weight on the trace that sets its conditioning."""

from dataclasses import dataclass

from specdesc._lib.arrays import per_batch
from specdesc._lib.checks import check_same_shape
from specdesc._lib.typing import Array
from specdesc._linalg.basic import diagonal, frobenius
from specdesc._orthogonalize import orthogonalize
from specdesc.backends.creation import identity
from specdesc.backends.entry import enter


@dataclass(frozen=True)
class NuclearDistance:
    """f(x) = ||x - truth||_* + trace_weight |tr(x - truth)|, real.

    Convex and sharp: f(x) >= ||x - truth||_*, and its subgradients have spectral norm at most
    1 + trace_weight, so the ratio of sharpness to Lipschitz constant is 1 / (1 + trace_weight)
    (derived).

    Attributes
    ----------
    truth : array, shape (..., m, n)
        The solution.
    trace_weight : float
        At least 0; positive for square matrices only.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc.problems import NuclearDistance
    >>> value, grad = NuclearDistance(np.zeros((2, 2)), 0.5).value_and_grad(np.diag([2.0, -1.0]))
    >>> float(value), np.diag(grad).tolist()
    (3.5, [1.5, -0.5])
    """

    truth: Array
    trace_weight: float = 0.0

    def __post_init__(self) -> None:
        enter("problems", self.truth, names=("truth",))
        if not 0.0 <= self.trace_weight < float("inf"):
            msg = f"trace_weight must be finite and at least 0, got {self.trace_weight!r}"
            raise ValueError(msg)
        if self.trace_weight and self.truth.shape[-2] != self.truth.shape[-1]:
            msg = f"a trace_weight needs square matrices, got shape {tuple(self.truth.shape)}"
            raise ValueError(msg)

    def value_and_grad(self, x: Array, /) -> tuple[Array, Array]:
        """Return f, of the batch shape, and a subgradient; sign(0) = 0, msign(0) = 0.

        One polar factor.
        """
        backend = enter("problems", x, self.truth, names=("x", "truth"))
        check_same_shape(x, self.truth, "x", "truth")
        xp = backend.xp
        distance = x - self.truth
        grad = orthogonalize(distance)
        value = xp.sum(distance * grad, axis=(-2, -1))
        if self.trace_weight:
            trace = xp.sum(diagonal(distance, xp=xp), axis=-1)
            value = value + self.trace_weight * xp.abs(trace)
            unit = identity(x.shape[-1], x, backend=backend)
            grad = grad + self.trace_weight * xp.sign(trace)[..., None, None] * unit
        return value, grad

    def error(self, x: Array, /) -> Array:
        """Return ||x - truth||_F / ||truth||_F for each matrix, ||x||_F for a truth of 0."""
        backend = enter("problems", x, self.truth, names=("x", "truth"))
        xp = backend.xp
        size = per_batch(frobenius(self.truth, xp=xp))
        size = xp.where(size > 0, size, xp.ones_like(size))
        return per_batch(frobenius(x - self.truth, xp=xp)) / size

    def start(self) -> Array:
        """Return zeros."""
        return 0.0 * self.truth
