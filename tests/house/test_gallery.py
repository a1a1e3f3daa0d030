"""The numbers that the pages quote of a picture are those of its script."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

import specdesc

DOCS = Path(specdesc.__file__).parents[1] / "docs"
COMMITTED = json.loads((DOCS / "data" / "conditioning.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def script():
    spec = spec_from_file_location("conditioning", DOCS / "gallery" / "conditioning.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["Muon", "AdamW", "gradient descent"])
def test_a_committed_loss_is_that_of_its_step(name, script):
    value_and_grad, start = script.problem()
    size, loss = COMMITTED[name]["step"], COMMITTED[name]["loss"]
    rule = script.methods(size)[name]
    found = specdesc.minimize(value_and_grad, start, rule, steps=script.STEPS)
    assert found.value == pytest.approx(loss, rel=0.05)


def test_every_picture_of_the_gallery_has_its_script():
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    scripts = {path.stem for path in (DOCS / "gallery").glob("*.py")}
    assert {name for name in scripts if f"gallery/pictures/{name}.svg" in page} == scripts
