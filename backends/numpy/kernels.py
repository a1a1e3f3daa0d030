"""Kernels of the agnostic contract that save NumPy a pass over memory."""

from specdesc._typing import Array, Namespace

#: Entries of a temporary at most: a few hundred kilobytes stay in a cache.
CHUNK = 2**15


def multiply_add(a: float | Array, x: Array, z: Array, y: Array, /, *, xp: Namespace) -> Array:
    """Return ``a x + z y``, the sum written into the product, without a temporary of its size."""
    out = xp.matmul(z, y)
    rows = max(1, CHUNK // max(1, x.shape[-1]))
    if x.ndim > 2 or rows >= x.shape[-2]:
        out += a * x
        return out
    for i in range(0, x.shape[-2], rows):
        out[i : i + rows] += a * x[i : i + rows]
    return out
