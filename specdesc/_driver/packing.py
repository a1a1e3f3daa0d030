"""Arrays on their way to a file and back, bit for bit.

A file holds NumPy arrays in the order of their axes in memory. The bits, that order, and whether a
number is a scalar of NumPy or an array without axes (whose powers differ in the last bit) decide
how what comes next is rounded, so all of them are kept. bfloat16, which NumPy has not, travels as
float32, which holds every bfloat16 exactly.
"""

from typing import NamedTuple

import array_api_compat
import numpy

from specdesc._lib.typing import Array
from specdesc.backends import Backend

HALF = "bfloat16"
CARRIER = "float32"


class Packed(NamedTuple):
    """An array on the host."""

    values: Array  # contiguous, the axes in the order that they have in memory
    dtype: str
    order: tuple[int, ...]  # the axes of the array, from the largest stride to the smallest
    scalar: bool = False  # whether it was a scalar of NumPy


def _memory_order(values: Array, /) -> tuple[int, ...]:
    """Return the axes of a host array from the largest stride to the smallest."""
    return tuple(sorted(range(values.ndim), key=lambda axis: -abs(values.strides[axis])))


def _in_order(values: Array, axes: tuple[int, ...]) -> Array:
    """Return a host array, contiguous, with its axes in another order."""
    # No ascontiguousarray: that gives a 0-d array one axis.
    return numpy.array(numpy.transpose(values, axes), order="C")


def in_axes(packed: Packed, /) -> Array:
    """Return the values with the axes that the array had, without a copy."""
    return numpy.transpose(packed.values, numpy.argsort(packed.order))


def pack(x: Array, /, *, backend: Backend) -> Packed:
    """Copy an array, or a Python number, to the host."""
    half = not isinstance(x, (int, float, complex)) and str(x.dtype).endswith(HALF)
    xp = backend.xp
    values = backend.to_host(xp.astype(x, xp.float32) if half else x)
    order = _memory_order(values)
    dtype = HALF if half else str(values.dtype)
    return Packed(_in_order(values, order), dtype, order, isinstance(x, numpy.generic))


def unpack(packed: Packed, like: Array, /, *, backend: Backend) -> Array:
    """Return the array again, with the library and on the device of `like`."""
    xp = backend.xp
    half = packed.dtype == HALF
    with backend.guard(like):
        x = backend.from_host(packed.values, dtype=CARRIER if half else packed.dtype)
        x = xp.astype(x, xp.bfloat16) if half else x
        device = backend.device(like)
        x = x if device is None else array_api_compat.to_device(x, device)
        if packed.scalar:
            return x[()]
        if packed.order == tuple(range(x.ndim)):
            return x
        return xp.permute_dims(x, tuple(packed.order.index(axis) for axis in range(x.ndim)))
