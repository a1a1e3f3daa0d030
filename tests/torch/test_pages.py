"""The pages for users of torch run as they are typed."""

import ast
import re
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from specdesc.torch import Muon  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "move-from-torch-muon.md").read_text(encoding="utf-8")


def blocks(page):
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in found} == {"python"}
    return [body for _, body in found]


def test_the_page_of_those_who_move_runs_block_by_block(tmp_path):
    pytest.importorskip("torch.optim._muon", reason="this torch has no Muon")
    known = {"folder": tmp_path}
    for body in blocks(PAGE):
        exec(compile(body, "move-from-torch-muon.md", "exec"), known)
    assert len(blocks(PAGE)) == 9


def test_the_table_of_arguments_is_that_of_the_signatures():
    muon = pytest.importorskip("torch.optim._muon", reason="this torch has no Muon")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    theirs, ours = (signature(kind).parameters for kind in (muon.Muon, Muon))
    assert list(rows)[: len(theirs)] == list(theirs)
    for name in theirs.keys() - {"params"}:
        before, after = rows[name].split(" | ", 1)
        written = re.match(r"\(.*\)|[^,]*", before)[0]
        assert ast.literal_eval(written) == theirs[name].default
        differs = theirs[name].default != ours[name].default
        assert after.startswith("**None**" if differs else "the same")


def test_the_example_learns(tmp_path):
    path = DOCS / "examples" / "character_transformer.py"
    spec = spec_from_file_location("character_transformer", path)
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    tiny = ["--steps", "40", "--width", "16", "--layers", "1", "--context", "16", "--batch", "8"]
    first, last = example.main([*tiny, "--checkpoint", str(tmp_path / "model.pt")])
    assert last < first - 0.5
    model, optimizer = torch.load(tmp_path / "model.pt", weights_only=True)
    assert optimizer["param_groups"][0]["param_names"][0] == "blocks.0.q.weight"
    assert "head.weight" in model
