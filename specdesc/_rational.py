"""Which Halley steps and polynomials a matrix gets, before any value is seen, or after."""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from specdesc import _plan, minimax
from specdesc._array import eps
from specdesc._core import polynomial, rational
from specdesc._core.linalg import frobenius, per_batch, row_energies
from specdesc._core.polynomial import Start, reach, slack
from specdesc._opaque import opaque
from specdesc._typing import Array
from specdesc.backends import Backend
from specdesc.minimax import Halley, Polynomial, Step

#: Cost of a Halley step beyond that of a cubic, in m³ flops of products: measured, not counted.
FACTORIZATION = 4.0

#: A step of weight c turns directions as a gain of WEIGHT c does (measured: at most a third).
WEIGHT = 0.25

#: Weights up to SHARE / l turn directions of size l by less than the rounding of the input does.
SHARE = 0.1

#: Weights up to here are taken whatever the floor is: the known limit of backward stability.
HARMLESS = 100.0

#: Runs and single steps of one matrix at most.
MOST_SEGMENTS = 12

#: When the least floor has been lifted to here, no smaller singular value is looked for.
ENOUGH = 0.5

#: Residuals below this multiple of sqrt(m) eps are rounding.
NOISE = 8.0

#: A residual below this one is followed by the interval that it proves.
KNOWN = 0.9


class Run(NamedTuple):
    """Steps for singular values in [0, 1], and what they promise."""

    halleys: tuple[Halley, ...]
    steps: tuple[Step, ...]
    lower: float
    bound: float  # max abs(1 - f) on [lower, 1]
    slope: float  # of f at 0
    gain: float  # 1 / x for the smallest x that f may lift above _plan.LIFTED
    noise: float  # of the factorizations, as a gain
    products: int  # of the steps, a solution counted as one


@opaque
def fixed(shape: tuple[int, int], unit: float, goal: float, floor: float | None, /) -> Run:
    """Return the run that takes s_i >= floor s_1 to 1 +- goal, rounding included where it fits.

    Without a floor only the residual proves anything, and that is the sum of m errors, squared.
    """
    lower = (floor or _plan.DEFAULT_FLOOR) * reach(shape[0]) / (1.0 + slack(shape, unit)) ** 2
    return on_interval(shape, unit, goal, lower, floor is None)


def turned(run: Run, shape: tuple[int, ...], unit: float, /) -> float:
    """Return by how much rounding turns directions above the floor of a run."""
    return _plan.rounding(shape, unit) * (min(run.slope, 1.0 / run.lower) + run.noise)


@cache
def on_interval(
    shape: tuple[int, int], unit: float, goal: float, lower: float, summed: bool
) -> Run:
    """Return the cheapest run that takes [lower, 1] to 1 +- goal; rows <= columns.

    `summed` asks for a residual of half the goal instead: the root of the sum of m errors.
    """
    rows, columns = shape
    rounding = _plan.rounding(shape, unit)
    halleys = minimax.lift(lower, most=_most(shape, unit, goal, lower), enough=unit / 8)
    noises = [WEIGHT * sum(step.c for step in halleys[:k]) for k in range(len(halleys) + 1)]
    if summed:
        targets = [goal / (2.0 * math.sqrt(rows))] * len(noises)
    else:
        targets = [max(goal - rounding * (1.0 / lower + noise), goal / 2) for noise in noises]
    costs = minimax.x_side_costs(columns / rows)
    found = minimax.cheapest_rational(
        lower,
        halleys,
        tuple(min(max(target, unit / 8), 0.5) for target in targets),
        tuple(sorted(costs.items())),
        costs[3] + FACTORIZATION,
        _plan.margin(shape, unit),
    )
    polynomials = tuple(minimax.step_polynomial(step) for step in found.steps)
    return Run(
        found.halleys,
        found.steps,
        lower,
        found.bound,
        found.slope,
        1.0 / _lifted(found.halleys, polynomials, found.slope),
        noises[len(found.halleys)],
        2 * len(found.halleys) + sum(2 + minimax.PRODUCTS[s.degree] for s in found.steps),
    )


def _most(shape: tuple[int, int], unit: float, goal: float, lower: float) -> float:
    """Limit the weight c of a step, as I + c R carries an error of c eps.

    Directions of size l turn by eps / l whatever is done, and a part of the goal is free for more.
    In no case may the factorization fail.
    """
    free = goal / (8.0 * WEIGHT * _plan.rounding(shape, unit))
    safe = 1.0 / (16.0 * math.sqrt(shape[1]) * unit)
    return max(HARMLESS, min(max(SHARE / lower, free), safe))


def _lifted(halleys: Sequence[Halley], polynomials: Sequence[Polynomial], slope: float) -> float:
    """Return a start, nearly the largest, below which none is lifted above `_plan.LIFTED`."""

    def stays(start: float) -> bool:
        return minimax.rational_image(halleys, polynomials, 0.0, start)[1] <= _plan.LIFTED

    low = _plan.LIFTED / slope
    while not stays(low):
        low /= 2.0
    high = 4.0 * low
    for _ in range(4):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if stays(middle) else (low, middle)
    return low


# --- what is measured ----------------------------------------------------------------------------


def certify(
    factor: Array, run: Run, goal: float, /, *, floored: bool, backend: Backend
) -> tuple[Array, Array]:
    """Return the error bound of a fixed run and the products that it took.

    A run that was given its floor promises something, and is measured only where that may decide.
    """
    xp, unit = backend.xp, eps(backend.xp, factor.dtype)
    one = xp.ones_like(row_energies(factor, xp=xp)[..., 0])
    products = xp.astype(one, xp.int32) * run.products
    rounding = turned(run, tuple(factor.shape[-2:]), unit)
    if floored and not rounding < goal < run.bound + rounding:
        return one * (run.bound + rounding), products
    residual = per_batch(polynomial.measure(factor, backend=backend).residual)
    gain = _gain(residual, run.slope * one, run.gain * one, backend)
    bound = error(factor, residual, gain + run.noise, backend=backend)
    if floored:
        bound = xp.minimum(bound, one * (run.bound + rounding))
    return bound, products + 1


def error(factor: Array, residual: Array, gain: Array, /, *, backend: Backend) -> Array:
    """Bound the distance to the polar factor by the residual, inf where that proves nothing.

    |1 - s| = |1 - s²| / (1 + s), and s >= sqrt(1 - residual).
    """
    xp = backend.xp
    unit = _plan.rounding(tuple(factor.shape[-2:]), eps(xp, factor.dtype))
    distance = residual / (1 + _least(residual, backend)) + unit * gain
    # Zero is at a distance of 1: to bound it by more says nothing.
    return xp.where(distance < 1, distance, xp.full_like(residual, float("inf")))


def _gain(residual: Array, slope: Array, lifted: Array, backend: Backend) -> Array:
    """Return the inverse of the smallest start that a residual proves, inf for none.

    Steps of that slope lift x to at most slope x; a residual up to HALF says that every start was
    lifted above LIFTED, of which the run knows better where that is.
    """
    xp = backend.xp
    infinite = xp.full_like(residual, float("inf"))
    least = _least(residual, backend)
    steep = xp.where(least > 0, slope / xp.where(least > 0, least, least + 1), infinite)
    return xp.minimum(steep, xp.where(residual <= _plan.HALF, lifted, infinite))


def _least(residual: Array, backend: Backend) -> Array:
    """Return the smallest singular value of a matrix with this residual."""
    xp = backend.xp
    return xp.sqrt(xp.maximum(1 - residual, xp.zeros_like(residual)))


# --- where code may look at values ---------------------------------------------------------------


class State(NamedTuple):
    """A flat stack on its way."""

    matrix: Array
    gram: Array
    residual: Array
    slope: Array
    gain: Array  # the inverse of the smallest singular value that is proven
    noise: Array
    products: Array


class Interval(NamedTuple):
    """Where the singular values of an iterate are taken to lie."""

    lower: float
    upper: float


class Peel(NamedTuple):
    """One Halley step for singular values too small to be seen in a Gram matrix."""

    lower: float
    most: float


#: What a matrix needs next, None for nothing.
Next = Interval | Peel | None


class Found(NamedTuple):
    """What `follow` returns; all but the factor have the batch shape."""

    matrix: Array
    error: Array
    products: Array


def follow(x: Array, goal: float, /, *, backend: Backend) -> Found:
    """Return orthonormal matrices within `goal`, as far as rounding allows and they exist.

    Each matrix goes its own way: a run from a guess of its least singular value, or single steps
    until there is one to be seen; then, told by the residual, a run for the interval that is left.
    """
    xp, batch = backend.xp, tuple(x.shape[:-2])
    begin = polynomial.start(xp.reshape(x, (-1, *x.shape[-2:])), backend=backend)
    norm = per_batch(frobenius(begin.matrix, xp=xp))
    one, infinite = xp.ones_like(norm), xp.full_like(norm, float("inf"))
    products = xp.astype(xp.zeros_like(norm), xp.int32) + 2
    state = State(begin.matrix, begin.gram, infinite, one, infinite, 0 * one, products)
    guesses = _guesses(state, backend)
    ways = [way if size else None for way, size in zip(guesses, _floats(norm), strict=True)]
    state = _advance(state, ways, goal, MOST_SEGMENTS, backend)
    bound = error(state.matrix, state.residual, state.gain + state.noise, backend=backend)
    return Found(
        xp.reshape(state.matrix, x.shape),
        xp.reshape(bound, batch),
        xp.reshape(state.products, batch),
    )


def _guesses(state: State, backend: Backend) -> list[Next]:
    """Guess the least singular values, by one inverse iteration, and go on from there."""
    unit = eps(backend.xp, state.matrix.dtype)
    squares = rational.smallest(state.gram, unit, backend=backend)
    # Eigenvalues below the shift are not told apart, and a factorization of noise may give NaN.
    seen = rational.shift(state.gram.shape[-1], unit)
    lowest = _lowest(state.matrix.shape[-1], unit)
    ways: list[Next] = []
    for square, slope, residual in zip(
        *map(_floats, (squares, state.slope, state.residual)), strict=True
    ):
        least = slope * lowest  # of what counts
        if square <= seen and least < ENOUGH:
            ways.append(_peel(math.sqrt(seen), least))
        elif square > max(seen, (least / 2) ** 2):
            ways.append(Interval(_power(math.sqrt(square) / 2), 1.0))
        else:
            # What is still small is noise: whatever counts has arrived, or is on the way.
            start = _power(min(least, ENOUGH) / 2)
            ways.append(Interval(start, 1.0) if residual == math.inf else None)
    return ways


def _peel(seen: float, least: float) -> Peel:
    """Choose a weight that does no harm, and lifts noise no further than what counts needs."""
    slope = max(2.0 * ENOUGH / least, 3.0)
    return Peel(seen, min(max(HARMLESS, SHARE / seen), 0.25 * (slope + 1.0) ** 2 - 1.0))


def _lowest(columns: int, unit: float) -> float:
    """Return the least floor: what is smaller is hidden by rounding, and is not to be lifted."""
    return min(4.0 * columns * unit, 0.25)


def _power(value: float) -> float:
    """Round down to a power of 2: few intervals, so that plans are found in the cache."""
    return min(math.ldexp(1.0, math.frexp(value)[1] - 1), 0.5)


def _floats(x: Array) -> list[float]:
    return [float(x[i]) for i in range(x.shape[0])]


def _advance(state: State, ways: Sequence[Next], goal: float, left: int, backend: Backend) -> State:
    """Take the matrices that go the same way along it, and on from there."""
    groups: dict[Next, list[int]] = {}
    for i, way in enumerate(ways):
        groups.setdefault(way, []).append(i)
    parts = []
    for way, members in groups.items():
        part = state if len(groups) == 1 else _take(state, members, backend)
        if way is not None and left:
            if isinstance(way, Peel):
                part = _peeled(part, way, backend)
                following = _guesses(part, backend)
            else:
                before, part = part, _segment(part, way, goal, backend)
                following = _following(part, before, goal, backend)
            part = _advance(part, following, goal, left - 1, backend)
        parts.append(part)
    return parts[0] if len(parts) == 1 else _merge(parts, list(groups.values()), backend)


def _peeled(state: State, way: Peel, backend: Backend) -> State:
    step = minimax.halley(way.lower, most=way.most)
    matrix = rational.apply(step, Start(state.matrix, state.gram, None), backend=backend)
    return state._replace(
        matrix=matrix,
        gram=polynomial.gram_matrix(matrix, backend=backend),
        slope=state.slope * step.a,
        noise=state.noise + WEIGHT * step.c,
        products=state.products + 2,
    )


def _segment(state: State, interval: Interval, goal: float, backend: Backend) -> State:
    """Apply the run that takes the interval to the goal."""
    xp, upper = backend.xp, interval.upper
    shape = (state.matrix.shape[-2], state.matrix.shape[-1])
    run = on_interval(shape, eps(xp, state.matrix.dtype), goal, interval.lower / upper, True)
    begin = Start(state.matrix / upper, state.gram / upper**2, None)
    factor = rational.run(begin, run.halleys, run.steps, backend=backend)
    iterate = polynomial.measure(factor, backend=backend)
    residual, slope = per_batch(iterate.residual), state.slope / upper
    gain = _gain(residual, slope * run.slope, slope * run.gain, backend)
    return State(
        iterate.matrix,
        iterate.gram,
        residual,
        slope * run.slope,
        xp.minimum(state.gain, gain),
        state.noise + run.noise,
        # The Gram matrix of the first step was there, and that of the result is new.
        state.products + run.products,
    )


def _following(state: State, before: State, goal: float, backend: Backend) -> list[Next]:
    """Return what each matrix needs after a run."""
    shape, unit = tuple(state.matrix.shape[-2:]), eps(backend.xp, state.matrix.dtype)
    rounding = _plan.rounding(shape, unit)
    numbers = (state.residual, before.residual, state.gain, state.noise)
    ways: list[Next] = []
    missed: list[int] = []
    for residual, last, gain, extra in zip(*map(_floats, numbers), strict=True):
        aim = max(goal - rounding * (gain + extra), goal / 2)
        # A residual that comes from rounding stays.
        if residual <= max(aim, NOISE * math.sqrt(shape[0]) * unit) or not residual < last:
            ways.append(None)
        elif residual < KNOWN:
            known = min(2 * _power(residual), 0.95)
            ways.append(Interval(math.sqrt(1 - known), math.sqrt(1 + known)))
        else:
            missed.append(len(ways))
            ways.append(None)
    if missed:
        part = state if len(missed) == len(ways) else _take(state, missed, backend)
        for i, way in zip(missed, _guesses(part, backend), strict=True):
            ways[i] = way
    return ways


def _take(state: State, members: list[int], backend: Backend) -> State:
    xp = backend.xp
    index = xp.asarray(members, device=backend.device(state.matrix))
    return State(*(xp.take(y, index, axis=0) for y in state))


def _merge(parts: list[State], groups: list[list[int]], backend: Backend) -> State:
    xp = backend.xp
    order = [i for members in groups for i in members]
    places = sorted(range(len(order)), key=order.__getitem__)
    index = xp.asarray(places, device=backend.device(parts[0].matrix))
    return State(
        *(xp.take(xp.concat(list(ys), axis=0), index, axis=0) for ys in zip(*parts, strict=True))
    )
