"""Kernels of the agnostic contract that torch has as one call."""

from collections.abc import Sequence

import torch
from specdesc._typing import Array
from specdesc.backends import Backend


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
    """Return ``a x + alpha z y`` as one fused product, or added into the product."""
    if isinstance(a, torch.Tensor):
        return torch.matmul(alpha * z, y).addcmul_(a, x)
    if x.ndim == 2:
        return torch.addmm(x, z, y, beta=a, alpha=alpha)
    flat = (torch.flatten(part, end_dim=-3) for part in (x, z, y))
    return torch.reshape(torch.baddbmm(*flat, beta=a, alpha=alpha), x.shape)


def combine(
    factors: Sequence[float], squares: Sequence[Array], diagonal: float, /, *, backend: Backend
) -> Array:
    """Return the sum of ``factors[i] squares[i]`` and `diagonal` I, in one array."""
    total = factors[0] * squares[0]
    for factor, square in zip(factors[1:], squares[1:], strict=True):
        total.add_(square, alpha=factor)
    if diagonal != 0.0:
        total.diagonal(dim1=-2, dim2=-1).add_(diagonal)
    return total


def solve_add(a: float, x: Array, b: float, z: Array, /, *, backend: Backend) -> Array:
    """Return ``a x + b z⁻¹ x`` by Cholesky."""
    # Unchecked: to raise, or not, the host would have to wait for a GPU.
    lower, _ = torch.linalg.cholesky_ex(z)
    if x.shape[-1] >= 2 * x.shape[-2]:
        # Products are faster than triangular solves, which pays for the inverse of a small square.
        return multiply_add(a, x, b * torch.cholesky_inverse(lower), x, backend=backend)
    half = torch.linalg.solve_triangular(lower, x, upper=False)
    return torch.add(a * x, torch.linalg.solve_triangular(lower.mH, half, upper=True), alpha=b)


def positive_definite(x: Array, /, *, backend: Backend) -> Array:
    """Say which Hermitian matrices have a Cholesky factorization, a tenth of their spectrum."""
    return torch.linalg.cholesky_ex(x).info == 0
