"""Frames of one scene: a folder of pictures, a film in one file, or an array."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy

from specdesc._lib import extras, host
from specdesc._lib.typing import Array
from specdesc.recover import arrays, pictures
from specdesc.recover.data import Data, checked
from specdesc.recover.errors import UsageError
from specdesc.recover.pictures import Picture

#: Milliseconds for which an animation shows a frame of which it does not say so.
DURATION = 100


@dataclass(frozen=True)
class Frames:
    """Frames as the rows of one matrix.

    Attributes
    ----------
    suffix : str
        ``".npy"``, ``".npz"`` or ``".mat"``, ``".gif"``, ``".tif"``; empty for a folder.
    shape : tuple of int
        That of one frame, channels first for pictures.
    pictures : tuple of Picture
        The form of each frame; empty for arrays.
    names : tuple of str
        Of the files of a folder, without their suffix.
    array : ArrayForm or None
        That of the file, for arrays.
    durations : tuple of int
        Of the frames of an animation, in milliseconds.
    notes : tuple of str
        How they were read.
    """

    kind: ClassVar[str] = "frames"

    suffix: str
    shape: tuple[int, ...]
    pictures: tuple[Picture, ...] = ()
    names: tuple[str, ...] = ()
    array: arrays.ArrayForm | None = None
    durations: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def limits(self) -> tuple[float, float] | None:
        """Return those of the first picture."""
        return self.pictures[0].limits if self.pictures else None

    def frames(self, values: Array, /) -> Array:
        """Return rows as frames."""
        return values.reshape((len(values), *self.shape))

    def frame(self, row: Array, /) -> Array:
        """Return one row as a picture, channels last."""
        frame = row.reshape(self.shape)
        return frame if self.array is not None else pictures.channels_last(frame)

    def write(self, path: Path, values: Array, /) -> None:
        """Write frames as they came: as an array, a folder, or a film."""
        if self.array is not None:
            self.array.write(path, self.frames(values))
            return
        each = zip(self.frames(values), self.pictures, strict=True)
        self._write(path, [form.numbers(frame) for frame, form in each])

    def write_difference(self, path: Path, values: Array, /) -> None:
        """Write differences: of arrays with their sign, of pictures their sizes."""
        if self.array is not None:
            self.array.write(path, self.frames(values))
            return
        first = self.pictures[0]
        opaque = Picture(top=first.top, colour=first.colour)
        sizes = abs(values) if first.top else values
        self._write(path, [opaque.numbers(frame) for frame in self.frames(sizes)])

    def write_mask(self, path: Path, mask: Array, /) -> None:
        """Write booleans, or pictures that are white where any channel is marked."""
        if self.array is not None:
            self.array.write_mask(path, self.frames(mask))
            return
        marked = self.frames(mask)
        marked = marked.any(axis=1) if marked.ndim == 4 else marked
        self._write(path, list((marked * 255).astype("uint8")))

    def _write(self, path: Path, pages: list[Array]) -> None:
        if not self.suffix:
            path.mkdir(exist_ok=True)
            for name, page, form in zip(self.names, pages, self.pictures, strict=True):
                pictures.save(path / f"{name}{form.suffix}", page, form.profile)
        elif self.suffix == ".tif":
            tifffile = extras.require("tifffile", "demo")
            colour = pages[0].ndim == 3 and pages[0].shape[-1] >= 3
            options: dict[str, Any] = {"photometric": "rgb" if colour else "minisblack"}
            stacked = numpy.stack(pages)
            host.write_atomically(path, lambda file: tifffile.imwrite(file, stacked, **options))
        else:
            pillow = extras.require("PIL.Image", "demo")
            shown = [pillow.fromarray(numpy.ascontiguousarray(page)) for page in pages]
            options = {"duration": list(self.durations), "loop": 0, "save_all": True}
            host.write_atomically(
                path, lambda file: shown[0].save(file, append_images=shown[1:], **options)
            )


def read(path: Path, /, *, dtype: str = "float32") -> Data:
    """Read frames as one matrix, a frame a row.

    Parameters
    ----------
    path : Path
        A folder of pictures of one size, in the natural order of their names; an animation or a
        TIFF with several pages; an array of shape (frames, m, n), or (frames, m, n, channels).
    dtype : str
        Of the values of pictures.

    Raises
    ------
    UsageError
        If there are fewer than two frames, or one differs in size or kind from the first.
    """
    if path.is_dir():
        values, form = _folder(path, dtype)
    elif path.suffix.lower() in arrays.SUFFIXES:
        values, form = _array(path)
    else:
        values, form = _film(path, dtype)
    return Data(checked(values.reshape(len(values), -1), path), form)


def _array(path: Path) -> tuple[Array, Frames]:
    values, form = arrays.load(path)
    if values.ndim not in (3, 4) or len(values) < 2:
        msg = f"{path}: frames are an array of shape (frames, m, n), got {values.shape}"
        raise UsageError(msg)
    return values, Frames(form.suffix, values.shape[1:], array=form, notes=form.notes)


def _folder(path: Path, dtype: str) -> tuple[Array, Frames]:
    known = extras.require("PIL.Image", "demo").registered_extensions()
    files = sorted(
        (file for file in path.iterdir() if file.suffix.lower() in known and file.name[0] != "."),
        key=_natural,
    )
    values: list[Array] = []
    forms: list[Picture] = []
    for file in files:
        pixels, form = pictures.load(file, dtype=dtype)
        _check_like(values, forms, pixels, form, file)
        values.append(pixels)
        forms.append(form)
    _check_count(path, len(files))
    names = [file.stem for file in files]
    if len(set(names)) < len(names):
        names = [file.name.replace(".", "-") for file in files]
    notes = (f"{len(files)} files",)
    return numpy.stack(values), Frames("", values[0].shape, tuple(forms), tuple(names), notes=notes)


def _natural(file: Path) -> list[tuple[int, str]]:
    """Order frame9 before frame10."""
    parts = re.split(r"(\d+)", file.name.lower())
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]


def _film(path: Path, dtype: str) -> tuple[Array, Frames]:
    values: list[Array] = []
    forms: list[Picture] = []
    durations = []
    with pictures.opened(path) as image:
        count = getattr(image, "n_frames", 1)
        for i in range(count):
            image.seek(i)
            # A frame of a GIF is drawn over the last one: colour as soon as one is in colour.
            pixels, form = pictures.page(_plain(image), path, dtype=dtype)
            _check_like(values, forms, pixels, form, f"{path}, frame {i + 1}")
            values.append(pixels)
            forms.append(form)
            durations.append(int(image.info.get("duration") or DURATION))
        tiff = image.format in ("TIFF", "MPO")
    _check_count(path, count)
    stacked = numpy.stack(values)
    if stacked.ndim == 4 and (stacked == stacked[:, :1]).all():
        # A GIF of greys is in colour to its reader.
        stacked = stacked[:, 0]
        forms = [replace(form, colour=False) for form in forms]
    deep = forms[0].top != 255
    suffix = ".tif" if tiff or deep else ".gif"
    shape = stacked.shape[1:]
    return stacked, Frames(suffix, shape, tuple(forms), durations=tuple(durations))


def _plain(image: Any) -> Any:
    """Return a frame of an animation in RGBA or RGB, whatever the palettes of single frames."""
    if image.format == "TIFF":
        return image
    return image.convert("RGBA" if image.mode in ("RGBA", "PA") else "RGB")


def _check_like(
    values: list[Array], forms: list[Picture], new: Array, form: Picture, where: object
) -> None:
    if values and (new.shape != values[0].shape or form.top != forms[0].top):
        msg = (
            f"{where}: frames are alike, this one has shape {new.shape} and white at {form.top}, "
            f"the first {values[0].shape} and {forms[0].top}"
        )
        raise UsageError(msg)


def _check_count(path: Path, count: int) -> None:
    if count < 2:
        msg = f"{path}: has {count} frames, --frames needs two at least"
        raise UsageError(msg)
