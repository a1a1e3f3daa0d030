"""Kernels of the agnostic contract that torch has as one call."""

import torch
from specdesc._typing import Array, Namespace


def multiply_add(a: float, x: Array, z: Array, y: Array, /, *, xp: Namespace) -> Array:
    """Return ``a x + z y`` as one fused product."""
    if x.ndim == 2:
        return torch.addmm(x, z, y, beta=a)
    flat = (torch.flatten(part, end_dim=-3) for part in (x, z, y))
    return torch.reshape(torch.baddbmm(*flat, beta=a), x.shape)


def solve_add(a: float, x: Array, b: float, z: Array, /, *, xp: Namespace) -> Array:
    """Return ``a x + b z⁻¹ x`` by Cholesky."""
    # Unchecked: to raise, or not, the host would have to wait for a GPU.
    lower, _ = torch.linalg.cholesky_ex(z)
    if x.shape[-1] >= 2 * x.shape[-2]:
        # Products are faster than triangular solves, which pays for the inverse of a small square.
        return multiply_add(a, x, b * torch.cholesky_inverse(lower), x, xp=xp)
    half = torch.linalg.solve_triangular(lower, x, upper=False)
    return torch.add(a * x, torch.linalg.solve_triangular(lower.mH, half, upper=True), alpha=b)
