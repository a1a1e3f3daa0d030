"""``specdesc bench``: what it counts, what it compares, and that it ends."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specdesc.bench import Options, accuracy, bench, counts, job, report, rounds
from specdesc.bench.kernels import KERNELS
from specdesc.bench.rounds import Run
from specdesc.cli import main
from specdesc.recover.errors import UsageError
from tests import support

SMALL: dict[str, Any] = {"shapes": ((24, 16),), "budget": 4.0}


def silent(_: str) -> None:
    return


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "REST", 0.0)
    monkeypatch.setattr(rounds, "MOST", 3)
    monkeypatch.setattr(job.machine, "SIDES", {False: 64, True: 64})
    monkeypatch.setattr(job.machine, "BYTES", {False: 1 << 16, True: 1 << 16})


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_meets_its_goal_and_every_peer_has_a_true_error(
    name: str, tmp_path: Path
) -> None:
    rows = bench(Options(kernels=(name,), out=tmp_path, **SMALL), silent)
    assert rows[0]["who"] == "numpy, cpu"
    assert rows[0]["error"] <= KERNELS[name].goal
    installed = [peer.name for peer in KERNELS[name].peers if peer.installed]
    assert [row["who"] for row in rows[1:]] == installed
    for row in rows:
        assert row["ms"] > 0
        assert 0 <= abs(row["error"]) < 1
    record = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert record["format"] == report.FORMAT
    assert record["rows"] == json.loads(json.dumps(rows))


def test_no_ratio_between_results_of_different_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = KERNELS["orthogonalize"]
    wrong = kernel.__class__(
        lambda x, _: 0.9 * kernel.ours(x, 1.0), kernel.error, kernel.goal, peers=kernel.peers
    )
    monkeypatch.setitem(job.KERNELS, "orthogonalize", wrong)
    rows = bench(Options(kernels=("orthogonalize",), out=tmp_path, **SMALL), silent)
    assert rows[0]["error"] == pytest.approx(0.1, abs=0.01)
    assert all(row["ratio"] is None for row in rows)
    assert {row["no ratio"] for row in rows[1:]} <= {"another accuracy"}


def test_errors_are_true() -> None:
    x = support.gaussian(20, 12)
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    assert accuracy.of_factor(x, u @ vh) < 1e-13
    assert accuracy.of_factor(x, 0.8 * u @ vh) == pytest.approx(0.2)
    assert accuracy.of_step(x, u[:, :8] @ vh[:8]) == pytest.approx(0.0, abs=1e-14)
    assert accuracy.of_step(x, u[:, :7] @ vh[:7]) == pytest.approx(s[7] / s[:8].sum())
    clipped = (u * np.minimum(s, 0.5 * s[0])) @ vh
    assert accuracy.of_clip(x, clipped) < 1e-13
    assert accuracy.of_clip(x, clipped + 0.01 * s[0] * np.outer(u[:, 0], vh[0])) == pytest.approx(
        0.02
    )


def test_a_kernel_that_is_twice_as_slow_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only the calls move, so that no other process can."""
    clock = [0.0]
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: clock[0])

    def work(seconds: float) -> Run:
        def call() -> None:
            clock[0] += seconds * (1.0 + 0.01 * (len(calls) % 3))
            calls.append(seconds)

        calls: list[float] = []
        return Run(call, lambda: None)

    taken = rounds.times({"one": work(0.004), "two": work(0.008)}, 0.1)
    found = rounds.ratio(taken["two"], taken["one"])
    assert found.low <= found.median <= found.high
    assert found.median == pytest.approx(2.0, rel=0.03)
    assert found.low > 1.9


def test_ratios_are_those_of_the_rounds() -> None:
    found = rounds.ratio(np.asarray([2.0, 4.0, 9.0]), np.asarray([1.0, 2.0, 3.0]))
    assert found.median == 2.0
    assert found.low >= 2.0
    assert found.high <= 3.0


def test_launches_are_counted_without_views() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = torch.ones(3, 3)
    assert counts.launches(lambda: (x.T @ x).reshape(9) + 1.0) == 2
    assert counts.peak_of_numpy(lambda: np.ones(1 << 18)) == pytest.approx(2.0, abs=0.1)


def test_what_does_not_fit_into_the_budget_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    options = Options(
        kernels=("orthogonalize", "clip"), shapes=((24, 16),), budget=1e-3, out=tmp_path
    )
    assert bench(options, said.append) == []
    assert any("did not fit into the budget" in line for line in said)


def test_an_older_file_is_compared(tmp_path: Path) -> None:
    options = {"kernels": ("clip",), "out": tmp_path, **SMALL}
    bench(Options(**options), silent)
    said: list[str] = []
    bench(Options(compare=tmp_path / "bench.json", **options), said.append)
    assert any("now / before" in line for line in said)
    (tmp_path / "other.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UsageError, match="no file of specdesc bench"):
        bench(Options(compare=tmp_path / "other.json", **options), silent)


def test_a_peer_that_is_too_slow_for_its_share_runs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = KERNELS["clip"]
    calls: list[int] = []

    def prepare(x: Any) -> Any:
        call, to_host = kernel.peers[0].prepare(x)

        def slow() -> Any:
            calls.append(1)
            time.sleep(0.3)
            return call()

        return slow, to_host

    peer = kernel.peers[0].__class__("slow", "numpy", prepare)
    changed = kernel.__class__(**{**vars(kernel), "peers": (peer,)})
    monkeypatch.setitem(job.KERNELS, "clip", changed)
    options = Options(kernels=("clip",), shapes=((24, 16),), budget=1.5, out=tmp_path)
    ours, theirs = bench(options, silent)
    assert len(calls) == 2
    assert theirs["ms"] >= 300
    assert theirs["no ratio"] == "one call alone"
    assert ours["no ratio"] == "1"


def test_the_comparison_counts_the_ratios_that_come_again() -> None:
    def rows(*ratios: list[float] | None) -> list[dict[str, Any]]:
        return [
            {"kernel": "clip", "shape": [4, 4], "dtype": "float32", "who": str(i), "ms": 1.0}
            | {"ratio": ratio}
            for i, ratio in enumerate(ratios)
        ]

    old = {"rows": rows(None, [1.0, 0.9, 1.1], [2.0, 1.5, 2.5], [3.0, 2.9, 3.1])}
    new = rows(None, [1.1, 1.0, 1.2], [2.6, 2.0, 3.0], None)
    text = report.comparison(old, new)
    assert text.splitlines()[-1].startswith("1 of 2 ratios lie where")
    assert text.count("as before") == 1
    assert text.count("outside of its spread") == 1
    assert "ratios lie" not in report.comparison({"rows": rows(None)}, rows(None))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kernel", "qr"], "unknown kernel 'qr'; there are: orthogonalize"),
        (["--backends", "nothing"], "unknown backend 'nothing'"),
        (["--dtypes", "int8"], "numpy has no int8; it has: float16"),
        (["--devices", "cuda:7"], "numpy has the devices cpu, not 'cuda:7'"),
        (["--model", "gpt9"], "unknown model 'gpt9'; there are: tiny, gpt2-small"),
        (["--shapes", "12"], "must be sides such as 1024x512"),
    ],
)
def test_wrong_calls_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["bench", *arguments, "--out", str(tmp_path / "out")])
    except SystemExit as stop:  # what argparse refuses
        code = int(str(stop.code))
    assert code == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_whole_steps_of_a_model(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    rows = bench(
        Options(kernels=("clip",), model="tiny", out=tmp_path, peers=False, **SMALL), silent
    )
    ours, theirs = rows[-2:]
    assert ours["kernel"] == theirs["kernel"] == "step of tiny"
    assert ours["launches"] > 0
    assert len(theirs["ratio"]) == 3
