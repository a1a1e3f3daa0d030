"""``specdesc verify``: the frame, and each claim in its quick form."""

import json

import numpy as np
import pytest

from specdesc import backends, cli, verify
from specdesc.recover.errors import UsageError
from specdesc.verify import CLAIMS, Claim, Finding, Options, Trial


def _trial(folder, told=None, *, quick=True):
    tell = (told if told is not None else []).append
    return Trial(quick, backends.load("numpy"), folder, tell)


def _claim(name="toy", verdict="holds", run=None):
    def one(trial):
        values = [trial.cell(f"seed {seed}", lambda seed=seed: seed**2) for seed in trial.seeds]
        return Finding(
            verdict, "So it is.", {"values": values}, lambda f: f.subplots().plot(values)
        )

    return Claim(name, "Squares are squares.", "derived", run or one)


def test_a_claim_writes_its_numbers_and_its_figure(tmp_path):
    said = []
    found = verify.verify(Options((_claim(),), quick=True, out=tmp_path / "out"), said.append)
    assert found["toy"].numbers == {"values": [1, 4, 9]}
    record = json.loads((tmp_path / "out" / "toy.json").read_text())
    assert record["verdict"] == "holds"
    assert record["numbers"] == {"values": [1, 4, 9]}
    assert record["quick"]
    assert (record["statement"], record["source"]) == ("Squares are squares.", "derived")
    assert (tmp_path / "out" / "toy.png").read_bytes()[:4] == b"\x89PNG"
    text = "\n".join(said)
    for part in ("Squares are squares.", "source: derived", "verdict: holds", "values: [1, 4, 9]"):
        assert part in text


def test_without_matplotlib_there_are_numbers_and_a_hint(tmp_path, monkeypatch):
    monkeypatch.setattr("specdesc._lib.extras.installed", lambda _: False)
    said = []
    verify.verify(Options((_claim(),), quick=True, out=tmp_path), said.append)
    assert (tmp_path / "toy.json").exists()
    assert not (tmp_path / "toy.png").exists()
    assert "specdesc[demo]" in said[-1]


def test_an_interrupted_run_takes_up_where_it_was(tmp_path):
    computed, kills = [], [3]

    def run(trial):
        def compute(seed):
            if seed in kills:
                kills.remove(seed)
                raise KeyboardInterrupt
            computed.append(seed)
            return {"seed": seed, "tenth": seed / 10}

        cells = [trial.cell(f"seed {s}", lambda s=s: compute(s)) for s in trial.seeds]
        return Finding("holds", "", {"cells": cells}, lambda _: None)

    options = Options((_claim(run=run),), quick=True, out=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        verify.verify(options, lambda _: None)
    assert computed == [1, 2]
    found = verify.verify(options, lambda _: None)["toy"].numbers["cells"]
    assert computed == [1, 2, 3]
    assert found == [{"seed": s, "tenth": s / 10} for s in (1, 2, 3)]
    verify.verify(Options((_claim(run=run),), quick=True, out=tmp_path, fresh=True), lambda _: None)
    assert computed == [1, 2, 3, 1, 2, 3]
    verify.verify(Options((_claim(run=run),), quick=False, out=tmp_path), lambda _: None)
    assert computed[6:] == list(range(1, 11))  # a full run takes nothing from a quick one


def test_a_cell_is_the_same_from_disk_and_a_broken_file_is_no_cell(tmp_path):
    told = []
    trial = _trial(tmp_path / "cells", told)
    first = trial.cell("p=0.1", lambda: (0.1, float("inf"), None))
    assert first == trial.cell("p=0.1", lambda: 1 / 0) == [0.1, float("inf"), None]
    assert trial.cell("p_0.1", lambda: 2) == 2  # another key with the same readable name
    for path in (tmp_path / "cells").iterdir():
        path.write_text(path.read_text()[:10])
    assert trial.cell("p=0.1", lambda: 3) == 3
    assert told == ["p=0.1", "p=0.1", "p_0.1", "p=0.1"]


def test_numbers_that_are_no_numbers_are_refused(tmp_path):
    claim = _claim(run=lambda _: Finding("holds", "", {"x": float("nan")}, lambda _: None))
    with pytest.raises(ValueError, match="not JSON compliant"):
        verify.verify(Options((claim,), out=tmp_path), lambda _: None)
    assert not list(tmp_path.glob("*.json"))


def test_the_list_names_every_claim_with_its_source(capsys):
    assert cli.main(["verify", "--list"]) == 0
    text = capsys.readouterr().out
    for claim in CLAIMS.values():
        assert f"{claim.name}\n  {claim.statement}\n  source: {claim.source}" in text


def test_every_claim_says_where_it_comes_from():
    for name, claim in CLAIMS.items():
        assert name == claim.name == claim.name.lower()
        marks = ("abstract", "secondary", "foundation", "derived", "arXiv")
        assert any(mark in claim.source for mark in marks), name


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["verify"], "--all"),
        (["verify", "counterexample", "--all"], "--all"),
        (["verify", "no-such-claim"], "unknown claim 'no-such-claim'; there are: "),
        (["verify", "counterexample", "--backend", "nonesuch"], "unknown backend 'nonesuch'"),
    ],
)
def test_wrong_words_get_one_line_and_exit_code_2(tmp_path, capsys, words, part):
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("specdesc: error: ")
    assert part in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_backend_without_double_precision_is_refused(tmp_path, capsys, monkeypatch):
    def refuse(*_, **__):
        msg = "no float64 here"
        raise ValueError(msg)

    monkeypatch.setattr(backends.load("numpy"), "from_host", refuse)
    assert cli.main(["verify", "counterexample", "--out", str(tmp_path / "out")]) == 2
    assert "no float64 here; claims need double precision" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_all_and_list_exclude_one_another(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["verify", "--all", "--list"])
    assert "not allowed with" in capsys.readouterr().err


def test_a_claim_that_fails_is_no_error(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(CLAIMS, "false", _claim("false", "fails"))
    assert cli.main(["verify", "false", "false", "--quick", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.count("verdict: fails") == 1


def test_choose_keeps_order_and_drops_repeats():
    known = {name: _claim(name) for name in "abc"}
    assert [claim.name for claim in verify.choose(["c", "a", "c"], known)] == ["c", "a"]
    with pytest.raises(UsageError, match="unknown claim 'd'; there are: a, b, c"):
        verify.choose(["d"], known)


def test_thinned_curves_keep_their_ends_and_bands_hold_their_rows(rng):
    from specdesc.verify import curves

    curve = rng.random(1501)
    steps, heights = curves.thinned(curve)
    assert steps[0] == 0
    assert steps[-1] == 1500
    assert len(steps) <= 102
    np.testing.assert_array_equal(heights, curve[steps])
    assert curves.thinned([1.0, 2.0]) == ([0, 1], [1.0, 2.0])
    rows = rng.random((5, 7))
    low, middle, high = curves.band(rows)
    np.testing.assert_array_equal(low, rows.min(axis=0))
    np.testing.assert_array_equal(middle, np.median(rows, axis=0))
    np.testing.assert_array_equal(high, rows.max(axis=0))


def test_a_run_that_leaves_the_numbers_keeps_its_last_measure():
    from specdesc.verify import curves

    def overflowing(x):
        return x[0, 0] * float("nan") if x[0, 0] < -2 else x[0, 0], np.ones((1, 1))

    from specdesc.rules import SpectralDescent

    heights = curves.follow(
        overflowing,
        np.zeros((1, 1)),
        SpectralDescent(1.0),
        6,
        lambda _, value: value,
        backends.load("numpy"),
    )
    np.testing.assert_array_equal(heights, [0, -1, -2, -2, -2, -2, -2])
