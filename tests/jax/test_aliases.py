"""Muon by the names of optax takes the steps of optax."""

from inspect import signature

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed")
optax = pytest.importorskip("optax", reason="optax is not installed")
if not hasattr(optax.contrib, "MuonDimensionNumbers"):
    pytest.skip("this optax has no dimension numbers", allow_module_level=True)

import jax.numpy as jnp  # noqa: E402

import specdesc.optax  # noqa: E402
from specdesc import trees  # noqa: E402

Numbers = optax.contrib.MuonDimensionNumbers
PUBLISHED = ((3.4445, -4.7750, 2.0315), 5)
RANDOM = np.random.default_rng(0)
PARAMS = {
    name: jnp.asarray(RANDOM.standard_normal(shape), jnp.float32)
    for name, shape in {
        "query": (8, 2, 4),
        "out": (2, 4, 8),
        "kernel": (8, 16),
        "experts": (3, 8, 4),
    }.items()
}
NUMBERS = {
    "query": Numbers(0, (1, 2)),
    "out": Numbers((0, 1), 2),
    "kernel": Numbers(),
    "experts": Numbers(1, 2),
}
AXES = {
    "query": trees.Axes(inputs=0, outputs=(1, 2)),
    "out": trees.Axes(inputs=(0, 1), outputs=-1),
    "kernel": trees.Axes(inputs=0, outputs=1),
    "experts": trees.Axes(inputs=-2, outputs=-1),
}


def after(tx, steps, params=PARAMS):
    @jax.jit
    def step(params, state):
        grads = jax.tree.map(lambda x: jnp.sin(3.0 * x) + 0.1, params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params


@pytest.mark.thorough
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.1, "nesterov": False},
        {"weight_decay": 0.5, "weight_decay_mask": lambda p: jax.tree.map(lambda x: x.ndim > 2, p)},
        {"consistent_rms": 0.2, "beta": 0.8},
    ],
    ids=["defaults", "decay", "mask", "rms"],
)
@pytest.mark.parametrize(
    "numbers", [NUMBERS, AXES, lambda _: NUMBERS], ids=["optax", "ours", "call"]
)
def test_fifty_steps_are_those_of_optax(options, numbers):
    theirs = optax.contrib.muon(0.02, muon_weight_dimension_numbers=NUMBERS, **options)
    ours = specdesc.optax.muon(0.02, *PUBLISHED, muon_weight_dimension_numbers=numbers, **options)
    expected, found = after(theirs, 50), after(ours, 50)
    for name in PARAMS:
        np.testing.assert_allclose(found[name], expected[name], atol=2e-4)


def test_without_dimension_numbers_matrices_are_of_muon_and_the_rest_of_adamw():
    params = {"kernel": PARAMS["kernel"], "bias": PARAMS["kernel"][0]}
    options = {"adam_learning_rate": 0.1, "adam_b1": 0.8, "adam_weight_decay": 0.2}
    found = after(specdesc.optax.muon(0.02, *PUBLISHED, **options), 5, params)
    matrix = after(optax.contrib.muon(0.02), 5, params)
    vector = after(optax.adamw(0.1, 0.8, weight_decay=0.2), 5, params)
    np.testing.assert_allclose(found["kernel"], matrix["kernel"], atol=1e-5)
    np.testing.assert_allclose(found["bias"], vector["bias"], atol=1e-5)


def test_the_factor_is_one_where_nothing_else_is_asked():
    tx = specdesc.optax.muon(1.0, nesterov=False, consistent_rms=16**-0.5, tol=1e-3)
    grads = {"kernel": PARAMS["kernel"]}
    updates, _ = tx.update(grads, tx.init(grads), grads)
    values = np.linalg.svd(updates["kernel"], compute_uv=False)
    np.testing.assert_allclose(values, 1.0, atol=2e-3)


@pytest.mark.parametrize("name", ["muon", "scion"])
def test_hyperparameters_are_injected_by_name(name):
    params = {"kernel": PARAMS["kernel"], "bias": PARAMS["kernel"][0]}
    make = getattr(specdesc.optax, name)
    schedule = optax.linear_schedule(0.1, 0.0, 5)
    found = after(optax.inject_hyperparams(make)(learning_rate=schedule), 3, params)
    expected = after(make(schedule), 3, params)
    np.testing.assert_allclose(found["kernel"], expected["kernel"], atol=1e-5)


def test_a_direction_alone_is_for_those_who_chain():
    params = {"kernel": PARAMS["kernel"].T}  # more inputs than outputs: a scale of 1
    chained = optax.chain(
        specdesc.optax.scale_by_muon(),
        optax.add_decayed_weights(0.1),
        optax.scale_by_learning_rate(0.02),
    )
    expected = after(specdesc.optax.muon(0.02, weight_decay=0.1), 3, params)
    np.testing.assert_allclose(after(chained, 3, params)["kernel"], expected["kernel"], atol=1e-6)


def test_scion_stays_in_its_balls():
    params = {"kernel": jnp.zeros((8, 16)), "bias": jnp.zeros(16)}
    found = after(specdesc.optax.scion(0.3, radius=2.0, other_radius=0.5), 20, params)
    assert np.linalg.norm(found["kernel"], 2) <= 2.0 * 2.0**0.5 * 1.001
    assert float(jnp.max(jnp.abs(found["bias"]))) <= 0.5


def test_arguments_have_the_names_and_defaults_of_optax():
    theirs = signature(optax.contrib.muon).parameters
    ours = signature(specdesc.optax.muon).parameters
    missing = {"mu_dtype", "adaptive", "preconditioning", "adam_eps_root"}
    assert theirs.keys() - ours.keys() <= missing
    for name in theirs.keys() & ours.keys() - {"ns_coeffs", "ns_steps"}:
        assert ours[name].default == theirs[name].default


@pytest.mark.parametrize("given", [{"ns_steps": 6}, {"ns_coeffs": (2.0, -1.5, 0.5)}])
def test_another_iteration_is_refused(given):
    with pytest.raises(ValueError, match="tol and floor"):
        specdesc.optax.muon(0.1, **given)


def test_no_kernel_is_flattened_by_a_guess():
    from specdesc import rules

    tx = specdesc.optax.transformation(rest=rules.Muon(0.1, layout="in_out"))
    with pytest.raises(ValueError, match=r"'query' of shape .* trees.Axes"):
        tx.init({"query": PARAMS["query"]})
