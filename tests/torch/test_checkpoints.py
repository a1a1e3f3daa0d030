"""Copies, files, and states of other optimizers."""

import copy
import io
import pickle

import pytest

torch = pytest.importorskip("torch")

from specdesc import preconditioners, prox, rules, schedules, trees  # noqa: E402
from specdesc.torch import Muon, Optimizer  # noqa: E402
from tests.torch.nets import backward, length, net, same, train, values  # noqa: E402

RULES = {
    "Muon": rules.Muon(0.02, weight_decay=0.1),
    "a schedule": rules.Muon(schedules.geometric(0.1, 0.5)),
    "Scion": rules.Scion(0.1),
    "AdamW": rules.AdamW(1e-3, weight_decay=0.1),
    "truncated": rules.TruncatedSpectralDescent(2, 0.1),
    "a warm prox": rules.SpectralDescent(0.1, g=prox.Rank(2)),
    "proximal": rules.ProximalSpectral(
        0.1, preconditioner=preconditioners.Kappa(2), g=prox.SpectralBall(1.0)
    ),
}


def optimizer_of(model, rule=RULES["Muon"], **options):
    group = trees.Group("*.weight", rule)
    return Optimizer(model.named_parameters(), group, rest=rules.AdamW(1e-3), **options)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# --- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("way", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_goes_on_by_itself(way, name):
    model = net()
    optimizer = optimizer_of(model, RULES[name])
    train(model, optimizer, 2)
    other, resumed = way((model, optimizer))
    before = values(model)
    train(other, resumed, 2)
    assert same(before, values(model))
    train(model, optimizer, 2)
    assert same(values(other), values(model))
    assert repr(resumed) == repr(optimizer)


def test_an_optimizer_that_is_saved_whole():
    model = net()
    optimizer = optimizer_of(model)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    train(model, optimizer)
    file = io.BytesIO()
    torch.save((model, optimizer), file)
    file.seek(0)
    other, resumed = torch.load(file, weights_only=False)
    train(model, optimizer)
    train(other, resumed)
    assert same(values(model), values(other))


def test_the_repr_shows_rules_and_numbers():
    optimizer = optimizer_of(net())
    optimizer.param_groups[0]["lr"] = 0.125
    text = repr(optimizer)
    assert "Parameter Group 0: *.weight" in text
    assert "rule: Muon(step=0.125, " in text
    assert "lr: 0.125" in text
    assert "AdamW(step=0.001" in text


# --- its own states -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_a_state_resumes_bit_for_bit(name):
    model = net()
    optimizer = optimizer_of(model, RULES[name])
    train(model, optimizer, 2)
    optimizer.param_groups[1]["lr"] = 0.01
    state = through_a_file(optimizer.state_dict())
    other = net(1)
    resumed = optimizer_of(other, RULES[name])
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(state)
    assert [g["lr"] for g in resumed.param_groups] == [g["lr"] for g in optimizer.param_groups]
    train(model, optimizer, 2)
    train(other, resumed, 2)
    assert same(values(model), values(other))


@pytest.mark.parametrize("name", RULES)
def test_states_have_memory_of_their_own_and_are_written_in_place(name):
    model = net()
    optimizer = optimizer_of(model, RULES[name], init_states=True)
    every = [x for p in model.parameters() for x in optimizer.state[p].values()]
    pointers = [x.data_ptr() for x in every]
    assert len(set(pointers)) == len(pointers)
    assert all(x.untyped_storage().nbytes() == x.numel() * x.element_size() for x in every)
    assert all(x.is_contiguous() for x in every)
    points = [p.data_ptr() for p in model.parameters()]
    train(model, optimizer, 2)
    assert [
        x.data_ptr() for p in model.parameters() for x in optimizer.state[p].values()
    ] == pointers
    assert [p.data_ptr() for p in model.parameters()] == points


def test_states_are_made_at_the_first_step_unless_asked_for():
    lazy, eager = net(), net()
    first, second = optimizer_of(lazy), optimizer_of(eager, init_states=True)
    assert not first.state_dict()["state"]
    assert len(second.state_dict()["state"]) == 4
    train(lazy, first, 2)
    train(eager, second, 2)
    assert same(values(lazy), values(eager))


def test_parameters_are_matched_by_name():
    """In another order of modules, in other groups."""
    model = net()
    optimizer = optimizer_of(model)
    train(model, optimizer, 2)
    other = copy.deepcopy(model)
    named = dict(reversed(list(other.named_parameters())))
    resumed = Optimizer(
        named.items(),
        trees.Group("*.bias", rules.AdamW(5.0)),
        trees.Group("2.weight", rules.Muon(5.0)),
        trees.Group("0.weight", rules.Muon(5.0)),
    )
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    assert [g["lr"] for g in resumed.param_groups] == [1e-3, 0.02, 0.02]
    train(model, optimizer)
    train(other, resumed)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda m: Optimizer(m, rest=rules.Scion(0.1)), "has the rule Scion, the state Muon"),
        (lambda m: Optimizer(m[0], rest=rules.AdamW(0.1)), "other parameters"),
        (lambda m: Optimizer(m.parameters(), rest=rules.Muon(0.1)), "groups of"),
        (
            lambda m: Optimizer(m, trees.Group("*.weight", rules.AdamW(1)), rest=rules.Muon(1)),
            "has the rule AdamW, the state Muon",
        ),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(make, error):
    model = net()
    optimizer = optimizer_of(model)
    train(model, optimizer)
    other = make(net())
    before = repr(other)
    with pytest.raises(ValueError, match=error):
        other.load_state_dict(optimizer.state_dict())
    assert repr(other) == before
    assert not other.state


def test_a_state_of_another_shape_is_refused():
    model = torch.nn.Linear(3, 2)
    optimizer = Optimizer(model, rest=rules.Muon(0.1), init_states=True)
    other = Optimizer(torch.nn.Linear(2, 3), rest=rules.Muon(0.1))
    with pytest.raises(ValueError, match=r"'weight' has 'momentum_buffer' of shape \(2, 3\)"):
        other.load_state_dict(optimizer.state_dict())


def test_a_parameter_that_was_taken_out_is_not_in_the_state():
    """It keeps what it has, for the time that it comes back."""
    model = net()
    optimizer = optimizer_of(model)
    train(model, optimizer)
    names, params = (optimizer.param_groups[0][key] for key in ("param_names", "params"))
    name, p = names.pop(), params.pop()
    assert len(optimizer.state_dict()["state"]) == 3
    optimizer.load_state_dict(optimizer.state_dict())
    params.append(p)
    names.append(name)
    train(model, optimizer)
    assert optimizer.state[model[0].weight]["t"] == 2


def test_hooks_on_loading_run():
    model = net()
    optimizer = optimizer_of(model, init_states=True)
    seen = []
    optimizer.register_load_state_dict_pre_hook(lambda o, state: seen.append(len(state["state"])))
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("done"))
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == [4, "done"]


@pytest.mark.parametrize("decay", ["decoupled", "independent"])
def test_asking_for_the_state_changes_nothing(decay):
    from torch.distributed.checkpoint import state_dict as dcp

    model, untouched = net(), net()
    rule = rules.Muon(0.02, weight_decay=0.5, decay=decay)
    groups = (
        trees.Group("0.weight", rule),
        trees.Group(
            "2.weight", rules.SpectralDescent(schedules.geometric(0.1, 0.5), g=prox.Rank(1))
        ),
    )
    optimizer, other = (
        Optimizer(m.named_parameters(), *groups, rest=rules.AdamW(1e-3)) for m in (model, untouched)
    )
    before = values(model)
    state = dcp.get_optimizer_state_dict(model, optimizer)
    assert same(before, values(model))
    assert state["state"]["0.weight"].keys() == {"t", "momentum_buffer"}
    train(model, optimizer, 2)
    train(untouched, other, 2)
    assert same(values(model), values(untouched))
    state = dcp.get_optimizer_state_dict(model, optimizer)
    resumed = net(1)
    resumed.load_state_dict(model.state_dict())
    third = Optimizer(resumed.named_parameters(), *groups, rest=rules.AdamW(1e-3))
    dcp.set_optimizer_state_dict(resumed, third, state)
    train(model, optimizer)
    train(resumed, third)
    assert same(values(model), values(resumed))


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_flat_states_and_files_of_torch(tmp_path):
    import torch.distributed.checkpoint as files
    from torch.distributed.checkpoint import state_dict as dcp

    def layers(seed):
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.Conv2d(4, 4, 3, groups=2))

    model = layers(0)
    optimizer = Muon(model, lr=0.02)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    for flat in (True, False):
        options = dcp.StateDictOptions(flatten_optimizer_state_dict=flat)
        state = {"optimizer": dcp.get_optimizer_state_dict(model, optimizer, options=options)}
        files.save(state, checkpoint_id=tmp_path / str(flat), no_dist=True)
        other = layers(1)
        resumed = Muon(other, lr=5.0)
        state = {"optimizer": dcp.get_optimizer_state_dict(other, resumed, options=options)}
        files.load(state, checkpoint_id=tmp_path / str(flat), no_dist=True)
        dcp.set_optimizer_state_dict(other, resumed, state["optimizer"], options=options)
        assert resumed.param_groups[0]["lr"] == 0.02
        for p, q in zip(model.parameters(), other.parameters(), strict=True):
            for key, value in optimizer.state[p].items():
                assert torch.equal(value, resumed.state[q][key])


# --- states of torch ------------------------------------------------------------------------------


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("scale", [None, "original", "match_rms_adamw"])
def test_muon_of_torch_goes_on(scale, nesterov):
    """With all of its numbers, whatever ours were."""
    muon = pytest.importorskip("torch.optim._muon", reason="this torch has no Muon")
    model = net()
    weights = [(n, p) for n, p in model.named_parameters() if p.ndim == 2]
    theirs = muon.Muon(
        [p for _, p in weights],
        lr=0.05,
        weight_decay=0.2,
        momentum=0.8,
        nesterov=nesterov,
        adjust_lr_fn=scale,
    )
    train(model, theirs, 3)
    name = "adamw_rms" if scale == "match_rms_adamw" else "keller"
    ours = Optimizer(weights, rest=rules.Muon(0.01, scale=name))
    ours.load_state_dict(through_a_file(theirs.state_dict()))
    buffer = theirs.state[model[0].weight]["momentum_buffer"].clone()
    assert torch.equal(ours.state[model[0].weight]["momentum_buffer"], buffer)
    rule = rules.Muon(0.05, weight_decay=0.2, beta=0.8, nesterov=nesterov, scale=name)
    backward(model)
    x, grad = model[0].weight.detach().clone(), model[0].weight.grad
    expected, _ = rule.update(x, grad, {**rule.init(x), "momentum_buffer": buffer})
    ours.step()
    torch.testing.assert_close(model[0].weight.detach(), expected)


@pytest.mark.parametrize("kind", ["AdamW", "Adam"])
def test_adamw_of_torch_goes_on(kind):
    model = net()
    options = {"lr": 2e-3, "betas": (0.8, 0.95), "eps": 1e-6}
    options["weight_decay"] = 0.1 if kind == "AdamW" else 0.0
    theirs = getattr(torch.optim, kind)(model.parameters(), **options)
    train(model, theirs, 3)
    other = copy.deepcopy(model)
    ours = Optimizer(other.named_parameters(), rest=rules.AdamW(0.5))
    ours.load_state_dict(through_a_file(theirs.state_dict()))
    train(model, theirs, 3)
    train(other, ours, 3)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize(
    ("make", "rule", "error"),
    [
        (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), rules.Muon(0.1), "SGD"),
        (lambda p: torch.optim.SGD(p, 0.1), rules.AdamW(0.1), "SGD"),
        (lambda p: torch.optim.AdamW(p, amsgrad=True), rules.AdamW(0.1), "amsgrad"),
        (lambda p: torch.optim.Adam(p, weight_decay=0.1), rules.AdamW(0.1), "weight decay"),
        (torch.optim.AdamW, rules.Muon(0.1), "betas"),
        (torch.optim.RMSprop, rules.AdamW(0.1), "RMSprop"),
        (torch.optim.AdamW, rules.SignDescent(0.1), "betas"),
        (torch.optim.NAdam, rules.AdamW(0.1), "momentum_decay"),
    ],
)
def test_other_optimizers_are_refused(make, rule, error):
    model = net()
    theirs = make(model.parameters())
    train(model, theirs)
    ours = Optimizer(model.named_parameters(), rest=rule)
    with pytest.raises(ValueError, match=error):
        ours.load_state_dict(theirs.state_dict())
    assert not ours.state


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (rules.Muon(0.1, scale="rms_to_rms"), "scale 'keller', ours 'rms_to_rms'"),
        (rules.Muon(0.1, decay="cautious"), "decoupled"),
        (rules.Muon(0.1, momentum="ema_corrected"), "no count of steps"),
        (rules.Scion(0.1), "cannot take over"),
    ],
)
def test_a_muon_that_steps_in_another_way_is_refused(rule, error):
    pytest.importorskip("torch.optim._muon", reason="this torch has no Muon")
    layer = torch.nn.Linear(4, 3, bias=False)
    muon = torch.optim.Muon(layer.parameters(), lr=0.1)
    layer(torch.ones(4)).sum().backward()
    muon.step()
    with pytest.raises(ValueError, match=error):
        Optimizer(layer, rest=rule).load_state_dict(muon.state_dict())


def test_a_state_of_torch_has_its_length():
    """The rate of their group is a step, not a factor on ours."""
    pytest.importorskip("torch.optim._muon", reason="this torch has no Muon")
    layer = torch.nn.Linear(4, 4, bias=False)
    muon = torch.optim.Muon(layer.parameters(), lr=0.3, weight_decay=0.0)
    ours = Optimizer(layer, rest=rules.Muon(0.01))
    ours.load_state_dict(muon.state_dict())
    layer.weight.grad = torch.eye(4)
    before = layer.weight.detach().clone()
    ours.step()
    assert length(before, layer.weight) == pytest.approx(0.3, rel=1e-4)
