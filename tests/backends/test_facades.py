"""What users of torch and optax expect of an optimizer, with our rules inside."""

import doctest
import io
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

import specdesc
from specdesc import prox, rules, trees
from specdesc.preconditioners import Kappa

torch = pytest.importorskip("torch")
Optimizer = import_module("specdesc.torch").Optimizer


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(2, 4, (3, 2))
        self.first = torch.nn.Linear(8, 6)
        self.second = torch.nn.Linear(6, 6)
        self.head = torch.nn.Linear(6, 3)

    def forward(self, x):
        x = torch.relu(self.conv(x.to(self.conv.weight.dtype))).flatten(1)[:, :8]
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


INPUT = torch.linspace(-1, 1, 5 * 2 * 4 * 4).reshape(5, 2, 4, 4)


def loss_of(model):
    return model(INPUT).square().mean()


def backward(model):
    model.zero_grad()
    loss = loss_of(model)
    loss.backward()
    return loss


def groups(**options):
    return (
        trees.Group("conv.weight", rules.Muon(0.02, **options), view="flatten"),
        trees.Group("*.weight", rules.Muon(0.01, **options)),
    )


def optimizer_of(model, **options):
    return Optimizer(model.named_parameters(), *groups(**options), rest=rules.AdamW(1e-3))


def test_steps_are_those_of_the_rules():
    model = Net()
    optimizer = optimizer_of(model, weight_decay=0.1)
    rule = rules.Muon(0.02, weight_decay=0.1)
    x = model.conv.weight.detach().clone().reshape(4, 12)
    state = rule.init(x)
    for _ in range(3):
        backward(model)
        x, state = rule.update(x, model.conv.weight.grad.reshape(4, 12), state)
        optimizer.step()
    torch.testing.assert_close(model.conv.weight.detach().reshape(4, 12), x)


def test_a_closure_is_called_once_with_gradients_and_its_loss_returned():
    model, calls = Net(), []

    def closure():
        calls.append(torch.is_grad_enabled())
        return backward(model)

    loss = optimizer_of(model).step(closure=closure)
    assert calls == [True]
    assert loss.item() == pytest.approx(loss_of(Net()).item())
    assert loss_of(model) < loss


def test_gradients_are_left_as_they_are():
    model = Net()
    backward(model)
    before = [p.grad.clone() for p in model.parameters()]
    optimizer_of(model, nesterov=False).step()
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), before, strict=True))


def test_a_scheduler_of_torch_sets_the_pace():
    model = Net()
    optimizer = optimizer_of(model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5 if t else 1.0)
    lengths = []
    for _ in range(2):
        before = model.second.weight.detach().clone()
        backward(model)
        optimizer.step()
        scheduler.step()
        lengths.append(torch.linalg.matrix_norm(model.second.weight.detach() - before, 2).item())
    np.testing.assert_allclose(lengths, [0.01, 0.005], rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_checkpoint_without_code_resumes_bit_for_bit(dtype):
    model = Net().to(dtype)
    optimizer = optimizer_of(model)
    for _ in range(2):
        backward(model)
        optimizer.step()
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = Net().to(dtype)
    resumed = optimizer_of(other)
    other.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    for net, steps in ((model, optimizer), (other, resumed)):
        backward(net)
        steps.step()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        for key, value in optimizer.state[p].items():
            assert getattr(value, "dtype", int) == getattr(resumed.state[q][key], "dtype", int)


def test_a_buffer_of_another_muon_is_taken_over():
    theirs, ours = torch.nn.Linear(4, 3, bias=False), torch.nn.Linear(4, 3, bias=False)
    ours.load_state_dict(theirs.state_dict())
    muon = torch.optim.Muon(theirs.parameters(), lr=0.1, weight_decay=0.0)
    theirs(torch.ones(4)).sum().backward()
    muon.step()
    optimizer = Optimizer(ours.named_parameters(), rest=rules.Muon(0.1))
    optimizer.load_state_dict(
        {
            "state": muon.state_dict()["state"],
            "param_groups": [{"params": [0], "lr": 0.1}],
        }
    )
    ours(torch.ones(4)).sum().backward()
    optimizer.step()
    buffer = optimizer.state[ours.weight]["momentum_buffer"]
    torch.testing.assert_close(buffer, torch.full((3, 4), 0.05 * (1 + 0.95)))


def test_a_parameter_without_a_gradient_is_skipped_and_not_counted():
    model = Net()
    optimizer = optimizer_of(model)
    backward(model)
    model.first.bias.grad = None
    before = model.first.bias.detach().clone()
    optimizer.step()
    assert torch.equal(model.first.bias, before)
    assert "t" not in optimizer.state[model.first.bias]
    backward(model)
    optimizer.step()
    assert optimizer.state[model.first.bias]["t"] == 1
    assert optimizer.state[model.second.bias]["t"] == 2


def test_a_group_that_takes_nothing_raises():
    with pytest.raises(ValueError, match="attention"):
        Optimizer(
            Net().named_parameters(),
            trees.Group("attention*", rules.Muon(0.1)),
            rest=rules.AdamW(1e-3),
        )


def test_storm_calls_the_closure_at_both_points():
    rule = rules.ProximalStorm(0.05, preconditioner=Kappa(2), g=prox.SpectralBall(1.0))
    model = torch.nn.Linear(3, 3, bias=False)
    samples = torch.linspace(-1, 1, 4 * 3).reshape(4, 1, 3)
    optimizer = Optimizer(model.named_parameters(), rest=rule)

    def gradient(w, t):
        return 2 * samples[t].T @ (samples[t] @ w.T) if w is not None else None

    x = previous = model.weight.detach().clone()
    state = rule.init(x)
    for t in range(4):

        def closure(t=t):
            model.zero_grad()
            loss = model(samples[t]).square().sum()
            loss.backward()
            return loss

        new, state = rule.update(x, gradient(x, t).T, state, previous_grad=gradient(previous, t).T)
        x, previous = new, x
        optimizer.step(closure)
        torch.testing.assert_close(model.weight.detach(), x)
    with pytest.raises(ValueError, match="closure"):
        optimizer.step()


def test_optax_runs_the_rules():
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    from specdesc.backends.jax.transformation import transformation

    rule = rules.Muon(0.1, weight_decay=0.1, layout="in_out")
    ours = transformation(trees.Group("kernel", rule), rest=rules.AdamW(0.1))
    chain = optax.chain(optax.clip_by_global_norm(1e9), ours)
    params = {"kernel": jax.numpy.eye(3, 2), "bias": jax.numpy.ones(2)}
    grads = {"kernel": jax.numpy.ones((3, 2)), "bias": jax.numpy.ones(2)}

    @jax.jit
    def step(params, state):
        updates, state = chain.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    new, state = step(params, chain.init(params))
    new, state = step(new, state)
    x, own = params["kernel"], rule.init(params["kernel"])
    for _ in range(2):
        x, own = rule.update(x, grads["kernel"], own)
    np.testing.assert_allclose(new["kernel"], x, atol=1e-6)
    np.testing.assert_allclose(new["bias"], 0.8, atol=1e-6)
    with pytest.raises(ValueError, match="params"):
        ours.update(grads, state[1])
    storm = rules.ProximalStorm(0.1, preconditioner=Kappa(2), g=prox.Zero())
    with pytest.raises(NotImplementedError, match="approximate"):
        transformation(rest=storm).init(params)


def test_the_old_path_stays():
    assert import_module("specdesc.backends.torch.optimizer").Optimizer is Optimizer


def test_the_door_of_torch_opens_when_a_name_is_asked_for():
    code = (
        "import sys, specdesc\n"
        "assert dir(specdesc.torch) == ['Muon', 'Optimizer']\n"
        "assert 'torch' not in sys.modules and 'torch' not in specdesc.__all__\n"
        "assert specdesc.torch.Muon.__name__ == 'Muon' and 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="AdamV"):
        _ = specdesc.torch.AdamV


@pytest.mark.parametrize("name", ["torch.optimizer.base", "jax.transformation.base"])
def test_examples(name):
    pytest.importorskip("torch" if name.startswith("torch") else "optax")
    tried = doctest.testmod(import_module(f"specdesc.backends.{name}"))
    assert (tried.failed, tried.attempted > 3) == (0, True)
