"""The one place where NumPy is named: host numbers, seeds and files."""

import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

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


@opaque
def integers(shape: tuple[int, ...], below: int, seed: int, /) -> Array:
    """Return integers from 0 on, a function of shape, limit and seed alone."""
    return _integers(tuple(shape), below, seed).copy()


@lru_cache(maxsize=32)
def _integers(shape: tuple[int, ...], below: int, seed: int) -> Array:
    # The second seed keeps them apart from Gaussian numbers of the same seed.
    return numpy.random.default_rng((seed, 1)).integers(below, size=shape)


def generator(seed: int, /) -> numpy.random.Generator:
    """Return a fresh generator: data of problems are drawn on the host, once, from a seed."""
    return numpy.random.default_rng(seed)


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
