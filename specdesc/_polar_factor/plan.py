"""Which polynomial steps a matrix of a shape and a precision gets, before any value is seen."""

import itertools
import math
from collections.abc import Sequence
from functools import cache, partial
from typing import NamedTuple

from specdesc import minimax
from specdesc._lib.tracing import opaque
from specdesc._polar_factor.newton_schulz import SINGLE, Segment, reach, slack
from specdesc.minimax import Halley, Polynomial

#: The floor of a fixed plan when none is given; up to MOST_DEFAULT_FLOOR where that is as low as
#: products in half precision can tell.
DEFAULT_FLOOR, MOST_DEFAULT_FLOOR = 1e-3, 1e-2

#: A residual below HALF says that every start was lifted above LIFTED (< sqrt(1 - HALF)).
HALF, LIFTED = 0.5, 0.7

#: The shortest intervals for which the constants of a schedule are accurate.
SHORTEST = 1.01e-12


#: A pass over a square array of m rows costs as much as PASS / m of a product (measured, CPU).
PASS = 32.0

#: The same of runs that are made for devices, where products are many times faster than memory and
#: every call is launched. Degrees 9 and 17 save products there, and cost more in passes and calls.
DEVICE_PASS, DEVICE_DEGREES = 1024.0, (3, 5)

#: The form of degree 17 moves what it is given on [l, 1] by SEVENTEENTH[half] (RATIO / l)² eps,
#: measured for l from 0.03 to 0.4; the other degrees stay within `rounding`.
RATIO = 0.1
SEVENTEENTH = {False: 64.0, True: 10.0}

#: Cost of a Halley step beyond that of a cubic, in m³ flops of products: measured, not counted.
FACTORIZATION = 4.0

#: A step of weight c turns directions as a gain of WEIGHT c does (measured: at most a third).
WEIGHT = 0.25

#: Weights up to SHARE / l turn directions of size l by less than the rounding of the input does.
SHARE = 0.1

#: Weights up to here are taken whatever the floor is: the known limit of backward stability.
HARMLESS = 100.0

#: The rounding of the image of an interval under Halley steps, near 1.
_ROUNDED = 2.0**-50

#: Tolerances below this many eps leave no room for the rounding of products in half precision.
COARSEST = 32.0

#: The share of a tolerance that turns by long segments may take.
TURNS = 0.25


class Bounds(NamedTuple):
    """What is known of a spectrum before its run: see `newton_schulz.Facts`."""

    mean: float
    reach: float
    least: float  # a proven lower bound on all singular values of X / s, 0 for none


class Run(NamedTuple):
    """Halley steps and then segments for singular values in [0, 1], and what they promise."""

    halleys: tuple[Halley, ...]
    segments: tuple[Segment, ...]
    lower: float
    bound: float  # max abs(1 - f) on [lower, 1]
    slope: float  # of f at 0
    gain: float  # 1 / x for the smallest x that f may lift above LIFTED
    turn: float  # of directions, beyond what `rounding` says
    products: int  # of the steps, a solution counted as one, and one for the residual


class Kind(NamedTuple):
    """Which runs there are for a shape, rows <= columns, and a precision."""

    shape: tuple[int, int]
    unit: float
    rational: bool = False
    device: bool = False

    @property
    def rounding(self) -> "Rounding":
        """What rounding does to the factor."""
        return rounding(self.shape, self.unit)


def _products(halleys: tuple[Halley, ...], segments: tuple[Segment, ...]) -> int:
    """Count two for the ends of a segment and three between its steps, and one for the residual."""
    squares = sum(minimax.PRODUCTS[step.degree] for segment in segments for step in segment)
    ends = sum(2 + 3 * (len(segment) - 1) for segment in segments)
    return 2 * len(halleys) + squares + ends + 1


class Rounding(NamedTuple):
    """The rounding error of a factor: base + turn mean gain (see `rounding`)."""

    base: float
    turn: float


@opaque
def rounding(shape: tuple[int, ...], unit: float, /) -> Rounding:
    """Return what rounding does to the factor.

    Directions of relative size l = 1 / gain turn by eps / l when the first products are rounded,
    by an error as large as the rows of X / s are long: their mean is the root mean square of the
    singular values. Measured on spectra made for it, for 8 to 600 columns: 0.8 eps mean / l, which
    grows like a random walk, and 0.2 where sums are kept in a finer precision; this is twice to 3
    times as much.
    """
    if unit > SINGLE:
        return Rounding(6.0 * unit, 0.4 * unit)
    return Rounding(16.0 * unit, (2.0 + math.sqrt(max(shape[-2:])) / 8.0) * unit)


@opaque
def goal(tol: float | None, unit: float, /, *, half: bool) -> float:
    """Return the tolerance, or the working accuracy of a dtype with this eps."""
    return tol if tol is not None else (4.0 if half else 16.0) * unit


@opaque
def coarse_floor(unit: float, goal: float, floor: float | None, /) -> float | None:
    """Return the floor for products rounded to a coarse eps, None where they are no use.

    They turn directions at the floor by a fraction of eps / floor (measured: by 0.02 to 0.2 of it
    for Gaussian, power law, graded and two-valued spectra).
    """
    if goal < COARSEST * unit:
        return None
    least = unit / (4.0 * goal)
    if floor is not None:
        return floor if floor >= least else None
    return max(least, DEFAULT_FLOOR) if least <= MOST_DEFAULT_FLOOR else None


@opaque
def fixed(
    shape: tuple[int, int], unit: float, rational: bool, goal: float, floor: float | None, /
) -> Run:
    """Return the run for a spectrum of which nothing is known: see `fitted`.

    Without a floor only the measured residual proves anything: the sum of m errors, squared.
    """
    bounds = Bounds(1.0, reach(shape[0]), 0.0)
    goal = goal if floor else goal / math.sqrt(shape[0])
    kind = Kind(shape, unit, rational, device=True)
    return fitted(kind, goal, floor or DEFAULT_FLOOR, bounds)


def fitted(kind: Kind, goal: float, floor: float, bounds: Bounds, /) -> Run:
    """Return the run that takes s_i >= floor s_1 to 1 +- goal, rounding included where it fits."""
    unit = kind.unit
    lower = max(floor * bounds.reach / (1.0 + slack(kind.shape, unit)) ** 2, bounds.least)
    base, turn = kind.rounding
    # Coarse products turn directions by what no more steps would cure.
    rounding_error = 2.0 * unit if unit > SINGLE else base + turn * bounds.mean / lower
    return on_interval(kind, max(goal - rounding_error, goal / 2), lower)


@opaque
def promise(run: Run, shape: tuple[int, ...], unit: float, /) -> float:
    """Return what a run promises of the values above its floor for any spectrum."""
    base, turn = rounding(shape, unit)
    return run.bound + run.turn + base + turn * min(run.slope, 1.0 / run.lower)


@cache
def on_interval(
    kind: Kind, target: float, lower: float, /, *, first: int = 5, goal: float = 1.0
) -> Run:
    """Return the cheapest run that takes [lower, 1] to 1 +- target, and turns directions by less.

    The first step of a fresh matrix forms R² for the norm: a cubic would save nothing. Where the
    run is not the last one, the turn is held against the `goal` of all.
    """
    start = max(lower, SHORTEST, min(kind.unit, SINGLE))
    target = min(max(target, kind.unit / 8), 0.5)
    if kind.rational:
        steps = _rational(kind, target, start, min(goal, target))
    else:
        steps = _polynomial(kind, target, start, first)
    exact = tuple(minimax.step_polynomial(s) for segment in steps.segments for s in segment)
    low, high = minimax.rational_image(steps.halleys, exact, lower, 1.0)
    return Run(
        steps.halleys,
        steps.segments,
        lower,
        max(1.0 - low, high - 1.0) + (_ROUNDED if steps.halleys else 0.0),
        steps.slope,
        1.0 / _lifted(steps.halleys, exact, steps.slope),
        steps.turn,
        _products(steps.halleys, steps.segments),
    )


class Steps(NamedTuple):
    """What a run applies, with its slope at 0 and the turn of directions that it makes."""

    halleys: tuple[Halley, ...]
    segments: tuple[Segment, ...]
    slope: float
    turn: float


def _polynomial(kind: Kind, target: float, lower: float, first: int) -> Steps:
    shape, unit = kind.shape, kind.unit
    aspect, sweep = shape[1] / shape[0], (DEVICE_PASS if kind.device else PASS) / shape[0]
    degrees = DEVICE_DEGREES if kind.device else tuple(minimax.PRODUCTS)
    plan = partial(
        minimax.cheapest_schedule,
        lower,
        margin=margin(shape, unit),
        first=first,
        least=_least(kind, target),
    )
    schedule, turn = plan(target, minimax.x_side_costs(aspect, degrees=degrees, sweep=sweep)), 0.0
    segments: tuple[Segment, ...] = tuple((step,) for step in schedule.steps)
    # Coarse products keep to the matrix: a rounded factor loses what it multiplies.
    if aspect > 1.5 and unit <= SINGLE:
        inside = plan((1.0 - TURNS) * target, minimax.gram_side_costs(degrees=degrees, sweep=sweep))
        cut = minimax.split(inside, max(TURNS * target * 2.0 / unit, 1.0 / lower))
        if inside.cost + len(cut.lengths) * (4.0 * aspect - 6.0) < schedule.cost:
            schedule, turn = inside, cut.turn * unit / 2.0
            steps = iter(inside.steps)
            segments = tuple(tuple(itertools.islice(steps, n)) for n in cut.lengths)
    return Steps((), segments, schedule.slope, turn + _moved(kind, schedule))


def _rational(kind: Kind, target: float, lower: float, goal: float) -> Steps:
    shape, unit = kind.shape, kind.unit
    most = _most(kind, goal, lower)
    halleys = minimax.lift(lower, most=most, enough=unit / 8)
    turns = [WEIGHT * kind.rounding.turn * sum(h.c for h in halleys[:k]) for k in _upto(halleys)]
    costs = minimax.x_side_costs(shape[1] / shape[0], sweep=PASS / shape[0])
    cheapest = minimax.cheapest_rational(
        lower,
        halleys,
        tuple(max(target - turn, target / 2) for turn in turns),
        tuple(sorted(costs.items())),
        costs[3] + FACTORIZATION,
        margin(shape, unit),
        _least(kind, target),
    )
    segments = tuple((step,) for step in cheapest.steps)
    turn = turns[len(cheapest.halleys)]
    return Steps(cheapest.halleys, segments, cheapest.slope, turn)


def _upto(items: tuple[Halley, ...]) -> range:
    return range(len(items) + 1)


def _least(kind: Kind, target: float) -> float:
    """Return where degree 17 begins to keep its rounding well below a target."""
    return max(RATIO, 2.0 * math.sqrt(min(kind.unit, SINGLE) / target))


def _moved(kind: Kind, schedule: minimax.Schedule) -> float:
    """Return by how much the steps of degree 17 move what they are given."""
    eps = SEVENTEENTH[kind.unit > SINGLE] * kind.unit
    return eps * sum(
        (RATIO / floor) ** 2
        for step, floor in zip(schedule.steps, schedule.floors, strict=True)
        if step.degree == 17
    )


def _most(kind: Kind, goal: float, lower: float) -> float:
    """Limit the weight c of a Halley step, as I + c R carries an error of c eps.

    Directions of size l turn by eps / l whatever is done, and a part of the goal is free for more.
    In no case may the factorization fail.
    """
    free = goal / (8.0 * WEIGHT * kind.rounding.turn)
    safe = 1.0 / (16.0 * math.sqrt(kind.shape[1]) * kind.unit)
    return max(HARMLESS, min(max(SHARE / lower, free), safe))


def margin(shape: tuple[int, int], unit: float) -> float:
    """Return by how much intervals are widened, so that rounding inside a step stays in the plan.

    At least what was seen to suffice in each precision, and twice the slack of the norm.
    """
    if unit > SINGLE:
        return 2.5 * unit
    return min(max(2 * slack(shape, unit), 1e-5 if unit > 1e-10 else 1e-12), 0.05)


@opaque
def published(method: str, lower: float, /) -> Run:
    """Return a published iteration, and what it promises on [lower, 1]."""
    return _published(method, lower)


# Below the mark: a tracer that finds a cached function looks inside.
@cache
def _published(method: str, lower: float) -> Run:
    quintics = {
        "newton-schulz": minimax.NEWTON_SCHULZ,
        "polar-express": minimax.damped_polar_express(),
    }[method]
    segments = tuple((minimax.evaluation_step(quintic),) for quintic in quintics)
    slope = minimax.slope(quintics)
    bound = minimax.bound(quintics, lower)
    lifted = 1.0 / _lifted((), quintics, slope)
    return Run((), segments, lower, bound, slope, lifted, 0.0, _products((), segments))


def _lifted(halleys: Sequence[Halley], polynomials: Sequence[Polynomial], slope: float) -> float:
    """Return a start, nearly the largest, below which none is lifted above LIFTED."""

    def stays(start: float) -> bool:
        return minimax.rational_image(halleys, polynomials, 0.0, start)[1] <= LIFTED

    low = LIFTED / slope
    while not stays(low):
        low /= 2.0
    high = 4.0 * low
    for _ in range(4):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if stays(middle) else (low, middle)
    return low
