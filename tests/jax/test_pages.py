"""The page for users of optax runs as it is typed."""

import ast
import re
from inspect import Parameter, signature
from pathlib import Path

import pytest

pytest.importorskip("jax", reason="jax is not installed")
optax = pytest.importorskip("optax", reason="optax is not installed")
if not hasattr(optax.contrib, "MuonDimensionNumbers"):
    pytest.skip("this optax has no dimension numbers", allow_module_level=True)

import specdesc.optax  # noqa: E402

PAGE = (Path(__file__).parents[2] / "docs" / "move-from-optax-muon.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_of_those_who_move_runs_block_by_block():
    found = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in found} == {"python"}
    known = {}
    for _, body in found:
        exec(compile(body, "move-from-optax-muon.md", "exec"), known)
    assert len(found) == 9


def test_the_table_of_arguments_is_that_of_the_signatures():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    theirs = signature(optax.contrib.muon).parameters
    ours = signature(specdesc.optax.muon).parameters
    assert list(rows)[: len(theirs)] == list(theirs)
    for name, parameter in theirs.items():
        before, after = rows[name].split(" | ", 1)
        if parameter.default is Parameter.empty:
            assert before == "required"
        else:
            assert ast.literal_eval(before) == parameter.default
        if name not in ours:
            assert after.startswith("-")
        else:
            differs = parameter.default != ours[name].default
            assert after.startswith("**None**" if differs else "the same")
