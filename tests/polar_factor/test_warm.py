"""Starts from the inverse root of an earlier call: used where they prove themselves."""

from typing import Any

import numpy as np
import pytest

from specdesc import initial_start, orthogonalize
from specdesc._polar_factor import plan, warm_start
from specdesc.backends import load
from tests import support
from tests.support import Library, spectral_norm


def moved(x: Any, by: float, seed: int) -> Any:
    return (
        x
        + by
        * np.linalg.norm(x, 2, axis=(-2, -1), keepdims=True)
        * support.gaussian(*x.shape, seed=seed)
        / sum(x.shape[-2:]) ** 0.5
    )


def test_a_start_has_one_shape_along_a_trajectory(library: Library) -> None:
    if library.backend == "dask" or library.compiles:
        pytest.skip("eager libraries: the traced case is below")
    host = support.easy(3, shape=(12, 20))
    start = initial_start(library.array(host, "float32"))
    for step in range(4):
        x = library.array(host, "float32")
        full = orthogonalize(x, tol=0.05, start=start, full_output=True)
        support.assert_array(library, full.start, x, (3, 12, 12), "float32")
        truth = support.polar_factor(library.numpy(x).astype("float64"))
        distance = spectral_norm(library.numpy(full.factor) - truth)
        assert (distance <= library.numpy(full.error)).all()
        assert (library.numpy(full.status) == 0).all()
        root = library.numpy(full.start).astype("float64")
        whole = root @ (host @ support.adjoint(host)) @ root
        assert spectral_norm(whole - np.eye(12)).max() < 0.4
        host, start = moved(host, 1e-3, step), full.start


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (16, 16)])
@pytest.mark.parametrize("by", [1e-6, 1e-4, 1e-2, 1.0])
def test_the_bound_of_a_warm_factor_is_true(shape: tuple[int, int], by: float) -> None:
    """W does not commute with X Xᴴ: orthonormal rows alone would prove nothing."""
    backend = load("numpy")
    accepted = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        k = min(shape)
        x = support.with_spectrum(np.geomspace(1, 10.0 ** -rng.uniform(0, 2), k), shape, seed)
        before = orthogonalize(x, start=np.zeros((k, k)), full_output=True)
        y = moved(x, by, seed + 100)
        wide = y if shape[0] <= shape[1] else y.T
        kind = plan.Kind((k, max(shape)), 2.0**-52)
        warm = warm_start.attempt(wide, before.start, kind, 0.1, backend=backend)
        assert spectral_norm(warm.factor - support.polar_factor(wide)) <= warm.error
        accepted += bool(warm.error <= 0.1)
        full = orthogonalize(y, tol=0.1, method="polynomial", start=before.start, full_output=True)
        assert spectral_norm(full.factor - support.polar_factor(y)) <= min(full.error, 0.1)
    assert by > 1e-6 or accepted == 20
    assert by < 1.0 or accepted == 0


@pytest.mark.parametrize("what", ["zero", "nan", "huge", "another"])
def test_a_useless_start_changes_nothing(what: str) -> None:
    x = support.easy(shape=(12, 20))
    start = {
        "zero": np.zeros((12, 12)),
        "nan": np.full((12, 12), np.nan),
        "huge": 1e200 * np.eye(12),
        "another": support.gaussian(12, 12),
    }[what]
    full = orthogonalize(x, tol=1e-3, method="polynomial", start=start, full_output=True)
    cold = orthogonalize(x, tol=1e-3, method="polynomial", full_output=True)
    np.testing.assert_array_equal(full.factor, cold.factor)
    assert full.status == 0
    assert cold.start is None
    assert np.isfinite(full.start).all()


def test_what_has_no_inverse_root_leads_to_a_start_of_zeros() -> None:
    x = np.stack(
        [
            support.easy(shape=(8, 12)),
            support.with_spectrum([1.0, 0.5], (8, 12)),
            np.zeros((8, 12)),
            np.full((8, 12), np.inf),
        ]
    )
    full = orthogonalize(x, tol=1e-2, start=np.zeros((4, 8, 8)), full_output=True)
    assert full.status.tolist() == [0, 0, 3, 2]
    assert (full.start[0] != 0).any()
    assert (full.start[1:] == 0).all()


def test_a_traced_start_keeps_status_and_structure() -> None:
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray(support.easy(shape=(8, 12)).astype("float32"))

    def step(start: Any, _: None) -> Any:
        full = orthogonalize(x, tol=0.1, floor=0.1, start=start, full_output=True)
        return full.start, full.status

    start, status = jax.lax.scan(step, jax.numpy.zeros((8, 8), "float32"), None, length=2)
    assert start.shape == (8, 8)
    assert status.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("start", "error", "words"),
    [
        (np.zeros((12, 12)), ValueError, r"\(8, 8\).*\(12, 12\)"),
        (np.zeros((8, 8), "float32"), TypeError, "dtype"),
        ([[0.0]], TypeError, "start"),
    ],
)
def test_bad_starts(start: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        orthogonalize(support.easy(shape=(8, 12)), start=start)
