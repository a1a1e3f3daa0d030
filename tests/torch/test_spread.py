"""Tensors that are spread over processes: every function, every rule, and what moves."""

import os
import socket
import subprocess
import sys
import textwrap

import pytest

from tests.torch.processes import PRELUDE, run

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch has no processes"
)

FUNCTIONS = """
import specdesc as sd
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
size = dist.get_world_size()
ball, smooth = prox.SpectralBall(0.5), preconditioners.Sqrt(eps=0.1)
FUNCTIONS = {
    "orthogonalize": sd.orthogonalize,
    "full": lambda x: sd.orthogonalize(x, tol=1e-6, full_output=True)[:2],
    "svd": lambda x: sd.orthogonalize(x, method="svd"),
    "newton-schulz": lambda x: sd.orthogonalize(x, method="newton-schulz"),
    "rational": lambda x: sd.orthogonalize(x, method="rational"),
    "polar": lambda x: tuple(sd.polar(x)),
    "spectral_clip": lambda x: sd.spectral_clip(x, 0.5),
    "spectral_map": lambda x: sd.spectral_map(x, torch.sqrt),
    "truncated_svd": lambda x: sd.truncated_svd(x, 3)[1],
    "truncated_spectral_step": lambda x: sd.truncated_spectral_step(x, 3),
    "ball": ball.prox, "value": ball.value, "lmo of a ball": ball.lmo,
    "Nuclear": lambda x: prox.Nuclear(0.1).prox(x, 0.5),
    "FrobeniusBall": prox.FrobeniusBall(0.5).prox, "L1Ball": prox.L1Ball(1.0).prox,
    "L1": prox.L1(0.1).prox,
    "anisotropic": lambda x: prox.Nuclear(0.1).anisotropic_prox(x, 0.5, smooth),
    "Kappa": preconditioners.Kappa(2, normalize=True), "Sqrt": smooth,
    "norm": norms.Nuclear().value, "lmo": norms.Spectral().lmo, "sharp": norms.Nuclear().sharp,
    "rows": norms.Rows().lmo, "max": norms.Max().lmo,
    "proximal_step": lambda x: sd.proximal_step(x, x, 0.1, preconditioner=smooth, g=ball),
}
RULES = [
    rules.Muon(0.02, weight_decay=0.1), rules.Muon(0.02, method="newton-schulz"),
    rules.Muon(0.02, weight_decay=0.1, decay="cautious"), rules.Muon(schedules.geometric(0.1, 0.5)),
    rules.Scion(0.1), rules.Scion(0.1, norm=norms.Max()), rules.SpectralDescent(0.1),
    rules.TruncatedSpectralDescent(1, 0.1), rules.SignDescent(0.1), rules.NormalizedGradient(0.1),
    rules.AdamW(1e-2, weight_decay=0.1), rules.ProximalSpectral(0.1, preconditioner=smooth, g=ball),
]
def of_rule(rule):
    def steps(x):
        grad, state = 0.3 * x + 0.1, rule.init(x)
        for _ in range(3):
            x, state = rule.update(x, grad, state)
            grad = 0.7 * grad + 0.1 * x
        return (x, *[value for key, value in sorted(state.items()) if key != "t"])
    return steps
def check_all(functions, layouts, shapes):
    for shape in shapes:
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(shape, dtype=torch.float64, generator=generator)
        for own, cuts in layouts:
            starts = (0,) if len(shape) == 2 else (0, 1)
            for start in starts:
                places = [Shard(p.dim + start) if isinstance(p, Shard) else p for p in cuts]
                for name, function in functions.items():
                    expected, actual = function(x), function(distribute_tensor(x, own, places))
                    expected, actual = (
                        y if isinstance(y, tuple) else (y,) for y in (expected, actual)
                    )
                    for y, z in zip(actual, expected, strict=True):
                        where = (name, shape, places)
                        assert isinstance(y, DTensor), where
                        if tuple(y.shape) == shape:
                            assert list(y.placements) == places, where
                        loose = name in ("full", "newton-schulz")
                        # Another plan of the same accuracy where code may not look.
                        atol = 1e-5 if loose else 1e-9
                        torch.testing.assert_close(
                            y.full_tensor(), z, atol=atol, rtol=0, msg=lambda m: f"{where}: {m}"
                        )
"""


@pytest.mark.slow
def test_every_function_and_rule_on_two_processes(tmp_path):
    """By rows, by columns, on both; uneven, stacks, long matrices; out as cut as in."""
    run(
        tmp_path,
        FUNCTIONS
        + """
layouts = [(mesh, [Shard(0)]), (mesh, [Shard(1)]), (mesh, [Replicate()])]
shapes = [(13, 7), (7, 13), (3, 9, 7), (64, 7)]
check_all(FUNCTIONS | {repr(rule): of_rule(rule) for rule in RULES}, layouts, shapes)
""",
        timeout=500,
    )


@pytest.mark.slow
def test_functions_on_four_processes_in_a_square(tmp_path):
    """A mesh of two by two, and processes that have no part of a matrix."""
    run(
        tmp_path,
        FUNCTIONS
        + """
square = init_device_mesh("cpu", (2, 2))
layouts = [
    (square, [Shard(0), Shard(1)]), (square, [Shard(0), Shard(0)]),
    (square, [Replicate(), Shard(1)]), (mesh, [Shard(0)]),
]
some = ("orthogonalize", "polar", "spectral_clip", "truncated_spectral_step", "value", "L1")
functions = {name: FUNCTIONS[name] for name in some}
functions |= {repr(rule): of_rule(rule) for rule in (RULES[0], RULES[4], RULES[7], RULES[10])}
check_all(functions, layouts, [(3, 9, 7)])
""",
        count=4,
        timeout=500,
    )


# --- the optimizer -------------------------------------------------------------------------------

MODEL = """
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.utils._python_dispatch import TorchDispatchMode
class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(12, 90), nn.Linear(90, 13)
        self.third = nn.Linear(13, 13)
        self.fourth = nn.Linear(13, 6, bias=False)
    def forward(self, x):
        return self.fourth(self.third(self.second(self.first(x).relu()).relu()).relu())
def groups(m, **options):
    matrices = trees.Group("*.weight", rules.Muon(0.02, weight_decay=0.1), ndim=2)
    return Optimizer(m.named_parameters(), matrices, rest=rules.AdamW(1e-2), **options)
"""


def test_twenty_steps_are_those_of_one_process(tmp_path):
    """Uneven shards of matrices that are long, short and square."""
    run(
        tmp_path,
        MODEL
        + """
m, r = Wide(), Wide()
for layer in (m.second, m.third): fully_shard(layer, mesh=mesh)
fully_shard(m, mesh=mesh)
o, p = groups(m), groups(r)
train(m, o, 20); train(r, p, 20)
check(m, r)
for a, b in zip(m.parameters(), r.parameters()):
    for key, value in o.state[a].items():
        torch.testing.assert_close(full(value), p.state[b][key], atol=1e-5, rtol=0)
        if tuple(value.shape) == tuple(b.shape):
            assert value.placements == a.placements
    assert int(o.state[a]["t"]) == 20
""",
    )


@pytest.mark.slow
def test_a_mesh_of_shards_and_tensor_parallelism(tmp_path):
    """Four processes: FSDP2 over tensor parallelism, and shards on two of two copies."""
    run(
        tmp_path,
        MODEL
        + """
from torch.distributed.tensor import parallel
square = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "model"))
m, r = Wide(), Wide()
plan = {"first": parallel.ColwiseParallel(), "second": parallel.RowwiseParallel()}
parallel.parallelize_module(m, square["model"], plan)
fully_shard(m, mesh=square["data"])
train(m, groups(m), 20); train(r, groups(r), 20)
check(m, r)
m, r = Wide(), Wide()
fully_shard(m, mesh=square)
train(m, groups(m), 20); train(r, groups(r), 20)
check(m, r)
""",
        count=4,
        timeout=400,
    )


BYTES = """
class Sent(TorchDispatchMode):
    '''Bytes that this process sends, by the collective: the rings that libraries run.'''
    def __init__(self):
        super().__init__()
        self.bytes, self.size, self.rank = 0.0, dist.get_world_size(), dist.get_rank()
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        if name.startswith("_c10d_functional.") and "wait" not in name and "wrap" not in name:
            x = args[0]
            number = x.numel() * x.element_size()
            if "all_to_all" in name:
                number -= args[2][self.rank] * x.element_size()
            elif "all_reduce" in name:
                number *= 2 * (self.size - 1) / self.size
            elif "all_gather" in name:
                number *= self.size - 1
            else:
                raise AssertionError(name)
            self.bytes += number
        return function(*args, **(kwargs or {}))
def measured(shapes, places, own=mesh, **options):
    parts = [distribute_tensor(torch.randn(shape), own, places) for shape in shapes]
    m = nn.ParameterList([nn.Parameter(part) for part in parts])
    o = Optimizer(m.named_parameters(), rest=rules.Muon(0.02, **options))
    for p in m: p.grad = torch.randn_like(p)
    o.step()
    with CommDebugMode() as counts, Sent() as sent: o.step()
    total = torch.tensor([sent.bytes])
    dist.all_reduce(total)
    return {str(k).split(".")[-1]: v for k, v in counts.get_comm_counts().items()}, float(total)
size = dist.get_world_size()
def near(actual, model):
    assert abs(actual - model) <= 0.05 * model, (actual, model)
"""


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_what_moves_is_what_the_model_says(tmp_path, count):
    """docs/scale.md has the model; a matrix that is gathered would move far more."""
    run(
        tmp_path,
        MODEL
        + BYTES
        + """
# Whole matrices: each number there and back, but for the part of the process that works on it.
for places in ([Shard(0)], [Shard(1)]):
    for shapes in ([(64, 64)] * size, [(64, 64)] * 5 + [(48, 80)] * 3, [(32, 512)] * size):
        if places == [Shard(1)] and shapes[0] == (32, 512):
            continue
        counts, total = measured(shapes, places)
        assert counts == {"all_to_all_single": 2 * len(set(shapes))}
        near(total, 4 * 2 * sum(a * b for a, b in shapes) * (size - 1) / size)
# Long matrices: sums of Gram matrices, as many as the plan has segments, and one small maximum.
for shape, places in (((1024, 32), [Shard(0)]), ((32, 1024), [Shard(1)])):
    for method, sums in (("auto", 4), ("newton-schulz", 5)):
        counts, total = measured([shape] * 3, places, method=method)
        assert set(counts) == {"all_reduce"} and counts["all_reduce"] <= sums + 2
        near(total, 4 * 3 * sums * 32 * 32 * 2 * (size - 1))
""",
        count=count,
        timeout=400,
    )


def test_work_on_copies_is_split_on_request(tmp_path):
    """Equal to one process, and the same bits everywhere."""
    run(
        tmp_path,
        MODEL
        + """
m, r = Wide(), Wide()
wrapped = nn.parallel.DistributedDataParallel(m)
o = groups(m, split=True)
for _ in range(20):
    m.zero_grad(); wrapped(X).square().mean().backward(); o.step()
train(r, groups(r), 20)
check(m, r)
for p in m.parameters():
    every = [torch.empty_like(p) for _ in range(dist.get_world_size())]
    dist.all_gather(every, p.detach())
    assert all(torch.equal(x, p) for x in every)
with CommDebugMode() as counts: o.step()
shapes = {p.shape for p in m.parameters() if p.ndim == 2}
assert sum(counts.get_comm_counts().values()) == len(shapes)
copy.deepcopy(o)
""",
    )


def test_split_without_processes_says_what_is_missing():
    from specdesc.torch import Muon

    with pytest.raises(ValueError, match="init_process_group"):
        Muon([torch.nn.Parameter(torch.ones(2, 2))], split=True)


# --- checkpoints, and processes that die ---------------------------------------------------------

SAVED = """
import torch.distributed.checkpoint as saved
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
def cut(m):
    for layer in (m.second, m.third): fully_shard(layer, mesh=mesh)
    return fully_shard(m, mesh=mesh)
m, r = cut(Wide()), Wide()
o, p = groups(m), groups(r)
train(r, p, 3)
"""


@pytest.mark.slow
def test_a_checkpoint_of_four_processes_is_read_by_two(tmp_path):
    folder = tmp_path / "saved"
    run(
        tmp_path,
        MODEL
        + SAVED
        + f"""
train(m, o, 3)
model, optimizer = get_state_dict(m, o)
saved.save({{"model": model, "optimizer": optimizer}}, checkpoint_id={str(folder)!r})
""",
        count=4,
        timeout=300,
    )
    run(
        tmp_path,
        MODEL
        + SAVED
        + f"""
model, optimizer = get_state_dict(m, o)
state = {{"model": model, "optimizer": optimizer}}
saved.load(state, checkpoint_id={str(folder)!r})
set_state_dict(m, o, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
check(m, r)
train(m, o, 2); train(r, p, 2)
check(m, r)
""",
    )


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_on_the_others(tmp_path):
    """At once where the connection is lost, and within the timeout of the group at the latest."""
    body = """
import os, time
m = sharded()
o = Muon(m, lr=0.02)
train(m, o, 1)
for p in m.parameters(): p.grad = torch.randn_like(p)
dist.barrier()
if dist.get_rank() == 1: os._exit(7)
began = time.monotonic()
try:
    o.step()
except RuntimeError:
    assert time.monotonic() - began < 40
    print("an error in time", flush=True)
    os._exit(0)
"""
    file = tmp_path / "run.py"
    file.write_text(PRELUDE + textwrap.dedent(body))
    # Without the launcher, which ends what is left when one process fails.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    own = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, str(file)],
            env={**os.environ, **own, "RANK": str(rank)},
            stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in (0, 1)
    ]
    written = started[0].communicate(timeout=200)[0]
    assert started[1].wait(timeout=60) == 7
    assert "an error in time" in written
