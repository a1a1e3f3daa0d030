"""Which methods do what was asked for, so that their times may be compared."""

import math

from benchmarks.targets.accuracy import truth, verify
from benchmarks.targets.library import host

from . import grid

#: The sides up to which factors are compared with the truth; above, `error` is believed.
VERIFIED = 128
#: How much farther from the true factor than the SVD a method may be at working accuracy.
WORKING = 8.0


def eligible(cell, full):
    """Return the methods that certify the tolerance, and the SVD in any case.

    `full` holds the full output of each method. Where values may be looked at and no floor is
    given, ``method="auto"`` runs the SVD again for what is not certified, so that another method is
    never the faster one there. With a floor any bound will do: an SVD would prove no more.
    """
    able = {method for method, found in full.items() if certified(cell, found)}
    able |= {"svd"} & set(full) or (set(full) if not able else set())
    if cell.side > VERIFIED or cell.batch != "single" or cell.dtype.startswith("complex"):
        return able
    return {method for method in able if _accurate(cell, full, method)}


def certified(cell, found):
    """Say whether the bound of the worst matrix is within the tolerance."""
    error, tol = float(host(found.error).max()), grid.TOLERANCES[cell.tol]
    floored = grid.FLOORS[cell.floor] is not None
    return math.isfinite(error) if tol is None or floored else error <= tol


def _accurate(cell, full, method):
    """Compare with the truth: the tolerance, or what the SVD reaches where that is more."""
    tol = grid.TOLERANCES[cell.tol]
    known = _known(cell)
    reached = verify(host(full[method].factor), known)
    if "svd" not in full:
        return tol is None or reached.worst <= tol
    exact = verify(host(full["svd"].factor), known)
    if tol is None:
        return reached.distance <= WORKING * exact.distance
    return reached.worst <= max(tol, WORKING * exact.worst)


def _known(cell):
    x = host(grid.matrix(cell.library, cell.dtype, cell.shape))
    return truth(x, grid.FLOORS[cell.floor], double=cell.dtype == "float64")
