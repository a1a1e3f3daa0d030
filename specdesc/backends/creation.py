"""New arrays with the dtype and on the device of another."""

from specdesc._lib.dtypes import real_dtype
from specdesc._lib.typing import Array
from specdesc.backends.protocol import Backend


def scalar(backend: Backend, value: complex, like: Array, /) -> Array:
    """Make a 0-d array with the dtype and the device of `like`."""
    # A fill: an array made from a number would be a copy from the host, and a wait on a GPU.
    return backend.xp.full((), value, dtype=like.dtype, device=backend.placement)


def identity(n: int, like: Array, /, *, backend: Backend) -> Array:
    """Return the n by n identity with the dtype and device of `like`."""
    return backend.xp.eye(n, dtype=like.dtype, device=backend.placement)


def zeros(shape: tuple[int, ...], like: Array, /, *, backend: Backend, real: bool = False) -> Array:
    """Return zeros with the dtype of `like`, or of its parts, on its device."""
    dtype = real_dtype(backend.xp, like.dtype) if real else like.dtype
    return backend.xp.zeros(shape, dtype=dtype, device=backend.placement)
