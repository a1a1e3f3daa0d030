"""Products, sums and solutions that a backend may do faster, with the agnostic version of each."""

from collections.abc import Callable, Sequence

from specdesc._core.linalg import adjoint, identity
from specdesc._typing import Array, Namespace
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
    """Return ``a x + alpha z y`` for stacks `x`, `z`, `y` of equal batch shape.

    `a` is a float, or an array of shape (..., 1, 1) and the dtype of `x`.
    """
    product = backend.xp.matmul(z, y)
    return a * x + (product if alpha == 1.0 else alpha * product)


def combine(
    factors: Sequence[float], squares: Sequence[Array], diagonal: float, /, *, backend: Backend
) -> Array:
    """Return the sum of ``factors[i] squares[i]``, plus `diagonal` times the identity."""
    total = factors[0] * squares[0]
    for factor, square in zip(factors[1:], squares[1:], strict=True):
        total = total + factor * square
    if diagonal == 0.0:
        return total
    return total + diagonal * identity(total.shape[-1], total, backend=backend)


def solve_add(a: float, x: Array, b: float, z: Array, /, *, backend: Backend) -> Array:
    """Return ``a x + b z⁻¹ x`` for stacks of Hermitian positive definite `z` and of wide `x`.

    The standard has no triangular solve. The inverse by way of the inverse Cholesky factor is as
    stable here (measured), and made of products.
    """
    xp = backend.xp
    root = inverse_root(z, xp=xp)
    inverse = b * xp.matmul(adjoint(root, xp=xp), root)
    return kernel("multiply_add", backend)(a, x, inverse, x, backend=backend)


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


def positive_definite(x: Array, /, *, backend: Backend) -> Array:
    """Say which Hermitian matrices of a stack are positive definite; code may look at them."""
    xp = backend.xp
    return xp.min(xp.linalg.eigvalsh(x), axis=-1) > 0


AGNOSTIC: dict[str, Callable[..., Array]] = {
    "multiply_add": multiply_add,
    "combine": combine,
    "solve_add": solve_add,
    "positive_definite": positive_definite,
}


def kernel(name: str, backend: Backend, /) -> Callable[..., Array]:
    """Return the kernel of the backend, or the agnostic one where it has none."""
    return backend.kernels.get(name, AGNOSTIC[name])
