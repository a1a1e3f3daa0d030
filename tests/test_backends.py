"""Leaves: what they advertise, how they are found, and what a broken one does."""

import ast
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest

import specdesc
from specdesc import backends
from specdesc._orthogonalize import Method
from specdesc.backends import loader, primitives
from specdesc.backends.entry import enter
from specdesc.preconditioners import Geometry
from tests import support
from tests.support import EPS, OPERATIONS, Library, leaves


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
    owner = loader.owner(library.array(np.ones((2, 2)), "float32"))
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
    "preconditioners[spectral]": specdesc.preconditioners.Kappa(),
    **{
        f"prox.{type(g).__name__}": g.prox
        for g in (
            specdesc.prox.KyFanBall(2, 1.0),
            specdesc.prox.NuclearBall(1.0),
            specdesc.prox.RankPenalty(1.0),
            specdesc.prox.Spectral(specdesc.prox.L1(1.0)),
            specdesc.prox.SpectralInterval(0.1, 1.0),
            specdesc.prox.Stiefel(),
            specdesc.prox.PSD(),
        )
    },
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


# --- kernels -------------------------------------------------------------------------------------


def test_kernels_of_a_leaf_equal_the_agnostic_ones(library: Library, dtype: str) -> None:
    if library.backend == "array_api_strict":
        pytest.skip("array-api-strict has no leaf")
    backend = library.leaf
    assert set(backend.kernels) <= set(primitives.AGNOSTIC)
    for batch in ((), (3,), (2, 3)):
        x, z, y = arrays = [
            library.array(support.gaussian(*batch, *shape, seed=i, dtype=dtype), dtype)
            for i, shape in enumerate([(4, 6), (4, 4), (4, 6)])
        ]
        before = [library.numpy(part).tobytes() for part in arrays]
        calls: list[tuple[str, tuple[Any, ...], dict[str, float]]] = [
            ("multiply_add", (1.5, x, z, y), {}),
            ("multiply_add", (1.5, x, z, y), {"alpha": -0.25}),
            ("combine", ((1.5,), (z,), 0.0), {}),
            ("combine", ((1.5, -0.25), (z, z), 0.5), {}),
        ]
        for name, options, named in calls:
            found = primitives.kernel(name, backend)(*options, **named, backend=backend)
            expected = primitives.AGNOSTIC[name](*options, **named, backend=backend)
            like = x if name == "multiply_add" else z
            support.assert_array(library, found, like, tuple(like.shape), dtype)
            np.testing.assert_allclose(
                library.numpy(found), library.numpy(expected), rtol=0, atol=40 * EPS[dtype]
            )
            assert [library.numpy(part).tobytes() for part in arrays] == before


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3)])
@pytest.mark.parametrize("rows", [4, 200])
def test_kernels_that_write_over_operands_equal_the_agnostic_ones(
    rows: int, batch: tuple[int, ...], library: Library
) -> None:
    """Also in panels; what may not be overwritten keeps every bit."""
    if not library.branches or library.backend == "array_api_strict":
        pytest.skip("nothing is written over, or there is no leaf")
    if rows > 4 and len(batch) > 1:
        pytest.skip("too large")
    backend = library.leaf
    host = [
        support.gaussian(*batch, rows, columns, seed=seed) / rows**0.5
        for seed, columns in enumerate([rows + 50, rows, rows, rows + 50])
    ]
    powers = np.reshape(np.arange(1.0, 1.0 + np.prod(batch, dtype=int)), (*batch, 1, 1))
    lines = ((8.0, 2.0, 6.0), (1.0, 3.0, 4.0), (0.0, 5.0, 1.0))
    sums = ((1.5, -0.5, 0.3), (0.2, 0.7, -0.4))
    products_only = ((0.0, 0.0, 0.0), (0.2, 0.7, 0.0))
    definite = host[1] @ support.adjoint(host[1]) + np.eye(rows)

    def calls() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any], tuple[Any, ...]]]:
        x, z, w, y, by, room, d = (
            # Writable, whatever the library of the user hands in.
            library.array(part, "float64") + 0.0
            for part in (*host, powers, host[2], definite)
        )
        yield "multiply_add", (1.5, x, z, x), {"alpha": -0.5, "spend": True}, (z,)
        yield "multiply_add", (1.5, w, w, z), {"alpha": -0.5, "spend": True}, (z,)
        yield "multiply_add", (1.0, y, z, x), {"spend": True}, (z, x)
        yield "multiply_add", (1.5, z, z, z), {"room": room}, (z,)
        yield "combine", ((1.5, -0.5), (w, z), 0.25), {"spend": True}, (z,)
        yield "combine", ((1.0, -0.5), (w, z), 0.25), {"spend": True}, (z,)
        yield "factored", (*sums, w, z), {"spend": True}, (z,)
        yield "factored", (*sums, w, z), {}, (w, z)
        yield "factored", (*products_only, w, z), {"spend": True}, (z,)
        yield "mix", (lines, (z, w, d)), {}, ()
        yield "divide", (x, by), {"spend": True}, (by,)
        yield "divide", (x, by), {}, (x, by)
        yield "gram", (x,), {"room": room}, (x,)
        yield "row_energies", (x,), {}, (x,)
        yield "times_columns", (z, x[..., :1]), {}, (z, x)
        yield "solve_add", (0.5, x, 2.0, d), {"spend": True, "ours": True, "room": room}, ()
        yield "solve_add", (0.5, x, 2.0, d), {"room": room}, (x, d)
        yield "positive_definite", (d, 0.5 + 0.0 * by), {}, (d,)

    count = sum(1 for _ in calls())
    for i in range(count):
        # Made anew for each call: what was spent holds anything.
        name, options, named, kept = list(calls())[i]
        before = [library.numpy(part).tobytes() for part in kept]
        found = primitives.kernel(name, backend)(*options, **named, backend=backend)
        assert [library.numpy(part).tobytes() for part in kept] == before, name
        name, options, _, _ = list(calls())[i]
        alpha = {"alpha": named["alpha"]} if "alpha" in named else {}
        expected = primitives.AGNOSTIC[name](*options, **alpha, backend=backend)
        for one, other in zip(
            *(y if name == "mix" else (y,) for y in (found, expected)), strict=True
        ):
            limit = 1e-11 * rows
            np.testing.assert_allclose(
                library.numpy(one), library.numpy(other), rtol=0, atol=limit, err_msg=name
            )


def test_positive_definite_is_told_one_by_one(library: Library) -> None:
    if not library.branches:
        pytest.skip("asked only where code may look")
    host = np.stack([np.eye(3), np.diag([1.0, -1e-3, 1.0]), np.ones((3, 3)) + np.eye(3)])
    x = library.array(host, "float32")
    backend = enter("orthogonalize", x)
    positive_definite = primitives.kernel("positive_definite", backend)
    assert library.numpy(positive_definite(x, backend=backend)).tolist() == [True, False, True]
    shift = library.array(np.reshape([1.5, -1.0, 0.5], (3, 1, 1)), "float32")
    found = positive_definite(x, shift, backend=backend)
    assert library.numpy(found).tolist() == [False, True, True]
    found = positive_definite(x, 0.0 * shift + 0.5, backend=backend)
    assert library.numpy(found).tolist() == [True, False, True]


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
    monkeypatch.setattr(loader, "_OWNERS", {})
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
