"""Pictures of every kind are read as what they show or refused, and come back as they were."""

import struct
import zlib

import numpy as np
import pytest

from specdesc.recover import pictures, reading
from specdesc.recover.errors import UsageError

Image = pytest.importorskip("PIL.Image", reason="pictures need the extra demo")
ImageOps = pytest.importorskip("PIL.ImageOps", reason="pictures need the extra demo")
tifffile = pytest.importorskip("tifffile", reason="pictures need the extra demo")

Y, X = np.linspace(0, 1, 24)[:, None], np.linspace(0, 1, 32)[None, :]
COLOUR = np.dstack([0.2 + 0.7 * Y + 0 * X, 0.1 + 0.8 * X + 0 * Y, 0.9 - 0.5 * Y * X])
BYTES = (COLOUR * 255).round().astype("uint8")
GREY = BYTES[..., 0]
ALPHA = np.full((24, 32), 200, "uint8")
ALPHA[:5, 3:] = 0


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def _written(data, tmp_path):
    path = tmp_path / f"back{data.form.suffix}"
    data.form.write(path, data.values)
    return path


@pytest.mark.parametrize(
    ("mode", "suffix", "shape", "loss"),
    [
        ("L", ".png", (24, 32), 0),
        ("L", ".jpg", (24, 32), 8),
        ("L", ".tif", (24, 32), 0),
        ("L", ".gif", (24, 32), 0),
        ("RGB", ".png", (3, 24, 32), 0),
        ("RGB", ".bmp", (3, 24, 32), 0),
        ("RGB", ".ppm", (3, 24, 32), 0),
        ("RGB", ".jpg", (3, 24, 32), 12),
        ("CMYK", ".jpg", (3, 24, 32), 12),
        ("CMYK", ".tif", (3, 24, 32), 2),
        ("YCbCr", ".tif", (3, 24, 32), 12),
        ("P", ".png", (3, 24, 32), 0),
        ("P", ".gif", (3, 24, 32), 0),
        ("I;16", ".png", (24, 32), 0),
        ("I;16", ".tif", (24, 32), 0),
        ("I", ".tif", (24, 32), 0),
    ],
)
def test_the_colours_of_a_mode_are_kept(tmp_path, mode, suffix, shape, loss):
    path = tmp_path / f"p{suffix}"
    if mode in ("I;16", "I"):
        wide = GREY.astype("uint16" if mode == "I;16" else "int32")
        Image.fromarray(wide * 257).save(path)
    elif mode == "L":
        Image.fromarray(GREY).save(path)
    else:
        Image.fromarray(BYTES).convert(mode).save(path)
    data = pictures.read(path)
    assert data.values.shape == shape
    assert data.kind == "picture"
    expected = (GREY if len(shape) == 2 else BYTES.transpose(2, 0, 1)) / 255.0
    if mode == "P":  # the file itself has few colours
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1) / 255.0
    assert np.abs(data.values - expected).max() <= (loss + 0.01) / 255
    again = pictures.read(_written(data, tmp_path))
    np.testing.assert_array_equal(again.values, data.values)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("colour", [False, True])
def test_deep_pictures_stay_deep(tmp_path, bits, suffix, colour):
    top = 2**bits - 1
    numbers = ((COLOUR if colour else COLOUR[..., 0]) * top).round().astype("uint16")
    path = tmp_path / f"deep{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, numbers, photometric="rgb" if colour else "minisblack")
    elif not colour:
        Image.fromarray(numbers).save(path)
    else:
        _write_deep_png(path, numbers)
        with pytest.raises(UsageError, match=r"16 bits a channel .* save this one as TIFF"):
            pictures.read(path)
        return
    data = pictures.read(path)
    values = numbers.transpose(2, 0, 1) if colour else numbers
    np.testing.assert_allclose(data.values, values / top, rtol=1e-6)
    assert f"{bits} bits" in data.form.notes
    back = tifffile.imread(_written(data, tmp_path)) if colour else None
    if back is None:
        back = _pixels(_written(data, tmp_path))
    np.testing.assert_array_equal(back, numbers)


def _write_deep_png(path, numbers):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in numbers)
    head = struct.pack(">IIBBBBB", numbers.shape[1], numbers.shape[0], 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_alpha_is_kept_and_what_is_transparent_is_missing(tmp_path, mode):
    colour = GREY[..., None] if mode == "LA" else BYTES
    image = Image.fromarray(np.dstack([colour, ALPHA]))
    if mode == "P":
        image = image.quantize(64)
    path = tmp_path / "a.png"
    image.save(path)
    pixels = np.asarray(image.convert("LA" if mode == "LA" else "RGBA"))
    data = pictures.read(path)
    assert data.values.shape == ((24, 32) if mode == "LA" else (3, 24, 32))
    missing = np.isnan(data.values) if mode == "LA" else np.isnan(data.values).all(0)
    np.testing.assert_array_equal(missing, pixels[..., -1] == 0)
    # Fitted values under full transparency do not matter to anybody; the file's come back.
    np.testing.assert_array_equal(_pixels(_written(data, tmp_path)), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_the_camera_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    Image.fromarray(BYTES).save(path, exif=exif, quality=95)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    data = pictures.read(path)
    np.testing.assert_allclose(data.values.transpose(1, 2, 0) * 255, expected, atol=1e-3)
    assert pictures.read(_written(data, tmp_path)).values.shape == data.values.shape


@pytest.mark.parametrize("shape", [(24, 32), (24, 32, 3)])
def test_pictures_of_real_numbers_keep_their_sign(tmp_path, shape):
    numbers = BYTES.astype("float32") - 100 if len(shape) == 3 else GREY.astype("float32") - 100
    path = tmp_path / "real.tif"
    tifffile.imwrite(path, numbers, photometric="rgb" if len(shape) == 3 else "minisblack")
    if len(shape) == 3:
        with pytest.raises(UsageError, match="cannot be read as a picture"):
            pictures.read(path)
        return
    data = pictures.read(path)
    np.testing.assert_array_equal(data.values, numbers)
    np.testing.assert_array_equal(tifffile.imread(_written(data, tmp_path)), numbers)
    assert data.limits == (numbers.min(), numbers.max())


@pytest.mark.parametrize("suffix", [".tif", ".gif", ".webp", ".png"])
def test_several_pages_are_named_and_refused(tmp_path, suffix):
    pages = [Image.fromarray(np.roll(BYTES, 5 * i, 1)) for i in range(5)]
    path = tmp_path / f"pages{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with pytest.raises(UsageError, match="has 5 pages or frames; say --frames"):
        pictures.read(path)


def test_the_photograph_before_what_a_telephone_saves_behind_it_is_read(tmp_path):
    path = tmp_path / "phone.jpg"
    Image.fromarray(BYTES).save(
        path, format="MPO", save_all=True, append_images=[Image.fromarray(BYTES[:8, :8])]
    )
    data = pictures.read(path)
    assert data.values.shape == (3, 24, 32)
    assert "the first of 2 pictures in it" in data.form.notes


def test_pages_of_one_bit(tmp_path):
    path = tmp_path / "fax.png"
    Image.fromarray(GREY > 110).convert("1").save(path)
    data = pictures.read(path)
    np.testing.assert_array_equal(data.values, GREY > 110)


@pytest.mark.parametrize("suffix", [".parquet", ".xlsx", ".mp4", ".h5", ".xyz", ""])
def test_other_kinds_are_refused_by_what_is_read(tmp_path, suffix):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(b"\x00\x01nothing that is known")
    with pytest.raises(UsageError, match=r"\.npy.*\.csv") as error:
        reading.read(path)
    assert "BytesIO" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cut", [20, 60, -60])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".gif"])
def test_damaged_files_are_one_line(tmp_path, suffix, cut):
    path = tmp_path / f"whole{suffix}"
    Image.fromarray(BYTES).save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UsageError) as error:
        reading.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
