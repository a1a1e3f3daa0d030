"""The gate lets nothing through: an extra launch, a copy, a product, a kernel twice as slow."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the gate counts calls of torch")
pytest.importorskip("scipy", reason="the peers of the gate need scipy")

from benchmarks import gate
from specdesc.bench import counts, rounds
from specdesc.bench.kernels import KERNELS

Primitive = Callable[..., Any]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> gate.Counts:
    """One shape; return its counts before anything is spoiled."""
    monkeypatch.setattr(gate, "SHAPES", ((128, 64),))
    return gate.counted()


def changed(monkeypatch: pytest.MonkeyPatch, name: str, spoil: Callable[[Primitive], Any]) -> None:
    kernel = KERNELS[name]
    spoiled = kernel.__class__(**{**vars(kernel), "ours": spoil(kernel.ours)})
    monkeypatch.setitem(gate.KERNELS, name, spoiled)


def test_the_counts_of_the_same_code_are_the_same(small: gate.Counts) -> None:
    assert list(gate.differences(gate.counted(), small)) == []


def test_one_extra_launch_is_seen(small: gate.Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(monkeypatch, "clip", lambda ours: lambda x, size: ours(x, size) + 0.0)
    before = small["clip, 128x64, torch"]["launches"]
    found = list(gate.differences(gate.counted(), small))
    assert f"clip, 128x64, torch: launches {before} in the file, {before + 1} now" in found
    assert all(line.startswith("clip, ") for line in found)


def test_a_kernel_that_works_twice_is_seen_by_its_counts(
    small: gate.Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(ours: Primitive) -> Primitive:
        return lambda x, size: (ours(x, size), ours(x, size))[1]

    changed(monkeypatch, "orthogonalize", twice)
    found = gate.counted()
    for library in ("numpy", "torch"):
        case = f"orthogonalize, 128x64, {library}"
        assert found[case]["products"] == 2 * small[case]["products"]
    assert any("orthogonalize" in line for line in gate.differences(found, small))


def test_a_copy_that_is_held_is_seen(small: gate.Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []

    def hoard(ours: Primitive) -> Primitive:
        return lambda x, size: (kept.append(x + 0.0), ours(x, size))[1]

    changed(monkeypatch, "orthogonalize", hoard)
    found = list(gate.differences(gate.counted(), small))
    assert any(line.startswith("orthogonalize, 128x64, numpy: peak over x") for line in found)


def test_a_case_that_is_new_or_gone_is_said() -> None:
    lines = list(gate.differences({"new": {"products": 1}}, {"gone": {"products": 2}}))
    assert lines == [
        "gone: products 2 in the file, None now",
        "new: products None in the file, 1 now",
    ]


def test_the_gate_closes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gate, "counted", dict)
    assert gate.main([]) == 1
    assert "counts differ" in capsys.readouterr().out
    monkeypatch.setattr(gate, "differences", lambda *_: iter(()))
    for median, code in ((2.0, 1), (1.0, 0)):
        monkeypatch.setattr(gate, "ratio", lambda _, m=median: rounds.Ratio(m, m, m))
        assert gate.main([]) == code


def test_the_kernel_and_the_bare_loop_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "SIDE", 48)
    pair = gate.runs()
    kernel, bare = (np.asarray(pair[name].call()) for name in ("kernel", "bare"))
    assert np.linalg.norm(kernel - bare, 2) <= 2e-3


def test_all_aten_calls_are_counted_with_views() -> None:
    import torch

    x = torch.ones(3, 3)
    assert counts.aten_calls(lambda: (x.T @ x).reshape(9) + 1.0) == 4
    assert counts.launches(lambda: torch._foreach_add([x] * 17, 1.0)) == 2
