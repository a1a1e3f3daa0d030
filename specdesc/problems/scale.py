"""Robust centre and scale of the observed entries of each matrix."""

from specdesc._lib.arrays import per_batch
from specdesc._lib.dtypes import is_complex
from specdesc._lib.typing import Array
from specdesc.backends import Backend

#: The standard deviation of a normal distribution over its median absolute deviation.
NORMAL = 1.4826


def medians(data: Array, seen: Array, /, *, backend: Backend) -> Array:
    """Return the median of the observed entries of each matrix, (..., 1, 1); 0 where none is.

    That of complex entries is the median of the real and of the imaginary parts.
    """
    xp = backend.xp
    if is_complex(xp, data.dtype):
        parts = (medians(part(data), seen, backend=backend) for part in (xp.real, xp.imag))
        real, imag = (xp.astype(part, data.dtype) for part in parts)
        return real + 1j * imag
    if 0 in data.shape[-2:]:
        return xp.sum(data, axis=(-2, -1), keepdims=True)
    flat = (*data.shape[:-2], data.shape[-2] * data.shape[-1])
    infinite = xp.full_like(data, float("inf"))
    ordered = xp.sort(xp.reshape(xp.where(seen, data, infinite), flat), axis=-1)
    counted = xp.sum(xp.astype(seen, xp.int32), axis=(-2, -1))  # in the dtype of an index
    middle = (counted - 1) // 2
    middle = xp.where(middle >= 0, middle, xp.zeros_like(middle))
    median = xp.take_along_axis(ordered, middle[..., None], axis=-1)[..., None]
    return xp.where(xp.isfinite(median), median, xp.zeros_like(median))


def spread(data: Array, seen: Array, /, *, backend: Backend) -> Array:
    """Return the robust standard deviation about 0 of the observed entries, (..., 1, 1), real.

    1.4826 times the median size. Where more than half of the entries are 0 that is 0 as well, and
    the median size of the others takes its place.
    """
    xp = backend.xp
    size = xp.abs(data)
    middle = medians(size, seen, backend=backend)
    others = medians(size, seen & (size > 0), backend=backend)
    return NORMAL * xp.where(middle > 0, middle, others)


def centred_spread(data: Array, seen: Array, /, *, backend: Backend) -> Array:
    """Return the robust standard deviation of the observed entries about their median, (...,)."""
    centre = medians(data, seen, backend=backend)
    return per_batch(spread(data - centre, seen, backend=backend))
