"""Functions made of others, held to the definition."""

from typing import Any

import numpy as np
import pytest

from specdesc import prox, testing
from tests import oracles, support

SHAPE = (4, 3)


@pytest.mark.parametrize("name", ["Nuclear", "SpectralBall", "MCP", "Rank", "Simplex"])
def test_scaling_and_translation(name: str) -> None:
    g = oracles.FUNCTIONS[name]
    shift = support.gaussian(*SHAPE, seed=3)
    for made in (
        prox.Scaled(g, 0.7, 2.0),
        prox.Scaled(g, 2.0, -0.5),
        prox.Translated(g, shift),
    ):
        y = support.gaussian(*SHAPE)
        x = made.prox(y, 0.4)
        cost = made.value(x) + np.linalg.norm(x - y) ** 2 / 0.8
        assert np.isfinite(cost)
        for seed in range(30):
            z = made.prox(x + 10.0 ** (-seed / 6) * support.gaussian(*SHAPE, seed=seed), 1e-9)
            assert cost <= made.value(z) + np.linalg.norm(z - y) ** 2 / 0.8 + 1e-9
    assert testing.check_prox(prox.Scaled(g, 0.7, 2.0)).passed
    assert prox.Scaled(g).is_convex == g.is_convex == prox.Translated(g, shift).is_convex


#: A function, its conjugate as a function of its own
PAIRS: dict[str, tuple[Any, Any]] = {
    "nuclear": (prox.Nuclear(0.7), prox.SpectralBall(0.7)),
    "spectral ball": (prox.SpectralBall(0.7), prox.Nuclear(0.7)),
    "l1": (prox.L1(0.7), prox.MaxBall(0.7)),
    "max ball": (prox.MaxBall(0.7), prox.L1(0.7)),
    "ridge": (prox.Ridge(0.5), prox.Ridge(2.0)),
    "elastic net": (prox.ElasticNet(0.0, 0.5), prox.Ridge(2.0)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_conjugates_against_code_that_shares_nothing(name: str) -> None:
    g, dual = PAIRS[name]
    for step in (0.1, 1.0, 7.0):
        y = 2.0 * support.gaussian(2, *SHAPE)
        np.testing.assert_allclose(prox.Conjugate(g).prox(y, step), dual.prox(y, step), atol=1e-12)
    twice = prox.Conjugate(prox.Conjugate(g)).prox(y, 0.3)
    np.testing.assert_allclose(twice, g.prox(y, 0.3), atol=1e-12)


def test_a_ky_fan_norm_is_the_conjugate_of_its_dual_ball() -> None:
    """prox of the sum of the 2 largest, by definition."""
    made, y = prox.Conjugate(prox.KyFanBall(2, 1.0)), support.gaussian(*SHAPE)
    x = made.prox(y, 0.3)

    def cost(z: Any) -> float:
        return float(oracles.singular_values(z)[:2].sum() + np.linalg.norm(z - y) ** 2 / 0.6)

    for seed in range(60):
        z = x + 10.0 ** (-seed / 10) * support.gaussian(*SHAPE, seed=seed)
        assert cost(x) <= cost(z) + 1e-12


def test_sums_over_stacks_and_trees() -> None:
    y = support.gaussian(2, *SHAPE)
    functions = (prox.Nuclear(0.4), prox.L1(0.2))
    stacked = prox.SeparableSum(functions)
    x = stacked.prox(y, 0.5)
    for i, g in enumerate(functions):
        np.testing.assert_array_equal(x[i], g.prox(y[i], 0.5))
    assert stacked.value(y) == pytest.approx(sum(g.value(y[i]) for i, g in enumerate(functions)))
    assert stacked.is_convex
    tree = {"w": functions, "b": prox.L0(0.1, axes=(-1,))}
    summed = prox.SeparableSum(tree)
    point = {"w": [y[0], y[1]], "b": y[0, 0]}
    found = summed.prox(point, 0.5)
    assert isinstance(found["w"], list)
    np.testing.assert_array_equal(found["w"][1], x[1])
    np.testing.assert_array_equal(found["b"], tree["b"].prox(y[0, 0], 0.5))
    assert summed.value(point) == pytest.approx(
        float(stacked.value(y)) + float(tree["b"].value(y[0, 0]))
    )
    assert not summed.is_convex


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("weight must be .* got 0.0", lambda: prox.Scaled(prox.L1(1.0), 0.0)),
        ("scale must be .* got 0.0", lambda: prox.Scaled(prox.L1(1.0), 1.0, 0.0)),
        ("g must be convex, got Rank", lambda: prox.Conjugate(prox.Rank(1))),
        ("step must be above 0", lambda: prox.Conjugate(prox.L1(1.0)).prox(np.eye(2), 0.0)),
        (
            "x and shift must have one shape",
            lambda: prox.Translated(prox.L1(1.0), np.ones((2, 2))).prox(np.ones(SHAPE)),
        ),
        (
            "2 parts, one for each function, got 3",
            lambda: prox.SeparableSum((prox.L1(1.0),) * 2).prox(np.ones((3, 2, 2))),
        ),
        (
            r"keys \['w'\]",
            lambda: prox.SeparableSum({"w": prox.L1(1.0)}).prox({"b": np.ones((2, 2))}),
        ),
    ],
)
def test_bad_options(message: str, call: Any) -> None:
    with pytest.raises(ValueError, match=message):
        call()
