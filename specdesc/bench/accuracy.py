"""The true error of a result, from a float64 SVD of the input on the host."""

from collections.abc import Callable
from functools import cache

import numpy

from specdesc._lib.typing import Array

#: Singular values below this part of the largest one are not asked about.
FLOOR = 0.01

#: Of the truncated step, and of a clip in units of the largest singular value.
RANK, RADIUS = 8, 0.5

Measure = Callable[[Array, Array], float]


def of_factor(x: Array, factor: Array) -> float:
    """Return the root mean square of ``Re(u_i* Q v_i) - 1`` over the singular values that count."""
    u, s, vh = _svd(x)
    kept = s >= FLOOR * s[0]
    turned = numpy.einsum("mi,mn,in->i", u.conj(), _wide(factor), vh.conj()).real
    return float((((turned - 1) ** 2)[kept]).mean() ** 0.5)


def of_step(x: Array, step: Array) -> float:
    """Return what a truncated step misses of the Ky Fan norm, as a share of it."""
    _, s, _ = _svd(x)
    best = s[:RANK].sum()
    return float(1 - (_wide(step).conj() * _wide(x)).sum().real / best)


def of_clip(x: Array, clipped: Array) -> float:
    """Return the distance to the projection in the spectral norm, over the radius."""
    u, s, vh = _svd(x)
    radius = RADIUS * s[0]
    exact = (u * numpy.minimum(s, radius)) @ vh
    return float(numpy.linalg.norm(_wide(clipped) - exact, 2) / radius)


def _wide(x: Array) -> Array:
    return numpy.asarray(x, dtype="complex128" if numpy.iscomplexobj(x) else "float64")


def _svd(x: Array) -> tuple[Array, Array, Array]:
    return _decomposed(x.tobytes(), x.shape, x.dtype.str)


@cache
def _decomposed(content: bytes, shape: tuple[int, ...], dtype: str) -> tuple[Array, Array, Array]:
    x = numpy.frombuffer(content, dtype=dtype).reshape(shape)
    u, s, vh = numpy.linalg.svd(_wide(x), full_matrices=False)
    return u, s, vh
