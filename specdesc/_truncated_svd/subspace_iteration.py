"""Stacks of small matrices, where a product costs less than the eigenvalues of a small block.

A Krylov space makes the most of every product, at the price of eigenvalues of all that it holds.
For a matrix of a hundred rows it is the other way round: here a block is multiplied many times and
looked at rarely.
"""

from specdesc._lib.typing import Array
from specdesc._linalg import krylov, stacks
from specdesc._linalg.krylov import Half, Leading
from specdesc._linalg.orthonormal import qr
from specdesc._linalg.subspace import FRESH
from specdesc._truncated_svd.acceptance import (
    Part,
    Source,
    Task,
    accept,
    at_least,
    good_enough,
    take,
)
from specdesc.backends import Backend

#: Matrices with sides up to here are iterated like this.
SIDE = 256

#: Passes before a block of random columns is looked at, and between two looks.
COLD, AGAIN = 5, 3

#: Columns of a random block beyond the wanted rank: more cost more than the passes that they save.
SPREAD = 6

#: Passes between two orthonormalizations: more lose the small ones of unequal singular values.
TOGETHER = 3

#: After so many looks the dense SVD costs no more than what further ones might.
LOOKS = 4

#: The value is taken to grow by this share of its last growth at least.
LEAST_RATIO = 0.25


def is_small(source: Source, /) -> bool:
    """Say whether these are small matrices that are there, not only their products."""
    return source.dense is not None and max(source.shape[-2:]) <= SIDE


def iterate(
    source: Source,
    block: Array,
    passes: int,
    task: Task,
    members: list[int],
    /,
    *,
    backend: Backend,
) -> tuple[list[Part], list[int]]:
    """Multiply a block until its values stand still; return also the members that are not done.

    `passes` is how often it is multiplied before the first look.
    """
    xp, parts = backend.xp, list[Part]()
    m, n = source.shape[-2:]
    # What a projection from the left leaves has rank n and m - columns at most.
    others = min(n, m - block.shape[-1])
    last: Array | None = None
    for _ in range(LOOKS):
        half = _multiplied(source, block, passes, backend)
        ritz, squares, turn = krylov.half_solve(half, task.rank, backend=backend)
        # What the leading directions of the left side had of the block before the last product: a
        # bound on its Ky Fan value from below, and close to it.
        lead = xp.astype(turn[..., -task.rank :], half.r.dtype)
        had = backend.primitives.adjoint_product(half.r, lead)
        before = krylov.ky_fan(had, task.rank, backend=backend)
        grown = xp.sum(ritz.s, axis=-1) - before
        grown = xp.maximum(grown, xp.zeros_like(grown))
        ratio = _ratio(squares, last, grown, passes, task.rank, backend)
        estimate = at_least(grown * ratio / (1 - ratio), ritz, others, source, task, backend)
        done = good_enough(estimate, ritz, source, task, backend)

        def triplets(some: list[Array]) -> Leading:
            *ready, turned = some
            return krylov.half_leading(Half(*ready), task.columns, turned, backend=backend)

        accepted = accept(
            stacks.flags(done, backend=backend),
            members,
            source,
            [*half, turn],
            ritz.captured,
            estimate,
            triplets,
            task,
            backend,
        )
        parts += accepted.parts
        going = accepted.left
        if not going:
            return parts, []
        source = take(source, going)
        block, last = stacks.take([half.z, grown], going, len(members), backend=backend)
        members = [members[i] for i in going]
        passes = AGAIN
    return parts, members


def _multiplied(source: Source, block: Array, passes: int, backend: Backend) -> Half:
    """Multiply a block so often, and project on what that leads to."""
    xp, x = backend.xp, source.action
    for number in range(passes):
        if number > 0 and number % TOGETHER == 0:
            block, _ = qr(block, backend=backend)
        block = x.backward(x.forward(block))
        if source.energy is not None:  # powers of a matrix overflow, those of X / ||X||_F do not
            size = xp.where(source.energy > 0, source.energy, xp.ones_like(source.energy))
            block = block / xp.astype(size, block.dtype)[..., None, None]
    v, _ = qr(block, backend=backend)
    q, r = qr(x.forward(v), backend=backend)
    return Half(q, r, x.backward(q))


def _ratio(
    squares: Array, last: Array | None, grown: Array, passes: int, rank: int, backend: Backend
) -> Array:
    """Return the ratio of one growth of the value to the next, each within half a pass.

    Errors shrink by the ratio of the first value outside of the block to the last one wanted; the
    smallest one of the block stands for the former, of columns that were multiplied more than once:
    the fresh ones of a warm block were not. Where the ratio of the growths at two looks is
    less, that counts, with twice the time: growths fall faster at first.
    """
    xp = backend.xp
    positive = squares[..., -rank] > 0
    wanted = xp.where(positive, squares[..., -rank], xp.ones_like(squares[..., -rank]))
    outside = squares[..., 0 if passes else FRESH]
    ratio = xp.astype(xp.where(positive, outside / wanted, xp.zeros_like(wanted)), grown.dtype)
    if last is not None:
        moving = last > 0
        fallen = grown / xp.where(moving, last, xp.ones_like(last))
        fallen = xp.where(moving, fallen, xp.ones_like(fallen)) ** (0.25 / (passes + 1))
        ratio = xp.minimum(ratio, fallen)
    return xp.clip(ratio, min=LEAST_RATIO, max=0.999)
