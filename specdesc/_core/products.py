"""Products that a backend may do faster, with the agnostic version of each."""

from collections.abc import Callable

from specdesc._typing import Array, Namespace
from specdesc.backends import Backend


def multiply_add(a: float | Array, x: Array, z: Array, y: Array, /, *, xp: Namespace) -> Array:
    """Return ``a x + z y`` for stacks `x`, `z`, `y` of equal batch shape.

    `a` is a float, or an array of shape (..., 1, 1) and the dtype of `x`.
    """
    return a * x + xp.matmul(z, y)


AGNOSTIC: dict[str, Callable[..., Array]] = {"multiply_add": multiply_add}


def kernel(name: str, backend: Backend, /) -> Callable[..., Array]:
    """Return the kernel of the backend, or the agnostic one where it has none."""
    return backend.kernels.get(name, AGNOSTIC[name])
