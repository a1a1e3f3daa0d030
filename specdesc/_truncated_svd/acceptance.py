"""What an iteration returns, when that is good enough, and what is certain of it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from specdesc._lib.dtypes import eps
from specdesc._lib.typing import Array
from specdesc._linalg import stacks, subspace
from specdesc._linalg.krylov import Action, Leading, Ritz
from specdesc.backends import Backend

#: An estimate is accepted when this many times it is within the tolerance.
SAFETY = 4.0


class Served(NamedTuple):
    """Results for some matrices, each array with their axis first if they are many."""

    u: Array  # (..., m, k)
    s: Array  # (..., k)
    block: Array  # (..., n, b): the k right vectors and more, for the next call
    gap: Array
    estimate: Array


class Source(NamedTuple):
    """The matrices that triplets are wanted of: one, or a stack (B, m, n)."""

    shape: tuple[int, ...]
    like: Array  # an array of their dtype and device
    action: Action
    energy: Array | None  # ||X||_F² in the widest dtype, None where nobody knows
    #: Members to the source of those alone, and to their dense decompositions; None where X is
    #: known by its products alone.
    take: Callable[[Sequence[int]], "Source"] | None
    dense: Callable[[Sequence[int]], Served] | None


class Task(NamedTuple):
    """What is wanted of the matrices of a source."""

    rank: int
    columns: int  # of the block that is returned; the rank where no call follows
    tol: float  # 0 for working accuracy
    seed: int
    step: int | Array  # of the fresh columns


class Part(NamedTuple):
    """Results for some members of a stack."""

    members: list[int]
    served: Served


def at_least(
    guess: Array, ritz: Ritz, others: int, source: Source, task: Task, backend: Backend
) -> Array:
    """Return an estimate that is not below what is missed for certain, rounding added."""
    xp = backend.xp
    guess = xp.maximum(guess, missing(ritz, others, source, backend))
    if others == 0:  # nothing is outside
        guess = xp.zeros_like(guess)
    unit = eps(xp, source.like.dtype)
    value = xp.sum(ritz.s, axis=-1)
    return guess + ritz.noise + subspace.rounding(value, task.rank, unit)


def missing(ritz: Ritz, others: int, source: Source, backend: Backend) -> Array:
    """Return a value that is missed for certain: the energy outside cannot hide below s_k.

    What is outside has the rank `others` at most, so that its largest singular value is no less
    than the root of its mean energy. It unmasks a block of directions that XᴴX maps to themselves
    and that lead nowhere.
    """
    xp, s = backend.xp, ritz.s[..., -1]
    if source.energy is None or others == 0:
        return xp.zeros_like(s)
    slack = subspace.SLACK * eps(xp, source.like.dtype) * source.energy
    outside = source.energy - ritz.captured - slack
    outside = xp.maximum(outside, xp.zeros_like(outside))
    return xp.maximum(xp.astype(xp.sqrt(outside / others), s.dtype) - s, xp.zeros_like(s))


def good_enough(estimate: Array, ritz: Ritz, source: Source, task: Task, backend: Backend) -> Array:
    """Say which estimates, or bounds, are within the tolerance."""
    xp = backend.xp
    allowed = task.tol * xp.sum(ritz.s, axis=-1)
    close = SAFETY * estimate <= allowed
    if source.energy is None:
        return close
    # Two simple consequences of the certificate, E / (2 s_k) and sqrt(k E); the sharp one follows.
    unit = (subspace.SLACK + 2 * task.rank) * eps(xp, source.like.dtype)
    outside = source.energy - ritz.captured
    outside = xp.maximum(outside, xp.zeros_like(outside)) + unit * source.energy
    proven = outside <= 2 * ritz.s[..., -1] * allowed
    return close | proven | (task.rank * outside <= allowed**2)


def certified(
    triplets: Leading,
    captured: Array,
    estimate: Array,
    energy: Array | None,
    task: Task,
    backend: Backend,
) -> Served:
    """Cut triplets to what is wanted, and say what is certain."""
    xp = backend.xp
    s = triplets.s[..., : task.rank]
    block = subspace.complete(triplets.v, task.columns, task.seed, backend=backend)
    gap = xp.full_like(s[..., 0], float("inf"))
    if energy is not None:
        unit = eps(xp, s.dtype)
        gap = subspace.certificate(energy, captured, s, unit, backend=backend)
    guess = xp.astype(estimate, s.dtype, copy=False)
    return Served(triplets.u[..., : task.rank], s, block, gap, xp.minimum(guess, gap))


def take(source: Source, members: Sequence[int]) -> Source:
    """Return the source of the chosen positions alone."""
    everything = len(source.shape) == 2 or len(members) == source.shape[0]
    return source if everything or source.take is None else source.take(members)


class Accepted(NamedTuple):
    """Which members of a stack are done, and the results of those."""

    parts: list[Part]  # one, or none
    left: list[int]  # positions, not members, of the others


def accept(
    done: list[bool],
    members: list[int],
    source: Source,
    arrays: Sequence[Array],
    captured: Array,
    estimate: Array,
    triplets: Callable[[list[Array]], Leading],
    task: Task,
    backend: Backend,
) -> Accepted:
    """Finish the members that are done; `triplets` makes theirs of their part of the `arrays`."""
    chosen = [i for i, flag in enumerate(done) if flag]
    left = [i for i, flag in enumerate(done) if not flag]
    if not chosen:
        return Accepted([], left)
    taken = [*arrays, captured, estimate]
    *some, inside, final = stacks.take(taken, chosen, len(members), backend=backend)
    energy = take(source, chosen).energy
    served = certified(triplets(some), inside, final, energy, task, backend)
    return Accepted([Part([members[i] for i in chosen], served)], left)


def merge(parts: list[Part], backend: Backend) -> Served:
    """Put the results for the members of a stack back into order."""
    places = [part.members for part in parts]
    return Served(*stacks.merge([part.served for part in parts], places, backend=backend))
