"""The pages that say how to do a thing are run as they are typed, from the first block on."""

import re
import shlex
from pathlib import Path

import pytest

from specdesc import cli

DOCS = Path(__file__).parents[2] / "docs"
#: What a page needs beside NumPy.
PAGES = {
    "index": (),
    "install": (),
    "train-in-torch": ("torch",),
    "constrain-a-layer": ("torch",),
    "train-in-optax": ("optax",),
    "train-in-flax": ("optax", "flax", "equinox"),
    "clean-a-table": (),
    "dask": ("dask",),
}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_line(line):
    """Run what is typed at a prompt, but for installations and programs that train for a minute."""
    program, *words = shlex.split(line.removeprefix("$ "))
    assert program in {"specdesc", "pip", "python"}
    if program == "specdesc":
        assert cli.main(words) == 0
    elif program == "python":
        assert (DOCS.parent / words[0]).is_file()


@pytest.mark.thorough
@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    for library in PAGES[page]:
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    known = {"folder": tmp_path}
    kinds = []
    for kind, body in BLOCK.findall((DOCS / f"{page}.md").read_text(encoding="utf-8")):
        kinds.append(kind)
        if kind == "console":
            for line in body.splitlines():
                run_line(line)
        else:
            exec(compile(body, f"{page}.md", "exec"), known)
    assert "python" in kinds
    assert set(kinds) <= {"python", "console"}


#: Pages whose blocks another test runs.
ELSEWHERE = {"adding-a-backend", "move-from-torch-muon", "move-from-optax-muon"}


def test_every_block_of_python_is_run_by_a_test():
    unknown = set()
    for path in DOCS.glob("*.md"):
        bodies = [body for kind, body in BLOCK.findall(path.read_text()) if kind == "python"]
        if any(">>>" not in body for body in bodies):
            unknown.add(path.stem)
    assert unknown - ELSEWHERE == set(PAGES)
