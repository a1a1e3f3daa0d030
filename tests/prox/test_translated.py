"""Translated sets: their own projections lie in them, and what is outside does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specdesc import prox

SETS = [
    prox.SpectralBall(1.0),
    prox.NuclearBall(1.0),
    prox.KyFanBall(2, 1.0),
    prox.FrobeniusBall(1.0),
    prox.Stiefel(),
    prox.MaxBall(1.0),
    prox.L1Ball(1.0),
]


@pytest.mark.parametrize("g", SETS, ids=lambda g: type(g).__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@settings(max_examples=15, deadline=None)
@given(exponent=st.integers(-6, 6), seed=st.integers(0, 1000))
def test_a_projection_has_the_value_0_and_a_point_outside_has_not(g, dtype, exponent, seed):
    rng = np.random.default_rng(seed)
    near, y = (10.0**exponent * rng.standard_normal((5, 4)).astype(dtype) for _ in range(2))
    near, y = near.astype(dtype), y.astype(dtype)
    moved = prox.Translated(g, near)
    assert moved.value(moved.prox(y)) == 0.0
    size = 10.0 + 10.0**exponent
    assert moved.value((near + size * np.ones((5, 4))).astype(dtype)) == np.inf


def test_a_stack_is_judged_matrix_by_matrix_and_nan_stays():
    near = np.zeros((3, 4, 4))
    x = np.stack([0.5 * np.eye(4), 2.0 * np.eye(4), np.full((4, 4), np.nan)])
    value = prox.Translated(prox.SpectralBall(1.0), near).value(x)
    assert value[0] == 0.0
    assert value[1] == np.inf
    assert np.isnan(value[2])
