"""How far a point is from a proximal point of itself: the Euclidean measure of stationarity."""

from specdesc._lib.arrays import per_batch
from specdesc._lib.checks import check_same_shape
from specdesc._lib.dtypes import real_dtype, working
from specdesc._lib.typing import Array
from specdesc._linalg.basic import all_finite, balance, frobenius, restore
from specdesc.backends import Backend
from specdesc.backends.entry import enter
from specdesc.prox.operator import Function, step_of


def prox_residual(x: Array, grad: Array, g: Function, /, *, step: float | Array = 1.0) -> Array:
    """Return ||x - prox_(step g)(x - step grad)||_F / step, the norm of the gradient mapping.

    Parameters
    ----------
    x : array, shape (..., m, n)
        The point.
    grad : array, shape (..., m, n)
        The gradient of f there.
    g : Function
        A function or a set with a Euclidean prox.
    step : float or array of the batch shape
        Above 0, in the units of x over those of the gradient; 1 / L for an L-smooth f.

    Returns
    -------
    array, shape (...)
        Real, in float32 at least; NaN where `x` or `grad` is not finite. In the units of the
        gradient: without g it is ||grad||_F.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input; a step of 0.

    Notes
    -----
    0 exactly where a convex g and a smooth f are stationary, -grad in the subdifferential of g at
    x, for every step; with a g that is not convex 0 at points that the prox does not move. No
    geometry and no eps are in it. For convex g and any step (textbook):

    - it is at most `subdifferential_distance(x, grad, g)`;
    - it falls as the step grows, and step times it rises;
    - f + g at the proximal point p lies above its minimum by at most (1 + step L) times the
      residual times ||p - x*||, if f is convex and L-smooth, as p has the subgradient (x - p) /
      step - grad + grad f(p);
    - ||x - x*|| <= (1 + step L) / mu times the residual, if f is mu-strongly convex.

    Cost: one prox. Rounding: eps (||x|| / step + ||grad||) or so.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import diagnostics, prox
    >>> diagnostics.prox_residual(np.zeros((2, 2)), np.diag([-3.0, 0.5]), prox.Nuclear(0.7))
    np.float64(2.3)
    """
    backend = enter("diagnostics.prox_residual", x, grad, names=("x", "grad"))
    check_same_shape(x, grad, "x", "grad")
    if isinstance(step, (int, float)) and step == 0:
        msg = f"step must be above 0, got {step!r}"
        raise ValueError(msg)
    xp = backend.xp
    with backend.guard(x):
        here, pull = working(xp, x), working(xp, grad)
        size = step_of(step, here, backend)
        length = size[..., None] if size.ndim else size
        moved = g.prox(here - xp.astype(length, here.dtype) * pull, step)
        rest = norm_of(here - moved, backend) / (size[..., 0] if size.ndim else size)
        finite = per_batch(all_finite(here, xp=xp) & all_finite(pull, xp=xp))
        return restore(xp.astype(rest, real_dtype(xp, here.dtype)), finite, backend=backend)


def norm_of(x: Array, backend: Backend, /) -> Array:
    """Return the Frobenius norm of every matrix, safe at any scale."""
    balanced = balance(x, backend=backend)
    return per_batch(frobenius(balanced.matrix, xp=backend.xp) * balanced.scale)
