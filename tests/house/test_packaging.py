"""What the lists in pyproject.toml promise of the folders."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _leaves():
    return sorted(p.parent.name for p in (ROOT / "backends").glob("*/__init__.py"))


def test_every_leaf_is_an_entry_point_and_has_a_table():
    leaves = _leaves()
    assert leaves == ["cupy", "dask", "jax", "numpy", "torch"]
    entries = PROJECT["project"]["entry-points"]["specdesc.backends"]
    assert entries == {leaf: f"specdesc.backends.{leaf}:BACKEND" for leaf in leaves}
    assert all((ROOT / "backends" / leaf / "capabilities.toml").is_file() for leaf in leaves)


def test_no_list_of_packages_is_kept_by_hand():
    """Whatever lies in the two folders is installed: a new module cannot be forgotten."""
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["only-include"] == ["specdesc", "backends"]


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
