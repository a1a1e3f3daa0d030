"""Which polynomial steps a matrix of a shape and a precision gets, before any value is seen."""

import math
from functools import cache
from typing import NamedTuple

from specdesc import minimax
from specdesc._core.polynomial import reach, slack
from specdesc._opaque import opaque
from specdesc.minimax import Polynomial, Step

#: The floor of a fixed plan when none is given.
DEFAULT_FLOOR = 1e-3

#: A residual below HALF says that every start was lifted above LIFTED (< sqrt(1 - HALF)).
HALF, LIFTED = 0.5, 0.7

#: The shortest intervals for which the constants of a schedule are accurate.
SHORTEST = 1.01e-12


class Run(NamedTuple):
    """Steps for singular values in [0, 1], and what they promise."""

    steps: tuple[Step, ...]
    lower: float
    bound: float  # max abs(1 - p) on [lower, 1]
    slope: float  # of p at 0
    gain: float  # 1 / x for the smallest x that p may lift above LIFTED
    products: int  # of the steps, and one for the residual


def _products(steps: tuple[Step, ...]) -> int:
    return sum(2 + minimax.PRODUCTS[step.degree] for step in steps) + 1


@opaque
def rounding(shape: tuple[int, ...], unit: float, /) -> float:
    """Return the rounding error of the factor for one unit of gain.

    Directions of relative size l turn by eps / l when the first products are rounded. Measured up
    to 0.8 eps / l for 8 to 600 columns, on spectra made for it; this is 3 times as much or more,
    and grows like a random walk.
    """
    return (2.0 + math.sqrt(max(shape[-2:])) / 8.0) * unit


@opaque
def goal(tol: float | None, unit: float, /, *, half: bool) -> float:
    """Return the tolerance, or the working accuracy of a dtype with this eps."""
    return tol if tol is not None else (4.0 if half else 16.0) * unit


@opaque
def fixed(shape: tuple[int, int], unit: float, goal: float, floor: float | None, /) -> Run:
    """Return the run that takes s_i >= floor s_1 to 1 +- goal, rounding included where it fits.

    Without a floor only the residual proves anything, and that is the sum of m errors, squared.
    """
    rows = shape[0]
    lower = (floor or DEFAULT_FLOOR) * reach(rows) / (1.0 + slack(shape, unit)) ** 2
    target = max(goal - rounding(shape, unit) / lower, goal / 2)
    return on_interval(shape, unit, target if floor else target / math.sqrt(rows), lower)


def promise(run: Run, shape: tuple[int, ...], unit: float, /) -> float:
    """Return what a run promises of the values above its floor, rounding included."""
    return run.bound + rounding(shape, unit) * min(run.slope, 1.0 / run.lower)


@cache
def on_interval(
    shape: tuple[int, int], unit: float, target: float, lower: float, /, first: int = 5
) -> Run:
    """Return the cheapest run that takes [lower, 1] to 1 +- target; rows <= columns.

    The first step of a fresh matrix forms R² for the norm: a cubic would save nothing.
    """
    rows, columns = shape
    schedule = minimax.cheapest_schedule(
        max(lower, SHORTEST, unit),
        min(max(target, unit / 8), 0.5),
        minimax.x_side_costs(columns / rows),
        margin=margin(shape, unit),
        first=first,
    )
    exact = tuple(minimax.step_polynomial(step) for step in schedule.steps)
    bound = minimax.bound(exact, lower)
    return Run(
        schedule.steps,
        lower,
        bound,
        schedule.slope,
        1.0 / _lifted(exact),
        _products(schedule.steps),
    )


def margin(shape: tuple[int, int], unit: float) -> float:
    """Return by how much intervals are widened, so that rounding inside a step stays in the plan.

    At least what was seen to suffice in each precision, and twice the slack of the norm.
    """
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
    steps = tuple(minimax.evaluation_step(quintic) for quintic in quintics)
    slope = minimax.slope(quintics)
    return Run(
        steps,
        lower,
        minimax.bound(quintics, lower),
        slope,
        1.0 / _lifted(quintics),
        _products(steps),
    )


def _lifted(polynomials: tuple[Polynomial, ...]) -> float:
    """Return a start, nearly the largest, below which none is lifted above LIFTED."""

    def stays(start: float) -> bool:
        return minimax.composed_image(polynomials, 0.0, start)[1] <= LIFTED

    low = LIFTED / minimax.slope(polynomials)
    while not stays(low):
        low /= 2.0
    high = 4.0 * low
    for _ in range(4):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if stays(middle) else (low, middle)
    return low
