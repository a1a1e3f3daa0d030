"""JAX: what moves between eight devices of the host, by the compiled program."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("jax", reason="jax is not installed")

PROGRAM = """
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
import specdesc as sd

mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))

def moved(function, shape, spec):
    own = NamedSharding(mesh, spec)
    x = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=own)
    text = jax.jit(function, out_shardings=own).lower(x).compile().as_text()
    numbers = {}
    for kinds, name in re.findall(r"= (\\S+|\\([^)]*\\)) (all-[a-z-]+)(?:-start)?\\(", text):
        for sizes in re.findall(r"f32\\[([0-9,]*)\\]", kinds):
            count = int(np.prod([int(size) for size in sizes.split(",") if size], dtype=int))
            numbers[name] = numbers.get(name, 0) + count
    return numbers

def same(function, shape, spec):
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    spread = jax.device_put(x, NamedSharding(mesh, spec))
    actual = np.asarray(jax.jit(function)(spread))
    np.testing.assert_allclose(actual, np.asarray(function(jnp.asarray(x))), atol=1e-4)

def ways(method):
    return lambda x: sd.orthogonalize(x, tol=1e-2, method=method)

# Whole matrices, each on one device: a part of the stack there and the same part back.
for spec in (P(None, "x", None), P(None, None, "x")):
    for method in ("polynomial", "newton-schulz"):
        numbers = moved(ways(method), (8, 128, 128), spec)
        assert set(numbers) == {"all-to-all"}, numbers
        model = 2 * 8 * 128 * 128 / 8
        assert abs(numbers["all-to-all"] - model) <= 0.05 * model, numbers
        same(ways(method), (8, 128, 128), spec)
# Long rows stay: sums of small squares.
for method in ("polynomial", "newton-schulz", "rational"):
    numbers = moved(ways(method), (4096, 64), P("x", None))
    assert set(numbers) <= {"all-reduce"}, (method, numbers)
    assert numbers["all-reduce"] <= 8 * 64 * 64, numbers
    same(ways(method), (4096, 64), P("x", None))
numbers = moved(ways("polynomial"), (8, 4096, 64), P(None, "x", None))
assert set(numbers) <= {"all-reduce"}, numbers
# Where the matrices are fewer than the devices the stack is left to the compiler.
same(ways("polynomial"), (3, 16, 16), P(None, "x", None))
print("all held")
"""


def test_collectives_are_those_of_the_model() -> None:
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all held" in done.stdout
