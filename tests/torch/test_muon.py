"""Muon in one line, and Muon as torch has it."""

import doctest
import inspect
import pickle
from importlib import import_module

import pytest

torch = pytest.importorskip("torch")

from specdesc import orthogonalize, rules  # noqa: E402
from specdesc.torch import Muon  # noqa: E402
from tests.torch.nets import backward, net, same, train, values  # noqa: E402


class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.attention = torch.nn.MultiheadAttention(width, 2, batch_first=True)
        self.up = torch.nn.Linear(width, 2 * width)
        self.down = torch.nn.Linear(2 * width, width)


class Transformer(torch.nn.Module):
    def __init__(self, width=8, tied=False):
        super().__init__()
        torch.manual_seed(0)
        self.wte = torch.nn.Embedding(20, width)
        self.pos_embed = torch.nn.Parameter(torch.randn(1, 5, width))
        self.h = torch.nn.ModuleList(Block(width) for _ in range(2))
        self.norm = torch.nn.LayerNorm(width)
        self.readout = torch.nn.Linear(width, 20, bias=False)
        if tied:
            self.readout.weight = self.wte.weight


class Vision(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = torch.nn.Conv2d(3, 8, 3)
        self.depthwise = torch.nn.Conv2d(8, 8, 3, groups=8)
        self.grouped = torch.nn.Conv2d(8, 4, 3, groups=2)
        self.up = torch.nn.ConvTranspose2d(4, 6, 2)
        self.norm = torch.nn.BatchNorm2d(6)
        self.experts = torch.nn.Parameter(torch.randn(3, 6, 4))
        self.gate = torch.nn.Linear(6, 1)
        self.classifier = torch.nn.Linear(4, 10)
        self.aside = torch.nn.Linear(10, 5)


def rule_of(optimizer):
    return {entry.path: type(entry.rule).__name__ for entry in optimizer.route.entries}


def view_of(optimizer, path):
    return optimizer.route[path].view.shape


@pytest.mark.parametrize("tied", [True, False])
def test_a_transformer_in_one_line(tied):
    model = Transformer(tied=tied)
    optimizer = Muon(model, lr=0.02, weight_decay=0.1)
    found = rule_of(optimizer)
    assert len(found) == len(list(model.parameters()))
    muon = {name for name, rule in found.items() if rule == "Muon"}
    layers = ("attention.in_proj_weight", "attention.out_proj.weight", "up.weight", "down.weight")
    assert muon == {f"h.{i}.{layer}" for i in range(2) for layer in layers}
    assert view_of(optimizer, "h.0.attention.in_proj_weight") == (3, 8, 8)
    decays = {group["name"]: group["weight_decay"] for group in optimizer.param_groups}
    assert decays["embeddings and heads"] == 0.1
    assert decays["norms and biases"] == 0.0
    assert "embeddings and heads" in str(optimizer.route)
    assert sorted(g["lr"] for g in optimizer.param_groups) == [3e-4, 3e-4, 0.02, 0.02]


def test_layers_of_every_kind_in_one_line():
    model = Vision()
    optimizer = Muon(model, lr=0.02, weight_decay=0.0)
    muon = {name for name, rule in rule_of(optimizer).items() if rule == "Muon"}
    assert muon == {"stem.weight", "grouped.weight", "up.weight", "experts"}
    assert view_of(optimizer, "stem.weight") == (8, 27)
    assert view_of(optimizer, "grouped.weight") == (2, 2, 36)
    assert view_of(optimizer, "up.weight") == (6, 16)
    assert view_of(optimizer, "experts") == (3, 6, 4)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    before = model.up.weight.detach().clone()
    optimizer.step()
    step = (model.up.weight.detach() - before).transpose(0, 1).reshape(6, 16)
    grad = model.up.weight.grad.transpose(0, 1).reshape(6, 16)
    torch.testing.assert_close(step, -0.02 * orthogonalize(grad), atol=1e-5, rtol=1e-3)


def test_what_else_adamw_takes_is_named():
    model = net()
    assert rule_of(Muon(model)) == {
        "0.weight": "Muon",
        "0.bias": "AdamW",
        "2.weight": "AdamW",
        "2.bias": "AdamW",
    }
    assert set(rule_of(Muon(model, adamw="0.*")).values()) == {"AdamW", "Muon"}
    assert set(rule_of(Muon(model, adamw=["*"])).values()) == {"AdamW"}
    with pytest.raises(ValueError, match="adamw='middle' matches no parameter"):
        Muon(model, adamw="middle")


class Conv1D(torch.nn.Module):
    """A linear layer whose weight is (in, out), under the name that it has elsewhere."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(inputs, outputs))


def test_a_layer_with_its_outputs_last_has_their_scale():
    layers = [Conv1D(4, 16), torch.nn.Linear(4, 16, bias=False), torch.nn.Linear(16, 3)]
    optimizer = Muon(torch.nn.Sequential(*layers))
    assert optimizer.route["0.weight"].scale == 2.0
    assert optimizer.route["1.weight"].scale == 2.0


def test_an_image_of_one_channel_has_filters_of_muon():
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(16, 3)]
    assert rule_of(Muon(torch.nn.Sequential(*layers)))["0.weight"] == "Muon"


def test_a_lone_layer_is_no_head():
    assert rule_of(Muon(torch.nn.Linear(4, 3))) == {"weight": "Muon", "bias": "AdamW"}


def test_layers_alike_have_no_head_among_them():
    layers = [torch.nn.Linear(4, 4, bias=False) for _ in range(3)]
    assert set(rule_of(Muon(torch.nn.Sequential(*layers))).values()) == {"Muon"}


def test_one_rate_for_both():
    optimizer = Muon(net(), lr=2e-3, adjust_lr_fn="match_rms_adamw")
    assert {group["lr"] for group in optimizer.param_groups} == {2e-3}
    optimizer = Muon(net(), lr=2e-3, adamw_lr=0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [2e-3, 0.5, 0.5]


def test_groups_are_added_as_they_come():
    optimizer = Muon(net(), lr=0.02)
    optimizer.add_param_group({"params": list(torch.nn.Linear(5, 6).parameters())})
    added = optimizer.param_groups[3:]
    assert [type(group["rule"]) for group in added] == [rules.Muon, rules.AdamW]


def test_the_arguments_are_those_of_torch_in_their_order():
    muon = pytest.importorskip("torch.optim._muon", reason="this torch has no Muon")
    theirs, ours = (inspect.signature(kind).parameters for kind in (muon.Muon, Muon))
    assert list(ours)[: len(theirs)] == list(theirs)
    for name in ("lr", "weight_decay", "momentum", "nesterov", "adjust_lr_fn"):
        assert ours[name].default == theirs[name].default


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 0.02, "weight_decay": 0.3, "momentum": 0.8, "nesterov": False},
        {"lr": torch.tensor(0.02), "adjust_lr_fn": "match_rms_adamw"},
    ],
)
def test_fifty_steps_are_those_of_torch(options, monkeypatch):
    """With our factor in their optimizer."""
    muon = pytest.importorskip("torch.optim._muon", reason="this torch has no Muon")
    monkeypatch.setattr(muon, "_zeropower_via_newtonschulz", lambda x, *_: orthogonalize(x))
    models = net(), net()
    weights = [[p for p in model.parameters() if p.ndim == 2] for model in models]
    optimizers = muon.Muon(weights[0], **options), Muon(weights[1], **options)
    for _ in range(50):
        for model, optimizer in zip(models, optimizers, strict=True):
            backward(model)
            optimizer.step()
    for p, q in zip(*weights, strict=True):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=1e-4)


def test_their_iteration_is_run_where_it_is_asked_for():
    weights = [p for p in net().parameters() if p.ndim == 2]
    ours = Muon(weights, ns_steps=5, ns_coefficients=(3.4445, -4.7750, 2.0315), eps=1e-7)
    assert ours.param_groups[0]["rule"].method == "newton-schulz"
    assert Muon(weights).param_groups[0]["rule"].method == rules.Muon(0.1).method


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda m: Muon(m.parameters()), r"Muon\(model"),
        (lambda m: Muon([m[0].weight], ns_steps=7), "ns_steps=7 is not possible"),
        (lambda m: Muon([m[0].weight], eps=1e-3), "eps=0.001"),
        (lambda m: Muon([m[0].weight], adjust_lr_fn="mine"), "match_rms_adamw"),
        (lambda m: Muon(m, adjust_lr_fn="original", scale="none"), "leave one out"),
        (lambda m: Muon(m, lr=-1.0), "step must be"),
        (lambda m: Muon(m, lr="fast"), "lr must be a number"),
        (lambda m: Muon(m, weight_decay=-0.1), "weight_decay"),
        (lambda m: Muon([m[0].weight], adamw="*"), r"Muon\(model, adamw"),
        (lambda m: Muon(m, wieght_decay=0.1), "wieght_decay"),
        (lambda m: Muon([]), "no parameters"),
    ],
)
def test_wrong_calls_say_what_to_write(call, error):
    with pytest.raises((TypeError, ValueError), match=error):
        call(net())


def test_it_is_pickled_and_its_state_is_torchs():
    model = Vision()
    optimizer = Muon(model, lr=0.02, init_states=True)
    again = pickle.loads(pickle.dumps(optimizer))
    assert repr(again) == repr(optimizer)
    pytest.importorskip("torch.optim._muon", reason="this torch has no Muon")
    layers = net(), net()
    weights = [[p for p in each.parameters() if p.ndim == 2] for each in layers]
    theirs = torch.optim.Muon(weights[0], lr=0.5)
    train(layers[0], theirs)
    ours = Muon(weights[1])
    ours.load_state_dict(theirs.state_dict())
    assert ours.param_groups[0]["lr"] == 0.5
    before = values(layers[1])
    train(layers[1], ours)
    assert not same(before, values(layers[1]))


def test_examples():
    tried = doctest.testmod(import_module("specdesc.backends.torch.optimizer.muon"))
    assert (tried.failed, tried.attempted > 3) == (0, True)
