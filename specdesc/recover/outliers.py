"""What was taken for an outlier, and which entries a recovery replaces."""

from dataclasses import dataclass

import numpy

from specdesc._lib.typing import Array
from specdesc.recover.centring import NORMAL, Centre, spread

#: Residuals of Gaussian noise exceed so many standard deviations once in 1.7 million times.
DEVIATIONS = 5.0

#: Without noise the residual is what the last steps of a descent leave, relative to the data.
LEAST = 1e-3

#: Entries that are looked at in one piece; the median of as many is taken for that of all.
SORTED = 1 << 20

REPLACE = ("outliers", "missing", "all")


@dataclass(frozen=True)
class Outliers:
    """Entries far from the fit.

    Attributes
    ----------
    mask : NumPy array of bool, shape of the data
    thresholds : NumPy array
        The distance from which on an entry counts, in units of the data; it broadcasts.
    """

    mask: Array
    thresholds: Array


def find(values: Array, fit: Array, centre: Centre, /) -> Outliers:
    """Return what lies off the fit by more than five robust standard deviations of the residual.

    Each matrix has its own; residuals of scaled columns are compared on their scale. The least
    threshold is 0.001 of the spread of the data.
    """
    if centre.scale is not None:  # of one matrix
        found = find(values / centre.scale, fit / centre.scale, Centre("none"))
        return Outliers(found.mask, found.thresholds * centre.scale)
    mask = numpy.empty(values.shape, bool)
    matrices = (array.reshape((-1, *values.shape[-2:])) for array in (values, fit, mask))
    limits = []
    for matrix, fitted, marked in zip(*matrices, strict=True):
        thin = max(1, round((matrix.size / SORTED) ** 0.5))
        part = matrix[::thin, ::thin]
        noise = NORMAL * float(numpy.nanmedian(abs(part - fitted[::thin, ::thin])))
        limits.append(max(DEVIATIONS * noise, LEAST * spread(part)))
        step = max(1, SORTED // matrix.shape[-1])
        with numpy.errstate(invalid="ignore"):  # NaN is missing and no outlier
            for first in range(0, len(matrix), step):
                rows = slice(first, first + step)
                marked[rows] = abs(matrix[rows] - fitted[rows]) > limits[-1]
    return Outliers(mask, numpy.asarray(limits).reshape((*values.shape[:-2], 1, 1)))


def replaced(values: Array, fit: Array, mask: Array, what: str, /) -> Array:
    """Return the data with some entries from the fit: one of `REPLACE`.

    ``"outliers"`` means what is missing or an outlier, ``"missing"`` the missing entries alone.
    """
    if what == "all":
        return fit
    chosen = numpy.isnan(values)
    if what == "outliers":
        chosen = chosen | mask
    return numpy.where(chosen, fit, values)


def unknown(values: Array, /) -> Array:
    """Return a mask of the rows and columns of which nothing is observed."""
    missing = numpy.isnan(values)
    return missing.all(axis=-1, keepdims=True) | missing.all(axis=-2, keepdims=True)
