"""The wheel alone, in an empty environment outside of the clone."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    # From a copy: a build in the clone leaves files behind, and takes along what is not committed.
    source = tmp_path_factory.mktemp("source") / "specdesc"
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, tracked):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    _pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", folder, source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def empty(tmp_path_factory, wheel):
    """A fresh environment with the wheel and what it requires, nothing else."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    _pip(python, "install", wheel)
    return folder


def _pip(python, *words):
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    subprocess.run(list(map(str, command)), check=True)


def _specdesc(folder, *words):
    # A warning in somebody's library is not a failure of the wheel.
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [folder / "venv" / "bin" / "specdesc", *words]
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=plain, capture_output=True, text=True, check=False
    )


def test_it_holds_every_leaf_and_its_table(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for leaf in ("cupy", "dask", "jax", "numpy", "torch"):
        assert f"specdesc/backends/{leaf}/__init__.py" in names
        assert f"specdesc/backends/{leaf}/capabilities.toml" in names
    assert "specdesc/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "backends/", "benchmarks/"))]


def test_info_and_a_matrix_without_any_extra(empty):
    info = _specdesc(empty, "info")
    assert info.returncode == 0, info.stderr
    assert "numpy" in info.stdout
    assert "pip install 'specdesc[torch]'" in info.stdout
    rng = np.random.default_rng(0)
    low = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 30))
    np.save(empty / "low.npy", low)
    done = _specdesc(empty, "recover", "low.npy", "--corrupt", "0.1", "--rank", "2")
    assert done.returncode == 0, done.stderr
    assert "truncated spectral descent" in done.stdout
    assert "specdesc[demo]" in done.stdout  # where the figure would be
    found = np.load(empty / "specdesc-out" / "low-recovered.npy")
    assert np.linalg.norm(found - low) <= 0.05 * np.linalg.norm(low)


def test_a_picture_needs_an_extra_and_says_which(empty):
    (empty / "picture.png").write_bytes(b"\x89PNG")
    done = _specdesc(empty, "recover", "picture.png")
    assert done.returncode == 2
    assert done.stderr == ("specdesc: error: this needs PIL: pip install 'specdesc[demo]'\n")
    assert not (empty / "specdesc-out" / "picture-recovered.png").exists()
    missing = _specdesc(empty, "recover", "low.npy", "--backend", "torch")
    assert missing.returncode == 2
    assert "specdesc[torch]" in missing.stderr


def test_with_the_demo_extra_it_does_pictures(empty, wheel):
    _pip(empty / "venv" / "bin" / "python", "install", f"{wheel}[demo]")
    make = "from skimage import data, io; io.imsave('brick.png', data.brick()[::4, ::4])"
    subprocess.run([empty / "venv" / "bin" / "python", "-c", make], cwd=empty, check=True)
    words = ("recover", "brick.png", "--corrupt", "0.2", "--noise", "0.02", "--steps", "50")
    done = _specdesc(empty, *words)
    assert done.returncode == 0, done.stderr
    written = {p.name for p in (empty / "specdesc-out").iterdir()}
    assert {"brick-recovered.png", "brick-report.png"} <= written
