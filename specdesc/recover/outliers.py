"""What was taken for an outlier, and which entries a recovery replaces."""

from dataclasses import dataclass

import numpy

from specdesc._lib.typing import Array
from specdesc.recover.centring import NORMAL, Centre, spread

#: Residuals of Gaussian noise exceed so many standard deviations once in 1.7 million times.
DEVIATIONS = 5.0

#: Without noise the residual is what the last steps of a descent leave, relative to the data.
LEAST = 1e-3

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
    scale = 1.0 if centre.scale is None else centre.scale
    residual = abs(values - fit) / scale
    matrices = residual.reshape((-1, *residual.shape[-2:]))
    scaled = (values / scale).reshape(matrices.shape)
    limits = [
        max(DEVIATIONS * NORMAL * float(numpy.nanmedian(size)), LEAST * spread(matrix))
        for size, matrix in zip(matrices, scaled, strict=True)
    ]
    limit = numpy.asarray(limits).reshape((*residual.shape[:-2], 1, 1))
    with numpy.errstate(invalid="ignore"):
        return Outliers(residual > limit, limit * scale)


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
