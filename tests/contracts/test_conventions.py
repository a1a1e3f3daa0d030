"""What other projects disagree about or get wrong in update rules, and what holds here."""

import re
from dataclasses import fields
from typing import Any, get_args

import numpy as np
import pytest

from specdesc import norms, orthogonalize, preconditioners, prox, rules, schedules
from specdesc._polar_factor.method import METHODS
from specdesc.rules.muon import Decay, Momentum
from tests import support
from tests.support import EPS, Library, adjoint, polar_factor

PROXIMAL: dict[str, Any] = {"preconditioner": preconditioners.Kappa(2, eps=0.1), "g": prox.Zero()}


def after(rule: Any, grads: Any, start: Any = None) -> tuple[Any, Any]:
    x = np.zeros_like(grads[0]) if start is None else start
    state = rule.init(x)
    for grad in grads:
        previous = {"previous_grad": 0.5 * grad} if rule.needs_previous_grad else {}
        x, state = rule.update(x, grad, state, **previous)
    return x, state


# --- the buffer and the gradient -----------------------------------------------------------------


def test_a_buffer_in_half_precision_is_its_formula_and_nobody_elses_memory() -> None:
    """Torch's cast to bfloat16 was an alias, and the buffer was normalized in place."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    grads = [torch.asarray(support.gaussian(6, 4, seed=t)).bfloat16() for t in range(4)]
    rule = rules.Muon(0.1, beta=0.9, nesterov=False)
    x = torch.zeros(6, 4, dtype=torch.bfloat16)
    state = rule.init(x)
    expected = torch.zeros(6, 4, dtype=torch.bfloat16)
    for grad in grads:
        x, state = rule.update(x, grad, state)
        expected = torch.lerp(expected.float(), grad.float(), 1 - 0.9).bfloat16()
        buffer = state["momentum_buffer"]
        assert torch.equal(buffer, expected)
        memory = {y.untyped_storage().data_ptr() for y in (buffer, x, grad)}
        assert len(memory) == 3


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_nothing_that_is_returned_shares_memory_with_what_came_in(dtype: str) -> None:
    """Also where nothing is averaged: a buffer of the last gradient is a copy of it."""
    x, grad = support.gaussian(2, 6, 4).astype(dtype)
    for rule in (
        rules.Muon(0.1, beta=0.0, nesterov=False),
        rules.Scion(0.1, beta=0.0),
        rules.ProximalSpectral(0.0, beta=0.0, **PROXIMAL),
        rules.ProximalStorm(0.1, approximate=True, **PROXIMAL),
    ):
        y, state = rule.update(x, grad, rule.init(x))
        for returned in (y, *state.values()):
            assert not np.shares_memory(returned, grad)
            assert not np.shares_memory(returned, x)
        kept = {key: array.copy() for key, array in state.items()}
        grad[...] *= 2  # what zero_grad() or a buffer of the framework does
        assert all((state[key] == kept[key]).all() for key in kept)


@pytest.mark.parametrize("nesterov", [True, False])
def test_the_averages_by_name(nesterov: bool) -> None:
    """Each is its written formula; their factors agree; sharp steps differ by 1 - beta."""
    beta, grads = 0.75, support.gaussian(3, 6, 4)
    average = ball = np.zeros((6, 4))
    for grad in grads:
        average, ball = beta * average + (1 - beta) * grad, beta * ball + grad
    x, state = after(rules.Muon(0.1, beta=beta, nesterov=nesterov), grads)
    y, heavy = after(rules.Muon(0.1, beta=beta, nesterov=nesterov, momentum="heavy_ball"), grads)
    np.testing.assert_allclose(state["momentum_buffer"], average, atol=1e-15)
    np.testing.assert_allclose(heavy["momentum_buffer"], ball, atol=1e-15)
    np.testing.assert_allclose(x, y, atol=1e-14)
    norm = norms.Spectral()
    sharp = [norm.sharp(z["momentum_buffer"]) for z in (state, heavy)]
    np.testing.assert_allclose(sharp[0], (1 - beta) * sharp[1], atol=1e-13)


@pytest.mark.parametrize("momentum", ["ema", "heavy_ball", "ema_corrected"])
def test_nesterov_is_the_default_and_both_are_their_formulas(momentum: Any) -> None:
    """As with Keller Jordan, torch and optax; others have it off."""
    assert rules.Muon(0.1).nesterov
    beta, (first, second) = 0.75, support.gaussian(2, 6, 4)
    own = 1.0 if momentum == "heavy_ball" else 1 - beta
    buffer = beta * own * first + own * second
    weights = (beta, own)
    if momentum == "ema_corrected":
        weights = (beta / (1 - beta**3), own / (1 - beta**2))
    ahead = weights[0] * buffer + weights[1] * second
    for nesterov, direction in ((True, ahead), (False, buffer)):
        rule = rules.Muon(0.1, beta=beta, nesterov=nesterov, momentum=momentum, scale="none")
        x, state = rule.update(first, first, rule.init(first))
        y, state = rule.update(x, second, state)
        np.testing.assert_allclose(y, x - 0.1 * polar_factor(direction), atol=1e-14)
        np.testing.assert_allclose(state["momentum_buffer"], buffer, atol=1e-15)


def test_beta_is_the_factor_on_the_old_buffer_everywhere() -> None:
    """In the code of Scion, `momentum` is 1 - beta."""
    first, second = support.gaussian(2, 6, 4)
    for rule in (
        rules.Muon(0.1, beta=0.75),
        rules.Scion(0.1, beta=0.75),
        rules.ProximalSpectral(0.1, beta=0.75, **PROXIMAL),
    ):
        _, state = after(rule, (first, second))
        start = first if isinstance(rule, rules.ProximalSpectral) else 0.25 * first
        expected = 0.75 * start + 0.25 * second
        np.testing.assert_allclose(state["momentum_buffer"], expected, atol=1e-15)


def test_beta_may_be_a_schedule_and_differ_from_matrix_to_matrix(library: Library) -> None:
    if library.compiles:
        pytest.skip("every operation is a compilation; a scan has a schedule of beta")
    first, second = (library.array(y, "float32") for y in support.gaussian(2, 2, 6, 4))
    betas = library.array(np.asarray([0.5, 0.25]), "float32")
    rule = rules.Scion(0.1, beta=lambda t, **_: betas * t, norm=norms.Max())
    x, state = rule.update(first, first, rule.init(first))
    _, state = rule.update(x, second, state)
    a, b = (library.numpy(y) for y in (first, second))
    share = np.asarray([0.5, 0.25])[:, None, None]
    found = library.numpy(state["momentum_buffer"])
    np.testing.assert_allclose(found, share * a + (1 - share) * b, atol=1e-6)


# --- weight decay --------------------------------------------------------------------------------


def test_decoupled_decay_is_exact_and_turns_no_direction() -> None:
    """A zero gradient leaves (1 - step decay) x; one project had the decay in the gradient."""
    x, grad = support.gaussian(2, 6, 4)
    zero = np.zeros_like(x)
    for make in (rules.Muon, rules.SpectralDescent, rules.SignDescent, rules.NormalizedGradient):
        rule = make(0.5, weight_decay=0.25)
        assert (after(rule, [zero], x)[0] == (1 - 0.5 * 0.25) * x).all()
        steps = [
            after(make(0.5, weight_decay=decay), [grad], x)[0] - (1 - 0.5 * decay) * x
            for decay in (0.0, 0.25, 1.0)
        ]
        for step in steps[1:]:
            np.testing.assert_allclose(step, steps[0], atol=1e-14)


def test_the_kinds_of_decay() -> None:
    x, grad = support.gaussian(2, 6, 4)
    size, decay = 0.5, 0.25

    def step(kind: Any, grad: Any, **options: Any) -> Any:
        rule = rules.Muon(
            size, weight_decay=decay, decay=kind, scale="none", **{"beta": 0.5, **options}
        )
        return after(rule, [grad], x)[0]

    u = polar_factor(grad)
    shrinks = np.where(u * x >= 0, 1 - size * decay, 1.0)
    expected = {
        "decoupled": (1 - size * decay) * x - size * u,
        "independent": (1 - decay) * x - size * u,
        "l2": x - size * polar_factor(grad + decay * x),
        "cautious": shrinks * x - size * u,
        "frank_wolfe": (1 - size) * x - size / decay * u,
    }
    assert (shrinks == 1.0).any()
    assert (shrinks < 1.0).any()
    for kind, y in expected.items():
        np.testing.assert_allclose(step(kind, grad), y, atol=1e-14)
    # The constrained step is the decoupled one of another length, and never left its ball.
    same = rules.Muon(size / decay, weight_decay=decay, scale="none", beta=0.5)
    np.testing.assert_allclose(step("frank_wolfe", grad), after(same, [grad], x)[0], atol=1e-14)


def test_a_complex_entry_is_decayed_with_caution_where_it_does_not_grow() -> None:
    x, grad = support.gaussian(2, 6, 4, dtype="complex128")
    u = polar_factor(grad)
    rule = rules.Muon(0.5, weight_decay=0.25, decay="cautious", scale="none")
    keep = np.where((np.conj(u) * x).real >= 0, 0.875, 1.0)
    np.testing.assert_allclose(after(rule, [grad], x)[0], keep * x - 0.5 * u, atol=1e-14)


# --- scales and shapes ---------------------------------------------------------------------------


def test_the_scale_rules_by_number() -> None:
    """Elsewhere "spectral" is sqrt(max), or sqrt(out / in); a flag had two of them swapped."""
    table: dict[Any, tuple[float, float]] = {
        "keller": (1.5, 1.0),
        "rms_to_rms": (1.5, 2 / 3),
        "adamw_rms": (0.6, 0.6),
        "none": (1.0, 1.0),
        (lambda fan_out, fan_in: fan_out + 10.0 * fan_in): (49.0, 94.0),
    }
    for scale, (tall, wide) in table.items():
        assert rules.scale_factor(scale, (9, 4)) == pytest.approx(tall)
        assert rules.scale_factor(scale, (4, 9)) == pytest.approx(wide)
        assert rules.scale_factor(scale, (4, 9), layout="in_out") == pytest.approx(tall)
        assert rules.scale_factor(scale, (7, 9, 4)) == pytest.approx(tall)
        # The step has this length.
        x = np.zeros((9, 4))
        y, _ = after(rules.Muon(0.5, scale=scale), [support.gaussian(9, 4)])
        assert np.linalg.norm(y - x, 2) == pytest.approx(0.5 * tall)


def test_the_transposed_layout_is_the_transposed_step() -> None:
    """(in, out) of JAX and Keras, (out, in) of torch: the same numbers, transposed."""
    x, grad = support.gaussian(2, 9, 4)
    for scale in ("keller", "rms_to_rms", "adamw_rms"):
        y, _ = after(rules.Muon(0.1, scale=scale, layout="out_in"), [grad], x)
        z, _ = after(rules.Muon(0.1, scale=scale, layout="in_out"), [grad.T.copy()], x.T.copy())
        np.testing.assert_allclose(y, z.T, atol=1e-14)


@pytest.mark.parametrize("d", [1, 100])
def test_the_step_of_a_vector_has_the_rms_of_its_radius(d: int) -> None:
    """A vector is a matrix of one row, in the Frobenius ball of radius sqrt(d) rms."""
    rule = rules.Scion(
        1.0, norm=norms.Frobenius(), radius=3.0 * d**0.5, constrained=False, beta=0.5
    )
    y, _ = after(rule, [support.gaussian(1, d)])
    assert np.sqrt(np.mean(y**2)) == pytest.approx(3.0)


def test_more_than_two_axes_are_stacks_and_fewer_are_an_error() -> None:
    grads = support.gaussian(2, 3, 2, 6, 4)
    for rule in (rules.Muon(0.1), rules.Scion(0.1), rules.ProximalSpectral(0.1, **PROXIMAL)):
        whole, _ = after(rule, grads)
        for i in np.ndindex(3, 2):
            one, _ = after(rule, grads[:, *i])
            np.testing.assert_allclose(whole[i], one, atol=1e-13)
        with pytest.raises(ValueError, match=r"at least 2 axes, got shape \(4,\)"):
            rule.init(np.ones(4))


@pytest.mark.parametrize("method", ["auto", "polynomial", "rational", "svd", "newton-schulz"])
def test_matrices_of_one_stack_have_scales_of_their_own(method: Any) -> None:
    """A batch was divided by one norm elsewhere, and one dual norm scaled all of its steps."""
    grads = support.easy(3, shape=(12, 8)) * np.asarray([1.0, 1e6, 1e-6])[:, None, None]
    x, _ = after(rules.Muon(0.1, method=method), [grads])
    sharp = norms.Spectral().sharp(grads)
    for i in range(3):
        one, _ = after(rules.Muon(0.1, method=method), [grads[i]])
        np.testing.assert_allclose(x[i], one, atol=1e-10)
        np.testing.assert_allclose(sharp[i], norms.Spectral().sharp(grads[i]), rtol=1e-9)


# --- the factor ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(12, 8), (8, 12)])
def test_the_svd_is_that_of_any_shape_and_of_the_right_side(
    shape: tuple[int, int], library: Library
) -> None:
    """V or Vᴴ: x = U H with H Hermitian and positive; and a method is never another in silence."""
    if library.compiles:
        pytest.skip("every shape is a compilation; the tests of orthogonalize have this law too")
    host = support.easy(shape=shape, dtype="complex64")
    x = library.array(host, "complex64")
    rule = rules.Muon(1.0, method="svd", scale="none")
    y, _ = rule.update(0 * x, x, rule.init(x))
    factor = -library.numpy(y)
    s = np.linalg.svd(factor, compute_uv=False)
    np.testing.assert_allclose(s, 1.0, atol=100 * EPS["float32"])
    h = adjoint(factor) @ host
    np.testing.assert_allclose(h, adjoint(h), atol=1e-4)
    assert np.linalg.eigvalsh(h).min() > -1e-4


@pytest.mark.parametrize(
    "method", ["svd", "polynomial", "rational", "newton-schulz", "polar-express"]
)
def test_the_dual_norm_through_a_factor_is_as_good_as_its_bound(method: Any) -> None:
    """Re <Q, G> misses the sum of the singular values by `error` of it; `dual` by nothing."""
    x = support.gaussian(12, 8)
    s = np.linalg.svd(x, compute_uv=False)
    assert norms.Spectral().dual(x) == pytest.approx(s.sum(), rel=1e-14)
    found = orthogonalize(x, method=method, floor=s[-1] / s[0] / 2, full_output=True)
    bound = min(float(found.error), 1.0)
    assert abs(np.vdot(found.factor, x).real - s.sum()) <= bound * s.sum()


def test_double_precision_stays_and_half_comes_on_request() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    grad = torch.asarray(support.easy(shape=(12, 8)))
    exact = torch.asarray(polar_factor(grad.numpy()))

    def factor(**options: Any) -> Any:
        rule = rules.Muon(1.0, scale="none", **options)
        y, state = rule.update(0 * grad, grad, rule.init(grad))
        assert y.dtype == state["momentum_buffer"].dtype == torch.float64
        return float(abs(exact + y).max())

    assert factor() < 1e-13
    assert 1e-8 < factor(polar_dtype="float32") < 1e-5
    assert 1e-4 < factor(polar_dtype="bfloat16") < 2e-2


# --- names ---------------------------------------------------------------------------------------


def test_a_minimiser_points_downhill_and_a_ball_is_named_after_its_constraint() -> None:
    """Others return the direction uphill, or call the polar factor that of the nuclear ball."""
    g = support.gaussian(6, 4)
    u, s, vh = np.linalg.svd(g, full_matrices=False)
    minimisers = {
        norms.Spectral(): -(u @ vh),
        norms.Nuclear(): -np.outer(u[:, 0], vh[0]),
        norms.KyFanDual(2): -(u[:, :2] @ vh[:2]),
        norms.Max(): -np.sign(g),
        norms.Frobenius(): -g / np.linalg.norm(g),
        norms.Columns(): -g / np.linalg.norm(g, axis=0),
        norms.Rows(): -g / np.linalg.norm(g, axis=1, keepdims=True),
    }
    for norm, point in minimisers.items():
        np.testing.assert_allclose(norm.lmo(g, 2.0), 2.0 * point, atol=1e-13)
        np.testing.assert_allclose(norm.direction(g), -point, atol=1e-13)
        assert np.vdot(g, norm.lmo(g)) == pytest.approx(-norm.dual(g))
        # Scion goes to the minimiser itself.
        rule = rules.Scion(1.0, norm=norm, radius=2.0)
        np.testing.assert_allclose(after(rule, [g], g)[0], 2.0 * point, atol=1e-13)
    duals = [norms.Spectral().dual(g), norms.Nuclear().dual(g), norms.Max().dual(g)]
    np.testing.assert_allclose(duals, [s.sum(), s[0], np.abs(g).sum()])


def test_columns_and_rows_are_axes_whatever_the_layout() -> None:
    """A column of a kernel (out, in) is one of its inputs; of a kernel (in, out), an output."""
    g = support.gaussian(6, 4)
    np.testing.assert_allclose(norms.Columns().lmo(g), norms.Rows().lmo(g.T.copy()).T)
    steps = [np.linalg.norm(norms.Columns().lmo(g), axis=axis) for axis in (0, 1)]
    np.testing.assert_allclose(steps[0], 1.0)
    assert steps[1].shape == (6,)
    assert not np.allclose(steps[1], 1.0)


def test_a_truncated_step_has_the_leading_directions_only() -> None:
    """Without error feedback, and of the step, not of the iterate."""
    x, grad = support.gaussian(2, 6, 4)
    rule = rules.TruncatedSpectralDescent(2, 0.5, tol=None)
    first, state = rule.update(x, grad, rule.init(x))
    u, _, vh = np.linalg.svd(grad, full_matrices=False)
    np.testing.assert_allclose(first, x - 0.5 * u[:, :2] @ vh[:2], atol=1e-13)
    second, _ = rule.update(x, grad, state)
    np.testing.assert_allclose(second, first, atol=1e-13)


def test_the_proximal_step_is_in_the_geometry_of_its_preconditioner() -> None:
    """`prox` is Euclidean; rules with a preconditioner use `anisotropic_prox`."""
    x, grad = support.gaussian(2, 6, 4)
    pre, g = preconditioners.Kappa(2, eps=0.1), prox.Nuclear(0.05)
    y, _ = after(rules.ProximalSpectral(0.3, preconditioner=pre, g=g), [grad], x)
    start = x - 0.3 * pre(grad)
    np.testing.assert_allclose(y, g.anisotropic_prox(start, 0.3, pre), atol=1e-13)
    assert np.linalg.norm(y - g.prox(start, 0.3)) > 1e-2


# --- every parameter counts ----------------------------------------------------------------------

#: rule -> its options, and another value of every one of them
MEMORY: dict[str, Any] = {"beta": 0.5, "error_feedback": True}

OTHERS: dict[Any, tuple[dict[str, Any], dict[str, Any]]] = {
    rules.Muon: (
        {"step": 0.1, "weight_decay": 0.5},
        {
            "step": 0.2,
            "beta": 0.5,
            "nesterov": False,
            "weight_decay": 0.1,
            "decay": "independent",
            "momentum": "ema_corrected",
            "scale": "none",
            "layout": "in_out",
            "method": "newton-schulz",
            "polar_dtype": "float32",
            "tol": 0.3,
            "floor": 0.5,
            "dtype": "float32",
            "g": prox.SpectralBall(1.0),
            "error_feedback": True,
        },
    ),
    rules.Scion: (
        {"step": 0.1},
        {
            "step": 0.2,
            "beta": 0.5,
            "norm": norms.Max(),
            "radius": 2.0,
            "constrained": False,
            "tol": 0.3,
            "floor": 0.5,
            "dtype": "float32",
        },
    ),
    rules.ProximalSpectral: (
        {"step": 0.1, **PROXIMAL},
        {
            "step": 0.2,
            "beta": 0.5,
            "preconditioner": preconditioners.Sign(),
            "g": prox.Rank(1),
            "scale": "keller",
            "layout": "in_out",
        },
    ),
    rules.ProximalStorm: (
        {"step": 0.1, **PROXIMAL},
        {
            "step": 0.2,
            "beta": 0.5,
            "preconditioner": preconditioners.Sign(),
            "g": prox.Rank(1),
            "approximate": True,
            "scale": "keller",
            "layout": "in_out",
        },
    ),
    rules.SignDescent: (
        {"step": 0.1},
        {"step": 0.2, "weight_decay": 0.5, "g": prox.Rank(1), **MEMORY},
    ),
    rules.NormalizedGradient: (
        {"step": 0.1},
        {"step": 0.2, "weight_decay": 0.5, "g": prox.Rank(1), **MEMORY},
    ),
    rules.SpectralDescent: (
        {"step": 0.1},
        {
            "step": 0.2,
            "weight_decay": 0.5,
            "g": prox.Rank(1),
            "tol": 0.3,
            "floor": 0.5,
            "dtype": "float32",
            **MEMORY,
        },
    ),
    rules.TruncatedSpectralDescent: (
        {"rank": 1, "step": 0.1},
        {"rank": 2, "step": 0.2, "weight_decay": 0.5, "g": prox.Rank(1), "tol": None, **MEMORY},
    ),
}


@pytest.mark.parametrize(
    ("make", "name"), [(make, name) for make, (_, other) in OTHERS.items() for name in other]
)
def test_every_parameter_changes_the_step(make: Any, name: str) -> None:
    """One project stored a parameter that nothing read, and clipped whatever it said."""
    options, others = OTHERS[make]
    assert set(others) == {field.name for field in fields(make)}
    # The layout matters where the scale does, and a tolerance where a block is smaller.
    base = {**options, **({"scale": "rms_to_rms"} if name == "layout" else {})}
    if name == "error_feedback" and "weight_decay" in base:
        base["weight_decay"] = 0.0  # the two exclude one another
    # Up to some size the fastest way to any accuracy is an SVD.
    shape = (256, 256) if name == "tol" else (48, 44)
    x, *grads = support.gaussian(4, *shape, seed=3)
    first, second = (
        after(make(**chosen), grads, x)[0] for chosen in (base, {**base, name: others[name]})
    )
    assert np.linalg.norm(first - second) > 1e-9 * np.linalg.norm(first)


def test_no_decay_is_no_decay() -> None:
    """0 is off, and every kind is the same then."""
    x, grad = support.gaussian(2, 6, 4)
    plain, _ = after(rules.Muon(0.1), [grad], x)
    for decay in ("decoupled", "independent", "l2", "cautious"):
        kind: Any = decay
        y, _ = after(rules.Muon(0.1, weight_decay=0.0, decay=kind), [grad], x)
        assert (y == plain).all()


def test_a_step_may_be_a_schedule_of_the_value() -> None:
    x, grad = support.gaussian(2, 6, 4)
    rule = rules.Muon(schedules.polyak(rank=4), scale="none")
    y, _ = rule.update(x, grad, rule.init(x), value=np.asarray(3.0))
    assert np.linalg.norm(y - x, 2) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("thing", "names", "others"),
    [
        (orthogonalize, METHODS, set()),
        (
            rules.Muon,
            (*get_args(Decay), *get_args(Momentum), *get_args(rules.Layout)),
            {"bfloat16"},
        ),
        (rules.scale_factor, ("keller", "rms_to_rms", "adamw_rms", "none"), {"in_out", "out_in"}),
    ],
)
def test_the_names_in_the_text_are_those_in_the_code(thing: Any, names: Any, others: Any) -> None:
    """One docstring listed a preset that did not exist."""
    assert set(re.findall(r'"([a-z0-9_-]+)"', thing.__doc__)) - others == set(names)


@pytest.mark.parametrize("scale", ["keller", "rms_to_rms", "adamw_rms", "none"])
def test_every_name_of_a_scale_is_one(scale: Any) -> None:
    assert rules.scale_factor(scale, (4, 9)) > 0
    with pytest.raises(ValueError, match=scale):
        rules.scale_factor("spectral", (4, 9))  # type: ignore[arg-type]
