"""Kernels of the agnostic contract that save NumPy a pass over memory."""

from specdesc._typing import Array, Namespace


def multiply_add(a: float, x: Array, z: Array, y: Array, /, *, xp: Namespace) -> Array:
    """Return ``a x + z y``, the sum written into the product."""
    out = xp.matmul(z, y)
    out += a * x
    return out
