"""From cheap to dear, as far as a tolerance asks, where code may look at values.

One ladder for all: a block (that of an earlier call, or random columns) and one pass of subspace
iteration; the block Krylov space that its products are the beginning of; the dense SVD. What one
rung has computed, the next one starts from. A warm block that has proved useless is dropped for
random columns. Stacks of small matrices are swept instead: see `_sweep`.
"""

from typing import NamedTuple

from specdesc._lib.typing import Array
from specdesc._linalg import krylov, subspace
from specdesc._linalg.krylov import Half, Space
from specdesc._truncated_svd.acceptance import (
    Part,
    Served,
    Source,
    Task,
    at_least,
    certified,
    flags,
    good_enough,
    merge,
    missing,
    pick,
    take,
)
from specdesc._truncated_svd.subspace_iteration import COLD, SPREAD, is_small, sweep
from specdesc.backends import Backend

#: Ratio of two growths that is taken for granted, and that of the first ones, which fall faster
#: than those that follow. Above the third, growths are compared over two steps as well. With these
#: 0.1 % of what is accepted misses more than the tolerance, in a sweep over spectra; with smaller
#: ones it is 1 %, for 3 % fewer steps.
LEAST_RATIO, EARLY_RATIO, SLOW_RATIO = 0.1, 0.25, 0.4

#: The same for the growth within the first pass, which nothing can be compared with.
FIRST_RATIO = 0.75

#: Columns of a random block beyond the wanted rank: more cost more than the steps that they save.
#: Fewer than the rank would miss copies of a repeated singular value.
SPARE = 2

#: A Krylov space of this many blocks is cut back to its leading directions.
BLOCKS = 8


class Growing(NamedTuple):
    """Members that no rung has served yet, and how far they are."""

    members: list[int]
    source: Source
    space: Space
    values: list[Array]  # rising Ky Fan values

    def only(self, chosen: list[int], backend: Backend) -> "Growing":
        """Leave out the positions that are not chosen."""
        if len(chosen) == len(self.members):
            return self
        count = len(self.members)
        return Growing(
            [self.members[i] for i in chosen],
            take(self.source, chosen),
            Space(*pick(self.space, chosen, count, backend)),
            pick(self.values, chosen, count, backend),
        )


def climb(source: Source, task: Task, start: Array | None, /, *, backend: Backend) -> Served:
    """Return triplets, certificates and estimates, by the first rung that is good enough."""
    pending = list(range(source.shape[0] if len(source.shape) == 3 else 1))
    parts, small = list[Part](), is_small(source)
    if start is not None:
        block = subspace.refresh(start, task.seed, task.step, backend=backend)
        if small:
            served, pending = sweep(source, block, 0, task, pending, backend=backend)
        else:
            served, pending = _from_block(source, block, True, task, pending, backend)
        parts += served
    elif small:
        columns = min(task.rank + SPREAD, *source.shape[-2:])
        block = subspace.random_block(
            source.shape, columns, task.seed, source.like, backend=backend
        )
        parts, pending = sweep(source, block, COLD, task, pending, backend=backend)
    if pending and not small:
        rest = take(source, pending)
        columns = min(task.rank + SPARE, *rest.shape[-2:])
        block = subspace.random_block(rest.shape, columns, task.seed, rest.like, backend=backend)
        served, pending = _from_block(rest, block, False, task, pending, backend)
        parts += served
    if pending and source.dense is not None:
        parts.append(Part(pending, source.dense(pending)))
    return merge(parts, backend)


def _from_block(
    source: Source, block: Array, warm: bool, task: Task, members: list[int], backend: Backend
) -> tuple[list[Part], list[int]]:
    """Climb from a block as far as it leads; return also the members that are not served."""
    parts, growing = _iterate(source, block, task, members, backend)
    left = list[int]()
    while growing is not None:
        served, growing, given_up = _step(growing, block.shape[-1], warm, task, backend)
        parts += served
        left += given_up
    return parts, left


def _iterate(
    source: Source, block: Array, task: Task, members: list[int], backend: Backend
) -> tuple[list[Part], Growing | None]:
    """Run one pass of subspace iteration, the first rung: two products."""
    xp = backend.xp
    space = krylov.begin(source.products, block, backend=backend)
    before = xp.sum(krylov.ritz(space, task.rank, backend=backend).s, axis=-1)
    half = krylov.half_pass(source.products, space, backend=backend)
    found = krylov.half_ritz(half, task.rank, backend=backend)
    value = xp.sum(found.s, axis=-1)
    guess = xp.maximum(value - before, xp.zeros_like(value)) * FIRST_RATIO / (1 - FIRST_RATIO)
    m, n = source.shape[-2:]
    columns = block.shape[-1]
    # What a projection from the left leaves has rank n and m - columns at most.
    estimate = at_least(guess, found, min(n, m - columns), source, task, backend)
    done = flags(good_enough(estimate, found, source, task, backend), backend)
    room = n - columns
    if room == 0 and source.dense is None:
        done = [True] * len(members)
    parts, growing = list[Part](), Growing(members, source, space, [before, value])
    if any(done):
        chosen = [i for i, flag in enumerate(done) if flag]
        some, ready = (
            growing.only(chosen, backend),
            Half(*pick(half, chosen, len(members), backend)),
        )
        final, inside = pick([estimate, found.captured], chosen, len(members), backend)
        triplets = krylov.half_leading(ready, task.columns, backend=backend)
        served = certified(triplets, inside, final, some.source.energy, task, backend)
        parts.append(Part(some.members, served))
    going = [i for i, flag in enumerate(done) if not flag]
    if not going:
        return parts, None
    if len(going) < len(members):
        growing, half = (
            growing.only(going, backend),
            Half(*pick(half, going, len(members), backend)),
        )
    y = xp.matmul(half.z, half.r)[..., -min(columns, room) :]
    space = krylov.extend(growing.source.products, growing.space, y, backend=backend)
    return parts, growing._replace(space=space)


def _step(
    growing: Growing, width: int, warm: bool, task: Task, backend: Backend
) -> tuple[list[Part], Growing | None, list[int]]:
    """Judge Krylov spaces, and add two products to those that are not good enough yet.

    Returns the parts that are served, what still grows, and the members that were given up.
    """
    xp = backend.xp
    members, source, space, values = growing
    found = krylov.ritz(space, task.rank, backend=backend)
    values = [*values, xp.sum(found.s, axis=-1)]
    growing = growing._replace(values=values)
    m, n = source.shape[-2:]
    columns = space.v.shape[-1]
    room, others = n - columns, min(m, n - columns)
    guess = _extrapolate(values, backend)
    estimate = at_least(guess, found, others, source, task, backend)
    done = flags(good_enough(estimate, found, source, task, backend), backend)
    # As many columns as the short side has: the dense rung, where there is one, costs no more.
    budget = min(m, n) * (1 if source.dense else 4)
    spent = (len(values) - 1) * width > budget
    full = spent or room < (width if source.dense else 1)
    if full and source.dense is None:
        done = [True] * len(members)
    useless = [False] * len(members)
    if warm and len(values) == 3:
        outside = missing(found, others, source, backend)
        useless = flags(outside > task.tol * values[-1], backend)
    parts = list[Part]()
    if any(done):
        chosen = [i for i, flag in enumerate(done) if flag]
        some = growing.only(chosen, backend)
        final, inside = pick([estimate, found.captured], chosen, len(members), backend)
        triplets = krylov.leading(some.space, task.columns, backend=backend)
        served = certified(triplets, inside, final, some.source.energy, task, backend)
        parts.append(Part(some.members, served))
    left = [i for i, flag in enumerate(done) if not flag]
    given_up = [members[i] for i in left if full or useless[i]]
    going = [i for i in left if not (full or useless[i])]
    if not going:
        return parts, None, given_up
    growing = growing.only(going, backend)
    space = growing.space
    if columns > BLOCKS * width:
        space = krylov.thicken(space, width, task.rank + width, backend=backend)
    products = growing.source.products
    newest = min(width, n - space.v.shape[-1])
    y = products.backward(space.w[..., -newest:])
    space = krylov.extend(products, space, y, backend=backend)
    return parts, growing._replace(space=space), given_up


def _extrapolate(values: list[Array], backend: Backend) -> Array:
    """Estimate what the last of the values misses, from the growth of all.

    The growth of a Krylov value falls faster and faster, with a step back now and then: its next
    ratio is taken to be half of the last but one at least. Where it falls slowly, as at the edge
    of a flat spectrum, growths over two steps are less uneven, and the worse of both counts.
    """
    xp = backend.xp
    before, last, value = values[-3:]
    if len(values) < 5:
        return subspace.extrapolate(before, last, value, EARLY_RATIO, xp=xp)
    previous = subspace.growth_ratio(values[-4], before, last, xp=xp)
    least = xp.clip(previous / 2, min=LEAST_RATIO)
    guess = subspace.extrapolate(before, last, value, least, xp=xp)
    if len(values) < 6:  # the first two are half a pass apart
        return guess
    ratio = xp.maximum(subspace.growth_ratio(before, last, value, xp=xp), previous)
    longer = subspace.extrapolate(values[-5], before, value, LEAST_RATIO, xp=xp)
    return xp.where(ratio > SLOW_RATIO, xp.maximum(guess, longer), guess)
