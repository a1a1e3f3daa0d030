"""The command line: what it writes, what it reports, and what a wrong input gets."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from specdesc import backends, cli, recover
from specdesc._lib.extras import MissingExtra
from specdesc.backends import loader
from specdesc.problems import corrupt
from specdesc.recover import Options, report
from specdesc.recover.arrays import ArrayForm
from specdesc.recover.data import Data
from specdesc.recover.pictures import Picture

skimage_io = pytest.importorskip("skimage.io", reason="pictures need the extra demo")
data = pytest.importorskip("skimage.data", reason="pictures need the extra demo")


@pytest.fixture(scope="module")
def brick():
    """Every second pixel of a photograph that comes with scikit-image, in [0, 1]."""
    return data.brick()[::2, ::2] / 255.0


@pytest.fixture
def picture(tmp_path, brick):
    path = tmp_path / "brick.png"
    skimage_io.imsave(path, (brick[:64, :48] * 255).astype("uint8"), check_contrast=False)
    return path


@pytest.fixture
def matrix(tmp_path, rng):
    path = tmp_path / "matrix.npy"
    values = rng.standard_normal((30, 2)) @ rng.standard_normal((2, 20))
    values[3, 4] = np.nan
    np.save(path, values)
    return path


def _run(tmp_path, *words):
    return cli.main(["recover", *map(str, words), "--out", str(tmp_path / "out")])


def _outcomes(path, tmp_path, **options):
    said = []
    found = recover.recover(Options(path=path, out=tmp_path / "out", **options), said.append)
    return {o.method: o for o in found}, "\n".join(said)


#: Two seeds in float32 on NumPy, and the first one in every other way; the rest is marked.
PHOTOGRAPHS = [
    pytest.param(
        backend,
        dtype,
        seed,
        marks=[pytest.mark.exhaustive] if seed > ((backend, dtype) == ("numpy", "float32")) else [],
    )
    for backend in ("numpy", "torch")
    for dtype in ("float32", "float64")
    for seed in range(5)
]


@pytest.mark.parametrize(("backend", "dtype", "seed"), PHOTOGRAPHS)
def test_a_destroyed_photograph_comes_back(brick, backend, dtype, seed):
    """Gains 12 dB over the destroyed picture and stays within 0.7 dB of pursuit, or above it."""
    from specdesc.recover import job, methods

    clean = Data(brick, Picture())
    options = Options(
        Path("brick.png"), share=0.2, noise=0.02, rank=30, seed=seed, dtype=dtype, steps=200
    )
    destroyed, _ = job._destroy(clean, options)
    task = job._task(destroyed, clean, options)
    problem = task.problem(backends.load(backend), destroyed.values, clean.values)
    ours = methods.descend("truncated", problem, 30, options.steps)
    pursuit = methods.pursuit(problem)
    before = report.psnr(destroyed.values, clean)
    after = report.psnr(ours.values, clean)
    assert 12.0 < before < 13.5
    assert after >= before + 12.0
    assert after >= report.psnr(pursuit.values, clean) - 0.7


def test_the_estimated_rank_recovers_almost_as_well_as_the_best(brick):
    from specdesc.problems import estimate_rank
    from specdesc.recover import job, methods

    clean = Data(brick, Picture())
    options = Options(Path("brick.png"), share=0.2, noise=0.02)
    destroyed, _ = job._destroy(clean, options)
    problem = job._task(destroyed, clean, options).problem(backends.load("numpy"), destroyed.values)
    at_estimate = methods.descend("truncated", problem, estimate_rank(problem), 200)
    at_best = methods.descend("truncated", problem, 30, 200)
    assert report.psnr(at_estimate.values, clean) > report.psnr(at_best.values, clean) - 1.5


def test_a_picture_gives_a_picture_and_one_figure(picture, tmp_path, capsys):
    words = ("--corrupt", 0.2, "--noise", 0.02, "--steps", 20, "--keep", "truncated")
    assert _run(tmp_path, picture, *words) == 0
    out = capsys.readouterr().out
    recovered = skimage_io.imread(tmp_path / "out" / "brick-recovered.png")
    assert recovered.shape == (64, 48)
    assert recovered.dtype == "uint8"
    sheet = skimage_io.imread(tmp_path / "out" / "brick-report.png")
    assert sheet.shape[0] > 500
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "brick-low-rank.png",
        "brick-mask.png",
        "brick-recovered.png",
        "brick-report.json",
        "brick-report.png",
        "brick-sparse.png",
    ]
    for method in (
        "truncated SVD",
        "principal component pursuit",
        "projected subgradient",
        "truncated spectral descent",
    ):
        assert re.search(rf"^{method} +numpy +cpu .* dB ", out, re.MULTILINE)
    assert len([line for line in out.splitlines() if line.endswith("  written")]) == 1
    assert "brick-report.png" in out


def test_the_row_of_what_is_written_is_marked(brick):
    clean = Data(brick, Picture())
    worse = recover.job.Outcome("ours", "numpy", "cpu", brick + 0.1, 1.0)
    better = recover.job.Outcome("baseline", "numpy", "cpu", brick + 0.01, 1.0)
    text = report.table([better, worse], clean.like(brick + 0.2), clean, written=[0])
    marked = [line for line in text.splitlines() if line.endswith("best")]
    assert len(marked) == 1
    assert marked[0].startswith("baseline")
    assert "40.00 dB" in marked[0]
    assert "13.98 dB" in marked[0]


def test_a_picture_that_was_not_destroyed_on_purpose_has_no_error_to_report(picture, tmp_path):
    outcomes, said = _outcomes(picture, tmp_path, steps=10)
    assert "PSNR" not in said
    assert "rank" in said  # estimated
    assert set(outcomes) == {
        "median filter",
        "truncated SVD",
        "principal component pursuit",
        "projected subgradient",
        "truncated spectral descent",
    }


def test_colour_is_recovered_a_channel_a_matrix(tmp_path):
    path = tmp_path / "colour.png"
    skimage_io.imsave(path, data.astronaut()[::8, ::8], check_contrast=False)
    outcomes, _ = _outcomes(path, tmp_path, steps=10, share=0.1, rank=5, keep="truncated")
    ours = outcomes["truncated spectral descent"].values
    assert ours.shape == (3, 64, 64)
    assert all(np.linalg.matrix_rank(channel, rtol=1e-4) == 5 for channel in ours)
    assert skimage_io.imread(tmp_path / "out" / "colour-recovered.png").shape == (64, 64, 3)


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_a_matrix_gives_a_matrix_and_missing_entries_are_filled(matrix, tmp_path, suffix):
    values = np.load(matrix)
    path = tmp_path / f"measured{suffix}"
    if suffix == ".csv":
        text = "\n".join(
            ",".join("" if np.isnan(v) else repr(float(v)) for v in row) for row in values
        )
        path.write_text(text)
    else:
        np.save(path, values)
    assert _run(tmp_path, path, "--rank", 2, "--steps", 300) == 0
    written = tmp_path / "out" / f"measured-recovered{suffix}"
    found = np.load(written) if suffix == ".npy" else np.loadtxt(written, delimiter=",")
    assert found.shape == values.shape
    assert found.dtype == values.dtype
    known = ~np.isnan(values)
    assert np.isfinite(found).all()
    assert np.linalg.norm((found - values)[known]) <= 1e-2 * np.linalg.norm(values[known])


def test_a_complex_matrix_is_recovered_as_it_is(tmp_path, rng):
    low = rng.standard_normal((20, 2)) @ (
        rng.standard_normal((2, 15)) + 1j * rng.standard_normal((2, 15))
    )
    path = tmp_path / "z.npy"
    np.save(path, low.astype("complex64"))
    outcomes, _ = _outcomes(path, tmp_path, rank=2, steps=200)
    ours = outcomes["truncated spectral descent"].values
    assert ours.dtype == np.complex64
    assert np.linalg.norm(ours - low) <= 1e-2 * np.linalg.norm(low)


@pytest.mark.parametrize("method", ["spectral", "subgradient"])
def test_other_methods_run_and_no_row_comes_twice(picture, tmp_path, method):
    outcomes, said = _outcomes(picture, tmp_path, method=method, steps=10, share=0.1, rank=4)
    assert said.count("projected subgradient") == 1
    assert len(outcomes) == (5 if method == "spectral" else 4)


def test_all_takes_every_library_that_can(matrix, tmp_path):
    _, said = _outcomes(matrix, tmp_path, backends=("all",), rank=2, steps=5, dtype="float32")
    able = [
        name
        for name in backends.available()
        if "problems.estimate_rank" not in backends.load(name).capabilities.unsupported
    ]
    for name in able:
        assert re.search(rf"^truncated spectral descent +{name} ", said, re.MULTILINE)


def test_one_seed_gives_the_same_bytes(picture, tmp_path):
    written = []
    for folder in ("a", "b"):
        words = ["recover", str(picture), "--corrupt", "0.2", "--steps", "15", "--seed", "7"]
        assert cli.main([*words, "--out", str(tmp_path / folder)]) == 0
        written.append((tmp_path / folder / "brick-recovered.png").read_bytes())
    assert written[0] == written[1]
    cli.main(
        [
            "recover",
            str(picture),
            "--corrupt",
            "0.2",
            "--steps",
            "15",
            "--seed",
            "8",
            "--out",
            str(tmp_path / "c"),
        ]
    )
    assert (tmp_path / "c" / "brick-recovered.png").read_bytes() != written[0]


def _wrong_inputs(tmp_path, picture, matrix):
    text = tmp_path / "text.png"
    text.write_text("this is not a picture")
    empty = tmp_path / "nan.npy"
    np.save(empty, np.full((4, 5), np.nan))
    words = tmp_path / "words.csv"
    words.write_text("1,2\n3,four\n")
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("1,2\n3\n")
    infinite = tmp_path / "inf.npy"
    np.save(infinite, np.array([[1.0, np.inf]]))
    vector = tmp_path / "vector.npy"
    np.save(vector, np.ones(5))
    pickled = tmp_path / "pickled.npy"
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    complex_data = tmp_path / "complex.npy"
    np.save(complex_data, np.ones((3, 3), dtype=complex))
    return {
        "missing file": ([tmp_path / "nowhere.png"], "no such file"),
        "folder": ([tmp_path], "is a folder; say --frames"),
        "text as picture": ([text], "cannot be read as a picture"),
        "all NaN": ([empty], "every entry is missing"),
        "words in a csv": ([words], "line 2, column 2: 'four' is not a number"),
        "ragged csv": ([ragged], "line 2 has 1 fields, the others 2"),
        "infinite": ([infinite], "infinite"),
        "vector": ([vector], "expected a matrix"),
        "pickle": ([pickled], "cannot be read as a matrix"),
        "complex to destroy": ([complex_data, "--noise", "0.1"], "real data"),
        "rank 0": ([matrix, "--rank", "0"], "--rank must be from 1 to 20 .* got 0"),
        "rank too large": ([matrix, "--rank", "21"], "from 1 to 20 .* got 21"),
        "share 1": ([picture, "--corrupt", "1"], r"--corrupt: must lie in \[0, 1\), got 1"),
        "share below 0": ([picture, "--corrupt", "-0.1"], r"\[0, 1\), got -0.1"),
        "share nan": ([picture, "--corrupt", "nan"], r"\[0, 1\), got nan"),
        "share no number": ([picture, "--corrupt", "much"], "must be a number, got 'much'"),
        "noise below 0": ([picture, "--noise", "-1"], "at least 0, got -1"),
        "steps 0": ([picture, "--steps", "0"], "at least 1, got 0"),
        "unknown backend": ([picture, "--backend", "nympy"], "unknown backend 'nympy'"),
        "unknown method": ([picture, "--method", "magic"], "invalid choice: 'magic'"),
        "unknown device": ([picture, "--device", "cuda:7"], "'cuda:7'"),
    }


WRONG = (
    "missing file",
    "folder",
    "text as picture",
    "all NaN",
    "words in a csv",
    "ragged csv",
    "infinite",
    "vector",
    "pickle",
    "complex to destroy",
    "rank 0",
    "rank too large",
    "share 1",
    "share below 0",
    "share nan",
    "share no number",
    "noise below 0",
    "steps 0",
    "unknown backend",
    "unknown method",
    "unknown device",
)


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_one_line_and_exit_code_2(case, tmp_path, picture, matrix, capsys):
    cases = _wrong_inputs(tmp_path, picture, matrix)
    assert set(cases) == set(WRONG)
    words, message = cases[case]
    out = tmp_path / "out"
    out.mkdir()
    kept = {}
    for name in ("brick-recovered.png", "matrix-recovered.npy"):
        (out / name).write_text("an older result")
        kept[name] = (out / name).stat().st_mtime_ns
    try:
        code = _run(tmp_path, *words)
    except SystemExit as stop:  # argparse ends so
        code = stop.code
    assert code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept
    assert len(list(out.iterdir())) == 2


def test_a_backend_that_is_not_installed_is_one_line(picture, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loader, "find_spec", lambda name: None)
    backends.load.cache_clear()
    assert _run(tmp_path, picture, "--backend", "cupy") == 2
    error = capsys.readouterr().err
    backends.load.cache_clear()
    assert error == (
        "specdesc: error: backend 'cupy' needs the library 'cupy': pip install 'specdesc[cupy]'\n"
    )


def test_a_missing_extra_is_one_line_that_names_it(picture, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert _run(tmp_path, picture) == 2
    assert capsys.readouterr().err == (
        "specdesc: error: this needs PIL: pip install 'specdesc[demo]'\n"
    )
    from specdesc._lib import extras

    with pytest.raises(MissingExtra, match=r"specdesc\[torch\]"):
        extras.require("no_such_module", "torch")


def test_an_interrupted_write_leaves_the_older_file(tmp_path):
    from specdesc._lib import host

    path = tmp_path / "result.npy"
    path.write_text("older")

    def fail(_):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        host.write_atomically(path, fail)
    assert path.read_text() == "older"
    assert [p.name for p in tmp_path.iterdir()] == ["result.npy"]


def test_info_tells_of_every_leaf(capsys):
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    for name in backends.registered():
        assert re.search(rf"^{name}\b", out, re.MULTILINE)
    for name in backends.available():
        assert f"dtypes: {', '.join(backends.load(name).capabilities.dtypes)}" in out


def test_psnr_and_relative_error_are_what_they_say(rng):
    clean = Data(rng.random((20, 30)), Picture())
    noisy = clean.values + 0.1
    assert report.psnr(noisy, clean) == pytest.approx(20.0, abs=1e-9)
    expected = 0.1 * 600**0.5 / np.linalg.norm(clean.values)
    assert report.relative_error(noisy, clean) == pytest.approx(expected)
    holed = Data(clean.values.copy(), ArrayForm(".npy", "", "float64"))
    holed.values[0, 0] = np.nan
    spread = np.nanmax(holed.values) - np.nanmin(holed.values)
    assert report.psnr(noisy, holed) == pytest.approx(20 * np.log10(spread / 0.1))


def test_corruption_on_the_command_line_is_that_of_the_library(picture, tmp_path):
    clean = skimage_io.imread(picture) / 255.0
    expected = corrupt(clean, share=0.2, noise=0.02, seed=5, limits=(0.0, 1.0))
    outcomes, _ = _outcomes(
        picture,
        tmp_path,
        share=0.2,
        noise=0.02,
        seed=5,
        rank=48,
        steps=1,
        dtype="float64",
        keep="svd",  # what is written is fitted to all entries
    )
    np.testing.assert_allclose(outcomes["truncated SVD"].values, expected, atol=1e-12)
