"""Which kappa and eps model a polynomial best: least squares on the host."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy

from specdesc._lib.typing import Array
from specdesc.backends import load
from specdesc.preconditioners import kernels
from specdesc.preconditioners.kernels import Kernel

#: Magnitudes, log-uniform in [10^-DECADES, 1].
POINTS, DECADES = 20001, 5

#: The largest finite kappa that is tried.
LARGEST = 64.0


class Fit(NamedTuple):
    """A `Kappa` that models a polynomial.

    Attributes
    ----------
    kappa, eps : float
        Its parameters; kappa is ``inf`` where `Clip` is closest.
    error : float
        Root mean square of the difference over the magnitudes.
    largest : float
        The largest difference.
    """

    kappa: float
    eps: float
    error: float
    largest: float


def response(steps: Sequence[Sequence[float]], s: Array, /) -> Array:
    """Apply the polynomials to numbers."""
    for coefficients in steps:
        square = s * s
        total = coefficients[-1] + 0.0 * s
        for c in coefficients[-2::-1]:
            total = c + square * total
        s = s * total
    return s


def fit(steps: tuple[tuple[float, ...], ...], kappa: float | None, /) -> Fit:
    """Fit eps, and kappa where it is None."""
    if kappa is not None:
        return _fit_eps(steps, kappa)
    # In 1 / kappa, where the hard clip is an end of the interval like any other.
    grid = [i / 16.0 for i in range(17)]
    errors = [_fit_eps(steps, _kappa(q)).error for q in grid]
    best = min(range(17), key=errors.__getitem__)
    around = grid[max(best - 1, 0)], grid[min(best + 1, 16)]
    q = _minimize(lambda q: _fit_eps(steps, _kappa(q)).error, *around, 30)
    found = _fit_eps(steps, _kappa(q))
    return min(found, _fit_eps(steps, _kappa(grid[best])), key=lambda each: each.error)


def _kappa(q: float) -> float:
    return 1.0 / q if q > 1.0 / LARGEST else math.inf


@cache
def _points(steps: tuple[tuple[float, ...], ...]) -> tuple[Array, Array]:
    s = numpy.logspace(-DECADES, 0.0, POINTS)
    return s, response(steps, s)


def _fit_eps(steps: tuple[tuple[float, ...], ...], kappa: float) -> Fit:
    kernel: Kernel = kernels.Clip() if math.isinf(kappa) else kernels.Kappa(kappa)
    s, wanted = _points(steps)
    xp = load("numpy").xp

    def difference(log_eps: float) -> Array:
        return kernel.pre(s / math.exp(log_eps), xp=xp) - wanted

    def error(log_eps: float) -> float:
        return float(xp.sqrt(xp.mean(difference(log_eps) ** 2)))

    centre = -math.log(max(math.prod(step[0] for step in steps), 1.0))
    best = _minimize(error, centre - 2.0, centre + 2.0, 40)
    return Fit(kappa, math.exp(best), error(best), float(xp.max(xp.abs(difference(best)))))


GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def _minimize(function: Callable[[float], float], low: float, high: float, steps: int) -> float:
    """Return the minimum of a function with one, by golden sections."""
    inner = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)]
    values = [function(x) for x in inner]
    for _ in range(steps):
        if values[0] <= values[1]:
            high = inner[1]
            inner = [high - GOLDEN * (high - low), inner[0]]
            values = [function(inner[0]), values[0]]
        else:
            low = inner[0]
            inner = [inner[1], low + GOLDEN * (high - low)]
            values = [values[1], function(inner[1])]
    return inner[0] if values[0] <= values[1] else inner[1]
