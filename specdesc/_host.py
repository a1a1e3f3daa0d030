"""The one place where NumPy is named: host numbers, seeds and files."""

import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

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


def generator(seed: int, /) -> numpy.random.Generator:
    """Return a fresh generator: data of problems are drawn on the host, once, from a seed."""
    return numpy.random.default_rng(seed)


def from_dlpack(x: Array, /) -> Array:
    """Copy an array of any library that speaks DLPack to the host."""
    return numpy.from_dlpack(x).copy()


def write_atomically(path: Path, write: Callable[[BinaryIO], object], /) -> None:
    """Let `write` fill a temporary file beside `path`, then move it there in one step."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def finite_range(values: Array, /) -> tuple[float, float]:
    """Return the smallest and the largest entry that is a number."""
    return float(numpy.nanmin(values)), float(numpy.nanmax(values))


def orthonormal(block: Array, /) -> Array:
    """Return an orthonormal basis of the columns of a host matrix."""
    return numpy.linalg.qr(block)[0]
