"""Iterations that follow what they measure, where code may look at values."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from specdesc import _plan
from specdesc._array import eps
from specdesc._core import polynomial
from specdesc._core.linalg import frobenius, per_batch
from specdesc._core.polynomial import Start
from specdesc._typing import Array, Namespace
from specdesc.backends import Backend

#: Segments of one matrix at most: the guess, the floors below it, the last digits.
MOST_SEGMENTS = 12

#: The least first guess of a floor, and by how much a guess that failed is lowered.
LEAST_GUESS, LOWERED = 2.0**-10, 2.0**-10


class Followed(NamedTuple):
    """A factor and what is known of it; all but the factor have the batch shape."""

    matrix: Array
    residual: Array
    gain: Array  # the inverse of the smallest singular value that is proven
    products: Array


class Interval(NamedTuple):
    """Where the singular values of an iterate are taken to lie, all in [0, upper] for certain."""

    lower: float
    upper: float
    floor: float  # what `lower` was before the first step


class State(NamedTuple):
    """A flat stack on its way."""

    matrix: Array
    gram: Array
    square: Array | None
    residual: Array
    slope: Array
    gain: Array
    products: Array


def distance(residual: Array, /, *, xp: Namespace) -> Array:
    """Bound |1 - s| by |1 - s²| / (1 + s), where |1 - s²| <= residual < 1."""
    return residual / (1 + _least(residual, xp))


def gain(
    residual: Array, slope: float | Array, lifted: float | Array, /, *, xp: Namespace
) -> Array:
    """Return the inverse of the smallest start that a residual proves, inf for none.

    Steps of that slope lift x to at most slope x; up to `HALF` the run knows better.
    """
    infinite = xp.full_like(residual, float("inf"))
    least = _least(residual, xp)
    steep = xp.where(least > 0, slope / xp.where(least > 0, least, least + 1), infinite)
    known = xp.where(residual <= _plan.HALF, lifted * xp.ones_like(residual), infinite)
    return xp.minimum(steep, known)


def _least(residual: Array, xp: Namespace) -> Array:
    """Return the smallest singular value of a matrix with this residual."""
    return xp.sqrt(xp.maximum(1 - residual, xp.zeros_like(residual)))


def follow(x: Array, goal: float, /, *, backend: Backend) -> Followed:
    """Return orthonormal matrices within `goal`, as far as rounding allows and they exist.

    Each matrix goes its own way: a run for a guessed floor, then, told by the residual that comes
    with it, one for the interval that is left, or one for a lower floor.
    """
    xp, batch = backend.xp, tuple(x.shape[:-2])
    begin = polynomial.start(xp.reshape(x, (-1, *x.shape[-2:])), backend=backend)
    none = per_batch(frobenius(begin.matrix, xp=xp))
    infinite = xp.full_like(none, float("inf"))
    count = xp.zeros(none.shape, dtype=xp.int32, device=backend.device(x)) + 1
    state = State(*begin, infinite, xp.ones_like(none), infinite, count)
    final = _advance(state, _guesses(begin, backend), goal, MOST_SEGMENTS, backend)
    numbers = (final.residual, final.gain, final.products)
    return Followed(xp.reshape(final.matrix, x.shape), *(xp.reshape(y, batch) for y in numbers))


def _guesses(begin: Start, backend: Backend) -> list[Interval | None]:
    """Guess where each spectrum starts: half the edge of the random matrix of equal moments.

    With var the variance of the s² over their squared mean, the Marchenko-Pastur law of ratio var
    starts at (1 - sqrt(var)) of the root mean square. Zeros wait for nothing.
    """
    xp, rows = backend.xp, begin.gram.shape[-1]
    mean = per_batch(frobenius(begin.matrix, xp=xp)) ** 2 / rows
    fourth = per_batch(frobenius(begin.gram, xp=xp)) ** 2 / rows
    return [_guess(*pair) for pair in zip(_floats(mean), _floats(fourth), strict=True)]


def _guess(mean: float, fourth: float) -> Interval | None:
    if mean == 0:
        return None
    edge = 0.5 * math.sqrt(mean) * (1.0 - math.sqrt(max(fourth / mean**2 - 1.0, 0.0)))
    lower = _power(max(edge, LEAST_GUESS))
    return Interval(lower, 1.0, lower)


def _power(value: float) -> float:
    """Round down to a power of 2: few intervals, so that plans are found in the cache."""
    return 2.0 ** math.floor(math.log2(value))


def _floats(x: Array) -> list[float]:
    return [float(x[i]) for i in range(x.shape[0])]


def _advance(
    state: State,
    intervals: Sequence[Interval | None],
    goal: float,
    left: int,
    backend: Backend,
) -> State:
    """Run a segment for every interval on the matrices that have it, and go on from there."""
    groups: dict[Interval | None, list[int]] = {}
    for i, interval in enumerate(intervals):
        groups.setdefault(interval, []).append(i)
    parts = []
    for interval, members in groups.items():
        part = state if len(groups) == 1 else _take(state, members, backend)
        if interval is not None and left:
            part = _segment(part, interval, goal, backend)
            following = _following(part, interval, goal, backend)
            part = _advance(part, following, goal, left - 1, backend)
        parts.append(part)
    return parts[0] if len(parts) == 1 else _merge(parts, list(groups.values()), backend)


def _segment(state: State, interval: Interval, goal: float, backend: Backend) -> State:
    """Apply the run that takes the interval to the goal."""
    xp, upper = backend.xp, interval.upper
    run = _run(state.matrix, interval, goal, backend)
    square = state.square
    begin = Start(state.matrix / upper, state.gram / upper**2, square)
    iterate = polynomial.measure(polynomial.run(begin, run.steps, backend=backend), backend=backend)
    residual, slope = per_batch(iterate.residual), state.slope / upper
    proven = gain(residual, slope * run.slope, slope * run.gain, xp=xp)
    return State(
        iterate.matrix,
        iterate.gram,
        None,
        residual,
        slope * run.slope,
        xp.minimum(state.gain, proven),
        # The Gram matrix of the first step was there, and that of the result is its price.
        state.products + run.products - 1,
    )


def _run(x: Array, interval: Interval, goal: float, backend: Backend) -> _plan.Run:
    shape = (x.shape[-2], x.shape[-1])
    aim = goal / (2 * math.sqrt(shape[0]))
    first = 5 if interval.upper == 1.0 else 3
    ratio = interval.lower / interval.upper
    return _plan.on_interval(shape, eps(backend.xp, x.dtype), aim, ratio, first)


def _following(
    state: State, interval: Interval, goal: float, backend: Backend
) -> list[Interval | None]:
    """Return what each matrix needs next, None for nothing."""
    unit = eps(backend.xp, state.matrix.dtype)
    shape = (state.matrix.shape[-2], state.matrix.shape[-1])
    upper = 1.0 + _run(state.matrix, interval, goal, backend).bound + _plan.margin(shape, unit)
    lower = interval.floor * LOWERED
    # Guesses end where rounding hides what they look for, residuals where they measure rounding.
    hidden, noise = lower < unit, 4 * math.sqrt(shape[0]) * unit
    following: list[Interval | None] = []
    for residual, gain_, slope in zip(
        _floats(state.residual), _floats(state.gain), _floats(state.slope), strict=True
    ):
        aim = max(goal - _plan.rounding(shape, unit) * gain_, goal / 2)
        if residual <= max(aim, noise) or not math.isfinite(residual):
            following.append(None)
        elif residual < 0.9:
            known = min(_power(residual) * 2, 0.95)
            following.append(Interval(math.sqrt(1 - known), math.sqrt(1 + known), interval.floor))
        elif hidden:
            following.append(None)
        else:
            guess = _power(min(0.5, 0.5 * slope * lower))
            following.append(Interval(guess, upper, lower))
    return following


def _take(state: State, members: list[int], backend: Backend) -> State:
    xp = backend.xp
    index = xp.asarray(members, device=backend.device(state.matrix))
    return State(*(y if y is None else xp.take(y, index, axis=0) for y in state))


def _merge(parts: list[State], groups: list[list[int]], backend: Backend) -> State:
    xp = backend.xp
    order = [i for members in groups for i in members]
    places = sorted(range(len(order)), key=order.__getitem__)
    index = xp.asarray(places, device=backend.device(parts[0].matrix))
    # Squares are for the first segment only: whatever is merged has passed it, or is zero.
    whole = [part._replace(square=part.gram) for part in parts]
    return State(
        *(xp.take(xp.concat(list(ys), axis=0), index, axis=0) for ys in zip(*whole, strict=True))
    )
