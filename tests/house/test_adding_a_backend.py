"""The page on adding a backend: its leaf is built, registered and run."""

import importlib
import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specdesc
from specdesc import backends
from specdesc.backends import entry, loader
from tests import support

PAGE = Path(specdesc.__file__).parents[1] / "docs" / "adding-a-backend.md"
strict: Any = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")


def blocks(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


@pytest.fixture
def leaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[backends.Backend]:
    """Install the package of the page, in so far as an entry point does."""
    (code,) = blocks("python")
    points, table = blocks("toml")
    name, value = re.findall(r'^(\w+) = "([\w:]+)"$', points, re.M)[0]
    package = tmp_path / value.partition(":")[0]
    package.mkdir()
    (package / "__init__.py").write_text(code, encoding="utf-8")
    (package / "capabilities.toml").write_text(table, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    registered = {**loader._entries(), name: EntryPoint(name, value, loader.GROUP)}
    monkeypatch.setattr(loader, "_entries", lambda: registered)
    monkeypatch.setattr(entry, "_OWNERS", {})
    monkeypatch.setattr(entry, "_BOUND", {})
    importlib.invalidate_caches()
    backends.load.cache_clear()
    yield backends.load(name)
    backends.load.cache_clear()
    sys.modules.pop(package.name)


def test_the_leaf_of_the_page_serves_its_arrays(leaf: backends.Backend) -> None:
    x = strict.asarray(support.gaussian(12, 9, seed=0))
    bound = entry.enter("orthogonalize", x)
    assert type(bound) is type(leaf)
    assert type(bound.primitives).__name__ == "StrictPrimitives"
    assert bound.branches
    for method in ("svd", "polynomial"):
        y = specdesc.orthogonalize(x, method=method, tol=1e-6)
        assert type(y) is type(x)
        np.testing.assert_allclose(leaf.to_host(y).T @ leaf.to_host(y), np.eye(9), atol=1e-5)
    back = leaf.from_host(np.eye(2), dtype="float32", device=None)
    assert back.dtype == strict.float32
    assert leaf.devices()


def test_what_the_table_of_the_page_refuses_is_refused(leaf: backends.Backend) -> None:
    with pytest.raises(NotImplementedError, match="a sample of a reason"):
        specdesc.spectral_map(strict.asarray(np.eye(2)), lambda s: s)


def test_every_member_of_a_backend_is_in_the_table_of_the_page() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE.read_text(encoding="utf-8"), re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    members = {name for name in vars(backends.Backend) if not name.startswith("_")}
    assert members - {"bound"} <= named
