"""Kernels for CuPy that take their namespace as an argument, so that NumPy runs them too."""

from specdesc._typing import Array, Namespace


def multiply_add(a: float, x: Array, z: Array, y: Array, /, *, xp: Namespace) -> Array:
    """Return ``a x + z y`` with one temporary, by writing into the product."""
    out = xp.matmul(z, y)
    scaled = xp.multiply(x, xp.asarray(a, dtype=x.dtype))
    return xp.add(out, scaled, out=out)
