"""Workflows and hooks: pinned to what cannot move, and nothing that they call is missing."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit(path):
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used
    assert [each for each in used if not re.search(r"@[0-9a-f]{40} # v[\d.]+$", each)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_asks_for_no_more_than_to_read(path):
    top = path.read_text().split("jobs:")[0]
    assert re.search(r"^permissions: \{\}$|^permissions:\n  contents: read$", top, re.MULTILINE)


def test_every_target_that_is_named_exists():
    names = ("CONTRIBUTING.md", "RELEASING.md", "README.md", ".pre-commit-config.yaml", ".ci/run")
    files = [ROOT / name for name in names] + WORKFLOWS
    called = set()
    for path in files:
        for line in re.findall(
            r"(?:^|[`$:] ?|run: )make ([a-z -]+)", path.read_text(), re.MULTILINE
        ):
            called |= {word for word in line.split("  ")[0].split() if word}
    assert len(called) > 8
    assert called - TARGETS == set()


def test_the_oldest_versions_that_are_tried_are_those_that_are_promised():
    project = (ROOT / "pyproject.toml").read_text()
    target = (ROOT / "Makefile").read_text().split("test-lowest:\n")[1]
    for name in ("numpy", "array-api-compat"):
        promised = re.search(rf'"{name}>=([\d.]+)"', project)[1]
        assert re.search(rf"{name}==([\d.]+)", target)[1] in {promised, f"{promised}.0"}
