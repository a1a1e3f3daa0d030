"""Measures of stationarity in the Euclidean geometry, against what convex analysis says of them."""

from typing import Any

import numpy as np
import pytest

import specdesc as sd
from specdesc import diagnostics, preconditioners, prox, rules
from tests import support
from tests.support import Library

SHAPE = (5, 4)

CONVEX: dict[str, Any] = {
    "Zero": prox.Zero(),
    "Ridge": prox.Ridge(0.6),
    "FrobeniusBall": prox.FrobeniusBall(1.5),
    "L1": prox.L1(0.8),
    "L1 rows": prox.L1(0.8, axes=(-1,)),
    "ElasticNet": prox.ElasticNet(0.5, 0.3),
    "Huber": prox.Huber(0.8, 0.5),
    "Nuclear": prox.Nuclear(1.5),
    "Spectral Huber": prox.Spectral(prox.Huber(0.8, 0.5)),
    "MaxBall": prox.MaxBall(0.7),
    "L1Ball": prox.L1Ball(4.0),
    "Box": prox.Box(-0.5, 0.8),
    "SpectralBall": prox.SpectralBall(1.5),
    "NuclearBall": prox.NuclearBall(2.0),
    "PSD": prox.PSD(),
}
MORE = {"MCP": prox.MCP(0.8, 3.0), "SCAD": prox.SCAD(0.8, 3.5)}
EVERY = pytest.mark.parametrize("name", CONVEX)


def shape_of(name: str) -> tuple[int, int]:
    return (4, 4) if name == "PSD" else SHAPE


def point(name: str, seed: int, dtype: str = "float64") -> Any:
    """Return a point where g has a kink, in every sense that it has one."""
    y = 2.0 * support.gaussian(*shape_of(name), seed=seed, dtype=dtype)
    return CONVEX[name].prox(y, 1.0)


def total(name: str, distance: Any) -> Any:
    return np.linalg.norm(distance) if "rows" in name else distance


@EVERY
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("wide", [False, True])
def test_the_distance_is_the_limit_of_the_residual(name: str, dtype: str, wide: bool) -> None:
    """For convex g the residual of a small step tends to the distance, from below."""
    if name == "Box" and dtype == "complex128":
        pytest.skip("a box has real points")
    g = CONVEX[name]
    for seed in range(5):
        x, grad = (
            point(name, seed, dtype),
            support.gaussian(*shape_of(name), seed=90 + seed, dtype=dtype),
        )
        if wide:
            x, grad = x.T, grad.T
        distance = total(name, diagnostics.subdifferential_distance(x, grad, g))
        last = 0.0
        for step in (1.0, 1e-2, 1e-5):
            residual = total(name, _residual(x, grad, g, step))
            assert residual <= distance * (1 + 1e-9) + 1e-9
            assert residual >= last - 1e-9
            last = residual
        assert distance == pytest.approx(last, rel=1e-3, abs=1e-7)


def _residual(x: Any, grad: Any, g: Any, step: float) -> Any:
    if getattr(g, "axes", None) == (-1,):
        moved = g.prox(x - step * grad, step)
        return np.linalg.norm(x - moved, axis=-1) / step
    return diagnostics.prox_residual(x, grad, g, step=step)


@pytest.mark.parametrize("name", [*CONVEX, *MORE])
def test_both_are_zero_at_stationary_points(name: str) -> None:
    """With -grad = (y - prox(y)) / step, a subgradient at the proximal point of y."""
    g = {**CONVEX, **MORE}[name]
    for seed in range(5):
        y = 2.0 * support.gaussian(*shape_of(name), seed=seed)
        x = g.prox(y, 0.5)
        grad = (x - y) / 0.5
        assert total(name, diagnostics.subdifferential_distance(x, grad, g)) < 1e-12
        assert total(name, _residual(x, grad, g, 0.5)) < 1e-12
        moved = grad + 0.1 * support.gaussian(*shape_of(name), seed=seed + 50)
        assert (
            total(name, diagnostics.subdifferential_distance(x, moved, g)) > 1e-3
            or name == "L1Ball"
        )


def test_bounds_for_strongly_convex_functions() -> None:
    """||x - x*|| <= (1 + step L) / mu residual, and F(x) - F* <= distance ||x - x*||."""
    g, target = prox.Nuclear(0.7), 2.0 * support.gaussian(*SHAPE, seed=3)
    best = g.prox(target, 1.0)

    def value(z: Any) -> Any:
        return ((z - target) ** 2).sum() / 2 + g.value(z)

    for seed in range(20):
        x = best + 10.0 ** -(seed / 5) * support.gaussian(*SHAPE, seed=seed)
        away = np.linalg.norm(x - best)
        for step in (0.1, 1.0, 10.0):
            residual = diagnostics.prox_residual(x, x - target, g, step=step)
            assert away <= (1 + step) * residual * (1 + 1e-12)
        distance = diagnostics.subdifferential_distance(x, x - target, g)
        assert value(x) - value(best) <= distance * away * (1 + 1e-12)


def test_no_eps_makes_a_point_look_stationary() -> None:
    """The measure of the theorems falls as eps⁴ at 0, where F is far from its minimum."""
    target, g = support.gaussian(8, 6, seed=0), prox.Nuclear(0.7)
    zero = 0.0 * target
    residual = diagnostics.prox_residual(zero, -target, g)
    assert residual == pytest.approx(np.linalg.norm(g.prox(target, 1.0)))
    assert diagnostics.subdifferential_distance(zero, -target, g) == pytest.approx(residual)
    small = preconditioners.Kappa(4, eps=1e-3)
    assert diagnostics.stationarity(zero, -target, 0.5, preconditioner=small, g=g) < 1e-10
    stop = diagnostics.certificate(diagnostics.stationarity, 0.5, preconditioner=small, g=g)
    assert stop(zero, zero, -target, {}) >= residual
    assert np.isnan(stop(zero, zero, np.nan * target, {}))


def test_a_run_stops_on_either() -> None:
    target, g = 2.0 * support.gaussian(*SHAPE, seed=1), prox.Nuclear(0.7)

    def f(x: Any) -> Any:
        return ((x - target) ** 2).sum() / 2, x - target

    rule = rules.ProximalSpectral(
        1.0, beta=0.0, preconditioner=preconditioners.Kappa(4, eps=1.0), g=g
    )
    for measure in (diagnostics.prox_residual, diagnostics.subdifferential_distance):
        stop = diagnostics.certificate(measure, g)
        found = sd.minimize(f, 0 * target, rule, steps=500, stop=stop, tol=1e-8)
        assert found.status == "tol"
        assert np.linalg.norm(found.x - g.prox(target, 1.0)) < 1e-7


def test_outside_of_a_set_and_where_there_is_no_closed_form() -> None:
    x = 2.0 * np.eye(3)
    assert diagnostics.subdifferential_distance(x, x, prox.SpectralBall(1.0)) == np.inf
    with pytest.raises(NotImplementedError, match="prox_residual takes any g"):
        diagnostics.subdifferential_distance(x, x, prox.KyFanBall(2, 1.0))
    with pytest.raises(ValueError, match="step must be above 0"):
        diagnostics.prox_residual(x, x, prox.Zero(), step=0.0)


def test_every_library_and_a_nan_stays_in_its_matrix(library: Library) -> None:
    if library.backend == "dask":
        pytest.skip("dask has no SVD of stacks")
    host = support.gaussian(3, *SHAPE, seed=2).astype("float32")
    host[1, 2, 3] = np.nan
    x, grad = library.array(host), library.array(host[::-1].copy())
    for g in (prox.Nuclear(0.5), prox.L1(0.3), prox.Ridge(0.2)):
        for found in (
            diagnostics.prox_residual(x, grad, g, step=0.5),
            diagnostics.subdifferential_distance(x, grad, g),
        ):
            out = library.numpy(found)
            assert out.shape == (3,)
            assert (np.isnan(out) == [False, True, False]).all()


# --- ranks ---------------------------------------------------------------------------------------


def test_ranks_by_their_definition(library: Library) -> None:
    if library.backend == "dask":
        pytest.skip("dask has no SVD of stacks")
    host = support.gaussian(2, *SHAPE, seed=7).astype("float32")
    s = np.linalg.svd(host, compute_uv=False)
    energy = (s**2).sum(-1)
    x = library.array(host)
    nuclear, stable = s.sum(-1) ** 2 / energy, energy / s[:, 0] ** 2
    inputs = library.array(host[::-1].copy())
    for found, expected in (
        (diagnostics.nuclear_rank(x), nuclear),
        (diagnostics.stable_rank(x), stable),
        (diagnostics.spectral_gain(x, inputs), nuclear / stable[::-1]),
    ):
        np.testing.assert_allclose(library.numpy(found), expected, rtol=1e-5)


def test_ranks_at_the_edges() -> None:
    assert diagnostics.nuclear_rank(np.zeros((2, 3))) == 0.0
    assert diagnostics.stable_rank(np.zeros((2, 3))) == 0.0
    assert np.isnan(diagnostics.spectral_gain(np.eye(2), np.zeros((3, 2))))
    assert np.isnan(diagnostics.nuclear_rank(np.full((2, 2), np.inf)))
    assert diagnostics.nuclear_rank(np.zeros((3, 0, 2))).shape == (3,)
    for scale in (1e-300, 1e300):
        assert diagnostics.nuclear_rank(scale * np.eye(3)) == pytest.approx(3.0)
        assert diagnostics.stable_rank(scale * np.eye(3)) == pytest.approx(3.0)
    with pytest.raises(ValueError, match="one batch shape"):
        diagnostics.spectral_gain(np.eye(2), np.zeros((2, 3, 2)))


def test_the_gain_is_the_quotient_of_the_decreases_of_one_step() -> None:
    """f(W) = ||(W - W*) A||² / 2: best bounds ||G||_*² / ||A||_F² against ||G||_F² / ||A||_2²."""
    inputs = support.gaussian(5, 40, seed=1) * np.asarray([20.0, 1, 1, 1, 1])[:, None]
    rest = support.gaussian(4, 5, seed=2)
    grad = rest @ inputs @ inputs.T
    s = np.linalg.svd(grad, compute_uv=False)
    t = np.linalg.svd(inputs, compute_uv=False)
    spectral, plain = s.sum() ** 2 / (t**2).sum(), (s**2).sum() / t[0] ** 2
    assert diagnostics.spectral_gain(grad, inputs) == pytest.approx(spectral / plain)
