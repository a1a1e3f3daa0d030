"""Products, sums and solutions that a backend may do faster, with the agnostic version of each.

Some have arguments that lend memory, for backends whose arrays can be written to. The agnostic
versions have no use for them. `spend` says which operand nobody needs any more: the result may be
written over it, and what it holds afterwards is unspecified. `room` is an array of the shape and
dtype of the result, and none of the operands, whose values nobody needs. No other operand changes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import Any, NamedTuple

from specdesc._lib.arrays import adjoint, has_parts
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array, Namespace
from specdesc.backends.creation import identity
from specdesc.backends.protocol import Backend


def gram(x: Array, /, *, room: Array | None = None, backend: Backend) -> Array:
    """Return X Xᴴ."""
    # The product of one array with its own adjoint: NumPy hands it to BLAS at half the work.
    return backend.xp.matmul(x, adjoint(x, xp=backend.xp))


def multiply_add(
    a: float | Array,
    x: Array,
    z: Array,
    y: Array,
    /,
    *,
    alpha: float = 1.0,
    spend: bool = False,
    room: Array | None = None,
    backend: Backend,
) -> Array:
    """Return ``a x + alpha z y`` for stacks `x`, `z`, `y` of equal batch shape.

    `a` is a float, or an array of shape (..., 1, 1) and the dtype of `x`. `spend` is about `x`,
    which may be `z` or `y` itself.
    """
    product = backend.xp.matmul(z, y)
    return a * x + (product if alpha == 1.0 else alpha * product)


def combine(
    factors: Sequence[float],
    squares: Sequence[Array],
    diagonal: float,
    /,
    *,
    spend: bool = False,
    backend: Backend,
) -> Array:
    """Return the sum of ``factors[i] squares[i]``, plus `diagonal` times the identity.

    `spend` is about the first of the squares.
    """
    total = factors[0] * squares[0]
    for factor, square in zip(factors[1:], squares[1:], strict=True):
        total = total + factor * square
    if diagonal == 0.0:
        return total
    return total + diagonal * identity(total.shape[-1], total, backend=backend)


def mix(
    factors: Sequence[Sequence[float]], squares: Sequence[Array], /, *, backend: Backend
) -> tuple[Array, ...]:
    """Return the sums of ``factors[i][j] squares[j]`` for each i. All of the squares are spent."""
    return tuple(combine(row, squares, 0.0, backend=backend) for row in factors)


def factored(
    rest: Sequence[float],
    left: Sequence[float],
    x: Array,
    y: Array,
    /,
    *,
    spend: bool = False,
    backend: Backend,
) -> Array:
    """Return ``r0 x + r1 y + r2 I + (l0 x + l1 y + l2 I) y`` for squares; `spend` is about `x`."""
    total = kernel("combine", backend)
    factor = total(left[:2], (x, y), left[2], backend=backend)
    if not any(rest):
        return backend.xp.matmul(factor, y)
    added = total(rest[:2], (x, y), rest[2], backend=backend)
    return kernel("multiply_add", backend)(1.0, added, factor, y, spend=True, backend=backend)


def divide(x: Array, by: Array, /, *, spend: bool = False, backend: Backend) -> Array:
    """Return ``x / by``, rounded once, for real numbers `by` (..., 1, 1) in working precision."""
    xp = backend.xp
    wide = working(xp, x)
    return xp.astype(wide / xp.astype(by, wide.dtype), x.dtype, copy=False)


def row_energies(x: Array, /, *, backend: Backend) -> Array:
    """Return the sum of abs(x)**2 along the last axis, in working precision."""
    x = working(backend.xp, x)
    energies = backend.xp.vecdot(x, x, axis=-1)
    return backend.xp.real(energies) if has_parts(backend.xp, x) else energies


def times_columns(z: Array, y: Array, /, *, backend: Backend) -> Array:
    """Return ``z y`` in working precision, for few columns `y` that are in it."""
    return backend.xp.matmul(working(backend.xp, z), y)


def solve_add(
    a: float,
    x: Array,
    b: float,
    z: Array,
    /,
    *,
    spend: bool = False,
    ours: bool = False,
    room: Array | None = None,
    backend: Backend,
) -> Array:
    """Return ``a x + b z⁻¹ x`` for stacks of Hermitian positive definite `z` and of wide `x`.

    `spend` is about `z`, `ours` about `x`, and `room` is another array like `z`.

    The standard has no triangular solve. The inverse by way of the inverse Cholesky factor is as
    stable here (measured), and made of products.
    """
    xp = backend.xp
    root = inverse_root(z, xp=xp)
    inverse = b * xp.matmul(adjoint(root, xp=xp), root)
    return kernel("multiply_add", backend)(a, x, inverse, x, spend=ours, backend=backend)


def inverse_root(z: Array, /, *, xp: Namespace) -> Array:
    """Return the inverse of the lower Cholesky factor, by halves down to small blocks."""
    rows = z.shape[-1]
    if rows <= BLOCK:
        return xp.linalg.inv(xp.linalg.cholesky(z))
    k = rows // 2
    first = inverse_root(z[..., :k, :k], xp=xp)
    below = xp.matmul(z[..., k:, :k], adjoint(first, xp=xp))
    square = xp.matmul(below, adjoint(below, xp=xp))
    second = inverse_root(z[..., k:, k:] - square, xp=xp)
    below = xp.matmul(xp.matmul(-second, below), first)
    above = xp.zeros_like(xp.matrix_transpose(below))
    top, bottom = xp.concat([first, above], axis=-1), xp.concat([below, second], axis=-1)
    return xp.concat([top, bottom], axis=-2)


#: Blocks up to here are inverted by the library: calls of it cost more than products of halves.
BLOCK = 64


def positive_definite(x: Array, shift: Array | None = None, /, *, backend: Backend) -> Array:
    """Say which Hermitian matrices of a stack are positive definite; code may look at them.

    Less `shift` (..., 1, 1) on their diagonals, where it is given, in working precision. Without
    the extension for linear algebra nothing is proven.
    """
    xp = backend.xp
    x = working(xp, x)
    if not hasattr(xp, "linalg"):
        return xp.zeros(x.shape[:-2], dtype=xp.bool, device=backend.device(x))
    if shift is not None:
        x = x - shift * identity(x.shape[-1], x, backend=backend)
    return xp.min(xp.linalg.eigvalsh(x), axis=-1) > 0


AGNOSTIC: dict[str, Callable[..., Any]] = {
    "gram": gram,
    "multiply_add": multiply_add,
    "combine": combine,
    "mix": mix,
    "factored": factored,
    "divide": divide,
    "row_energies": row_energies,
    "times_columns": times_columns,
    "solve_add": solve_add,
    "positive_definite": positive_definite,
}


def kernel(name: str, backend: Backend, /) -> Callable[..., Any]:
    """Return the kernel of the backend, or the agnostic one where it has none."""
    return backend.kernels.get(name, AGNOSTIC[name])


#: What selects a panel of an array.
Index = tuple[slice | EllipsisType, ...]

#: A product is done in at most so many panels of rows or of columns, none of fewer numbers than
#: `LEAST` unless it is alone: each packs the other operand anew.
ROWS, COLUMNS, LEAST = 8, 2, 2**15

#: Numbers of a panel of elementwise work: small enough to stay in the cache.
CACHED = 2**14


class Panel(NamedTuple):
    """Where a panel of ``z y`` is, and the panels of `z` and `y` that it needs."""

    out: Index
    left: Index
    right: Index
    start: int  # the column of its first row that is on the diagonal


def panels(shape: Sequence[int], /, *, columns: bool = False) -> Iterator[Panel]:
    """Cut a product of this shape into matrices where it is a stack, into rows or columns else."""
    count = max(1, min(COLUMNS if columns else ROWS, math.prod(shape) // LEAST))
    return _cut(shape, count, columns)


def pieces(shape: Sequence[int], /) -> Iterator[Index]:
    """Cut elementwise work into panels of rows or stacks of matrices that stay in the cache."""
    return (panel.out for panel in _cut(shape, max(1, math.prod(shape) // CACHED), columns=False))


def _cut(shape: Sequence[int], count: int, columns: bool) -> Iterator[Panel]:
    last = len(shape) - 1
    whole: Index = (...,)
    axis = next((k for k in range(last - 1) if shape[k] > 1), last if columns else last - 1)
    step = max(1, -(-shape[axis] // count))
    for start in range(0, shape[axis], step):
        part = slice(start, start + step)
        index: Index = (*(slice(None),) * axis, part)
        if axis < last - 1:
            yield Panel(index, index, index, 0)
        elif columns:
            yield Panel(index, whole, index, 0)
        else:
            yield Panel(index, index, whole, start)
