"""Entries with their signs: the frame of boxes and simplices."""

from dataclasses import dataclass

from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._linalg.basic import replace_broken, restore
from specdesc._linalg.magnitudes import Map, Parts
from specdesc.backends import Backend


@dataclass(frozen=True)
class Entries:
    """A stack of real matrices and their entries, flat."""

    matrix: Array
    finite: Array
    magnitudes: Array
    backend: Backend

    def rebuild(self, magnitudes: Array, function: Map, /) -> Array:
        """Return a stack with other entries."""
        xp = self.backend.xp
        y = xp.reshape(xp.astype(magnitudes, self.matrix.dtype, copy=False), self.matrix.shape)
        return restore(y, self.finite, backend=self.backend)


def entries(x: Array, backend: Backend) -> Parts:
    """Return the entries of a stack, zero where a matrix is not finite."""
    xp = backend.xp
    safe, finite = replace_broken(working(xp, x), backend=backend)
    flat = xp.reshape(safe, (*x.shape[:-2], x.shape[-2] * x.shape[-1]))
    return Entries(x, finite, flat, backend)
