"""Kernels of the agnostic contract that save NumPy a pass over memory."""

from specdesc._core.linalg import adjoint
from specdesc._core.products import BLOCK
from specdesc._typing import Array, Namespace


def multiply_add(a: float, x: Array, z: Array, y: Array, /, *, xp: Namespace) -> Array:
    """Return ``a x + z y``, the sum written into the product."""
    out = xp.matmul(z, y)
    out += a * x
    return out


def solve_add(a: float, x: Array, b: float, z: Array, /, *, xp: Namespace) -> Array:
    """Return ``a x + b z⁻¹ x``, the inverse Cholesky factor written in place."""
    root = xp.zeros_like(z)
    _fill_inverse_root(z, root, xp)
    inverse = xp.matmul(adjoint(root, xp=xp), root)
    inverse *= b
    return multiply_add(a, x, inverse, x, xp=xp)


def _fill_inverse_root(z: Array, root: Array, xp: Namespace) -> None:
    rows = z.shape[-1]
    if rows <= BLOCK:
        root[...] = xp.linalg.inv(xp.linalg.cholesky(z))
        return
    k = rows // 2
    first, second = root[..., :k, :k], root[..., k:, k:]
    _fill_inverse_root(z[..., :k, :k], first, xp)
    below = xp.matmul(z[..., k:, :k], adjoint(first, xp=xp))
    rest = xp.matmul(below, adjoint(below, xp=xp))
    _fill_inverse_root(xp.subtract(z[..., k:, k:], rest, out=rest), second, xp)
    xp.negative(xp.matmul(xp.matmul(second, below), first), out=root[..., k:, :k])
