"""Runs that are fitted to a spectrum, where code may look at values, and runs that are not."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from specdesc._lib.dtypes import eps, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg import stacks
from specdesc._linalg.basic import diagonal
from specdesc._polar_factor import halley, newton_schulz, plan
from specdesc._polar_factor.newton_schulz import Scaled
from specdesc._polar_factor.plan import Bounds, Kind, Run
from specdesc.backends import Backend

#: By how much a spectrum must end above the floor for a proof of it to be worth its cost.
WORTHWHILE = 4.0

#: By how much a bound that failed is lowered.
LOWERED = 8.0

#: The largest bound that is tried: above, a run costs the same.
LARGEST = 0.7

#: Singular values below COUNTS max(m, n) eps are taken for rounding where no floor is given.
COUNTS = 2.0

#: How far a lift leaves the values that it was planned for from 1.
LIFT_ACCURACY = 0.5


class Followed(NamedTuple):
    """A factor and what is known of it; all but the factor have the batch shape."""

    matrix: Array
    bound: Array  # of abs(1 - s) for the values that were asked for, inf for no proof
    gain: Array  # the inverse of the smallest singular value among them, inf for no proof
    slope: Array  # of the whole iteration at 0
    lifted: Array  # 1 / x for the smallest x that it may lift above `plan.LIFTED`
    mean: Array  # root mean square of the singular values that it started from
    turn: Array  # of directions, by long segments
    products: Array


class State(NamedTuple):
    """A flat stack on its way."""

    matrix: Array
    scale: Array
    gram: Array
    square: Array | None
    workspace: Array | None
    slope: Array
    mean: Array
    turn: Array
    products: Array

    @property
    def scaled(self) -> Scaled:
        """The stack that a run is applied to."""
        return Scaled(self.matrix, self.scale, self.gram, self.square, self.workspace)


def fixed(scaled: Scaled, run: Run, floor: float | None, /, *, backend: Backend) -> Followed:
    """Apply a run that was chosen before any value was seen."""
    facts = newton_schulz.facts(scaled, backend=backend)
    mean, reach = (fact[..., 0, 0] for fact in facts)
    return _finish(scaled, run, mean, reach, floor, 0.0, backend)


def above(
    scaled: Scaled, kind: Kind, goal: float, floor: float, /, *, backend: Backend
) -> Followed:
    """Return matrices that are orthonormal within `goal` on what lies above the floor."""
    xp = backend.xp
    facts = newton_schulz.facts(scaled, backend=backend)
    groups = stacks.groups(_bounds(scaled, facts, floor, backend))

    def finish(part: Scaled, mean: Array, reach: Array, bounds: Bounds) -> Followed:
        run = plan.fitted(kind, goal, floor, bounds)
        return _finish(part, run, mean, reach, floor, bounds.least, backend)

    if len(groups) == 1:
        return finish(scaled, facts.mean[..., 0, 0], facts.reach[..., 0, 0], *groups)
    whole = [*_flat(scaled, xp), *(xp.reshape(fact, (-1,)) for fact in facts)]
    parts = []
    for bounds, members in groups.items():
        *parts_of, mean, reach = stacks.take(whole, members, whole[0].shape[0], backend=backend)
        parts.append(finish(Scaled(*parts_of), mean, reach, bounds))
    return _batched(stacks.merge(parts, list(groups.values()), backend=backend), scaled, xp)


def follow(scaled: Scaled, kind: Kind, goal: float, /, *, backend: Backend) -> Followed:
    """Return orthonormal matrices within `goal`, as far as rounding allows and they exist.

    Each matrix goes its own way. Where a Cholesky factorization of R - l² I proves that no singular
    value is below l, a run for [l, 1] ends the work; where none does, a run lifts what is too small
    to be seen, and R of the result is looked at.
    """
    xp = backend.xp
    flat = Scaled(*_flat(scaled, xp))
    mean = newton_schulz.mean(flat, backend=backend)[..., 0, 0]
    count = xp.zeros(mean.shape, dtype=xp.int32, device=backend.placement) + 1
    state = State(*flat, xp.ones_like(mean), mean, xp.zeros_like(mean), count)
    waiting = [(state, list(range(mean.shape[0])))]
    parts, places = list[Followed](), list[list[int]]()
    while waiting:
        state, members = waiting.pop()
        for way, chosen in stacks.groups(_ways(state, kind, backend)).items():
            part = State(*stacks.take(state, chosen, len(members), backend=backend))
            inside = [members[i] for i in chosen]
            if way.lift:
                waiting.append((_lift(part, kind, way.lower, goal, backend), inside))
            else:
                parts.append(_end(part, kind, goal, way, backend))
                places.append(inside)
    return _batched(stacks.merge(parts, places, backend=backend), scaled, xp)


def gain(
    residual: Array, slope: float | Array, lifted: float | Array, /, *, xp: Namespace
) -> Array:
    """Return the inverse of the smallest start that a residual proves, inf for none.

    Steps of that slope lift x to at most slope x; up to `HALF` the run knows better.
    """
    infinite = xp.full_like(residual, float("inf"))
    least = _smallest(residual, xp)
    steep = xp.where(least > 0, slope / xp.where(least > 0, least, least + 1), infinite)
    known = xp.where(residual <= plan.HALF, lifted * xp.ones_like(residual), infinite)
    return xp.minimum(steep, known)


def distance(residual: Array, /, *, xp: Namespace) -> Array:
    """Bound |1 - s| by |1 - s²| / (1 + s), where |1 - s²| <= residual < 1."""
    return residual / (1 + _smallest(residual, xp))


def _smallest(residual: Array, xp: Namespace) -> Array:
    """Return the smallest singular value of a matrix with this residual."""
    return xp.sqrt(xp.maximum(1 - residual, xp.zeros_like(residual)))


def _flat(scaled: Scaled, xp: Namespace) -> list[Array | None]:
    return [y if y is None else xp.reshape(y, (-1, *y.shape[-2:])) for y in scaled]


def _batched(followed: Sequence[Array], scaled: Scaled, xp: Namespace) -> Followed:
    factor, *numbers = followed
    shape = scaled.matrix.shape
    return Followed(xp.reshape(factor, shape), *(xp.reshape(y, shape[:-2]) for y in numbers))


def _finish(
    scaled: Scaled,
    run: Run,
    mean: Array,
    reach: Array,
    floor: float | None,
    least: float,
    backend: Backend,
) -> Followed:
    """Apply a run to matrices with no singular value below `least`, 0 for nothing known."""
    xp = backend.xp
    if run.halleys:
        scaled = halley.lift(scaled, run.halleys, last=not run.segments, backend=backend)
    owned = bool(run.halleys)
    factor = newton_schulz.run(scaled, run.segments, owned=owned, backend=backend)
    lowest = xp.maximum((floor or 0.0) * reach, xp.full_like(reach, least))
    infinite = xp.full_like(mean, float("inf"))
    proven = lowest > 0
    steepest = 1.0 / xp.where(proven, lowest, lowest + 1)
    steepest = xp.minimum(steepest, xp.full_like(mean, run.slope))
    return Followed(
        factor,
        xp.where(proven, xp.full_like(mean, run.bound), infinite),
        xp.where(proven, steepest, infinite),
        xp.full_like(mean, run.slope),
        xp.full_like(mean, run.gain),
        mean,
        xp.full_like(mean, run.turn),
        xp.full_like(xp.astype(mean, xp.int32), run.products),
    )


def _bounds(
    scaled: Scaled, facts: newton_schulz.Facts, floor: float, backend: Backend
) -> list[Bounds]:
    """Return what is known of each matrix, coarsely, so that plans are found in the cache."""
    means, reaches = (stacks.floats(fact, backend=backend) for fact in facts)
    # A zero matrix reaches nothing: any plan will do.
    coarse = [
        2.0 ** (math.floor(32 * math.log2(reach)) / 32) if reach else 1.0 for reach in reaches
    ]
    worth = [WORTHWHILE * floor * reach for reach in coarse]
    leasts = _least(scaled, means, worth, backend, promising=True)
    return [
        Bounds(2.0 ** math.ceil(math.log2(mean)) if mean else 1.0, reach, least)
        for mean, reach, least in zip(means, coarse, leasts, strict=True)
    ]


class Trials(NamedTuple):
    """Where the search for the least singular value of each matrix stands."""

    shifts: list[float]  # the values that are tried next
    limits: list[float]  # below these nothing is worth a trial, or rounding hides it
    open: list[bool]


def _least(
    scaled: Scaled, means: list[float], worth: list[float], backend: Backend, *, promising: bool
) -> list[float]:
    """Return a proven lower bound on the singular values of each matrix, 0 for none.

    The first trial is the edge of the random matrix with the same moments, the next ones lower,
    down to what is worth it and what rounding leaves to be seen. Where only promising trials are
    made, the edge has to lie above that.
    """
    noise = _noise(scaled, backend)

    def proven(shifts: list[float]) -> list[bool]:
        return _positive(scaled.gram, shifts, means, noise, backend)

    trials = _first_trials(scaled.gram, means, worth, noise, promising, backend)
    least = [0.0] * len(means)
    while any(trials.open):
        proofs = proven(trials.shifts)
        least = [
            trial if open_ and proof else best
            for best, trial, open_, proof in zip(
                least, trials.shifts, trials.open, proofs, strict=True
            )
        ]
        trials = _next_trials(trials, proofs)
    # Between the bound that was proven and the one that failed there is room for another.
    between = [_quarter(bound * math.sqrt(LOWERED)) for bound in least]
    if any(0.0 < bound < LARGEST / LOWERED for bound in least):
        proofs = proven(between)
        least = [
            higher if proof and bound else bound
            for higher, bound, proof in zip(between, least, proofs, strict=True)
        ]
    return least


def _first_trials(
    gram: Array,
    means: list[float],
    worth: list[float],
    noise: float,
    promising: bool,
    backend: Backend,
) -> Trials:
    xp = backend.xp
    sums = xp.sum(backend.primitives.squared_row_norms(gram), axis=-1) / gram.shape[-1]
    fourth = stacks.floats(sums, backend=backend)
    visible = math.sqrt(2.0 * noise)
    limits = [max(bound, visible * mean) for mean, bound in zip(means, worth, strict=True)]
    edges = [_quarter(0.8 * _edge(*pair)) for pair in zip(means, fourth, strict=True)]
    open_ = [
        mean > 0 and limit < LARGEST and (edge >= limit or not promising)
        for mean, limit, edge in zip(means, limits, edges, strict=True)
    ]
    # No singular value is below all others and above their mean: there the others scaled.
    shifts = [
        min(max(edge or _quarter(mean / 4.0), limit), LARGEST)
        for edge, mean, limit in zip(edges, means, limits, strict=True)
    ]
    return Trials(shifts, limits, open_)


def _next_trials(trials: Trials, proofs: list[bool]) -> Trials:
    """Return lower trials for the matrices without a proof, down to their limits."""
    lower = [
        max(shift / LOWERED, limit)
        for shift, limit in zip(trials.shifts, trials.limits, strict=True)
    ]
    open_ = [
        was and not proof and after < before
        for was, proof, before, after in zip(trials.open, proofs, trials.shifts, lower, strict=True)
    ]
    return Trials(lower, trials.limits, open_)


def _noise(scaled: Scaled, backend: Backend) -> float:
    """Return `newton_schulz.hidden` of a stack."""
    unit = eps(backend.xp, scaled.gram.dtype)
    return newton_schulz.hidden(tuple(scaled.matrix.shape), unit)


def _positive(
    gram: Array, trials: list[float], means: list[float], noise: float, backend: Backend
) -> list[bool]:
    """Say for which matrices R - trial² I is positive definite beyond what rounding may hide."""
    xp = backend.xp
    shifts = [trial**2 + noise * mean**2 for trial, mean in zip(trials, means, strict=True)]
    entries = working(xp, diagonal(gram, xp=xp))
    shift = xp.asarray(shifts, dtype=entries.dtype, device=backend.placement)
    shift = xp.reshape(shift, (*gram.shape[:-2], 1, 1))
    definite = backend.primitives.is_positive_definite(gram, shift)
    return [bool(y) for y in stacks.floats(definite, backend=backend)]


def _edge(mean: float, fourth: float) -> float:
    """Return the least singular value of the random matrix with these moments, 0 for none.

    With var the variance of the s² over their squared mean, the Marchenko-Pastur law of ratio var
    starts at (1 - sqrt(var)) of the root mean square.
    """
    if mean == 0:
        return 0.0
    return max(mean * (1.0 - math.sqrt(max(fourth / mean**4 - 1.0, 0.0))), 0.0)


def _quarter(value: float) -> float:
    """Round down to a quarter of an octave: few intervals, so that plans are found in the cache."""
    return 2.0 ** (math.floor(4.0 * math.log2(value)) / 4.0) if value > 0 else 0.0


class Way(NamedTuple):
    """What a matrix needs next: a run from `lower`, and then another look where it is a lift."""

    lower: float
    proven: bool
    lift: bool


def _ways(state: State, kind: Kind, backend: Backend) -> list[Way]:
    """Choose by what can be proven, and by where the least value that counts is by now.

    What is smaller than max(m, n) eps is rounding, and is not to be lifted to 1.
    """
    means = stacks.floats(newton_schulz.mean(state.scaled, backend=backend), backend=backend)
    slopes = stacks.floats(state.slope, backend=backend)
    counts = [min(COUNTS * max(kind.shape) * kind.unit * slope, LARGEST) for slope in slopes]
    seen = max(math.sqrt(kind.unit), 2.0 * math.sqrt(_noise(state.scaled, backend)))
    leasts = _least(state.scaled, means, counts, backend, promising=False)
    ways = []
    for least, count, mean in zip(leasts, counts, means, strict=True):
        if least:
            ways.append(Way(least, proven=True, lift=False))
        elif mean == 0:
            ways.append(Way(LARGEST, proven=False, lift=False))
        elif count >= seen:
            ways.append(Way(_quarter(count), proven=False, lift=False))
        else:
            ways.append(Way(seen, proven=False, lift=True))
    return ways


def _first(state: State) -> int:
    """Return the least degree worth its products: R² is there at the start."""
    return 3 if state.square is None else 5


def _lift(state: State, kind: Kind, lower: float, goal: float, backend: Backend) -> State:
    """Lift what the Gram matrix does not show."""
    xp = backend.xp
    run = plan.on_interval(kind, LIFT_ACCURACY, lower, first=_first(state), goal=goal)
    scaled = state.scaled
    if run.halleys:
        scaled = halley.lift(scaled, run.halleys, last=not run.segments, backend=backend)
    owned = bool(run.halleys)
    factor = newton_schulz.run(scaled, run.segments, owned=owned, backend=backend)
    upper = 1.0 + run.bound + plan.margin(kind.shape, kind.unit)
    # The run has overwritten the squares that it started from.
    primitives = backend.primitives
    gram = primitives.gram(factor, out=state.gram)
    return State(
        factor,
        xp.full_like(state.scale, upper),
        primitives.linear_combination((1.0 / upper**2,), (gram,), 0.0, overwrite=True),
        None,
        state.workspace if state.square is None else state.square,
        state.slope * (run.slope / upper),
        state.mean,
        state.turn + run.turn,
        state.products + run.products - 1,
    )


def _end(state: State, kind: Kind, goal: float, way: Way, backend: Backend) -> Followed:
    """Take a stack to the goal; without a proof, only what is large."""
    xp = backend.xp
    base, turn = kind.rounding
    gains = [slope / way.lower for slope in stacks.floats(state.slope, backend=backend)]
    means = stacks.floats(state.mean, backend=backend)
    rounding_error = max(base + turn * mean * gain for mean, gain in zip(means, gains, strict=True))
    run = plan.on_interval(
        kind, max(goal - rounding_error, goal / 2), way.lower, first=_first(state)
    )
    least = way.lower if way.proven else 0.0
    followed = _finish(state.scaled, run, state.mean, state.mean, None, least, backend)
    infinite = xp.full_like(state.slope, float("inf"))
    return followed._replace(
        gain=state.slope / way.lower if way.proven else infinite,
        slope=state.slope * run.slope,
        lifted=state.slope * run.gain,
        turn=state.turn + run.turn,
        products=state.products + (run.products - 1),
    )
