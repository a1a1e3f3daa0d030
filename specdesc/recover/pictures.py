"""Pictures: read without loss or refused, and written back as what they were."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy

from specdesc._lib import extras, host
from specdesc._lib.typing import Array
from specdesc.recover.data import Data, checked, reason
from specdesc.recover.errors import UsageError

#: What Pillow converts to colour without a choice to be made.
COLOURS = ("RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")

#: What modes of Pillow become.
PLAIN = {
    **dict.fromkeys(("1", "L"), "L"),
    **dict.fromkeys(("LA", "La"), "LA"),
    **dict.fromkeys(("P", *COLOURS), "RGB"),
    **dict.fromkeys(("PA", "RGBA", "RGBa"), "RGBA"),
}

#: Whole numbers of 16 bits up to here come from a camera or scanner with 12.
TWELVE_BITS = 4095


@dataclass(frozen=True)
class Picture:
    """A grey or colour picture.

    Attributes
    ----------
    top : int
        The number that stands for white: 255, 4095 or 65535. 0 for pictures of real numbers, which
        have no limits.
    alpha : NumPy array or None
        The transparency, shape (m, n). It is written back as it is, and so is the colour of what
        is fully transparent.
    under : NumPy array or None
        The numbers of the file where they are fully transparent and so count as missing.
    profile : bytes or None
        The colour profile.
    notes : tuple of str
        How it was read.
    """

    kind: ClassVar[str] = "picture"

    top: int = 255
    alpha: Array | None = None
    under: Array | None = None
    profile: bytes | None = None
    notes: tuple[str, ...] = ()
    colour: bool = False

    @property
    def limits(self) -> tuple[float, float] | None:
        """Return black and white."""
        return (0.0, 1.0) if self.top else None

    @property
    def suffix(self) -> str:
        """Return that of the format: PNG has no real numbers, and Pillow no deep colour in it."""
        deep = self.top > 255 and (self.colour or self.alpha is not None)
        return ".tif" if deep or not self.top else ".png"

    def numbers(self, values: Array, /) -> Array:
        """Return values as the whole numbers of the file, channels last, with transparency."""
        picture = channels_last(values)
        if not self.top:
            return picture.astype("float32")
        missing = numpy.isnan(picture)
        scaled = numpy.where(missing, 0, picture).clip(0.0, 1.0) * self.top
        pixels = scaled.round().astype("uint8" if self.top == 255 else "uint16")
        if self.alpha is None:
            return pixels
        if self.under is not None:
            pixels = numpy.where(missing, self.under, pixels)
        return numpy.dstack([pixels, self.alpha])

    def write(self, path: Path, values: Array, /) -> None:
        """Write a picture; whole numbers are clipped to their range."""
        save(path, self.numbers(values), self.profile)

    def write_difference(self, path: Path, values: Array, /) -> None:
        """Write the sizes of differences, opaque: black is none."""
        sizes = Picture(top=self.top, colour=self.colour)
        save(path, sizes.numbers(values if not self.top else abs(values)), None)

    def write_mask(self, path: Path, mask: Array, /) -> None:
        """Write a grey picture, white where any channel is marked."""
        marked = mask.any(axis=0) if mask.ndim == 3 else mask
        pixels = (marked * 255).astype("uint8")
        save(path, pixels, None)


def read(path: Path, /, *, dtype: str = "float32") -> Data:
    """Read a picture with one page.

    Raises
    ------
    UsageError
        If it cannot be read without loss, or has several pages.
    """
    values, form = load(path, dtype=dtype)
    return Data(checked(values, path), form)


def load(path: Path, /, *, dtype: str) -> tuple[Array, Picture]:
    """Return the values of a picture with one page, and its form."""
    with opened(path) as image:
        count = getattr(image, "n_frames", 1)
        if count > 1 and image.format != "MPO":
            msg = (
                f"{path}: has {count} pages or frames; say --frames to split them into background "
                "and foreground, or save one of them as a picture"
            )
            raise UsageError(msg)
        values, form = page(image, path, dtype=dtype)
        if count > 1:
            # Telephones put previews and the like behind the photograph.
            form = replace(form, notes=(*form.notes, f"the first of {count} pictures in it"))
    return values, form


@contextmanager
def opened(path: Path, /) -> Iterator[Any]:
    """Open a picture by Pillow, and say in one line what is wrong with it."""
    pillow = extras.require("PIL.Image", "demo")
    try:
        with warnings.catch_warnings():
            # Large pictures are what people bring, and a damaged tag is no reason to stop.
            warnings.simplefilter("ignore")
            with pillow.open(path) as image:
                yield image
    except (UsageError, extras.MissingExtra):
        raise
    except Exception as error:
        # Readers raise whatever their format brings (SyntaxError for a broken PNG); to the user
        # all of it means the same. The name of the file is in our message already.
        kind = "it is none that Pillow knows"
        known = not isinstance(error, pillow.UnidentifiedImageError)
        msg = f"{path}: cannot be read as a picture ({reason(error) if known else kind})"
        raise UsageError(msg) from error


def page(image: Any, path: Path, /, *, dtype: str) -> tuple[Array, Picture]:
    """Return the values of the page that an image shows, channels first, and its form."""
    _refuse_deep_png(image, path)
    profile = image.info.get("icc_profile")
    mode = image.mode
    notes: list[str] = []
    turned = extras.require("PIL.ImageOps", "demo").exif_transpose(image)
    if turned.size != image.size or image.getexif().get(0x0112, 1) != 1:
        notes.append("turned as its EXIF orientation says")
    bits = _bits(image)
    if bits > 8 and mode in (*COLOURS, "RGBA", "LA"):
        if profile or mode not in ("RGB", "RGBA", "LA"):
            profile = None
        pixels = _deep_tiff(image, path)
    else:
        pixels = _pixels(turned, mode, path)
    if mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        profile = None  # that of other colours
        notes.append(f"{mode} as RGB")
    return _split(pixels, bits, dtype, profile, tuple(notes))


def _pixels(image: Any, mode: str, path: Path) -> Array:
    """Return the numbers of a page, channels last."""
    plain = PLAIN.get(mode)
    if plain is not None:
        clear = plain == "RGB" and "transparency" in image.info
        pixels = numpy.asarray(image.convert("RGBA" if clear else plain))
        return _without_equal_channels(pixels) if mode in ("P", "PA") else pixels
    numbers = numpy.asarray(image)
    if mode.startswith("I;16") or (mode == "I" and numbers.min() >= 0 and numbers.max() <= 65535):
        return numbers.astype("uint16")
    if mode == "F":
        return numbers
    msg = f"{path}: pixels of the kind {mode!r} are not read; save it with 8 or 16 bits a channel"
    raise UsageError(msg)


def _without_equal_channels(pixels: Array) -> Array:
    """Return a palette of greys as grey."""
    colours = pixels[..., :3]
    if not (colours == colours[..., :1]).all():
        return pixels
    return pixels[..., 0] if pixels.shape[-1] == 3 else pixels[..., [0, 3]]


def _split(
    pixels: Array, bits: int, dtype: str, profile: bytes | None, notes: tuple[str, ...]
) -> tuple[Array, Picture]:
    if pixels.dtype.kind == "f":
        return channels_first(pixels).astype(dtype, order="C"), Picture(
            top=0, notes=(*notes, "real numbers"), colour=pixels.ndim == 3
        )
    alpha = None
    if pixels.ndim == 3 and pixels.shape[-1] in (2, 4):
        pixels, alpha = pixels[..., :-1], pixels[..., -1]
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    top = 255
    if pixels.dtype == "uint16":
        top = TWELVE_BITS if bits == 12 or 255 < pixels.max() <= TWELVE_BITS else 65535
        notes = (*notes, f"{12 if top == TWELVE_BITS else 16} bits")
    values = channels_first(pixels).astype(dtype, order="C")
    values /= values.dtype.type(top)
    under = None
    if alpha is not None and (alpha == 0).any():
        under = pixels
        values[..., alpha == 0] = numpy.nan
        notes = (*notes, "what is fully transparent is missing")
    return values, Picture(top, alpha, under, profile, notes, colour=pixels.ndim == 3)


def _bits(image: Any) -> int:
    """Return the bits of a number, where the format tells: 8 elsewhere."""
    tags = getattr(image, "tag_v2", None)
    bits = None if tags is None else tags.get(258)
    return max(bits) if isinstance(bits, tuple) else int(bits or 8)


def _deep_tiff(image: Any, path: Path) -> Array:
    """Read the page by a reader that keeps more than 8 bits a channel."""
    tifffile: ModuleType = extras.require("tifffile", "demo")
    pixels = tifffile.imread(path, key=image.tell())
    if pixels.dtype != "uint16" or pixels.ndim != 3 or pixels.shape[-1] not in (2, 3, 4):
        msg = f"{path}: {pixels.dtype} pixels of shape {pixels.shape} are not read"
        raise UsageError(msg)
    return numpy.asarray(pixels)


def _refuse_deep_png(image: Any, path: Path) -> None:
    """Refuse what Pillow would round to 8 bits in silence."""
    if image.format != "PNG":
        return
    with path.open("rb") as file:
        head = file.read(26)
    depth, colour = head[24], head[25]
    if depth == 16 and colour != 0:
        msg = (
            f"{path}: a PNG with 16 bits a channel is read where it is grey without alpha; "
            "save this one as TIFF"
        )
        raise UsageError(msg)


def channels_last(values: Array, /) -> Array:
    """Put the channels of a stack last; a plain matrix stays as it is."""
    return values if values.ndim == 2 else values.transpose(1, 2, 0)


def channels_first(pixels: Array, /) -> Array:
    """Undo `channels_last`."""
    return pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def save(path: Path, pixels: Array, profile: bytes | None, /) -> None:
    """Write numbers as PNG or TIFF, by the suffix of the path."""
    if path.suffix == ".tif":
        tifffile = extras.require("tifffile", "demo")
        colour = pixels.ndim == 3 and pixels.shape[-1] >= 3
        options: dict[str, Any] = {"photometric": "rgb" if colour else "minisblack"}
        if pixels.ndim == 3 and pixels.shape[-1] in (2, 4):
            options["extrasamples"] = ["unassalpha"]
            options["planarconfig"] = "contig"
        if profile:
            options["iccprofile"] = profile
        host.write_atomically(path, lambda file: tifffile.imwrite(file, pixels, **options))
        return
    pillow = extras.require("PIL.Image", "demo")
    image = pillow.fromarray(numpy.ascontiguousarray(pixels))
    options = {"icc_profile": profile} if profile else {}
    host.write_atomically(path, lambda file: image.save(file, **options))
