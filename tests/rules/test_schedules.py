"""Step sizes."""

import numpy as np
import pytest

from specdesc import rules, schedules
from tests import support
from tests.support import Library


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.constant(0.3), [0.3, 0.3, 0.3, 0.3]),
        (schedules.geometric(2.0, 0.5), [2.0, 1.0, 0.5, 0.25]),
        (schedules.frank_wolfe(1.0), [1.0, 2 / 3, 0.5, 0.4]),
        (schedules.frank_wolfe(4.0), [0.25, 2 / 12, 0.125, 0.1]),
    ],
    ids=["constant", "geometric", "frank_wolfe 1", "frank_wolfe 4"],
)
def test_values(schedule: schedules.Schedule, expected: list[float], library: Library) -> None:
    """Of numbers and of 0-d arrays, which is what a rule hands over."""
    for t, size in enumerate(expected):
        assert schedule(t, value=None, grad=None) == pytest.approx(size)
        step = schedule(library.array(np.asarray(float(t)), "float32"))
        assert float(library.numpy(step)) == pytest.approx(size, rel=1e-6)


def test_first_steps_of_the_batch_shape_give_each_matrix_its_own(library: Library) -> None:
    first = library.array(np.asarray([1.0, 4.0]), "float32")
    t = library.array(np.asarray(2.0), "float32")
    np.testing.assert_allclose(library.numpy(schedules.geometric(first, 0.5)(t)), [0.25, 1.0])
    np.testing.assert_allclose(library.numpy(schedules.constant(first)(t)), [1.0, 4.0])


def test_polyak(library: Library, dtype: str) -> None:
    """scale (value - optimum) / ||G||_F, no negative step, and none for a zero gradient."""
    if library.compiles and dtype not in ("float32", "complex64"):
        pytest.skip("each dtype is a compilation, and the paths are the same")
    host = np.stack([support.gaussian(6, 4, dtype=dtype)] * 2 + [np.zeros((6, 4))])
    grad = library.array(host, dtype)
    real = support.kind_of("real", dtype)
    value = library.array(np.asarray([5.0, 0.5, 5.0]), real)
    step = schedules.polyak(optimum=1.0, scale=0.5)(0, value=value, grad=grad)
    norm = np.linalg.norm(library.numpy(grad)[0])
    expected = [0.5 * 4.0 / norm, 0.0, 0.0]
    np.testing.assert_allclose(library.numpy(step), expected, rtol=1e-5)
    assert library.dtype(step) == real
    spectral = schedules.polyak(optimum=1.0, scale=0.5, rank=4)(0, value=value)
    np.testing.assert_allclose(library.numpy(spectral), [1.0, 0.0, 1.0], rtol=1e-5)


def test_polyak_of_huge_and_tiny_gradients() -> None:
    for scale in (1e-200, 1e200):
        step = schedules.polyak()(0, value=np.asarray(2.0), grad=np.full((2, 2), scale))
        assert step == pytest.approx(1.0 / scale)


def test_polyak_of_a_broken_gradient_is_nan() -> None:
    grad = np.ones((2, 3, 3))
    grad[1, 0, 0] = np.nan
    step = schedules.polyak()(0, value=np.ones(2), grad=grad)
    np.testing.assert_array_equal(np.isnan(step), [False, True])


def test_polyak_with_a_lower_bound_aims_no_lower_than_the_decrease() -> None:
    """The target is max(lower bound, value - decrease), and the decrease may be a schedule."""
    grad = np.asarray([[3.0, 0.0], [0.0, 4.0]])

    def steps(t: float) -> list[float]:
        schedule = schedules.polyak(optimum=1.0, decrease=lambda t: 2.0 / (t + 1.0))
        return [float(schedule(t, value=np.asarray(v), grad=grad)) for v in (0.5, 1.5, 100.0)]

    assert steps(0) == pytest.approx([0.0, 0.5 / 5, 2.0 / 5])
    assert steps(9) == pytest.approx([0.0, 0.2 / 5, 0.2 / 5])
    fixed = schedules.polyak(optimum=-1e9, decrease=0.25, rank=4)
    assert float(fixed(0, value=np.asarray(3.0))) == 0.125


def test_polyak_without_the_optimum_reaches_it_where_the_lower_bound_alone_does_not() -> None:
    """f = ||X - T||_F + |x_11 - t_11|, minimum 0 at T, and a lower bound of -1."""
    truth = support.gaussian(4, 3)

    def lowest(**options: object) -> float:
        rule = rules.NormalizedGradient(schedules.polyak(optimum=-1.0, **options))  # type: ignore[arg-type]
        x, best = np.zeros((4, 3)), np.inf
        state = rule.init(x)
        for _ in range(3000):
            d = x - truth
            value = np.linalg.norm(d) + abs(d[0, 0])
            best = min(best, value)
            grad = d / np.linalg.norm(d)
            grad[0, 0] += np.sign(d[0, 0])
            x, state = rule.update(x, grad, state, value=np.asarray(value))
        return float(best)

    assert lowest() <= 1.0
    assert lowest() > 0.1
    assert lowest(decrease=lambda t: (t + 1.0) ** -0.5) < 0.05


@pytest.mark.parametrize(("p", "step", "alpha"), [(2.0, 0.75, 0.5), (1.5, 0.8, 0.6)])
def test_exponents_for_heavy_tails(p: float, step: float, alpha: float) -> None:
    for horizon in (1, 16, 10_000):
        pair = schedules.heavy_tailed(horizon, p, step=3.0, alpha=0.5)
        for t in (0, 7):
            assert pair.step(t) == pytest.approx(3.0 * horizon**-step)
            assert pair.beta(t) == pytest.approx(1.0 - 0.5 * horizon**-alpha)
    at_any_time = schedules.heavy_tailed(p=p, step=3.0)
    for t in (0, 15):
        assert at_any_time.step(t) == pytest.approx(3.0 * (t + 1.0) ** -step)
        assert at_any_time.beta(t) == pytest.approx(1.0 - (t + 1.0) ** -alpha)


def test_exponents_of_storm() -> None:
    for pair, length in ((schedules.storm(1000, step=2.0), 1000), (schedules.storm(step=2.0), 1)):
        assert pair.step(0) == pytest.approx(2.0 * length ** (-2 / 3))
        assert pair.beta(0) == pytest.approx(1.0 - length ** (-2 / 3))
    assert schedules.storm().step(7) == pytest.approx(0.25)
    assert schedules.storm().beta(7) == pytest.approx(0.75)


def test_alpha_is_never_above_one(library: Library) -> None:
    """Whatever its factor: beta stays at 0 or above, for numbers and for arrays."""
    pair = schedules.storm(alpha=4.0)
    assert pair.beta(0) == 0.0
    assert pair.beta(63) == pytest.approx(0.75)
    assert schedules.heavy_tailed(2, alpha=4.0).beta(0) == 0.0
    t = library.array(np.asarray(0.0), "float32")
    assert float(library.numpy(pair.beta(t))) == 0.0


@pytest.mark.parametrize("rank", [1, 4, 12])
def test_constants_of_the_linear_rate(rank: int) -> None:
    """a = min(alpha, sqrt(k / 2)), a / k R q^t, q = sqrt(1 - a^2 / k)."""
    for alignment in (0.1, 1.0, rank**0.5):
        a = min(alignment, (rank / 2) ** 0.5)
        q = (1 - a * a / rank) ** 0.5
        schedule = schedules.linear_rate(5.0, alignment, rank)
        assert [schedule(t) for t in range(3)] == pytest.approx(
            [a / rank * 5 * q**t for t in range(3)]
        )
