"""Kernels of the agnostic contract that save NumPy passes over memory."""

from collections.abc import Sequence

import numpy
from specdesc._lib.arrays import adjoint
from specdesc._lib.typing import Array
from specdesc.backends import Backend
from specdesc.backends.primitives import BLOCK, panels, pieces

#: Entries of a temporary at most: a few hundred kilobytes stay in a cache.
CHUNK = 2**15


def gram(x: Array, /, *, room: Array | None = None, backend: Backend) -> Array:
    """Return X Xᴴ."""
    return numpy.matmul(x, adjoint(x, xp=backend.xp), out=room)


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
    """Return ``a x + alpha z y``, over `x` in panels where it is spent."""
    if not isinstance(a, float | int):
        return _add_multiples(a, x, _scale(numpy.matmul(z, y), alpha))
    if spend:
        for out, left, right, _ in panels(x.shape, columns=x is y):
            _over(a, x[out], z[left], y[right], alpha)
        return x
    total = numpy.matmul(z, y, out=room)
    for piece in pieces(total.shape):
        part = _scale(total[piece], alpha)
        part += x[piece] if a == 1.0 else a * x[piece]
    return total


def _add_multiples(a: Array, x: Array, total: Array) -> Array:
    """Add ``a x`` for a stack of numbers a, rows at a time for one matrix."""
    rows = x.shape[-2] if x.ndim > 2 else max(1, CHUNK // max(1, x.shape[-1]))
    for i in range(0, x.shape[-2], max(rows, 1)):
        total[..., i : i + rows, :] += a * x[..., i : i + rows, :]
    return total


def _over(a: float, x: Array, z: Array, y: Array, alpha: float) -> None:
    """Write ``a x + alpha z y`` over `x`. A function, so that one product at a time is alive."""
    product = _scale(numpy.matmul(z, y), alpha)
    _scale(x, a)
    x += product


def _scale(x: Array, factor: float) -> Array:
    if factor != 1.0:
        x *= factor
    return x


def combine(
    factors: Sequence[float],
    squares: Sequence[Array],
    diagonal: float,
    /,
    *,
    spend: bool = False,
    backend: Backend,
) -> Array:
    """Return the sum of ``factors[i] squares[i]`` and `diagonal` I, in one pass."""
    total = squares[0] if spend else numpy.empty_like(squares[0])
    for piece in pieces(total.shape):
        part = total[piece]
        if not spend or factors[0] != 1.0:
            numpy.multiply(squares[0][piece], factors[0], out=part)
        for factor, square in zip(factors[1:], squares[1:], strict=True):
            part += factor * square[piece]
    if diagonal != 0.0:
        _add_diagonal(total, diagonal)
    return total


def _add_diagonal(squares: Array, value: float) -> None:
    numpy.einsum("...ii->...i", squares)[...] += value


def mix(
    factors: Sequence[Sequence[float]], squares: Sequence[Array], /, *, backend: Backend
) -> tuple[Array, ...]:
    """Return the sums of ``factors[i][j] squares[j]``, each over a square."""
    for piece in pieces(squares[0].shape):
        _mix_piece(factors, [square[piece] for square in squares], backend)
    return tuple(squares)


def _mix_piece(
    factors: Sequence[Sequence[float]], parts: Sequence[Array], backend: Backend
) -> None:
    sums = [combine(row, parts, 0.0, backend=backend) for row in factors]
    for part, new in zip(parts, sums, strict=True):
        part[...] = new


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
    """Return ``r0 x + r1 y + r2 I + (l0 x + l1 y + l2 I) y``, as rows of it need those of x."""
    total = x if spend and any(rest) else numpy.empty_like(x)
    for out, _, right, start in panels(x.shape):
        rows = x[out]
        into = rows if total is x else total[out]
        _fill_rows(into, rest, left, (rows, y[out]), y[right], start, backend)
    return total


def _fill_rows(
    total: Array,
    rest: Sequence[float],
    left: Sequence[float],
    parts: tuple[Array, Array],
    y: Array,
    start: int,
    backend: Backend,
) -> None:
    """Write rows of `factored`, the first of which is that number, over `total` or those of x."""
    columns = slice(start, start + total.shape[-2])
    factor = combine(left[:2], parts, 0.0, backend=backend)
    _add_diagonal(factor[..., columns], left[2])
    if not any(rest):
        numpy.matmul(factor, y, out=total)
        return
    product = numpy.matmul(factor, y)
    added = combine(rest[:2], parts, 0.0, spend=total is parts[0], backend=backend)
    _add_diagonal(added[..., columns], rest[2])
    numpy.add(added, product, out=total)


def divide(x: Array, by: Array, /, *, spend: bool = False, backend: Backend) -> Array:
    """Return ``x / by``, over `x` where it is spent."""
    if x.dtype == numpy.float16:
        return numpy.asarray(x / by, dtype=x.dtype)
    return numpy.divide(x, by.astype(x.dtype), out=x if spend else None)


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
    """Return ``a x + b z⁻¹ x``, the inverse Cholesky factor written in place."""
    root = numpy.empty_like(z) if room is None else room
    root[...] = 0
    _fill_inverse_root(z, root)
    inverse = numpy.matmul(adjoint(root, xp=backend.xp), root, out=z if spend else None)
    inverse *= b
    return multiply_add(a, x, inverse, x, spend=ours, backend=backend)


def _fill_inverse_root(z: Array, root: Array) -> None:
    rows = z.shape[-1]
    if rows <= BLOCK:
        root[...] = numpy.linalg.inv(numpy.linalg.cholesky(z))
        return
    k = rows // 2
    first, second = root[..., :k, :k], root[..., k:, k:]
    _fill_inverse_root(z[..., :k, :k], first)
    below = numpy.matmul(z[..., k:, :k], numpy.conj(numpy.matrix_transpose(first)))
    rest = numpy.matmul(below, numpy.conj(numpy.matrix_transpose(below)))
    _fill_inverse_root(numpy.subtract(z[..., k:, k:], rest, out=rest), second)
    numpy.matmul(numpy.matmul(second, below), first, out=root[..., k:, :k])
    numpy.negative(root[..., k:, :k], out=root[..., k:, :k])


def positive_definite(x: Array, shift: Array | None = None, /, *, backend: Backend) -> Array:
    """Say which ``x - shift I`` have a Cholesky factorization, a tenth of their spectrum."""
    flat = numpy.reshape(x, (-1, *x.shape[-2:]))
    shifts = numpy.zeros(len(flat)) if shift is None else numpy.reshape(shift, (-1,))
    found = [_has_cholesky(*pair) for pair in zip(flat, shifts, strict=True)]
    return numpy.reshape(numpy.asarray(found), x.shape[:-2])


def _has_cholesky(x: Array, shift: float) -> bool:
    shifted = x.copy()
    _add_diagonal(shifted, -shift)
    try:
        numpy.linalg.cholesky(shifted)
    except numpy.linalg.LinAlgError:
        return False
    return True
