"""What claims share: runs that note a curve, bands over seeds, and their drawing."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from specdesc._lib.typing import Array
from specdesc._minimize import minimize
from specdesc.backends import Backend
from specdesc.rules import Rule

#: Heights below this are drawn at it: a logarithmic axis has no zero.
LEAST = 1e-17


def follow(
    value_and_grad: Callable[..., tuple[Array, Array]],
    start: Array,
    rule: Rule,
    steps: int,
    measure: Callable[[Array, Array], Array],
    backend: Backend,
    /,
) -> Array:
    """Run a rule and return ``measure(x, value)`` at every point, as a host array (steps + 1, ...).

    A run that leaves the numbers keeps its last good measure to the end.
    """
    heights: list[Array] = []

    def note(_: int, x: Array, value: Array) -> None:
        heights.append(backend.to_host(measure(x, value)))

    minimize(value_and_grad, start, rule, steps=steps, callback=note)
    heights += [heights[-1]] * (steps + 1 - len(heights))
    return numpy.stack(heights)


def fitted_power(x: Array, y: Array, /) -> tuple[float, float]:
    """Return the exponent and the factor of the power law that fits best, in logarithms."""
    exponent, constant = numpy.polyfit(numpy.log(x), numpy.log(y), 1)
    return float(exponent), float(numpy.exp(constant))


def thinned(curve: Sequence[float], points: int = 100, /) -> tuple[list[int], list[float]]:
    """Return at most about this many points of a curve, ends included: enough to draw it."""
    last = len(curve) - 1
    stride = max(1, -(-last // points))
    steps = sorted({*range(0, last + 1, stride), last})
    return steps, [float(curve[t]) for t in steps]


def band(rows: Sequence[Sequence[float]], /) -> tuple[list[float], list[float], list[float]]:
    """Return the least, the median and the largest of several curves at each point."""
    low, middle, high = numpy.quantile(rows, (0.0, 0.5, 1.0), axis=0)
    return list(low), list(middle), list(high)


def draw_band(
    axis: Any, steps: Sequence[float], rows: Sequence[Sequence[float]], label: str, /, **style: Any
) -> None:
    """Draw the median of several curves, and the band that holds all of them."""
    low, middle, high = ([max(y, LEAST) for y in line] for line in band(rows))
    (line,) = axis.plot(steps, middle, label=label, **style)
    axis.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
