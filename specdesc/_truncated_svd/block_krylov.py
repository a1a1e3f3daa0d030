"""Block Krylov iteration that stops at a tolerance, where code may look at values.

From cheap to expensive: a block (that of an earlier call, or random columns) and one pass of
subspace iteration; the block Krylov space that its products are the beginning of; the dense SVD.
What one stage has computed, the next one starts from. A warm block that has proved useless is
dropped for random columns. Small matrices get passes alone: see `subspace_iteration`.
"""

from typing import NamedTuple

from specdesc._lib.typing import Array
from specdesc._linalg import krylov, stacks, subspace
from specdesc._linalg.krylov import Half, Leading, Space
from specdesc._truncated_svd import subspace_iteration
from specdesc._truncated_svd.acceptance import (
    Part,
    Served,
    Source,
    Task,
    accept,
    at_least,
    good_enough,
    merge,
    missing,
    take,
)
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
    """Members that are not done yet, and how far they are."""

    members: list[int]
    source: Source
    space: Space
    values: list[Array]  # rising Ky Fan values

    def only(self, chosen: list[int], backend: Backend) -> "Growing":
        """Leave out the positions that are not chosen."""
        count = len(self.members)
        if len(chosen) == count:
            return self
        return Growing(
            [self.members[i] for i in chosen],
            take(self.source, chosen),
            Space(*stacks.take(self.space, chosen, count, backend=backend)),
            stacks.take(self.values, chosen, count, backend=backend),
        )


class Steps(NamedTuple):
    """What a step leads to: results, what still grows, and members that were given up."""

    parts: list[Part]
    growing: Growing | None
    given_up: list[int]


def adaptive(source: Source, task: Task, start: Array | None, /, *, backend: Backend) -> Served:
    """Return triplets, certificates and estimates, by the cheapest iteration that is good enough.

    From a start or a block of random columns: a pass of subspace iteration, then a block Krylov
    space; passes alone for small matrices. What is not done by then is decomposed, where there is
    a matrix and not only its products.
    """
    pending = list(range(source.shape[0] if len(source.shape) == 3 else 1))
    parts, small = list[Part](), subspace_iteration.is_small(source)
    if start is not None:
        block = subspace.refresh(start, task.seed, task.step, backend=backend)
        if small:
            more, pending = subspace_iteration.iterate(
                source, block, 0, task, pending, backend=backend
            )
        else:
            more, pending = _from_block(source, block, True, task, pending, backend)
        parts += more
    elif small:
        block = _random_block(source, subspace_iteration.SPREAD, task, backend)
        parts, pending = subspace_iteration.iterate(
            source, block, subspace_iteration.COLD, task, pending, backend=backend
        )
    if pending and not small:
        rest = take(source, pending)
        block = _random_block(rest, SPARE, task, backend)
        more, pending = _from_block(rest, block, False, task, pending, backend)
        parts += more
    if pending and source.dense is not None:
        parts.append(Part(pending, source.dense(pending)))
    return merge(parts, backend)


def _random_block(source: Source, spare: int, task: Task, backend: Backend) -> Array:
    columns = min(task.rank + spare, *source.shape[-2:])
    shape, like = source.shape, source.like
    return subspace.random_block(shape, columns, task.seed, like, backend=backend)


def _from_block(
    source: Source, block: Array, warm: bool, task: Task, members: list[int], backend: Backend
) -> tuple[list[Part], list[int]]:
    """Go from a block as far as it leads; return also the members that are not done."""
    parts, growing = _first_pass(source, block, task, members, backend)
    left = list[int]()
    while growing is not None:
        steps = _step(growing, block.shape[-1], warm, task, backend)
        parts += steps.parts
        left += steps.given_up
        growing = steps.growing
    return parts, left


def _first_pass(
    source: Source, block: Array, task: Task, members: list[int], backend: Backend
) -> tuple[list[Part], Growing | None]:
    """Run one pass of subspace iteration: two products."""
    xp = backend.xp
    space = krylov.begin(source.action, block, backend=backend)
    before = xp.sum(krylov.ritz(space, task.rank, backend=backend).s, axis=-1)
    half = krylov.half_pass(source.action, space, backend=backend)
    ritz = krylov.half_ritz(half, task.rank, backend=backend)
    value = xp.sum(ritz.s, axis=-1)
    guess = xp.maximum(value - before, xp.zeros_like(value)) * FIRST_RATIO / (1 - FIRST_RATIO)
    m, n = source.shape[-2:]
    columns = block.shape[-1]
    # What a projection from the left leaves has rank n and m - columns at most.
    estimate = at_least(guess, ritz, min(n, m - columns), source, task, backend)
    done = stacks.flags(good_enough(estimate, ritz, source, task, backend), backend=backend)
    remaining = n - columns
    if remaining == 0 and source.dense is None:
        done = [True] * len(members)

    def triplets(some: list[Array]) -> Leading:
        return krylov.half_leading(Half(*some), task.columns, backend=backend)

    accepted = accept(done, members, source, half, ritz.captured, estimate, triplets, task, backend)
    if not accepted.left:
        return accepted.parts, None
    growing = Growing(members, source, space, [before, value]).only(accepted.left, backend)
    half = Half(*stacks.take(half, accepted.left, len(members), backend=backend))
    y = xp.matmul(half.z, half.r)[..., -min(columns, remaining) :]
    space = krylov.extend(growing.source.action, growing.space, y, backend=backend)
    return accepted.parts, growing._replace(space=space)


def _step(growing: Growing, width: int, warm: bool, task: Task, backend: Backend) -> Steps:
    """Judge Krylov spaces, and add two products to those that are not good enough yet."""
    xp = backend.xp
    members, source, space, values = growing
    ritz = krylov.ritz(space, task.rank, backend=backend)
    values = [*values, xp.sum(ritz.s, axis=-1)]
    growing = growing._replace(values=values)
    m, n = source.shape[-2:]
    columns = space.v.shape[-1]
    remaining, others = n - columns, min(m, n - columns)
    guess = _extrapolate(values, backend)
    estimate = at_least(guess, ritz, others, source, task, backend)
    done = stacks.flags(good_enough(estimate, ritz, source, task, backend), backend=backend)
    # As many columns as the short side has: the dense SVD, where there is one, costs no more.
    budget = min(m, n) * (1 if source.dense else 4)
    spent = (len(values) - 1) * width > budget
    full = spent or remaining < (width if source.dense else 1)
    if full and source.dense is None:
        done = [True] * len(members)
    useless = [full] * len(members)
    if warm and len(values) == 3 and not full:
        outside = missing(ritz, others, source, backend)
        useless = stacks.flags(outside > task.tol * values[-1], backend=backend)

    def triplets(some: list[Array]) -> Leading:
        return krylov.leading(Space(*some), task.columns, backend=backend)

    accepted = accept(
        done, members, source, space, ritz.captured, estimate, triplets, task, backend
    )
    given_up = [members[i] for i in accepted.left if useless[i]]
    going = [i for i in accepted.left if not useless[i]]
    if not going:
        return Steps(accepted.parts, None, given_up)
    growing = _grown(growing.only(going, backend), width, task, backend)
    return Steps(accepted.parts, growing, given_up)


def _grown(growing: Growing, width: int, task: Task, backend: Backend) -> Growing:
    """Add the next block to Krylov spaces, cut back to their leading directions where large."""
    space, action = growing.space, growing.source.action
    if space.v.shape[-1] > BLOCKS * width:
        space = krylov.thicken(space, width, task.rank + width, backend=backend)
    newest = min(width, growing.source.shape[-1] - space.v.shape[-1])
    y = action.backward(space.w[..., -newest:])
    return growing._replace(space=krylov.extend(action, space, y, backend=backend))


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
