"""Bounds of polynomial iterations, against brute force."""

import numpy as np
import pytest

from specdesc import minimax


def evaluate(step: minimax.Quintic, x: np.ndarray) -> np.ndarray:
    a, b, c = step
    return x * (a + x * x * (b + x * x * c))


STEPS = [minimax.NEWTON_SCHULZ[0], *minimax.POLAR_EXPRESS, *minimax.damped_polar_express()]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("lower", "upper"), [(0.0, 1.0), (1e-3, 1.0), (0.2, 0.9), (0.5, 1.2)])
def test_image_is_exact(step: minimax.Quintic, lower: float, upper: float) -> None:
    """Never less than the truth, and attained."""
    values = evaluate(step, np.linspace(lower, upper, 200_001))
    low, high = minimax.image(step, lower, upper)
    assert low <= values.min() + 1e-14
    assert high >= values.max() - 1e-14
    assert low == pytest.approx(values.min(), abs=1e-8)
    assert high == pytest.approx(values.max(), abs=1e-8)


@pytest.mark.parametrize("lower", [1e-1, 1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("count", [1, 3, 5, 7, 10])
def test_bound_is_the_worst_case(lower: float, count: int) -> None:
    steps = (minimax.damped_polar_express() + ((1.875, -1.25, 0.375),) * 3)[:count]
    x = np.concatenate([np.geomspace(lower, 1.0, 100_001), np.linspace(lower, 1.0, 100_001)])
    below = np.linspace(0.0, lower, 10_001)
    for step in steps:
        x, below = evaluate(step, x), evaluate(step, below)
    bound = minimax.bound(steps, lower)
    truth = max(np.abs(1 - x).max(), below.max() - 1)
    assert truth <= bound + 1e-13
    assert bound == pytest.approx(truth, abs=1e-6)
    assert below.min() >= 0


def test_damping_is_the_polynomial_of_a_smaller_argument() -> None:
    x = np.linspace(0, 1.2, 1001)
    for step in minimax.POLAR_EXPRESS:
        np.testing.assert_allclose(
            evaluate(minimax.damped(step, 1.01), x), evaluate(step, x / 1.01), atol=1e-13
        )


def test_damped_steps_stay_inside_for_one_percent_beyond_one() -> None:
    """The cushion against rounding: what comes in at up to 1.01 comes out near 1, never below 0."""
    high = minimax.SAFETY
    for step in minimax.damped_polar_express():
        low, high = minimax.image(step, 0.0, high)
        assert low >= 0
    assert high == pytest.approx(1.0, abs=1e-2)


def test_slope_is_the_product_of_leading_coefficients() -> None:
    steps = minimax.POLAR_EXPRESS
    x = np.asarray(1e-9)
    for step in steps:
        x = evaluate(step, x)
    assert minimax.slope(steps) == pytest.approx(float(x) / 1e-9, rel=1e-6)
