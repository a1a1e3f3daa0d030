"""What a function or a set depends on: how a matrix becomes magnitudes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from specdesc._lib.typing import Array
from specdesc._linalg import magnitudes
from specdesc._linalg.magnitudes import GEOMETRIES, Geometry, Parts
from specdesc.backends import Backend
from specdesc.prox import real


@dataclass(frozen=True)
class Frame:
    """One way to take matrices apart.

    Attributes
    ----------
    name : str
        What the magnitudes are.
    geometries : tuple of str
        Those in which a function of these magnitudes reduces to numbers.
    split : callable
        From a stack and its backend to magnitudes and the way back.
    unitary : bool
        Whether left and right unitary factors change nothing.
    signed : bool
        Whether the numbers have signs; then matrices must be real.
    """

    name: str
    geometries: tuple[Geometry, ...]
    split: Callable[[Array, Backend], Parts]
    unitary: bool = False
    signed: bool = False


def _groups(geometry: Geometry, x: Array, backend: Backend) -> Parts:
    return magnitudes.take_apart(x, geometry, backend=backend)


SINGULAR_VALUES = Frame("singular values", ("spectral",), magnitudes.spectrum, unitary=True)
MAGNITUDES = Frame("magnitudes", ("elementwise",), partial(_groups, "elementwise"))
ENTRIES = Frame("entries", ("elementwise",), real.entries, signed=True)
NORM = Frame("norm", GEOMETRIES, partial(_groups, "global"))
