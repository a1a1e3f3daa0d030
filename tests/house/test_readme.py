"""Every code block of the README runs."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from specdesc import cli

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PYTHON = [body for language, body in BLOCKS if language == "python"]
SHELL = [line for language, body in BLOCKS if language == "sh" for line in body.splitlines()]


def test_there_is_no_other_kind_of_block():
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    assert len(PYTHON) == 3
    assert len(re.findall(r"^```", TEXT, re.MULTILINE)) == 2 * len(BLOCKS)


@pytest.mark.parametrize("body", PYTHON)
def test_python(body):
    exec(compile(body, "README.md", "exec"), {})


@pytest.mark.parametrize("line", SHELL)
def test_shell(line, tmp_path, monkeypatch):
    program, *words = shlex.split(line)
    {"make": _make, "pip": _pip, "specdesc": _specdesc}[program](words, tmp_path, monkeypatch)


def _make(words, tmp_path, monkeypatch):
    """Ask make for the plan: the target runs these tests, or minutes of demonstration."""
    plan = subprocess.run(
        ["make", "--dry-run", "--always-make", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {"demo": "specdesc recover", "test": "-m pytest"}[words[0]] in plan


def _pip(words, tmp_path, monkeypatch):
    """Let pip resolve the command against this clone, without the libraries behind the extras."""
    extras = re.search(r"\[(.*)\]", words[-1])
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras[1].split(",")) <= set(known)
    dry = ["--dry-run", "--no-deps", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", *words, *dry], cwd=ROOT, check=True)


def _specdesc(words, tmp_path, monkeypatch):
    io = pytest.importorskip("skimage.io", reason="pictures need the extra demo")
    rng = np.random.default_rng(0)
    low = rng.random((40, 6)) @ rng.random((6, 30)) / 6
    io.imsave(tmp_path / "photo.png", (255 * low).astype("uint8"), check_contrast=False)
    np.save(tmp_path / "measured.npy", low)
    (tmp_path / "sensors.csv").write_text("at,a,b,c\n1:00,1,2,3\n2:00,-9999,4,6\n3:00,3,6,9\n")
    (tmp_path / "film").mkdir()
    for i in range(5):
        io.imsave(tmp_path / f"film/{i}.png", (200 * low).astype("uint8"), check_contrast=False)
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 0


def test_the_pictures_are_there():
    paths = re.findall(r"!\[.*\]\((.*)\)", TEXT)
    assert len(paths) == 2
    for path in paths:
        assert (ROOT / path).is_file()
        assert (ROOT / path).stat().st_size < 1_500_000


def test_links_lead_somewhere():
    for path in re.findall(r"(?<!!)\[[^\]]*\]\((?!https?:)([^)#]+)\)", TEXT):
        assert (ROOT / path).exists()
