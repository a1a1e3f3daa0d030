"""The conventions of other projects, by their own code, with our orthogonal factor in it."""

from typing import Any

import numpy as np
import pytest

from specdesc import norms, orthogonalize, rules
from tests import support

STEPS = 50
STEP = 0.02
#: Sums of fifty steps in float32.
LIMIT = 1e-6


def problem(shape: tuple[int, int]) -> tuple[Any, list[Any]]:
    """Return a start of the size of a layer's weights and a gradient for every step."""
    drawn = support.gaussian(STEPS + 1, *shape, seed=5).astype("float32")
    return drawn[0] / np.float32(3.0), list(drawn[1:])


def run(rule: Any, start: Any, grads: list[Any]) -> tuple[Any, Any]:
    x, state = start, rule.init(start)
    for grad in grads:
        x, state = rule.update(x, grad, state)
    return x, state


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize(
    ("scale", "theirs"), [("keller", "original"), ("adamw_rms", "match_rms_adamw")]
)
@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_muon_of_torch(
    shape: tuple[int, int],
    scale: Any,
    theirs: str,
    nesterov: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    muon = pytest.importorskip("torch.optim._muon", reason="this torch has no Muon")
    monkeypatch.setattr(muon, "_zeropower_via_newtonschulz", lambda x, *_: orthogonalize(x))
    start, grads = problem(shape)
    rule = rules.Muon(STEP, beta=0.9, nesterov=nesterov, weight_decay=0.1, scale=scale)
    x, state = run(rule, start, grads)

    weight = torch.nn.Parameter(torch.asarray(start.copy()))
    options = {"momentum": 0.9, "nesterov": nesterov, "adjust_lr_fn": theirs}
    optimizer = torch.optim.Muon([weight], lr=STEP, weight_decay=0.1, **options)
    for grad in grads:
        weight.grad = torch.asarray(grad.copy())
        optimizer.step()
    np.testing.assert_allclose(x, weight.detach().numpy(), atol=LIMIT)
    buffer = optimizer.state[weight]["momentum_buffer"]
    np.testing.assert_allclose(state["momentum_buffer"], buffer.numpy(), atol=LIMIT)
    assert np.abs(x - start).max() > 0.1


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize(("scale", "rms"), [("keller", None), ("adamw_rms", 0.2)])
def test_muon_of_optax(
    scale: Any, rms: float | None, nesterov: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernels are (in, out), and it corrects the bias of its averages."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    optax = pytest.importorskip("optax", reason="optax is not installed")
    muon = pytest.importorskip("optax.contrib._muon")
    monkeypatch.setattr(muon, "orthogonalize_via_newton_schulz", lambda x, *_: orthogonalize(x))
    start, grads = problem((4, 9))
    start, grads = start.astype("float64"), [grad.astype("float64") for grad in grads]
    options: dict[str, Any] = {"beta": 0.9, "nesterov": nesterov, "weight_decay": 0.1}
    # In float64: what single precision rounds differs from one order of operations to another.
    with jax.enable_x64(True):
        rule = rules.Muon(STEP, scale=scale, layout="in_out", momentum="ema_corrected", **options)
        x, state = run(rule, jax.numpy.asarray(start), [jax.numpy.asarray(grad) for grad in grads])

        theirs = optax.contrib.muon(STEP, consistent_rms=rms, **options)
        weight = jax.numpy.asarray(start)
        their_state = theirs.init(weight)
        for grad in grads:
            change, their_state = theirs.update(jax.numpy.asarray(grad), their_state, weight)
            weight = optax.apply_updates(weight, change)
        np.testing.assert_allclose(np.asarray(x), np.asarray(weight), atol=LIMIT)
        (buffer,) = jax.tree.leaves(their_state.inner_states["muon"].inner_state[0].mu)
        np.testing.assert_allclose(np.asarray(state["momentum_buffer"]), buffer, atol=LIMIT)


@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("name", ["spectral", "sign", "columns", "rows"])
def test_the_published_update_of_scion(name: str, constrained: bool) -> None:
    """Written from its formula: their momentum is 1 - beta, and their oracle points uphill.

    Their factors of the layer's sizes are a part of our radius.
    """
    torch = pytest.importorskip("torch", reason="torch is not installed")
    m, lr, size, (fan_out, fan_in) = 0.1, STEP, 3.0, (9, 4)
    ours: dict[str, tuple[norms.Norm, float]] = {
        "spectral": (norms.Spectral(), (fan_out / fan_in) ** 0.5),
        "sign": (norms.Max(), 1.0 / fan_in),
        "columns": (norms.Columns(), fan_out**0.5),
        "rows": (norms.Rows(), 1.0 / fan_in**0.5),
    }

    def oracle(g: Any) -> Any:
        if name == "spectral":
            u, _, vh = torch.linalg.svd(g, full_matrices=False)
            return (fan_out / fan_in) ** 0.5 * (u @ vh)
        if name == "sign":
            return torch.sign(g) / fan_in
        if name == "columns":
            return g / (torch.linalg.vector_norm(g, dim=0, keepdim=True) / fan_out**0.5)
        return g / torch.linalg.vector_norm(g, dim=1, keepdim=True) / fan_in**0.5

    start, grads = problem((fan_out, fan_in))
    norm, factor = ours[name]
    rule = rules.Scion(lr, beta=1.0 - m, norm=norm, radius=size * factor, constrained=constrained)
    x, _ = run(rule, start, grads)

    weight = torch.asarray(start.copy())
    buffer = torch.zeros_like(weight)
    for grad in grads:
        buffer.mul_(1 - m).add_(torch.asarray(grad), alpha=m)
        if constrained:
            weight.mul_(1 - lr)
        weight.add_(oracle(buffer), alpha=-lr * size)
    np.testing.assert_allclose(x, weight.numpy(), atol=LIMIT)


@pytest.mark.parametrize("shape", [(64, 48), (48, 64), (96, 96)])
def test_newton_schulz_of_torch_in_half_precision(shape: tuple[int, int]) -> None:
    """Theirs always multiplies in bfloat16, ours in float32: they differ by its roundings."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    muon = pytest.importorskip("torch.optim._muon", reason="this torch has no Muon")
    x = torch.asarray(support.gaussian(*shape, seed=2)).bfloat16()
    coefficients = (muon.DEFAULT_A, muon.DEFAULT_B, muon.DEFAULT_C)
    theirs = muon._zeropower_via_newtonschulz(x, coefficients, muon.DEFAULT_NS_STEPS, muon.EPS)
    ours = orthogonalize(x, method="newton-schulz")
    assert ours.dtype == theirs.dtype == torch.bfloat16
    error = torch.linalg.matrix_norm(ours.float() - theirs.float())
    assert error <= 3e-2 * torch.linalg.matrix_norm(theirs.float())
