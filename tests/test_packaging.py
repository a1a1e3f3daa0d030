"""What the lists in pyproject.toml promise of the folders."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def _leaves():
    return sorted(p.parent.name for p in (ROOT / "backends").glob("*/__init__.py"))


def test_the_packages_are_the_folders():
    folders = {
        ".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "specdesc").rglob("__init__.py")
    }
    leaves = {f"specdesc.backends.{leaf}" for leaf in _leaves()}
    assert set(SETUPTOOLS["packages"]) == folders | leaves


def test_every_leaf_is_in_all_four_lists():
    leaves = _leaves()
    assert leaves == ["cupy", "dask", "jax", "numpy", "torch"]
    mapped = {f"specdesc.backends.{leaf}": f"backends/{leaf}" for leaf in leaves}
    assert SETUPTOOLS["package-dir"] == {"specdesc": "specdesc", **mapped}
    entries = PROJECT["project"]["entry-points"]["specdesc.backends"]
    assert entries == {leaf: f"specdesc.backends.{leaf}:BACKEND" for leaf in leaves}
    for package in mapped:
        assert SETUPTOOLS["package-data"][package] == ["capabilities.toml"]
    assert all((ROOT / "backends" / leaf / "capabilities.toml").is_file() for leaf in leaves)


def test_the_folder_of_the_leaves_is_no_package():
    # With an __init__.py the leaves would shadow the libraries that they are named after.
    assert not (ROOT / "backends" / "__init__.py").exists()


def test_the_core_needs_two_libraries():
    names = {requirement.partition(">")[0] for requirement in PROJECT["project"]["dependencies"]}
    assert names == {"array-api-compat", "numpy"}


@pytest.mark.parametrize("extra", ["torch", "cupy", "jax", "dask", "data", "demo"])
def test_the_extras_are_there(extra):
    assert extra in PROJECT["project"]["optional-dependencies"]


def test_the_version_is_one():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {PROJECT['project']['version']}\n" in citation
    assert f"\n## {PROJECT['project']['version']}" in (ROOT / "CHANGELOG.md").read_text()
