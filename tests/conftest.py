"""Fixtures: every test that asks for `library` runs on every library, `dtype` on every dtype."""

import os
from collections.abc import Iterator
from typing import Any

# Matrices are small here: threads of the linear algebra libraries would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

pytest.register_assert_rewrite("tests.support")

from tests import support  # noqa: E402
from tests.support import Library  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast",
        action="store_true",
        help="only NumPy, strict and torch, in one dtype of each kind, and what takes no time",
    )
    parser.addoption(
        "--library",
        action="append",
        default=[],
        help="run the array tests on this library only (may be given more than once)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "library" not in metafunc.fixturenames:
        return
    wanted = metafunc.config.getoption("--library")
    ways = [
        way
        for way in (*support.LIBRARIES, *support.GPU_LIBRARIES)
        if not wanted or way.backend in wanted or way.name in wanted
    ]
    if "dtype" in metafunc.fixturenames and not _sets_dtype(metafunc):
        pairs = [
            pytest.param(way, dtype, marks=_marks(way), id=f"{way.name}-{dtype}")
            for way in ways
            for dtype in way.tried
        ]
        metafunc.parametrize(("library", "dtype"), pairs, indirect=["library"])
    else:
        params = [pytest.param(way, marks=_marks(way), id=way.name) for way in ways]
        metafunc.parametrize("library", params, indirect=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give to one worker what two would do twice: JAX's compilations, the quick targets."""
    from xdist.scheduler import LoadScopeScheduling

    class OneWorker(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((key for key in ("[jax", "test_targets") if key in nodeid), nodeid)

    return OneWorker(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the tests into tiers, by rules and not one by one.

    Where every operation is compiled or becomes a graph (JAX, dask), the default suite runs the
    tests marked essential, in float32; the others are slow. Of a test marked thorough it runs one
    case. The fast tier leaves them out, and takes one case of each test.
    """
    fast = config.getoption("--fast")
    kept, dropped = [], []
    tried = set[tuple[object, ...]]()
    thorough = set[tuple[object, ...]]()
    for item in items:
        way, dtype = _way_of(item)
        if way is not None and way.costly:
            essential = item.get_closest_marker("essential") is not None
            if not essential or dtype not in (None, "float32"):
                item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("thorough") and not item.get_closest_marker("slow"):
            test = (item.path, getattr(item, "originalname", item.name))
            if test in thorough:
                item.add_marker(pytest.mark.slow)
            thorough.add(test)
        if not fast:
            kept.append(item)
            continue
        # Of the cases of one test the first on each library.
        case = (item.path, getattr(item, "originalname", item.name), way and way.backend)
        first = case not in tried and _is_fast(item, way, dtype)
        (kept if first else dropped).append(item)
        if first:
            tried.add(case)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def _way_of(item: pytest.Item) -> tuple[Library | None, str | None]:
    callspec = getattr(item, "callspec", None)
    params = callspec.params if callspec else {}
    way = params.get("library")
    return (way if isinstance(way, Library) else None), params.get("dtype")


#: Rooms whose tests without a library run commands, descents or whole claims.
LONG_ROOMS = {"benchmarks", "driver", "problems", "recover", "verify"}


def _is_fast(item: pytest.Item, way: Library | None, dtype: str | None) -> bool:
    if way is None and "[jax" in item.name:
        return False
    if way is None:
        return item.path.parent.name not in LONG_ROOMS and "readme" not in item.path.name
    return way.name in support.FAST and dtype in (None, *support.FAST[way.name])


def _sets_dtype(metafunc: pytest.Metafunc) -> bool:
    marks = metafunc.definition.iter_markers("parametrize")
    return any("dtype" in str(mark.args[0]) for mark in marks)


def _marks(way: Library) -> list[pytest.MarkDecorator]:
    marks = [pytest.mark.gpu] if way in support.GPU_LIBRARIES else []
    reason = way.missing()
    return [*marks, pytest.mark.skip(reason=reason)] if reason else marks


@pytest.fixture
def library(request: pytest.FixtureRequest) -> Iterator[Library]:
    """One way to run, with its settings."""
    way: Library = request.param
    with way.context():
        yield way


@pytest.fixture
def rng() -> Any:
    """A fresh generator, the same for every test."""
    return np.random.default_rng(20260527)
