"""Parameters that are spread over processes: two of gloo, against one alone."""

import pytest

from tests.torch.processes import run

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no processes"),
]


def test_every_rule_is_exact_on_fully_sharded_parameters(tmp_path):
    run(
        tmp_path,
        """
        ball = prox.SpectralBall(1.0)
        every = [
            rules.Muon(0.02, weight_decay=0.1), rules.Muon(0.02, method="newton-schulz"),
            rules.Muon(0.02, method="rational"), rules.Muon(schedules.geometric(0.1, 0.5)),
            rules.Muon(0.02, weight_decay=0.1, decay="cautious"),
            rules.Scion(0.1), rules.Scion(0.1, norm=norms.Max()), rules.SpectralDescent(0.1),
            rules.TruncatedSpectralDescent(1, 0.1), rules.SignDescent(0.1),
            rules.NormalizedGradient(0.1), rules.AdamW(1e-2, weight_decay=0.1),
            rules.ProximalSpectral(0.1, preconditioner=preconditioners.Kappa(2), g=ball),
        ]
        for rule in every:
            m, r = sharded(), Net()
            make = lambda m: Optimizer(m, trees.Group("*.weight", rule), rest=rules.AdamW(1e-2))
            o, p = make(m), make(r)
            train(m, o); train(r, p)
            check(m, r)
            for a, b in zip(m.parameters(), r.parameters()):
                for key, value in o.state[a].items():
                    torch.testing.assert_close(full(value), p.state[b][key], atol=1e-5, rtol=0)
                    if tuple(value.shape) == tuple(b.shape):
                        assert value.placements == a.placements
        """,
    )


def test_checkpoints_of_sharded_models(tmp_path):
    """Full states of one process load into two, and shards into shards; Muon in one line."""
    run(
        tmp_path,
        """
        from torch.distributed.checkpoint import state_dict as dcp
        m, r = sharded(), Net()
        o, p = Muon(m, lr=0.02), Muon(r, lr=0.02)
        before = [full(x).clone() for x in m.parameters()]
        dcp.get_optimizer_state_dict(m, o)
        assert all(torch.equal(a, full(x)) for a, x in zip(before, m.parameters()))
        train(m, o); train(r, p)
        check(m, r)
        for whole in (True, False):
            options = dcp.StateDictOptions(full_state_dict=whole)
            kept = copy.deepcopy(dcp.get_optimizer_state_dict(m, o, options=options))
            n = sharded()
            for a, b in zip(n.parameters(), m.parameters()):
                a.data.to_local().copy_(b.data.to_local())
            q = Muon(n, lr=5.0)
            dcp.set_optimizer_state_dict(n, q, kept, options=options)
            s = Net(); s.load_state_dict(r.state_dict())
            t = Muon(s, lr=5.0); t.load_state_dict(p.state_dict())
            train(n, q, 1); train(s, t, 1)
            check(n, s)
        n = sharded()
        q = Muon(n, lr=5.0)
        q.load_state_dict(p.state_dict())
        for a, b in zip(n.parameters(), r.parameters()):
            got = full(q.state[a]["momentum_buffer" if "momentum_buffer" in q.state[a] else "mean"])
            want = p.state[b]["momentum_buffer" if "momentum_buffer" in p.state[b] else "mean"]
            torch.testing.assert_close(got, want)
        """,
    )


def test_parallel_tensors(tmp_path):
    """One layer by columns, the next by rows."""
    run(
        tmp_path,
        """
        from torch.distributed.tensor import parallel
        def net():
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 6))
        for rule in (rules.Muon(0.02), rules.Scion(0.1), rules.AdamW(1e-2)):
            m, r = net(), net()
            plan = {"0": parallel.ColwiseParallel(), "2": parallel.RowwiseParallel()}
            parallel.parallelize_module(m, mesh, plan)
            make = lambda m: Optimizer(m, trees.Group("*.weight", rule), rest=rules.AdamW(1e-2))
            train(m, make(m)); train(r, make(r))
            check(m, r)
        """,
    )


def test_parameters_that_are_swapped_for_shards(tmp_path):
    """An optimizer made before the model is sharded, and its groups filled anew."""
    run(
        tmp_path,
        """
        m, r = Net(), Net()
        o, p = Muon(m, lr=0.02), Muon(r, lr=0.02)
        names = {id(x): n for n, x in m.named_parameters()}
        for l in (m.first, m.third): fully_shard(l, mesh=mesh)
        fully_shard(m, mesh=mesh)
        new = dict(m.named_parameters())
        for group in o.param_groups:
            group["params"] = [new[names[id(x)]] for x in group["params"]]
        train(m, o); train(r, p)
        check(m, r)
        """,
    )


def test_flat_shards_are_refused_by_name(tmp_path):
    run(
        tmp_path,
        """
        from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
        for original in (True, False):
            m = FSDP(nn.Linear(12, 8), use_orig_params=original, device_id=torch.device("cpu"))
            for rest in (rules.Muon(0.02), rules.AdamW(0.1)):
                try:
                    Optimizer(m.named_parameters(), rest=rest)
                except ValueError as error:
                    assert "fully_shard" in str(error) and "flat shard" in str(error)
                else:
                    raise AssertionError(original)
        """,
    )


def test_zero_redundancy(tmp_path):
    run(
        tmp_path,
        """
        from torch.distributed.optim import ZeroRedundancyOptimizer
        m, r = nn.parallel.DistributedDataParallel(Net()), Net()
        for rest in (rules.AdamW(1e-2), rules.SignDescent(0.01)):
            o = ZeroRedundancyOptimizer(m.parameters(), optimizer_class=Optimizer, rest=rest)
            scheduler = torch.optim.lr_scheduler.StepLR(o, 1, 0.5)
            p = Optimizer(r, rest=rest)
            for _ in range(3):
                train(m, o, 1); scheduler.step()
                train(r, p, 1); p.param_groups[0]["lr"] *= 0.5
            check(m, r)
        o = ZeroRedundancyOptimizer(
            [x for x in m.parameters() if x.ndim == 2], optimizer_class=Muon, lr=0.02
        )
        train(m, o, 1)
        train(r, Muon([x for x in r.parameters() if x.ndim == 2], lr=0.02), 1)
        check(m, r)
        """,
    )
