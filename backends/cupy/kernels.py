"""Kernels for CuPy in the names that NumPy has too, so that NumPy runs them in the tests."""

from collections.abc import Sequence

from specdesc._lib.typing import Array
from specdesc.backends import Backend


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
    """Return ``a x + alpha z y``, the sum written into the product."""
    out = backend.xp.matmul(z, y, out=room)
    if alpha != 1.0:
        out *= alpha
    out += a * x
    return out


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
    total = backend.xp.multiply(squares[0], factors[0], out=squares[0] if spend else None)
    for factor, square in zip(factors[1:], squares[1:], strict=True):
        total += factor * square
    if diagonal != 0.0:
        index = backend.xp.arange(total.shape[-1])
        total[..., index, index] += diagonal
    return total
