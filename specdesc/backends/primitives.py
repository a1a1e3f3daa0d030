"""Products, sums and solutions that a backend may do faster.

`Primitives` is the agnostic version of each, in the functions of the standard alone. A leaf derives
from it and overrides what its library does better; the contract is that of the method here.

Some arguments lend memory, for libraries whose arrays can be written to; the agnostic versions have
no use for them. ``overwrite`` says which operand nobody needs any more: the result may be written
over it, and what it holds afterwards is unspecified. ``out`` is an array of the shape and dtype of
the result, and none of the operands, whose values nobody needs. No other operand changes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from specdesc._lib.arrays import adjoint, times
from specdesc._lib.dtypes import real_dtype, smallest_normal, working, working_dtype
from specdesc._lib.typing import Array, Device, Namespace

#: Blocks up to here are inverted by the library: calls of it cost more than products of halves.
SMALLEST_BLOCK = 64


@dataclass(frozen=True)
class Primitives:
    """What a backend may replace.

    Parameters
    ----------
    xp : namespace
        The functions of the library.
    placement : device or None
        Where new arrays are made, None for the library's own choice.
    """

    xp: Namespace
    placement: Device = None
    # Whether `is_positive_definite` costs less than a product, and neither waits nor raises.
    factorizes: ClassVar[bool] = False

    def adjoint(self, x: Array, /) -> Array:
        """Return the conjugate transpose."""
        return adjoint(x, xp=self.xp)

    def gram(self, x: Array, /, *, out: Array | None = None) -> Array:
        """Return X Xᴴ."""
        # The product of one array with its own adjoint: NumPy hands it to BLAS at half the work.
        return self.xp.matmul(x, adjoint(x, xp=self.xp))

    def adjoint_product(self, a: Array, b: Array, /) -> Array:
        """Return ``aᴴ b`` for an `a` that may be large, and a block `b` of few columns."""
        # (bᴴ a)ᴴ: a large complex matrix is not conjugated, and a large real one is read in rows,
        # which takes half the time of aᴴ b (OpenBLAS, 2048 by 2048, 34 columns, float64).
        return adjoint(self.xp.matmul(adjoint(b, xp=self.xp), a), xp=self.xp)

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
        """Return ``beta c + alpha a b`` for stacks of equal batch shape.

        `beta` is a float, or an array of shape (..., 1, 1) and the dtype of `c`. `overwrite` is
        about `c`, which may be `a` or `b` itself.
        """
        product = self.xp.matmul(a, b)
        return beta * c + (product if alpha == 1.0 else alpha * product)

    def square_sum(
        self, beta: float, r: Array, alpha: float, /, *, out: Array | None = None
    ) -> Array:
        """Return ``beta r + alpha r²`` for Hermitian `r`."""
        # R Rᴴ: NumPy hands the product of an array with its adjoint to BLAS at half the work.
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
        """Return the sum of ``coefficients[i] matrices[i]`` and `shift` times the identity.

        The matrices are square. `overwrite` is about the first of them.
        """
        total = coefficients[0] * matrices[0]
        for coefficient, matrix in zip(coefficients[1:], matrices[1:], strict=True):
            total = total + coefficient * matrix
        return total if shift == 0.0 else total + shift * self._identity(total)

    def linear_combinations(
        self, coefficients: Sequence[Sequence[float]], matrices: Sequence[Array], /
    ) -> tuple[Array, ...]:
        """Return the sum of ``coefficients[i][j] matrices[j]`` for each i.

        As many sums as matrices, all of which may be overwritten.
        """
        return tuple(self.linear_combination(row, matrices, 0.0) for row in coefficients)

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
        """Return ``(a0 x + a1 y + a2 I) + (f0 x + f1 y + f2 I) y`` for square matrices.

        `overwrite` is about `x`.
        """
        left = self.linear_combination(factor[:2], (x, y), factor[2])
        if not any(added):
            return self.xp.matmul(left, y)
        total = self.linear_combination(added[:2], (x, y), added[2])
        return self.addmm(1.0, total, left, y, overwrite=True)

    def unscale(self, x: Array, scale: Array, /, *, overwrite: bool = False) -> Array:
        """Return ``x / scale``, rounded once, for real `scale` (..., 1, 1) in working precision."""
        wide = working(self.xp, x)
        return self.xp.astype(wide / self.xp.astype(scale, wide.dtype), x.dtype, copy=False)

    def entry_scale(self, x: Array, /) -> Array:
        """Return a power of two near the largest entry of each matrix, (..., 1, 1), real.

        No entry of ``x / scale`` has parts of size 8, and the largest has one of at least 1 unless
        the matrix is subnormal or zero. Of a matrix with a NaN or an inf it is anything positive,
        inf and NaN included.
        """
        xp, x = self.xp, working(self.xp, x)
        sizes = (
            xp.maximum(xp.abs(xp.real(x)), xp.abs(xp.imag(x)))
            if x.dtype in (xp.complex64, xp.complex128)
            else xp.abs(x)
        )
        largest = xp.max(xp.max(sizes, axis=-1, keepdims=True), axis=-2, keepdims=True)
        tiny = smallest_normal(xp, x.dtype)
        exponent = xp.floor(xp.log2(xp.maximum(largest, xp.full_like(largest, tiny))))
        # A compiler may multiply by the reciprocal: neither it nor the power may be subnormal.
        exponent = xp.minimum(exponent, xp.full_like(exponent, -math.log2(tiny) - 1.0))
        return xp.pow(xp.full_like(exponent, 2.0), exponent)

    def frobenius(self, x: Array, /) -> Array:
        """Return the Frobenius norm of each matrix, (..., 1, 1), real and in working precision."""
        sums = self.squared_row_norms(x)
        return self.xp.sqrt(self.xp.sum(sums, axis=-1, keepdims=True))[..., None]

    def shift_diagonal(self, x: Array, shift: float | Array, /) -> Array:
        """Return square `x` plus `shift` times the identity; `x` may be overwritten.

        `shift` is a float, or a real array (..., 1, 1).
        """
        return x + times(shift, self._identity(x), xp=self.xp)

    def axpby(self, alpha: float | Array, x: Array, beta: float | Array, y: Array, /) -> Array:
        """Return ``alpha x + beta y`` in the dtype of `x`, a new array.

        Summed in working precision and rounded once. The factors are floats, or real arrays that
        broadcast against `x`.
        """
        xp, wide = self.xp, working(self.xp, x)
        total = times(alpha, wide, xp=xp) + times(beta, xp.astype(y, wide.dtype, copy=False), xp=xp)
        return xp.astype(total, x.dtype, copy=False)

    def hypot(self, x: Array, y: Array, /) -> Array:
        """Return sqrt(x² + y²) entry by entry, without overflow."""
        return self.xp.hypot(x, y)

    def nan_where_broken(self, x: Array, /) -> Array:
        """Return NaN for each matrix with a NaN or an inf, 0 for the others: (..., 1, 1), real.

        In working precision. Added to a number, it takes the whole matrix that this multiplies.
        """
        xp = self.xp
        # Asked of every entry: the maximum of XLA on a CPU may drop a NaN.
        finite = xp.all(xp.all(xp.isfinite(x), axis=-1, keepdims=True), axis=-2, keepdims=True)
        dtype = real_dtype(xp, working_dtype(xp, x.dtype))
        zero = xp.zeros_like(finite, dtype=dtype)
        return xp.where(finite, zero, xp.full_like(zero, float("nan")))

    def clamp(self, x: Array, /, least: float | None = None, most: float | None = None) -> Array:
        """Return real `x` with what is below `least` or above `most` replaced by that bound."""
        if least is not None:
            x = self.xp.maximum(x, self.xp.full_like(x, least))
        return x if most is None else self.xp.minimum(x, self.xp.full_like(x, most))

    def squared_row_norms(self, x: Array, /) -> Array:
        """Return the sum of abs(x)**2 along the last axis, real and in working precision."""
        xp, x = self.xp, working(self.xp, x)
        sums = xp.vecdot(x, x, axis=-1)
        return xp.real(sums) if sums.dtype in (xp.complex64, xp.complex128) else sums

    def thin_product(self, a: Array, b: Array, /) -> Array:
        """Return ``a b`` in working precision, for few columns `b` that are in it."""
        return self.xp.matmul(working(self.xp, a), b)

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
        """Return ``beta x + alpha z⁻¹ x`` for Hermitian positive definite `z` and wide `x`.

        `overwrite` is about `z`, `owned` says the same of `x`, and `out` is another array like `z`.

        The standard has no triangular solve. The inverse by way of the inverse Cholesky factor is
        as stable here (measured), and made of products.
        """
        root = inverse_cholesky(z, xp=self.xp)
        inverse = alpha * self.xp.matmul(adjoint(root, xp=self.xp), root)
        return self.addmm(beta, x, inverse, x, overwrite=owned)

    def divide_by_root(self, y: Array, gram: Array, /) -> Array:
        """Return ``y L⁻ᴴ`` for tall `y` and the Cholesky factor L of a positive definite `gram`.

        Unchecked: NaN where there is none.
        """
        root = inverse_cholesky(gram, xp=self.xp)
        return self.xp.matmul(y, adjoint(root, xp=self.xp))

    def is_positive_definite(self, x: Array, shift: Array | None = None, /) -> Array:
        """Say which Hermitian matrices of a stack are positive definite.

        Less `shift` (..., 1, 1) on their diagonals, where it is given, in working precision. Asked
        where code may look at values, and where the library `factorizes`. Without the extension for
        linear algebra nothing is proven.
        """
        xp, x = self.xp, working(self.xp, x)
        if not hasattr(xp, "linalg"):
            return xp.zeros(x.shape[:-2], dtype=xp.bool, device=self.placement)
        if shift is not None:
            x = x - shift * self._identity(x)
        return xp.min(xp.linalg.eigvalsh(x), axis=-1) > 0

    def _identity(self, like: Array) -> Array:
        return self.xp.eye(like.shape[-1], dtype=like.dtype, device=self.placement)


def inverse_cholesky(z: Array, /, *, xp: Namespace) -> Array:
    """Return the inverse of the lower Cholesky factor, by halves down to small blocks."""
    rows = z.shape[-1]
    if rows <= SMALLEST_BLOCK:
        return xp.linalg.inv(xp.linalg.cholesky(z))
    k = rows // 2
    first = inverse_cholesky(z[..., :k, :k], xp=xp)
    below = xp.matmul(z[..., k:, :k], adjoint(first, xp=xp))
    square = xp.matmul(below, adjoint(below, xp=xp))
    second = inverse_cholesky(z[..., k:, k:] - square, xp=xp)
    below = xp.matmul(xp.matmul(-second, below), first)
    above = xp.zeros_like(xp.matrix_transpose(below))
    top, bottom = xp.concat([first, above], axis=-1), xp.concat([below, second], axis=-1)
    return xp.concat([top, bottom], axis=-2)
