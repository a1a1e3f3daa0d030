"""Values and subgradients of the problems, against finite differences and definitions."""

from functools import partial

import numpy as np
import pytest

from specdesc import minimize, problems, prox, rules, schedules
from specdesc._lib import extras
from specdesc.problems import NuclearDistance, TraceLocked
from tests import support

#: name -> a problem on NumPy, the shape of its variable, and whether it is convex
SMOOTH = {
    "quadratic": lambda: (problems.random_quadratic(5, 3, seeds=3), (5, 3), False),
    "regression": lambda: (problems.random_regression(4, 3, rank=2, count=30), (4, 3), True),
    "multinomial": lambda: (_classes(), (3, 5), True),
}
SHARP = {
    "nuclear": lambda: (NuclearDistance(support.gaussian(4, 4, seed=1), 0.5), (4, 4), True),
    "nuclear, wide": lambda: (NuclearDistance(support.gaussian(3, 5, seed=1)), (3, 5), True),
    "locked": lambda: (TraceLocked(0.7, centre=0.5), (2, 2), True),
    "locked, entrywise": lambda: (TraceLocked(0.7, 0.5, form="entrywise"), (2, 2), True),
    "completion": lambda: (
        problems.random_completion(5, 1, observed=0.6, outliers=0.1, seed=2),
        (5, 5),
        True,
    ),
}
ALL = {**SMOOTH, **SHARP}


def _classes(library=None):
    inputs = support.gaussian(40, 5, seed=4)
    labels = np.eye(3)[np.argmax(inputs[:, :3], axis=1)]
    make = np.asarray if library is None else library.array
    leaf = problems.random_quadratic(1, 1).backend if library is None else library.leaf
    return problems.MultinomialRegression(make(inputs), make(labels), 0.1, 8, 5, leaf)


def _slope(fun, x, along, step=1e-6):
    return (fun(x + step * along)[0] - fun(x - step * along)[0]) / (2 * step)


@pytest.mark.parametrize("name", ALL)
def test_the_gradient_is_the_derivative_where_there_is_one(rng, name):
    problem, shape, _ = ALL[name]()
    for _ in range(5):
        x, along = rng.standard_normal((2, *shape))
        slope = np.sum(problem.value_and_grad(x)[1] * along)
        assert _slope(problem.value_and_grad, x, along) == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_gradient_of_a_sample_is_the_derivative_of_the_sample(rng, name):
    problem, shape, _ = SMOOTH[name]()
    x, along = rng.standard_normal((2, *shape))
    sample = problem.sample(7)
    slope = np.sum(problem.value_and_grad(x, sample)[1] * along)
    found = _slope(lambda z: problem.value_and_grad(z, sample), x, along)
    assert found == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", [name for name in ALL if ALL[name]()[2]])
def test_the_subgradient_inequality_holds_also_at_kinks(rng, name):
    problem, shape, _ = ALL[name]()
    truth = getattr(problem, "truth", None)
    kinks = [np.zeros(shape), np.eye(*shape) * 0.5, *([] if truth is None else [truth])]
    for x in [*kinks, *rng.standard_normal((20, *shape))]:
        value, grad = problem.value_and_grad(x)
        for y in [*kinks, *rng.standard_normal((5, *shape))]:
            bound = value + np.sum(grad * (y - x))
            assert problem.value_and_grad(y)[0] >= bound - 1e-12 * (1 + abs(bound))


@pytest.mark.parametrize("name", [name for name in ALL if name != "completion"])
def test_a_stack_is_its_matrices(rng, name):
    problem, shape, _ = ALL[name]()
    x = rng.standard_normal((3, *shape))
    if name == "quadratic":
        problem = problems.random_quadratic(5, 3, seeds=(3, 3, 3))
    if hasattr(problem, "truth") and name.startswith("nuclear"):
        problem = NuclearDistance(np.stack([problem.truth] * 3), problem.trace_weight)
    values, grads = problem.value_and_grad(x)
    one = ALL[name]()[0]
    for i in range(3):
        np.testing.assert_allclose(values[i], one.value_and_grad(x[i])[0], rtol=1e-13)
        np.testing.assert_allclose(grads[i], one.value_and_grad(x[i])[1], atol=1e-13)


# --- each problem's own definition ---------------------------------------------------------------


def test_the_nuclear_distance_is_what_it_says(rng):
    x, truth = rng.standard_normal((2, 6, 6))
    s = np.linalg.svd(x - truth, compute_uv=False)
    problem = NuclearDistance(truth, 0.3)
    value, grad = problem.value_and_grad(x)
    assert value == pytest.approx(s.sum() + 0.3 * abs(np.trace(x - truth)), rel=1e-14)
    assert support.spectral_norm(grad) <= 1.3 + 1e-14
    assert problem.error(x) == pytest.approx(np.linalg.norm(x - truth) / np.linalg.norm(truth))
    value, grad = problem.value_and_grad(truth)
    assert value == 0
    assert (grad == 0).all()
    assert NuclearDistance(np.zeros((2, 2))).error(np.eye(2)) == pytest.approx(2**0.5)


def test_the_locked_functions_are_what_they_say(rng):
    for _ in range(5):
        x = rng.standard_normal((2, 2))
        z = x - 0.5 * np.eye(2)
        trace = np.trace(z)
        nuclear = np.linalg.norm(z - trace / 2 * np.eye(2), "nuc")
        found = TraceLocked(0.7, 0.5).value_and_grad(x)[0]
        assert found == pytest.approx(0.7 * abs(trace) + nuclear, rel=1e-14)
        entries = abs(z[0, 0] - z[1, 1]) + 0.7 * abs(trace) + abs(z[0, 1]) + abs(z[1, 0])
        found = TraceLocked(0.7, 0.5, form="entrywise").value_and_grad(x)[0]
        assert found == pytest.approx(entries, rel=1e-14)
        assert TraceLocked(0.7, 0.5).error(x) == pytest.approx(np.linalg.norm(z), rel=1e-14)
    assert TraceLocked(0.7, 0.5).value_and_grad(0.5 * np.eye(2))[0] == 0


def test_the_quadratic_is_that_of_the_theory():
    problem = problems.random_quadratic(8, 6, seeds=tuple(range(20)))
    curvature = problem.curvature
    np.testing.assert_array_equal(curvature, np.swapaxes(curvature, -1, -2))
    np.testing.assert_allclose(support.spectral_norm(curvature), 1.0, rtol=1e-12)
    s = np.linalg.eigvalsh(curvature)
    assert (s[:, 0] < 0).all()
    assert (s[:, -1] > 0).all()
    assert problem.linear.std() == pytest.approx(0.5, rel=0.05)
    x = support.gaussian(20, 8, 6)
    value = 0.5 * np.sum(x * (curvature @ x), axis=(1, 2)) + np.sum(problem.linear * x, axis=(1, 2))
    np.testing.assert_allclose(problem.value_and_grad(x)[0], value, rtol=1e-12)


def test_noise_is_a_function_of_seed_and_step_alone():
    many = problems.random_quadratic(4, 3, seeds=(5, 0, 9), tail=1.6, relative=0.3)
    one = problems.random_quadratic(4, 3, seeds=9, tail=1.6, relative=0.3)
    for t in (0, 3, 0):
        noise, factor = many.sample(t)
        np.testing.assert_array_equal(noise[2], one.sample(t)[0])
        np.testing.assert_array_equal(factor[2], one.sample(t)[1])
    assert (many.sample(0)[0] != many.sample(1)[0]).all()
    np.testing.assert_array_equal(many.linear[2], one.linear)
    exact = problems.random_quadratic(4, 3, seeds=9, relative=0.0)
    assert exact.sample(4)[1] == 1.0


def test_noise_has_the_scale_and_the_tail_that_was_asked_for():
    light = problems.random_quadratic(40, 50, seeds=1, noise=0.3)
    noise = np.stack([light.sample(t)[0] for t in range(10)])
    assert noise.std() == pytest.approx(0.3 * (50 / 48) ** 0.5, rel=0.02)
    heavy = problems.random_quadratic(40, 50, seeds=1, tail=1.6, noise=0.3)
    sizes = np.sort(np.abs(np.stack([heavy.sample(t)[0] for t in range(10)])).ravel())[::-1]
    hill = 1 / np.mean(np.log(sizes[:400] / sizes[400]))
    assert 1.4 < hill < 1.9
    factor = problems.random_quadratic(2, 2, seeds=tuple(range(400)), relative=0.3).sample(0)[1]
    assert factor.mean() == pytest.approx(1.0, abs=0.05)
    assert factor.std() == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("name", ["regression", "multinomial"])
def test_a_sample_is_a_draw_of_different_rows_and_unbiased(rng, name):
    problem, shape, _ = SMOOTH[name]()
    x = rng.standard_normal(shape)
    drawn = [problem.sample(t) for t in range(400)]
    assert all(len(set(rows.tolist())) == problem.batch for rows in drawn)
    np.testing.assert_array_equal(problem.sample(3), drawn[3])
    mean = np.mean([problem.value_and_grad(x, rows)[1] for rows in drawn], axis=0)
    exact = problem.value_and_grad(x)[1]
    spread = np.std([problem.value_and_grad(x, rows)[1] for rows in drawn], axis=0) / 400**0.5
    assert (np.abs(mean - exact) <= 5 * spread).all()


def test_regression_finds_its_truth():
    problem = problems.random_regression(6, 5, rank=2, count=400, tail=50.0, noise=0.01)
    start = problem.start()
    assert problem.error(start) == 1.0
    rule = rules.SpectralDescent(schedules.geometric(0.3, 0.93), g=prox.Rank(2))
    found = minimize(problem.value_and_grad, start, rule, steps=120)
    assert problem.error(found.x) < 0.01


def test_logits_of_any_size_are_safe():
    problem = _classes()
    value, grad = problem.value_and_grad(1e150 * support.gaussian(3, 5))
    assert np.isfinite(grad).all()
    assert value > 0


def test_digits_are_learnt():
    if not extras.installed("sklearn"):
        pytest.skip("scikit-learn is not installed")
    train, test = problems.digits(ridge=1e-3)
    assert train.inputs.shape == (1198, 65)
    assert test.inputs.shape == (599, 65)
    assert ((train.inputs >= 0) & (train.inputs <= 1)).all()
    assert (train.labels.sum(axis=1) == 1).all()
    assert train.value_and_grad(train.start())[0] == pytest.approx(np.log(10))
    rule = rules.SpectralDescent(schedules.geometric(0.3, 0.97))
    found = minimize(train.value_and_grad, train.start(), rule, steps=100)
    assert test.accuracy(found.x) > 0.93
    other, _ = problems.digits(seed=1)
    assert not np.array_equal(other.inputs, train.inputs)


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(extras.MissingExtra, match=r"specdesc\[data\]"):
        problems.digits()


def test_completion_hides_and_destroys_as_many_entries_as_it_says():
    problem = problems.random_completion(20, 2, observed=0.6, outliers=0.1, seed=3)
    seen = problem.observation.mask
    assert seen.sum() == 240
    off = np.abs(problem.observed - problem.truth)[seen]
    assert (off > 0.5).sum() == 24
    np.testing.assert_allclose(np.sort(off)[:-24], 0.0, atol=1e-15)
    assert np.linalg.matrix_rank(problem.truth) == 2
    assert problems.random_completion(20, 2, observed=1.0, outliers=0.0).observation.mask is None


def test_the_condition_of_a_recovery():
    problem = problems.random_recovery(6, 3, measurements=10, outliers=0.0, condition=4.0)
    s = np.linalg.svd(problem.truth, compute_uv=False)
    np.testing.assert_allclose(s[:3], [1.0, 0.625, 0.25], rtol=1e-12)


# --- the limit that is documented ----------------------------------------------------------------


@pytest.mark.parametrize("c", [0.3, 0.7, 0.95])
def test_spectral_descent_cannot_move_the_trace(c):
    problem = TraceLocked(c)
    start = np.asarray([[1.0, 0.2], [0.2, 0.5]])
    rule = rules.SpectralDescent(schedules.geometric(0.5, 0.98))
    found = minimize(problem.value_and_grad, start, rule, steps=500)
    assert np.trace(found.x) == pytest.approx(1.5, abs=1e-10)
    assert found.value == pytest.approx(1.5 * c, rel=1e-2)


@pytest.mark.parametrize(("c", "stuck"), [(0.25, 0.4), (0.5, 0.8), (0.9, 1.44), (1.1, 0.4)])
def test_the_table_of_the_diagonal_form(c, stuck):
    problem = TraceLocked(c, form="entrywise")
    rule = rules.SpectralDescent(schedules.geometric(0.3, 0.95))
    found = minimize(problem.value_and_grad, np.diag([1.0, 0.6]), rule, steps=400)
    assert found.value == pytest.approx(stuck, abs=1e-6)


def test_weight_decay_does_not_repair_it():
    problem = TraceLocked(0.5, centre=1.0, form="entrywise")
    rule = rules.SpectralDescent(schedules.frank_wolfe(0.2), weight_decay=0.2)
    found = minimize(problem.value_and_grad, np.diag([1.0, 0.6]), rule, steps=500)
    assert np.trace(found.x) == pytest.approx(0.0, abs=1e-10)
    assert found.value == pytest.approx(1.0, abs=0.05)


# --- every library -------------------------------------------------------------------------------


def test_every_library_has_the_same_values(library):
    if library.backend not in ("numpy", "torch", "jax"):
        pytest.skip("problems are made on a leaf, and dask has no SVD of stacks")
    x = support.gaussian(3, 5, seed=9)
    square = support.gaussian(3, 3, seed=8)
    truth = support.gaussian(3, 3, seed=7)
    made_on = [np.asarray, library.array]
    quadratics, regressions = (
        [make(backend=name) for name in ("numpy", library.backend)]
        for make in (
            partial(problems.random_quadratic, 3, 5, seeds=2),
            partial(problems.random_regression, 3, 5, rank=1, count=9, batch=4),
        )
    )
    pairs = [(*quadratics, x), (_classes(), _classes(library), x), (*regressions, x)]
    if not library.compiles:
        pairs += [
            (*(NuclearDistance(make(truth), 0.5) for make in made_on), square),
            (TraceLocked(0.5), TraceLocked(0.5), square[:2, :2]),
            (*2 * [TraceLocked(0.5, form="entrywise")], square[:2, :2]),
        ]
    else:
        pairs = pairs[:1]
    for twin, problem, at in pairs:
        samples = (None, 3) if hasattr(problem, "sample") else (None,)
        for t in samples:
            extra = () if t is None else (problem.sample(t),)
            expected = twin.value_and_grad(at, *(() if t is None else (twin.sample(t),)))
            found = problem.value_and_grad(library.array(at), *extra)
            for ours, theirs in zip(found, expected, strict=True):
                assert library.dtype(ours) == "float64"
                np.testing.assert_allclose(library.numpy(ours), theirs, atol=1e-12)


# --- wrong input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: TraceLocked(-1.0), "c must be positive"),
        (lambda: TraceLocked(1.0, form="other"), "form must be"),
        (lambda: TraceLocked(1.0).value_and_grad(np.eye(3)), r"shape \(..., 2, 2\)"),
        (lambda: NuclearDistance(np.eye(2), -1.0), "trace_weight must be"),
        (lambda: NuclearDistance(np.ones((2, 3)), 1.0), "square"),
        (lambda: NuclearDistance(np.eye(2)).value_and_grad(np.eye(3)), "one shape"),
        (lambda: problems.random_quadratic(2, 2, tail=0.0), "tail must be positive"),
        (lambda: problems.random_quadratic(2, 2).value_and_grad(np.eye(3)), "one shape"),
        (lambda: problems.digits(held_out=1.0), "held_out must lie"),
    ],
)
def test_wrong_input_is_refused(make, part):
    with pytest.raises(ValueError, match=part):
        make()


def test_the_error_of_a_regression_needs_the_truth():
    problem = problems.random_regression(2, 2, rank=1, count=4)
    unknown = problems.MatrixRegression(
        problem.inputs, problem.targets, None, 2, 0, problem.backend
    )
    with pytest.raises(ValueError, match="truth="):
        unknown.error(unknown.start())
