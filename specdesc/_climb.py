"""From cheap to dear, as far as a tolerance asks, where code may look at values.

One ladder for all: a block (that of an earlier call, or random columns) and one pass of subspace
iteration; the block Krylov space that its products are the beginning of; the dense SVD. What one
rung has computed, the next one starts from. A warm block that has proved useless is dropped for
random columns.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from specdesc._array import eps
from specdesc._core import krylov, subspace
from specdesc._core.krylov import Half, Leading, Products, Ritz, Space
from specdesc._core.linalg import widest
from specdesc._typing import Array
from specdesc.backends import Backend

#: An estimate is accepted when this many times it is within the tolerance.
SAFETY = 4.0

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


class Served(NamedTuple):
    """What a rung returns for its matrices, each array with their axis first if they are many."""

    u: Array  # (..., m, k)
    s: Array  # (..., k)
    block: Array  # (..., n, b): the k right vectors and more, for the next call
    gap: Array
    estimate: Array


class Source(NamedTuple):
    """The matrices that triplets are wanted of: one, or a stack (B, m, n)."""

    shape: tuple[int, ...]
    like: Array  # an array of their dtype and device
    products: Products
    energy: Array | None  # ||X||_F² in the widest dtype, None where nobody knows
    #: Members to the source of those alone, and to their dense decompositions; None where X is
    #: known by its products alone.
    take: Callable[[Sequence[int]], "Source"] | None
    dense: Callable[[Sequence[int]], Served] | None


class Task(NamedTuple):
    """What is wanted of the matrices of a source."""

    rank: int
    columns: int  # of the block for the next call
    tol: float
    seed: int


class Part(NamedTuple):
    """Results for some members of a stack."""

    members: list[int]
    served: Served


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
        members = [self.members[i] for i in chosen]
        space = Space(*_pick(self.space, chosen, backend))
        return Growing(
            members, _take(self.source, chosen), space, _pick(self.values, chosen, backend)
        )


def climb(source: Source, task: Task, start: Array | None, /, *, backend: Backend) -> Served:
    """Return triplets, certificates and estimates, by the first rung that is good enough."""
    pending = list(range(source.shape[0] if len(source.shape) == 3 else 1))
    parts = list[Part]()
    if start is not None:
        block = subspace.refresh(start, task.seed, backend=backend)
        served, pending = _from_block(source, block, True, task, pending, backend)
        parts += served
    if pending:
        rest = _take(source, pending)
        columns = min(task.rank + SPARE, *rest.shape[-2:])
        block = subspace.random_block(rest.shape, columns, task.seed, rest.like, backend=backend)
        served, pending = _from_block(rest, block, False, task, pending, backend)
        parts += served
    if pending and source.dense is not None:
        parts.append(Part(pending, source.dense(pending)))
    return _merge(parts, backend)


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
    estimate = _at_least(guess, found, min(n, m - columns), source, task, backend)
    done = _flags(_good_enough(estimate, found, source, task, backend))
    room = n - columns
    if room == 0 and source.dense is None:
        done = [True] * len(members)
    parts, growing = list[Part](), Growing(members, source, space, [before, value])
    if any(done):
        chosen = [i for i, flag in enumerate(done) if flag]
        some, ready, final = growing.only(chosen, backend), half, estimate
        if some is not growing:
            ready, (final,) = (
                Half(*_pick(half, chosen, backend)),
                _pick([estimate], chosen, backend),
            )
        triplets = krylov.half_leading(ready, backend=backend)
        captured = xp.sum(widest(triplets.s, backend=backend) ** 2, axis=-1)
        served = _certified(triplets, captured, final, some.source, task, backend)
        parts.append(Part(some.members, served))
    going = [i for i, flag in enumerate(done) if not flag]
    if not going:
        return parts, None
    if len(going) < len(members):
        growing, half = growing.only(going, backend), Half(*_pick(half, going, backend))
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
    estimate = _at_least(guess, found, others, source, task, backend)
    done = _flags(_good_enough(estimate, found, source, task, backend))
    # As many columns as the short side has: the dense rung, where there is one, costs no more.
    budget = min(m, n) * (1 if source.dense else 4)
    spent = (len(values) - 1) * width > budget
    full = spent or room < (width if source.dense else 1)
    if full and source.dense is None:
        done = [True] * len(members)
    useless = [False] * len(members)
    if warm and len(values) == 3:
        missing = _missing(found, others, source, backend) > task.tol * values[-1]
        useless = _flags(missing)
    parts = list[Part]()
    if any(done):
        chosen = [i for i, flag in enumerate(done) if flag]
        some = growing.only(chosen, backend)
        final, inside = estimate, found.captured
        if some is not growing:
            final, inside = _pick([final, inside], chosen, backend)
        triplets = krylov.leading(some.space, task.columns, backend=backend)
        served = _certified(triplets, inside, final, some.source, task, backend)
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


def _at_least(
    guess: Array, found: Ritz, others: int, source: Source, task: Task, backend: Backend
) -> Array:
    """Return an estimate that is not below what is missed for certain, rounding added."""
    xp = backend.xp
    guess = xp.maximum(guess, _missing(found, others, source, backend))
    if others == 0:  # nothing is outside
        guess = xp.zeros_like(guess)
    unit = eps(xp, source.like.dtype)
    value = xp.sum(found.s, axis=-1)
    return guess + found.noise + subspace.rounding(value, task.rank, unit)


def _missing(found: Ritz, others: int, source: Source, backend: Backend) -> Array:
    """Return a value that is missed for certain: the energy outside cannot hide below s_k.

    What is outside has the rank `others` at most, so that its largest singular value is no less
    than the root of its mean energy. It unmasks a block of directions that XᴴX maps to themselves
    and that lead nowhere.
    """
    xp, s = backend.xp, found.s[..., -1]
    if source.energy is None or others == 0:
        return xp.zeros_like(s)
    slack = subspace.SLACK * eps(xp, source.like.dtype) * source.energy
    outside = source.energy - found.captured - slack
    outside = xp.maximum(outside, xp.zeros_like(outside))
    return xp.maximum(xp.astype(xp.sqrt(outside / others), s.dtype) - s, xp.zeros_like(s))


def _good_enough(
    estimate: Array, found: Ritz, source: Source, task: Task, backend: Backend
) -> Array:
    xp = backend.xp
    allowed = task.tol * xp.sum(found.s, axis=-1)
    close = SAFETY * estimate <= allowed
    if source.energy is None:
        return close
    # Two simple consequences of the certificate, E / (2 s_k) and sqrt(k E); the sharp one follows.
    unit = (subspace.SLACK + 2 * task.rank) * eps(xp, source.like.dtype)
    outside = source.energy - found.captured
    outside = xp.maximum(outside, xp.zeros_like(outside)) + unit * source.energy
    proven = outside <= 2 * found.s[..., -1] * allowed
    return close | proven | (task.rank * outside <= allowed**2)


def _certified(
    found: Leading, captured: Array, estimate: Array, source: Source, task: Task, backend: Backend
) -> Served:
    """Cut triplets to what is wanted, and say what is certain."""
    xp = backend.xp
    s = found.s[..., : task.rank]
    block = subspace.complete(found.v, task.columns, task.seed, backend=backend)
    gap = xp.full_like(s[..., 0], float("inf"))
    if source.energy is not None:
        unit = eps(xp, s.dtype)
        gap = subspace.certificate(source.energy, captured, s, unit, backend=backend)
    guess = xp.astype(estimate, s.dtype, copy=False)
    return Served(found.u[..., : task.rank], s, block, gap, xp.minimum(guess, gap))


def _take(source: Source, members: Sequence[int]) -> Source:
    everything = len(source.shape) == 2 or len(members) == source.shape[0]
    return source if everything or source.take is None else source.take(members)


def _pick(arrays: Sequence[Array], chosen: Sequence[int], backend: Backend) -> list[Array]:
    """Return the chosen entries of arrays along their first axis, the axis of the stack."""
    xp, first = backend.xp, arrays[0]
    if first.ndim == 0 or len(chosen) == first.shape[0]:
        return list(arrays)
    index = xp.asarray(list(chosen), device=backend.device(first))
    return [xp.take(x, index, axis=0) for x in arrays]


def _flags(x: Array) -> list[bool]:
    return [bool(x)] if x.ndim == 0 else [bool(x[i]) for i in range(x.shape[0])]


def _merge(parts: list[Part], backend: Backend) -> Served:
    """Put the results for the members of a stack back into order."""
    if len(parts) == 1:
        return parts[0].served
    xp = backend.xp
    order = [i for part in parts for i in part.members]
    places = sorted(range(len(order)), key=order.__getitem__)
    index = xp.asarray(places, device=backend.device(parts[0].served.u))
    pieces = zip(*(part.served for part in parts), strict=True)
    return Served(*(xp.take(xp.concat(list(each), axis=0), index, axis=0) for each in pieces))
