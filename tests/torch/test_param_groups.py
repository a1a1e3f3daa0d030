"""`param_groups` is the only truth: what stands there is what the next step does."""

import math

import pytest

torch = pytest.importorskip("torch")

from specdesc import preconditioners, prox, rules, schedules, trees  # noqa: E402
from specdesc.torch import Optimizer  # noqa: E402
from tests.torch.nets import backward, length, net, same, train, values  # noqa: E402


def optimizer_of(model, step=0.02, **options):
    matrices = trees.Group("*.weight", rules.Muon(step, **options))
    return Optimizer(model.named_parameters(), matrices, rest=rules.AdamW(1e-3))


# --- what a group shows ---------------------------------------------------------------------------


def test_groups_show_the_numbers_of_their_rules_in_the_order_given():
    model = net()
    first, second, rest = Optimizer(
        model.named_parameters(),
        trees.Group("2.weight", rules.Scion(0.5, beta=0.8)),
        trees.Group("0.weight", rules.Muon(0.02, beta=0.9, weight_decay=0.1)),
        rest=rules.AdamW(1e-3, betas=(0.8, 0.9), eps=1e-7),
    ).param_groups
    assert (first["lr"], first["weight_decay"], first["momentum"]) == (0.5, 0.0, 0.8)
    assert (second["lr"], second["weight_decay"], second["momentum"]) == (0.02, 0.1, 0.9)
    assert (rest["lr"], rest["weight_decay"]) == (1e-3, 0.0)
    assert (rest["betas"], rest["eps"]) == ((0.8, 0.9), 1e-7)
    assert [g["name"] for g in (first, second, rest)] == ["2.weight", "0.weight", "rest"]
    assert [g["param_names"] for g in (first, second)] == [["2.weight"], ["0.weight"]]
    assert rest["param_names"] == ["0.bias", "2.bias"]


def test_groups_of_one_pattern_have_names_of_their_own():
    model = net()
    groups = [trees.Group("*", rules.Muon(0.1), ndim=n, view="whole") for n in (1, 2)]
    names = [g["name"] for g in Optimizer(model.named_parameters(), *groups).param_groups]
    assert len(set(names)) == 2
    dicts = [{"params": [p], "rule": rules.AdamW(0.1)} for p in model.parameters()]
    names = [group["name"] for group in Optimizer(dicts).param_groups]
    assert names == ["AdamW", "AdamW (2)", "AdamW (3)", "AdamW (4)"]


#: A number of a group, and the rule that it makes.
CHANGES = {
    "lr": (rules.Muon(0.02), {"lr": 0.05}, rules.Muon(0.05)),
    "weight decay": (rules.Muon(0.02), {"weight_decay": 0.5}, rules.Muon(0.02, weight_decay=0.5)),
    "momentum": (rules.Muon(0.02), {"momentum": 0.5}, rules.Muon(0.02, beta=0.5)),
    "nesterov": (rules.Muon(0.02), {"nesterov": False}, rules.Muon(0.02, nesterov=False)),
    "betas": (rules.AdamW(0.1), {"betas": (0.5, 0.6)}, rules.AdamW(0.1, betas=(0.5, 0.6))),
    "eps": (rules.AdamW(0.1), {"eps": 0.5}, rules.AdamW(0.1, eps=0.5)),
    "of Scion": (rules.Scion(0.1), {"lr": 0.3, "momentum": 0.2}, rules.Scion(0.3, beta=0.2)),
    "of signs": (
        rules.SignDescent(0.1),
        {"lr": 0.3, "weight_decay": 0.2},
        rules.SignDescent(0.3, weight_decay=0.2),
    ),
    "a tensor": (rules.Muon(0.02), {"lr": torch.tensor(0.5)}, rules.Muon(0.5)),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("when", ["at once", "later", "in a dict"])
def test_what_is_written_is_what_is_done(name, when):
    rule, numbers, made = CHANGES[name]
    model, expected = net(), net()
    if when == "in a dict":
        group = {"params": model.named_parameters(), "rule": rule, "view": "whole", **numbers}
        optimizer = Optimizer([group])
    else:
        optimizer = Optimizer(model.named_parameters(), rest=rule)
    other = Optimizer(expected.named_parameters(), rest=made)
    if when == "later":
        other.param_groups[0].update({key: optimizer.param_groups[0][key] for key in numbers})
        train(model, optimizer)
        train(expected, other)
        other.param_groups[0].update(numbers)
    optimizer.param_groups[0].update(numbers)
    train(model, optimizer, 2)
    train(expected, other, 2)
    for p, q in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize(
    ("rule", "change", "error"),
    [
        (rules.Muon(0.02), {"weight_deacy": 0.1}, "unknown key 'weight_deacy'"),
        (rules.Muon(0.02), {"betas": (0.9, 0.99)}, "has no betas"),
        (rules.Scion(0.02), {"weight_decay": 0.1}, "has no weight_decay"),
        (rules.AdamW(0.02), {"nesterov": True}, "has no nesterov"),
        (rules.SignDescent(0.02), {"momentum": 0.9}, "has no beta"),
        (rules.Muon(0.02), {"lr": -1.0}, "step must be"),
        (rules.Muon(0.02), {"lr": "fast"}, "lr must be a number"),
        (rules.AdamW(0.02), {"betas": 0.9}, "betas must be two numbers"),
        (rules.AdamW(0.02), {"betas": (0.9, 1.5)}, "betas must be two numbers in"),
        (rules.Muon(0.02), {"differentiable": True}, "differentiable"),
        (rules.Muon(schedules.geometric(0.1, 0.5)), {"capturable": True}, "capturable"),
        (rules.Muon(0.02), {"fused": True}, "fused"),
    ],
)
@pytest.mark.parametrize("when", ["at the step", "in a dict"])
def test_what_has_no_meaning_is_refused_by_name(rule, change, error, when):
    model = net()
    before = values(model)
    if when == "in a dict":
        params = [(n, p) for n, p in model.named_parameters() if p.ndim == 2]
        with pytest.raises((TypeError, ValueError), match=error):
            Optimizer([{"params": params, "rule": rule, **change}])
        return
    optimizer = Optimizer(model.named_parameters(), rest=rule)
    optimizer.param_groups[0].update(change)
    backward(model)
    with pytest.raises((TypeError, ValueError), match=error):
        optimizer.step()
    assert same(before, values(model))


def test_a_hint_that_changes_no_result_is_taken():
    model = net()
    optimizer = optimizer_of(model)
    optimizer.param_groups[0].update(foreach=True, maximize=False, differentiable=False)
    train(model, optimizer)


def test_maximize_climbs():
    model, other = net(), net()
    train(model, Optimizer(model.named_parameters(), rest=rules.Muon(0.02), maximize=True))
    loss = backward(other, scale=-1.0)
    Optimizer(other.named_parameters(), rest=rules.Muon(0.02)).step()
    assert same(values(model), values(other))
    assert -backward(other, scale=-1.0) > -loss


# --- parameters that come, go and change ----------------------------------------------------------


def test_parameters_that_are_swapped_removed_or_frozen():
    model, new = net(), torch.nn.Parameter(torch.ones(8, 16))
    optimizer = optimizer_of(model)
    weights, biases = optimizer.param_groups
    train(model, optimizer)
    weights["params"][0] = new
    biases["params"].pop()
    model[2].weight.requires_grad_(False)
    new.grad = torch.eye(8, 16)
    before = values(model)
    backward(model)
    model[2].weight.grad = None
    optimizer.step()
    moved = [
        not torch.equal(a, b)
        for a, b in zip(before, (p.detach() for p in model.parameters()), strict=True)
    ]
    assert moved == [False, True, False, False]
    torch.testing.assert_close(new.detach(), 1 - 0.02 * torch.eye(8, 16))


def test_a_parameter_that_is_appended_is_trained():
    """Without a name: its group goes by order then, in the route and in checkpoints."""
    model, new = net(), torch.nn.Parameter(torch.zeros(3, 3))
    optimizer = optimizer_of(model)
    optimizer.param_groups[0]["params"].append(new)
    new.grad = torch.eye(3)
    backward(model)
    optimizer.step()
    torch.testing.assert_close(new.detach(), -0.02 * torch.eye(3))
    assert "by their order" in str(optimizer.route)
    optimizer.load_state_dict(optimizer.state_dict())
    wrong = torch.nn.Parameter(torch.zeros(3))
    wrong.grad = torch.ones(3)
    optimizer.param_groups[0]["params"].append(wrong)
    with pytest.raises(ValueError, match=r"needs two axes, got shape \(3,\)"):
        optimizer.step()


def test_the_route_follows_the_groups():
    model = net()
    optimizer = optimizer_of(model)
    optimizer.param_groups[0]["params"].pop()
    optimizer.param_groups[0]["param_names"].pop()
    assert [entry.path for entry in optimizer.route.entries] == ["0.weight", "0.bias", "2.bias"]


def test_a_group_is_added_with_a_rule_or_gets_the_rest():
    model, more = net(), net(1)
    optimizer = optimizer_of(model)
    optimizer.add_param_group({"params": more[0].weight, "rule": rules.SignDescent(0.1)})
    optimizer.add_param_group({"params": [more[0].bias], "lr": 0.2})
    before = values(more)
    backward(more)
    optimizer.step()
    torch.testing.assert_close(
        more[0].weight.detach(), before[0] - 0.1 * more[0].weight.grad.sign()
    )
    torch.testing.assert_close(
        more[0].bias.detach(), before[1] - 0.2 * more[0].bias.grad.sign(), atol=1e-4, rtol=0
    )
    assert [g["name"] for g in optimizer.param_groups][2:] == ["SignDescent", "rest (2)"]
    with pytest.raises(ValueError, match="given again"):
        optimizer.add_param_group({"params": [more[0].bias]})


def test_parameters_are_told_apart_by_object():
    one, other = net(), net(1)
    optimizer = Optimizer(
        [*one.named_parameters(), *other.named_parameters()],
        trees.Group("*.weight*", rules.Muon(0.02)),
        rest=rules.AdamW(1e-3),
    )
    before = values(one), values(other)
    backward(one)
    backward(other)
    optimizer.step()
    for old, model in zip(before, (one, other), strict=True):
        assert not any(torch.equal(a, b) for a, b in zip(old, values(model), strict=True))
    with pytest.raises(ValueError, match="as 'a' and as 'b'"):
        Optimizer([("a", one[0].weight), ("b", one[0].weight)], rest=rules.AdamW(0.1))


# --- schedulers of torch --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5), [0.02, 0.01, 0.005]),
        (
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 2, eta_min=0.01),
            [0.02, 0.015, 0.01],
        ),
        (
            lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.03, step_size_up=1),
            [0.01, 0.03, 0.01],
        ),
        (
            lambda o: torch.optim.swa_utils.SWALR(
                o, 0.01, anneal_epochs=2, anneal_strategy="linear"
            ),
            [0.02, 0.015, 0.01],
        ),
    ],
)
def test_schedulers_mean_the_numbers_that_are_typed(make, expected):
    model = net()
    optimizer = Optimizer(model.named_parameters(), rest=rules.Muon(0.02, scale="none"))
    scheduler = make(optimizer)
    for lr in expected:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(lr)
        assert scheduler.get_last_lr()[0] == pytest.approx(lr)
        before = model[0].weight.detach().clone()
        backward(model)
        optimizer.step()
        scheduler.step()
        assert length(before, model[0].weight) == pytest.approx(lr, rel=1e-3)


def test_a_plateau_has_a_floor():
    model = net()
    optimizer = optimizer_of(model)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.1, patience=0, min_lr=[0.004, 1e-4]
    )
    for _ in range(4):
        train(model, optimizer)
        scheduler.step(1.0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.004, 1e-4]


@pytest.mark.parametrize("matrices", [True, False])
@pytest.mark.parametrize("cycle", ["OneCycleLR", "CyclicLR"])
def test_momentum_is_cycled(cycle, matrices):
    """By default, in groups of Muon and of AdamW and of rules without momentum alike."""
    model, expected = net(), net()
    groups = (
        trees.Group("0.weight", rules.Muon(0.02) if matrices else rules.AdamW(0.02)),
        trees.Group("2.weight", rules.SignDescent(0.02)),
    )
    optimizer = Optimizer(model.named_parameters(), *groups, rest=rules.AdamW(1e-3))
    options = {"max_lr": 0.05, "max_momentum": 0.8, "base_momentum": 0.6}
    if cycle == "OneCycleLR":
        options |= {"total_steps": 6}
    else:
        options |= {"base_lr": 0.01, "step_size_up": 2}
    if not matrices:
        # Torch asks for betas in every group as soon as one has them, and none has momentum.
        groups = (groups[0],)
        optimizer = Optimizer(model.named_parameters(), *groups, rest=rules.AdamW(1e-3))
    scheduler = getattr(torch.optim.lr_scheduler, cycle)(optimizer, **options)
    seen = []
    for _ in range(4):
        group = optimizer.param_groups[0]
        seen.append(group["momentum"] if matrices else group["betas"][0])
        train(model, optimizer)
        scheduler.step()
    assert max(seen) == pytest.approx(0.8)
    assert min(seen) < 0.7
    # The first step of all has lr and momentum of the cycle.
    lr = 0.05 / 25 if cycle == "OneCycleLR" else 0.01
    for i, p in ((0, expected[0].weight), (1, expected[0].bias)):
        before = p.detach().clone()
        backward(expected)
        rule = (
            rules.Muon(lr, beta=0.8) if matrices and i == 0 else rules.AdamW(lr, betas=(0.8, 0.999))
        )
        x = before if p.ndim == 2 else before[:, None]
        y, _ = rule.update(x, p.grad.reshape(x.shape), rule.init(x))
        fresh = net()
        opt = Optimizer(fresh.named_parameters(), *groups, rest=rules.AdamW(1e-3))
        getattr(torch.optim.lr_scheduler, cycle)(opt, **options)
        train(fresh, opt)
        torch.testing.assert_close(list(fresh.parameters())[i].detach(), y.reshape(p.shape))


def test_a_schedule_is_shown_and_no_scheduler_may_write_over_it():
    model = net()
    rule = rules.Muon(schedules.geometric(0.1, 0.5), scale="none")
    optimizer = Optimizer(model.named_parameters(), rest=rule)
    for lr in (0.1, 0.05, 0.025):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(lr)
        before = model[0].weight.detach().clone()
        train(model, optimizer)
        assert length(before, model[0].weight) == pytest.approx(lr, rel=1e-3)
    optimizer.param_groups[0]["lr"] = 0.1
    with pytest.raises(ValueError, match="schedule"):
        train(model, optimizer)
    other = Optimizer(net().named_parameters(), rest=rule)
    torch.optim.lr_scheduler.StepLR(other, 1, 1.0)
    with pytest.raises(ValueError, match="driven by a scheduler"):
        other.step()


def test_a_schedule_that_needs_the_loss_shows_no_number():
    model = net()
    rule = rules.SpectralDescent(schedules.polyak(optimum=0.0))
    groups = trees.Group("0.weight", rule), trees.Group("*", None)
    optimizer = Optimizer(model.named_parameters(), *groups)
    assert math.isnan(optimizer.param_groups[0]["lr"])
    x = model[0].weight.detach().clone()
    loss = optimizer.step(lambda: backward(model))
    expected, _ = rule.update(x, model[0].weight.grad, rule.init(x), value=loss.detach())
    torch.testing.assert_close(model[0].weight.detach(), expected)


# --- ways in --------------------------------------------------------------------------------------


def test_parameters_without_names_are_routed_by_shape():
    model, named = net(), net()
    group = trees.Group("*", rules.Muon(0.02), ndim=2)
    optimizer = Optimizer(model.parameters(), group, rest=rules.AdamW(1e-3))
    train(model, optimizer)
    train(named, Optimizer(named.named_parameters(), group, rest=rules.AdamW(1e-3)))
    assert same(values(model), values(named))
    assert "param_names" not in optimizer.param_groups[0]
    assert "by their order, and routed by shape" in str(optimizer.route)
    assert "by their order" not in str(optimizer_of(net()).route)


def test_dict_groups_are_routed_and_keep_their_numbers():
    model = net()
    named = list(model.named_parameters())
    optimizer = Optimizer(
        [{"params": named[:2]}, {"params": named[2:], "weight_decay": 0.5}],
        trees.Group("*.weight", rules.Muon(0.02)),
        rest=rules.AdamW(1e-3),
    )
    assert [(g["param_names"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (["0.weight"], 0.0),
        (["0.bias"], 0.0),
        (["2.weight"], 0.5),
        (["2.bias"], 0.5),
    ]


def test_any_option_of_a_rule_may_stand_in_a_dict():
    """It becomes one of the rule; numbers go by either name."""
    options = {"method": "newton-schulz", "decay": "cautious", "beta": 0.5, "lr": 0.3}
    (group,) = Optimizer(
        [{"params": [net()[0].weight], "rule": rules.Muon(0.1), **options}]
    ).param_groups
    assert (group["rule"].method, group["rule"].decay) == ("newton-schulz", "cautious")
    assert (group["momentum"], group["lr"]) == (0.5, 0.3)
    assert "method" not in group


def test_views_of_every_kind():
    """Convolutions, experts, heads and sections: each step is that of the rule on its matrices."""
    torch.manual_seed(0)
    shapes = {"conv": (6, 2, 3, 2), "experts": (3, 4, 5), "heads": (6, 4), "out": (4, 6)}
    views = {"conv": "flatten", "experts": "batched", "heads": "heads=2", "out": "heads=2,axis=1"}
    for rule in (rules.Muon(0.1), rules.Scion(0.1), rules.SpectralDescent(0.1)):
        params = {key: torch.nn.Parameter(torch.randn(shape)) for key, shape in shapes.items()}
        params["qkv"] = torch.nn.Parameter(torch.randn(10, 4))
        groups = [trees.Group(key, rule, view=view) for key, view in views.items()]
        groups.append(trees.Group("qkv", rule, sections=(6, 2, 2)))
        optimizer = Optimizer(params.items(), *groups)
        points = {key: p.detach().clone() for key, p in params.items()}
        route = trees.route(points, *groups)
        state = trees.init(points, route)
        for _ in range(3):
            grads = {key: torch.randn_like(p) for key, p in params.items()}
            for key, p in params.items():
                p.grad = grads[key]
            points, state = trees.update(points, grads, state, route)
            optimizer.step()
        for key, p in params.items():
            torch.testing.assert_close(p.detach(), points[key])
            for buffer in optimizer.state[p].values():
                assert buffer.ndim == 0 or buffer.shape == p.shape


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda m: Optimizer(m.named_parameters(), rules.Muon(0.02)), "trees.Group"),
        (lambda m: Optimizer(m.named_parameters()), "write rest="),
        (lambda m: Optimizer(m.named_parameters(), rest=rules.Muon), "rest must be a rule"),
        (lambda m: Optimizer(m.named_parameters(), rest=0.1), "rest must be a rule"),
        (lambda m: Optimizer([], rest=rules.AdamW(0.1)), "no parameters"),
        (lambda m: Optimizer(m[0].weight, rest=rules.AdamW(0.1)), "named_parameters"),
        (lambda m: Optimizer("weights", rest=rules.AdamW(0.1)), "named_parameters"),
        (lambda m: Optimizer(["weights"], rest=rules.AdamW(0.1)), "must be tensors"),
        (lambda m: Optimizer([{"lr": 0.1}], rest=rules.AdamW(0.1)), "'params'"),
        (lambda m: Optimizer([{"params": set(m.parameters())}], rest=rules.AdamW(1)), "a list"),
        (lambda m: Optimizer([2 * m[0].weight], rest=rules.AdamW(0.1)), "computation"),
        (
            lambda m: Optimizer(m.named_parameters(), trees.Group("*", rules.Muon(0.02))),
            "'0.bias'.* needs two axes",
        ),
        (lambda m: Optimizer([{"params": m.parameters(), "rule": "muon"}]), "rules.Muon"),
        (lambda m: Optimizer(m, rest=rules.AdamW(0.1)).add_param_group([m[0].weight]), "a dict"),
    ],
)
def test_wrong_calls_say_what_to_write(call, error):
    with pytest.raises((TypeError, ValueError), match=error):
        call(net())


def test_a_rule_that_does_not_fit_a_parameter_names_it():
    rule = rules.TruncatedSpectralDescent(6, 0.1)
    with pytest.raises(ValueError, match=r"'2\.weight': rank must"):
        Optimizer(net(), trees.Group("*.weight", rule), rest=rules.AdamW(1), init_states=True)


def test_frozen_groups_stay():
    model = net()
    groups = trees.Group("*.bias", None), trees.Group("0.weight", None)
    optimizer = Optimizer(model, *groups, rest=rules.Muon(0.1))
    before = values(model)
    train(model, optimizer, 2)
    moved = [not torch.equal(a, b) for a, b in zip(before, values(model), strict=True)]
    assert moved == [False, False, True, False]


def test_a_rule_with_a_prox_keeps_its_constraint():
    model = net()
    ball = rules.ProximalSpectral(
        0.5, preconditioner=preconditioners.Kappa(2), g=prox.SpectralBall(0.3)
    )
    optimizer = Optimizer(model, trees.Group("*.weight", ball), rest=rules.AdamW(1e-3))
    train(model, optimizer, 4)
    assert torch.linalg.matrix_norm(model[0].weight.detach(), 2) <= 0.3 * (1 + 1e-5)
