"""Medians over neighbours: what to hold the methods against on pictures and frames."""

import warnings

import numpy

from specdesc._lib.typing import Array

#: Entries that are sorted at once; each takes nine numbers of memory.
BLOCK = 1_000_000


def median_filter(values: Array, /) -> Array:
    """Return the median of the observed entries of the 3 x 3 neighbours of each entry.

    The border is mirrored. Where none of the nine is observed it is the median of the matrix.
    """
    out = numpy.empty_like(values)
    matrices = values.reshape((-1, *values.shape[-2:]))
    for matrix, result in zip(matrices, out.reshape(matrices.shape), strict=True):
        padded = numpy.pad(matrix, 1, mode="symmetric")
        rows, columns = matrix.shape
        step = max(1, BLOCK // columns)
        for first in range(0, rows, step):
            last = min(rows, first + step)
            near = [
                padded[first + i : last + i, j : j + columns] for i in range(3) for j in range(3)
            ]
            result[first:last] = _median(numpy.stack(near))
        empty = numpy.isnan(result)
        if empty.any():
            result[empty] = numpy.nanmedian(matrix)
    return out


def median_over_time(values: Array, /) -> Array:
    """Return the median over the rows of each column, as every row."""
    middle = numpy.empty(values.shape[1:], values.dtype)
    step = max(1, BLOCK // len(values))
    for first in range(0, values.shape[1], step):
        middle[first : first + step] = _median(values[:, first : first + step])
    empty = numpy.isnan(middle)
    if empty.any():
        middle[empty] = numpy.nanmedian(values)
    return numpy.broadcast_to(middle, values.shape).copy()


def _median(stack: Array) -> Array:
    """Return the median along the first axis of what is not missing, NaN where all is."""
    if not numpy.isnan(stack).any():
        return numpy.median(stack, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of places with nothing
        return numpy.nanmedian(stack, axis=0)
