"""Principal component pursuit solves the problem that it states."""

from typing import Any

import numpy as np
import pytest

from specdesc.problems import RobustRecovery, estimate_rank, principal_component_pursuit


def planted(n: int = 40, rank: int = 4, share: float = 0.2, seed: int = 1) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    low = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))
    hit = rng.random((n, n)) < share
    return low, np.where(hit, low + 5.0 * rng.choice([-1.0, 1.0], (n, n)), low)


def objective(low: Any, data: Any, weight: float, seen: Any = True) -> float:
    nuclear = np.linalg.svd(low, compute_uv=False).sum()
    return float(nuclear + weight * np.abs(np.where(seen, data - low, 0.0)).sum())


def apart(x: Any, y: Any) -> float:
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e18])
def test_the_minimiser_is_the_planted_matrix_in_any_units(unit: float) -> None:
    low, data = planted()
    found, sparse = principal_component_pursuit(data * unit)
    # The gap allowed is a millionth of the objective; here that leaves ten of the matrix.
    assert apart(found / unit, low) < 1e-4
    np.testing.assert_array_equal(sparse, data * unit - found)


@pytest.mark.parametrize("complex_", [False, True])
def test_no_feasible_competitor_is_better_than_the_gap_allows(complex_: bool) -> None:
    rng = np.random.default_rng(0)
    data = rng.standard_normal((15, 9)) + (1j * rng.standard_normal((15, 9)) if complex_ else 0.0)
    seen = rng.random((15, 9)) < 0.8
    tol = 1e-6
    found, _ = principal_component_pursuit(data, mask=seen, tol=tol)
    least = objective(found, data, 15**-0.5, seen)
    for scale in (1e-3, 1e-2, 1e-1, 1.0):
        for _ in range(50):
            other = found + scale * rng.standard_normal((15, 9))
            assert objective(other, data, 15**-0.5, seen) >= least * (1 - tol)


def test_an_optimality_condition_of_lagrange_holds() -> None:
    """With a large weight nothing is sparse; with a small one nothing is of low rank."""
    data = np.random.default_rng(3).standard_normal((12, 8))
    low, sparse = principal_component_pursuit(data, weight=1.5)
    assert apart(low, data) < 1e-4
    assert np.abs(sparse).max() < 1e-3
    assert np.abs(principal_component_pursuit(data, weight=1e-3)[0]).max() < 1e-6


def test_the_size_of_outliers_does_not_matter() -> None:
    low, data = planted(share=0.1)
    hit = np.abs(data - low) > 1.0
    reference = principal_component_pursuit(data)[0]
    for size in (1e3, 1e7, 1e12):
        found = principal_component_pursuit(np.where(hit, low + size * np.sign(data - low), data))[
            0
        ]
        assert apart(found, reference) < 1e-2


def test_a_broken_matrix_leaves_the_others_of_its_stack() -> None:
    _, data = planted(12, 2)
    broken = data.copy()
    broken[1, 1] = np.inf
    low, sparse = principal_component_pursuit(np.stack([data, broken, data]))
    assert np.isnan(low[1]).all()
    assert np.isnan(sparse[1]).all()
    alone = principal_component_pursuit(data)[0]
    for i in (0, 2):
        np.testing.assert_allclose(low[i], alone, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64"])
def test_dtypes_and_empty_arrays(dtype: str) -> None:
    _, data = planted(12, 2)
    assert principal_component_pursuit(data.astype(dtype))[0].dtype == dtype
    assert principal_component_pursuit(np.zeros((0, 5), dtype))[0].shape == (0, 5)
    assert (principal_component_pursuit(np.zeros((4, 5), dtype))[0] == 0).all()


@pytest.mark.parametrize("name", ["weight", "tol"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_options_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        principal_component_pursuit(np.eye(3), **{name: value})


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        (np.ones((3, 3)), TypeError),
        ([[True] * 3] * 3, TypeError),
        (np.ma.masked_invalid(np.eye(3)), TypeError),
        (np.ones(3, bool), ValueError),
    ],
)
def test_a_wrong_mask_is_refused_by_name(mask: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="mask"):
        principal_component_pursuit(np.eye(3), mask=mask)


def test_the_strict_namespace_gives_what_numpy_gives(rng: Any) -> None:
    strict = pytest.importorskip("array_api_strict")
    data = rng.standard_normal((20, 3)) @ rng.standard_normal((3, 15))
    data[:2, :2] = 1e4
    mask = rng.random(data.shape) < 0.9
    low, _ = principal_component_pursuit(strict.asarray(data), mask=strict.asarray(mask))
    expected, _ = principal_component_pursuit(data, mask=mask)
    np.testing.assert_allclose(np.asarray(low), expected, atol=1e-8)
    problem = RobustRecovery.from_entries(strict.asarray(data), mask=strict.asarray(mask))
    same = RobustRecovery.from_entries(data, mask=mask)
    assert estimate_rank(problem) == estimate_rank(same)
