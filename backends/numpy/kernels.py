"""Kernels of the agnostic contract that save NumPy passes over memory."""

from collections.abc import Sequence

import numpy
from specdesc._core.linalg import adjoint
from specdesc._core.products import BLOCK
from specdesc._typing import Array
from specdesc.backends import Backend

#: Entries of a temporary at most: a few hundred kilobytes stay in a cache.
CHUNK = 2**15


def multiply_add(
    a: float | Array,
    x: Array,
    z: Array,
    y: Array,
    /,
    *,
    alpha: float = 1.0,
    backend: Backend,
) -> Array:
    """Return ``a x + alpha z y``, the sum written into the product, rows at a time."""
    out = backend.xp.matmul(z, y)
    if alpha != 1.0:
        out *= alpha
    rows = max(1, CHUNK // max(1, x.shape[-1]))
    if x.ndim > 2 or rows >= x.shape[-2]:
        out += a * x
        return out
    for i in range(0, x.shape[-2], rows):
        out[i : i + rows] += a * x[i : i + rows]
    return out


def combine(
    factors: Sequence[float], squares: Sequence[Array], diagonal: float, /, *, backend: Backend
) -> Array:
    """Return the sum of ``factors[i] squares[i]`` and `diagonal` I, in one array."""
    total = factors[0] * squares[0]
    for factor, square in zip(factors[1:], squares[1:], strict=True):
        total += factor * square
    if diagonal != 0.0:
        backend.xp.einsum("...ii->...i", total)[...] += diagonal
    return total


def solve_add(a: float, x: Array, b: float, z: Array, /, *, backend: Backend) -> Array:
    """Return ``a x + b z⁻¹ x``, the inverse Cholesky factor written in place."""
    root = numpy.zeros_like(z)
    _fill_inverse_root(z, root)
    inverse = numpy.matmul(adjoint(root, xp=backend.xp), root)
    inverse *= b
    return multiply_add(a, x, inverse, x, backend=backend)


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
    numpy.negative(numpy.matmul(numpy.matmul(second, below), first), out=root[..., k:, :k])


def positive_definite(x: Array, /, *, backend: Backend) -> Array:
    """Say which Hermitian matrices have a Cholesky factorization, a tenth of their spectrum."""
    flat = numpy.reshape(x, (-1, *x.shape[-2:]))
    return numpy.reshape(numpy.asarray([_has_cholesky(y) for y in flat]), x.shape[:-2])


def _has_cholesky(x: Array) -> bool:
    try:
        numpy.linalg.cholesky(x)
    except numpy.linalg.LinAlgError:
        return False
    return True
