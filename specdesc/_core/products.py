"""Products and sums that a backend may do faster, with the agnostic version of each."""

from collections.abc import Callable, Sequence

from specdesc._core.linalg import identity
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


def positive_definite(x: Array, /, *, backend: Backend) -> Array:
    """Say which Hermitian matrices of a stack are positive definite; code may look at them."""
    xp = backend.xp
    return xp.min(xp.linalg.eigvalsh(x), axis=-1) > 0


AGNOSTIC: dict[str, Callable[..., Array]] = {
    "multiply_add": multiply_add,
    "combine": combine,
    "positive_definite": positive_definite,
}


def kernel(name: str, backend: Backend, /) -> Callable[..., Array]:
    """Return the kernel of the backend, or the agnostic one where it has none."""
    return backend.kernels.get(name, AGNOSTIC[name])
