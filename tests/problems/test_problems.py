"""Problems: value, subgradient and truth; what is destroyed; baselines; the rank estimate."""

import numpy as np
import pytest

from specdesc import minimize, problems, prox, rules, schedules
from specdesc.problems import RobustRecovery


def _entries(rng, shape=(12, 9), dtype="float64"):
    data = rng.standard_normal(shape)
    if dtype.startswith("complex"):
        data = data + 1j * rng.standard_normal(shape)
    return data.astype(dtype)


def _problem(kind, rng, dtype="float64"):
    if kind == "entries":
        data = _entries(rng, dtype=dtype)
        mask = rng.random(data.shape) < 0.8
        return RobustRecovery.from_entries(data, mask=mask)
    matrices = _entries(rng, (30, 4, 5), dtype)
    return RobustRecovery.from_measurements(matrices, _entries(rng, (30,), dtype))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("kind", ["entries", "measurements"])
def test_the_subgradient_is_the_derivative_where_there_is_one(rng, kind, dtype):
    problem = _problem(kind, rng, dtype)
    x = _entries(rng, problem.start().shape, dtype)
    along = _entries(rng, x.shape, dtype)
    step = 1e-6
    rise = problem.value_and_grad(x + step * along)[0] - problem.value_and_grad(x - step * along)[0]
    slope = np.sum(np.conj(problem.value_and_grad(x)[1]) * along).real
    assert abs(rise / (2 * step) - slope) <= 1e-7 * abs(slope) + 1e-8


@pytest.mark.parametrize("kind", ["entries", "measurements"])
def test_the_subgradient_inequality_holds_everywhere(rng, kind):
    problem = _problem(kind, rng)
    shape = problem.start().shape
    for _ in range(50):
        x, y = rng.standard_normal(shape), rng.standard_normal(shape)
        value, grad = problem.value_and_grad(x)
        assert problem.value_and_grad(y)[0] >= value + np.sum(grad * (y - x)) - 1e-12


def test_missing_entries_do_not_count(rng):
    data = _entries(rng)
    holed = data.copy()
    holed[2, 3] = np.nan
    problem = RobustRecovery.from_entries(holed)
    x = _entries(rng)
    value, grad = problem.value_and_grad(x)
    keep = ~np.isnan(holed)
    assert value == pytest.approx(np.abs(x - data)[keep].mean(), rel=1e-14)
    assert grad[2, 3] == 0
    mask = RobustRecovery.from_entries(data, mask=keep)
    np.testing.assert_array_equal(mask.value_and_grad(x)[1], grad)
    np.testing.assert_array_equal(mask.start(), problem.start())


def test_a_stack_is_its_matrices(rng):
    data = _entries(rng, (3, 8, 6))
    data[1, 0, 0] = np.nan
    x = _entries(rng, data.shape)
    stack = RobustRecovery.from_entries(data)
    value, grad = stack.value_and_grad(x)
    for i in range(3):
        one = RobustRecovery.from_entries(data[i])
        np.testing.assert_allclose(value[i], one.value_and_grad(x[i])[0], rtol=1e-14)
        np.testing.assert_allclose(grad[i], one.value_and_grad(x[i])[1], rtol=1e-14)
        np.testing.assert_array_equal(stack.start()[i], one.start())


def test_the_start_is_the_median_of_what_is_observed(rng):
    data = _entries(rng, (7, 5))  # an odd number of entries has one median
    assert (RobustRecovery.from_entries(data).start() == np.median(data)).all()
    complex_data = _entries(rng, (7, 5), "complex128")
    start = RobustRecovery.from_entries(complex_data).start()
    assert (start == np.median(complex_data.real) + 1j * np.median(complex_data.imag)).all()


def test_gaussian_measurements_are_solved_to_the_promised_accuracy():
    # n = 20, rank 2, five times more measurements than entries, a tenth of them outliers: every
    # seed reaches 1e-6 within 150 steps of ratio 0.9.
    for seed in range(3):
        problem = problems.random_recovery(20, 2, measurements=2000, outliers=0.1, seed=seed)
        first = 0.3 * 2**0.5 / 5**0.5
        rule = rules.TruncatedSpectralDescent(5, schedules.geometric(first, 0.9), tol=None)
        found = minimize(problem.value_and_grad, problem.start(), rule, steps=150)
        assert problem.error(found.x) < 1e-6


def test_every_library_solves_the_same_problem(library):
    if library.backend == "dask":
        pytest.skip("dask has no SVD of stacks")
    reference = problems.random_recovery(8, 1, measurements=400, outliers=0.1)
    dtype = "float64" if "float64" in library.dtypes else "float32"
    matrices = library.array(reference.observation.matrices, dtype)
    observed = library.array(reference.observed, dtype)
    truth = library.array(reference.truth, dtype)
    problem = RobustRecovery.from_measurements(matrices, observed, truth=truth)
    rule = rules.TruncatedSpectralDescent(2, problem.geometric_steps(2, 120), tol=None)
    found = minimize(problem.value_and_grad, problem.start(), rule, steps=120)
    assert float(problem.error(found.x)) < 1e-2
    ours = minimize(
        reference.value_and_grad,
        reference.start(),
        rules.TruncatedSpectralDescent(2, reference.geometric_steps(2, 120), tol=None),
        steps=1,
    )
    one = minimize(problem.value_and_grad, problem.start(), rule, steps=1)
    np.testing.assert_allclose(
        library.numpy(one.x), ours.x, atol=1e-12 if dtype == "float64" else 1e-5
    )


def test_the_error_needs_the_truth(rng):
    data = _entries(rng)
    with pytest.raises(ValueError, match="truth="):
        RobustRecovery.from_entries(data).error(data)
    assert RobustRecovery.from_entries(data, truth=data).error(2 * data) == pytest.approx(1.0)


def test_shapes_that_do_not_fit_are_named(rng):
    data = _entries(rng)
    with pytest.raises(ValueError, match=r"data and mask .* \(12, 9\) and \(9, 12\)"):
        RobustRecovery.from_entries(data, mask=data.T > 0)
    with pytest.raises(ValueError, match=r"data and truth"):
        RobustRecovery.from_entries(data, truth=data[:3])
    with pytest.raises(ValueError, match=r"\(p, m, n\)"):
        RobustRecovery.from_measurements(rng.standard_normal((5, 3, 3)), rng.standard_normal(4))
    with pytest.raises(TypeError, match="floating"):
        RobustRecovery.from_entries(np.ones((3, 3), dtype=int))


def test_corrupt_destroys_what_it_says():
    clean = np.full((200, 200), 0.5)
    clean[0, 0] = np.nan
    data = problems.corrupt(clean, share=0.2, noise=0.02, seed=3, limits=(0.0, 1.0))
    hit = (data == 0) | (data == 1)
    assert abs(hit.mean() - 0.2) < 0.01
    assert abs((data == 1).sum() / hit.sum() - 0.5) < 0.05
    assert abs(np.nanstd(data[~hit]) - 0.02) < 0.001
    assert np.isnan(data[0, 0])
    assert np.isnan(data).sum() == 1
    again = problems.corrupt(clean, share=0.2, noise=0.02, seed=3, limits=(0.0, 1.0))
    np.testing.assert_array_equal(data, again)
    assert (problems.corrupt(clean, share=0, noise=0)[1:] == 0.5).all()


@pytest.mark.parametrize(("share", "noise"), [(1.0, 0.0), (-0.1, 0.0), (0.1, -1.0), (0.1, np.inf)])
def test_corrupt_refuses_what_is_out_of_range(share, noise):
    with pytest.raises(ValueError, match=r"share|noise"):
        problems.corrupt(np.ones((3, 3)), share=share, noise=noise)


def _low_rank_plus_sparse(rng, n=100, rank=5, share=0.05):
    low = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n)) / n
    sparse = (rng.random((n, n)) < share) * rng.choice([-1.0, 1.0], (n, n))
    return low, sparse


def test_pursuit_finds_both_parts(rng):
    low, sparse = _low_rank_plus_sparse(rng)
    found, rest = problems.principal_component_pursuit(low + sparse)
    assert np.linalg.norm(found - low) <= 5e-6 * np.linalg.norm(low)
    assert ((np.abs(rest) > 1e-4) == (sparse != 0)).all()
    assert np.linalg.matrix_rank(found, rtol=1e-3) == 5


def test_pursuit_solves_a_stack_matrix_by_matrix_and_skips_what_is_missing(rng):
    parts = [_low_rank_plus_sparse(rng) for _ in range(2)]
    data = np.stack([low + sparse for low, sparse in parts])
    mask = rng.random(data.shape) < 0.95
    found, rest = problems.principal_component_pursuit(np.where(mask, data, 1e3), mask=mask)
    for i, (low, _) in enumerate(parts):
        assert np.linalg.norm(found[i] - low) <= 1e-4 * np.linalg.norm(low)
    assert (rest[~mask] == 0).all()


def test_pursuit_of_zeros_is_zero():
    low, sparse = problems.principal_component_pursuit(np.zeros((4, 3)))
    assert (low == 0).all()
    assert (sparse == 0).all()


def test_the_rank_of_a_low_rank_matrix_under_outliers_is_found(rng):
    for rank in (2, 6):
        low = rng.standard_normal((150, rank)) @ rng.standard_normal((rank, 120))
        data = low + 0.5 * rng.standard_normal(low.shape)
        data = problems.corrupt(data, share=0.1, noise=0.0, seed=rank)
        assert problems.estimate_rank(RobustRecovery.from_entries(data)) == rank


@pytest.mark.parametrize("noise", [0.05, 0.1])
def test_a_gap_down_to_the_noise_is_the_rank(rng, noise, monkeypatch):
    """Where counts above a threshold alone say more, as they do without the rule."""
    low = rng.standard_normal((100, 1)) @ rng.standard_normal((1, 80))
    hit = rng.random(low.shape) < 0.2
    data = low + noise * rng.standard_normal(low.shape) + hit * 1e4 * rng.choice([-1, 1], hit.shape)
    problem = RobustRecovery.from_entries(data)
    assert problems.estimate_rank(problem) == 1
    monkeypatch.setattr("specdesc.problems.rank.GAP", float("inf"))
    assert problems.estimate_rank(problem) > 1


def test_the_rank_estimate_takes_any_shape(rng):
    for shape in ((1, 8), (8, 1), (2, 2), (3, 20, 10)):
        data = rng.standard_normal(shape)
        assert 1 <= problems.estimate_rank(RobustRecovery.from_entries(data)) <= min(shape[-2:])
    problem = problems.random_recovery(4, 1, measurements=20, outliers=0.0)
    with pytest.raises(ValueError, match="from_entries"):
        problems.estimate_rank(problem)


def test_a_rank_projection_recovers_from_fewer_measurements_than_entries():
    problem = problems.random_recovery(30, 2, measurements=540, outliers=0.1, seed=1)
    first = 0.2 * 2**0.5 / 2**0.5
    rule = rules.TruncatedSpectralDescent(
        2, schedules.geometric(first, 0.95), g=prox.Rank(2), tol=None
    )
    found = minimize(problem.value_and_grad, problem.start(), rule, steps=350)
    assert problem.error(found.x) < 1e-6
    plain = rules.TruncatedSpectralDescent(2, schedules.geometric(first, 0.95), tol=None)
    without = minimize(problem.value_and_grad, problem.start(), plain, steps=350)
    assert problem.error(without.x) > 0.05  # the projection is what recovers here
