"""Update rules: the mathematics of each step, and the promises of a pure rule."""

import tracemalloc
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specdesc as sd
from specdesc import LinearOperator, norms, preconditioners, prox, rules, schedules
from tests import support
from tests.contracts.test_stacks import mixed
from tests.support import EPS, Library, adjoint, ky_fan, leaves, polar_factor, spectral_norm

SHAPE = (48, 44)

#: name -> rule; every option is used by one of them
RULES = {
    "sd": rules.SpectralDescent(0.5),
    "sd decay": rules.SpectralDescent(schedules.frank_wolfe(2.0), weight_decay=2.0),
    "sd ball": rules.SpectralDescent(schedules.geometric(0.5, 0.9), g=prox.SpectralBall(1.0)),
    "sd rank": rules.SpectralDescent(0.5, g=prox.Rank(1)),
    "tsd": rules.TruncatedSpectralDescent(1, 0.5),
    "tsd exact": rules.TruncatedSpectralDescent(1, 0.5, tol=None),
    "tsd decay": rules.TruncatedSpectralDescent(1, schedules.frank_wolfe(2.0), weight_decay=2.0),
    "tsd rank": rules.TruncatedSpectralDescent(1, 0.5, g=prox.Rank(2)),
    "tsd polyak": rules.TruncatedSpectralDescent(1, schedules.polyak(rank=1)),
    "sd momentum": rules.SpectralDescent(0.5, beta=0.5, weight_decay=0.1),
    "tsd feedback": rules.TruncatedSpectralDescent(1, 0.5, beta=0.5, error_feedback=True),
    "ng": rules.NormalizedGradient(0.5),
    "ng polyak": rules.NormalizedGradient(schedules.polyak(), weight_decay=0.1),
    "ng nuclear": rules.NormalizedGradient(0.5, g=prox.NuclearBall(30.0)),
    "sign": rules.SignDescent(0.5, weight_decay=0.1, g=prox.MaxBall(3.0)),
    "adamw": rules.AdamW(0.5, weight_decay=0.1),
    "muon": rules.Muon(0.5, weight_decay=0.1),
    "muon cautious": rules.Muon(
        0.5, weight_decay=0.1, decay="cautious", nesterov=False, momentum="heavy_ball"
    ),
    "muon l2": rules.Muon(0.5, weight_decay=0.1, decay="l2", layout="in_out", scale="rms_to_rms"),
    "muon ball": rules.Muon(0.5, g=prox.SpectralBall(30.0)),
    "muon feedback": rules.Muon(0.5, error_feedback=True),
    "scion": rules.Scion(schedules.heavy_tailed().step, radius=2.0),
    "scion rows": rules.Scion(0.5, norm=norms.Rows(), radius=2.0, constrained=False),
    "proximal": rules.ProximalSpectral(
        0.1, preconditioner=preconditioners.Kappa(4, eps=0.5), g=prox.SpectralBall(3.0)
    ),
    "storm": rules.ProximalStorm(
        0.1,
        beta=schedules.storm(100).beta,
        preconditioner=preconditioners.SoftSign(eps=0.5, geometry="elementwise"),
        g=prox.L1(0.1),
    ),
    "storm approximate": rules.ProximalStorm(
        0.1,
        beta=schedules.storm().beta,
        preconditioner=preconditioners.Sqrt(eps=0.5, geometry="global"),
        g=prox.Zero(),
        approximate=True,
    ),
}
WITH_BUFFER = tuple(
    name for name, rule in RULES.items() if "momentum_buffer" in rule.init(np.ones((2, 2)))
)
#: the ones with a buffer that are tried where a graph or a compilation is dear
TRIED = ("scion rows", "storm", "muon")
#: those whose map sees the scale of the gradient
SCALED = (
    "ng polyak",
    "adamw",
    "proximal",
    "storm",
    "storm approximate",
    "muon l2",
    "tsd feedback",
    "muon feedback",
)
EVERY = pytest.mark.parametrize("name", RULES)


def supported(name: str, library: Library) -> Any:
    if library.compiles and name in (*WITH_BUFFER, "sign") and name not in TRIED:
        pytest.skip("each rule is many compilations, and its parts were tried by others")
    return RULES[name]


def stepped(rule: Any, x: Any, grad: Any, state: Any, value: Any) -> Any:
    """Make a step; a gradient of the same sample is the same one where nothing has moved."""
    previous = {"previous_grad": grad} if rule.needs_previous_grad else {}
    return rule.update(x, grad, state, value=value, **previous)


def value_of(library: Library, x: Any, number: float = 2.0) -> Any:
    """Return an objective of the batch shape in the real dtype."""
    return prox.Zero().value(x) + number


# --- promises of every rule ----------------------------------------------------------------------


@EVERY
def test_the_state_keeps_its_keys_shapes_and_dtypes(
    name: str, library: Library, dtype: str
) -> None:
    rule = supported(name, library)
    if library.compiles and dtype not in ("float32", "bfloat16"):
        pytest.skip("each dtype is a compilation, and the paths are the same")
    if dtype != "float32" and name in WITH_BUFFER and library.backend in ("dask", "jax"):
        pytest.skip("a dtype is a compilation, or a large graph, and the paths are the same")
    x = library.array(support.easy(2, shape=SHAPE, dtype=dtype), dtype)
    grad = library.array(support.easy(2, shape=SHAPE, dtype=dtype)[::-1].copy(), dtype)
    state = rule.init(x)

    def structure(state: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
        return {key: (library.dtype(y), tuple(y.shape)) for key, y in state.items()}

    first = structure(state)
    assert first["t"] == ("int32", ())
    for t in range(1, 4):
        x, state = stepped(rule, x, grad, state, value_of(library, x))
        assert structure(state) == first
        assert int(library.numpy(state["t"])) == t
        support.assert_array(library, x, grad, (2, *SHAPE), dtype)
        assert np.isfinite(library.numpy(x)).all()


@EVERY
def test_gradient_state_and_iterate_are_never_changed(name: str, library: Library) -> None:
    """Bit for bit; and writing over the gradient afterwards changes nothing that was returned."""
    rule = supported(name, library)
    x = library.array(support.easy(2, shape=SHAPE), "float32")
    grad = library.array(support.easy(2, shape=SHAPE)[::-1].copy(), "float32")
    x, state = stepped(rule, x, grad, rule.init(x), value_of(library, x))
    given = [x, grad, *leaves(state)]
    before = [library.numpy(y).tobytes() for y in given]
    keys = list(state)
    y, after = stepped(rule, x, grad, state, value_of(library, x))
    assert [library.numpy(z).tobytes() for z in given] == before
    assert list(state) == keys
    if library.writes:
        returned = [library.numpy(z).tobytes() for z in (y, *leaves(after))]
        grad[...] = 0.0
        x[...] = 0.0
        assert [library.numpy(z).tobytes() for z in (y, *leaves(after))] == returned


@EVERY
def test_a_zero_gradient_is_a_zero_step(name: str, library: Library) -> None:
    """Nothing but the decay and the proximal step happens, exactly."""
    rule = supported(name, library)
    host = support.easy(2, shape=SHAPE).astype("float32")
    x = library.array(host)
    options = {key: option for key, option in vars(rule).items() if key not in ("g", "_")}
    if hasattr(rule, "g"):
        options["g"] = prox.Zero() if hasattr(rule, "preconditioner") else None
    bare = type(rule)(**options)
    zero = library.array(0 * host)
    y, _ = stepped(bare, x, zero, bare.init(x), value_of(library, x))
    if name in ("sd decay", "tsd decay", "scion"):
        # The first Frank-Wolfe step has size 1: it forgets the start.
        assert (library.numpy(y) == 0).all()
    elif getattr(rule, "decay", None) == "l2":
        # The decay is a part of the gradient, which is not zero then.
        assert np.isfinite(library.numpy(y)).all()
    else:
        decay = np.float32(1.0) - np.float32(getattr(rule, "weight_decay", 0.0)) * np.float32(0.5)
        size = "polyak" in name or not hasattr(rule, "weight_decay")
        expected = host if size else decay * host
        np.testing.assert_allclose(library.numpy(y), expected, rtol=1e-7 if decay != 1 else 0)


@EVERY
def test_the_step_does_not_depend_on_the_scale_of_the_gradient(name: str) -> None:
    rule = RULES[name]
    x, grad = support.easy(2, shape=SHAPE)
    value = np.asarray(2.0)
    if name in SCALED:
        pytest.skip("a Polyak step, and a smooth preconditioner, see the norm of the gradient")
    base, _ = stepped(rule, x, grad, rule.init(x), value)
    for scale in (1e-300, 1e300):
        y, _ = stepped(rule, x, grad * scale, rule.init(x), value)
        np.testing.assert_allclose(y, base, atol=1e-9)


@EVERY
def test_a_stack_is_a_loop_over_its_matrices(name: str) -> None:
    """Matrices of gradients that differ by twelve decades, each with its own step."""
    rule = RULES[name]
    x = support.easy(3, shape=SHAPE)
    grad = x[::-1] * np.asarray([1.0, 1e6, 1e-6])[:, None, None]
    state = rule.init(x)
    values = np.asarray([1.0, 2.0, 3.0])
    whole, _ = stepped(rule, x, grad, state, values)
    for i in range(3):
        one, _ = stepped(rule, x[i], grad[i], rule.init(x[i]), values[i])
        np.testing.assert_allclose(whole[i], one, atol=1e-9)


@EVERY
def test_a_nan_gradient_breaks_its_own_matrix_only(name: str, library: Library) -> None:
    if library.backend == "dask" and name in ("sign", "adamw", "storm"):
        pytest.skip("rules of entries: there a NaN stays in its entry")
    rule = supported(name, library)
    host = support.easy(2, shape=SHAPE).astype("float32")
    bad = host.copy()
    bad[1, 2, 3] = np.nan
    x = library.array(host)
    y, state = stepped(rule, x, library.array(bad), rule.init(x), value_of(library, x))
    out = library.numpy(y)
    assert np.isfinite(out[0]).all()
    assert np.isnan(out[1]).all()
    for key, z in state.items():
        # A buffer remembers what it was given; the starts of iterations do not.
        memory = key in ("momentum_buffer", "error", "previous_grad", "mean", "root_mean_square")
        host = library.numpy(z)
        assert np.isfinite(host[0] if memory else host).all()
        if memory:
            # All over the matrix only where code may look: the step spreads it anyway.
            assert np.isnan(host[1]).all() if library.branches else np.isnan(host[1, 2, 3])


@EVERY
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_every_kind_of_matrix_in_one_stack(name: str, dtype: str) -> None:
    """Zero, rank one, subnormal entries, 1e30 and every way not to be finite, without a warning."""
    if name in ("ng polyak", "tsd polyak", "sd ball", "sd rank", "tsd rank", "ng nuclear"):
        pytest.skip("the prox and the schedule have these tests for themselves")
    host, bad = mixed(dtype)
    for library in support.LIBRARIES:
        if library.name not in ("numpy", "torch") or find_spec(library.name) is None:
            continue
        rule = RULES[name]
        x, grad = (library.array(host[i], dtype) for i in (~bad, ~bad))
        y, _ = stepped(rule, x, grad, rule.init(x), value_of(library, x))
        assert np.isfinite(library.numpy(y)).all()
        x = library.array(host, dtype)
        y, state = stepped(rule, x, x, rule.init(x), value_of(library, x))
        for key in ("x", *state):
            out = library.numpy(y if key == "x" else state[key])
            if key in ("x", "momentum_buffer", "previous_grad"):
                assert np.isnan(out[bad]).all()
                assert np.isfinite(out[~bad]).all()


# --- the formulas --------------------------------------------------------------------------------


def test_each_rule_is_its_formula(library: Library, dtype: str) -> None:
    if library.compiles and dtype not in ("float32", "complex64"):
        pytest.skip("each dtype is a compilation, and the paths are the same")
    host, grad = support.easy(2, shape=SHAPE, dtype=dtype)
    x, g = library.array(host, dtype), library.array(grad, dtype)
    wide, wide_grad = (library.numpy(y).astype("complex128") for y in (x, g))
    u, _, vh = np.linalg.svd(wide_grad, full_matrices=False)
    # By itself a device is no more exact than a step needs.
    exact = {"tol": 50 * EPS[dtype], "floor": 0.01} if library.accelerated else {}
    directions = {
        rules.SpectralDescent(0.5, weight_decay=0.2, **exact): u @ vh,
        rules.NormalizedGradient(0.5, weight_decay=0.2): wide_grad / np.linalg.norm(wide_grad),
    }
    truncated = rules.TruncatedSpectralDescent(2, 0.5, weight_decay=0.2, tol=None)
    directions[truncated] = u[:, :2] @ vh[:2]
    for rule, direction in directions.items():
        y, _ = rule.update(x, g, rule.init(x))
        expected = 0.9 * wide - 0.5 * direction
        tight = library.backend != "dask" and not exact
        limit = 400 * EPS[dtype] if tight else 4000 * EPS[dtype]
        assert spectral_norm(library.numpy(y) - expected) <= limit


def test_plain_numbers_and_constant_schedules_are_the_same() -> None:
    x, grad = support.easy(2, shape=(6, 4))
    for make in (
        rules.SpectralDescent,
        rules.NormalizedGradient,
        lambda step: rules.TruncatedSpectralDescent(2, step),
    ):
        one, other = make(0.25), make(schedules.constant(0.25))
        a, b = (rule.update(x, grad, rule.init(x))[0] for rule in (one, other))
        assert (a == b).all()


def test_the_proximal_step_comes_last_with_the_size_of_the_step() -> None:
    x, grad = support.easy(2, shape=(6, 4))

    class Threshold:
        """A heuristic of a user, whose result shows the step."""

        is_convex = False
        value = prox.Nuclear(0.3).value
        prox = prox.Nuclear(0.3).prox

    rule, bare = rules.SpectralDescent(0.25, g=Threshold()), rules.SpectralDescent(0.25)
    y, _ = rule.update(x, grad, rule.init(x))
    z, _ = bare.update(x, grad, bare.init(x))
    np.testing.assert_allclose(y, prox.Nuclear(0.3).prox(z, 0.25), atol=1e-14)


def test_an_iterate_with_a_ball_stays_in_it() -> None:
    g = prox.SpectralBall(1.0)
    rule = rules.SpectralDescent(0.7, g=g)
    x = np.zeros((6, 4))
    state = rule.init(x)
    for t in range(20):
        x, state = rule.update(x, support.gaussian(6, 4, seed=t), state)
        assert g.value(x) == 0


@pytest.mark.parametrize("rank", [1, 3, 20])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_weight_decay_is_frank_wolfe(rank: int, dtype: str) -> None:
    """The same iterates to 1e-12, in the ball, along minimisers of the linear form."""
    decay = 2.5
    rule: Any = rules.TruncatedSpectralDescent(
        rank, schedules.frank_wolfe(decay), weight_decay=decay, tol=None
    )
    if rank == 20:
        rule = rules.SpectralDescent(schedules.frank_wolfe(decay), weight_decay=decay)
    target = support.gaussian(24, 20, seed=1, dtype=dtype)
    x = y = np.zeros_like(target)
    state = rule.init(x)
    rng = np.random.default_rng(0)
    for t in range(60):
        grad = y - target
        x, state = rule.update(x, grad, state)
        u, s, vh = np.linalg.svd(grad, full_matrices=False)
        vertex = -(u[:, :rank] @ vh[:rank]) / decay
        gamma = 2.0 / (t + 2.0)
        y = (1 - gamma) * y + gamma * vertex
        np.testing.assert_allclose(x, y, atol=1e-12)
        # The vertex is the minimiser over the ball, and its value minus the dual norm.
        lowest = np.vdot(grad, vertex).real
        assert lowest == pytest.approx(-s[:rank].sum() / decay)
        z = rng.standard_normal(grad.shape)
        zs = np.linalg.svd(z, compute_uv=False)
        z = z / (decay * max(zs[0], zs.sum() / rank))
        assert lowest <= np.vdot(grad, z).real
        # The ball is invariant.
        sx = np.linalg.svd(x, compute_uv=False)
        assert sx[0] <= (1 + 1e-12) / decay
        assert sx.sum() <= rank * (1 + 1e-12) / decay
        assert np.linalg.norm(x) <= rank**0.5 * (1 + 1e-12) / decay


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_constrained_steps_are_those_of_weight_decay(dtype: str) -> None:
    """Without momentum, Scion and Muon's two forms make the Frank-Wolfe iterates, to 1e-12."""
    decay, share = 2.5, schedules.frank_wolfe(1.0)
    options: dict[str, Any] = {"beta": 0.0, "weight_decay": decay}
    forms = [
        rules.SpectralDescent(schedules.frank_wolfe(decay), weight_decay=decay),
        rules.Muon(share, decay="frank_wolfe", scale="none", **options),
        rules.Muon(schedules.frank_wolfe(decay), scale="none", **options),
        rules.Muon(
            share, decay="frank_wolfe", scale=lambda *_: 2.0, **{**options, "weight_decay": 5.0}
        ),
        rules.Scion(share, beta=0.0, radius=1.0 / decay),
    ]
    target = support.gaussian(24, 20, seed=1, dtype=dtype)
    points = [np.zeros_like(target) for _ in forms]
    states = [form.init(target) for form in forms]
    for _ in range(40):
        grad = points[0] - target
        for i, form in enumerate(forms):
            points[i], states[i] = form.update(points[i], grad, states[i])
        for point in points[1:]:
            np.testing.assert_allclose(point, points[0], atol=1e-12)


@pytest.mark.parametrize("norm", [norms.Spectral(), norms.Nuclear(), norms.Max(), norms.KyFan(2)])
def test_the_constrained_form_of_scion_stays_in_the_ball_of_its_norm(norm: Any) -> None:
    rule = rules.Scion(0.3, norm=norm, radius=1.5, beta=0.5)
    x = np.zeros((6, 4))
    state = rule.init(x)
    for t in range(20):
        x, state = rule.update(x, support.gaussian(6, 4, seed=t), state)
        assert norm.value(x) <= 1.5 * (1 + 1e-12)
    assert norm.value(x) > 0.5


def test_the_constrained_form_is_frank_wolfe_for_every_norm() -> None:
    """x + step (s - x) with the minimiser s, which `lmo` returns: to 1e-12."""
    for norm in (norms.KyFanDual(2), norms.Frobenius(), norms.Rows(), norms.Columns()):
        rule = rules.Scion(0.3, norm=norm, radius=1.5, beta=0.0)
        x, grad = support.easy(2, shape=(6, 4))
        y, _ = rule.update(x, grad, rule.init(x))
        np.testing.assert_allclose(y, x + 0.3 * (norm.lmo(grad, 1.5) - x), atol=1e-12)


# --- momentum and the proximal step --------------------------------------------------------------

SMOOTH = preconditioners.Kappa(2, eps=0.1)


def test_the_proximal_rule_starts_from_the_first_gradient() -> None:
    """And goes on with the average: d = beta d + (1 - beta) grad, x = proximal step along d."""
    g = prox.SpectralBall(1.0)
    rule = rules.ProximalSpectral(0.2, beta=0.75, preconditioner=SMOOTH, g=g, scale="rms_to_rms")
    x = y = np.zeros((8, 2))
    state, d = rule.init(x), None
    for t in range(4):
        grad = support.gaussian(8, 2, seed=t)
        x, state = rule.update(x, grad, state)
        d = grad if d is None else 0.75 * d + 0.25 * grad
        y = sd.proximal_step(y, d, 0.4, preconditioner=SMOOTH, g=g)
        np.testing.assert_allclose(x, y, atol=1e-14)
        np.testing.assert_allclose(state["momentum_buffer"], d, atol=1e-15)
    assert (rule.update(x, d, rule.init(x))[1]["momentum_buffer"] == d).all()


def test_the_two_estimates_of_storm() -> None:
    """d = g + beta (d - g'), with g' of the same sample, or the last gradient: A6."""
    options: dict[str, Any] = {"beta": 0.75, "preconditioner": SMOOTH, "g": prox.Zero()}
    exact = rules.ProximalStorm(0.2, **options)
    approximate = rules.ProximalStorm(0.2, approximate=True, **options)
    assert exact.needs_previous_grad
    assert not approximate.needs_previous_grad
    x = np.zeros((6, 4))
    states = [exact.init(x), approximate.init(x)]
    expected = [np.zeros((6, 4))] * 2
    last = None
    for t in range(4):
        grad, before = support.gaussian(2, 6, 4, seed=t)
        if last is None:
            expected = [grad, grad]
        else:
            # The first in STORM's form, the second in that of MARS.
            c = grad + 0.75 / 0.25 * (grad - last)
            expected = [grad + 0.75 * (expected[0] - before), 0.75 * expected[1] + 0.25 * c]
        _, states[0] = exact.update(x, grad, states[0], previous_grad=before)
        _, states[1] = approximate.update(x, grad, states[1])
        last = grad
        for state, d in zip(states, expected, strict=True):
            np.testing.assert_allclose(state["momentum_buffer"], d, atol=1e-14)


def test_without_memory_every_estimate_is_the_gradient() -> None:
    """A6: alpha = 1."""
    x, grad = support.easy(2, shape=(6, 4))
    options: dict[str, Any] = {"beta": 0.0, "preconditioner": SMOOTH, "g": prox.Nuclear(0.1)}
    expected = sd.proximal_step(x, grad, 0.3, preconditioner=SMOOTH, g=prox.Nuclear(0.1))
    for rule in (
        rules.ProximalSpectral(0.3, **options),
        rules.ProximalStorm(0.3, **options),
        rules.ProximalStorm(0.3, approximate=True, **options),
    ):
        _, state = stepped(rule, x, support.gaussian(6, 4), rule.init(x), None)
        previous = {"previous_grad": -grad} if rule.needs_previous_grad else {}
        y, state = rule.update(x, grad, state, **previous)
        np.testing.assert_allclose(y, expected, atol=1e-14)
        np.testing.assert_allclose(state["momentum_buffer"], grad, atol=1e-15)


@pytest.mark.parametrize(
    "g",
    [prox.SpectralBall(0.5), prox.Rank(2), prox.FrobeniusBall(0.5)],
    ids=lambda g: type(g).__name__,
)
def test_proximal_iterates_are_feasible_and_move_by_twice_the_step(g: Any) -> None:
    """A7, with both estimates and a bounded kernel."""
    options: dict[str, Any] = {"beta": 0.8, "preconditioner": SMOOTH, "g": g}
    for rule in (rules.ProximalSpectral(0.05, **options), rules.ProximalStorm(0.05, **options)):
        x = np.zeros((6, 4))
        state = rule.init(x)
        for t in range(15):
            y, state = stepped(rule, x, support.gaussian(6, 4, seed=t), state, None)
            assert g.value(y) == 0
            assert spectral_norm(y - x) <= 2 * 0.05 * (1 + 1e-12)
            x = y


def test_storm_does_not_lag() -> None:
    """Without noise its buffer is the gradient at every point, while an average trails behind."""
    a, b = support.easy(2, shape=(6, 6))
    options: dict[str, Any] = {"beta": 0.9, "preconditioner": SMOOTH, "g": prox.Zero()}
    lags = []
    for rule in (rules.ProximalStorm(0.1, **options), rules.ProximalSpectral(0.1, **options)):
        x = last = np.zeros((6, 6))
        state = rule.init(x)
        for _ in range(20):
            grad = a @ x + b
            moved, state = rule.update(x, grad, state, previous_grad=a @ last + b)
            last, x = x, moved
            lag = np.linalg.norm(state["momentum_buffer"] - grad)
        lags.append(lag)
    assert lags[0] <= 1e-12
    assert lags[1] > 0.1


@EVERY
def test_a_state_lies_in_files_and_comes_back(name: str, tmp_path: Path) -> None:
    """As arrays by name, without pickles: and the next step is the same bit for bit."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rule = RULES[name]
    x, grad = support.easy(2, shape=SHAPE)
    x, state = stepped(rule, x, grad, rule.init(x), np.asarray(2.0))
    np.savez(tmp_path / "state.npz", **state)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        loaded = dict(file)
    y, after = stepped(rule, x, grad, loaded, np.asarray(2.0))
    expected, expected_after = stepped(rule, x, grad, state, np.asarray(2.0))
    assert y.tobytes() == expected.tobytes()
    assert list(after) == list(expected_after)

    x, grad = torch.asarray(x), torch.asarray(grad)
    x, state = stepped(rule, x, grad, rule.init(x), torch.asarray(2.0, dtype=x.dtype))
    torch.save(state, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    assert list(loaded) == list(state)
    for key, array in state.items():
        assert loaded[key].dtype == array.dtype
        assert torch.equal(loaded[key], array)


# --- what the theory says ------------------------------------------------------------------------


def nuclear_distance(truth: Any) -> Any:
    """Return the objective ||X - truth||_* with its subgradient U Vᴴ."""

    def value_and_grad(x: Any) -> tuple[Any, Any]:
        u, s, vh = np.linalg.svd(x - truth, full_matrices=False)
        kept = s > 1e-13
        return s.sum(), (u * kept) @ vh

    return value_and_grad


@pytest.mark.parametrize("seed", range(3))
def test_geometric_steps_contract_at_the_proven_rate(seed: int) -> None:
    """Here norm_F(D_t) <= R_0 q^t on f = ||X - X*||_*, whose pair has alpha = 1 and k = n."""
    n = 12
    truth = support.gaussian(n, n, seed=seed)
    x = support.gaussian(n, n, seed=seed + 50)
    radius = np.linalg.norm(x - truth)
    q = (1 - 1 / n) ** 0.5
    rule = rules.SpectralDescent(schedules.linear_rate(radius, 1.0, n))
    objective, state = nuclear_distance(truth), rule.init(x)
    for t in range(300):
        assert np.linalg.norm(x - truth) <= radius * q**t * (1 + 1e-12)
        x, state = rule.update(x, objective(x)[1], state)
    assert np.linalg.norm(x - truth) <= 1e-4 * radius


@pytest.mark.parametrize("rank", [1, 3])
def test_steps_that_sum_to_less_than_the_distance_do_not_arrive(rank: int) -> None:
    """The error stays above N_k(D_0) - step / (1 - ratio) in the norm of the step's ball."""
    truth = support.gaussian(10, 8)
    rule = rules.TruncatedSpectralDescent(rank, schedules.geometric(0.05, 0.9), tol=None)
    x = np.zeros_like(truth)
    state, objective = rule.init(x), nuclear_distance(truth)

    def norm(d: Any) -> float:
        s = np.linalg.svd(d, compute_uv=False)
        return float(max(s[0], s.sum() / rank))

    first = norm(x - truth)
    bound = first - 0.05 / (1 - 0.9)
    assert bound > 0
    for _ in range(200):
        x, state = rule.update(x, objective(x)[1], state)
        assert norm(x - truth) >= bound - 1e-12


@pytest.mark.parametrize("c", [0.3, 0.7, 0.95])
def test_counterexample_the_trace_never_changes(c: float) -> None:
    """Let f = c |tr X| + ||X - (tr X / 2) I||_*; the steps cannot see the trace, for any sizes.

    A limitation that the theory predicts for a ratio of sharpness to Lipschitz constant below 1/2.
    """
    x = np.asarray([[1.0, 0.2], [0.2, 0.5]])
    rule = rules.SpectralDescent(schedules.geometric(0.5, 0.98))
    state = rule.init(x)
    eye = np.eye(2)

    def objective(x: Any) -> tuple[float, Any]:
        trace = np.trace(x)
        rest = x - trace / 2 * eye
        direction = polar_factor(rest)
        direction = direction - np.trace(direction) / 2 * eye
        return c * abs(trace) + ky_fan(rest, 2), c * np.sign(trace) * eye + direction

    # Longer, and the traceless part would be as small as its rounding errors.
    for _ in range(600):
        x, state = rule.update(x, objective(x)[1], state)
        assert np.trace(x) == pytest.approx(1.5, abs=1e-10)
    assert objective(x)[0] == pytest.approx(1.5 * c, abs=1e-3)


@pytest.mark.parametrize(
    ("c", "stuck"), [(0.25, 0.4), (0.5, 0.8), (0.9, 1.44), (1.1, 0.4), (1.5, 0.4)]
)
def test_counterexample_in_diagonal_form(c: float, stuck: float) -> None:
    """The objective stays where the table of the theory says."""
    x = np.diag([1.0, 0.6])
    rule = rules.SpectralDescent(schedules.geometric(0.3, 0.95))
    state = rule.init(x)

    def objective(x: Any) -> tuple[float, Any]:
        difference, total = x[0, 0] - x[1, 1], x[0, 0] + x[1, 1]
        a, b = np.sign(difference), c * np.sign(total)
        grad = np.asarray([[a + b, np.sign(x[0, 1])], [np.sign(x[1, 0]), b - a]])
        return abs(difference) + c * abs(total) + abs(x[0, 1]) + abs(x[1, 0]), grad

    lowest = objective(x)[0]
    for _ in range(400):
        x, state = rule.update(x, objective(x)[1], state)
        lowest = min(lowest, objective(x)[0])
    assert lowest >= stuck - 1e-9
    assert objective(x)[0] == pytest.approx(stuck, abs=1e-2)


def recovery(seed: int, corrupted: float) -> tuple[Any, Any]:
    """Return the mean absolute residual of Gaussian measurements with gross errors, and X*."""
    rng = np.random.default_rng(seed)
    n, rank, m = 20, 2, 2000
    u, v = (np.linalg.qr(rng.standard_normal((n, rank)))[0] for _ in range(2))
    truth = u @ v.T
    a = rng.standard_normal((m, n * n))
    wrong = rng.permutation(m)[: round(corrupted * m)]
    # No dense noise, but its numbers are drawn: these are the data of the theory's tables.
    b = a @ truth.ravel() + 0.0 * rng.standard_normal(m)
    b[wrong] += 10 * rng.standard_normal(wrong.size)

    def objective(x: Any) -> tuple[Any, Any]:
        r = a @ x.ravel() - b
        return np.abs(r).mean(), (a.T @ np.sign(r)).reshape(n, n) / m

    return objective, truth


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize(
    ("corrupted", "ratio", "rank", "first", "steps"),
    [
        (0.1, 0.9, 5, 0.3, 150),
        (0.1, 0.9, 20, 0.6, 150),
        (0.3, 0.95, 5, 0.3, 300),
        (0.3, 0.95, 20, 0.3, 300),
    ],
)
def test_robust_recovery_to_six_digits(
    seed: int, corrupted: float, ratio: float, rank: int, first: float, steps: int
) -> None:
    """Gross errors in a tenth and in three tenths of the measurements."""
    objective, truth = recovery(seed, corrupted)
    # The step has Frobenius norm sqrt(rank) times its size.
    schedule = schedules.geometric(first * np.linalg.norm(truth) / rank**0.5, ratio)
    rule = rules.TruncatedSpectralDescent(rank, schedule, tol=None)
    found = sd.minimize(objective, np.zeros_like(truth), rule, steps=steps)
    assert np.linalg.norm(found.x - truth) < 1e-6 * np.linalg.norm(truth)


def test_robust_recovery_in_short() -> None:
    """Gross errors in a tenth, for one seed, with the block method."""
    objective, truth = recovery(1, 0.1)
    size = np.linalg.norm(truth)
    rule = rules.TruncatedSpectralDescent(5, schedules.geometric(0.3 * size / 5**0.5, 0.9))
    found = sd.minimize(objective, np.zeros_like(truth), rule, steps=150)
    assert np.linalg.norm(found.x - truth) < 1e-6 * size


def test_conjugation_and_transposition_commute_with_a_step() -> None:
    x, grad = support.easy(2, shape=(8, 6), dtype="complex128")
    for rule in (rules.SpectralDescent(0.3), rules.TruncatedSpectralDescent(2, 0.3)):
        y, _ = rule.update(x, grad, rule.init(x))
        xt, gt = adjoint(x).copy(), adjoint(grad).copy()
        z, _ = rule.update(xt, gt, rule.init(xt))
        np.testing.assert_allclose(z, adjoint(y), atol=1e-12)


# --- thin factors --------------------------------------------------------------------------------


def low_rank_gradient(m: int, n: int) -> tuple[LinearOperator, Any, Any]:
    left, right = support.gaussian(m, 3, seed=1), support.gaussian(3, n, seed=2)
    energy = np.asarray(((left.T @ left) * (right @ right.T)).sum())
    products = (lambda b: left @ (right @ b), lambda b: right.T @ (left.T @ b))
    return LinearOperator(*products, (m, n), left, energy), left, right


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_a_truncated_step_makes_nothing_of_the_size_of_the_iterate(decay: float) -> None:
    """Beside the new point: a block, its products and a Krylov space, (m + n) times some ranks."""
    m, n, rank = 1500, 2000, 2
    grad, _, _ = low_rank_gradient(m, n)
    rule = rules.TruncatedSpectralDescent(rank, 0.1, weight_decay=decay, tol=0.01)
    x = np.ones((m, n))
    state = rule.init(x)
    y, state = rule.update(x, grad, state)
    tracemalloc.start()
    y, state = rule.update(x, grad, state)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    block = 8 * (m + n) * (rank + 10)
    assert peak <= y.nbytes + 10 * block < y.nbytes + 0.2 * x.nbytes


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["numpy", "array_api_strict", "torch", "jax"])
def test_a_gradient_may_be_known_by_its_products_alone(name: str) -> None:
    library = next(way for way in support.LIBRARIES if way.name == name)
    if library.missing():
        pytest.skip(library.missing())
    with library.context():
        _, left, right = low_rank_gradient(60, 50)
        left, right = library.array(left, "float32"), library.array(right, "float32")
        operator = LinearOperator(
            lambda b: left @ (right @ b), lambda b: right.mT @ (left.mT @ b), (60, 50), left
        )
        x = library.array(support.gaussian(60, 50), "float32")
        rule = rules.TruncatedSpectralDescent(2, 0.1, weight_decay=0.1, tol=0.01)
        found, state = rule.update(x, operator, rule.init(x))
        expected, _ = rule.update(x, left @ right, rule.init(x))
        np.testing.assert_allclose(library.numpy(found), library.numpy(expected), atol=1e-3)
        assert set(state) == set(rule.init(x))


def test_an_operator_of_another_shape_or_dtype_is_refused() -> None:
    grad, _, _ = low_rank_gradient(6, 5)
    rule = rules.TruncatedSpectralDescent(1, 0.1)
    with pytest.raises(ValueError, match=r"x and grad .* \(5, 6\) and \(6, 5\)"):
        rule.update(np.ones((5, 6)), grad, {})
    with pytest.raises(TypeError, match=r"x and grad.like must have one dtype"):
        rule.update(np.ones((6, 5), "float32"), grad, {})


def test_a_heavy_ball_adds_whole_gradients() -> None:
    """The factor does not see it, the state does."""
    rule = rules.Muon(0.1, momentum="heavy_ball", beta=0.5)
    x = support.gaussian(4, 3)
    _, state = rule.update(x, x, rule.init(x))
    _, state = rule.update(x, x, state)
    np.testing.assert_allclose(state["momentum_buffer"], 1.5 * x, rtol=1e-14)
