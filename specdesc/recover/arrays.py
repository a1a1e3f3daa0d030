"""Arrays of numbers: ``.npy``, ``.npz`` and ``.mat``."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy

from specdesc._lib import extras, host
from specdesc._lib.typing import Array
from specdesc.recover.data import Data, checked, reason
from specdesc.recover.errors import UsageError

SUFFIXES = (".npy", ".npz", ".mat")


@dataclass(frozen=True)
class ArrayForm:
    """A file with one array.

    Attributes
    ----------
    suffix : str
        One of `SUFFIXES`.
    name : str
        That of the array in its archive; empty for ``.npy``.
    dtype : str
        Of the entries, as they are written back.
    """

    kind: ClassVar[str] = "matrix"
    limits: ClassVar[None] = None

    suffix: str
    name: str
    dtype: str

    @property
    def notes(self) -> tuple[str, ...]:
        """Say which array of an archive it is."""
        return (f"the array {self.name!r}",) if self.name else ()

    def write(self, path: Path, values: Array, /) -> None:
        """Write an array in the dtype of the one that was read, under its name."""
        self._save(path, values.astype(self.dtype, copy=False))

    def write_difference(self, path: Path, values: Array, /) -> None:
        """Write differences, which have a sign here."""
        self.write(path, values)

    def write_mask(self, path: Path, mask: Array, /) -> None:
        """Write booleans."""
        self._save(path, mask)

    def _save(self, path: Path, values: Array) -> None:
        if self.suffix == ".npz":
            host.write_atomically(path, lambda file: numpy.savez(file, **{self.name: values}))
        elif self.suffix == ".mat":
            io = extras.require("scipy.io", "demo")
            host.write_atomically(path, lambda file: io.savemat(file, {self.name: values}))
        else:
            host.write_atomically(path, lambda file: numpy.save(file, values))


def read(path: Path, /) -> Data:
    """Read the array of a file; of an archive the only one.

    Raises
    ------
    UsageError
        If the file is damaged, would run code when read, holds several arrays or none, or what it
        holds is no matrix of numbers.
    """
    values, form = load(path)
    return Data(checked(values, path), form)


def load(path: Path, /) -> tuple[Array, ArrayForm]:
    """Return the array of a file as it is, of any shape."""
    suffix = path.suffix.lower()
    name = ""
    try:
        if suffix == ".npy":
            values = numpy.load(path, allow_pickle=False)
        else:
            arrays = _npz(path) if suffix == ".npz" else _mat(path)
            name = _only(path, arrays)
            values = arrays[name]
    # A damaged archive may also send its reader to a place before the file.
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        msg = f"{path}: cannot be read as a matrix ({reason(error)})"
        raise UsageError(msg) from error
    if not isinstance(values, numpy.ndarray):
        msg = f"{path}: cannot be read as a matrix (it is no .npy file)"
        raise UsageError(msg)
    kept = values.dtype.name if values.dtype.kind in "fc" else "float64"
    return values, ArrayForm(suffix, name, kept)


def _npz(path: Path) -> dict[str, Array]:
    with path.open("rb") as file:
        loaded = numpy.load(file, allow_pickle=False)
        if not isinstance(loaded, numpy.lib.npyio.NpzFile):
            return {"array": loaded}
        return {name: loaded[name] for name in loaded.files}


def _mat(path: Path) -> dict[str, Array]:
    io = extras.require("scipy.io", "demo")
    arrays = io.loadmat(path)
    return {name: array for name, array in arrays.items() if not name.startswith("__")}


def _only(path: Path, arrays: dict[str, Array]) -> str:
    """Return the name of the only array that can be a matrix."""
    able = [name for name, array in arrays.items() if array.ndim in (2, 3) and array.size > 1]
    if len(able) != 1:
        held = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
        msg = f"{path}: one matrix alone is read from {path.suffix}, it holds {held}; save one"
        raise UsageError(msg)
    return able[0]
