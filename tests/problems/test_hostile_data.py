"""Data that can hurt: inputs that are not alike in all directions, outliers that agree."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from specdesc import problems
from specdesc.backends.entry import enter
from specdesc.problems.covariance import root_of
from tests import support


def test_covariances_have_the_spectra_that_they_say(rng: np.random.Generator) -> None:
    falling = np.linalg.eigvalsh(problems.geometric_covariance(7, 50.0, seed=3))
    np.testing.assert_allclose(falling, np.geomspace(50.0**-2, 1.0, 7), rtol=1e-10)
    spiked = np.linalg.eigvalsh(problems.spiked_covariance(7, 50.0, seed=3))
    np.testing.assert_allclose(spiked, [1.0] * 6 + [2500.0], rtol=1e-10)
    np.testing.assert_allclose(problems.geometric_covariance(4, 1.0), np.eye(4), atol=1e-14)
    factor = rng.standard_normal((5, 2))
    root = root_of(factor @ factor.T, 5)
    np.testing.assert_allclose(root @ root, factor @ factor.T, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(problems.geometric_covariance, 3, 0.5), "condition must be a finite number"),
        (partial(problems.spiked_covariance, 3, float("nan")), "spike must be a finite number"),
        (partial(problems.spiked_covariance, 3, 2.0, seed=-1), "seed must be an integer"),
        (partial(root_of, np.eye(2), 3), r"covariance must have shape \(3, 3\), got \(2, 2\)"),
        (partial(root_of, -np.eye(3), 3), "symmetric and positive semidefinite"),
        (partial(root_of, np.triu(np.ones((3, 3))), 3), "symmetric and positive semidefinite"),
    ],
)
def test_what_is_no_covariance_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def _measurements(**options: Any) -> tuple[Any, Any, Any]:
    made = problems.random_recovery(4, 2, measurements=4000, outliers=0.3, **options)
    rows = made.observation.matrices.reshape(-1, 4)
    exact = np.tensordot(made.observation.matrices, made.truth, 2)
    return rows, made.observed - exact, made


def _regression(**options: Any) -> tuple[Any, Any, Any]:
    made = problems.random_robust_regression(3, 4, count=4000, outliers=0.3, **options)
    return made.inputs, made.targets - made.inputs @ made.truth.T, made


@pytest.mark.parametrize("draw", [_measurements, _regression])
def test_inputs_have_the_covariance_and_outliers_their_kind(draw: Any) -> None:
    wanted = problems.spiked_covariance(4, 5.0, seed=1)
    rows, errors, _ = draw(covariance=wanted)
    np.testing.assert_allclose(rows.T @ rows / len(rows), wanted, atol=0.12 * 25)
    wrong = np.abs(errors) > 1e-9
    assert np.mean(wrong) == pytest.approx(0.3, abs=1e-3)
    assert abs(np.mean(np.sign(errors[wrong]))) < 0.1
    one_sided = draw(kind="one_sided")[1]
    assert np.all(one_sided > -1e-9)
    assert np.mean(np.abs(one_sided) > 1e-9) == pytest.approx(0.3, abs=1e-3)


def test_structured_outliers_come_from_one_other_matrix() -> None:
    _, errors, made = _measurements(kind="structured")
    wrong = np.abs(errors) > 1e-9
    matrices = made.observation.matrices[wrong].reshape(-1, 16)
    other, rest, *_ = np.linalg.lstsq(matrices, made.observed[wrong], rcond=None)
    assert rest < 1e-16  # one matrix explains all of them
    s = np.linalg.svd(other.reshape(4, 4), compute_uv=False)
    np.testing.assert_allclose(s, [1.0, 1.0, 0.0, 0.0], atol=1e-10)
    assert np.linalg.norm(other.reshape(4, 4) - made.truth) > 0.5

    inputs, errors, made = _regression(kind="structured")
    for i in range(3):
        wrong = np.abs(errors[:, i]) > 1e-9
        rest = np.linalg.lstsq(inputs[wrong], made.targets[wrong, i], rcond=None)[1]
        assert rest < 1e-16

    dense = problems.random_completion(20, 1, observed=1.0, outliers=0.3, kind="structured", seed=2)
    wrong = np.abs(dense.observed - dense.truth) > 1e-12
    assert np.mean(wrong) == pytest.approx(0.3, abs=1e-3)
    for row, hit in zip(dense.observed, wrong, strict=True):
        assert np.max(np.abs(row[hit]), initial=0.0) < 2.0  # entries of a matrix, not added ones


def test_the_kind_alone_changes_with_the_kind() -> None:
    """Inputs, truth and the entries that are hit are those of the seed."""
    plain, structured = (
        problems.random_robust_regression(3, 2, count=50, kind=kind, seed=5)
        for kind in ("symmetric", "structured")
    )
    np.testing.assert_array_equal(plain.inputs, structured.inputs)
    hit = plain.targets != plain.inputs @ plain.truth.T
    np.testing.assert_array_equal(plain.targets[~hit], structured.targets[~hit])


def test_one_sided_entries_are_added_to() -> None:
    made = problems.random_completion(20, 1, observed=0.5, outliers=0.2, kind="one_sided")
    seen = ~np.isclose(made.observed, 0.0)
    errors = (made.observed - made.truth)[seen]
    assert set(np.round(errors, 9)) == {0.0, 1.0}


@pytest.mark.parametrize(
    "make",
    [
        partial(problems.random_recovery, 3, 1, measurements=9, outliers=0.1),
        partial(problems.random_completion, 3, 1, observed=1.0, outliers=0.1),
        partial(problems.random_robust_regression, 3, 2, count=9),
    ],
)
def test_an_unknown_kind_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="kind must be one of symmetric, one_sided, structured"):
        make(kind="mean")


def test_the_regression_of_the_generator_with_noise_takes_a_covariance() -> None:
    made = problems.random_regression(
        3, 4, rank=2, count=4000, covariance=problems.geometric_covariance(4, 10.0)
    )
    found = np.linalg.svd(made.inputs, compute_uv=False) / 4000**0.5
    np.testing.assert_allclose(found, [1.0, 10 ** (-1 / 3), 10 ** (-2 / 3), 0.1], rtol=0.05)


# --- the robust regression itself -----------------------------------------------------------------


def test_its_subgradient_is_one(rng: np.random.Generator) -> None:
    problem = problems.random_robust_regression(3, 4, count=30)
    for _ in range(50):
        x, y = rng.standard_normal((2, 3, 4))
        value, grad = problem.value_and_grad(x)
        assert value == pytest.approx(np.mean(np.abs(problem.inputs @ x.T - problem.targets)))
        assert problem.value_and_grad(y)[0] >= value + np.sum(grad * (y - x)) - 1e-12


def test_a_stack_of_points_is_its_points(rng: np.random.Generator) -> None:
    problem = problems.random_robust_regression(3, 4, count=30)
    points = rng.standard_normal((2, 5, 3, 4))
    values, grads = problem.value_and_grad(points)
    errors = problem.error(points)
    for i in np.ndindex(2, 5):
        value, grad = problem.value_and_grad(points[i])
        np.testing.assert_allclose(values[i], value, rtol=1e-14)
        np.testing.assert_allclose(grads[i], grad, rtol=1e-12, atol=1e-16)
        np.testing.assert_allclose(errors[i], problem.error(points[i]), rtol=1e-14)
    assert problem.error(problem.truth) == 0.0
    with pytest.raises(ValueError, match=r"x must have the shape \(3, 4\) of the problem"):
        problem.value_and_grad(points[0, 0].T)


def test_every_library_has_the_same_regression(library: support.Library) -> None:
    if library.backend == "dask":
        pytest.skip("one chunked backend more says nothing about a product")
    reference = problems.random_robust_regression(3, 4, count=30)
    dtype = "float64" if "float64" in library.dtypes else "float32"
    parts = reference.inputs, reference.targets, reference.truth
    inputs, targets, truth = (library.array(part, dtype) for part in parts)
    problem = problems.RobustRegression(inputs, targets, truth, enter("problems", inputs))
    x = support.gaussian(3, 4) + 1.0  # the generator of the same seed draws the truth first
    for ours, theirs in zip(
        problem.value_and_grad(library.array(x, dtype)), reference.value_and_grad(x), strict=True
    ):
        np.testing.assert_allclose(library.numpy(ours), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"outliers": 1.5}, {"noise": -1.0}, {"count": 0}])
def test_options_out_of_range_are_named(options: dict[str, float]) -> None:
    given: dict[str, Any] = {"count": 5} | options
    with pytest.raises(ValueError, match=next(iter(options))):
        problems.random_robust_regression(2, 2, **given)


def test_noisy_quadratics_take_further_points(rng: np.random.Generator) -> None:
    problem = problems.random_quadratic(4, 3, seeds=(1, 2))
    points = rng.standard_normal((5, 2, 4, 3))
    values, grads = problem.value_and_grad(points, problem.sample(3))
    for i in range(5):
        value, grad = problem.value_and_grad(points[i], problem.sample(3))
        np.testing.assert_allclose(values[i], value, rtol=1e-13)
        np.testing.assert_allclose(grads[i], grad, rtol=1e-13)
    with pytest.raises(ValueError, match="one shape"):
        problem.value_and_grad(points[0, 0])
