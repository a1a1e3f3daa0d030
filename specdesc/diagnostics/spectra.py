"""What the singular values of a point say: are they all 1, and how many reach a bound."""

from specdesc._lib.arrays import adjoint, per_batch
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._linalg import magnitudes
from specdesc._linalg.basic import balance, frobenius, restore
from specdesc._linalg.magnitudes import Geometry
from specdesc.backends.creation import identity, scalar
from specdesc.backends.entry import enter
from specdesc.prox.operator import check_non_negative

#: From here on, sums of squares leave the range of float32.
HUGE = 2.0**55


def orthogonality_error(x: Array, /) -> Array:
    r"""Return ||Xᴴ X - I||_F of every matrix, or ||X Xᴴ - I||_F if it has fewer rows.

    .. math:: \|x^H x - I\|_F

    Parameters
    ----------
    x : array, shape (..., m, n)
        Real or complex.

    Returns
    -------
    array, shape (...)
        Real, in float32 at least; NaN where `x` is not finite.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input.

    Notes
    -----
    The root of the sum of (s_i² - 1)² over the singular values: twice their distance to 1, where
    that is small. A matrix that has no full rank is at least 1 away, and one with entries above
    3e16 is inf away. One product, no SVD; accurate to about max(m, n) eps.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import diagnostics
    >>> diagnostics.orthogonality_error(np.diag([1.0, 2.0]))
    array(3.)
    """
    backend = enter("diagnostics.orthogonality_error", x)
    xp = backend.xp
    with backend.guard(x):
        balanced = balance(working(xp, x), backend=backend)
        size = balanced.scale
        huge = size > HUGE
        y = balanced.matrix * xp.astype(
            xp.where(huge, xp.ones_like(size), size), balanced.matrix.dtype
        )
        wide = y.shape[-2] < y.shape[-1]
        left, right = (y, adjoint(y, xp=xp)) if wide else (adjoint(y, xp=xp), y)
        rest = xp.matmul(left, right) - identity(min(x.shape[-2:]), y, backend=backend)
        rest, scale, _ = balance(rest, backend=backend)
        error = frobenius(rest, xp=xp) * scale
        error = xp.where(huge, xp.full_like(error, float("inf")), error)
        return per_batch(restore(error, balanced.finite, backend=backend))


def active_share(
    x: Array, bound: float, /, *, tol: float | None = None, geometry: Geometry = "spectral"
) -> Array:
    """Return the share of the singular values that reach a bound.

    Parameters
    ----------
    x : array, shape (..., m, n)
        Real or complex.
    bound : float
        Such as the radius of a `prox.SpectralBall`.
    tol : float, optional
        Values of at least (1 - tol) bound count. None is 8 max(m, n) eps, by which a point of a set
        may miss it.
    geometry : str
        What to count instead: ``"elementwise"`` entries, for a `prox.MaxBall`, ``"rows"`` or
        ``"columns"``.

    Returns
    -------
    array, shape (...)
        Real, from 0 to 1; 0 for an empty matrix, NaN for one that is not finite.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input; a negative bound or tolerance.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import diagnostics
    >>> diagnostics.active_share(np.diag([2.0, 2.0, 1.0, 0.0]), 2.0)
    np.float64(0.5)
    """
    backend = enter("diagnostics.active_share", x)
    check_non_negative(bound, "bound")
    xp = backend.xp
    slack = magnitudes.slack(x, xp=xp) if tol is None else tol
    check_non_negative(slack, "tol")
    with backend.guard(x):
        taken = magnitudes.take_apart(x, geometry, backend=backend)
        s = taken.magnitudes
        touched = xp.astype(s >= scalar(backend, (1.0 - slack) * bound, s), s.dtype)
        share = xp.sum(touched, axis=-1) / max(1, s.shape[-1])
        return magnitudes.number(share, taken, backend=backend)
