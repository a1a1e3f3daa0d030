"""The comparison with peers runs and says what it measured; how fast anything is, is not tested."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the comparison needs torch")
pytest.importorskip("scipy", reason="the comparison needs scipy")
pytest.importorskip("tqdm", reason="the comparison needs tqdm")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One quick run, as a user starts it."""
    out = tmp_path_factory.mktemp("targets")
    command = [sys.executable, "-m", "benchmarks.targets", "orthogonalize", "--quick"]
    subprocess.run([*command, "--out", str(out)], cwd=ROOT, check=True, capture_output=True)
    return out


@pytest.mark.slow
def test_every_row_has_a_number_and_a_bar(folder):
    found = json.loads((folder / "benchmarks-orthogonalize.json").read_text())
    assert found["settings"]["quick"]
    assert {"numpy", "scipy", "torch"} <= set(found["machine"]["libraries"])
    assert len(found["rows"]) == 25
    for row in found["rows"]:
        assert row["value"] == row["value"]
        assert row["verdict"] in ("aim", "bar", "below", "less accurate")
        assert row["bar"] > 0


def test_every_contestant_is_verified(folder):
    """The exact ones to what float32 allows, the others to what their own papers say."""
    rows = json.loads((folder / "benchmarks-orthogonalize.json").read_text())["rows"]
    entries = [entry for row in rows if row["unit"] == "times faster" for entry in row["entries"]]
    assert {"specdesc", "torch.optim.Muon", "scipy.linalg.polar", "torch SVD"} <= {
        entry["name"] for entry in entries
    }
    for entry in entries:
        worst, rms, distance = entry["accuracy"]
        assert 0 < rms <= worst <= distance * (1 + 1e-6)
        if entry["name"] == "specdesc":
            assert distance <= entry["error"]
        if entry["name"] in ("scipy.linalg.polar", "torch SVD"):
            assert worst < 1e-5


def test_the_page_shows_what_is_missed(folder):
    page = (folder / "benchmarks-orthogonalize.md").read_text()
    rows = json.loads((folder / "benchmarks-orthogonalize.json").read_text())["rows"]
    missed = sum(row["verdict"] not in ("aim", "bar") for row in rows)
    assert page.count("| **") == 2 * missed
    assert f"{len(rows) - missed} of {len(rows)} rows" in page


def test_the_truth_in_float64_is_more_than_an_svd():
    """Against 40 digits, on matrices whose factor an SVD loses digits of."""
    mpmath = pytest.importorskip("mpmath", reason="the oracle needs mpmath")
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.targets import accuracy, data
    finally:
        sys.path.remove(str(ROOT))
    for shape in ((8, 8), (12, 8), (8, 12)):
        x = data.conditioned(shape, 1e6)
        with mpmath.workdps(40):
            u, _, vh = mpmath.svd(mpmath.matrix(x.tolist()))
            exact = np.asarray((u * vh).tolist(), dtype=np.longdouble)
        (known,) = accuracy.truth(x, None, double=True)
        (rough,) = accuracy.truth(x, None)
        # The condition of the problem times the unit of the arithmetic: 1e6 eps.
        assert np.abs(known.factor - exact).max() < 1e6 * np.finfo(np.longdouble).eps
        # How far an SVD is from the truth depends on the library; that it is further, does not.
        assert np.abs(rough.factor - exact).max() > 10 * np.abs(known.factor - exact).max()
        assert (
            accuracy.verify(rough.factor, [known]).distance
            > 10 * accuracy.verify(known.factor, [known]).distance
        )
