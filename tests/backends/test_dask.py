"""dask: what the chunks decide, against NumPy on the whole matrices."""

import weakref
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest

import specdesc as sd
from specdesc import norms, preconditioners, prox, rules
from tests import support

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")

Array = Any

#: Functions of whole matrices, of which no output depends on signs of singular vectors.
EVERY: dict[str, Callable[[Array], Array]] = {
    "orthogonalize": sd.orthogonalize,
    "orthogonalize[svd]": lambda x: sd.orthogonalize(x, method="svd"),
    "orthogonalize[newton-schulz]": lambda x: sd.orthogonalize(x, method="newton-schulz"),
    "polar, unitary": lambda x: sd.polar(x).unitary,
    "polar, right": lambda x: sd.polar(x).hermitian,
    "polar, left": lambda x: sd.polar(x, side="left").hermitian,
    "spectral_map": lambda x: sd.spectral_map(x, np.sqrt),
    "spectral_clip": lambda x: sd.spectral_clip(x, 0.5),
    "truncated_spectral_step": lambda x: sd.truncated_spectral_step(x, 3),
    "truncated_spectral_step, tol": lambda x: sd.truncated_spectral_step(x, 3, tol=1e-7),
    "truncated_svd": lambda x: sd.truncated_svd(x, 3)[1],
    "Nuclear": lambda x: prox.Nuclear(0.1).prox(x, 0.5),
    "SpectralBall": lambda x: prox.SpectralBall(0.5).prox(x),
    "Stiefel": lambda x: prox.Stiefel().prox(x),
    "Rank": lambda x: prox.Rank(2).prox(x),
    "FrobeniusBall": lambda x: prox.FrobeniusBall(0.5).prox(x),
    "L1Ball": lambda x: prox.L1Ball(1.0).prox(x),
    "lmo of a ball": lambda x: prox.NuclearBall(2.0).lmo(x),
    "value of a ball": lambda x: prox.SpectralBall(0.5).value(x),
    "anisotropic": lambda x: prox.Nuclear(0.1).anisotropic_prox(x, 0.5, preconditioners.Sqrt()),
    "Kappa": preconditioners.Kappa(2, normalize=True),
    "norm": lambda x: norms.KyFan(2).value(x),
    "lmo": lambda x: norms.Nuclear().lmo(x),
    "sharp": lambda x: norms.Spectral().sharp(x),
}

#: Functions of entries.
ENTRIES: dict[str, Callable[[Array], Array]] = {
    "L1": lambda x: prox.L1(0.1).prox(x, 0.5),
    "L0": lambda x: prox.L0(0.1).prox(x),
    "Box": lambda x: prox.Box(-1.0, 0.5).prox(x),
    "Ridge": lambda x: prox.Ridge(0.3).prox(x),
    "Huber": lambda x: prox.Huber(0.3, 0.5).prox(x),
    "MCP": lambda x: prox.MCP(0.3, 2.0).prox(x, 0.5),
    "MaxBall": lambda x: prox.MaxBall(0.5).prox(x),
    "lmo of a ball": lambda x: prox.MaxBall(0.5).lmo(x),
    "anisotropic": lambda x: prox.L1(0.1).anisotropic_prox(
        x, 0.5, preconditioners.Sqrt(geometry="elementwise")
    ),
    "elementwise": preconditioners.Kappa(2, geometry="elementwise"),
    "lmo": lambda x: norms.Max().lmo(x),
    "SignDescent": lambda x: stepped(rules.SignDescent(0.1), x),
    "AdamW": lambda x: stepped(rules.AdamW(0.1), x),
}

DTYPES = ["float32", "float64", "complex128"]


def stepped(rule: rules.Rule, x: Array) -> Array:
    return rule.update(x, x, rule.init(x))[0]


def spread(dtype: str, shape: tuple[int, int], *batch: int) -> Array:
    """Return matrices of condition 100."""
    values = np.geomspace(3.0, 0.03, min(shape))
    size = int(np.prod(batch, dtype=int))
    stack = [support.with_spectrum(values, shape, 7 + 2 * i, dtype) for i in range(size)]
    return np.stack(stack).reshape(*batch, *shape).astype(dtype)


def assert_close(found: Array, expected: Array, dtype: str) -> None:
    """With the error that a backward stable function has at condition 100, and half as much."""
    assert isinstance(found, da.Array)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    limit = 2000 * support.EPS[dtype] * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found.compute(), expected, rtol=0, atol=limit)


@pytest.mark.parametrize("name", EVERY)
def test_stacks_in_chunks_are_those_of_numpy(name: str) -> None:
    dtype = DTYPES[len(name) % 3]
    x = spread(dtype, (9, 7), 5)
    assert_close(EVERY[name](da.from_array(x, chunks=(2, 9, 7))), EVERY[name](x), dtype)


@pytest.mark.parametrize(
    "chunks", [(37, 5), *(pytest.param(c, marks=pytest.mark.slow) for c in [(100, 12), (6, 6)])]
)
@pytest.mark.parametrize("turned", [False, True], ids=["tall", "wide"])
@pytest.mark.parametrize("name", EVERY)
def test_long_matrices_in_uneven_chunks(name: str, turned: bool, chunks: tuple[int, int]) -> None:
    dtype = DTYPES[len(name) % 3]
    shape = (12, 300) if turned else (300, 12)
    x = spread(dtype, shape, 2)
    own = (1, *(chunks[::-1] if turned else chunks))
    assert_close(EVERY[name](da.from_array(x, chunks=own)), EVERY[name](x), dtype)


@pytest.mark.parametrize("name", [name for name in EVERY if not name.startswith("orthogonalize")])
def test_matrices_in_chunks_both_ways_are_brought_together(name: str) -> None:
    x = spread("float64", (14, 12))
    assert_close(EVERY[name](da.from_array(x, chunks=(5, 7))), EVERY[name](x), "float64")


def test_arguments_of_each_matrix_go_with_it() -> None:
    x = spread("float64", (40, 6), 4)
    radii = np.asarray([0.1, 0.5, 1.0, 9.0])
    for chunks in ((3, 40, 6), (3, 11, 6)):
        lazy = da.from_array(x, chunks=chunks)
        own = da.from_array(radii, chunks=2)
        assert_close(sd.spectral_clip(lazy, own), sd.spectral_clip(x, radii), "float64")
        nuclear, entries = prox.Nuclear(0.1), prox.L1(0.1)
        assert_close(nuclear.prox(lazy, own), nuclear.prox(x, radii), "float64")
        assert_close(entries.prox(lazy, own), entries.prox(x, radii), "float64")
        start = sd.initial_start(lazy, 2)
        found = sd.truncated_svd(lazy, 2, tol=1e-7, start=start, full_output=True)
        assert_close(found.S, sd.truncated_svd(x, 2)[1], "float64")
        assert found.start.shape == start.shape


@pytest.mark.parametrize("shape", [(300, 12), (12, 300)], ids=["tall", "wide"])
def test_long_matrices_without_full_rank(shape: tuple[int, int]) -> None:
    """An isometry all the same, the rank that NumPy finds, and errors that are true."""
    k = min(shape)
    host = np.stack(
        [
            support.with_spectrum(np.geomspace(1.0, 1e-9, k), shape),
            support.with_spectrum([2.0, 1.0], shape),
            np.zeros(shape),
            support.with_spectrum(np.ones(k), shape),
        ]
    )
    x = da.from_array(host, chunks=(2, 50, 50))
    exact = sd.orthogonalize(host, method="svd", full_output=True)
    found = sd.orthogonalize(x, full_output=True)
    assert found.rank.compute().tolist() == exact.rank.tolist() == [k, 2, 0, k]
    assert found.status.compute().tolist() == [0, 0, 3, 0]
    distance = support.spectral_norm(found.factor.compute() - exact.factor)
    assert (distance <= found.error.compute() + exact.error).all()
    q = sd.polar(x).unitary.compute()[[0, 1, 3]]
    gram = support.adjoint(q) @ q if shape[0] > k else q @ support.adjoint(q)
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(k), gram.shape), atol=1e-13)


def test_an_accuracy_out_of_reach_is_said() -> None:
    x = da.from_array(spread("float32", (300, 12)), chunks=(70, 12))
    assert sd.orthogonalize(x, tol=1e-9, full_output=True).status.compute() == 1


@pytest.mark.parametrize("name", EVERY)
def test_a_nan_takes_its_matrix(name: str) -> None:
    host = spread("float64", (60, 6), 3)
    host[1, 50, 2] = np.nan
    for chunks in ((2, 60, 6), (2, 20, 6)):
        y = EVERY[name](da.from_array(host, chunks=chunks)).compute()
        assert np.isnan(y[1]).all()
        assert np.isfinite(y[[0, 2]]).all() or name == "value of a ball"


@pytest.mark.parametrize("shape", [(300, 12), (20, 30)], ids=str)
def test_a_point_of_a_set_comes_back_bit_for_bit(shape: tuple[int, int]) -> None:
    host = spread("float64", shape, 2) * np.asarray([[[0.1]], [[3.0]]])
    x = da.from_array(host, chunks=(1, 9, 9))
    for y in (prox.SpectralBall(1.0).prox(x), sd.spectral_clip(x, 1.0)):
        found = y.compute()
        assert found[0].tobytes() == host[0].tobytes()
        assert np.linalg.norm(found[1], 2) <= 1.0 + 1e-12


# --- functions of entries ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_are_those_of_numpy_and_need_one_chunk(name: str) -> None:
    host = spread("float64", (40, 6))
    source = da.from_array(host, chunks=(4, 3))
    x = da.map_blocks(lambda block: block, source, dtype=host.dtype)
    y = ENTRIES[name](x)
    assert_close(y, ENTRIES[name](host), "float64")
    block = y.blocks[3, 1]
    graph, _ = dask.optimization.cull(dict(block.__dask_graph__()), list(block.__dask_keys__()[0]))
    assert len([key for key in graph if isinstance(key, tuple) and key[0] == x.name]) == 1


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=str)
def test_a_nan_of_an_entry_stays_there(name: str, bad: float) -> None:
    host = spread("float64", (40, 6))
    clean = ENTRIES[name](host)
    host[5, 2] = bad
    y = ENTRIES[name](da.from_array(host, chunks=(10, 6))).compute()
    assert np.isnan(y[5, 2])
    y[5, 2] = clean[5, 2]
    np.testing.assert_allclose(y, clean, atol=1e-12)


def test_chunks_are_taken_in_pieces() -> None:
    host = support.gaussian(3, 700, 300)
    host[1, 650, 3] = np.nan
    steps = np.asarray([0.1, 1.0, 3.0])
    found = prox.L1(0.5).prox(da.from_array(host, chunks=(2, 700, 300)), da.from_array(steps))
    expected = np.sign(host) * np.maximum(np.abs(host) - 0.5 * steps[:, None, None], 0.0)
    np.testing.assert_allclose(found.compute(), expected, atol=1e-12)


# --- memory --------------------------------------------------------------------------------------


class Chunks:
    """Chunks that are made when they are asked for, and counted while they live."""

    def __init__(self) -> None:
        self.living: set[int] = set()
        self.most = self.made = 0
        self.numbers: Iterator[int] = count()

    def __call__(self, block: Array, block_info: Any = None) -> Array:
        place = block_info[None]["chunk-location"][0]
        x = np.random.default_rng(place).standard_normal(block_info[None]["chunk-shape"])
        number = next(self.numbers)
        self.living.add(number)
        weakref.finalize(x, self.living.discard, number)
        self.most, self.made = max(self.most, len(self.living)), self.made + 1
        return x

    def array(self, rows: int, parts: int) -> Array:
        zeros = da.zeros((rows * parts, 6), chunks=(rows, 6))
        return da.map_blocks(self, zeros, dtype=float, meta=np.empty((0, 0)))


@pytest.mark.parametrize(
    "name",
    [name for name in EVERY if name not in ("polar, left", "value of a ball", "L1Ball")]
    + list(ENTRIES),
)
def test_long_matrices_are_never_held(name: str) -> None:
    chunks = Chunks()
    x = chunks.array(200, 20)
    y = {**EVERY, **ENTRIES}[name](x)
    assert chunks.made == 0
    with dask.config.set(scheduler="synchronous"):
        float(da.sum(abs(y)).compute())
    assert chunks.made in (20, 40)
    assert chunks.most <= 3
