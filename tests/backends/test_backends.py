"""Leaves: what they advertise, how they are found, and what a broken one does."""

import ast
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest

import specdesc
from specdesc import backends
from specdesc._polar_factor.method import Method
from specdesc.backends import Backend, entry, loader
from specdesc.backends.entry import enter
from specdesc.backends.primitives import Primitives
from specdesc.preconditioners import Geometry
from tests import support
from tests.support import EPS, OPERATIONS, Library, leaves

pytestmark = pytest.mark.essential


def test_registered_and_available() -> None:
    assert backends.registered() == ("cupy", "dask", "jax", "numpy", "torch")
    assert "numpy" in backends.available()
    assert set(backends.available()) <= set(backends.registered())


def test_every_leaf_of_an_installed_library_loads() -> None:
    """Silence is for strangers: a leaf of this project that fails to load is a defect."""
    for name in backends.available():
        leaf = backends.load(name)
        assert leaf.name == name
        assert leaf is backends.load(name)


def test_an_unknown_leaf_is_named_with_the_known_ones() -> None:
    with pytest.raises(backends.BackendUnavailable, match=r"'mlx'; .* numpy, torch"):
        backends.load("mlx")


def test_a_leaf_without_its_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    if "cupy" in backends.available():
        pytest.skip("cupy is installed")
    with pytest.raises(backends.BackendUnavailable, match=r"pip install 'specdesc\[cupy\]'"):
        backends.load("cupy")


def test_arrays_are_owned_by_their_leaf(library: Library) -> None:
    owner = entry.owner(library.array(np.ones((2, 2)), "float32"))
    if library.backend == "array_api_strict":
        assert owner is None
    else:
        assert owner is library.leaf


def names_that_the_code_asks_for() -> set[str]:
    """Return the first arguments of all calls of `enter`, by the syntax tree."""
    names = {f"orthogonalize[{method}]" for method in get_args(Method)}
    for path in Path(specdesc.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "enter":
                names |= {
                    argument.value
                    for argument in node.args[:1]
                    if isinstance(argument, ast.Constant)
                }
    # Some hand their own name on to a common function.
    names |= {"truncated_svd", "truncated_spectral_step"}
    names |= {f"norms.{name}" for name in specdesc.norms.__all__}
    names |= {f"prox.{name}" for name in specdesc.prox.__all__}
    return names | {f"preconditioners[{name}]" for name in get_args(Geometry)}


# --- the capability table ------------------------------------------------------------------------


def test_every_advertised_dtype_is_accepted(library: Library) -> None:
    """Advertised implies tested: the table of this suite and that of the leaf are one list."""
    if library.backend == "array_api_strict":
        pytest.skip("array-api-strict has no leaf")
    advertised = set(library.leaf.capabilities.dtypes)
    if "readonly" in library.options:
        assert set(library.dtypes) <= advertised
    else:
        assert set(library.dtypes) == advertised
    for dtype in advertised & set(library.dtypes):
        x = library.array(np.eye(4, 3), dtype)
        assert library.dtype(x) == dtype
        y = specdesc.orthogonalize(x)
        np.testing.assert_allclose(library.numpy(y), np.eye(4, 3), atol=20 * EPS[dtype])


def test_unsupported_and_untraced_entries_are_names_that_the_code_asks_for(
    library: Library,
) -> None:
    if library.backend == "array_api_strict":
        pytest.skip("array-api-strict has no leaf")
    table = library.leaf.capabilities
    known = names_that_the_code_asks_for()
    assert set(table.unsupported) <= known
    assert set(table.untraced) <= known
    for reasons in (table.unsupported, table.untraced):
        assert all(len(reason) > 10 for reason in reasons.values())


RULE = specdesc.rules.NormalizedGradient(0.1)

#: Public functions that the table of operations has not, as they are no maps of arrays.
BEYOND_THE_TABLE: dict[str, Callable[[Any], Any]] = {
    "diagnostics.tail_index": specdesc.diagnostics.tail_index,
    "minimize": lambda x: specdesc.minimize(lambda y: (y, y), x, RULE, steps=1),
    "problems.estimate_rank": lambda x: specdesc.problems.estimate_rank(
        specdesc.problems.RobustRecovery.from_entries(x[0, ...])
    ),
    "problems.principal_component_pursuit": specdesc.problems.principal_component_pursuit,
}


def test_every_unsupported_function_raises_with_its_reason(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library.backend == "array_api_strict":
        pytest.skip("array-api-strict has no leaf")
    x = library.array(support.easy(2, shape=(48, 44)), "float32")
    for name, reason in library.leaf.capabilities.unsupported.items():
        calls = [each.call for each in OPERATIONS if each.capabilities == (name,)]
        if name in BEYOND_THE_TABLE:
            calls = [BEYOND_THE_TABLE[name]]
        assert calls, f"no operation of the suite is called {name}"
        for call in calls:
            with pytest.raises(NotImplementedError) as caught:
                call(x)
            assert reason in str(caught.value)


def test_untraced_functions_really_need_the_host() -> None:
    """`minimize` reads a value each step: both tracers refuse it, as the tables say."""
    rule = specdesc.rules.NormalizedGradient(0.1)

    def run(x: Any) -> Any:
        return specdesc.minimize(lambda y: ((y * y).sum(), y), x, rule, steps=1).x

    for name in ("jax", "torch"):
        if name not in backends.available():
            continue
        assert "minimize" in backends.load(name).capabilities.untraced
    jax = pytest.importorskip("jax", reason="jax is not installed")
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.jit(run)(jax.numpy.ones((3, 2)))


# --- moving arrays -------------------------------------------------------------------------------


def test_from_host_and_back(library: Library, dtype: str) -> None:
    if library.backend == "array_api_strict":
        pytest.skip("array-api-strict has no leaf")
    host = support.gaussian(3, 2, dtype=dtype)
    x = library.array(host, dtype)
    assert library.dtype(x) == dtype
    back = library.numpy(x)
    assert isinstance(back, np.ndarray)
    np.testing.assert_allclose(back, host, rtol=2 * EPS[dtype])
    if library.backend != "dask" and dtype != "bfloat16":
        copy = library.leaf.to_host(x)
        copy[...] = 0  # a copy, not a view, and writable
        np.testing.assert_array_equal(library.numpy(x), back)


def test_from_host_copies(library: Library) -> None:
    if library.backend == "array_api_strict":
        pytest.skip("array-api-strict has no leaf")
    host = np.ones((3, 2))
    x = library.leaf.from_host(host, dtype="float64", device=library.device)
    host[...] = 7.0
    assert (library.numpy(x) == 1.0).all()


def test_devices(library: Library) -> None:
    if library.backend == "array_api_strict":
        pytest.skip("array-api-strict has no leaf")
    host = np.ones((2, 2))
    for device in library.leaf.devices():
        assert library.leaf.from_host(host, dtype="float32", device=device) is not None
    with pytest.raises((ValueError, RuntimeError), match=r"nowhere|device"):
        library.leaf.from_host(host, dtype="float32", device="nowhere:77")
    library.leaf.synchronize()
    with library.leaf.guard(library.array(host, "float32")):
        pass


def test_jax_says_that_double_precision_is_off() -> None:
    jax = pytest.importorskip("jax", reason="jax is not installed")
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        backends.load("jax").from_host(np.ones(2), dtype="float64")


def test_agnostic_backend_of_a_namespace_without_a_leaf() -> None:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    from specdesc.backends.generic import agnostic

    leaf = agnostic(strict)
    assert "device1" in "".join(leaf.devices())
    for device in leaf.devices():
        x = leaf.from_host(np.ones((2, 2)), dtype="float32", device=device)
        assert str(leaf.device(x)) == device
    x = leaf.from_host(np.ones((2, 2)), dtype="float64")
    host = leaf.to_host(x)
    host[...] = 2.0
    assert isinstance(host, np.ndarray)
    assert bool(strict.all(x == 1.0))


# --- primitives ----------------------------------------------------------------------------------


def bound(library: Library, dtype: str = "float64") -> Backend:
    """Return the backend of a library as it is behind the door."""
    return enter("orthogonalize", library.array(np.eye(2), dtype))


def agnostic(backend: Backend) -> Primitives:
    return Primitives(backend.xp, backend.placement)


def test_primitives_of_a_leaf_equal_the_agnostic_ones(library: Library, dtype: str) -> None:
    if library.backend == "array_api_strict":
        pytest.skip("array-api-strict has no leaf")
    primitives = bound(library, dtype).primitives
    for batch in ((), (3,), (2, 3)):
        x, z, y = arrays = [
            library.array(support.gaussian(*batch, *shape, seed=i, dtype=dtype), dtype)
            for i, shape in enumerate([(4, 6), (4, 4), (4, 6)])
        ]
        before = [library.numpy(part).tobytes() for part in arrays]

        def calls(on: Primitives, x: Any = x, z: Any = z, y: Any = y) -> Iterator[tuple[Any, Any]]:
            yield x, on.addmm(1.5, x, z, y)
            yield x, on.addmm(1.5, x, z, y, alpha=-0.25)
            yield z, on.linear_combination((1.5,), (z,), 0.0)
            yield z, on.linear_combination((1.5, -0.25), (z, z), 0.5)

        pairs = zip(calls(primitives), calls(agnostic(bound(library, dtype))), strict=True)
        for (like, found), (_, expected) in pairs:
            support.assert_array(library, found, like, tuple(like.shape), dtype)
            np.testing.assert_allclose(
                library.numpy(found), library.numpy(expected), rtol=0, atol=40 * EPS[dtype]
            )
            assert [library.numpy(part).tobytes() for part in arrays] == before


class Overwriting(NamedTuple):
    """A call of a primitive that may write over operands, and those that keep every bit."""

    name: str
    operands: tuple[Any, ...]
    lent: dict[str, Any]
    kept: tuple[Any, ...]
    alpha: float = 1.0


def overwriting(library: Library, host: dict[str, np.ndarray]) -> list[Overwriting]:
    """Return the calls, with operands that are made anew."""
    # Writable, whatever the library of the user hands in.
    x, z, w, y, by, out, d = (library.array(part, "float64") + 0.0 for part in host.values())
    lines = ((8.0, 2.0, 6.0), (1.0, 3.0, 4.0), (0.0, 5.0, 1.0))
    sums = ((1.5, -0.5, 0.3), (0.2, 0.7, -0.4))
    product_alone = ((0.0, 0.0, 0.0), (0.2, 0.7, 0.0))
    over = {"overwrite": True}
    return [
        Overwriting("addmm", (1.5, x, z, x), over, (z,), -0.5),
        Overwriting("addmm", (1.5, w, w, z), over, (z,), -0.5),
        Overwriting("addmm", (1.0, y, z, x), over, (z, x)),
        Overwriting("addmm", (1.5, z, z, z), {"out": out}, (z,)),
        Overwriting("linear_combination", ((1.5, -0.5), (w, z), 0.25), over, (z,)),
        Overwriting("linear_combination", ((1.0, -0.5), (w, z), 0.25), over, (z,)),
        Overwriting("affine_product", (*sums, w, z), over, (z,)),
        Overwriting("affine_product", (*sums, w, z), {}, (w, z)),
        Overwriting("affine_product", (*product_alone, w, z), over, (z,)),
        Overwriting("linear_combinations", (lines, (z, w, d)), {}, ()),
        Overwriting("unscale", (x, by), over, (by,)),
        Overwriting("unscale", (x, by), {}, (x, by)),
        Overwriting("gram", (x,), {"out": out}, (x,)),
        Overwriting("adjoint", (x,), {}, (x,)),
        Overwriting("adjoint_product", (x, x[..., :2]), {}, (x,)),
        Overwriting("squared_row_norms", (x,), {}, (x,)),
        Overwriting("frobenius", (x,), {}, (x,)),
        Overwriting("entry_scale", (x,), {}, (x,)),
        Overwriting("clamp", (x, -0.5, 0.7), {}, (x,)),
        Overwriting("axpby", (0.7, x, 0.3, y), {}, (x, y)),
        Overwriting("axpby", (by, x, -0.3, y), {}, (x, y, by)),
        Overwriting("axpby", (1.0, x, by, y), {}, (x, y, by)),
        Overwriting("hypot", (x, y), {}, (x, y)),
        Overwriting("shift_diagonal", (z, -0.5), {}, ()),
        Overwriting("shift_diagonal", (z, by), {}, (by,)),
        Overwriting("square_sum", (1.5, d, -0.25), {"out": out}, (d,)),
        Overwriting("nan_where_broken", (x,), {}, (x,)),
        Overwriting("thin_product", (z, x[..., :1]), {}, (z, x)),
        Overwriting("add_solve", (0.5, x, 2.0, d), {**over, "owned": True, "out": out}, ()),
        Overwriting("add_solve", (0.5, x, 2.0, d), {"out": out}, (x, d)),
        Overwriting("divide_by_root", (library.xp.matrix_transpose(x), d), {}, (x, d)),
        Overwriting("is_positive_definite", (d, 0.5 + 0.0 * by), {}, (d,)),
    ]


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3)])
@pytest.mark.parametrize("rows", [4, 200])
def test_primitives_that_write_over_operands_equal_the_agnostic_ones(
    rows: int, batch: tuple[int, ...], library: Library
) -> None:
    """Also in panels; what may not be overwritten keeps every bit."""
    if not library.branches or library.backend == "array_api_strict":
        pytest.skip("nothing is written over, or there is no leaf")
    if rows > 4 and len(batch) > 1:
        pytest.skip("too large")
    backend = bound(library)
    long, square = (*batch, rows, rows + 50), (*batch, rows, rows)
    x, z, w, y = (
        support.gaussian(*shape, seed=seed) / rows**0.5
        for seed, shape in enumerate([long, square, square, long])
    )
    host = {
        "x": x,
        "z": z,
        "w": w,
        "y": y,
        "by": np.reshape(np.arange(1.0, 1.0 + np.prod(batch, dtype=int)), (*batch, 1, 1)),
        "out": w,
        "d": z @ support.adjoint(z) + np.eye(rows),
    }
    called = set()
    for i in range(len(overwriting(library, host))):
        # Made anew for each call: what was overwritten holds anything.
        name, operands, lent, kept, alpha = overwriting(library, host)[i]
        called.add(name)
        scaled = {"alpha": alpha} if alpha != 1.0 else {}
        before = [library.numpy(part).tobytes() for part in kept]
        found = getattr(backend.primitives, name)(*operands, **scaled, **lent)
        assert [library.numpy(part).tobytes() for part in kept] == before, name
        operands = overwriting(library, host)[i].operands
        expected = getattr(agnostic(backend), name)(*operands, **scaled)
        several = name == "linear_combinations"
        for one, other in zip(*(y if several else (y,) for y in (found, expected)), strict=True):
            limit = 1e-11 * rows
            np.testing.assert_allclose(
                library.numpy(one), library.numpy(other), rtol=0, atol=limit, err_msg=name
            )
    assert called == {name for name in vars(Primitives) if callable(vars(Primitives)[name])} - {
        name for name in vars(Primitives) if name.startswith("_")
    }


def test_positive_definite_is_told_one_by_one(library: Library) -> None:
    if not library.branches:
        pytest.skip("asked only where code may look")
    host = np.stack([np.eye(3), np.diag([1.0, -1e-3, 1.0]), np.ones((3, 3)) + np.eye(3)])
    x = library.array(host, "float32")
    told = enter("orthogonalize", x).primitives.is_positive_definite
    assert library.numpy(told(x)).tolist() == [True, False, True]
    shift = library.array(np.reshape([1.5, -1.0, 0.5], (3, 1, 1)), "float32")
    assert library.numpy(told(x, shift)).tolist() == [False, True, True]
    assert library.numpy(told(x, 0.0 * shift + 0.5)).tolist() == [True, False, True]


# --- where arrays are ----------------------------------------------------------------------------


def test_a_backend_is_bound_to_where_the_arrays_are(library: Library) -> None:
    x = library.array(np.eye(3), "float32")
    backend = enter("orthogonalize", x)
    assert backend.branches == library.branches
    made = backend.xp.zeros((2,), dtype=x.dtype, device=backend.placement)
    assert str(getattr(made, "device", None)) == str(getattr(x, "device", None))
    assert enter("orthogonalize", x).primitives == backend.primitives


# --- a leaf of somebody else ---------------------------------------------------------------------


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Register a leaf for a library that is there, and that fails while it is imported."""
    library = ModuleType("strange_arrays")
    library.__spec__ = loader.find_spec("json")
    leaf = ModuleType("strange_leaf")

    def broken(name: str) -> Any:
        msg = "libstrange.so: cannot open shared object file"
        raise OSError(msg)

    leaf.__getattr__ = broken  # type: ignore[method-assign]
    monkeypatch.setitem(__import__("sys").modules, "strange_arrays", library)
    monkeypatch.setitem(__import__("sys").modules, "strange_leaf", leaf)
    entries: Mapping[str, EntryPoint] = {
        **loader._entries(),
        "strange_arrays": EntryPoint("strange_arrays", "strange_leaf:BACKEND", loader.GROUP),
    }
    monkeypatch.setattr(loader, "_entries", lambda: entries)
    monkeypatch.setattr(entry, "_OWNERS", {})
    return library


def test_a_broken_leaf_of_somebody_else_is_silent_until_it_is_asked_for(stranger: Any) -> None:
    assert "strange_arrays" in backends.registered()
    y = specdesc.orthogonalize(np.eye(3))
    np.testing.assert_allclose(y, np.eye(3), atol=1e-12)
    with pytest.raises(backends.BackendUnavailable, match=r"libstrange.so: cannot open") as caught:
        backends.load("strange_arrays")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_name_that_is_registered_twice_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = [
        EntryPoint("numpy", f"{package}:BACKEND", loader.GROUP)
        for package in ("specdesc.backends.numpy", "other.numpy")
    ]
    monkeypatch.setattr(loader, "entry_points", lambda group: twice)
    loader._entries.cache_clear()
    try:
        with pytest.raises(backends.BackendUnavailable, match="'numpy' is registered twice"):
            backends.registered()
    finally:
        loader._entries.cache_clear()


def test_outputs_of_a_namespace_without_a_leaf_are_its_own() -> None:
    """The standard is enough: no leaf, no kernel, the same mathematics."""
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    x = strict.asarray(support.easy(2, shape=(48, 44)))
    for operation in OPERATIONS:
        assert all(type(y) is type(x) for y in leaves(operation.call(x)))
