"""The one place where NumPy is named: host numbers, seeds and files."""

import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy

from specdesc._opaque import opaque
from specdesc._typing import Array


@opaque
def gaussian(shape: tuple[int, ...], seed: int, /) -> Array:
    """Return standard normal numbers, a function of shape and seed alone."""
    return _gaussian(tuple(shape), seed).copy()


@lru_cache(maxsize=32)
def _gaussian(shape: tuple[int, ...], seed: int) -> Array:
    return numpy.random.default_rng(seed).standard_normal(shape)


def generator(seed: int | tuple[int, ...], /) -> numpy.random.Generator:
    """Return a fresh generator: data of problems are drawn on the host, once, from a seed."""
    return numpy.random.default_rng(seed)


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """Put the global generators back: for code of others that seeds them."""
    kept, numpy_kept = random.getstate(), numpy.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(kept)
        numpy.random.set_state(numpy_kept)  # noqa: NPY002


def from_dlpack(x: Array, /) -> Array:
    """Copy an array of any library that speaks DLPack to the host."""
    return numpy.from_dlpack(x).copy()


def write_atomically(path: Path, write: Callable[[Path], object], /) -> None:
    """Let `write` fill a file of the same suffix elsewhere, then move it to `path` in one step."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".specdesc-") as folder:
        finished = Path(folder) / path.name
        write(finished)
        os.replace(finished, path)


def finite_range(values: Array, /) -> tuple[float, float]:
    """Return the smallest and the largest entry that is a number."""
    return float(numpy.nanmin(values)), float(numpy.nanmax(values))


def orthonormal(block: Array, /) -> Array:
    """Return an orthonormal basis of the columns of a host matrix."""
    return numpy.linalg.qr(block)[0]


def read_npy(path: Path, /) -> Array:
    """Read one array; a file that would run code when read is refused."""
    return numpy.load(path, allow_pickle=False)


def read_csv(path: Path, /) -> Array:
    """Read a comma-separated matrix; an empty field and ``nan`` are missing entries."""
    text = path.read_text(encoding="utf-8").splitlines()
    rows = [
        [float(field) if field.strip() else numpy.nan for field in line.split(",")]
        for line in text
        if line.strip()
    ]
    return numpy.asarray(rows)


def write_matrix(path: Path, values: Array, /) -> None:
    """Write a matrix as ``.npy``, or as ``.csv`` with digits that read back the same."""
    if path.suffix == ".csv":
        write_atomically(path, lambda file: numpy.savetxt(file, values, delimiter=",", fmt="%.17g"))
    else:
        write_atomically(path, lambda file: numpy.save(file, values))


def log_spaced(first: float, last: float, count: int, /) -> Array:
    """Return powers of ten whose exponents are equally spaced from `first` to `last`."""
    return numpy.logspace(first, last, count)


def as_stack(values: tuple[float, ...], /) -> Array:
    """Return numbers as a stack of 1 by 1 matrices."""
    return numpy.asarray(values)[:, None, None]


def finite_or(x: Array, other: float, /) -> Array:
    """Return `x` with another number where it is not finite."""
    return numpy.where(numpy.isfinite(x), x, other)


def stacked(rows: list[Array], /) -> Array:
    """Return host arrays of one shape as one array, along a new first axis."""
    return numpy.stack(rows)


def quantiles(rows: Sequence[Any], shares: tuple[float, ...], /) -> Array:
    """Return quantiles over the first axis, one row a share; rows may be a host array."""
    return numpy.quantile(numpy.asarray(rows), shares, axis=0)


def as_array(values: Sequence[Any], /) -> Array:
    """Return nested numbers as an array."""
    return numpy.asarray(values)


def spectral_norm(matrix: Array, /) -> float:
    """Return the largest singular value of a host matrix."""
    return float(numpy.linalg.norm(matrix, 2))


def with_ones(rows: Array, /) -> Array:
    """Return rows with a last entry of 1 each."""
    return numpy.hstack([rows, numpy.ones((len(rows), 1))])


def spaced(first: float, last: float, count: int, /) -> Array:
    """Return equally spaced numbers from `first` to `last`."""
    return numpy.linspace(first, last, count)


def least_squares(matrix: Array, targets: Array, /) -> Array:
    """Return the least-squares solutions of a host system, one a column of the targets."""
    return numpy.linalg.lstsq(matrix, targets)[0]


def fitted_power(x: Array, y: Array, /) -> tuple[float, float]:
    """Return the exponent and the factor of the power law that fits best, in logarithms."""
    exponent, constant = numpy.polyfit(numpy.log(x), numpy.log(y), 1)
    return float(exponent), float(numpy.exp(constant))


def svd(matrix: Array, /) -> tuple[Array, Array, Array]:
    """Return ``(U, S, Vh)`` of the thin SVD of a host matrix."""
    u, s, vh = numpy.linalg.svd(matrix, full_matrices=False)
    return u, s, vh
