"""What a step does: that of the rule, in place, in the dtype of the parameters, at its price."""

import collections

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from specdesc.backends.torch import BFLOAT16  # noqa: E402
from torch.multiprocessing.reductions import StorageWeakRef  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from specdesc import backends, norms, preconditioners, prox, rules, schedules, trees  # noqa: E402
from specdesc.torch import Optimizer  # noqa: E402
from tests.torch.nets import INPUT, backward, net, same, train, values  # noqa: E402

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

RULES = {
    "Muon": rules.Muon(0.02, weight_decay=0.3),
    "Muon, no look ahead": rules.Muon(0.02, nesterov=False, scale="none"),
    "Muon, heavy ball": rules.Muon(0.02, momentum="heavy_ball", weight_decay=0.1),
    "Muon, corrected": rules.Muon(0.02, momentum="ema_corrected"),
    "Muon, independent": rules.Muon(0.02, weight_decay=0.1, decay="independent"),
    "Muon, cautious": rules.Muon(0.02, weight_decay=0.3, decay="cautious"),
    "Muon, in the gradient": rules.Muon(0.02, weight_decay=0.3, decay="l2"),
    "Muon, Frank-Wolfe": rules.Muon(0.02, weight_decay=0.3, decay="frank_wolfe"),
    "Muon, a schedule": rules.Muon(schedules.geometric(0.1, 0.5)),
    "AdamW": rules.AdamW(0.01, weight_decay=0.3),
    "AdamW, no memory": rules.AdamW(0.01, betas=(0.0, 0.0)),
    "AdamW, a schedule": rules.AdamW(schedules.geometric(0.1, 0.5)),
    "Scion": rules.Scion(0.1, norm=norms.Spectral()),
    "SignDescent": rules.SignDescent(0.1, weight_decay=0.1),
    "TruncatedSpectralDescent": rules.TruncatedSpectralDescent(2, 0.1),
    "ProximalSpectral": rules.ProximalSpectral(
        0.1, preconditioner=preconditioners.Kappa(2), g=prox.SpectralBall(1.0)
    ),
}


@pytest.fixture(params=["looks", "looks at nothing"])
def looking(request, monkeypatch):
    """Both ways of a step: a processor's, and that of a device, on which code looks at no value."""
    if request.param != "looks":
        kind = type(backends.load("torch"))
        monkeypatch.setattr(kind, "may_branch", lambda self, x: False)


def parameters(*shapes, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    return {str(i): torch.nn.Parameter(torch.randn(s).to(dtype)) for i, s in enumerate(shapes)}


# --- the mathematics is that of the rule ----------------------------------------------------------


@pytest.mark.parametrize("stack", [True, False, None])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_is_that_of_the_rule(looking, name, dtype, stack):
    """Alone or in a stack, whatever is fused."""
    params = parameters((6, 4), (6, 4), (5, 5), (2, 6, 4), dtype=dtype)
    group = trees.Group("*", RULES[name], view="batched", stack=stack)
    optimizer = Optimizer(params.items(), group)
    points = {key: p.detach().clone() for key, p in params.items()}
    route = trees.route(points, group)
    state = trees.init(points, route)
    for t in range(4):
        grads = {key: 10.0 ** (t - 2) * torch.randn_like(p) for key, p in params.items()}
        for key, p in params.items():
            p.grad = grads[key].clone()
        points, state = trees.update(points, grads, state, route)
        optimizer.step()
        assert all(torch.equal(p.grad, grads[key]) for key, p in params.items())
    limit = 1e-4 if dtype == torch.float32 else 1e-9
    for key, p in params.items():
        torch.testing.assert_close(p.detach(), points[key], atol=limit, rtol=limit)
        for own, value in optimizer.state[p].items():
            theirs = state[f"{key}/{own}"].reshape(value.shape).to(value.device)
            torch.testing.assert_close(value, theirs, atol=limit, rtol=limit)
            assert value.dtype == theirs.dtype


@pytest.mark.parametrize("name", ["Muon", "AdamW", "Scion", "SignDescent"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(looking, name, dtype):
    """As near to the step in float64 as one rounding of point and buffer allows."""
    params = parameters((24, 16), (24, 16), dtype=dtype)
    optimizer = Optimizer(params.items(), rest=RULES[name])
    exact = {key: p.detach().double() for key, p in params.items()}
    states = {key: RULES[name].init(x) for key, x in exact.items()}
    for key, p in params.items():
        p.grad = torch.randn_like(p)
        exact[key], _ = RULES[name].update(exact[key], p.grad.double(), states[key])
    optimizer.step()
    eps = torch.finfo(dtype).eps
    for key, p in params.items():
        error = (p.detach().double() - exact[key]).abs()
        # The factor itself is good to a few eps of its norm.
        assert (error <= 0.75 * eps * exact[key].abs() + 0.1 * 8 * eps).all()


def test_skipped_parameters_are_not_counted():
    params = parameters((3, 3), (3, 3))
    optimizer = Optimizer(params.items(), rest=rules.AdamW(0.1))
    for grads in ((1, None), (1, 1), (None, 1)):
        for p, g in zip(params.values(), grads, strict=True):
            p.grad = None if g is None else torch.ones_like(p)
        optimizer.step()
    assert [int(optimizer.state[p]["t"]) for p in params.values()] == [2, 2]
    # Gradients of one sign all along: every step has the length of the rate.
    for p, q in zip(params.values(), parameters((3, 3), (3, 3)).values(), strict=True):
        torch.testing.assert_close(p.detach(), q.detach() - 0.2)


# --- gradients of every kind ----------------------------------------------------------------------


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("name", ["Muon", "AdamW", "Scion", "SignDescent"])
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_in_its_matrix(looking, name, stack, broken):
    params = parameters((4, 3), (4, 3))
    group = trees.Group("*", RULES[name], stack=stack)
    optimizer = Optimizer(params.items(), group)
    for p in params.values():
        p.grad = torch.ones_like(p)
    params["0"].grad[1, 1] = broken
    optimizer.step()
    if not (name == "SignDescent" and broken == float("inf")):
        assert params["0"].isnan().all()
    assert params["1"].isfinite().all()


@pytest.mark.parametrize("size", [1e-30, 1e-18, 1e17, 1e30])
def test_adamw_takes_gradients_of_every_size(looking, size):
    params = parameters((4, 3), (5,))
    before = [p.detach().clone() for p in params.values()]
    optimizer = Optimizer(params.items(), rest=rules.AdamW(0.1, eps=1e-35))
    for _ in range(3):
        for p in params.values():
            p.grad = torch.full_like(p, size)
        optimizer.step()
    for p, x in zip(params.values(), before, strict=True):
        torch.testing.assert_close(p.detach(), x - 0.3)


@pytest.mark.skipif(not hasattr(torch.Tensor, "grad_dtype"), reason="torch has no grad_dtype")
@pytest.mark.parametrize("name", ["Muon", "AdamW", "Scion"])
@pytest.mark.parametrize(
    ("dtype", "grad_dtype"), [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)]
)
def test_gradients_of_another_dtype(looking, name, dtype, grad_dtype):
    model, other = net(dtype=dtype), net(dtype=dtype)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        p.grad_dtype = grad_dtype
        p.grad = torch.randn(p.shape).bfloat16().to(grad_dtype)
        q.grad = p.grad.to(dtype)
    for each in (model, other):
        Optimizer(each, rest=RULES[name]).step()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q)
        assert p.dtype == dtype


@pytest.mark.parametrize("name", ["Muon", "AdamW", "Scion", "ProximalSpectral"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_model_that_is_cast_goes_on(name, dtype):
    model = net()
    optimizer = Optimizer(model, rest=RULES[name])
    train(model, optimizer)
    before = values(model.to(dtype))
    train(model, optimizer)
    assert not any(torch.equal(a, b) for a, b in zip(before, values(model), strict=True))
    assert all(p.dtype == dtype for p in model.parameters())


@pytest.mark.parametrize("name", ["AdamW", "Muon"])
def test_sparse_gradients_are_named(name):
    layer = torch.nn.Embedding(10, 6, sparse=True)
    optimizer = Optimizer(layer, rest=RULES[name])
    layer(torch.arange(4)).sum().backward()
    with pytest.raises(TypeError, match=r"gradient of 'weight' is sparse.*sparse=False"):
        optimizer.step()


@pytest.mark.parametrize("name", ["Muon", "AdamW", "Scion", "TruncatedSpectralDescent"])
def test_autocast_around_the_step_changes_nothing(name):
    params, others = (parameters((20, 20), (30, 20)) for _ in range(2))
    for p, q in zip(params.values(), others.values(), strict=True):
        p.grad = torch.randn_like(p)
        q.grad = p.grad.clone()
    Optimizer(params.items(), rest=RULES[name]).step()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Optimizer(others.items(), rest=RULES[name]).step()
    assert all(torch.equal(params[key], others[key]) for key in params)


def test_a_scaler_and_hooks_see_the_step():
    model = net()
    optimizer = Optimizer(model, rest=RULES["Muon"])
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(model(INPUT).square().mean()).backward()
    scaler.step(optimizer)
    other = net()
    train(other, Optimizer(other, rest=RULES["Muon"]))
    assert same(values(model), values(other))
    assert seen == ["before", "after"]


def test_a_compiled_step_is_that_of_an_eager_one():
    model, other = net(), net()
    optimizer = Optimizer(model, rest=RULES["Muon"])
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    torch._dynamo.reset()
    step = torch.compile(optimizer.step, backend=counter)
    eager = Optimizer(other, rest=RULES["Muon"])
    for t in range(4):
        optimizer.param_groups[0]["lr"] = eager.param_groups[0]["lr"] = 0.1 / (t + 1)
        backward(model)
        step()
        train(other, eager)
    assert counter.frame_count <= 1
    assert same(values(model), values(other))


@pytest.mark.parametrize("rate", ["a number", "a tensor"])
@pytest.mark.parametrize("name", ["Muon", "Muon, cautious", "AdamW", "Scion", "SignDescent"])
def test_a_step_that_can_be_captured_reads_nothing_on_the_host(name, rate, monkeypatch):
    """Counts are where the parameters are, and the steps are those of other times."""
    monkeypatch.setattr(type(backends.load("torch")), "may_branch", lambda self, x: False)
    params, others = (parameters((6, 4), (6, 4), (5, 5)) for _ in range(2))
    optimizer = Optimizer(params.items(), rest=RULES[name], capturable=True)
    plain = Optimizer(others.items(), rest=RULES[name])
    if rate == "a tensor":
        optimizer.param_groups[0]["lr"] = torch.tensor(0.5)
        plain.param_groups[0]["lr"] = 0.5
    for t in range(3):
        for p, q in zip(params.values(), others.values(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        with Calls() as seen:
            optimizer.step()
        plain.step()
        assert t == 0 or seen.calls["aten::_local_scalar_dense"] == 0
    for p, q in zip(params.values(), others.values(), strict=True):
        torch.testing.assert_close(p, q)
        assert optimizer.state[p]["t"] == 3


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["Muon", "AdamW", "Scion"])
def test_a_step_in_a_graph_of_the_device(name):
    params, others = (
        {
            key: torch.nn.Parameter(p.detach().cuda())
            for key, p in parameters((64, 48), (9, 7)).items()
        }
        for _ in range(2)
    )
    optimizer = Optimizer(params.items(), rest=RULES[name], capturable=True)
    plain = Optimizer(others.items(), rest=RULES[name])
    for p, q in zip(params.values(), others.values(), strict=True):
        p.grad = torch.randn_like(p)
        q.grad = p.grad
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for _ in range(4):
        graph.replay()
    for _ in range(7):
        plain.step()
    for p, q in zip(params.values(), others.values(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-4, rtol=1e-4)


# --- the price ------------------------------------------------------------------------------------


class Calls(TorchDispatchMode):
    """Count the operations of a step, and the bytes that it holds at once beside what was there."""

    def __init__(self):
        super().__init__()
        self.calls = collections.Counter()
        self.there = {}
        self.made = {}
        self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls[function._schema.name] += 1
        for x in tree_leaves((args, kwargs)):
            if isinstance(x, torch.Tensor) and x.untyped_storage()._cdata not in self.made:
                self.there[x.untyped_storage()._cdata] = x
        result = function(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and x.untyped_storage()._cdata not in self.there:
                self.made[x.untyped_storage()._cdata] = (
                    StorageWeakRef(x.untyped_storage()),
                    x.nbytes,
                )
        self.made = {key: each for key, each in self.made.items() if not each[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.made.values()))
        return result


class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.other = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (torch.nn.Linear(width, width) for _ in range(4))
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)


def transformer(width=128, layers=3):
    torch.manual_seed(0)
    parts = {
        "wte": torch.nn.Embedding(96, width),
        "h": torch.nn.ModuleList(Block(width) for _ in range(layers)),
        "head": torch.nn.Linear(width, 96, bias=False),
    }
    model = torch.nn.ModuleDict(parts)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    return model


def calls_of(*optimizers):
    for optimizer in optimizers:
        optimizer.step()
    with Calls() as seen:
        for optimizer in optimizers:
            optimizer.step()
    return seen


def test_a_step_calls_no_more_than_that_of_torch():
    """Three layers of width 128: Muon for the matrices of blocks, AdamW for the rest."""
    muon = pytest.importorskip("torch.optim._muon", reason="this torch has no Muon")
    model = transformer()
    hidden = [p for p in model["h"].parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is q for q in hidden)]
    theirs = calls_of(muon.Muon(hidden), torch.optim.AdamW(others))
    model = transformer()
    matrices = trees.Group("h.*", rules.Muon(0.02, weight_decay=0.1), ndim=2)
    ours = calls_of(Optimizer(model, matrices, rest=rules.AdamW(1e-3, weight_decay=0.1)))
    assert sum(ours.calls.values()) <= sum(theirs.calls.values())


@pytest.mark.parametrize("name", ["AdamW", "Muon"])
def test_a_step_holds_no_second_model(name):
    """Of 24 matrices: AdamW a chunk of four, Muon one at a time, its factor and squares."""
    model = torch.nn.ModuleList(torch.nn.Linear(256, 256, bias=False) for _ in range(24))
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    rule = rules.AdamW(1e-3) if name == "AdamW" else rules.Muon(0.02, method="newton-schulz")
    group = trees.Group("*", rule, stack=None if name == "AdamW" else False)
    seen = calls_of(Optimizer(model.named_parameters(), group))
    one = 4 * 256 * 256
    assert seen.peak <= (4 if name == "AdamW" else 6) * one


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_stacks_have_a_size_at_most(dtype):
    """What a step holds at once does not grow with the number of layers."""
    native = dtype == "bfloat16" and BFLOAT16
    size = 4 * 2**19 * (0.5 if native else 1.0)
    # A processor without products of bfloat16 multiplies in float32 what was rounded once.
    copies = 5.51 if dtype == "bfloat16" and not native else 5.01
    for layers in (40, 80):
        model = torch.nn.ModuleList(torch.nn.Linear(128, 128, bias=False) for _ in range(layers))
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        rule = rules.Muon(0.02, method="newton-schulz", dtype=dtype)
        seen = calls_of(Optimizer(model, rest=rule))
        # The stack, its factor and squares; a stack of wide numbers that becomes a narrow one.
        assert seen.peak <= copies * size


def test_sections_of_many_layers_are_stacked_by_their_kind():
    """Queries with queries, keys and values together: as many calls as for three parameters."""
    every = []
    for cut in (True, False):
        shapes = [(48, 16)] * 4 if cut else [(32, 16)] * 4 + [(8, 16)] * 8
        params = parameters(*shapes)
        for p in params.values():
            p.grad = torch.randn_like(p)
        group = trees.Group("*", rules.Muon(0.02), sections=(32, 8, 8) if cut else None)
        seen = calls_of(Optimizer(params.items(), group))
        every.append(sum(n for name, n in seen.calls.items() if "svd" in name or "mm" in name))
    assert every[0] == every[1] > 0


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rates_of_numpy_are_numbers(kind):
    model = net()
    optimizer = Optimizer(model, rest=RULES["Muon"])
    optimizer.param_groups[0]["lr"] = kind(0.5)
    train(model, optimizer)
