"""Which reader a file gets."""

from pathlib import Path

import numpy

from specdesc._lib import host
from specdesc.recover import arrays, frames, pictures, tables
from specdesc.recover.data import Data, checked
from specdesc.recover.errors import UsageError
from specdesc.recover.tables import Reading

KINDS = (
    "pictures (.png, .jpg, .tif, .gif and what else Pillow reads), "
    f"arrays ({', '.join(arrays.SUFFIXES)}), tables of text ({', '.join(tables.SUFFIXES)}); "
    "with --frames also a folder of pictures"
)

#: Kinds that people have and that are not read, with the way out.
REFUSED = {
    ".parquet": "write it as .csv",
    ".feather": "write it as .csv",
    ".xlsx": "write it as .csv",
    ".xls": "write it as .csv",
    ".ods": "write it as .csv",
    ".h5": "write it as .npy",
    ".hdf5": "write it as .npy",
    ".mp4": "write its frames as pictures, and say --frames",
    ".avi": "write its frames as pictures, and say --frames",
    ".mov": "write its frames as pictures, and say --frames",
    ".pt": "write it as .npy",
    ".pkl": "write it as .npy",
}

#: Numbers that loggers write where they have nothing to say.
SUSPECTS = (-9999.0, -999.0, -99999.0, -32768.0, 9999.0, 99999.0, 1e20, -1e20)


def read(
    path: Path,
    /,
    *,
    as_frames: bool = False,
    reading: Reading | None = None,
    dtype: str = "float32",
) -> Data:
    """Read a picture, an array, a table or frames, and refuse what cannot be recovered.

    Parameters
    ----------
    path : Path
        A file, or a folder with `as_frames`.
    as_frames : bool
        Whether it holds frames of one scene.
    reading : Reading, optional
        What the user knows of a table; its marks of missing entries hold for numbers of any file.
    dtype : str
        Of the values of pictures.

    Raises
    ------
    UsageError
        With one line that names the file and what to do.
    """
    reading = reading or Reading()
    if not path.exists():
        msg = f"{path}: no such file"
        raise UsageError(msg)
    suffix = path.suffix.lower()
    if as_frames:
        data = frames.read(path, dtype=dtype)
    elif path.is_dir():
        msg = f"{path}: is a folder; say --frames for a folder of pictures of one scene"
        raise UsageError(msg)
    elif suffix in arrays.SUFFIXES:
        data = arrays.read(path)
    elif suffix in tables.SUFFIXES:
        data = tables.read(path, reading)
    else:
        data = _other(path, suffix, dtype)
    return data if data.kind == "table" else _marked(data, reading, path)


def _other(path: Path, suffix: str, dtype: str) -> Data:
    if suffix in REFUSED:
        msg = f"{path}: {suffix} is not read; {REFUSED[suffix]}. What is read: {KINDS}"
        raise UsageError(msg)
    try:
        return pictures.read(path, dtype=dtype)
    except UsageError as error:
        if "none that Pillow knows" in str(error):
            msg = f"{error}. What is read: {KINDS}"
            raise UsageError(msg) from error
        raise


def _marked(data: Data, reading: Reading, path: Path) -> Data:
    """Return data with the numbers that mark missing entries as NaN."""
    if not reading.missing:
        return data
    values = data.values.copy()
    for mark in reading.missing:
        try:
            values[values == values.dtype.type(float(mark))] = numpy.nan
        except ValueError:
            msg = f"--missing {mark}: {path} holds numbers alone"
            raise UsageError(msg) from None
    return data.like(checked(values, path))


def suspicion(data: Data, /) -> str | None:
    """Return a hint if a number that often marks missing entries is an end of the range, twice."""
    if data.kind == "picture" or data.values.dtype.kind == "c":
        return None
    for end in host.finite_range(data.values):
        count = int((data.values == end).sum()) if end in SUSPECTS else 0
        if count >= 2:
            return (
                f"{end:g} occurs {count} times: if it marks missing entries, say --missing={end:g}"
            )
    return None
