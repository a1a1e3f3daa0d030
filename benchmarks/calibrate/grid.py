"""The matrices and the wishes that methods are compared on."""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import get_args

import numpy as np

from benchmarks.targets import data
from benchmarks.targets.library import array
from specdesc import backends, orthogonalize
from specdesc._polar_factor.method import Method

SIDES = (8, 16, 32, 64, 128, 256, 512, 1024)
ASPECTS = {"square": 1, "tall": 4}
#: Stacks are measured up to STACKED; a larger matrix in a stack is as one by itself.
BATCHES, STACKED = {"single": 1, "stack": 64}, 64
FLOORS = {"floor": 1e-3, "no floor": None}
TOLERANCES = {"0.3": 0.3, "0.1": 0.1, "1e-3": 1e-3, "1e-6": 1e-6, "working": None}
DTYPES = {
    "numpy": ("float32", "float64", "complex64", "complex128"),
    "torch": ("float32", "float64", "bfloat16", "complex64", "complex128"),
}
#: The singular values go from 1 to this, geometrically: none of them is below the floor.
SMALLEST = 2e-3

#: Measured with fewer tolerances, square and tall alike.
COARSE, COARSE_TOLERANCES = ("complex64", "complex128"), ("0.3", "1e-3", "working")

#: Methods whose work does not depend on the tolerance.
EXACT = ("svd", "eigh")
#: Iterations that are run as they were published, whatever the tolerance.
PUBLISHED = ("newton-schulz", "polar-express")


@dataclass(frozen=True)
class Cell:
    """One kind of call."""

    library: str
    dtype: str
    side: int
    aspect: str
    batch: str
    floor: str
    tol: str

    @property
    def shape(self):
        batch = BATCHES[self.batch]
        matrix = (self.side * ASPECTS[self.aspect], self.side)
        return matrix if batch == 1 else (batch, *matrix)

    @property
    def row(self):
        """Return the cell without its size."""
        return (self.library, self.dtype, self.floor, self.aspect, self.batch, self.tol)

    def call(self, method):
        """Return the call by one method, a function of no argument."""
        x = matrix(self.library, self.dtype, self.shape)
        options = {"tol": TOLERANCES[self.tol], "floor": FLOORS[self.floor]}
        return partial(orthogonalize, x, method=method, **options)


def cells(libraries, sides, most=None):
    """Return all cells, small matrices first, so that a budget cuts off the largest.

    `most` is how many dtypes of each library are wanted, all unless given.
    """
    return [
        Cell(library, dtype, side, aspect, batch, floor, tol)
        for side in sides
        for library in libraries
        for dtype in DTYPES[library][:most]
        for aspect in (ASPECTS if dtype not in COARSE else ("square",))
        for batch in BATCHES
        if batch == "single" or side <= STACKED
        for floor in FLOORS
        for tol in (TOLERANCES if dtype not in COARSE else COARSE_TOLERANCES)
    ]


def libraries():
    """Return the libraries of the grid that are installed."""
    return tuple(name for name in DTYPES if name in backends.available())


def methods(library):
    """Return the methods that can be chosen, whatever this version of the library has."""
    table = backends.load(library).capabilities.unsupported
    return tuple(
        name
        for name in get_args(Method)
        if name not in ("auto", *PUBLISHED) and f"orthogonalize[{name}]" not in table
    )


@lru_cache(maxsize=128)
def matrix(library, dtype, shape):
    """Return one stack of the grid."""
    values = drawn(shape)
    if dtype.startswith("complex"):
        phases = np.random.default_rng(1).uniform(0, 2 * np.pi, shape[-1])
        values = values * np.exp(1j * phases)  # unitary from the right
    return array(values, library, dtype)


@lru_cache(maxsize=64)
def drawn(shape):
    """Return its real numbers."""
    return data.conditioned(shape, 1 / SMALLEST)
