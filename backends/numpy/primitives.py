"""Primitives that save NumPy passes over memory."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import NamedTuple

import numpy
from specdesc._lib.typing import Array
from specdesc.backends.primitives import SMALLEST_BLOCK, Primitives

#: What selects a panel of an array.
Index = tuple[slice | EllipsisType, ...]

#: A product is done in at most so many panels of rows or of columns, none of fewer numbers than
#: `LEAST` unless it is alone: each packs the other operand anew.
ROWS, COLUMNS, LEAST = 8, 2, 2**15

#: Numbers of a panel of elementwise work: small enough to stay in the cache.
CACHED = 2**14


class Panel(NamedTuple):
    """Where a panel of a product ``a b`` is, and the panels of `a` and `b` that it needs."""

    out: Index
    left: Index
    right: Index
    start: int  # the column of its first row that is on the diagonal


#: Entries of a temporary at most: a few hundred kilobytes stay in a cache.
CHUNK = 2**15


@dataclass(frozen=True)
class NumPyPrimitives(Primitives):
    """Panels in place of whole temporaries, and results written over what nobody needs."""

    def adjoint(self, x: Array, /) -> Array:
        """Return the conjugate transpose: a view of real arrays."""
        return numpy.conj(x.mT) if x.dtype.kind == "c" else x.mT

    def adjoint_product(self, a: Array, b: Array, /) -> Array:
        """Return ``aᴴ b``, `a` read in rows."""
        if a.dtype.kind == "c":
            return numpy.conj(numpy.matmul(numpy.conj(b.mT), a).mT)
        return numpy.matmul(b.mT, a).mT

    def gram(self, x: Array, /, *, out: Array | None = None) -> Array:
        """Return X Xᴴ."""
        return numpy.matmul(x, numpy.conj(x.mT) if x.dtype.kind == "c" else x.mT, out=out)

    def addmm(
        self,
        beta: float | Array,
        c: Array,
        a: Array,
        b: Array,
        /,
        *,
        alpha: float = 1.0,
        overwrite: bool = False,
        out: Array | None = None,
    ) -> Array:
        """Return ``beta c + alpha a b``, over `c` in panels where it may be overwritten."""
        if not isinstance(beta, float | int):
            return _add_multiples(beta, c, numpy.matmul(a, b), alpha)
        if overwrite:
            for panel in _panels(c.shape, columns=c is b):
                _write_over(beta, c[panel.out], a[panel.left], b[panel.right], alpha)
            return c
        total = numpy.matmul(a, b, out=out)
        for panel in _pieces(total.shape):
            part, added = total[panel.out], c[panel.out]
            if alpha != 1.0:
                part *= alpha
            part += added if beta == 1.0 else beta * added
        return total

    def square_sum(
        self, beta: float, r: Array, alpha: float, /, *, out: Array | None = None
    ) -> Array:
        """Return ``beta r + alpha r²``: a product of an array with its adjoint is half the work."""
        return self.addmm(beta, r, r, self.adjoint(r), alpha=alpha, out=out)

    def linear_combination(
        self,
        coefficients: Sequence[float],
        matrices: Sequence[Array],
        shift: float,
        /,
        *,
        overwrite: bool = False,
    ) -> Array:
        """Return the sum of ``coefficients[i] matrices[i]`` and `shift` I, in one pass."""
        total = matrices[0] if overwrite else numpy.empty_like(matrices[0])
        for panel in _pieces(total.shape):
            part = total[panel.out]
            if not overwrite or coefficients[0] != 1.0:
                numpy.multiply(matrices[0][panel.out], coefficients[0], out=part)
            for coefficient, matrix in zip(coefficients[1:], matrices[1:], strict=True):
                part += coefficient * matrix[panel.out]
        if shift != 0.0:
            _add_diagonal(total, shift)
        return total

    def linear_combinations(
        self, coefficients: Sequence[Sequence[float]], matrices: Sequence[Array], /
    ) -> tuple[Array, ...]:
        """Return the sums of ``coefficients[i][j] matrices[j]``, each over a matrix."""
        for panel in _pieces(matrices[0].shape):
            parts = [matrix[panel.out] for matrix in matrices]
            sums = [
                sum(c * part for c, part in zip(row, parts, strict=True) if c)
                for row in coefficients
            ]
            for part, new in zip(parts, sums, strict=True):
                part[...] = new
        return tuple(matrices)

    def affine_product(
        self,
        added: Sequence[float],
        factor: Sequence[float],
        x: Array,
        y: Array,
        /,
        *,
        overwrite: bool = False,
    ) -> Array:
        """Return ``(a0 x + a1 y + a2 I) + (f0 x + f1 y + f2 I) y``, as rows of it need those of x.

        `overwrite` is about `x`.
        """
        total = x if overwrite and any(added) else numpy.empty_like(x)
        for panel in _panels(x.shape):
            rows, out = (x[panel.out], y[panel.out]), total[panel.out]
            diagonal = slice(panel.start, panel.start + out.shape[-2])
            left = factor[0] * rows[0] + factor[1] * rows[1]
            _add_diagonal(left[..., diagonal], factor[2])
            if not any(added):
                numpy.matmul(left, y[panel.right], out=out)
                continue
            product = numpy.matmul(left, y[panel.right])
            numpy.multiply(rows[0], added[0], out=out)
            out += added[1] * rows[1]
            _add_diagonal(out[..., diagonal], added[2])
            out += product
        return total

    def unscale(self, x: Array, scale: Array, /, *, overwrite: bool = False) -> Array:
        """Return ``x / scale``, over `x` where it may be overwritten."""
        if x.dtype == numpy.float16:
            return numpy.asarray(x / scale, dtype=x.dtype)
        return numpy.divide(x, scale.astype(x.dtype), out=x if overwrite else None)

    def squared_row_norms(self, x: Array, /) -> Array:
        """Return the sum of abs(x)**2 along the last axis, real and in working precision."""
        x = _single(x)
        return numpy.vecdot(x, x).real

    def thin_product(self, a: Array, b: Array, /) -> Array:
        """Return ``a b`` in working precision, for few columns `b` that are in it."""
        return numpy.matmul(_single(a), b)

    def add_solve(
        self,
        beta: float,
        x: Array,
        alpha: float,
        z: Array,
        /,
        *,
        overwrite: bool = False,
        owned: bool = False,
        out: Array | None = None,
    ) -> Array:
        """Return ``beta x + alpha z⁻¹ x``, the inverse Cholesky factor written in place."""
        root = numpy.empty_like(z) if out is None else out
        root[...] = 0
        _fill_inverse_cholesky(z, root)
        inverse = numpy.matmul(numpy.conj(root.mT), root, out=z if overwrite else None)
        inverse *= alpha
        return self.addmm(beta, x, inverse, x, overwrite=owned)

    def is_positive_definite(self, x: Array, shift: Array | None = None, /) -> Array:
        """Say which ``x - shift I`` have a Cholesky factorization, a tenth of their spectrum."""
        flat = numpy.reshape(x, (-1, *x.shape[-2:]))
        shifts = numpy.zeros(len(flat)) if shift is None else numpy.reshape(shift, (-1,))
        held = [_has_cholesky(*pair) for pair in zip(flat, shifts, strict=True)]
        return numpy.reshape(numpy.asarray(held), x.shape[:-2])


def _single(x: Array) -> Array:
    return x.astype(numpy.float32) if x.dtype == numpy.float16 else x


def _write_over(beta: float, c: Array, a: Array, b: Array, alpha: float) -> None:
    """Write ``beta c + alpha a b`` over `c`: a function, so that one product at a time is alive."""
    product = numpy.matmul(a, b)
    if alpha != 1.0:
        product *= alpha
    if beta != 1.0:
        c *= beta
    c += product


def _add_multiples(beta: Array, c: Array, total: Array, alpha: float) -> Array:
    """Return ``beta c + alpha total`` for a stack of numbers, rows at a time for one matrix."""
    rows = c.shape[-2] if c.ndim > 2 else max(1, CHUNK // max(1, c.shape[-1]))
    if alpha != 1.0:
        total *= alpha
    for i in range(0, c.shape[-2], max(rows, 1)):
        total[..., i : i + rows, :] += beta * c[..., i : i + rows, :]
    return total


def _add_diagonal(matrices: Array, value: float) -> None:
    numpy.einsum("...ii->...i", matrices)[...] += value


def _fill_inverse_cholesky(z: Array, root: Array) -> None:
    rows = z.shape[-1]
    if rows <= SMALLEST_BLOCK:
        root[...] = numpy.linalg.inv(numpy.linalg.cholesky(z))
        return
    k = rows // 2
    first, second = root[..., :k, :k], root[..., k:, k:]
    _fill_inverse_cholesky(z[..., :k, :k], first)
    below = numpy.matmul(z[..., k:, :k], numpy.conj(first.mT))
    rest = numpy.matmul(below, numpy.conj(below.mT))
    _fill_inverse_cholesky(numpy.subtract(z[..., k:, k:], rest, out=rest), second)
    numpy.matmul(numpy.matmul(second, below), first, out=root[..., k:, :k])
    numpy.negative(root[..., k:, :k], out=root[..., k:, :k])


def _has_cholesky(x: Array, shift: float) -> bool:
    shifted = x.copy()
    _add_diagonal(shifted, -shift)
    try:
        numpy.linalg.cholesky(shifted)
    except numpy.linalg.LinAlgError:
        return False
    return True


def _panels(
    shape: Sequence[int], /, *, columns: bool = False, most: int | None = None
) -> Iterator[Panel]:
    """Cut a product of this shape into matrices where it is a stack, into rows or columns else.

    Elementwise work takes as many panels as it likes: `most`.
    """
    last = len(shape) - 1
    count = most or max(1, min(COLUMNS if columns else ROWS, math.prod(shape) // LEAST))
    axis = next((k for k in range(last - 1) if shape[k] > 1), last if columns else last - 1)
    step = max(1, -(-shape[axis] // count))
    whole: Index = (...,)
    for start in range(0, shape[axis], step):
        index: Index = (*(slice(None),) * axis, slice(start, start + step))
        if axis < last - 1:
            yield Panel(index, index, index, 0)
        elif columns:
            yield Panel(index, whole, index, 0)
        else:
            yield Panel(index, index, whole, start)


def _pieces(shape: Sequence[int], /) -> Iterator[Panel]:
    """Cut elementwise work into panels of rows or stacks of matrices that stay in the cache."""
    return _panels(shape, most=max(1, math.prod(shape) // CACHED))
