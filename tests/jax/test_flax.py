"""Flax drives a transformation as it drives one of optax."""

import pytest

jax = pytest.importorskip("jax", reason="jax is not installed")
optax = pytest.importorskip("optax", reason="optax is not installed")
nnx = pytest.importorskip("flax.nnx", reason="flax is not installed")

import jax.numpy as jnp  # noqa: E402
from flax import linen as nn  # noqa: E402
from jax.sharding import PartitionSpec as P  # noqa: E402

import specdesc.optax  # noqa: E402
from specdesc import rules, trees  # noqa: E402
from specdesc.optax import transformation  # noqa: E402


class Transformer(nnx.Module):
    """One block that reads the last tokens, as in the example of characters."""

    def __init__(self, rngs):
        self.embed = nnx.Embed(16, 16, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(4, 16, decode=False, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(16, 64, rngs=rngs)
        self.down = nnx.Linear(64, 16, rngs=rngs)
        self.norms = nnx.List([nnx.LayerNorm(16, rngs=rngs) for _ in range(2)])
        self.head = nnx.Linear(16, 16, use_bias=False, rngs=rngs)

    def __call__(self, tokens):
        x = self.embed(tokens)
        x = x + self.attention(self.norms[0](x), mask=nnx.make_causal_mask(tokens))
        return self.head(x + self.down(nnx.relu(self.up(self.norms[1](x)))))


def numbers_of(params):
    """Give the kernels of hidden layers to Muon."""
    axes = {
        "out": optax.contrib.MuonDimensionNumbers((0, 1), 2),
        "query": optax.contrib.MuonDimensionNumbers(0, (1, 2)),
        "key": optax.contrib.MuonDimensionNumbers(0, (1, 2)),
        "value": optax.contrib.MuonDimensionNumbers(0, (1, 2)),
        "up": optax.contrib.MuonDimensionNumbers(),
        "down": optax.contrib.MuonDimensionNumbers(),
    }

    def of(path, x):
        names = [str(getattr(key, "key", key)) for key in path]
        return next((axes[n] for n in names if n in axes and "kernel" in names), None)

    return jax.tree_util.tree_map_with_path(of, params)


def losses_of(tx, steps=40):
    model = Transformer(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, tokens):
        def loss_of(model):
            logits = model(tokens[:, :-1])
            return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

        loss, grads = nnx.value_and_grad(loss_of)(model)
        optimizer.update(model, grads)
        return loss

    starts = jax.random.randint(jax.random.key(0), (steps, 8, 1), 0, 16)
    strides = 1 + 2 * (starts % 2)
    batches = (starts + strides * jnp.arange(17)) % 16
    return [float(step(model, optimizer, tokens)) for tokens in batches]


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(optax.contrib, "MuonDimensionNumbers"), reason="this optax has none"
)
def test_a_transformer_learns_as_fast_as_with_the_muon_of_optax():
    options = {"adam_learning_rate": 3e-3, "muon_weight_dimension_numbers": numbers_of}
    theirs = losses_of(optax.contrib.muon(0.02, **options))
    ours = losses_of(specdesc.optax.muon(0.02, **options))
    assert theirs[-1] < theirs[0] - 0.5
    assert sum(ours[-5:]) <= sum(theirs[-5:]) * 1.05


@pytest.mark.parametrize("groups", [(), ("*kernel",)])
def test_one_step_of_nnx(groups):
    model = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    before = model.kernel[...]
    found = [trees.Group(name, rules.Muon(0.02, layout="in_out")) for name in groups]
    optimizer = nnx.Optimizer(model, transformation(*found, rest=rules.AdamW(1e-3)), wrt=nnx.Param)
    grads = nnx.grad(lambda model: jnp.mean(model(jnp.ones((3, 4))) ** 2))(model)
    for _ in range(2):
        optimizer.update(model, grads)
    assert float(jnp.max(jnp.abs(model.kernel[...] - before))) > 1e-4


def test_boxes_of_linen_keep_their_partitions():
    init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
    dense = nn.Dense(4, kernel_init=init, use_bias=False)
    params = dense.init(jax.random.key(0), jnp.ones((1, 4)))["params"]
    tx = transformation(trees.Group("kernel", rules.Muon(0.1)))
    state = tx.init(params)
    specs = jax.tree.leaves(nn.get_partition_spec(state), is_leaf=lambda s: isinstance(s, P))
    assert P(None, "model") in specs
    updates, _ = tx.update(params, state, params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)


def test_a_state_survives_a_checkpoint(tmp_path):
    checkpoint = pytest.importorskip("orbax.checkpoint")
    params = {"kernel": jnp.eye(4), "bias": jnp.ones(4)}
    tx = transformation(
        trees.Group("kernel", rules.TruncatedSpectralDescent(2, 0.1)), rest=rules.AdamW(0.1)
    )
    updates, state = tx.update(params, tx.init(params), params)
    with checkpoint.StandardCheckpointer() as file:
        file.save(tmp_path / "state", state)
        file.wait_until_finished()
        restored = file.restore(tmp_path / "state", tx.init(params))
    params = optax.apply_updates(params, updates)
    expected, _ = tx.update(params, state, params)
    found, _ = tx.update(params, restored, params)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), expected, found)))
