"""Centre and scale of data before they are fitted, and back."""

import warnings
from dataclasses import dataclass

import numpy

from specdesc._lib.typing import Array
from specdesc.recover.data import Data

WAYS = ("none", "median", "columns", "rows")

#: The standard deviation of a normal distribution over its median absolute deviation.
NORMAL = 1.4826

#: Columns have different units if the scale of one is so many times that of the median column, or
#: that of the median column so many times that of a tenth of them. Columns of random matrices of
#: low rank differ by a factor of ten, and single ones are smaller by any factor; the columns of
#: the tables of scikit-learn differ by 1e3 to 1e5.
ABOVE, BELOW, FEW = 30.0, 100.0, 0.1

#: The share of a column that must be right for its scale to be seen in the search for units. The
#: median would ask for half of it, and a short column may have as many outliers.
RIGHT = 0.25

#: An offset of so many robust standard deviations is taken out if the rank is lower without it.
OFFSET = 3.0


@dataclass(frozen=True)
class Centre:
    """What is taken from the data before a fit, and what they are divided by.

    Attributes
    ----------
    way : str
        One of `WAYS`.
    centre, scale : NumPy array or None
        They broadcast against the data; None stands for 0 and 1.
    """

    way: str
    centre: Array | None = None
    scale: Array | None = None

    def apply(self, values: Array, /) -> Array:
        """Return centred and scaled values; the same array where there is nothing to do."""
        if self.centre is not None:
            values = values - self.centre
        return values if self.scale is None else values / self.scale

    def undo(self, values: Array, /) -> Array:
        """Return values on the scale of the data."""
        if self.scale is not None:
            values = values * self.scale
        return values if self.centre is None else values + self.centre


def find(data: Data, way: str | None, /) -> Centre:
    """Return the centre of the observed entries: medians, and for tables and matrices by lines.

    Parameters
    ----------
    data : Data
    way : str or None
        ``"median"`` takes that of each matrix; ``"columns"`` and ``"rows"`` that of each line, and
        where the data are a table or matrix also divide by 1.4826 times its median absolute
        deviation, so that all lines weigh the same. None takes the columns of a real table or
        matrix whose columns have different units, and nothing elsewhere. A line is an axis of the
        low-rank part: a centre may raise or lower the rank by one, and is not counted in it.
    """
    values = data.values
    if way is None:
        numbers = data.kind in ("table", "matrix") and values.ndim == 2
        if not numbers or values.dtype.kind == "c" or 1 in values.shape:
            return Centre("none")
        way = "columns" if _units_differ(values) else "none"
    if way == "none":
        return Centre("none")
    if way == "median":
        return Centre(way, _median(values, (-2, -1)))
    axis = -2 if way == "columns" else -1
    centre = _median(values, axis)
    if data.kind not in ("table", "matrix"):
        return Centre(way, centre)
    scale = _scale(values, centre, axis)
    return Centre(way, centre, numpy.where(scale > 0, scale, 1).astype(scale.dtype))


def has_offset(data: Data, /) -> bool:
    """Say whether a real table or matrix lies far from 0, compared with how much it varies."""
    values = data.values
    if data.kind not in ("table", "matrix") or values.ndim != 2 or values.dtype.kind == "c":
        return False
    return bool(abs(float(numpy.nanmedian(values))) > OFFSET * spread(values))


def _units_differ(values: Array) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of empty lines
        scales = numpy.nanquantile(abs(values - _median(values, -2)), RIGHT, axis=-2)
    scales = scales[scales > 0]
    if scales.size < 2:
        return False
    middle = float(numpy.median(scales))
    few = float(numpy.quantile(scales, FEW, method="lower"))
    return bool(scales.max() > ABOVE * middle or middle > BELOW * few)


def _median(values: Array, axis: int | tuple[int, int]) -> Array:
    """Return the median of what is not missing, 0 where nothing is known."""
    if values.dtype.kind == "c":
        return _median(values.real, axis) + 1j * _median(values.imag, axis)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of empty lines
        found = numpy.nanmedian(values, axis=axis, keepdims=True)
    return numpy.nan_to_num(found, nan=0.0)


def _scale(values: Array, centre: Array, axis: int) -> Array:
    """Return the robust standard deviations; where half of a line is one number, of the rest."""
    size = abs(values - centre)
    middle = _median(size, axis)
    rest = _median(numpy.where(size > 0, size, numpy.nan), axis)
    scale: Array = numpy.where(middle > 0, middle, rest)
    return NORMAL * scale


def spread(values: Array, /) -> float:
    """Return the robust standard deviation of all entries about their median."""
    known = values[~numpy.isnan(values)]
    centre = _median(known[None, :], -1)[0, 0]
    return float(_scale(known[None, :], centre, -1)[0, 0])
