"""What the problems refuse, by name."""

import numpy as np
import pytest

from specdesc import problems
from specdesc.problems import RobustRecovery

DATA = np.random.default_rng(0).standard_normal((12, 9))


@pytest.mark.parametrize(
    "mask", [np.ones((12, 9)), [[True] * 9] * 12, np.ma.masked_invalid(DATA), np.ones((12, 9), int)]
)
def test_a_mask_is_an_array_of_booleans(mask):
    with pytest.raises(TypeError, match="mask"):
        RobustRecovery.from_entries(DATA, mask=mask)


@pytest.mark.parametrize("shape", [(9,), (1, 9), (9, 12), ()])
def test_a_point_has_the_shape_of_the_problem(shape):
    with pytest.raises(ValueError, match="shape"):
        RobustRecovery.from_entries(DATA).value_and_grad(np.zeros(shape))
    matrices = np.zeros((5, 12, 9))
    with pytest.raises(ValueError, match="shape"):
        RobustRecovery.from_measurements(matrices, np.zeros(5)).value_and_grad(np.zeros(shape))


@pytest.mark.parametrize(
    "options",
    [
        {"outliers": -0.1},
        {"outliers": 1.1},
        {"outliers": float("nan")},
        {"noise": -1.0},
        {"noise": float("inf")},
        {"seed": -1},
        {"seed": None},
        {"seed": 0.5},
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda **options: problems.random_completion(5, 2, observed=0.5, **options),
        lambda **options: problems.random_recovery(5, 2, measurements=30, **options),
    ],
)
def test_random_problems_name_the_option_out_of_range(make, options):
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        make(**{"outliers": 0.1, **options})


def test_an_empty_problem_has_the_value_0():
    assert RobustRecovery.from_entries(DATA[:0]).value_and_grad(DATA[:0])[0] == 0.0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_corrupt_keeps_the_dtype(dtype):
    assert problems.corrupt(DATA.astype(dtype), share=0.1, noise=0.1).dtype == dtype


@pytest.mark.parametrize("dtype", ["complex128", "int64", "bool"])
def test_corrupt_refuses_what_is_not_real_floating(dtype):
    with pytest.raises(TypeError, match="clean"):
        problems.corrupt(DATA.astype(dtype), share=0.1, noise=0.1)
