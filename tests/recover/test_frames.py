"""Frames of one scene: one matrix, and a background of the rank that its light has."""

import numpy as np
import pytest

from specdesc.problems import RobustRecovery
from specdesc.recover import Options, frames, ranks, recover
from specdesc.recover.errors import UsageError

Image = pytest.importorskip("PIL.Image", reason="pictures need the extra demo")


def _scene(count=30, h=20, w=28, noise=0.01, light="brighter", seed=0):
    """Return frames, the background alone, and where the sprite is."""
    rng = np.random.default_rng(seed)
    still = 0.3 + 0.4 * rng.random((h, 1)) * rng.random((1, w))
    lamp = rng.random((h, w))
    film, moving = np.empty((count, h, w)), np.zeros((count, h, w), bool)
    for i in range(count):
        wave = np.sin(i / 9)
        film[i] = {
            "steady": still,
            "brighter": still * (1 + 0.15 * wave),
            "lamp": still + 0.15 * lamp * wave,
        }[light]
        left = int(2 + (w - 8) * i / count)
        moving[i, 8:13, left : left + 4] = True
    truth = film.copy()
    film[moving] = 0.95
    return np.clip(film + noise * rng.standard_normal(film.shape), 0, 1), truth, moving


def _f1(found, moving):
    return 2 * (found & moving).sum() / (found.sum() + moving.sum())


@pytest.mark.parametrize(("light", "rank"), [("steady", 1), ("brighter", 1), ("lamp", 2)])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_rank_of_a_background_is_that_of_its_light(light, rank, noise):
    film, _, _ = _scene(light=light, noise=noise)
    rows = film.reshape(len(film), -1)
    assert ranks.of_background(rows, RobustRecovery.from_entries, 0) == rank


def _save(film, kind, tmp_path):
    if kind in (".npy", ".npz", ".mat"):
        path = tmp_path / f"clip{kind}"
        if kind == ".npy":
            np.save(path, film)
        elif kind == ".npz":
            np.savez(path, film=film)
        else:
            from scipy.io import savemat

            savemat(path, {"film": film})
        return path
    pages = [Image.fromarray((frame * 255).round().astype("uint8")) for frame in film]
    if kind == "folder":
        path = tmp_path / "clip"
        path.mkdir()
        for i, page in enumerate(pages):
            page.save(path / f"frame{i}.png")
        (path / "notes.txt").write_text("not a picture")
        return path
    path = tmp_path / f"clip{kind}"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def _load(path, kind):
    if kind == ".npy":
        return np.load(path)
    if kind == ".npz":
        return np.load(path)["film"]
    if kind == ".mat":
        from scipy.io import loadmat

        return loadmat(path)["film"]
    if kind == "folder":
        count = len(list(path.iterdir()))
        return (
            np.stack([np.asarray(Image.open(path / f"frame{i}.png")) for i in range(count)]) / 255
        )
    pages = []
    with Image.open(path) as image:
        for i in range(image.n_frames):
            image.seek(i)
            pages.append(np.asarray(image.convert("L")))
    return np.stack(pages) / 255


@pytest.mark.parametrize("kind", [".npy", ".npz", ".mat", "folder", ".gif", ".tif"])
def test_background_and_foreground_come_as_the_frames_did(tmp_path, kind):
    film, truth, moving = _scene()
    path = _save(film, kind, tmp_path)
    out = tmp_path / "out"
    quick = {} if kind == ".npy" else {"rank": 1, "only": True, "steps": 100}
    recover(Options(path, out=out, frames=True, **quick), lambda _: None)
    end = "" if kind == "folder" else kind
    background = _load(out / f"clip-background{end}", kind)
    foreground = _load(out / f"clip-foreground{end}", kind)
    assert background.shape == foreground.shape == film.shape
    assert _f1(np.abs(film - background) > 0.15, moving) > 0.99
    assert _f1(np.abs(foreground) > 0.15, moving) > 0.99
    assert np.abs(background - truth).max() < 0.05
    if kind == ".npy":
        assert _f1(np.load(out / "clip-mask.npy"), moving) > 0.99
        np.testing.assert_allclose(background + foreground, film, atol=1e-12)


def test_frames_in_colour(tmp_path):
    film, _, moving = _scene()
    colour = np.stack([film, 0.5 * film, 1 - film], axis=-1)
    np.save(tmp_path / "c.npy", colour)
    options = Options(tmp_path / "c.npy", out=tmp_path, frames=True, only=True, rank=2, steps=100)
    recover(options, lambda _: None)
    background = np.load(tmp_path / "c-background.npy")
    assert background.shape == colour.shape
    assert _f1((np.abs(colour - background) > 0.15).any(-1), moving) > 0.99


def test_files_are_in_the_order_that_people_count_in(tmp_path):
    for i in (10, 9, 100, 1):
        Image.fromarray(np.full((4, 5), i, "uint8")).save(tmp_path / f"f{i}.png")
    data = frames.read(tmp_path)
    np.testing.assert_allclose(data.values[:, 0] * 255, [1, 9, 10, 100], rtol=1e-5)


@pytest.mark.parametrize(
    "what", ["one file", "two sizes", "a matrix", "an empty folder", "one page"]
)
def test_what_is_no_film_is_one_line(tmp_path, what):
    path = tmp_path / "in"
    path.mkdir()
    if what == "one file" or what == "two sizes":
        Image.fromarray(np.zeros((4, 5), "uint8")).save(path / "a.png")
    if what == "two sizes":
        Image.fromarray(np.zeros((5, 5), "uint8")).save(path / "b.png")
    if what == "a matrix":
        path = tmp_path / "m.npy"
        np.save(path, np.ones((4, 5)))
    if what == "one page":
        path = tmp_path / "a.png"
        Image.fromarray(np.zeros((4, 5), "uint8")).save(path)
    with pytest.raises(UsageError) as error:
        frames.read(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
