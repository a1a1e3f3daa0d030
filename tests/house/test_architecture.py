"""One floor may use the floors below it: who imports what, by the syntax tree."""

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
LIBRARIES = {"numpy", "torch", "jax", "cupy", "dask", "scipy", "array_api_strict"}
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
#: What users of a library expect of an optimizer: above everything, imported by nothing.
FACADES = {ROOT / "backends/torch/optimizer.py", ROOT / "backends/jax/transformation.py"}
#: Reads and writes of files, seeds and host blocks: the one door to NumPy.
HOST = ROOT / "specdesc" / "_lib" / "host.py"


def imports(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Return what a file imports, anywhere in it, by full name."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from ((f"{module}.{alias.name}", node) for alias in node.names)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CORE, ids=named)
def test_the_library_names_no_array_library(path: Path) -> None:
    found = {name.split(".")[0] for name, _ in imports(path)} & LIBRARIES
    assert found <= ({"numpy"} if path == HOST else set())


@pytest.mark.parametrize("path", CORE, ids=named)
def test_the_library_imports_no_leaf(path: Path) -> None:
    leaves = {f"specdesc.backends.{leaf.name}" for leaf in LEAVES}
    for name, _ in imports(path):
        assert not any(name == leaf or name.startswith(f"{leaf}.") for leaf in leaves)
        assert name.split(".")[0] != "backends"


@pytest.mark.parametrize("leaf", LEAVES, ids=named)
def test_leaves_import_neither_each_other_nor_mathematics(leaf: Path) -> None:
    """A leaf knows the protocol, the names of types, and its own files."""
    allowed = ("specdesc._lib", "specdesc.backends")
    for path in set(leaf.rglob("*.py")) - FACADES:
        for name, node in imports(path):
            assert name.split(".")[-1] not in {facade.stem for facade in FACADES}
            own = isinstance(node, ast.ImportFrom) and node.level == 1
            if name.startswith("specdesc") and not own:
                assert name.startswith(allowed), name
                others = [f"specdesc.backends.{other.name}" for other in LEAVES]
                assert not any(name == o or name.startswith(f"{o}.") for o in others), name
            assert name.split(".")[0] in {
                "array_api_compat",
                "backends",
                "collections",
                "contextlib",
                "dataclasses",
                "math",
                "specdesc",
                "types",
                "typing",
                leaf.name,
            }


def test_import_order_of_the_floors() -> None:
    """Nothing below imports anything above."""
    floors = [
        {"_lib"},
        {"backends"},
        {"minimax"},
        {"_linalg"},
        {"_polar_factor", "_truncated_svd"},
        {"norms", "_orthogonalize", "_polar", "_planned", "_truncate", "schedules"},
        {"_clip"},
        {"preconditioners"},
        {"prox"},
        {"_proximal"},
        {"rules", "testing", "diagnostics"},
        {"_driver"},
        {"_minimize", "trees"},
        {"problems"},
        {"recover"},
        {"verify"},
        {"cli"},
    ]
    level = {name: i for i, floor in enumerate(floors) for name in floor}
    for path in CORE:
        parts = path.relative_to(ROOT / "specdesc").with_suffix("").parts
        if parts == ("__init__",):
            continue
        assert parts[0] in level, f"{parts[0]} has no floor yet"
        for name, node in imports(path):
            below = name.split(".")
            if below[0] != "specdesc" or len(below) == 1 or below[1] == "__version__":
                continue
            inside_a_function = not any(node is top for top in ast.parse("").body) and (
                node.col_offset > 0
            )
            if below[1] in level and not inside_a_function:
                assert level[below[1]] <= level[parts[0]], f"{path.name} imports {name}"


@pytest.mark.parametrize("path", CORE, ids=named)
def test_no_code_from_data(path: Path) -> None:
    """Neither eval, exec nor pickle; no global statement."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.Global)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec")
    assert "pickle" not in {name.split(".")[0] for name, _ in imports(path)}


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
