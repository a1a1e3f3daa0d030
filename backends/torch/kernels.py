"""Kernels of the agnostic contract that torch has as one call.

Whole arrays at a time: panels would save memory, and cost a fifth of the time (measured, CPU).
"""

from collections.abc import Sequence

import torch
from specdesc._lib.arrays import adjoint
from specdesc._lib.typing import Array
from specdesc.backends import Backend, primitives


def gram(x: Array, /, *, room: Array | None = None, backend: Backend) -> Array:
    """Return X Xᴴ."""
    if torch.compiler.is_compiling():
        room = None
    return torch.matmul(x, adjoint(x, xp=backend.xp), out=room)


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
    """Return ``a x + alpha z y`` as a fused product, over a spent `x` that is no operand."""
    if isinstance(a, torch.Tensor):
        return torch.matmul(alpha * z, y).addcmul_(a, x)
    if torch.compiler.is_compiling():
        return _fused(a, x, z, y, alpha, None)
    if spend and x is not z and x is not y and x.ndim <= 3:
        add = x.addmm_ if x.ndim == 2 else x.baddbmm_
        return add(z, y, beta=a, alpha=alpha)
    return _fused(a, x, z, y, alpha, room)


def _fused(a: float, x: Array, z: Array, y: Array, alpha: float, room: Array | None) -> Array:
    if x.ndim == 2:
        return torch.addmm(x, z, y, beta=a, alpha=alpha, out=room)
    if x.ndim == 3:
        return torch.baddbmm(x, z, y, beta=a, alpha=alpha, out=room)
    flat = (torch.flatten(part, end_dim=-3) for part in (x, z, y))
    return torch.reshape(torch.baddbmm(*flat, beta=a, alpha=alpha), x.shape)


def combine(
    factors: Sequence[float],
    squares: Sequence[Array],
    diagonal: float,
    /,
    *,
    spend: bool = False,
    backend: Backend,
) -> Array:
    """Return the sum of ``factors[i] squares[i]`` and `diagonal` I, in one array."""
    total = squares[0].mul_(factors[0]) if spend else factors[0] * squares[0]
    for factor, square in zip(factors[1:], squares[1:], strict=True):
        total.add_(square, alpha=factor)
    if diagonal != 0.0:
        total.diagonal(dim1=-2, dim2=-1).add_(diagonal)
    return total


def divide(x: Array, by: Array, /, *, spend: bool = False, backend: Backend) -> Array:
    """Return ``x / by``, over `x` where it is spent."""
    if not spend or x.dtype in (torch.float16, torch.bfloat16):
        return primitives.divide(x, by, backend=backend)
    return x.div_(by.to(x.dtype))


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
    """Return ``a x + b z⁻¹ x`` by Cholesky."""
    # Unchecked: to raise, or not, the host would have to wait for a GPU.
    lower = _cholesky(z, None if torch.compiler.is_compiling() else room)
    if x.shape[-1] >= 2 * x.shape[-2]:
        # Products are faster than triangular solves, which pays for the inverse of a small square.
        inverse = b * torch.cholesky_inverse(lower)
        return multiply_add(a, x, inverse, x, spend=ours, backend=backend)
    return _solved(a, x, b, lower)


def _cholesky(z: Array, room: Array | None) -> Array:
    if room is None:
        return torch.linalg.cholesky_ex(z).L
    info = torch.empty(z.shape[:-2], dtype=torch.int32, device=z.device)
    torch.linalg.cholesky_ex(z, out=(room, info))
    return room


def _solved(a: float, x: Array, b: float, lower: Array) -> Array:
    half = torch.linalg.solve_triangular(lower, x, upper=False)
    return torch.add(a * x, torch.linalg.solve_triangular(lower.mH, half, upper=True), alpha=b)


def positive_definite(x: Array, shift: Array | None = None, /, *, backend: Backend) -> Array:
    """Say which ``x - shift I`` have a Cholesky factorization, a tenth of their spectrum."""
    if shift is not None:
        x = x.to(torch.promote_types(x.dtype, torch.float32), copy=True)
        x.diagonal(dim1=-2, dim2=-1).sub_(shift[..., 0])
    return torch.linalg.cholesky_ex(x).info == 0
