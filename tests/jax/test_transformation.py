"""Rules as a transformation of optax mean by every word what optax means."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed")
optax = pytest.importorskip("optax", reason="optax is not installed")

import jax.numpy as jnp  # noqa: E402

from specdesc import preconditioners, prox, rules, trees  # noqa: E402
from specdesc.optax import RuleState, transformation  # noqa: E402

W = jnp.asarray(np.random.default_rng(0).standard_normal((6, 4)), jnp.float32)
PARAMS = {"w": W, "narrow": W[:, :3] + 1.0, "twin": 2.0 * W}
KAPPA = preconditioners.Kappa(2, normalize=True)
BALL = prox.SpectralBall(2.0)
RULES = {
    "Muon": rules.Muon(0.1, weight_decay=0.1),
    "published": rules.Muon(0.1, method="newton-schulz"),
    "AdamW": rules.AdamW(0.1, weight_decay=0.1),
    "Scion": rules.Scion(0.1),
    "SpectralDescent": rules.SpectralDescent(0.1),
    "TruncatedSpectralDescent": rules.TruncatedSpectralDescent(2, 0.1),
    "SignDescent": rules.SignDescent(0.1, weight_decay=0.1),
    "NormalizedGradient": rules.NormalizedGradient(0.1),
    "ProximalSpectral": rules.ProximalSpectral(0.1, preconditioner=KAPPA, g=BALL),
}
each_rule = pytest.mark.parametrize("name", RULES)


def two_steps(tx, params=PARAMS, grads=PARAMS):
    state = tx.init(params)
    updates, state = tx.update(grads, state, params)
    return tx.update(grads, state, optax.apply_updates(params, updates))


@pytest.mark.thorough
@each_rule
def test_updates_are_what_rules_add(name):
    rule = RULES[name]
    updates, _ = two_steps(transformation(rest=rule))
    for key, x in PARAMS.items():
        y, state = rule.update(x, x, rule.init(x))
        z, _ = rule.update(y, x, state)
        np.testing.assert_allclose(updates[key], z - y, atol=2e-5)


@pytest.mark.parametrize("name", ["Muon", "AdamW", "SignDescent", "TruncatedSpectralDescent"])
def test_a_step_far_below_the_parameter_is_not_rounded_away(name):
    tx = transformation(rest=RULES[name])
    far = jax.tree.map(lambda x: jnp.full_like(x, 1e7), PARAMS)
    decay = getattr(RULES[name], "weight_decay", 0.0) * 0.1
    near, _ = tx.update(PARAMS, tx.init(PARAMS), jax.tree.map(jnp.zeros_like, PARAMS))
    found, _ = tx.update(PARAMS, tx.init(PARAMS), far)
    if decay == 0.0:
        np.testing.assert_array_equal(found["w"], near["w"])
    else:
        np.testing.assert_allclose(found["w"], near["w"] - decay * 1e7, rtol=1e-6)


@pytest.mark.parametrize("grads", ["bfloat16", "float32"])
@pytest.mark.parametrize("params", ["bfloat16", "float16", "float32"])
@each_rule
def test_gradients_of_any_precision(name, params, grads):
    tx = transformation(rest=RULES[name])
    x, g = {"w": W.astype(params)}, {"w": W.astype(grads)}
    state = tx.init(x)
    updates, after = tx.update(g, state, x)
    assert updates["w"].dtype == jnp.promote_types(params, grads)
    assert bool(jnp.any(updates["w"] != 0))
    kinds = [jax.tree.map(lambda v: (v.shape, str(v.dtype)), s) for s in (state, after)]
    assert kinds[0] == kinds[1]


def test_updates_of_half_precision_in_float32_where_asked():
    x = {"w": W.astype(jnp.bfloat16)}
    tx = transformation(rest=rules.SignDescent(1e-3), update_dtype="float32")
    updates, _ = tx.update(x, tx.init(x), x)
    np.testing.assert_array_equal(np.abs(updates["w"]), np.float32(1e-3))


def test_what_is_frozen_or_no_number_stays_bit_for_bit():
    mask = jnp.where(jnp.tri(3) > 0, 0.0, -jnp.inf)
    params = {"w": W, "mask": mask, "flags": jnp.asarray([True, False]), "size": jnp.asarray(3)}
    tx = transformation(trees.Group("mask", None), rest=rules.Muon(0.1))
    grads = {**jax.tree.map(jnp.zeros_like, params), "w": W}
    state = tx.init(params)
    updates, after = jax.jit(tx.update)(grads, state, params)
    new = optax.apply_updates(params, updates)
    for key in ("mask", "flags", "size"):
        assert new[key].dtype == params[key].dtype
        np.testing.assert_array_equal(new[key], params[key])
    buffers = optax.tree_utils.tree_get(after, "momentum_buffer")
    assert isinstance(buffers["flags"], optax.MaskedNode)
    assert jax.tree.structure(state) == jax.tree.structure(after)


def test_arrays_of_numpy():
    params = {key: np.asarray(x) for key, x in PARAMS.items()}
    expected, _ = two_steps(transformation(rest=rules.Muon(0.1)))
    found, _ = two_steps(transformation(rest=rules.Muon(0.1)), params, params)
    np.testing.assert_allclose(found["w"], expected["w"], atol=1e-6)


# --- states --------------------------------------------------------------------------------------


def mixed():
    return transformation(
        trees.Group("w", rules.TruncatedSpectralDescent(2, 0.1)),
        trees.Group("narrow", rules.Muon(0.1)),
        rest=rules.AdamW(0.1),
    )


def test_buffers_are_trees_like_the_parameters():
    state = mixed().init({"layer": {"w2": W, "kernel": W}} | PARAMS)
    assert isinstance(state, RuleState)
    momenta = optax.tree_utils.tree_get(state, "momentum_buffer")
    assert momenta["narrow"].shape == (6, 3)
    assert isinstance(momenta["layer"]["w2"], optax.MaskedNode)
    assert optax.tree_utils.tree_get(state, "mean")["layer"]["kernel"].shape == (6, 4)
    assert int(optax.tree_utils.tree_get(state, "count")) == 0
    assert list(state.others) == ["w/start"]


def test_optax_tells_copies_of_the_parameters_from_the_rest():
    tx, params = mixed(), PARAMS
    state = tx.init(params)
    marked = optax.tree_utils.tree_map_params(
        tx,
        lambda x: jnp.full_like(x, 7.0),
        state,
        transform_non_params=lambda other: jax.tree.map(jnp.zeros_like, other),
    )
    assert float(marked.buffers["mean"]["twin"][0, 0]) == 7.0
    assert float(jnp.max(jnp.abs(marked.others["w/start"]))) == 0.0
    assert jax.tree.structure(marked) == jax.tree.structure(state)
    # With the parameters beside, what has none is a leaf, as for optax.partition.
    specs = optax.tree_utils.tree_map_params(
        tx,
        lambda _, name: name,
        state,
        {key: key for key in params},
        is_leaf=lambda x: isinstance(x, optax.MaskedNode),
    )
    assert specs.buffers["momentum_buffer"]["narrow"] == "narrow"


def test_a_flat_state_is_converted():
    groups = (trees.Group("narrow", rules.Muon(0.1)),)
    route = trees.route(PARAMS, *groups, rest=rules.TruncatedSpectralDescent(2, 0.1))
    flat = trees.init(PARAMS, route)
    params, flat = trees.update(PARAMS, PARAMS, flat, route)
    expected, _ = trees.update(params, PARAMS, flat, route)
    tx = transformation(*groups, rest=rules.TruncatedSpectralDescent(2, 0.1))
    updates, state = tx.update(PARAMS, flat, params)
    assert int(state.count) == 2
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(params))
    for key, x in optax.apply_updates(params, updates).items():
        np.testing.assert_allclose(x, expected[key], atol=1e-6)


@pytest.mark.parametrize("state", [(), {"w/mean": W}, {"elsewhere/t": W}])
def test_a_state_of_something_else_is_refused(state):
    with pytest.raises(ValueError, match="state must be"):
        transformation(rest=rules.Muon(0.1)).update(PARAMS, state, PARAMS)


def test_what_optax_wraps_around():
    tx = mixed()
    chain = optax.chain(optax.clip_by_global_norm(1e9), tx)
    expected, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    found, _ = chain.update(PARAMS, chain.init(PARAMS), PARAMS)
    np.testing.assert_array_equal(found["w"], expected["w"])
    every = optax.MultiSteps(tx, 2)
    state = every.init(PARAMS)
    for _ in range(2):
        found, state = every.update(PARAMS, state, PARAMS)
    np.testing.assert_allclose(found["twin"], expected["twin"], atol=1e-6)
    parted = optax.partition(
        {"ours": transformation(rest=rules.Muon(0.1)), "theirs": optax.sgd(0.1)},
        {"w": "ours", "narrow": "theirs", "twin": "theirs"},
    )
    state = parted.init(PARAMS)
    found, _ = parted.update(PARAMS, state, PARAMS)
    np.testing.assert_allclose(found["narrow"], -0.1 * PARAMS["narrow"], rtol=1e-6)
    optax.tree_utils.tree_map_params(parted, lambda x: x, state)


# --- numbers -------------------------------------------------------------------------------------

SMOOTH = preconditioners.Kappa(2, eps=1.0)
NUMBERS = {
    "step": (rules.Muon, 0.1),
    "weight_decay": (lambda h: rules.Muon(0.1, weight_decay=h), 0.1),
    "weight_decay, cautious": (lambda h: rules.Muon(0.1, weight_decay=h, decay="cautious"), 0.1),
    "weight_decay, l2": (lambda h: rules.Muon(0.1, weight_decay=h, decay="l2"), 0.1),
    "weight_decay, Frank-Wolfe": (
        lambda h: rules.Muon(0.1, weight_decay=h, decay="frank_wolfe"),
        0.1,
    ),
    "beta": (lambda h: rules.Muon(0.1, beta=h, momentum="ema_corrected"), 0.9),
    "scale": (lambda h: rules.Muon(0.1, scale=lambda fan_out, fan_in: h), 0.9),
    "eps": (lambda h: rules.AdamW(0.1, eps=h), 0.1),
    "first of betas": (lambda h: rules.AdamW(0.1, betas=(h, 0.99)), 0.9),
    "second of betas": (lambda h: rules.AdamW(0.1, betas=(0.9, h)), 0.9),
    "radius": (lambda h: rules.Scion(0.1, radius=h), 2.0),
    "decay of a thin step": (
        lambda h: rules.TruncatedSpectralDescent(2, 0.1, weight_decay=h),
        0.1,
    ),
    "eps of a preconditioner": (
        lambda h: rules.ProximalSpectral(0.1, preconditioner=preconditioners.Sqrt(eps=h), g=BALL),
        0.1,
    ),
} | {
    g.__name__: (
        lambda h, g=g: rules.ProximalSpectral(0.1, preconditioner=SMOOTH, g=g(h)),
        1.5,
    )
    for g in (prox.SpectralBall, prox.NuclearBall, prox.FrobeniusBall, prox.Nuclear)
}
ENTRIES = preconditioners.Sqrt(eps=1.0, geometry="elementwise")
ENTRYWISE = {
    "L1": prox.L1,
    "L0": prox.L0,
    "Ridge": prox.Ridge,
    "ElasticNet": lambda h: prox.ElasticNet(h, h),
    "Huber": lambda h: prox.Huber(h, h),
    "MCP": lambda h: prox.MCP(h, 3.0),
    "SCAD": lambda h: prox.SCAD(h, 3.0),
    "Box": lambda h: prox.Box(-h, h),
    "MaxBall": prox.MaxBall,
    "L1Ball": prox.L1Ball,
    "Simplex": prox.Simplex,
}
NUMBERS |= {
    name: (lambda h, g=g: rules.ProximalSpectral(0.1, preconditioner=ENTRIES, g=g(h)), 0.2)
    for name, g in ENTRYWISE.items()
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_may_be_injected(name):
    make, value = NUMBERS[name]
    tx = optax.inject_hyperparams(lambda value: transformation(rest=make(value)))(value=value)
    found, _ = jax.jit(tx.update)(PARAMS, tx.init(PARAMS), PARAMS)
    plain = transformation(rest=make(value))
    expected, _ = plain.update(PARAMS, plain.init(PARAMS), PARAMS)
    np.testing.assert_allclose(found["w"], expected["w"], atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: rules.Muon("0.1"),
        lambda: rules.Muon(0.1, weight_decay="0.1"),
        lambda: rules.Muon(0.1, beta="0.9"),
        lambda: rules.AdamW(0.1, eps="1e-8"),
        lambda: rules.AdamW(0.1, betas=("0.9", 0.99)),
        lambda: rules.Scion(0.1, radius="1"),
        lambda: prox.SpectralBall("1"),
        lambda: prox.Box("0", 1.0),
        lambda: preconditioners.Sqrt(eps="1"),
    ],
)
def test_a_string_is_no_number(make):
    with pytest.raises(TypeError, match="must be"):
        make()


def test_a_schedule_as_weight_decay_is_named():
    with pytest.raises(TypeError, match="weight_decay"):
        rules.Muon(0.1, weight_decay=lambda t: 0.1)


TABLE = jnp.asarray([0.3, 0.2, 0.1])


@pytest.mark.parametrize(
    ("schedule", "second"),
    [
        (optax.linear_schedule(0.3, 0.1, 2), 0.2),
        (optax.join_schedules([optax.constant_schedule(0.3)] * 2, [1]), 0.3),
        (lambda count: TABLE[count], 0.2),
        (lambda count, value=0.3: value - 0.1 * count, 0.2),
        (lambda t, **_: 0.3 / (t + 1), 0.15),
        (jax.jit(lambda count: TABLE[count]), 0.2),
    ],
)
def test_any_function_of_the_count_is_a_schedule(schedule, second):
    tx = transformation(rest=rules.SignDescent(schedule))
    _, state = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    updates, _ = jax.jit(tx.update)(PARAMS, state, PARAMS)
    np.testing.assert_allclose(np.abs(updates["w"]), second, rtol=1e-6)


# --- the modes of JAX ----------------------------------------------------------------------------


@each_rule
def test_strict_modes_of_jax(name):
    tx = transformation(rest=RULES[name])
    state = tx.init(PARAMS)
    with (
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
        jax.debug_nans(True),
    ):
        run = jax.jit(tx.update)
        run(PARAMS, state, PARAMS)
        with jax.transfer_guard("disallow"):
            run(PARAMS, state, PARAMS)


@each_rule
def test_a_nan_is_trapped_where_it_enters(name):
    tx = transformation(rest=RULES[name])
    broken = {**PARAMS, "twin": PARAMS["twin"].at[0, 0].set(jnp.nan)}
    updates, _ = tx.update(broken, tx.init(PARAMS), PARAMS)
    assert bool(jnp.any(jnp.isnan(updates["twin"])))
    assert bool(jnp.all(jnp.isfinite(updates["w"])))


@pytest.mark.parametrize("name", ["Muon", "AdamW", "TruncatedSpectralDescent"])
def test_five_steps_are_one_trace(name):
    tx, traces = transformation(rest=RULES[name]), []

    @jax.jit
    def step(params, state):
        traces.append(name)
        updates, state = tx.update(PARAMS, state, params)
        return optax.apply_updates(params, updates), state

    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(5):
        params, state = step(params, state)
    assert len(traces) == 1
    assert step._cache_size() == 1


def test_error_feedback_sees_matrices():
    rule = rules.SignDescent(0.1, error_feedback=True)
    kernel = jnp.asarray(np.random.default_rng(1).standard_normal((2, 6, 4)), jnp.float32)
    tx = transformation(trees.Group("kernel", rule, view="batched"))
    updates, state = tx.update({"kernel": kernel}, tx.init({"kernel": kernel}), {"kernel": kernel})
    for i in range(2):
        x = kernel[i, ...]
        y, own = rule.update(x, x, rule.init(x))
        np.testing.assert_allclose(updates["kernel"][i], y - x, atol=1e-6)
        error = optax.tree_utils.tree_get(state, "error")["kernel"][i]
        np.testing.assert_allclose(error, own["error"], atol=1e-6)
