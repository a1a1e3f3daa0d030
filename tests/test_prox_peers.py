"""Euclidean proximal points against a general solver, and against peers where they are right."""

import warnings
from typing import Any

import numpy as np
import pytest

from specdesc import prox
from tests import support
from tests.oracles import FUNCTIONS

SHAPE = (4, 3)


def imported(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)


def formulated(cp: Any, g: Any, x: Any) -> tuple[Any, list[Any]]:
    """Return a function as an objective and constraints of cvxpy."""
    match type(g).__name__:
        case "Box":
            return 0, [x >= g.low, x <= g.high]
        case "ElasticNet":
            return g.linear * cp.sum(cp.abs(x)) + g.square / 2 * cp.sum_squares(x), []
        case "FrobeniusBall":
            return 0, [cp.norm(x, "fro") <= g.radius]
        case "Huber":  # huber(x) = x² up to M and 2 M abs(x) - M² beyond
            return g.weight / 2 * cp.sum(cp.huber(x, g.delta)), []
        case "KyFanBall":
            return 0, [cp.sigma_max(x) <= g.radius, cp.normNuc(x) <= g.k * g.radius]
        case "L1":
            return g.weight * cp.sum(cp.abs(x)), []
        case "L1Ball":
            return 0, [cp.sum(cp.abs(x)) <= g.radius]
        case "MaxBall":
            return 0, [cp.max(cp.abs(x)) <= g.radius]
        case "Nuclear":
            return g.weight * cp.normNuc(x), []
        case "NuclearBall":
            return 0, [cp.normNuc(x) <= g.radius]
        case "PSD":
            return 0, [x >> 0]
        case "Simplex":
            return 0, [x >= 0, cp.sum(x) == g.total]
        case "SpectralBall":
            return 0, [cp.sigma_max(x) <= g.radius]
    raise AssertionError(g)


SOLVED = [
    name
    for name, g in FUNCTIONS.items()
    if g.is_convex and name not in ("Zero", "Ridge", "Spectral Huber")
]


@pytest.mark.parametrize("name", SOLVED)
def test_against_a_general_solver(name: str) -> None:
    cp = imported("cvxpy")
    g = FUNCTIONS[name]
    y = support.gaussian(3, 3, seed=3) if name == "PSD" else support.gaussian(*SHAPE, seed=3)
    x = cp.Variable(y.shape, symmetric=True) if name == "PSD" else cp.Variable(y.shape)
    value, constraints = formulated(cp, g, x)
    problem = cp.Problem(cp.Minimize(value + cp.sum_squares(x - y) / (2 * 0.6)), constraints)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem.solve(solver="CLARABEL")
    np.testing.assert_allclose(g.prox(y, 0.6), x.value, atol=2e-5)


def test_against_pyproximal() -> None:
    peer = imported("pyproximal")
    y, t = support.gaussian(5, 4), 0.6
    flat = y.ravel()
    for ours, theirs in (
        (prox.L1(0.7), peer.L1(0.7)),
        (prox.Nuclear(0.7), peer.Nuclear((5, 4), 0.7)),
        (prox.Box(-0.3, 0.4), peer.Box(-0.3, 0.4)),
        (prox.FrobeniusBall(1.5), peer.EuclideanBall(0.0, 1.5)),
        (prox.SCAD(0.4, 3.0), peer.SCAD(0.4, 3.0)),
    ):
        found = np.reshape(theirs.prox(flat.copy(), t), y.shape)
        np.testing.assert_allclose(ours.prox(y, t), found, atol=1e-10, err_msg=repr(ours))


def test_against_copt() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        penalty = pytest.importorskip(
            "copt.penalty", reason="copt is not installed", exc_type=ImportError
        )
        constraint = pytest.importorskip(
            "copt.constraint", reason="copt is not installed", exc_type=ImportError
        )
    y = support.gaussian(5, 4)
    found = penalty.L1Norm(0.7).prox(y.ravel(), 0.6).reshape(5, 4)
    np.testing.assert_allclose(prox.L1(0.7).prox(y, 0.6), found, atol=1e-12)
    found = constraint.L1Ball(2.0).prox(y.ravel(), 1.0).reshape(5, 4)
    np.testing.assert_allclose(prox.L1Ball(2.0).prox(y), found, atol=1e-12)
