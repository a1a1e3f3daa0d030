"""Lines that run on several processes of gloo."""

import subprocess
import sys
import textwrap

#: Without the destructors of a process, which gloo's threads may outlive and abort.
EPILOGUE = """
import os
dist.barrier()
os._exit(0)
"""

PRELUDE = """
import copy, io, torch, torch.distributed as dist, torch.nn as nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from specdesc import norms, preconditioners, prox, rules, schedules, trees
from specdesc.torch import Muon, Optimizer
torch.set_num_threads(1)
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
X = torch.randn(24, 12, generator=torch.Generator().manual_seed(3))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = nn.Linear(12, 9), nn.Linear(9, 1), nn.Linear(9, 6)
        self.gain = nn.Parameter(torch.ones(3))
    def forward(self, x):
        h = self.first(x).relu()
        return self.second(h) + self.third(h) * self.gain.sum()
def train(m, o, steps=3):
    for _ in range(steps):
        m.zero_grad(); m(X).square().mean().backward(); o.step()
def full(p):
    return p.full_tensor().detach() if hasattr(p, "full_tensor") else p.detach()
def check(m, r):
    for p, q in zip(m.parameters(), r.parameters()):
        torch.testing.assert_close(full(p), q.detach(), atol=1e-5, rtol=0)
def sharded():
    m = Net()
    for l in (m.first, m.third): fully_shard(l, mesh=mesh)
    return fully_shard(m, mesh=mesh)
"""


def run(tmp_path, body, count=2, timeout=200):
    """Run lines on so many processes, and fail with what they say."""
    file = tmp_path / "run.py"
    file.write_text(PRELUDE + textwrap.dedent(body) + "\n" + EPILOGUE)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={count}",
    ]
    done = subprocess.run(
        [*command, str(file)], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]
