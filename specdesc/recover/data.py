"""Data on the host, with the form that they came in: how they are checked and written back."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol

import numpy

from specdesc._lib import host
from specdesc._lib.typing import Array
from specdesc.recover.errors import UsageError


class Form(Protocol):
    """What a file was besides its numbers. Values on the scale of the file go back through it.

    Attributes
    ----------
    kind : str
        ``"picture"``, ``"matrix"``, ``"table"`` or ``"frames"``.
    suffix : str
        Of the files that `write` makes; empty for folders.
    limits : pair of float or None
        The range of the entries where the format has one.
    notes : tuple of str
        How the file was read, one line each, for the report.
    """

    kind: ClassVar[str]

    @property
    def suffix(self) -> str:
        """Return the suffix of what `write` makes."""
        ...

    @property
    def limits(self) -> tuple[float, float] | None:
        """Return the range of the entries, if the format has one."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Return how the file was read."""
        ...

    def write(self, path: Path, values: Array, /) -> None:
        """Write values of the shape and on the scale of those read; NaN is missing."""
        ...

    def write_difference(self, path: Path, values: Array, /) -> None:
        """Write differences of values; what has no sign gets their sizes."""
        ...

    def write_mask(self, path: Path, mask: Array, /) -> None:
        """Write which entries are marked."""
        ...


@dataclass(frozen=True)
class Data:
    """A matrix, or a stack such as the channels of a picture, on the host.

    Attributes
    ----------
    values : NumPy array, shape (m, n) or (channels, m, n)
        Real or complex; NaN marks a missing entry. Pictures of whole numbers lie in [0, 1].
    form : Form
        Of the file that it came from.
    """

    values: Array
    form: Form

    @property
    def kind(self) -> str:
        """Return the kind of its form."""
        return self.form.kind

    @property
    def limits(self) -> tuple[float, float]:
        """Return the range of the entries; that of complex ones is the range of their sizes."""
        sizes = abs(self.values) if self.values.dtype.kind == "c" else self.values
        return self.form.limits or host.finite_range(sizes)

    @property
    def missing(self) -> Array:
        """Return which entries are missing."""
        return numpy.isnan(self.values)

    def like(self, values: Array) -> "Data":
        """Return other values of the same form."""
        return replace(self, values=values)


def checked(values: Array, path: Path, /) -> Array:
    """Return numbers as floating point, or refuse what cannot be recovered.

    Raises
    ------
    UsageError
        If they are no matrix or stack of matrices of real or complex numbers, if one is infinite,
        or if all entries of a matrix are missing.
    """
    if values.dtype.kind in "iub":
        values = values.astype("float64")
    if values.dtype.kind not in "fc" or values.ndim not in (2, 3) or 0 in values.shape:
        msg = f"{path}: expected a matrix of numbers, got {values.dtype} of shape {values.shape}"
        raise UsageError(msg)
    if values.dtype.name not in ("float16", "float32", "float64", "complex64", "complex128"):
        msg = f"{path}: has entries of {values.dtype}; save them as float64 or complex128"
        raise UsageError(msg)
    missing = numpy.isnan(values)
    if missing.all(axis=(-2, -1)).any():
        msg = f"{path}: every entry is missing (NaN)"
        if values.ndim == 3:
            msg += " in a matrix of the stack"
        raise UsageError(msg)
    if numpy.isinf(values).any():
        msg = f"{path}: has infinite entries; mark missing ones as NaN"
        raise UsageError(msg)
    return values


def reason(error: Exception, /) -> str:
    """Return the first line of what an exception says, or its name."""
    return str(error).splitlines()[0] if str(error).strip() else type(error).__name__
