"""Long chains of elementwise operations, a piece at a time.

A chain over an array that is larger than the cache fetches it from memory at every operation. Where
values are there to look at (NumPy, torch on a CPU), pieces that stay in the cache are several times
faster. Compilers fuse such chains by themselves.
"""

import math
from collections.abc import Callable

from specdesc._lib.dtypes import eps
from specdesc._lib.typing import Array
from specdesc.backends import Backend

#: Bytes of a piece (measured).
SIZE = 1 << 17


def elementwise(function: Callable[[Array], Array], s: Array, /, *, backend: Backend) -> Array:
    """Apply a function of single numbers, which takes arrays of shape (..., count)."""
    size, most = math.prod(s.shape), _most(s, backend)
    if size <= 2 * most or not backend.branches:
        return function(s)
    flat = backend.xp.reshape(s, (size,))
    pieces = [function(flat[i : i + most]) for i in range(0, size, most)]
    return backend.xp.reshape(backend.xp.concat(pieces, axis=0), s.shape)


def magnitudes(
    function: Callable[[Array], Array], s: Array, step: Array, /, *, backend: Backend
) -> Array:
    """Apply a function of single numbers and of their step, which is 0-d or of shape (..., 1)."""
    # Steps per matrix belong to their rows; one step fits every piece.
    return function(s) if step.ndim else elementwise(function, s, backend=backend)


def rows(function: Callable[[Array], Array], s: Array, /, *, backend: Backend) -> Array:
    """Apply a function of the last axis to many rows."""
    size, length, most = math.prod(s.shape), s.shape[-1], _most(s, backend)
    if size <= 2 * most or not backend.branches or s.ndim == 1:
        return function(s)
    flat = backend.xp.reshape(s, (size // length, length))
    count = max(most // length, 1)
    pieces = [function(flat[i : i + count, :]) for i in range(0, flat.shape[0], count)]
    return backend.xp.reshape(backend.xp.concat(pieces, axis=0), s.shape)


def _most(s: Array, backend: Backend) -> int:
    """Return how many real numbers are a piece."""
    return SIZE // (8 if eps(backend.xp, s.dtype) < 1e-10 else 4)
