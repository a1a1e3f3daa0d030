"""Every code block of the README runs."""

import json
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
    assert {language for language, _ in BLOCKS} == {"python", "sh", "text"}
    assert len(PYTHON) == 3
    assert len(re.findall(r"^```", TEXT, re.MULTILINE)) == 2 * len(BLOCKS)


@pytest.mark.parametrize("body", PYTHON)
def test_python(body):
    for library in ("torch", "optax"):
        if f"import {library}" in body:
            pytest.importorskip(library)
    exec(compile(body, "README.md", "exec"), {})


def test_what_is_printed_is_what_stands_there(capsys):
    pytest.importorskip("torch")
    (printed,) = (body for language, body in BLOCKS if language == "text")
    exec(compile(PYTHON[0], "README.md", "exec"), {})
    assert capsys.readouterr().out == printed


def number(pattern):
    """Return the number that the text quotes at the only place of this pattern."""
    (found,) = re.findall(pattern, " ".join(TEXT.split()))
    return float(found)


def result(*path):
    return json.loads(ROOT.joinpath(*path).read_text(encoding="utf-8"))


def close(ours, measured):
    """Say whether a number of the text is the measured one, rounded to two digits."""
    return float(f"{measured:.2g}") == ours


def test_numbers_of_the_factor_are_those_of_the_result():
    rows = result("docs", "data", "benchmarks-orthogonalize.json")["rows"]
    work = "1024 x 1024 float32, numpy, Gaussian, tol 0.001, floor 0.001"
    (row,) = (r for r in rows if r["work"] == work and r["against"] == "scipy.linalg.polar")
    assert close(number(r"([\d.]+) times faster than `scipy.linalg.polar`"), row["value"])
    page = (ROOT / "docs" / "data" / "benchmarks-orthogonalize.md").read_text(encoding="utf-8")
    ours = re.search(re.escape(f"| {work} | specdesc | ") + "(.*)", page)[1].split(" | ")
    assert number(r"true error ([\d.e-]+),") == float(ours[1])
    assert number(r"promised ([\d.e-]+),") == float(ours[4])


def test_numbers_of_the_step_are_those_of_the_result():
    rows = result("benchmarks", "results", "nvidia-h200", "device.json")["rows"]
    ms = {r["who"]: r["ms"] for r in rows if r["what"].startswith("step of GPT-2 small")}
    assert close(number(r"H200: ([\d.]+) ms"), ms["specdesc, bfloat16, tol 0.3"])
    assert close(number(r"([\d.]+) ms for theirs"), ms["torch.optim.Muon and fused AdamW"])


def test_numbers_of_the_regression_are_those_of_the_result():
    losses = {k: v["loss"] for k, v in result("docs", "data", "conditioning.json").items()}
    assert close(number(r"([\d.e-]+) by Muon"), losses["Muon"])
    assert close(number(r"([\d.e-]+) by gradient descent"), losses["gradient descent"])
    assert close(number(r"([\d.e-]+) by AdamW"), losses["AdamW"])


@pytest.mark.thorough
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
    assert len(paths) == 3
    for path in paths:
        assert (ROOT / path).is_file()
        assert (ROOT / path).stat().st_size < 1_500_000


def test_links_lead_somewhere():
    for path in re.findall(r"(?<!!)\[[^\]]*\]\((?!https?:)([^)#]+)\)", TEXT):
        assert (ROOT / path).exists()
