"""The cheapest sequence of steps from a floor to a tolerance.

A *step* maps every singular value x of an iterate to p(x) = x r(x^2), with p odd and near 1 on an
interval [l, 1]. The best p of a given degree leaves an error E, so the next iterate lives in
[1 - E, 1 + E]. It is divided by 1 + E, and the next step works on [(1 - E) / (1 + E), 1]. A
*schedule* is the cheapest sequence of such steps that starts at a given floor and ends within a
given tolerance.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from specdesc.minimax.alternation import Best, best_on, monomials
from specdesc.minimax.forms import PRODUCTS, Step, evaluation_step, step_polynomial
from specdesc.minimax.images import composed_image


class Schedule(NamedTuple):
    """A sequence of polynomial steps and what is known of their composition.

    Attributes
    ----------
    steps : tuple of Step
        The steps. All but the last are divided by the upper end of the interval
        that they produce, so each of them acts on [0, 1].
    bound : float
        Largest abs(1 - p(x)) of the composition p on [floor, 1], for the
        constants as they are stored, in exact arithmetic.
    cost : float
        Sum of the costs of the steps.
    low, high : float
        Range of p on [0, floor].
    error : float
        The error that was planned; `bound` is smaller by what the margin gave.
    floors : tuple of float
        ``floors[t]`` is the planned lower end of the interval before step t.
    """

    steps: tuple[Step, ...]
    bound: float
    cost: float
    low: float
    high: float
    error: float
    floors: tuple[float, ...]

    @property
    def degrees(self) -> tuple[int, ...]:
        """Degrees of the steps."""
        return tuple(step.degree for step in self.steps)

    @property
    def slope(self) -> float:
        """Slope of the composition at zero."""
        return math.prod(step.coefficients[0] for step in self.steps)


class _Interval(NamedTuple):
    """The interval [lower, 1], with 1 - lower given apart."""

    lower: float
    gap: float


class _State(NamedTuple):
    """A sequence of degrees, ordered by cost and then by accuracy."""

    cost: float
    odds: float  # E / (1 - E), to full relative accuracy at both ends
    degrees: tuple[int, ...]
    interval: _Interval  # what the sequence leaves behind


def cheapest_schedule(
    floor: float,
    tolerance: float,
    costs: Mapping[int, float],
    /,
    *,
    margin: float = 0.0,
    first: int = 3,
    least: float = 0.0,
) -> Schedule:
    """Cheapest sequence of odd polynomials that takes [floor, 1] close to 1.

    Each step is the best polynomial of its degree on the interval that the one
    before left behind, which is optimal among all sequences of these degrees.
    Among the sequences of the smallest cost the most accurate one is returned.

    Parameters
    ----------
    floor : float
        Lower end of the interval of singular values, between 1e-12 and 1.
    tolerance : float
        Largest abs(1 - p(x)) wanted on [floor, 1], in (0, 1).
    costs : mapping of int to float
        Cost of a step for each degree allowed, out of 3, 5, 9 and
        17; for example `x_side_costs`.
    margin : float, default 0.0
        Relative amount, below 0.1, by which every interval is widened on both
        sides before the next step is planned, so that rounding inside a step
        stays within the plan: 1e-12 for float64, 1e-5 for float32, 4e-3 for
        float16, 2e-2 for bfloat16. At least the rounding of the stored
        constants is always allowed for.
    first : int, default 3
        The least degree of the first step: 5 where that step has to form the square of the Gram
        matrix anyway.
    least : float, default 0.0
        The least ratio of the ends of an interval on which degree 17 is used. Its three products
        lose about 5 / ratio unit roundoffs (measured).

    Returns
    -------
    Schedule
        At least one step. Where the margin makes the tolerance unattainable,
        the cheapest schedule that comes within 1 % of the best attainable.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    The only state of the problem is the ratio of the two ends, and a larger
    ratio is never worse. So the search visits sequences by cost and drops every
    one that is no more accurate than a cheaper one. It uses a fit of the error
    (a relative 1e-6); the steps themselves are solved to full accuracy.
    Results are cached.

    Examples
    --------
    >>> from specdesc.minimax import cheapest_schedule, x_side_costs
    >>> schedule = cheapest_schedule(1e-3, 0.12, x_side_costs(1.0, degrees=(3, 5, 9)))
    >>> schedule.degrees, schedule.cost, round(schedule.bound, 3)
    ((5, 9, 9, 9), 30.0, 0.058)
    """
    _check_open("floor", floor, _SMALLEST_FLOOR, 1.0)
    _check_open("tolerance", tolerance, 0.0, 1.0)
    if not 0.0 <= margin < 0.1:
        msg = f"margin must be at least 0 and below 0.1, got margin={margin!r}"
        raise ValueError(msg)
    search = _Search(_checked_costs(costs), float(margin), first, float(least))
    return _schedule(float(floor), float(tolerance), search)


def _check_open(name: str, value: float, low: float, high: float) -> None:
    """Refuse a value outside of an open interval."""
    if not low < value < high:
        msg = f"{name} must lie strictly between {low} and {high}, got {name}={value!r}"
        raise ValueError(msg)


def _checked_costs(costs: Mapping[int, float]) -> tuple[tuple[int, float], ...]:
    """Costs as a sorted tuple."""
    if not costs or not set(costs) <= set(PRODUCTS):
        msg = f"costs must name some of the degrees {tuple(PRODUCTS)}, got {tuple(costs)}"
        raise ValueError(msg)
    for degree, cost in costs.items():
        _check_open(f"costs[{degree}]", cost, 0.0, math.inf)
    return tuple(sorted((degree, float(cost)) for degree, cost in costs.items()))


_SMALLEST_FLOOR = 1e-12  # below, the rounding of the constants decides


class _Search(NamedTuple):
    """What may be used."""

    costs: tuple[tuple[int, float], ...]
    margin: float
    first: int
    least: float

    def allows(self, degree: int, state: "_State") -> bool:
        """Say whether a step of this degree may follow."""
        if not state.degrees and degree < self.first:
            return False
        return degree < 17 or state.interval.lower >= self.least


@lru_cache(maxsize=1024)
def _schedule(floor: float, tolerance: float, search: _Search) -> Schedule:
    """Search, build and verify."""
    search = search._replace(margin=max(search.margin, _STORED))
    degrees, intervals, bests = _search(floor, tolerance, search)
    steps = _build(bests, search.margin)
    prices = dict(search.costs)
    exact = [step_polynomial(step) for step in steps]
    inside = composed_image(exact, floor, 1.0)
    low, high = composed_image(exact, 0.0, floor)
    return Schedule(
        steps,
        max(1.0 - inside[0], inside[1] - 1.0),
        sum(prices[d] for d in degrees),
        low,
        high,
        bests[-1].error,
        tuple(interval.lower for interval in intervals),
    )


# More than the rounding of the constants moves a step (measured: below 6e-14).
_STORED = 2.0**-41


def _search(
    floor: float, tolerance: float, search: _Search
) -> tuple[tuple[int, ...], list[_Interval], list[Best]]:
    """Degrees, intervals and solutions of the cheapest schedule."""
    wanted = max(tolerance, 1.01 * _attainable(max(search.costs)[0], search.margin))
    target = wanted
    while True:
        degrees = _cheapest(floor, target, search)
        intervals, bests = _plan(floor, degrees, search.margin)
        if bests[-1].error <= wanted:
            return degrees, intervals, bests
        target *= 1.0 - 1e-4  # missed by the error of the fit


def _cheapest(floor: float, tolerance: float, search: _Search) -> tuple[int, ...]:
    """Degrees of the cheapest schedule, by a search in the order of cost."""
    heap = [_State(0.0, math.inf, (), _Interval(floor, 1.0 - floor))]
    smallest = math.inf
    while True:
        state = heapq.heappop(heap)
        if state.odds >= smallest and state.degrees:
            continue
        if state.odds <= tolerance / (1.0 - tolerance):
            return state.degrees
        smallest = state.odds
        for degree, cost in search.costs:
            if search.allows(degree, state):
                heapq.heappush(heap, _child(state, degree, cost, search.margin))


def _child(state: _State, degree: int, cost: float, margin: float) -> _State:
    """Continuation of a sequence by one step."""
    error, rest = _fitted_error(degree, state.interval)
    total = round(state.cost + cost, 9)
    interval = _after(error, rest, margin)
    return _State(total, error / rest, (*state.degrees, degree), interval)


def _fitted_error(degree: int, interval: _Interval) -> tuple[float, float]:
    """Return the error E of a step and 1 - E, both to a relative 1e-6.

    With t = (1 - l) / (1 + l) and q + 1 = (degree + 1) / 2,
    E = t^(q+1) (1 - (1 - t^2) H(t^2)), where H is smooth on [0, 1]: it is
    positive, analytic at both ends, and given by a Chebyshev series in 2 t^2 - 1.
    """
    order = degree // 2 + 1
    t = interval.gap / (1.0 + interval.lower)
    away = 2.0 * interval.lower / (1.0 + interval.lower)  # 1 - t
    drop = away * (1.0 + t) * _clenshaw(_FIT[degree], 2.0 * t * t - 1.0)
    power = t**order
    return power * (1.0 - drop), away * sum(t**j for j in range(order)) + power * drop


def _clenshaw(series: Sequence[float], z: float) -> float:
    """Value of a Chebyshev series."""
    following, current = 0.0, 0.0
    for c in reversed(series[1:]):
        following, current = current, c + 2.0 * z * current - following
    return series[0] + z * current - following


# Interpolation of H at Chebyshev nodes, from `best_on`.
_FIT: Mapping[int, tuple[float, ...]] = MappingProxyType(
    {
        3: (
            0.27352887,
            0.0244827957,
            0.000988872054,
            3.62130348e-05,
            1.30879291e-06,
            4.40514761e-08,
        ),
        5: (
            0.489050689,
            0.125480671,
            0.0126116644,
            0.00129526745,
            0.000124335701,
            1.1745379e-05,
            1.08606864e-06,
            9.85487006e-08,
        ),
        9: (
            0.819996424,
            0.381033206,
            0.0827155232,
            0.0165655889,
            0.0032266452,
            0.000628011922,
            0.000119648152,
            2.24613006e-05,
            4.1756489e-06,
            7.46449811e-07,
        ),
        17: (
            1.29780951,
            0.902805825,
            0.313353088,
            0.105182921,
            0.0341186668,
            0.0108227329,
            0.00339957568,
            0.00106291091,
            0.000330388506,
            0.000101934676,
            3.12381241e-05,
            9.52287563e-06,
            2.8894375e-06,
            8.67766126e-07,
            2.40071941e-07,
        ),
    }
)


def _after(error: float, rest: float, margin: float) -> _Interval:
    """Return the widened interval that a step leaves, divided by its upper end.

    The lower end gives way by an absolute amount, too: where it is reached
    inside of the interval, it is a small difference of larger terms.
    """
    upper = _upper_end(error, margin)
    lower = rest * (1.0 - margin) - _STORED
    return _Interval(lower / upper, (2.0 * (error + margin) + _STORED) / upper)


def _upper_end(error: float, margin: float) -> float:
    """Upper end of the widened interval that a step leaves."""
    return (1.0 + error) * (1.0 + margin)


def _attainable(degree: int, margin: float) -> float:
    """Limit of the error when steps of one degree are repeated."""
    interval = _Interval((1.0 - margin) / (1.0 + margin), 2.0 * margin / (1.0 + margin))
    for _ in range(8):
        interval = _after(*_fitted_error(degree, interval), margin)
    return _fitted_error(degree, interval)[0]


def _plan(
    floor: float, degrees: Sequence[int], margin: float
) -> tuple[list[_Interval], list[Best]]:
    """Return the interval before each step, and its best polynomial."""
    intervals, bests = [_Interval(floor, 1.0 - floor)], []
    for degree in degrees:
        bests.append(best_on(degree // 2, *intervals[-1]))
        intervals.append(_after(bests[-1].error, bests[-1].rest, margin))
    return intervals[:-1], bests


def _build(bests: Sequence[Best], margin: float) -> tuple[Step, ...]:
    """Make the steps ready for evaluation; all but the last carry the division."""
    divisors = [_upper_end(best.error, margin) for best in bests[:-1]]
    return tuple(
        evaluation_step(monomials(best, divisor))
        for best, divisor in zip(bests, [*divisors, 1.0], strict=True)
    )
