"""Step sizes: functions of the step count, and of value and gradient where they need them.

A schedule is called ``schedule(t, *, value=None, grad=None)``. `t` counts from 0 and is a number or
a 0-d array; `value` and `grad` are the objective and its subgradient at the current point. The
result is a number or an array of the batch shape. Rules accept a plain number for `constant`.
"""

from collections.abc import Callable

from specdesc._array import enter, working
from specdesc._core.linalg import balance, frobenius, per_batch, restore
from specdesc._typing import Array

__all__ = ["Schedule", "constant", "frank_wolfe", "geometric", "polyak"]

Schedule = Callable[..., "float | Array"]


def constant(size: float | Array, /) -> Schedule:
    """Return the schedule with the same step `size` always.

    Notes
    -----
    On a non-smooth problem it reaches a ball around the solution, of a radius in proportion to it.
    """

    def schedule(_: float | Array, **__: object) -> float | Array:
        return size

    return schedule


def geometric(first: float | Array, ratio: float, /) -> Schedule:
    """Return the schedule first * ratio**t, the classical one for sharp problems.

    Parameters
    ----------
    first : float or array
        The first step; an array of the batch shape gives each matrix its own.
    ratio : float
        In (0, 1).

    Notes
    -----
    Such steps reach a solution only if it lies within first / (1 - ratio) of the start in the norm
    of the step: max(spectral norm, nuclear norm / rank) for a truncated one (derived).
    """
    if not 0.0 < ratio < 1.0:
        msg = f"ratio must lie in (0, 1), got {ratio!r}"
        raise ValueError(msg)

    def schedule(t: float | Array, **_: object) -> float | Array:
        return first * ratio**t

    return schedule


def polyak(*, optimum: float = 0.0, scale: float = 1.0, rank: int | None = None) -> Schedule:
    """Return the step scale * (value - optimum) / ||step direction||_F.

    Parameters
    ----------
    optimum : float
        The minimal value, or a lower bound of it.
    scale : float
        1 is a good default for the mean absolute residual; 2 may fail and 3 does (measured on
        Gaussian measurements).
    rank : int, optional
        The rank of a spectral step, whose Frobenius norm is sqrt(rank). None is for a normalized
        gradient and divides by the Frobenius norm of the gradient.

    Notes
    -----
    A value below `optimum` gives a step of 0, and so does a zero gradient. Derived from the bound
    norm(D)² - 2 step <P, D> + step² norm(P)² on the squared error.
    """

    def schedule(
        _: float | Array, *, value: Array | None = None, grad: Array | None = None
    ) -> Array:
        if value is None:
            msg = "polyak needs the objective: pass value= to update"
            raise ValueError(msg)
        excess = (abs(value - optimum) + (value - optimum)) / 2
        if rank is not None:
            return scale * excess / rank**0.5
        if grad is None:
            msg = "polyak without a rank needs the gradient: pass grad="
            raise ValueError(msg)
        return scale * _over_norm(excess, grad)

    return schedule


def frank_wolfe(weight_decay: float, /) -> Schedule:
    """Return the step 2 / (weight_decay (t + 2)).

    With decoupled weight decay of this strength the update is the Frank-Wolfe step of size
    2 / (t + 2) on the ball of radius 1 / weight_decay of the step's norm. The first one forgets
    the starting point.
    """
    if not 0.0 < weight_decay < float("inf"):
        msg = f"weight_decay must be positive, got {weight_decay!r}"
        raise ValueError(msg)

    def schedule(t: float | Array, **_: object) -> float | Array:
        return 2.0 / (weight_decay * (t + 2.0))

    return schedule


def _over_norm(excess: Array, grad: Array) -> Array:
    backend = enter("schedules.polyak", grad)
    xp = backend.xp
    balanced = balance(working(xp, grad), backend=backend)
    norm = per_batch(frobenius(balanced.matrix, xp=xp) * balanced.scale)
    length = xp.where(norm > 0, excess / xp.where(norm > 0, norm, xp.ones_like(norm)), 0 * norm)
    return restore(length, per_batch(balanced.finite), backend=backend)
