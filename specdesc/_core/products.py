"""Products and solutions that a backend may do faster, with the agnostic version of each."""

from collections.abc import Callable

from specdesc._core.linalg import adjoint
from specdesc._typing import Array, Namespace
from specdesc.backends import Backend


def multiply_add(a: float, x: Array, z: Array, y: Array, /, *, xp: Namespace) -> Array:
    """Return ``a x + z y`` for a float `a` and stacks `x`, `z`, `y` of equal batch shape."""
    return a * x + xp.matmul(z, y)


def solve_add(a: float, x: Array, b: float, z: Array, /, *, xp: Namespace) -> Array:
    """Return ``a x + b z⁻¹ x`` for stacks of Hermitian positive definite `z` and of wide `x`.

    The standard has no triangular solve. The inverse by way of the inverse Cholesky factor is as
    stable here (measured), and made of products.
    """
    root = inverse_root(z, xp=xp)
    return multiply_add(a, x, b * xp.matmul(adjoint(root, xp=xp), root), x, xp=xp)


def inverse_root(z: Array, /, *, xp: Namespace) -> Array:
    """Return the inverse of the lower Cholesky factor, by halves down to small blocks."""
    rows = z.shape[-1]
    if rows <= BLOCK:
        return xp.linalg.inv(xp.linalg.cholesky(z))
    k = rows // 2
    first = inverse_root(z[..., :k, :k], xp=xp)
    below = xp.matmul(z[..., k:, :k], adjoint(first, xp=xp))
    square = xp.matmul(below, adjoint(below, xp=xp))
    second = inverse_root(z[..., k:, k:] - square, xp=xp)
    below = xp.matmul(xp.matmul(-second, below), first)
    above = xp.zeros_like(xp.matrix_transpose(below))
    top, bottom = xp.concat([first, above], axis=-1), xp.concat([below, second], axis=-1)
    return xp.concat([top, bottom], axis=-2)


#: Blocks up to here are inverted by the library: calls of it cost more than products of halves.
BLOCK = 64

AGNOSTIC: dict[str, Callable[..., Array]] = {
    "multiply_add": multiply_add,
    "solve_add": solve_add,
}


def kernel(name: str, backend: Backend, /) -> Callable[..., Array]:
    """Return the kernel of the backend, or the agnostic one where it has none."""
    return backend.kernels.get(name, AGNOSTIC[name])
