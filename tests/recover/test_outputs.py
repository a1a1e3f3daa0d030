"""What the command writes, chooses and refuses: options, names, interruptions."""

import json
import subprocess
import sys

import numpy as np
import pytest

from specdesc import cli
from specdesc.recover import (
    Options,
    centring,
    held_out,
    methods,
    names,
    outliers,
    outputs,
    reading,
    recover,
)
from specdesc.recover.arrays import ArrayForm
from specdesc.recover.data import Data
from specdesc.recover.errors import Interrupted, UsageError
from specdesc.recover.tables import Reading

FORM = ArrayForm(".npy", "", "float64")


@pytest.fixture(autouse=True)
def no_figure(monkeypatch):
    """Drawing takes longer than all the rest here."""
    monkeypatch.setattr(outputs, "_write_figure", lambda *_: None)


def _low(m=40, n=30, rank=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))


def _hit(truth, share=0.05, size=10.0, seed=1):
    rng = np.random.default_rng(seed)
    hit = rng.random(truth.shape) < share
    return truth + size * hit * rng.choice([-1.0, 1.0], truth.shape), hit


def _job(path, tmp_path, **options):
    said = []
    options = {"out": tmp_path / "out", "steps": 150, **options}
    found = recover(Options(path, **options), said.append)
    report = json.loads((options["out"] / f"{path.stem}-report.json").read_text())
    return found, "\n".join(said), report


def _csv(path, values, names=None):
    rows = [",".join("" if np.isnan(v) else repr(float(v)) for v in row) for row in values]
    path.write_text("\n".join([*([",".join(names)] if names else []), *rows]) + "\n")
    return path


def _numbers(path, skip=0):
    return np.genfromtxt(path, delimiter=",", skip_header=skip)


# --- what is written -----------------------------------------------------------------------------


def test_the_parts_add_up_and_the_outliers_are_listed(tmp_path):
    truth = _low()
    data, hit = _hit(truth)
    names_ = [f"c{j}" for j in range(30)]
    path = _csv(tmp_path / "t.csv", data, names_)
    _, _, report = _job(path, tmp_path)
    out = tmp_path / "out"
    low, sparse = (_numbers(out / f"t-{part}.csv", 1) for part in ("low-rank", "sparse"))
    np.testing.assert_allclose(low + sparse, data, atol=1e-12)
    np.testing.assert_allclose(low, truth, atol=0.05)
    np.testing.assert_array_equal(_numbers(out / "t-mask.csv", 1) > 0, hit)
    listed = (out / "t-outliers.csv").read_text().splitlines()
    assert listed[0] == "row,column,value,expected"
    found = np.zeros_like(hit)
    for line in listed[1:]:
        row, column, value, expected = line.split(",")
        i, j = int(row) - 1, names_.index(column)
        found[i, j] = True
        assert float(value) == data[i, j]
        assert float(expected) == pytest.approx(truth[i, j], abs=0.05)
    np.testing.assert_array_equal(found, hit)
    assert report["outliers"] == hit.sum()
    assert report["rank"] == 2
    assert report["iterations"] == 150
    assert report["seed"] == 0
    assert set(report["versions"]) == {"specdesc", "numpy"}
    assert report["methods"][0]["held_out_error"] > 0
    assert {"t-low-rank.csv", "t-mask.csv"} <= set(report["files"].values())
    assert {file.name for file in out.iterdir()} - {"t-report.json"} == set(
        report["files"].values()
    )


@pytest.mark.parametrize("what", [None, "missing", "outliers", "all"])
@pytest.mark.parametrize("suffix", [".csv", ".npy"])
def test_only_what_was_asked_for_is_replaced(tmp_path, what, suffix):
    truth = _low()
    data, hit = _hit(truth)
    data[3, 4] = data[10, 11] = np.nan
    path = tmp_path / f"t{suffix}"
    np.save(path, data) if suffix == ".npy" else _csv(path, data)
    _, _, report = _job(path, tmp_path, replace=what)
    written = tmp_path / "out" / f"t-recovered{suffix}"
    found = np.load(written) if suffix == ".npy" else _numbers(written)
    expected = what or ("missing" if suffix == ".csv" else "all")
    assert report["replaced"] == expected
    kept = {"missing": ~np.isnan(data), "outliers": ~np.isnan(data) & ~hit, "all": hit & False}
    changed = found != data
    np.testing.assert_array_equal(changed, ~kept[expected])
    np.testing.assert_allclose(found[changed], truth[changed], atol=0.05)


def test_a_whole_table_is_replaced_where_nothing_is_missing(tmp_path):
    data, _ = _hit(_low())
    assert _job(_csv(tmp_path / "t.csv", data), tmp_path)[2]["replaced"] == "all"


@pytest.mark.parametrize("suffix", [".csv", ".npy"])
def test_what_nothing_is_known_of_stays_missing(tmp_path, suffix):
    truth = _low()
    data = truth.copy()
    data[5] = data[:, 7] = data[:, 8] = np.nan
    path = tmp_path / f"t{suffix}"
    np.save(path, data) if suffix == ".npy" else _csv(path, data, [f"c{j}" for j in range(30)])
    _, said, _ = _job(path, tmp_path, replace="all")
    assert "nothing is known of 1 rows and 2 columns" in said
    for part in ("recovered", "low-rank"):
        written = tmp_path / "out" / f"t-{part}{suffix}"
        found = np.load(written) if suffix == ".npy" else _numbers(written, 1)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(data))
        np.testing.assert_allclose(found[~np.isnan(data)], truth[~np.isnan(data)], atol=0.05)


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_archives_come_back_under_their_name(tmp_path, suffix):
    scipy_io = pytest.importorskip("scipy.io")
    truth = _low()
    path = tmp_path / f"a{suffix}"
    np.savez(path, D=truth) if suffix == ".npz" else scipy_io.savemat(path, {"D": truth})
    _job(path, tmp_path, only=True)
    written = tmp_path / "out" / f"a-recovered{suffix}"
    found = np.load(written)["D"] if suffix == ".npz" else scipy_io.loadmat(written)["D"]
    np.testing.assert_allclose(found, truth, atol=0.05)


def test_an_archive_of_several_matrices_is_refused_by_their_names(tmp_path):
    np.savez(tmp_path / "two.npz", first=_low(), second=_low())
    with pytest.raises(UsageError, match=r"one matrix alone .* first \(40, 30\), second"):
        reading.read(tmp_path / "two.npz")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16", "bool"])
def test_the_dtype_of_an_array_comes_back(tmp_path, dtype):
    np.save(tmp_path / "a.npy", (3 * _low()).astype(dtype))
    _job(tmp_path / "a.npy", tmp_path, steps=20, rank=2)
    found = np.load(tmp_path / "out" / "a-recovered.npy")
    assert found.dtype == (dtype if dtype.startswith("float") else "float64")
    assert np.isfinite(found).all()


def test_longdouble_and_words_are_refused(tmp_path):
    for name, values in (("l", np.ones((3, 4), "longdouble")), ("w", np.array([["a", "b"]]))):
        np.save(tmp_path / f"{name}.npy", values)
        with pytest.raises(UsageError, match=r"save them as float64|expected a matrix of numbers"):
            reading.read(tmp_path / f"{name}.npy")


# --- whose result it is --------------------------------------------------------------------------


def _row(said, mark):
    (row,) = [line for line in said.splitlines() if line.endswith(f"  {mark}")]
    return row


@pytest.mark.parametrize("seed", range(3))
def test_the_best_on_held_out_entries_is_written(tmp_path, seed):
    data, _ = _hit(_low(seed=seed), seed=seed)
    np.save(tmp_path / "a.npy", data)
    found, said, report = _job(tmp_path / "a.npy", tmp_path, seed=seed)
    errors = [outcome.held_out for outcome in found]
    best = next(o for o in found if _row(said, "best").startswith(o.method))
    assert report["written"] == best.method
    assert best.held_out <= 1.5 * min(errors)
    written = np.load(tmp_path / "out" / "a-recovered.npy")
    np.testing.assert_array_equal(written, best.values)


@pytest.mark.parametrize("key", ["svd", "pursuit", "subgradient", "truncated"])
def test_a_method_that_is_named_is_written(tmp_path, key):
    np.save(tmp_path / "a.npy", _hit(_low())[0])
    found, said, _ = _job(tmp_path / "a.npy", tmp_path, keep=key)
    assert _row(said, "written").startswith(methods.NAMES[key])
    written = np.load(tmp_path / "out" / "a-recovered.npy")
    (chosen,) = [outcome for outcome in found if outcome.key == key]
    np.testing.assert_array_equal(written, chosen.values)


def test_all_are_written(tmp_path):
    np.save(tmp_path / "a.npy", _hit(_low())[0])
    _job(tmp_path / "a.npy", tmp_path, keep="all")
    ends = {path.name for path in (tmp_path / "out").glob("a-recovered*")}
    assert len(ends) == 4
    assert "a-recovered-svd.npy" in ends


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--keep", "pursuit", "--only"], "does not run"),
        (["--keep", "spectral"], "does not run"),
        (["--keep", "magic"], "invalid choice"),
        (["--replace", "some"], "invalid choice"),
        (["--centre", "left"], "invalid choice"),
        (["--seed", "-1"], "at least 0, got -1"),
        (["--seed", "1.5"], "at least 0, got 1.5"),
        (["--missing", "gone"], "holds numbers alone"),
        (["--device", "cuda:7", "--backend", "torch"], "torch cannot hold the data"),
        (["--device", "gpu"], "'gpu'"),
    ],
)
def test_wrong_words_are_one_line(tmp_path, capsys, words, message):
    np.save(tmp_path / "a.npy", _low())
    if "torch" in words:
        pytest.importorskip("torch")
    try:
        code = cli.main(["recover", str(tmp_path / "a.npy"), "--out", str(tmp_path / "o"), *words])
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize("values", [np.zeros((4, 5)), np.full((4, 5), 7.0)])
def test_constant_data_are_recovered_and_cannot_be_destroyed(tmp_path, values):
    np.save(tmp_path / "k.npy", values)
    _job(tmp_path / "k.npy", tmp_path, steps=5)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "k-recovered.npy"), values, atol=1e-6)
    with pytest.raises(UsageError, match="need data that vary"):
        _job(tmp_path / "k.npy", tmp_path, share=0.1)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1), (2, 2), (3, 4, 5)])
def test_small_shapes(tmp_path, shape):
    values = np.random.default_rng(0).standard_normal(shape)
    np.save(tmp_path / "s.npy", values)
    found, _, _ = _job(tmp_path / "s.npy", tmp_path, steps=5)
    assert np.load(tmp_path / "out" / "s-recovered.npy").shape == shape
    assert len(found) == 4


# --- units, held-out entries, outliers -----------------------------------------------------------


@pytest.mark.parametrize("way", centring.WAYS)
def test_a_centre_is_undone(way, rng):
    values = rng.standard_normal((9, 7)) * 10.0 ** np.arange(7) + 5
    values[2, 3] = np.nan
    centre = centring.find(Data(values, FORM), way)
    assert centre.way == way
    np.testing.assert_allclose(centre.undo(centre.apply(values)), values, rtol=1e-12)
    if way in ("columns", "rows"):
        axis = 0 if way == "columns" else 1
        centred = centre.apply(values)
        np.testing.assert_allclose(np.nanmedian(centred, axis), 0, atol=1e-12)
        np.testing.assert_allclose(1.4826 * np.nanmedian(abs(centred), axis), 1, rtol=1e-12)


def test_columns_in_different_units_are_scaled_and_others_are_not(rng):
    values = rng.standard_normal((50, 4))
    assert centring.find(Data(values, FORM), None).way == "none"
    assert centring.find(Data(values * [1, 10, 1000, 1], FORM), None).way == "columns"
    assert centring.find(Data(_low(100, 60, 3), FORM), None).way == "none"


@pytest.mark.slow
def test_a_real_table_in_different_units_is_recovered_as_by_hand(tmp_path):
    """Within 1.3 times of the better of pursuit and the best rank, with no flags."""
    datasets = pytest.importorskip("sklearn.datasets")
    truth = datasets.load_breast_cancer().data
    data, _ = _hit(truth / truth.std(0), size=10.0)
    data *= truth.std(0)
    path = _csv(tmp_path / "t.csv", data)
    _job(path, tmp_path, steps=300)

    def error(values):
        return np.linalg.norm(values - truth) / np.linalg.norm(truth)

    ours = error(_numbers(tmp_path / "out" / "t-recovered.csv"))
    others = [
        _job(path, tmp_path, keep="truncated", only=True, rank=rank, steps=300)[0][0]
        for rank in (1, 2, 3, 5, 6, 7, 8, 9, 10, 12, 15)
    ]
    others += [o for o in _job(path, tmp_path, steps=5)[0] if o.key == "pursuit"]
    assert ours <= 1.3 * min(error(outcome.values) for outcome in others)


def test_held_out_entries_are_observed_and_leave_company(rng):
    values = rng.standard_normal((30, 20))
    values[rng.random(values.shape) < 0.5] = np.nan
    values[4] = np.nan
    values[4, 3:5] = 1.0
    held = held_out.choose(values, 0)
    assert np.isfinite(held.values).all()
    assert 5 <= len(held.places) <= 0.05 * values.size
    left = ~np.isnan(values)
    left.reshape(-1)[held.places] = False
    assert left[4].sum() == 2
    assert not np.array_equal(held.places, held_out.choose(values, 1).places)
    np.testing.assert_array_equal(held.places, held_out.choose(values, 0).places)


@pytest.mark.parametrize("size", [1e2, 1e6, 1e12])
def test_outliers_do_not_drown_the_error_on_held_out_entries(size):
    truth = _low(60, 50)
    data, hit = _hit(truth, size=size)
    held = held_out.choose(data, 0)
    hit = hit.reshape(-1)[held.places]
    assert hit.any()
    worse = truth + 0.1
    near, far = held.means([held.errors(truth), held.errors(worse)])
    assert near < 1e-12 * size
    assert far == pytest.approx(0.1, rel=1e-2)


def test_a_fit_sees_none_of_what_is_held_out(tmp_path):
    from specdesc import backends
    from specdesc.recover import job

    values = _low()
    data = Data(values.copy(), FORM)
    task = job._task(data, None, Options(tmp_path))
    (problem,) = task.problems(backends.load("numpy"))
    unseen = problem.observation.apply(np.ones_like(values)) == 0
    assert set(np.flatnonzero(unseen)) == set(task.held.places)
    np.testing.assert_array_equal(data.values, values)
    (problem,) = task.problems(backends.load("numpy"), whole=True)
    np.testing.assert_array_equal(problem.observed, values)


def test_the_threshold_for_outliers_follows_the_noise():
    rng = np.random.default_rng(0)
    fit = _low(80, 60)
    for noise in (1e-2, 1e-1):
        data = fit + noise * rng.standard_normal(fit.shape)
        data[3, 4] += 10 * noise
        found = outliers.find(data, fit, centring.Centre("none"))
        assert found.mask.sum() == 1
        assert found.thresholds.item() == pytest.approx(5 * noise, rel=0.1)


@pytest.mark.parametrize("number", [-9999.0, 9999.0, -32768.0])
@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_a_number_that_stands_for_nothing_is_asked_about_and_marked(tmp_path, number, suffix):
    values = _low()
    values[3, 4] = values[6, 7] = number
    path = tmp_path / f"t{suffix}"
    np.save(path, values) if suffix == ".npy" else _csv(path, values)
    data = reading.read(path)
    assert not data.missing.any()
    assert f"--missing={number:g}" in reading.suspicion(data)
    data = reading.read(path, reading=Reading(missing=(f"{number:g}",)))
    assert data.missing.sum() == 2
    assert reading.suspicion(data) is None


# --- nothing lost --------------------------------------------------------------------------------


def test_sources_of_one_name_do_not_overwrite_one_another(tmp_path):
    written = []
    for folder in ("a", "b", "a"):
        (tmp_path / folder).mkdir(exist_ok=True)
        path = tmp_path / folder / "t.npy"
        np.save(path, _low(seed=ord(folder)))
        recover(Options(path, out=tmp_path / "out", steps=5, only=True), written.append)
    ends = {path.name for path in (tmp_path / "out").glob("*recovered*")}
    assert ends == {"t-recovered.npy", "t-2-recovered.npy"}  # a run of the same source replaces


@pytest.mark.parametrize(
    "taken", ["t-recovered.npy", "t-report.json", "t-mask.npy", "t-report.png"]
)
def test_files_of_the_user_stay(tmp_path, taken):
    out = tmp_path / "out"
    out.mkdir()
    (out / taken).write_text("mine")
    np.save(tmp_path / "t.npy", _low())
    recover(Options(tmp_path / "t.npy", out=out, steps=5, only=True), lambda _: None)
    assert (out / taken).read_text() == "mine"
    assert (out / "t-2-recovered.npy").exists()


@pytest.mark.parametrize("where", ["a file", "below a file"])
def test_the_folder_is_tried_before_the_work(tmp_path, capsys, where, monkeypatch):
    np.save(tmp_path / "t.npy", _low())
    (tmp_path / "taken").write_text("a file")
    out = tmp_path / "taken" / ("deeper" if where == "below a file" else "")
    monkeypatch.setattr(methods, "run", None)  # fails where it is called
    assert cli.main(["recover", str(tmp_path / "t.npy"), "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "cannot be written to" in said.err
    assert "seconds" not in said.out


@pytest.mark.parametrize("at", ["truncated_svd", "pursuit", "descend"])
def test_what_is_finished_when_the_user_stops_is_kept(tmp_path, capsys, monkeypatch, at):
    np.save(tmp_path / "t.npy", _low())

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(methods, at, stop)
    words = ["recover", str(tmp_path / "t.npy"), "--out", str(tmp_path / "o"), "--rank", "2"]
    assert cli.main([*words, "--steps", "5"]) == 130
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "interrupted" in said.err
    done = {"truncated_svd": 0, "pursuit": 1, "descend": 2}[at]
    assert (tmp_path / "o" / "t-recovered.npy").exists() == (done > 0)
    assert len([line for line in said.out.splitlines() if " numpy " in line]) == done


def test_a_stop_before_the_fits_is_one_line(tmp_path, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "read", stop)
    assert cli.main(["recover", str(tmp_path / "t.npy"), "--out", str(tmp_path / "o")]) == 130
    assert capsys.readouterr().err == "specdesc: interrupted\n"


def test_no_bar_where_nobody_watches(tmp_path):
    np.save(tmp_path / "t.npy", _low())
    words = ["recover", "t.npy", "--out", "o", "--steps", "20"]
    code = "import sys; from specdesc import cli; sys.exit(cli.main(sys.argv[1:]))"
    done = subprocess.run(  # noqa: PLW1510 - the code is looked at below
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "step" not in done.stdout


def test_an_interruption_is_no_error_of_the_user():
    assert not issubclass(Interrupted, UsageError)
    assert names.PARTS[0] == "recovered"


# --- the report ----------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [-5.0, 0.0, 100.0])
def test_the_range_is_that_of_signed_data(offset):
    from specdesc.recover import report

    values = np.linspace(-1, 1, 600).reshape(20, 30) + offset
    clean = Data(values, FORM)
    assert clean.limits == (values.min(), values.max())
    assert report.psnr(values + 0.02, clean) == pytest.approx(40.0)
    centred = 0.02 / np.sqrt(((values - offset) ** 2).mean())
    assert report.relative_error(values + 0.02, clean, centred=True) == pytest.approx(centred)


@pytest.mark.parametrize("offset", [-5.0, 0.0, 100.0])
def test_numbers_of_any_sign_fill_the_greys_of_the_figure(offset):
    from specdesc.recover import report

    values = np.random.default_rng(0).random((40, 30)) + offset
    values[0, 0] = 1e12
    low, high = report.shown_limits(Data(values, FORM))
    assert low == pytest.approx(offset, abs=0.02)
    assert high == pytest.approx(offset + 1, abs=0.02)
