"""What a step costs to trace: equations, counted with those inside of others."""

import pytest

jax = pytest.importorskip("jax", reason="jax is not installed")
optax = pytest.importorskip("optax", reason="optax is not installed")

import jax.numpy as jnp  # noqa: E402

from specdesc import preconditioners, prox, rules, trees  # noqa: E402
from specdesc.optax import transformation  # noqa: E402


def equations(jaxpr):
    inside = [
        part
        for equation in jaxpr.eqns
        for value in equation.params.values()
        for part in jax.tree.leaves(value, is_leaf=lambda p: hasattr(p, "eqns"))
    ]
    nested = [getattr(part, "jaxpr", part) for part in inside]
    return len(jaxpr.eqns) + sum(equations(part) for part in nested if hasattr(part, "eqns"))


def price(tx, params):
    return equations(jax.make_jaxpr(tx.update)(params, tx.init(params), params).jaxpr)


def model(layers=12, d=32):
    return {
        f"layer{i:02}": {
            "qkv": {"kernel": jnp.ones((d, 3 * d))},
            "out": {"kernel": jnp.ones((d, d))},
            "up": {"kernel": jnp.ones((d, 4 * d)), "bias": jnp.ones(4 * d)},
            "down": {"kernel": jnp.ones((4 * d, d)), "bias": jnp.ones(d)},
        }
        for i in range(layers)
    }


MODELS = {
    "one shape": {f"w{i:02}": jnp.ones((32, 32)) for i in range(12)},
    "twelve layers": model(),
}


@pytest.mark.parametrize("method", ["auto", "newton-schulz"])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_muon_is_no_longer_than_that_of_optax(name, method):
    contrib = pytest.importorskip("optax.contrib")
    muon = rules.Muon(0.02, weight_decay=0.1, layout="in_out", method=method)
    pattern = "*kernel" if name == "twelve layers" else "*"
    ours = transformation(trees.Group(pattern, muon), rest=rules.AdamW(0.01))
    assert price(ours, MODELS[name]) <= price(contrib.muon(0.02, weight_decay=0.1), MODELS[name])


def test_entrywise_rules_make_no_stacks():
    params = MODELS["one shape"]
    tx = transformation(rest=rules.AdamW(1e-3, weight_decay=0.1))
    text = str(jax.make_jaxpr(tx.update)(params, tx.init(params), params))
    assert "concatenate" not in text
    assert "reshape" not in text
    compiled = jax.jit(tx.update).lower(params, tx.init(params), params).compile()
    size = sum(x.nbytes for x in params.values())
    assert compiled.memory_analysis().temp_size_in_bytes < size


@pytest.mark.parametrize("kernel", [preconditioners.Kappa(2), preconditioners.Kappa(4)])
def test_the_scalar_solvers_are_loops(kernel):
    ball = prox.FrobeniusBall(1.0)
    found = jax.make_jaxpr(lambda x: ball.anisotropic_prox(x, 0.1, kernel))(jnp.ones((8, 4)))
    assert equations(found.jaxpr) < 7000
