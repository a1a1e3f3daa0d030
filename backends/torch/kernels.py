"""Kernels of the agnostic contract that torch has as one call, in panels on a CPU.

A device would idle in small panels, and a compiler reuses memory by itself.
"""

from collections.abc import Sequence

import torch
from specdesc._core import products
from specdesc._core.linalg import adjoint
from specdesc._core.products import panels, pieces
from specdesc._typing import Array
from specdesc.backends import Backend


def _in_panels(x: Array) -> bool:
    return not torch.compiler.is_compiling() and x.device.type == "cpu"


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
    """Return ``a x + alpha z y`` as fused products, over `x` in panels where it is spent."""
    if isinstance(a, torch.Tensor):
        return torch.matmul(alpha * z, y).addcmul_(a, x)
    if not spend or not _in_panels(x):
        return _fused(a, x, z, y, alpha, None if torch.compiler.is_compiling() else room)
    if x is not z and x is not y and x.ndim <= 3:
        add = x.addmm_ if x.ndim == 2 else x.baddbmm_
        return add(z, y, beta=a, alpha=alpha)
    for out, left, right, _ in panels(x.shape, columns=x is y):
        x[out].copy_(_fused(a, x[out], z[left], y[right], alpha, None))
    return x


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


def mix(
    factors: Sequence[Sequence[float]], squares: Sequence[Array], /, *, backend: Backend
) -> tuple[Array, ...]:
    """Return the sums of ``factors[i][j] squares[j]``, each over a square in panels."""
    if not _in_panels(squares[0]):
        return products.mix(factors, squares, backend=backend)
    for piece in pieces(squares[0].shape):
        _mix_piece(factors, [square[piece] for square in squares], backend)
    return tuple(squares)


def _mix_piece(
    factors: Sequence[Sequence[float]], parts: Sequence[Array], backend: Backend
) -> None:
    sums = [combine(row, parts, 0.0, backend=backend) for row in factors]
    for part, new in zip(parts, sums, strict=True):
        part.copy_(new)


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
    if not _in_panels(x):
        return products.factored(rest, left, x, y, backend=backend)
    total = x if spend and any(rest) else torch.empty_like(x)
    for out, _, right, start in panels(x.shape):
        _fill_rows(total[out], rest, left, (x[out], y[out]), y[right], start, backend)
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
    """Write rows of `factored`, the first of which is that number; `total` may be those of x."""
    factor = _rows(left, parts, start, backend)
    if any(rest):
        total.copy_(_fused(1.0, _rows(rest, parts, start, backend), factor, y, 1.0, None))
    else:
        torch.matmul(factor, y, out=total)


def _rows(factors: Sequence[float], parts: Sequence[Array], start: int, backend: Backend) -> Array:
    """Combine rows of squares, the first of which is that number."""
    total = combine(factors[:2], parts, 0.0, backend=backend)
    total.diagonal(start, dim1=-2, dim2=-1).add_(factors[2])
    return total


def divide(x: Array, by: Array, /, *, spend: bool = False, backend: Backend) -> Array:
    """Return ``x / by``, over `x` where it is spent."""
    if not spend or not _in_panels(x):
        return products.divide(x, by, backend=backend)
    if x.dtype not in (torch.float16, torch.bfloat16):
        return x.div_(by.to(x.dtype))
    for piece in pieces(x.shape):
        divisor = by[piece] if len(piece) < x.ndim - 1 else by
        x[piece].copy_(x[piece].to(by.dtype).div_(divisor))
    return x


def row_energies(x: Array, /, *, backend: Backend) -> Array:
    """Return the sum of abs(x)**2 along the last axis, in working precision."""
    if not _in_panels(x):
        return products.row_energies(x, backend=backend)
    found = [products.row_energies(x[piece], backend=backend) for piece in pieces(x.shape)]
    return torch.cat(found, dim=_axis(x))


def times_columns(z: Array, y: Array, /, *, backend: Backend) -> Array:
    """Return ``z y`` in working precision, for few columns `y` that are in it."""
    if not _in_panels(z) or z.dtype not in (torch.float16, torch.bfloat16):
        return products.times_columns(z, y, backend=backend)
    found = [
        products.times_columns(z[left], y[right], backend=backend)
        for _, left, right, _ in panels(z.shape)
    ]
    return torch.cat(found, dim=_axis(z))


def _axis(x: Array) -> int:
    """Return the axis that panels of rows or stacks cut."""
    return next((k for k in range(x.ndim - 2) if x.shape[k] > 1), x.ndim - 2)


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
    if not _in_panels(x):
        return _solved(a, x, b, lower)
    total = x if ours else torch.empty_like(x)
    for out, left, _, _ in panels(x.shape, columns=True):
        total[out].copy_(_solved(a, x[out], b, lower[left]))
    return total


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
