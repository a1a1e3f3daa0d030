"""Euclidean proximal points against a general solver, and against peers where they are right."""

import warnings
from typing import Any

import numpy as np
import pytest

from specdesc import prox
from tests import support
from tests.oracles import FUNCTIONS, HERMITIAN

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
        case "Spectraplex":
            return 0, [x >> 0, cp.trace(x) == g.total]
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
    hermitian = name in HERMITIAN
    y = support.gaussian(3, 3, seed=3) if hermitian else support.gaussian(*SHAPE, seed=3)
    x = cp.Variable(y.shape, symmetric=True) if hermitian else cp.Variable(y.shape)
    value, constraints = formulated(cp, g, x)
    problem = cp.Problem(cp.Minimize(value + cp.sum_squares(x - y) / (2 * 0.6)), constraints)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem.solve(solver="CLARABEL")
    np.testing.assert_allclose(g.prox(y, 0.6), x.value, atol=2e-5)


def agree(pairs: list[tuple[Any, Any]], y: Any, step: float, tolerance: float = 1e-12) -> None:
    """Hold our prox against what a peer computed for the same flat point."""
    for ours, theirs in pairs:
        found = np.reshape(theirs, y.shape)
        np.testing.assert_allclose(ours.prox(y, step), found, atol=tolerance, err_msg=repr(ours))


@pytest.mark.exhaustive
def test_against_pyproximal() -> None:
    peer = imported("pyproximal")
    y, t = support.gaussian(5, 4), 0.6
    flat = y.ravel()
    agree(
        [
            (prox.L1(0.7), peer.L1(0.7).prox(flat.copy(), t)),
            (prox.Sparse(6), peer.L0Ball(6).prox(flat.copy(), t)),
            (prox.Ridge(0.7), peer.L2(sigma=0.7).prox(flat.copy(), t)),
            (prox.Nuclear(0.7), peer.Nuclear((5, 4), 0.7).prox(flat.copy(), t)),
            (prox.Box(-0.3, 0.4), peer.Box(-0.3, 0.4).prox(flat.copy(), t)),
            (prox.FrobeniusBall(1.5), peer.EuclideanBall(0.0, 1.5).prox(flat.copy(), t)),
            (prox.SCAD(0.4, 3.0), peer.SCAD(0.4, 3.0).prox(flat.copy(), t)),
            (
                prox.Spectral(prox.SCAD(0.4, 3.0)),
                peer.SingularValuePenalty((5, 4), peer.SCAD(0.4, 3.0)).prox(flat.copy(), t),
            ),
        ],
        y,
        t,
    )
    # Found by a search that stops early: only about feasible.
    agree(
        [
            (prox.L1Ball(2.0), peer.L1Ball(20, 2.0).prox(flat.copy(), t)),
            (prox.Simplex(), peer.Simplex(20, 1.0).prox(flat.copy(), t)),
            (prox.NuclearBall(2.0), peer.NuclearBall((5, 4), 2.0).prox(flat.copy(), t)),
        ],
        y,
        t,
        1e-4,
    )
    # Its Huber changes formulas at alpha in place of alpha + step, its L0 at step sigma in place
    # of the root of 2 step sigma: not the least of their own objectives.
    for ours, theirs in (
        (prox.Huber(2.0, 0.5), peer.Huber(0.5)),
        (prox.L0(0.7), peer.L0(0.7)),
    ):
        x, z = (
            float(ours.value(each)) + float(np.sum((each - y) ** 2)) / (2 * t)
            for each in (ours.prox(y, t), np.reshape(theirs.prox(flat.copy(), t), y.shape))
        )
        assert x < z - 0.1


@pytest.mark.exhaustive
def test_against_copt(monkeypatch: pytest.MonkeyPatch) -> None:
    # It asks NumPy for a name that NumPy 2 took away.
    monkeypatch.setattr(np, "alltrue", np.all, raising=False)
    penalty, constraint = imported("copt.penalty"), imported("copt.constraint")
    y = support.gaussian(5, 4)
    flat = y.ravel()
    agree(
        [
            (prox.L1(0.7), penalty.L1Norm(0.7).prox(flat, 0.6)),
            (prox.Nuclear(0.7), penalty.TraceNorm(0.7, (5, 4)).prox(flat, 0.6)),
            (prox.L1Ball(2.0), constraint.L1Ball(2.0).prox(flat, 0.6)),
            (prox.FrobeniusBall(1.5), constraint.L2Ball(1.5).prox(flat, 0.6)),
            (prox.MaxBall(0.6), constraint.LinfBall(0.6).prox(flat, 0.6)),
            (prox.Simplex(), constraint.SimplexConstraint(1.0).prox(flat, 0.6)),
            (prox.NuclearBall(2.0), constraint.TraceBall(2.0, (5, 4)).prox(flat, 0.6)),
        ],
        y,
        0.6,
    )


@pytest.mark.exhaustive
def test_against_proxop() -> None:
    peer = imported("proxop")
    y, t = support.gaussian(5, 4), 0.6
    agree(
        [
            (prox.L1(0.7), peer.L1Norm().prox(y, 0.7 * t)),
            (prox.L0(0.7), peer.L0Norm().prox(y, 0.7 * t)),
            (prox.L1Ball(2.0), peer.L1Ball(2.0).prox(y)),
            (prox.FrobeniusBall(1.5), peer.L2Ball(1.5).prox(y)),
            (prox.MaxBall(0.6), peer.LinfBall(0.6).prox(y)),
            (prox.Box(-0.3, 0.4), peer.BoxConstraint(-0.3, 0.4).prox(y)),
            (prox.Simplex(), peer.Simplex(1.0).prox(y.ravel())),
            (prox.Huber(1.0, 0.5), peer.Huber(0.5).prox(y, t)),
            (prox.MCP(0.8, 2.0), peer.MCP(0.8, 2.0).prox(y, t)),
            (prox.MCP(0.8, 0.5), peer.MCP(0.8, 0.5).prox(y, t)),
            (prox.SCAD(0.4, 3.0), peer.SCAD(0.4, 3.0).prox(y, t)),
            (prox.Nuclear(0.7), peer.NuclearNorm().prox(y, 0.7 * t)),
            (prox.RankPenalty(0.7), peer.Rank().prox(y, 0.7 * t)),
            (prox.Spectral(prox.ElasticNet(0.5, 1.0)), peer.NuclearNormRidge(0.5).prox(y, t)),
        ],
        y,
        t,
    )
