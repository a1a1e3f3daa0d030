"""Momentum for rules of one direction, error feedback, and a set for Muon."""

from typing import Any

import numpy as np
import pytest

import specdesc as sd
from specdesc import prox, rules, schedules
from tests import support
from tests.support import Library

SHAPE = (6, 4)
STEPS = schedules.geometric(0.5, 0.98)

FED: dict[str, Any] = {
    "spectral": rules.SpectralDescent(STEPS, error_feedback=True),
    "spectral, momentum": rules.SpectralDescent(STEPS, beta=0.9, error_feedback=True),
    "truncated": rules.TruncatedSpectralDescent(1, STEPS, error_feedback=True, tol=None),
    "truncated, momentum": rules.TruncatedSpectralDescent(
        2, STEPS, beta=0.5, error_feedback=True, tol=None
    ),
    "sign": rules.SignDescent(STEPS, error_feedback=True),
    "gradient": rules.NormalizedGradient(STEPS, beta=0.5, error_feedback=True),
    "muon": rules.Muon(STEPS, error_feedback=True),
    "muon, plain": rules.Muon(STEPS, beta=0.5, nesterov=False, scale="none", error_feedback=True),
}


def counterexample(c: float) -> Any:
    """Return c abs(tr X) + ||X - (tr X / 2) I||_*, convex and sharp, with its minimum 0 at 0."""
    identity = np.eye(2)

    def f(x: Any) -> Any:
        trace = np.trace(x)
        u, s, vh = np.linalg.svd(x - trace / 2 * identity)
        w = u @ vh
        return c * abs(trace) + s.sum(), c * np.sign(trace) * identity + w - np.trace(
            w
        ) / 2 * identity

    return f


START = np.asarray([[1.0, 0.2], [0.2, 0.5]])


@pytest.mark.thorough
@pytest.mark.parametrize("c", [0.3, 0.7, 0.95])
def test_the_counterexample_stops_spectral_descent_without_a_memory_alone(c: float) -> None:
    f = counterexample(c)

    def left(rule: rules.Rule) -> float:
        return float(sd.minimize(f, START, rule, steps=600).value / f(START)[0])

    assert left(rules.SpectralDescent(STEPS)) > 0.4
    repaired = [rule for name, rule in FED.items() if name != "gradient"]
    momentum = [
        rules.SpectralDescent(STEPS, beta=0.9),
        rules.TruncatedSpectralDescent(2, STEPS, beta=0.9, tol=None),
        rules.Muon(STEPS),
        rules.Muon(STEPS, beta=0.5, nesterov=False),
    ]
    for rule in repaired + momentum:
        assert left(rule) < 1e-4


@pytest.mark.parametrize("name", FED)
def test_the_point_less_the_error_makes_plain_subgradient_steps(name: str) -> None:
    """x - error moves by the step times what the rule takes the direction of; in every stack."""
    rule = FED[name]
    x = support.gaussian(3, *SHAPE, seed=1) * np.asarray([1.0, 1e3, 1e-3])[:, None, None]
    state, virtual = rule.init(x), x
    buffer = np.zeros_like(x)
    beta = getattr(rule, "beta", None) or 0.0
    for t in range(6):
        grad = support.gaussian(3, *SHAPE, seed=10 + t)
        x, state = rule.update(x, grad, state)
        buffer = beta * buffer + (1 - beta) * grad
        pull = beta * buffer + (1 - beta) * grad if getattr(rule, "nesterov", False) else buffer
        scale = (6 / 4) ** 0.5 if getattr(rule, "scale", "none") == "keller" else 1.0
        virtual = virtual - 0.5 * 0.98**t * scale * pull
        np.testing.assert_allclose(x - state["error"], virtual, atol=1e-9)


@pytest.mark.parametrize("name", FED)
def test_the_error_stays_small(name: str) -> None:
    """With a constant step it is at most the multiple of step ||pull|| of the contraction."""
    options = {k: v for k, v in vars(FED[name]).items() if k not in ("step", "_")}
    rule = type(FED[name])(step=0.1, **options)
    x = np.zeros(SHAPE)
    state, most = rule.init(x), 0.0
    for t in range(200):
        grad = support.gaussian(*SHAPE, seed=t)
        grad = grad / np.linalg.norm(grad)
        x, state = rule.update(x, grad, state)
        most = max(most, np.linalg.norm(state["error"]))
    # p loses at least 1 / k of its square: 24 entries for the sign, the smaller side else.
    k = {"sign": 24, "gradient": 1}.get(name, 4)
    assert most <= 0.1 * (6 / 4) ** 0.5 / (1 - (1 - 1 / k) ** 0.5)


@pytest.mark.parametrize("c", [1e-150, 1e150])
def test_it_is_made_at_any_scale(c: float) -> None:
    rule = rules.SpectralDescent(0.5, error_feedback=True)
    x = np.zeros(SHAPE)
    grad = support.gaussian(*SHAPE, seed=2)
    once, _ = rule.update(x, grad, rule.init(x))
    scaled, state = rule.update(x, c * grad, rule.init(x))
    np.testing.assert_allclose(scaled, c * once, rtol=1e-10)
    zero, state = rule.update(x, 0 * grad, rule.init(x))
    assert (zero == x).all()
    assert (state["error"] == 0).all()


def test_with_momentum_it_is_muon(library: Library) -> None:
    """Spectral descent with a buffer is Muon without scale and look-ahead."""
    x = library.array(support.gaussian(2, *SHAPE, seed=3).astype("float32"))
    one = rules.SpectralDescent(0.1, beta=0.9, weight_decay=0.1, tol=1e-5, floor=1e-3)
    other = rules.Muon(
        0.1, beta=0.9, weight_decay=0.1, nesterov=False, scale="none", tol=1e-5, floor=1e-3
    )
    y, z = x, x
    first, second = one.init(x), other.init(x)
    assert set(first) == set(second)
    for t in range(3):
        grad = library.array(support.gaussian(2, *SHAPE, seed=t).astype("float32"))
        y, first = one.update(y, grad, first)
        z, second = other.update(z, grad, second)
    np.testing.assert_allclose(library.numpy(y), library.numpy(z), atol=1e-5)


def test_truncated_momentum_is_the_step_of_the_average() -> None:
    rule = rules.TruncatedSpectralDescent(2, 0.1, beta=0.75, tol=None)
    x, buffer = np.zeros(SHAPE), np.zeros(SHAPE)
    state = rule.init(x)
    for t in range(4):
        grad = support.gaussian(*SHAPE, seed=t)
        buffer = 0.75 * buffer + 0.25 * grad
        expected = x - 0.1 * sd.truncated_spectral_step(buffer, 2)
        x, state = rule.update(x, grad, state)
        np.testing.assert_allclose(x, expected, atol=1e-12)
    operator = sd.LinearOperator(lambda v: grad @ v, lambda v: grad.T @ v, SHAPE, grad)
    with pytest.raises(TypeError, match="grad must be an array"):
        rules.TruncatedSpectralDescent(2, 0.1, beta=0.5).update(x, operator, state)


def test_muon_in_a_spectral_ball_finds_the_minimiser() -> None:
    target = 2.0 * support.gaussian(*SHAPE, seed=4)
    ball = prox.SpectralBall(1.5)

    def f(x: Any) -> Any:
        return ((x - target) ** 2).sum() / 2, x - target

    rule = rules.Muon(schedules.geometric(0.3, 0.98), scale="none", g=ball)
    found = sd.minimize(f, 0 * target, rule, steps=500)
    np.testing.assert_allclose(found.x, ball.prox(target), atol=1e-3)
    ranked = rules.Muon(0.1, g=prox.Rank(2))
    x, _ = ranked.update(target, target, ranked.init(target))
    assert np.linalg.matrix_rank(x) == 2


def test_what_muon_refuses() -> None:
    for g in (prox.NuclearBall(1.0), prox.Nuclear(1.0), prox.FrobeniusBall(1.0)):
        with pytest.raises(NotImplementedError, match=r"Muon would not.*rules\.ProximalSpectral"):
            rules.Muon(0.1, g=g)
    for decay in ("cautious", "independent"):
        with pytest.raises(NotImplementedError, match="next to g"):
            rules.Muon(0.1, weight_decay=0.1, decay=decay, g=prox.SpectralBall(1.0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        rules.SpectralDescent,
        rules.SignDescent,
        rules.Muon,
        lambda *a, **o: rules.TruncatedSpectralDescent(1, *a, **o),
    ],
)
def test_error_feedback_goes_with_neither_decay_nor_set(make: Any) -> None:
    for options in ({"weight_decay": 0.1}, {"g": prox.Rank(1)}):
        with pytest.raises(ValueError, match="error_feedback takes neither"):
            make(0.1, error_feedback=True, **options)
    with pytest.raises(ValueError, match="beta must"):
        make(0.1, beta=1.5)
