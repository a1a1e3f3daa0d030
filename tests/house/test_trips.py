"""How many calls a small step makes inside the project, and how often it checks its arrays."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

import numpy as np
import pytest

import specdesc
from specdesc import norms, preconditioners, prox, rules, schedules, trees
from specdesc.backends import entry

HOUSES = tuple(
    str(folder)
    for folder in (
        Path(specdesc.__file__).parent,
        Path(specdesc.__file__).parent.parent / "backends",
    )
)
RNG = np.random.default_rng(0)
X, G = RNG.standard_normal((32, 16)), RNG.standard_normal((32, 16))


class Trip(NamedTuple):
    """What a call passes through inside the project."""

    calls: int
    files: int
    frames: int  # deep


def trip(call: Callable[[], object]) -> Trip:
    """Follow the second run; comprehensions and re-entered generators left out."""
    call()
    count, deepest, generators = 0, 0, set[int]()
    files = set[str]()
    kept: list[FrameType] = []

    def counted(code: CodeType) -> bool:
        inner = code.co_name.startswith("<") and code.co_name != "<lambda>"
        return code.co_filename.startswith(HOUSES) and not inner

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal count, deepest
        if event != "call" or not counted(frame.f_code):
            return
        if frame.f_code.co_flags & inspect.CO_GENERATOR:
            if id(frame) in generators:
                return
            generators.add(id(frame))
            kept.append(frame)
        count += 1
        files.add(frame.f_code.co_filename)
        depth, above = 0, frame
        while above is not None:
            depth += counted(above.f_code)
            above = above.f_back  # type: ignore[assignment]
        deepest = max(deepest, depth)

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return Trip(count, len(files), deepest)


SQUARE = RNG.standard_normal((256, 256))


def test_a_polar_factor_is_short() -> None:
    found = trip(lambda: specdesc.orthogonalize(SQUARE, tol=1e-3, method="polynomial"))
    assert 50 < found.calls <= 220
    assert found.files <= 12
    assert found.frames <= 14


def test_a_truncated_step_is_short() -> None:
    found = trip(lambda: specdesc.truncated_spectral_step(SQUARE, 8, tol=0.1))
    assert 30 < found.calls <= 110


def test_a_step_of_muon_is_short() -> None:
    rule = rules.Muon(0.02)
    state = rule.init(X)
    assert 30 < trip(lambda: rule.update(X, G, state)).calls <= 115


def test_a_projection_is_short() -> None:
    ball, preconditioner = prox.SpectralBall(1.0), preconditioners.Sqrt()
    found = trip(lambda: ball.anisotropic_prox(X, 0.1, preconditioner))
    assert 10 < found.calls <= 40


def entered(call: Callable[[], object]) -> int:
    """Count how often arrays are checked."""
    count = 0

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "call" and frame.f_code is entry.enter.__code__

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return count


BALL, SQRT = prox.SpectralBall(1.0), preconditioners.Sqrt(normalize=True)
RULES: list[rules.Rule] = [
    rules.SpectralDescent(0.1, weight_decay=0.1, g=BALL),
    rules.SpectralDescent(schedules.polyak(), g=prox.Scaled(BALL, 2.0)),
    rules.SpectralDescent(0.1, g=prox.Rank(2)),
    rules.TruncatedSpectralDescent(2, 0.1),
    rules.TruncatedSpectralDescent(2, 0.1, tol=None, weight_decay=0.1, g=prox.Rank(2)),
    rules.SignDescent(0.1),
    rules.SignDescent(0.1, g=prox.Scaled(prox.Box(-1.0, 2.0), 2.0)),
    rules.NormalizedGradient(schedules.geometric(0.1, 0.9)),
    rules.Muon(0.1, beta=schedules.constant(0.9), weight_decay=0.1, decay="cautious"),
    rules.Scion(0.1),
    rules.Scion(0.1, norm=norms.KyFan(2)),
    rules.AdamW(0.1),
    rules.ProximalSpectral(0.1, preconditioner=SQRT, g=BALL),
    rules.ProximalSpectral(
        0.1, preconditioner=preconditioners.Sign(geometry="global"), g=prox.FrobeniusBall(1.0)
    ),
    rules.ProximalStorm(0.1, preconditioner=SQRT, g=prox.Zero(), approximate=True),
    rules.ProximalStorm(0.1, preconditioner=SQRT, g=prox.Zero()),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_a_rule_enters_once(rule: rules.Rule) -> None:
    state, value = rule.init(X), np.asarray(2.0)
    earlier = G if rule.needs_previous_grad else None
    assert entered(lambda: rule.init(X)) == 1
    assert entered(lambda: rule.update(X, G, state, value=value, previous_grad=earlier)) == 1


@pytest.mark.parametrize("norm", [norms.Spectral(), norms.Max(), norms.KyFan(2), norms.Rows()])
@pytest.mark.parametrize("method", ["value", "dual", "lmo", "direction", "sharp"])
def test_a_norm_enters_once(norm: norms.Norm, method: str) -> None:
    assert entered(lambda: getattr(norm, method)(X)) == 1


@pytest.mark.parametrize("g", [BALL, prox.MaxBall(1.0), prox.Ridge(1.0), prox.Nuclear(1.0)])
def test_a_prox_enters_once(g: prox.Operator) -> None:
    plain = preconditioners.Sqrt(
        geometry="elementwise" if isinstance(g, prox.MaxBall) else "spectral"
    )
    assert entered(lambda: g.value(X)) == 1
    assert entered(lambda: g.prox(X, 0.1)) == 1
    assert entered(lambda: g.anisotropic_prox(X, 0.1, plain, full_output=True)) == 1
    assert entered(lambda: prox.Translated(g, G).prox(X, 0.1)) == 1


@pytest.mark.parametrize("stack", [None, False])
def test_a_tree_enters_once_for_each_call_of_a_rule(stack: bool | None) -> None:
    params = {"a": X, "b": X[:5], "c": X[:7], "d": X[0]}
    groups = [trees.Group("[abc]", rules.Muon(0.1, weight_decay=0.1), stack=stack)]
    route = trees.route(params, *groups, rest=rules.AdamW(0.1))
    state = trees.init(params, route)
    assert entered(lambda: trees.update(params, params, state, route)) == len(params)
