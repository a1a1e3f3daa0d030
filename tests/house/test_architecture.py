"""What the import contracts of pyproject.toml do not see: code from data, what an import loads."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from inspect import isfunction
from pathlib import Path

import numpy as np
import pytest

import specdesc
from specdesc import backends, diagnostics, norms, preconditioners, prox, rules, schedules, trees
from specdesc._lib import tracing
from specdesc.backends.primitives import Primitives
from tests import support

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "specdesc").rglob("*.py"))
LEAVES = sorted(path for path in (ROOT / "backends").iterdir() if (path / "__init__.py").exists())
#: The modules that a user is shown.
MODULES = [
    specdesc,
    backends,
    diagnostics,
    norms,
    preconditioners,
    prox,
    rules,
    schedules,
    trees,
]

#: What users of a library expect of an optimizer: above everything.
FACADES = {
    *(ROOT / "backends/torch/optimizer").rglob("*.py"),
    *(ROOT / "backends/jax/transformation").rglob("*.py"),
}


def imports(path: Path) -> Iterator[str]:
    """Return what a file imports, anywhere in it, by full name."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("leaf", LEAVES, ids=named)
def test_leaves_know_the_protocol_types_and_their_library_alone(leaf: Path) -> None:
    """The contracts hold the leaves apart; here is what else they may name."""
    for path in set(leaf.rglob("*.py")) - FACADES:
        for name in imports(path):
            assert not name.startswith("specdesc") or name.startswith(
                ("specdesc._lib", "specdesc.backends")
            )
            assert name.split(".")[0] in {
                "array_api_compat",
                "backends",
                "collections",
                "contextlib",
                "dataclasses",
                "functools",
                "importlib",
                "math",
                "specdesc",
                "types",
                "typing",
                leaf.name,
                # The chunks of dask are NumPy's.
                *(["numpy"] if leaf.name == "dask" else []),
                # What torch for CUDA brings with it.
                *(["triton"] if leaf.name == "torch" else []),
            }


def test_the_contracts_name_every_leaf() -> None:
    """A leaf that a contract does not list would be held to nothing."""
    contracts = {
        each["id"]: each
        for each in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
            "importlinter"
        ]["contracts"]
    }
    leaves = sorted(f"specdesc.backends.{leaf.name}" for leaf in LEAVES)
    assert contracts["leaves"]["modules"] == leaves
    assert contracts["protected-leaves"]["protected_modules"] == leaves


@pytest.mark.parametrize("path", CORE, ids=named)
def test_no_code_from_data(path: Path) -> None:
    """Neither eval, exec nor pickle; no global statement."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.Global)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec")
    assert "pickle" not in {name.split(".")[0] for name in imports(path)}


def test_importing_specdesc_imports_numpy_alone(tmp_path: Path) -> None:
    """Nor does using it with NumPy."""
    code = (
        "import sys, specdesc\n"
        "others = {'torch', 'jax', 'cupy', 'dask', 'scipy', 'array_api_strict', 'matplotlib'}\n"
        "assert 'specdesc.backends.numpy' not in sys.modules\n"
        "assert not others & set(sys.modules), others & set(sys.modules)\n"
        "import numpy\n"
        "specdesc.orthogonalize(numpy.eye(3)), specdesc.backends.available()\n"
        "assert not others & set(sys.modules), others & set(sys.modules)\n"
    )
    # Not next to the checkout: a folder of the same name would be a namespace package.
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path)


def test_the_mark_of_opaque_is_the_one_that_torch_sets() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")

    def ours() -> None: ...

    def theirs() -> None: ...

    assert tracing.opaque(ours) is ours
    marked = torch.compiler.assume_constant_result(theirs)
    assert vars(marked) == vars(ours) != {}


@pytest.mark.parametrize(
    "module",
    MODULES,
    ids=lambda module: module.__name__,
)
def test_all_is_sorted_and_complete(module: object) -> None:
    exported = module.__all__
    # Capitals first, as the linter sorts.
    assert list(exported) == sorted(exported, key=lambda name: (not name.isupper(), name))
    assert len(set(exported)) == len(exported)
    for name in exported:
        assert hasattr(module, name)
    defined = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }
    # The look-up of an array's backend, and of a container's, is for the library itself.
    assert defined - {"owner", "opened"} <= set(exported)


def test_every_public_thing_has_a_docstring() -> None:
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            if isinstance(thing, type) or isfunction(thing):
                assert thing.__doc__, name


# --- the leaf that no machine of the usual kind can run ------------------------------------------


def test_primitives_of_the_cupy_leaf_run_on_numpy() -> None:
    """They take their namespace as an argument; what is left of the leaf is declared unverified."""
    path = ROOT / "backends" / "cupy" / "primitives.py"
    spec = spec_from_file_location("cupy_primitives", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks for its module
    spec.loader.exec_module(module)
    xp = backends.load("numpy").xp
    cupy, agnostic = module.CuPyPrimitives(xp), Primitives(xp)
    for dtype in ("float16", *support.FULL):
        limit = 40 * support.EPS[dtype]
        for batch in ((), (3,)):
            x, z, y = (
                support.gaussian(*batch, *shape, seed=i, dtype=dtype).astype(dtype)
                for i, shape in enumerate([(4, 6), (4, 4), (4, 6)])
            )
            before = [part.tobytes() for part in (x, z, y)]
            for alpha in (1.0, 0.25):
                found = cupy.addmm(1.5, x, z, y, alpha=alpha)
                expected = agnostic.addmm(1.5, x, z, y, alpha=alpha)
                assert found.dtype == x.dtype
                np.testing.assert_allclose(found, expected, rtol=0, atol=limit)
            for coefficients, shift in (((2.0,), 0.0), ((2.0, -0.5), 0.25)):
                squares = (z, z @ z)[: len(coefficients)]
                found = cupy.linear_combination(coefficients, squares, shift)
                expected = agnostic.linear_combination(coefficients, squares, shift)
                assert found.dtype == z.dtype
                np.testing.assert_allclose(found, expected, rtol=0, atol=limit)
            assert [part.tobytes() for part in (x, z, y)] == before
            expected = agnostic.linear_combination((2.0, -0.5), (z, z @ z), 0.25)
            out, spent = np.empty_like(x), z.copy()
            found = cupy.linear_combination((2.0, -0.5), (spent, z @ z), 0.25, overwrite=True)
            np.testing.assert_allclose(found, expected, rtol=0, atol=limit)
            assert cupy.addmm(1.5, x, z, y, out=out) is out
            np.testing.assert_allclose(out, agnostic.addmm(1.5, x, z, y), rtol=0, atol=limit)


@pytest.mark.parametrize("leaf", LEAVES, ids=named)
def test_every_leaf_has_a_table_and_the_names_of_its_primitives(leaf: Path) -> None:
    table = tomllib.loads((leaf / "capabilities.toml").read_text(encoding="utf-8"))
    assert {"distribution", "minimum", "dtypes", "branches"} <= set(table)
    assert set(table) <= {
        "distribution",
        "minimum",
        "dtypes",
        "branches",
        "notes",
        "unsupported",
        "untraced",
        "unverified",
    }
    tree = ast.parse((leaf / "__init__.py").read_text(encoding="utf-8"))
    assert any(
        isinstance(node, ast.Assign) and node.targets[0].id == "BACKEND"  # type: ignore[attr-defined]
        for node in tree.body
        if isinstance(node, ast.Assign)
    )
    if (leaf / "primitives.py").exists():
        # A method of another name would replace nothing, and nobody would see it.
        source = (leaf / "primitives.py").read_text(encoding="utf-8")
        methods = {
            method.name
            for node in ast.parse(source).body
            if isinstance(node, ast.ClassDef) and node.name.endswith("Primitives")
            for method in node.body
            if isinstance(method, ast.FunctionDef)
        }
        assert methods <= set(vars(Primitives))


@pytest.mark.parametrize("name", ["cupy", "jax", "torch"])
def test_what_no_machine_has_confirmed_is_said(name: str) -> None:
    table = tomllib.loads(
        (ROOT / "backends" / name / "capabilities.toml").read_text(encoding="utf-8")
    )
    assert table["unverified"]
    assert any("CUDA" in entry or "GPU" in entry for entry in table["unverified"])
