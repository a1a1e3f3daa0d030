"""Leading pairs on a device: products, small Cholesky factors, and one small eigenproblem.

No SVD, no transfer, and no look at a value: the eigenvalues of a matrix of k + 10 rows are all
that a library may wait for. Gram matrices of blocks are made in double precision, so that one
factorization is as good as reflections. A NaN or an inf spreads over its matrix by itself.
"""

from typing import NamedTuple

from specdesc._lib.arrays import adjoint
from specdesc._lib.dtypes import eps, working
from specdesc._lib.typing import Array
from specdesc._linalg import subspace
from specdesc._linalg.basic import widest
from specdesc._truncated_svd.acceptance import Task
from specdesc.backends import Backend
from specdesc.backends.creation import scalar

#: Nothing beside a squared norm of at least 1, and enough to factorize the squares of zeros.
TINY = 1e-30


class Pairs(NamedTuple):
    """Leading left and right vectors: a right one is zero where its singular value is rounding."""

    left: Array  # (..., m, k)
    right: Array  # (..., k, n)
    start: Array  # (..., n, b), the block for the next call, largest first


def is_possible(x: Array, backend: Backend, /) -> bool:
    """Say whether products are what the device of `x` is for, and are there in a wider dtype."""
    if backend.branches or not backend.multiplies(x):
        return False
    small = working(backend.xp, x[..., :0, :0])
    return bool(widest(small, backend=backend).dtype != small.dtype)


def leading_pairs(
    x: Array, task: Task, start: Array | None, passes: int, /, *, backend: Backend
) -> Pairs:
    """Run subspace iteration, which starts from random columns if there is no block."""
    xp, primitives, rank = backend.xp, backend.primitives, task.rank
    y = working(xp, x)
    y = primitives.unscale(y, primitives.entry_scale(y))
    norm = widest(primitives.frobenius(y), backend=backend)
    shift = norm * norm * (4 * max(x.shape[-2:]) * eps(xp, norm.dtype)) + TINY
    if start is None:
        columns = subspace.width(rank, tuple(x.shape))
        block = subspace.drawn_columns(x.shape[-1], columns, task.seed, 0, y, backend=backend)
    else:
        block = subspace.refresh(start, task.seed, task.step, backend=backend)
    q = _basis(xp.matmul(y, block), shift, backend)
    for _ in range(passes):
        v = _basis(primitives.adjoint_product(y, q), shift, backend)
        q = _basis(xp.matmul(y, v), shift, backend)
    z = primitives.adjoint_product(y, q)
    gram = _square(z, backend)
    zero = scalar(backend, 0.0, norm)
    # No library has eigenvalues of NaN; the blocks that they turn carry it on.
    squares, turn = xp.linalg.eigh(xp.where(gram == gram, gram, zero))
    least = (max(x.shape[-2:]) * eps(xp, y.dtype)) ** 2 * squares[..., -1:]
    inverse = xp.where(squares <= least, zero, squares**-0.5)
    turn = xp.astype(turn, y.dtype)
    block = xp.matmul(z, turn) * xp.astype(inverse, y.dtype)[..., None, :]
    left = xp.matmul(q, turn[..., -rank:])
    right = adjoint(block[..., -rank:], xp=xp)
    return Pairs(
        xp.astype(left, x.dtype, copy=False),
        xp.astype(right, x.dtype, copy=False),
        xp.flip(block, axis=-1) if task.columns > rank else block,
    )


def _basis(y: Array, shift: Array, backend: Backend) -> Array:
    """Return orthonormal columns that span those of `y`, up to a shift of their squares."""
    primitives = backend.primitives
    wide = widest(y, backend=backend)
    gram = primitives.shift_diagonal(primitives.adjoint_product(wide, wide), shift)
    return backend.xp.astype(primitives.divide_by_root(wide, gram), y.dtype)


def _square(x: Array, backend: Backend) -> Array:
    wide = widest(x, backend=backend)
    return backend.primitives.adjoint_product(wide, wide)
