"""The reference lists every public object, and nothing that is not public."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import specdesc

DOCS = Path(specdesc.__file__).parents[1] / "docs"
ROOMS = ("preconditioners", "norms", "prox", "rules", "trees", "schedules", "diagnostics")
ROOMS += ("problems", "testing", "backends")


def listed():
    """Return the full names in the tables of the reference."""
    names = []
    for block in re.findall(r"```{eval-rst}\n(.*?)```", (DOCS / "api.md").read_text(), re.DOTALL):
        module = re.search(r"currentmodule:: (\S+)", block)[1]
        names += [
            f"{module}.{name}" for name in re.findall(r"^   (\w[\w.]*)$", block, re.MULTILINE)
        ]
    return names


def public():
    """Return the full names of the public functions and classes."""
    for room in ("specdesc", *(f"specdesc.{room}" for room in ROOMS)):
        module = import_module(room)
        for name in module.__all__:
            if inspect.isclass(getattr(module, name)) or inspect.isfunction(getattr(module, name)):
                yield f"{room}.{name}"


def test_every_public_object_has_a_page():
    assert sorted(set(public()) - set(listed())) == []


def test_nothing_has_two_pages():
    names = listed()
    assert [name for name in names if names.count(name) > 1] == []


@pytest.mark.parametrize("name", listed())
def test_what_has_a_page_is_there(name):
    room, _, attribute = name.rpartition(".")
    if ".torch" in room:
        pytest.importorskip("torch")
    if ".jax" in room:
        pytest.importorskip("jax")
    assert getattr(import_module(room), attribute).__doc__
