"""Pictures and matrices: read from files, checked, and written back as what they were."""

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from specdesc._lib import extras, host
from specdesc._lib.typing import Array
from specdesc.recover.errors import UsageError

MATRICES = (".npy", ".csv")


@dataclass(frozen=True)
class Data:
    """A matrix, or the channels of a picture as a stack, on the host.

    Attributes
    ----------
    values : NumPy array, shape (m, n) or (channels, m, n)
        Real or complex; NaN marks a missing entry. Pictures lie in [0, 1].
    suffix : str
        Of the file that it came from.
    """

    values: Array
    suffix: str

    @property
    def is_picture(self) -> bool:
        """Say whether it came from a picture."""
        return self.suffix not in MATRICES

    @property
    def limits(self) -> tuple[float, float]:
        """Return the range of the entries."""
        return (0.0, 1.0) if self.is_picture else host.finite_range(abs(self.values))

    def like(self, values: Array) -> "Data":
        """Return other values of the same kind."""
        return replace(self, values=values)


def read(path: Path, /) -> Data:
    """Read a picture, ``.npy`` or ``.csv`` and refuse what cannot be recovered."""
    if not path.is_file():
        msg = f"{path}: no such file"
        raise UsageError(msg)
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            values = host.read_npy(path)
        elif suffix == ".csv":
            values = host.read_csv(path)
        else:
            values = _read_picture(path)
    except extras.MissingExtra:
        raise
    except Exception as error:
        # Readers raise whatever their format brings (SyntaxError for a broken PNG); to the user
        # all of it means the same.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"{path}: cannot be read as {'a matrix' if suffix in MATRICES else 'a picture'}"
        raise UsageError(f"{msg} ({reason})") from error
    return Data(_checked(values, path), suffix)


def write(path: Path, data: Data, /) -> None:
    """Write a recovered matrix, or a picture with its values clipped to [0, 1]."""
    if not data.is_picture:
        host.write_matrix(path, data.values)
        return
    io = extras.require("skimage.io", "demo")
    picture = as_picture(data.values)
    pixels = (picture.clip(0.0, 1.0) * 255).round().astype("uint8")
    host.write_atomically(path, lambda file: io.imsave(file, pixels, check_contrast=False))


def as_picture(values: Array, /) -> Array:
    """Put the channels of a stack last; a plain matrix stays as it is."""
    return values if values.ndim == 2 else values.transpose(1, 2, 0)


def _read_picture(path: Path) -> Array:
    io = extras.require("skimage.io", "demo")
    # From memory: the reader leaves a file open where it cannot make sense of it.
    pixels = io.imread(BytesIO(path.read_bytes()))
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4):
        pixels = pixels[..., :3].transpose(2, 0, 1)  # transparency is not recovered
    if pixels.ndim not in (2, 3) or pixels.dtype.kind != "u":
        msg = f"expected grey or colour pixels, got {pixels.dtype} of shape {pixels.shape}"
        raise ValueError(msg)
    return pixels / float(2 ** (8 * pixels.dtype.itemsize) - 1)


def _checked(values: Array, path: Path) -> Array:
    if values.dtype.kind in "iub":
        values = values.astype("float64")
    if values.dtype.kind not in "fc" or values.ndim not in (2, 3) or 0 in values.shape:
        msg = f"{path}: expected a matrix of numbers, got {values.dtype} of shape {values.shape}"
        raise UsageError(msg)
    missing = values != values
    if missing.all(axis=(-2, -1)).any():
        msg = f"{path}: every entry is missing (NaN)"
        raise UsageError(msg)
    if (abs(values[~missing]) == float("inf")).any():
        msg = f"{path}: has infinite entries; mark missing ones as NaN"
        raise UsageError(msg)
    return values
