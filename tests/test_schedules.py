"""Step sizes."""

import numpy as np
import pytest

from specdesc import schedules
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
