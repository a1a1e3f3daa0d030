"""Seeds and files: what the host does for every array library."""

import os
import random
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy

from specdesc._lib.tracing import opaque
from specdesc._lib.typing import Array


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


def write_npz(path: Path, arrays: dict[str, Array], /) -> None:
    """Write arrays to one file in one step: a reader sees the old file or the new one, whole.

    What a killed writer leaves behind is a hidden file next to `path`, which the next one reuses.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            numpy.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())  # on the disk before it has the name
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_npz(path: Path, /) -> dict[str, Array]:
    """Read all arrays of a file; `ValueError` for one that is damaged or of another kind.

    A file that would run code when read is refused.
    """
    with path.open("rb") as file:
        try:
            loaded = numpy.load(file, allow_pickle=False)
            if not isinstance(loaded, numpy.lib.npyio.NpzFile):
                msg = "it holds one array alone"
                raise ValueError(msg)
            return {name: loaded[name] for name in loaded.files}
        # A damaged archive may also send its reader to a place before the file.
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            msg = f"{path} cannot be read as an archive of arrays: {error}"
            raise ValueError(msg) from error


def finite_range(values: Array, /) -> tuple[float, float]:
    """Return the smallest and the largest entry that is a number."""
    return float(numpy.nanmin(values)), float(numpy.nanmax(values))
