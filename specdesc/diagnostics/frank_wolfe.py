"""The Frank-Wolfe gap."""

from specdesc._lib.checks import check_same_shape
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc.backends.entry import enter
from specdesc.diagnostics.products import inner
from specdesc.norms import Norm
from specdesc.prox.operator import BoundedSet


def frank_wolfe_gap(
    x: Array, grad: Array, ball: BoundedSet | Norm, /, *, radius: float | None = None
) -> Array:
    r"""Return max over s in a set of Re <grad, x - s>.

    .. math::

        \max_{s \in C} \operatorname{Re}\langle \nabla f(x), x - s\rangle \ \ge
        f(x) - \min_C f \quad\text{for convex } f

    Parameters
    ----------
    x : array, shape (..., m, n)
        A point of the set.
    grad : array, shape (..., m, n)
        The gradient of a smooth f there, or a subgradient of a convex one.
    ball : bounded set or norm
        A set of `specdesc.prox`, or a norm of `specdesc.norms`, whose ball is meant.
    radius : float, optional
        Of the ball of a norm, 1 if it is not given. A set has its own.

    Returns
    -------
    array, shape (...)
        Real, in float32 at least; NaN where `x` or `grad` is not finite.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input; one shape for both arrays; a radius for a set, or one below 0.

    See Also
    --------
    certificate : Stop on it.
    stationarity : For functions and sets of any kind.

    Notes
    -----
    At least 0 for every x of the set, up to a rounding of eps times the size of the products, and 0
    exactly where no direction into the set descends: at stationary points. For convex f it bounds
    f(x) - min f over the set (textbook). A negative value says that x is not in the set. A set
    whose points are vectors gives the sum over the vectors of a matrix.

    Cost: one minimiser, one SVD for sets of singular values.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import diagnostics, prox
    >>> diagnostics.frank_wolfe_gap(np.eye(2), np.diag([-1.0, 0.5]), prox.SpectralBall(1.0))
    np.float64(1.0)
    """
    backend = enter("diagnostics.frank_wolfe_gap", x, grad, names=("x", "grad"))
    check_same_shape(x, grad, "x", "grad")
    xp = backend.xp
    with backend.guard(x):
        g = working(xp, grad)
        if isinstance(ball, BoundedSet):
            if radius is not None:
                msg = f"radius belongs to a norm, got {radius!r} for {ball!r}"
                raise ValueError(msg)
            vertex = ball.lmo(g)
        else:
            vertex = ball.lmo(g, 1.0 if radius is None else radius)
        return inner(g, working(xp, x) - vertex, backend=backend)
