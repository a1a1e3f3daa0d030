"""Kernels of the agnostic contract that torch has as one call."""

import torch
from specdesc._typing import Array, Namespace


def multiply_add(a: float | Array, x: Array, z: Array, y: Array, /, *, xp: Namespace) -> Array:
    """Return ``a x + z y`` as one fused product, or added into the product."""
    if isinstance(a, torch.Tensor):
        return torch.matmul(z, y).addcmul_(a, x)
    if x.ndim == 2:
        return torch.addmm(x, z, y, beta=a)
    flat = (torch.flatten(part, end_dim=-3) for part in (x, z, y))
    return torch.reshape(torch.baddbmm(*flat, beta=a), x.shape)
