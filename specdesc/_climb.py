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
from specdesc._core.krylov import Products, Ritz, Space
from specdesc._typing import Array
from specdesc.backends import Backend

#: An estimate is accepted when this many times it is within the tolerance.
SAFETY = 4.0

#: Ratio of two growths that is taken for granted: early growths fall faster than later ones.
LEAST_RATIO = 0.25

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


def climb(source: Source, task: Task, start: Array | None, /, *, backend: Backend) -> Served:
    """Return triplets, certificates and estimates, by the first rung that is good enough."""
    count = source.shape[0] if len(source.shape) == 3 else 1
    pending, parts = list(range(count)), list[Part]()
    if start is not None:
        block = subspace.refresh(start, task.seed, backend=backend)
        served, pending = _search(source, block, True, task, pending, backend)
        parts += served
    if pending:
        rest = _take(source, pending)
        columns = min(task.rank + SPARE, *source.shape[-2:])
        block = subspace.random_block(rest.shape, columns, task.seed, source.like, backend=backend)
        served, pending = _search(rest, block, False, task, pending, backend)
        parts += served
    if pending and source.dense is not None:
        parts.append(Part(pending, source.dense(pending)))
    return _merge(parts, backend)


def _search(
    source: Source, block: Array, warm: bool, task: Task, members: list[int], backend: Backend
) -> tuple[list[Part], list[int]]:
    """Grow Krylov spaces until each one is good enough; return also the members that are left."""
    parts, left = list[Part](), list[int]()
    limit, width = min(source.shape[-2:]), block.shape[-1]
    space = krylov.begin(source.products, block, backend=backend)
    values, made = list[Array](), width
    while True:
        found = krylov.ritz(space, task.rank, backend=backend)
        values.append(backend.xp.sum(found.s, axis=-1))
        estimate = _estimate(values, found, space, source, task, backend)
        done = _flags(_good_enough(estimate, found, source, task, backend))
        full = made + width > limit or space.v.shape[-1] + width > limit
        if full and source.dense is None:
            done = [True] * len(members)
        useless = [False] * len(members)
        if warm and len(values) == 3:
            useless = _flags(_missing(found, space, source, backend) > 0)
        if any(done):
            chosen = [i for i, flag in enumerate(done) if flag]
            some = _Growing(space, values, source).only(chosen, backend)
            (final,) = _pick([estimate], chosen, backend)
            served = _finish(some.space, final, some.source, task, backend)
            parts.append(Part([members[i] for i in chosen], served))
        left += [m for m, d, u in zip(members, done, useless, strict=True) if u and not d]
        going = [i for i, d in enumerate(done) if not d and not useless[i]]
        if not going:
            return parts, left
        if full:
            return parts, left + [members[i] for i in going]
        if len(going) < len(members):
            space, values, source = _Growing(space, values, source).only(going, backend)
            members = [members[i] for i in going]
        if space.v.shape[-1] > BLOCKS * width:
            space = krylov.thicken(space, width, task.rank + width, backend=backend)
        y = source.products.backward(space.w[..., -width:])
        if len(values) == 1:
            values.append(krylov.half_pass(space, y, task.rank, backend=backend))
        space = krylov.extend(source.products, space, y, backend=backend)
        made += width


def _estimate(
    values: list[Array], found: Ritz, space: Space, source: Source, task: Task, backend: Backend
) -> Array:
    """Estimate what the value still misses, inf where nothing can be said yet."""
    xp, value = backend.xp, values[-1]
    if len(values) < 3:
        return xp.full_like(value, float("inf"))
    guess = subspace.extrapolate(values[-3], values[-2], value, LEAST_RATIO, xp=xp)
    if len(values) >= 6:  # the first two are half a pass apart
        longer = subspace.extrapolate(values[-5], values[-3], value, LEAST_RATIO, xp=xp)
        guess = xp.maximum(guess, longer)
    guess = xp.maximum(guess, _missing(found, space, source, backend))
    unit = eps(xp, space.w.dtype)
    return guess + found.noise + subspace.rounding(value, task.rank, unit)


def _missing(found: Ritz, space: Space, source: Source, backend: Backend) -> Array:
    """Return a value that is missed for certain: the energy outside cannot hide below s_k.

    Singular values outside of the space are, in the mean of their squares, above s_k. It unmasks a
    block of directions that XᴴX maps to themselves and that lead nowhere.
    """
    xp, s = backend.xp, found.s[..., -1]
    others = min(source.shape[-2:]) - space.v.shape[-1]
    if source.energy is None or others <= 0:
        return xp.zeros_like(s)
    slack = subspace.SLACK * eps(xp, space.w.dtype) * source.energy
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


class _Growing(NamedTuple):
    """Spaces on their way, with what was measured of them."""

    space: Space
    values: list[Array]
    source: Source

    def only(self, chosen: list[int], backend: Backend) -> "_Growing":
        """Leave out the members that are not chosen."""
        space, values, source = self
        if len(source.shape) == 2 or len(chosen) == source.shape[0]:
            return self
        space = Space(*_pick(space, chosen, backend))
        return _Growing(space, _pick(values, chosen, backend), _take(source, chosen))


def _finish(space: Space, estimate: Array, source: Source, task: Task, backend: Backend) -> Served:
    """Turn spaces into triplets, and say what is certain."""
    xp = backend.xp
    found = krylov.leading(space, task.columns, backend=backend)
    block = subspace.complete(found.v, task.columns, task.seed, backend=backend)
    s = found.s[..., : task.rank]
    gap = xp.full_like(s[..., 0], float("inf"))
    if source.energy is not None:
        unit, inside = eps(xp, s.dtype), krylov.captured(space, backend=backend)
        gap = subspace.certificate(source.energy, inside, s, unit, backend=backend)
    # Without a sequence, the certificate is all there is.
    estimate = xp.astype(estimate, s.dtype)
    estimate = xp.where(estimate < float("inf"), estimate, gap)
    return Served(found.u[..., : task.rank], s, block, gap, estimate)


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
