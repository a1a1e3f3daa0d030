"""Alternated runs: in each round every contestant runs once, so that a ratio has its own spread.

Between two libraries there is a rest: threads of a linear algebra library spin for milliseconds
after a call, and take the cores from the next one.
"""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy

from specdesc._lib.typing import Array

#: Seconds of a rest, and the least length of one reading of the clock.
REST, LEAST = 0.02, 0.004

#: Rounds at most, and at least whatever the budget is.
MOST, FEWEST = 41, 3

#: Calls that the fewest rounds take of a long one: two come before them.
LEAST_CALLS = FEWEST + 2

#: What is said of a ratio: its median, and where this share of the rounds lies.
SHARE = 0.95


class Run(NamedTuple):
    """One contestant: a call, and what to wait for after it."""

    call: Callable[[], object]
    synchronize: Callable[[], object]


class Ratio(NamedTuple):
    """A ratio of times of the same rounds.

    Attributes
    ----------
    median : float
    low, high : float
        Where 95 % of the rounds lie.
    """

    median: float
    low: float
    high: float


def seconds(run: Run, count: int, /) -> float:
    """Return the time of one of `count` calls."""
    run.synchronize()
    begin = time.perf_counter()
    for _ in range(count):
        run.call()
    run.synchronize()
    return (time.perf_counter() - begin) / count


def times(runs: Mapping[str, Run], budget: float, /) -> dict[str, Array]:
    """Return the times of all contestants, round by round, in about `budget` seconds."""
    begin, counts = time.perf_counter(), dict[str, int]()
    for name, run in runs.items():
        run.call()  # plans, compilers and caches
        counts[name] = max(1, int(LEAST / max(seconds(run, 1), 1e-9)))
    rows: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(MOST):
        if number >= FEWEST and time.perf_counter() - begin > budget:
            break
        # In turn from either end, so that nobody always follows the same one.
        order = list(runs) if number % 2 == 0 else list(runs)[::-1]
        for name in order:
            time.sleep(REST)
            rows[name].append(seconds(runs[name], counts[name]))
    return {name: numpy.asarray(row) for name, row in rows.items()}


def ratio(above: Array, below: Array, /) -> Ratio:
    """Return the ratio of two contestants over their common rounds."""
    each = above / below
    low, high = numpy.quantile(each, ((1 - SHARE) / 2, (1 + SHARE) / 2))
    return Ratio(float(numpy.median(each)), float(low), float(high))
