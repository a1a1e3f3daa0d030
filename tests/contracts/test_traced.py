"""Every public function under the tracers: jax.jit, jax.vmap, jax.lax.scan and torch.compile."""

import functools
from shutil import which
from typing import Any

import numpy as np
import pytest

from specdesc import (
    Orthogonalization,
    norms,
    orthogonalize,
    preconditioners,
    prox,
    rules,
    schedules,
)
from tests import support
from tests.contracts.test_stacks import check_mixed, mixed
from tests.support import OPERATIONS, Library, Operation, leaves

JAX = next(way for way in support.LIBRARIES if way.name == "jax")
TORCH = next(way for way in support.LIBRARIES if way.name == "torch")
SHAPE = (48, 44)

EVERY = pytest.mark.parametrize("operation", OPERATIONS, ids=str)


@pytest.fixture(params=["jax"])
def jax() -> Any:
    module = pytest.importorskip("jax", reason="jax is not installed")
    with JAX.context():
        yield module


@pytest.fixture
def torch() -> Any:
    module = pytest.importorskip("torch", reason="torch is not installed")
    module.compiler.reset()
    return module


def traced(operation: Operation, library: Library) -> Operation:
    reason = operation.untraced(library)
    if reason:
        pytest.skip(f"{operation} under the tracer of {library.name}: {reason}")
    return operation


def compare(operation: Operation, library: Library, found: Any, expected: Any, eps: float) -> None:
    """Hold traced results to eager ones, by what of them is unique."""
    pairs = list(zip(leaves(found), leaves(expected), strict=True))
    for y, z in pairs:
        assert y.dtype == z.dtype
        assert tuple(y.shape) == tuple(z.shape)
    limit = 500 * eps + (operation.tolerance or 0.0)
    sides = ([library.numpy(side[i]) for side in pairs] for i in (0, 1))
    for y, z in zip(*map(operation.canonical, sides), strict=True):
        np.testing.assert_allclose(y, z, rtol=limit, atol=limit * np.abs(z).max(initial=1.0))


# --- jax -----------------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.essential
@EVERY
@pytest.mark.parametrize(
    "dtype", ["float32", pytest.param("complex64", marks=pytest.mark.exhaustive)]
)
def test_jit_equals_eager_to_rounding(operation: Operation, dtype: str, jax: Any) -> None:
    """And what is not finite stays in its own matrix."""
    call = traced(operation, JAX).call
    host, bad = mixed(dtype)
    x = JAX.array(support.easy(len(host), shape=SHAPE, dtype=dtype), dtype)
    # A function of its own: the cache of a public one is shared with whoever else compiles it.
    compiled = jax.jit(functools.partial(call))
    exact = Operation(
        operation.name, call, operation.outputs, operation.capabilities, operation.canonical
    )
    compare(exact, JAX, compiled(x), call(x), support.EPS[dtype])
    outputs = [JAX.numpy(y) for y in leaves(compiled(JAX.array(host, dtype)))]
    assert compiled._cache_size() == 1
    check_mixed(operation, outputs, bad)


def test_nothing_reads_a_value_on_jax(jax: Any) -> None:
    """One plan inside and outside of jit: no transfer to the host, even when eager."""
    x = JAX.array(support.easy(2, shape=SHAPE), "float32")
    for operation in OPERATIONS:
        operation.call(x)  # constants are made on the first call
        with jax.transfer_guard_device_to_host("disallow"):
            operation.call(x)


@pytest.mark.slow
def test_vmap_is_the_stack(jax: Any) -> None:
    x = JAX.array(support.easy(3, shape=(12, 8)), "float32")
    for call in (
        lambda y: orthogonalize(y, method="polynomial", tol=1e-3),
        prox.Nuclear(0.5).prox,
        prox.Rank(2).prox,
    ):
        stacked = JAX.numpy(call(x))
        np.testing.assert_allclose(JAX.numpy(jax.vmap(call)(x)), stacked, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "rule",
    [
        rules.SpectralDescent(schedules.geometric(0.5, 0.9), g=prox.SpectralBall(1.0)),
        rules.TruncatedSpectralDescent(1, schedules.frank_wolfe(2.0), weight_decay=2.0),
        rules.TruncatedSpectralDescent(1, 0.3, g=prox.Rank(2)),
        rules.NormalizedGradient(schedules.polyak()),
    ],
    ids=["sd", "tsd decay", "tsd rank", "ng"],
)
def test_a_rule_runs_in_a_scan(rule: Any, jax: Any) -> None:
    """The state has one structure, so that it can be the carry of a compiled loop."""
    target = JAX.array(support.easy(2, shape=SHAPE), "float32")
    x0 = jax.numpy.zeros_like(target)

    def step(carry: Any, _: Any) -> Any:
        x, state = carry
        grad = x - target
        value = jax.numpy.sum(grad**2, axis=(-2, -1)) / 2
        return rule.update(x, grad, state, value=value), value

    carry = (x0, rule.init(x0))
    (x, state), values = jax.jit(lambda c: jax.lax.scan(step, c, length=6))(carry)
    assert int(state["t"]) == 6
    for _ in range(6):
        carry, _ = step(carry, None)
    # An iteration of a map that is not smooth repeats roundings six times.
    np.testing.assert_allclose(JAX.numpy(x), JAX.numpy(carry[0]), atol=2e-2)
    values = JAX.numpy(values)
    assert np.isfinite(values).all()
    assert (values[-1] < values[0]).all()


#: Rules with a buffer, each with a way of its own through a trace.
SMOOTH = preconditioners.SoftSign(eps=0.5, geometry="elementwise")
WITH_BUFFER = {
    "muon": rules.Muon(0.1, beta=schedules.storm().beta, weight_decay=0.1, decay="cautious"),
    "muon corrected": rules.Muon(0.1, momentum="ema_corrected", method="newton-schulz"),
    "scion": rules.Scion(schedules.storm().step, norm=norms.Nuclear()),
    "sign": rules.SignDescent(0.1, weight_decay=0.1, g=prox.MaxBall(2.0)),
    "proximal": rules.ProximalSpectral(
        0.1,
        beta=schedules.heavy_tailed(p=1.5).beta,
        preconditioner=preconditioners.Kappa(4, eps=0.5),
        g=prox.SpectralBall(2.0),
    ),
    "storm": rules.ProximalStorm(0.1, preconditioner=SMOOTH, g=prox.L1(0.1), approximate=True),
}
#: One of them always, as each is a compilation; Muon is a public function of the table besides.
BUFFERED = pytest.mark.parametrize(
    "rule",
    [
        pytest.param(rule, marks=[] if name == "storm" else [pytest.mark.exhaustive], id=name)
        for name, rule in WITH_BUFFER.items()
    ],
)


@BUFFERED
def test_a_rule_with_a_buffer_runs_in_a_scan(rule: Any, jax: Any) -> None:
    target = JAX.array(support.easy(2, shape=(6, 4)), "float32")

    def step(carry: Any, _: Any) -> Any:
        x, state = carry
        return rule.update(x, x - target, state), None

    first = jax.numpy.zeros_like(target)
    carry = (first, rule.init(first))
    (x, state), _ = jax.jit(lambda c: jax.lax.scan(step, c, length=3))(carry)
    for _ in range(3):
        carry, _ = step(carry, None)
    assert int(state["t"]) == 3
    np.testing.assert_allclose(JAX.numpy(x), JAX.numpy(carry[0]), atol=1e-5)
    for key in state:
        np.testing.assert_allclose(JAX.numpy(state[key]), JAX.numpy(carry[1][key]), atol=1e-5)


@BUFFERED
def test_a_rule_with_a_buffer_compiles_in_torch(rule: Any, torch: Any) -> None:
    """In one graph, and the second step takes the graph of the first."""
    x, grad = (TORCH.array(y, "float32") for y in support.easy(2, shape=(6, 4)))
    compiled = torch.compile(rule.update, fullgraph=True, backend="aot_eager")
    found, state = compiled(x, grad, rule.init(x))
    expected, same = rule.update(x, grad, rule.init(x))
    with torch._dynamo.config.patch(error_on_recompile=True):
        found, state = compiled(found, grad, state)
    expected, same = rule.update(expected, grad, same)
    np.testing.assert_allclose(TORCH.numpy(found), TORCH.numpy(expected), atol=1e-5)
    assert list(state) == list(same)


def test_a_grid_of_steps_under_vmap(jax: Any) -> None:
    """Hyper-parameters may be traced where they are arrays."""
    x, grad = (JAX.array(y, "float32") for y in support.easy(2, shape=(12, 8)))

    def first(size: Any) -> Any:
        rule = rules.SpectralDescent(schedules.constant(size))
        return rule.update(x, grad, rule.init(x))[0]

    sizes = jax.numpy.asarray([0.1, 0.2, 0.4], dtype=x.dtype)
    many = jax.vmap(first)(sizes)
    for i, size in enumerate((0.1, 0.2, 0.4)):
        rule = rules.SpectralDescent(size)
        one = rule.update(x, grad, rule.init(x))[0]
        np.testing.assert_allclose(JAX.numpy(many[i]), JAX.numpy(one), atol=1e-5)


def test_the_full_output_comes_out_of_jit_with_all_fields(jax: Any) -> None:
    x = JAX.array(support.easy(2, shape=SHAPE), "float32")
    full = jax.jit(lambda y: orthogonalize(y, tol=1e-3, floor=0.1, full_output=True))(x)
    assert isinstance(full, Orthogonalization)
    assert full._fields == ("factor", "error", "rank", "products", "status", "start")
    assert full.start is None
    assert (JAX.numpy(full.status) == 0).all()
    assert (JAX.numpy(full.rank) == min(SHAPE)).all()
    assert (JAX.numpy(full.error) <= 1e-3).all()
    assert (JAX.numpy(full.products) > 0).all()


# --- torch ---------------------------------------------------------------------------------------


@pytest.mark.slow
@EVERY
def test_compiled_torch_meets_the_contract_of_eager_torch(operation: Operation, torch: Any) -> None:
    """In one graph, without a break: planning and look-up of the backend are constants."""
    call = traced(operation, TORCH).call
    host, bad = mixed("float32")
    x = TORCH.array(support.easy(len(host), shape=host.shape[1:]), "float32")
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    eager = call(x)  # first: the backends that it binds are constants of the graph
    compare(operation, TORCH, compiled(x), eager, support.EPS["float32"])
    # The graph reads no values: any matrices of the shape take it without a new compilation, and
    # what is not finite stays in its own.
    with torch._dynamo.config.patch(error_on_recompile=True):
        again = compiled(TORCH.array(host, "float32"))
    check_mixed(operation, [TORCH.numpy(y) for y in leaves(again)], bad)


@EVERY
def test_shapes_and_dtypes_on_the_meta_device(operation: Operation, torch: Any) -> None:
    """Shape inference without numbers."""
    x = torch.empty((2, *SHAPE), dtype=torch.float32, device="meta")
    found = leaves(operation.call(x))
    promised = operation.outputs((2,), *SHAPE)
    for y, (shape, kind) in zip(found, promised, strict=True):
        assert y.device.type == "meta"
        assert tuple(y.shape) == shape
        assert TORCH.dtype(y) == support.kind_of(kind, "float32")


# Torch warns of its own modules on the way.
@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore:.torch.(jit|_prims_common)")
def test_inductor_compiles_in_one_graph(torch: Any) -> None:
    """To machine code, without a break: what users of `torch.compile` get by default."""
    if which("c++") is None and which("g++") is None:
        pytest.skip("inductor needs a C++ compiler, and none is installed")
    x = TORCH.array(support.easy(2, shape=SHAPE), "float32")

    def call(y: Any) -> Any:
        return orthogonalize(y, method="polynomial", tol=1e-3)

    found = torch.compile(call, fullgraph=True)(x)
    np.testing.assert_allclose(TORCH.numpy(found), TORCH.numpy(call(x)), atol=2e-3)
