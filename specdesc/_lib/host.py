"""The one place where NumPy is named: host numbers, seeds and files."""

import hashlib
import os
import random
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

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


def is_scalar(x: object, /) -> bool:
    """Say whether `x` is a scalar of NumPy, such as its reductions return."""
    return isinstance(x, numpy.generic)


def memory_order(values: Array, /) -> tuple[int, ...]:
    """Return the axes of a host array from the largest stride to the smallest."""
    return tuple(sorted(range(values.ndim), key=lambda axis: -abs(values.strides[axis])))


def in_order(values: Array, axes: tuple[int, ...], /) -> Array:
    """Return a host array, contiguous, with its axes in another order."""
    # No ascontiguousarray: that gives a 0-d array one axis.
    return numpy.array(numpy.transpose(values, axes), order="C")


def in_axes(values: Array, axes: tuple[int, ...], /) -> Array:
    """Undo `in_order`, without a copy."""
    return numpy.transpose(values, numpy.argsort(axes))


def stack(values: list[Array], /) -> Array:
    """Stack host arrays of one shape along a new first axis."""
    return numpy.stack(values)


def nan_like(values: Array, /) -> Array:
    """Return a host array full of NaN."""
    return numpy.full_like(values, numpy.nan)


def text(content: str, /) -> Array:
    """Return text as an array, which `str` gives back."""
    return numpy.asarray(content)


def digest(values: Array, /) -> str:
    """Return a short name for the bits of a host array."""
    return hashlib.blake2b(values.tobytes(), digest_size=8).hexdigest()


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
