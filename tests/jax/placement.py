"""What `test_placement.py` runs on eight devices, which have to be asked for before JAX starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import specdesc as sd
from specdesc import prox, rules

HOST = np.random.default_rng(0).standard_normal((16, 8))
FREE = jnp.asarray(HOST, jnp.float32)
ROWS = NamedSharding(Mesh(np.array(jax.devices()), ("d",)), PartitionSpec("d", None))
PLACED = {
    "free": FREE,
    "third device": jax.device_put(FREE, jax.devices()[3]),
    "rows": jax.device_put(FREE, ROWS),
    "explicit": jax.device_put(
        FREE, NamedSharding(jax.make_mesh((8,), ("d",)), PartitionSpec(None, None))
    ),
}
FUNCTIONS = {
    "orthogonalize": sd.orthogonalize,
    "spectral_clip": lambda x: sd.spectral_clip(x, 0.5),
    "Simplex": lambda x: prox.Simplex().prox(x),
}
RULES = {
    "Muon": rules.Muon(0.1, method="newton-schulz"),
    "AdamW": rules.AdamW(0.1),
    "Scion": rules.Scion(0.1),
    "TruncatedSpectralDescent": rules.TruncatedSpectralDescent(2, 0.1),
}


def check(y, x, expected):
    np.testing.assert_allclose(np.asarray(y), np.asarray(expected), atol=1e-4)
    assert y.committed == x.committed
    assert y.devices() == x.devices()


for x in PLACED.values():
    for function in FUNCTIONS.values():
        check(function(x), x, function(FREE))
    for rule in RULES.values():
        state = rule.init(x)
        for buffer in state.values():
            if buffer.shape == x.shape:
                assert buffer.sharding == x.sharding
        y, state = rule.update(x, x, state)
        check(y, x, rule.update(FREE, FREE, rule.init(FREE))[0])

# A gradient that nobody placed goes where the parameter is.
x = PLACED["third device"]
state = rules.Muon(0.1).init(x)
check(rules.Muon(0.1).update(x, FREE, state)[0], x, rules.Muon(0.1).update(x, x, state)[0])
with pytest.raises(ValueError, match="one device"):
    rules.Muon(0.1).update(x, jax.device_put(FREE, jax.devices()[5]), state)
