"""The best odd polynomial by its points of alternation.

The best p of degree 2 q + 1 on [l, 1] has q interior extrema x_1 < ... < x_q, the zeros of its
derivative, so p(x) = C int_0^x prod_k (x_k^2 - t^2) dt. It alternates between 1 - E and 1 + E at
l = x_0, x_1, ..., x_{q+1} = 1, so the integrals of abs(prod_k (x_k^2 - t^2)) between neighbours
have one common value. The unknowns are the spacings of the x_i. Every quantity is then a sum of
products of positive numbers, and nothing cancels.
"""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from specdesc.minimax.quadrature import gauss_legendre, solve


class Best(NamedTuple):
    """Best polynomial on [l, 1] by its interior extrema and its leading factor."""

    extrema: tuple[float, ...]
    lead: float
    error: float
    rest: float  # 1 - error, to full relative accuracy


class _Panel(NamedTuple):
    """One interval of integration and the extrema seen from it."""

    start: float
    width: float
    below: tuple[tuple[float, float], ...]  # (distance from the start, extremum)
    above: tuple[tuple[float, float], ...]  # (distance from the end, extremum)


@lru_cache(maxsize=8192)
def best_on(count: int, lower: float, gap: float) -> Best:
    """Best odd polynomial on [lower, 1] with `count` interior extrema.

    `gap` is 1 - lower, given apart because it may be tiny.
    """
    spacings = _chebyshev_spacings(count, gap)
    for _ in range(_MOST_ITERATIONS):
        change = _newton_step(lower, spacings)
        shrink, growth = _extreme_ratios(change, spacings)
        scale = min(1.0, 0.6 / shrink) if shrink > 0.0 else 1.0
        spacings = [h + scale * d for h, d in zip(spacings, change, strict=True)]
        if growth < _SMALL_STEP:
            break
    return _normalised(lower, spacings)


_MOST_ITERATIONS = 60
_SMALL_STEP = 1e-8  # convergence is quadratic: the next step would be below 1e-15


def _chebyshev_spacings(count: int, gap: float) -> list[float]:
    """Spacings of the extrema of a Chebyshev polynomial on an interval of length gap."""
    half = math.pi / (2 * (count + 1))
    return [gap * math.sin(half) * math.sin((2 * i + 1) * half) for i in range(count + 1)]


def _extreme_ratios(change: Sequence[float], sizes: Sequence[float]) -> tuple[float, float]:
    """Largest relative decrease, and largest relative change."""
    ratios = [d / h for d, h in zip(change, sizes, strict=True)]
    return max(-r for r in ratios), max(abs(r) for r in ratios)


def _newton_step(lower: float, spacings: Sequence[float]) -> list[float]:
    """Newton step, in the spacings, towards equal integrals between extrema."""
    panels = _panels(lower, spacings)[1:]
    levels, slopes = zip(*(_log_slopes(panel) for panel in panels), strict=True)
    matrix = [
        [b - a for a, b in zip(row, following, strict=True)]
        for row, following in itertools.pairwise(slopes)
    ]
    right = [math.log(a / b) for a, b in itertools.pairwise(levels)]
    moves = [0.0, *solve(matrix, right), 0.0]
    return [b - a for a, b in itertools.pairwise(moves)]


def _normalised(lower: float, spacings: Sequence[float]) -> Best:
    """Scale the integral so that it alternates about 1."""
    start, *integrals = (_integral(panel) for panel in _panels(lower, spacings))
    level = math.fsum(integrals) / len(integrals)
    lead = 1.0 / (start + level / 2.0)
    return Best(_points(lower, spacings)[1:-1], lead, lead * level / 2.0, lead * start)


def _points(lower: float, spacings: Sequence[float]) -> tuple[float, ...]:
    """All points of alternation, from their spacings."""
    return tuple(itertools.accumulate(spacings, initial=lower))


def _panels(lower: float, spacings: Sequence[float]) -> list[_Panel]:
    """Return the interval [0, l] and the intervals between neighbouring points."""
    points = _points(lower, spacings)
    inner = range(1, len(points) - 1)
    apart = _separations(spacings)
    first = _Panel(0.0, lower, (), tuple((apart[0][k], points[k]) for k in inner))
    between = (
        _Panel(
            points[i],
            width,
            tuple((apart[i][k], points[k]) for k in inner if k <= i),
            tuple((apart[i + 1][k], points[k]) for k in inner if k > i),
        )
        for i, width in enumerate(spacings)
    )
    return [first, *between]


def _separations(spacings: Sequence[float]) -> list[list[float]]:
    """Distances between all points, as sums of spacings."""
    return [
        [
            *reversed(list(itertools.accumulate(reversed(spacings[:i])))),
            0.0,
            *itertools.accumulate(spacings[i:]),
        ]
        for i in range(len(spacings) + 1)
    ]


def _factors(panel: _Panel, node: float, mirror: float) -> list[float]:
    """Return the positive factors abs(x_k^2 - t^2) at a node of the panel."""
    point = panel.start + node * panel.width
    near, far = node * panel.width, mirror * panel.width
    return [(d + near) * (point + x) for d, x in panel.below] + [
        (d + far) * (point + x) for d, x in panel.above
    ]


def _integral(panel: _Panel) -> float:
    """Integral of prod_k abs(x_k^2 - t^2) over the panel, exact up to rounding."""
    rule = gauss_legendre(len(panel.below) + len(panel.above) + 2)
    return panel.width * math.fsum(
        weight * math.prod(_factors(panel, node, mirror)) for node, mirror, weight in rule
    )


def _log_slopes(panel: _Panel) -> tuple[float, list[float]]:
    """Return the integral over a panel and the derivatives of its logarithm in x_k."""
    count = len(panel.below) + len(panel.above)
    total, parts = 0.0, [0.0] * count
    for node, mirror, weight in gauss_legendre(count + 2):
        factors = _factors(panel, node, mirror)
        value = weight * math.prod(factors)
        total += value
        parts = [part + value / f for part, f in zip(parts, factors, strict=True)]
    twice = [-2.0 * x for _, x in panel.below] + [2.0 * x for _, x in panel.above]
    slopes = [t * part / total for t, part in zip(twice, parts, strict=True)]
    return panel.width * total, slopes


def monomials(best: Best, divisor: float) -> list[Fraction]:
    """Coefficients of x, x^3, ... of p / divisor, exact for the given extrema."""
    squares = [round(math.ldexp(x, _BITS)) ** 2 for x in best.extrema]
    symmetric = [1]  # coefficients of prod_k (x_k^2 + z), constant term first
    for square in squares:
        symmetric = [
            square * low + high for low, high in zip([*symmetric, 0], [0, *symmetric], strict=True)
        ]
    lead = Fraction(best.lead) / Fraction(divisor)
    numerator, denominator = lead.as_integer_ratio()
    return [
        Fraction(
            (-1) ** j * numerator * value,
            denominator * (2 * j + 1) << 2 * _BITS * (len(squares) - j),
        )
        for j, value in enumerate(symmetric)
    ]


_BITS = 80
