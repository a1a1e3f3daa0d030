"""Two by two functions on which spectral descent cannot move the trace: a documented limit."""

from dataclasses import dataclass

from specdesc._lib.typing import Array
from specdesc._linalg.basic import diagonal
from specdesc._orthogonalize import orthogonalize
from specdesc.backends import Backend
from specdesc.backends.creation import identity
from specdesc.backends.entry import enter


@dataclass(frozen=True)
class TraceLocked:
    """Convex, Lipschitz, sharp functions of a real 2 by 2 matrix with the solution centre * I.

    ``form="nuclear"``: f(x) = c |tr z| + ||z - (tr z / 2) I||_*, with z = x - centre I.
    ``form="entrywise"``: f(x) = |z11 - z22| + c |z11 + z22| + |z12| + |z21|.

    Parameters
    ----------
    c : float
        Positive. Up to 1 the first form has the nuclear sharpness c and subgradients of spectral
        norm up to 1 + c: a ratio of c / (1 + c), at most the 1/2 above which descent is safe.
    centre : float
        Of the solution.
    form : {"nuclear", "entrywise"}
        Which of the two.

    Notes
    -----
    At a symmetric z (a diagonal one for the second form) the polar factor of the subgradient has
    trace 0, because the eigenvalues c + 1 and c - 1 have different signs: spectral descent keeps
    the trace for ever, whatever its steps (derived). Subgradients take sign(0) = 0.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc.problems import TraceLocked
    >>> value, grad = TraceLocked(0.5).value_and_grad(np.asarray([[1.0, 0.2], [0.2, 0.5]]))
    >>> round(float(value), 4)
    1.3903
    """

    c: float
    centre: float = 0.0
    form: str = "nuclear"

    def __post_init__(self) -> None:
        if not 0.0 < self.c < float("inf"):
            msg = f"c must be positive, got {self.c!r}"
            raise ValueError(msg)
        if self.form not in ("nuclear", "entrywise"):
            msg = f"form must be 'nuclear' or 'entrywise', got {self.form!r}"
            raise ValueError(msg)

    def value_and_grad(self, x: Array, /) -> tuple[Array, Array]:
        """Return f, of the batch shape, and a subgradient, of the shape of `x`.

        Raises
        ------
        TypeError, ValueError
            As in the table of bad input, or if `x` is not 2 by 2.
        """
        backend = enter("problems", x)
        _check_shape(x)
        xp = backend.xp
        unit = identity(2, x, backend=backend)
        z = x - self.centre * unit
        trace = xp.sum(diagonal(z, xp=xp), axis=-1)
        value, grad = self._rest(z, trace, backend)
        value = value + self.c * xp.abs(trace)
        return value, grad + self.c * xp.sign(trace)[..., None, None] * unit

    def error(self, x: Array, /) -> Array:
        """Return the Frobenius distance of each matrix to the solution."""
        backend = enter("problems", x)
        _check_shape(x)
        xp = backend.xp
        z = x - self.centre * identity(2, x, backend=backend)
        return xp.sqrt(xp.sum(z * z, axis=(-2, -1)))

    def _rest(self, z: Array, trace: Array, backend: Backend) -> tuple[Array, Array]:
        """Return the part that does not see the trace."""
        xp = backend.xp
        unit = identity(2, z, backend=backend)
        if self.form == "nuclear":
            traceless = z - 0.5 * trace[..., None, None] * unit
            factor = orthogonalize(traceless)
            # The inner product with its polar factor is the nuclear norm of a matrix.
            value = xp.sum(traceless * factor, axis=(-2, -1))
            tilt = 0.5 * xp.sum(diagonal(factor, xp=xp), axis=-1)
            return value, factor - tilt[..., None, None] * unit
        flipped = xp.asarray([[1.0, 0.0], [0.0, -1.0]], dtype=z.dtype, device=backend.placement)
        difference = xp.sum(z * flipped, axis=(-2, -1))
        outside = z * (1.0 - unit)
        value = xp.abs(difference) + xp.sum(xp.abs(outside), axis=(-2, -1))
        return value, xp.sign(difference)[..., None, None] * flipped + xp.sign(outside)


def _check_shape(x: Array) -> None:
    if tuple(x.shape[-2:]) != (2, 2):
        msg = f"x must have shape (..., 2, 2), got {tuple(x.shape)}"
        raise ValueError(msg)
