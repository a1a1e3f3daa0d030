"""Step sizes: functions of the step count, and of value and gradient where they need them.

A schedule is called ``schedule(t, *, value=None, grad=None)``. `t` counts from 0 and is a number or
a 0-d array; `value` and `grad` are the objective and its subgradient at the current point. The
result is a number or an array of the batch shape. Rules accept a plain number for `constant`, and
any function of the count, an integer, alone: those of optax are schedules.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from specdesc._lib.arrays import per_batch
from specdesc._lib.checks import check_positive_rank
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._linalg.basic import balance, frobenius, restore
from specdesc.backends import Backend
from specdesc.backends.entry import check_supported, enter

__all__ = [
    "Schedule",
    "StepAndBeta",
    "constant",
    "frank_wolfe",
    "geometric",
    "heavy_tailed",
    "linear_rate",
    "polyak",
    "storm",
]


#: The name in the capability table.
_NAME = "schedules.polyak"

Schedule = Callable[..., "float | Array"]


class StepAndBeta(NamedTuple):
    """Two schedules that belong together.

    Attributes
    ----------
    step : Schedule
        Of the step size.
    beta : Schedule
        Of the factor on the old buffer.
    """

    step: Schedule
    beta: Schedule


def constant(size: float | Array, /) -> Schedule:
    """Return the schedule with the same step `size` always.

    Notes
    -----
    On a non-smooth problem it reaches a ball around the solution, of a radius in proportion to it.

    Examples
    --------
    >>> from specdesc import schedules
    >>> [schedules.constant(0.1)(t) for t in range(3)]
    [0.1, 0.1, 0.1]
    """
    return _Constant(size)


def geometric(first: float | Array, ratio: float, /) -> Schedule:
    r"""Return the schedule first * ratio**t, the classical one for sharp problems.

    .. math:: \eta_t = \eta_0\, q^t

    Parameters
    ----------
    first : float or array
        The first step; an array of the batch shape gives each matrix its own.
    ratio : float
        In (0, 1).

    See Also
    --------
    linear_rate : With the ratio that a proof gives.

    Notes
    -----
    Such steps reach a solution only if it lies within first / (1 - ratio) of the start in the norm
    of the step: max(spectral norm, nuclear norm / rank) for a truncated one (derived).

    Examples
    --------
    >>> from specdesc import schedules
    >>> [schedules.geometric(8.0, 0.5)(t) for t in range(3)]
    [8.0, 4.0, 2.0]
    """
    if not 0.0 < ratio < 1.0:
        msg = f"ratio must lie in (0, 1), got {ratio!r}"
        raise ValueError(msg)

    return _Geometric(first, ratio)


def linear_rate(radius: float, alignment: float, rank: int, /) -> Schedule:
    r"""Return geometric steps that contract the distance to a solution at a proven rate.

    .. math::

        \eta_t = \frac{a R}{k} q^t, \qquad
        a = \min(\alpha, \sqrt{k / 2}), \qquad
        q = \sqrt{1 - a^2 / k}

    Parameters
    ----------
    radius : float
        R, at least the Frobenius distance of the start to a solution.
    alignment : float
        alpha, with Re <P, D> >= alpha ||D||_F for every step direction P and distance D on the
        way; in (0, sqrt(rank)].
    rank : int
        k, with ||P||_F² <= k: the rank of a truncated step, min(m, n) of an untruncated one, 1 of
        a normalized gradient.

    Returns
    -------
    Schedule
        The steps a R / k q**t with a = min(alpha, sqrt(k / 2)) and q = sqrt(1 - a² / k).

    Notes
    -----
    Then ||D_t||_F <= R q**t (derived: each step gives d² - 2 step a d + k step², which is convex in
    d, so that its largest value on [0, R q**t] is at an end).

    Examples
    --------
    >>> from specdesc import schedules
    >>> [round(schedules.linear_rate(8.0, 1.0, 4)(t), 3) for t in range(3)]
    [2.0, 1.732, 1.5]
    """
    if not 0.0 < radius < float("inf"):
        msg = f"radius must be a finite number above 0, got {radius!r}"
        raise ValueError(msg)
    check_positive_rank(rank)
    if not 0.0 < alignment <= rank**0.5:
        msg = f"alignment must lie in (0, sqrt(rank)], got {alignment!r} for rank {rank}"
        raise ValueError(msg)
    used = min(alignment, (rank / 2) ** 0.5)
    return geometric(used * radius / rank, (1.0 - used**2 / rank) ** 0.5)


def heavy_tailed(
    horizon: int | None = None, p: float = 2.0, *, step: float = 1.0, alpha: float = 1.0
) -> StepAndBeta:
    r"""Return step and beta of `rules.ProximalSpectral` for noise with p-th moments.

    .. math:: \eta = c\, K^{-(2p - 1)/(3p - 2)}, \qquad 1 - \beta = \alpha\, K^{-p/(3p - 2)}

    Parameters
    ----------
    horizon : int, optional
        K, the number of steps that will be made. None is for any number of steps, at the price of
        a logarithm.
    p : float
        In (1, 2]: the noise of the gradients has a finite p-th moment. 2 is finite variance.
    step : float
        Multiplier of the step sizes that are prescribed, positive.
    alpha : float
        Multiplier of the prescribed 1 - beta, positive: with ``alpha=1``, the default, 1 - beta is
        the power of K below. 1 - beta is never above 1.

    Returns
    -------
    StepAndBeta
        Constants: step K^(-(2p - 1) / (3p - 2)) for the step and 1 - alpha K^(-p / (3p - 2)) for
        beta; with t + 1 in the place of K where there is no horizon.

    See Also
    --------
    storm : With variance reduction.
    specdesc.diagnostics.suggest : From a measured tail.

    Notes
    -----
    The mean stationarity measure is then O(K^(-(p - 1) / (3p - 2))), K^(-1/4) at p = 2 (derived;
    the rate at p = 2 is that of arXiv:2605.11850 by a secondary source). The factors are ours: the
    theory fixes the exponents alone.

    Examples
    --------
    >>> from specdesc import schedules
    >>> step, beta = schedules.heavy_tailed(10_000)
    >>> round(step(0), 6), round(beta(0), 6)
    (0.001, 0.99)
    """
    if not 1.0 < p <= 2.0:
        msg = f"p must lie in (1, 2], got {p!r}"
        raise ValueError(msg)
    width = 3.0 * p - 2.0
    return _powers(horizon, (step, (2.0 * p - 1.0) / width), (alpha, p / width))


def storm(horizon: int | None = None, *, step: float = 1.0, alpha: float = 1.0) -> StepAndBeta:
    """Return step and beta of `rules.ProximalStorm`.

    Parameters
    ----------
    horizon : int, optional
        K, the number of steps that will be made. None is for any number of steps.
    step : float
        Multiplier of the step sizes that are prescribed, positive.
    alpha : float
        Multiplier of the prescribed 1 - beta, positive: with ``alpha=1``, the default, 1 - beta is
        the power of K below. 1 - beta is never above 1.

    Returns
    -------
    StepAndBeta
        Constants: step K^(-2/3) for the step and 1 - alpha K^(-2/3) for beta; with t + 1 in the
        place of K where there is no horizon.

    Notes
    -----
    The mean stationarity measure is then O(K^(-1/3)) for noise of finite variance and samples that
    are smooth in mean square (derived; the rate is that of arXiv:2605.11850 by a secondary source).
    The factors are ours. The bound for no horizon was not derived.

    Examples
    --------
    >>> from specdesc import schedules
    >>> step, beta = schedules.storm(1000)
    >>> round(step(0), 6), round(beta(0), 6)
    (0.01, 0.99)
    """
    return _powers(horizon, (step, 2.0 / 3.0), (alpha, 2.0 / 3.0))


@dataclass(frozen=True)
class _Polyak:
    """The schedule of `polyak`."""

    optimum: float
    scale: float
    rank: int | None
    decrease: "float | Schedule | None"

    def __call__(
        self, t: float | Array, *, value: Array | None = None, grad: Array | None = None
    ) -> Array:
        """Return the step size."""
        if self.rank is not None or grad is None:
            return self.at_checked(t, value, grad, backend=None)
        backend = enter(_NAME, grad)
        with backend.guard(grad):
            return self.at_checked(t, value, grad, backend=backend)

    def at_checked(
        self,
        t: float | Array,
        value: Array | None,
        grad: Array | None,
        /,
        *,
        backend: Backend | None,
    ) -> Array:
        """Return the step size for a gradient that was checked."""
        if value is None:
            msg = "polyak needs the objective: pass value= to update"
            raise ValueError(msg)
        excess = _positive_part(value - self.optimum)
        if self.decrease is not None:
            most = self.decrease(t) if callable(self.decrease) else self.decrease
            excess = _at_most(excess, most)
        if self.rank is not None:
            return self.scale * excess / self.rank**0.5
        if grad is None or backend is None:
            msg = "polyak without a rank needs the gradient: pass grad="
            raise ValueError(msg)
        return self.scale * _over_norm(excess, grad, backend)


def polyak(
    *,
    optimum: float = 0.0,
    scale: float = 1.0,
    rank: int | None = None,
    decrease: float | Schedule | None = None,
) -> Schedule:
    """Return the step scale * (value - target) / ||step direction||_F.

    Parameters
    ----------
    optimum : float
        The minimal value, or a lower bound of it. The target, unless `decrease` is given.
    scale : float
        1 is a good default for the mean absolute residual; 2 may fail and 3 does (measured on
        Gaussian measurements).
    rank : int, optional
        The rank of a spectral step, whose Frobenius norm is sqrt(rank). None is for a normalized
        gradient and divides by the Frobenius norm of the gradient.
    decrease : float or schedule, optional
        For an optimum that is not known: no step aims lower than by this much, so the target is
        max(optimum, value - decrease), with a lower bound for `optimum`.

    Notes
    -----
    A value below `optimum` gives a step of 0, and so does a zero gradient. Derived from the bound
    norm(D)² - 2 step <P, D> + step² norm(P)² on the squared error.

    With a lower bound that misses the minimum by d, and no `decrease`, the steps of a convex
    problem bring the best value within d of it and no closer (known). With a `decrease` that goes
    to 0 and whose sum is infinite, such as ``lambda t, **_: 0.1 / (t + 1) ** 0.5``, the best value
    of normalized gradient steps on a convex Lipschitz problem goes to the minimum: they are
    subgradient steps of lengths that go to 0 with an infinite sum (known; the cap is ours).

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import schedules
    >>> grad = np.asarray([[3.0, 4.0]])
    >>> float(schedules.polyak(optimum=1.0)(0, value=np.asarray(11.0), grad=grad))
    2.0
    """
    return _Polyak(optimum, scale, rank, decrease)


def frank_wolfe(weight_decay: float, /) -> Schedule:
    r"""Return the step 2 / (weight_decay (t + 2)).

    .. math:: \eta_t = \frac{2}{\lambda\, (t + 2)}

    With decoupled weight decay of this strength the update is the Frank-Wolfe step of size
    2 / (t + 2) on the ball of radius 1 / weight_decay of the step's norm. The first one forgets
    the starting point.

    Examples
    --------
    >>> from specdesc import schedules
    >>> [round(schedules.frank_wolfe(0.5)(t), 3) for t in range(3)]
    [2.0, 1.333, 1.0]
    """
    if not 0.0 < weight_decay < float("inf"):
        msg = f"weight_decay must be positive, got {weight_decay!r}"
        raise ValueError(msg)

    return _FrankWolfe(weight_decay)


# Objects rather than closures: a rule that has one can be pickled and copied.


@dataclass(frozen=True, eq=False)
class _Constant:
    size: float | Array

    def __call__(self, _: float | Array, **__: object) -> float | Array:
        return self.size


@dataclass(frozen=True, eq=False)
class _Geometric:
    first: float | Array
    ratio: float

    def __call__(self, t: float | Array, **_: object) -> float | Array:
        return self.first * self.ratio**t


@dataclass(frozen=True, eq=False)
class _FrankWolfe:
    weight_decay: float

    def __call__(self, t: float | Array, **_: object) -> float | Array:
        return 2.0 / (self.weight_decay * (t + 2.0))


@dataclass(frozen=True, eq=False)
class _Power:
    factor: float
    exponent: float

    def __call__(self, t: float | Array, **_: object) -> float | Array:
        return self.factor * (t + 1.0) ** -self.exponent


@dataclass(frozen=True, eq=False)
class _OneLess:
    power: _Power

    def __call__(self, t: float | Array, **_: object) -> float | Array:
        return _positive_part(1.0 - self.power(t))


def _powers(
    horizon: int | None, step: tuple[float, float], alpha: tuple[float, float]
) -> StepAndBeta:
    """Return factor * K**-exponent for the step, and 1 less the same for beta."""
    for name, (factor, _) in (("step", step), ("alpha", alpha)):
        if not 0.0 < factor < float("inf"):
            msg = f"{name} must be a finite number above 0, got {factor!r}"
            raise ValueError(msg)
    if horizon is None:
        return StepAndBeta(_Power(*step), _OneLess(_Power(*alpha)))
    check_positive_rank(horizon, "horizon")
    length = step[0] * horizon ** -step[1]
    beta = _positive_part(1.0 - alpha[0] * horizon ** -alpha[1])
    return StepAndBeta(constant(length), constant(beta))


def _positive_part(x: float | Array) -> float | Array:
    return (abs(x) + x) / 2


def _at_most(excess: Array, most: float | Array) -> Array:
    """Return the smaller one, without a namespace: the value may be a number."""
    return most - _positive_part(most - excess)


def _over_norm(excess: Array, grad: Array, backend: Backend) -> Array:
    check_supported(_NAME, backend)
    xp = backend.xp
    balanced = balance(working(xp, grad), backend=backend)
    norm = per_batch(frobenius(balanced.matrix, xp=xp) * balanced.scale)
    length = xp.where(norm > 0, excess / xp.where(norm > 0, norm, xp.ones_like(norm)), 0 * norm)
    return restore(length, per_batch(balanced.finite), backend=backend)
