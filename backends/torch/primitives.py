"""Primitives that torch has as one call.

Whole arrays at a time: panels would save memory, and cost a fifth of the time (measured, CPU).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import ClassVar

import torch
from specdesc._lib.typing import Array
from specdesc.backends.primitives import Primitives

#: The integers of the width of a dtype, what of them is the exponent, and a power of two that is
#: small beside normal numbers and whose quotient with subnormal ones is none.
_EXPONENT = {
    torch.bfloat16: (torch.int16, 0x7F80, 2.0**-131),
    torch.float16: (torch.int16, 0x7C00, 2.0**-24),
    torch.float32: (torch.int32, 0x7F800000, 2.0**-131),
    torch.float64: (torch.int64, 0x7FF0000000000000, 2.0**-1050),
}


@dataclass(frozen=True)
class TorchPrimitives(Primitives):
    """Fused products, and results written over what nobody needs, outside of a compiler."""

    factorizes: ClassVar[bool] = True

    def adjoint(self, x: Array, /) -> Array:
        """Return the conjugate transpose, a view."""
        return x.mH

    def gram(self, x: Array, /, *, out: Array | None = None) -> Array:
        """Return X Xᴴ."""
        if torch.compiler.is_compiling():
            return torch.matmul(x, x.mH)
        if _has_fast_squares(x):
            return _kernels("symmetric").product(x, out=out)
        return torch.matmul(x, x.mH, out=out)

    def square_sum(
        self, beta: float, r: Array, alpha: float, /, *, out: Array | None = None
    ) -> Array:
        """Return ``beta r + alpha r²`` for Hermitian `r`."""
        if _has_fast_squares(r) and not torch.compiler.is_compiling():
            return _kernels("symmetric").product(r, alpha=alpha, beta=beta, c=r, out=out)
        return self.addmm(beta, r, r, r.mH, alpha=alpha, out=out)

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
        """Return ``beta c + alpha a b`` as a fused product, over a `c` that is no operand."""
        if isinstance(beta, torch.Tensor):
            return torch.matmul(alpha * a, b).addcmul_(beta, c)
        if torch.compiler.is_compiling():
            return _fused(beta, c, a, b, alpha, None)
        if overwrite and c is not a and c is not b and c.ndim <= 3:
            add = c.addmm_ if c.ndim == 2 else c.baddbmm_
            return add(a, b, beta=beta, alpha=alpha)
        return _fused(beta, c, a, b, alpha, out)

    def linear_combination(
        self,
        coefficients: Sequence[float],
        matrices: Sequence[Array],
        shift: float,
        /,
        *,
        overwrite: bool = False,
    ) -> Array:
        """Return the sum of ``coefficients[i] matrices[i]`` and `shift` I, in one array."""
        first = matrices[0]
        if overwrite:
            total = first if coefficients[0] == 1.0 else first.mul_(coefficients[0])
        else:
            total = coefficients[0] * first
        for coefficient, matrix in zip(coefficients[1:], matrices[1:], strict=True):
            total.add_(matrix, alpha=coefficient)
        if shift != 0.0:
            total.diagonal(dim1=-2, dim2=-1).add_(shift)
        return total

    def unscale(self, x: Array, scale: Array, /, *, overwrite: bool = False) -> Array:
        """Return ``x / scale``, over `x` where it may be overwritten."""
        if _has_fast_squares(x) and x.is_contiguous() and not torch.compiler.is_compiling():
            return _kernels("scaling").divided(x, scale, x if overwrite else torch.empty_like(x))
        if overwrite:
            # One pass also where the dtypes differ: in the wider one, and rounded once.
            return x.div_(scale)
        return torch.div(x, scale).to(x.dtype)

    def entry_scale(self, x: Array, /) -> Array:
        """Return a power of two near the largest entry of each matrix, by its exponent bits."""
        if x.dtype not in _EXPONENT:
            return super().entry_scale(x)
        integer, mask, least = _EXPONENT[x.dtype]
        largest = torch.linalg.vector_norm(x, float("inf"), dim=(-2, -1), keepdim=True)
        power = largest.view(integer).bitwise_and(mask).view(x.dtype)
        # The exponent of a subnormal number or of 0 reads 0.
        return power.clamp_min_(least)

    def shift_diagonal(self, x: Array, shift: float | Array, /) -> Array:
        """Return `x` with `shift` added to its diagonal."""
        value = shift if isinstance(shift, (int, float)) else shift[..., 0]
        x.diagonal(dim1=-2, dim2=-1).add_(value)
        return x

    def axpby(self, alpha: float | Array, x: Array, beta: float | Array, y: Array, /) -> Array:
        """Return ``alpha x + beta y`` in the dtype of `x`, in two passes at most."""
        if x.dtype in (torch.float16, torch.bfloat16):
            return super().axpby(alpha, x, beta, y)
        if isinstance(beta, torch.Tensor):
            base = x if isinstance(alpha, float) and alpha == 1.0 else alpha * x
            return torch.addcmul(base, y.to(x.dtype), beta.to(x.dtype))
        if isinstance(alpha, torch.Tensor):
            return torch.add(alpha.to(x.dtype) * x, y, alpha=beta)
        if alpha == 1.0:
            return torch.add(x, y, alpha=beta)
        if alpha + beta == 1.0 and y.dtype == x.dtype:
            return torch.lerp(x, y, beta)
        return torch.add(alpha * x, y, alpha=beta)

    def hypot(self, x: Array, y: Array, /) -> Array:
        """Return sqrt(x² + y²), without a look at types."""
        return torch.hypot(x, y)

    def nan_where_broken(self, x: Array, /) -> Array:
        """Return NaN for each matrix with a NaN or an inf, and 0 for the others."""
        if x.dtype not in _EXPONENT or 0 in x.shape:
            return super().nan_where_broken(x)
        wide = torch.promote_types(x.dtype, torch.float32)
        largest = torch.linalg.vector_norm(x, float("inf"), dim=(-2, -1), keepdim=True)
        return largest.to(wide) * 0.0

    def clamp(self, x: Array, /, least: float | None = None, most: float | None = None) -> Array:
        """Return real `x` between two bounds."""
        return torch.clamp(x, least, most)

    def frobenius(self, x: Array, /) -> Array:
        """Return the Frobenius norm of each matrix, in one pass."""
        wide = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else None
        return torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True, dtype=wide)

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
        """Return ``beta x + alpha z⁻¹ x`` by Cholesky."""
        # Unchecked: to raise, or not, the host would have to wait for a GPU.
        lower = _cholesky(z, None if torch.compiler.is_compiling() else out)
        if x.shape[-1] >= 2 * x.shape[-2]:
            # Products beat triangular solves, which pays for the inverse of a small square.
            inverse = alpha * torch.cholesky_inverse(lower)
            return self.addmm(beta, x, inverse, x, overwrite=owned)
        half = torch.linalg.solve_triangular(lower, x, upper=False)
        solved = torch.linalg.solve_triangular(lower.mH, half, upper=True)
        return torch.add(beta * x, solved, alpha=alpha)

    def divide_by_root(self, y: Array, gram: Array, /) -> Array:
        """Return ``y L⁻ᴴ`` by one triangular solve."""
        lower = torch.linalg.cholesky_ex(gram).L
        return torch.linalg.solve_triangular(lower.mH, y, upper=True, left=False)

    def is_positive_definite(self, x: Array, shift: Array | None = None, /) -> Array:
        """Say which ``x - shift I`` have a Cholesky factorization, a tenth of their spectrum."""
        if shift is not None:
            x = x.to(torch.promote_types(x.dtype, torch.float32), copy=True)
            x.diagonal(dim1=-2, dim2=-1).sub_(shift[..., 0])
        return torch.linalg.cholesky_ex(x).info == 0


#: From this number of rows on products with half of the flops are faster (measured on an H200).
LEAST_ROWS = 4096

#: Whether the kernel for them can be built: Triton comes with torch for CUDA.
TRITON = torch.version.cuda is not None and find_spec("triton") is not None


def _has_fast_squares(x: Array) -> bool:
    """Say whether kernels of our own are faster: large, half precision, on a CUDA device."""
    half = x.dtype in (torch.bfloat16, torch.float16)
    return TRITON and half and x.is_cuda and x.shape[-2] >= LEAST_ROWS


@cache
def _kernels(module: str, /) -> ModuleType:
    """Import kernels when the first matrix wants them: the import costs a second."""
    return import_module(f"specdesc.backends.torch.{module}")


def _fused(beta: float, c: Array, a: Array, b: Array, alpha: float, out: Array | None) -> Array:
    if c.ndim == 2:
        return torch.addmm(c, a, b, beta=beta, alpha=alpha, out=out)
    if c.ndim == 3:
        return torch.baddbmm(c, a, b, beta=beta, alpha=alpha, out=out)
    flat = (torch.flatten(part, end_dim=-3) for part in (c, a, b))
    return torch.reshape(torch.baddbmm(*flat, beta=beta, alpha=alpha), c.shape)


def _cholesky(z: Array, out: Array | None) -> Array:
    if out is None:
        return torch.linalg.cholesky_ex(z).L
    info = torch.empty(z.shape[:-2], dtype=torch.int32, device=z.device)
    torch.linalg.cholesky_ex(z, out=(out, info))
    return out
