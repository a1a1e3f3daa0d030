"""Halley steps: x (a + b x²) / (1 + c x²), the rational maps of least degree that lift [l, 1].

One of them raises a small floor by about 2 sqrt(c), where the cubic of the same price raises it by
2.6. The weights are those of the dynamically weighted Halley iteration (Nakatsukasa, Bai and Gygi,
2010): the best a, b, c for a given floor, in closed form. That they touch 1 from below, the image
of an interval and the schedules are derived.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from specdesc.minimax.forms import Step, step_polynomial
from specdesc.minimax.images import Polynomial, composed_image
from specdesc.minimax.schedule import Schedule, cheapest_schedule


class Halley(NamedTuple):
    """One rational step f(x) = x (a + b x²) / (1 + c x²) with b = (a - 1)² / 4, c = a + b - 1.

    Then 1 - f(x) = (1 - x) (1 - (a - 1) x / 2)² / (1 + c x²): the step never exceeds 1 on [0, 1],
    whatever a >= 3 is.
    """

    a: float
    b: float
    c: float

    def __call__(self, x: float) -> float:
        """Evaluate the step at a float."""
        return x * (self.a + self.b * x * x) / (1.0 + self.c * x * x)

    def gap(self, x: float) -> float:
        """Return 1 - f(x), without the cancellation near 1."""
        root = 1.0 - 0.5 * (self.a - 1.0) * x
        return (1.0 - x) * root * root / (1.0 + self.c * x * x)


class RationalSchedule(NamedTuple):
    """Halley steps, then polynomials, and what is known of their composition.

    Attributes
    ----------
    halleys : tuple of Halley
        They map [0, 1] into itself.
    steps : tuple of Step
        What follows them, on [0, 1]; none where the Halley steps suffice.
    lower : float
        The floor that was planned for.
    bound : float
        Largest abs(1 - f(x)) of the composition f on [lower, 1].
    cost : float
        Sum of the costs of the steps.
    slope : float
        Slope of the composition at zero.
    """

    halleys: tuple[Halley, ...]
    steps: tuple[Step, ...]
    lower: float
    bound: float
    cost: float
    slope: float


def halley(lower: float, /, *, most: float = math.inf) -> Halley:
    """Return the best Halley step for singular values in [lower, 1] with a weight c <= most.

    Parameters
    ----------
    lower : float
        In (0, 1].
    most : float
        At least 3, which is the weight of the step without preferences, for lower = 1. A smaller
        weight is a step that is best for a larger floor, and lifts `lower` in proportion.

    Returns
    -------
    Halley
        f maps [lower, 1] onto [f(lower), 1].

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from specdesc.minimax import halley
    >>> step = halley(1e-3)
    >>> round(step(1e-3), 3), round(step.c)
    (0.248, 16000)
    """
    if not 0.0 < lower <= 1.0:
        msg = f"lower must lie in (0, 1], got {lower!r}"
        raise ValueError(msg)
    if not most >= _LEAST:
        msg = f"most must be at least {_LEAST}, got {most!r}"
        raise ValueError(msg)
    slope = _slope(lower)
    # c = a + (a - 1)² / 4 - 1 = (a + 1)² / 4 - 1.
    slope = min(slope, 2.0 * math.sqrt(1.0 + most) - 1.0)
    weight = 0.25 * (slope - 1.0) ** 2
    return Halley(slope, weight, slope + weight - 1.0)


_LEAST = 3.0


def _slope(lower: float) -> float:
    """Return the weight a of the best step for a floor."""
    square = lower * lower
    d = (4.0 * (1.0 - lower) * (1.0 + lower) / square / square) ** (1.0 / 3.0)
    root = math.sqrt(1.0 + d)
    return root + 0.5 * math.sqrt(8.0 - 4.0 * d + 8.0 * (2.0 - square) / (square * root))


def halley_image(step: Halley, lower: float, upper: float, /) -> tuple[float, float]:
    """Return the least and the largest value of a Halley step on [lower, upper], lower >= 0.

    The extrema are the ends and the zeros of the derivative, 2 / (a - 1) and sqrt(a / c). Correct
    to a few roundings.
    """
    inner = (2.0 / (step.a - 1.0), math.sqrt(step.a / step.c))
    values = [step(x) for x in (lower, upper, *(x for x in inner if lower < x < upper))]
    return min(values), max(values)


def rational_image(
    halleys: Sequence[Halley], polynomials: Sequence[Polynomial], lower: float, upper: float, /
) -> tuple[float, float]:
    """Return the image of [lower, upper], lower >= 0, under Halley steps and then polynomials."""
    for step in halleys:
        lower, upper = halley_image(step, lower, upper)
    return composed_image(polynomials, lower, upper)


def lift(lower: float, /, *, most: float = math.inf, enough: float = 1e-16) -> tuple[Halley, ...]:
    """Return best Halley steps of weights c <= most, until the floor is at 1 - enough or above."""
    steps: list[Halley] = []
    gap = 1.0 - lower
    while gap > enough and len(steps) < _MOST_STEPS:
        steps.append(halley(lower, most=most))
        gap = steps[-1].gap(lower)
        lower = min(steps[-1](lower), 1.0)
    return tuple(steps)


# Doubling a floor of 1e-308 takes more, but none below the rounding of float64 is asked for.
_MOST_STEPS = 60


@lru_cache(maxsize=1024)
def cheapest_rational(
    lower: float,
    halleys: tuple[Halley, ...],
    targets: tuple[float, ...],
    costs: tuple[tuple[int, float], ...],
    price: float,
    margin: float,
    least: float,
) -> RationalSchedule:
    """Return the cheapest way to go on after the first k of some Halley steps.

    Parameters
    ----------
    lower : float
        The floor, in (0, 1).
    halleys : tuple of Halley
        Steps to take the first few of, as of `lift`.
    targets : tuple of float
        ``targets[k]``: largest abs(1 - f(x)) wanted after k of them and the polynomials.
    costs : tuple of pairs
        Degrees of polynomials and their costs, as of `x_side_costs`.
    price : float
        Cost of a Halley step.
    margin, least : float
        As in `cheapest_schedule`.

    Returns
    -------
    RationalSchedule
        Polynomials follow as soon as they are the cheaper way to the target.
    """

    def plan(low: float, target: float) -> Schedule:
        floor = min(low, _CLOSE) * (1.0 - margin)
        return cheapest_schedule(floor, target, dict(costs), margin=margin, least=least)

    schedules: list[RationalSchedule] = []
    for k in range(len(halleys) + 1):
        low = rational_image(halleys[:k], (), lower, 1.0)[0]
        if low < _TOO_LOW and k < len(halleys):
            continue  # another Halley step is cheaper than polynomials, always
        schedules.append(_completed(lower, low, halleys[:k], targets[k], price, plan))
        if not schedules[-1].steps:
            break  # more of them would be for nothing
    return min(schedules, key=lambda schedule: schedule.cost)


#: Polynomials lift a floor by a factor of at most 8, for the price of a Halley step and more.
_TOO_LOW = 0.05


def _completed(
    lower: float,
    low: float,
    halleys: tuple[Halley, ...],
    target: float,
    price: float,
    plan: Callable[[float, float], Schedule],
) -> RationalSchedule:
    steps: tuple[Step, ...] = ()
    cost = price * len(halleys)
    if 1.0 - low > target:
        rest = plan(low, target)
        steps, cost = rest.steps, cost + rest.cost
    polynomials = tuple(step_polynomial(step) for step in steps)
    inside = rational_image(halleys, polynomials, lower, 1.0)
    slope = math.prod(step.a for step in halleys) * math.prod(float(p[0]) for p in polynomials)
    bound = max(1.0 - inside[0], inside[1] - 1.0) + _ROUNDED
    return RationalSchedule(halleys, steps, lower, bound, cost, slope)


_CLOSE = 1.0 - 2.0**-40
_ROUNDED = 2.0**-50  # of a few evaluations near 1
