"""Training small networks: the gradient by hand, the data, the search, and short runs."""

import random
import sys
from typing import Any

import numpy as np
import pytest

from specdesc import MissingExtra, backends, problems, prox, trees, verify
from specdesc.backends.generic import agnostic
from specdesc.problems import Perceptron
from specdesc.verify import Options
from specdesc.verify.training import report, runs
from specdesc.verify.training.candidates import candidates
from specdesc.verify.training.heavy_ball import HeavyBall
from specdesc.verify.training.tasks import Task
from tests import support
from tests.support import Library


def classes(
    *, rows: int = 60, dtype: str = "float64", library: Library | None = None
) -> Perceptron:
    """Return rows of five inputs, whose class is where the first three are largest."""
    inputs = support.gaussian(rows, 5, seed=4).astype(dtype)
    labels = np.eye(3, dtype=dtype)[np.argmax(inputs[:, :3], axis=1)]
    if library is None:
        return Perceptron(inputs, labels, 16, 0, backends.load("numpy"))
    made = (library.array(part, dtype) for part in (inputs, labels))
    return Perceptron(*made, 16, 0, library.leaf)


# --- the network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [(), (7,), (7, 6, 4)], ids=str)
@pytest.mark.parametrize("rows", ["all", "some"])
def test_the_gradient_by_hand_is_that_of_finite_differences(hidden: Any, rows: str) -> None:
    """Entry by entry; a kink within the difference has measure zero, and is not met here."""
    problem = classes()
    params = problem.start(hidden, seed=1)
    sample = () if rows == "all" else (problem.sample(3),)
    value, grads = problem.value_and_grad(params, *sample)
    assert value.shape == ()
    for i, layer in enumerate(params["layers"]):
        slopes = np.empty_like(layer)
        for where in np.ndindex(*layer.shape):
            ends = []
            for sign in (1.0, -1.0):
                moved = [w.copy() for w in params["layers"]]
                moved[i][where] += sign * 1e-6
                ends.append(problem.value_and_grad({"layers": moved}, *sample)[0])
            slopes[where] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(grads["layers"][i], slopes, rtol=1e-5, atol=1e-8)


def test_value_and_accuracy_are_those_of_all_rows() -> None:
    problem = classes()
    params = problem.start((7,), seed=1)
    first, last = params["layers"]
    logits = np.maximum(problem.inputs @ first.T, 0.0) @ last.T
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = -np.mean(np.log((shares * problem.labels).sum(axis=-1)))
    assert problem.value(params) == pytest.approx(expected)
    assert problem.value_and_grad(params)[0] == pytest.approx(expected)
    right = logits.argmax(axis=-1) == problem.labels.argmax(axis=-1)
    assert problem.accuracy(params) == pytest.approx(right.mean())
    # Logits of any size are safe.
    far = {"layers": [1e3 * first, 1e3 * last]}
    assert all(np.isfinite(g).all() for g in problem.value_and_grad(far)[1]["layers"])


def test_the_network_runs_on_every_library(library: Library) -> None:
    """Also where no leaf can make the start or look rows up."""
    host = classes()
    start = host.start((7,), seed=1)
    inputs, labels = (library.array(part, "float32") for part in (host.inputs, host.labels))
    leaf = agnostic(library.xp) if library.backend == "array_api_strict" else library.leaf
    problem = Perceptron(inputs, labels, 16, 0, leaf)
    params = {"layers": [library.array(w, "float32") for w in start["layers"]]}
    value, grads = problem.value_and_grad(params)
    expected_value, expected = host.value_and_grad(start)
    assert float(library.numpy(value)) == pytest.approx(float(expected_value), rel=1e-5)
    for found, wanted in zip(grads["layers"], expected["layers"], strict=True):
        support.assert_array(library, found, inputs, wanted.shape, "float32")
        np.testing.assert_allclose(library.numpy(found), wanted, atol=1e-6)
    accuracy = float(library.numpy(problem.accuracy(params)))
    assert accuracy == pytest.approx(float(host.accuracy(start)))


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_start_and_samples_are_the_same_on_every_library(name: str) -> None:
    library = next(way for way in support.LIBRARIES if way.name == name)
    if library.missing():
        pytest.skip(str(library.missing()))
    host, problem = classes(), classes(dtype="float32", library=library)
    for found, wanted in zip(
        problem.start((7,), seed=1)["layers"], host.start((7,), seed=1)["layers"], strict=True
    ):
        np.testing.assert_allclose(library.numpy(found), wanted, atol=1e-6)
    assert (library.numpy(problem.sample(3)) == host.sample(3)).all()
    params = problem.start((7,), seed=1)
    value, _ = problem.value_and_grad(params, problem.sample(3))
    expected, _ = host.value_and_grad(host.start((7,), seed=1), host.sample(3))
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_a_start_has_unit_singular_values_and_depends_on_its_seed_alone() -> None:
    problem = classes()
    params = problem.start((7, 4), seed=1)
    assert [w.shape for w in params["layers"]] == [(7, 5), (4, 7), (3, 4)]
    for w in params["layers"]:
        np.testing.assert_allclose(np.linalg.svd(w, compute_uv=False), 1.0, atol=1e-6)
    for same, other in zip(
        problem.start((7, 4), seed=1)["layers"],
        problem.start((7, 4), seed=2)["layers"],
        strict=True,
    ):
        assert not (same == other).all()
    again = problem.part(0, 20)
    assert again.inputs.shape == (20, 5)
    assert (again.start((7, 4), seed=1)["layers"][0] == params["layers"][0]).all()


# --- the data ------------------------------------------------------------------------------------


def global_generators() -> Any:
    return random.getstate(), str(np.random.get_state())  # noqa: NPY002


def test_mnist1d_is_made_on_the_spot_and_leaves_the_generators_alone() -> None:
    pytest.importorskip("mnist1d", reason="mnist1d is not installed")
    before = global_generators()
    train, test = problems.mnist1d(count=200, dtype="float32")
    assert global_generators() == before
    assert train.inputs.shape == (160, 41)
    assert test.labels.shape == (40, 10)
    assert train.inputs.dtype == np.float32
    assert (train.inputs[:, -1] == 1).all()
    assert (np.concatenate([train.labels, test.labels]).sum(axis=0) == 20).all()
    again, _ = problems.mnist1d(count=200, dtype="float32")
    assert (again.inputs == train.inputs).all()


def test_without_the_package_one_line_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mnist1d", None)
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(MissingExtra, match=r"needs mnist1d: pip install 'specdesc\[data\]'"):
        problems.mnist1d()


def test_the_three_parts_of_a_task_do_not_meet() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    parts = Task("digits", (8,), 32, 10).parts("numpy")
    assert [len(part.inputs) for part in parts] == [959, 239, 599]
    # A few pictures of the data set are the same; parts in common would be hundreds.
    seen = [{row.tobytes() for row in part.inputs} for part in parts]
    assert all(len(a & b) <= 3 for a, b in [(seen[0], seen[1]), (seen[0], seen[2]), seen[1:]])


# --- the baseline --------------------------------------------------------------------------------


def test_heavy_ball_is_sgd_with_momentum_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    start = support.gaussian(5, 4)
    parameter = torch.nn.Parameter(torch.asarray(start.copy()))
    theirs, ours = torch.optim.SGD([parameter], lr=0.1, momentum=0.9), HeavyBall(0.1)
    x, state = start, ours.init(start)
    for t in range(20):
        grad = support.gaussian(5, 4, seed=t)
        parameter.grad = torch.asarray(grad.copy())
        theirs.step()
        x, state = ours.update(x, grad, state)
    np.testing.assert_allclose(x, parameter.detach().numpy(), atol=1e-13)


# --- the search ----------------------------------------------------------------------------------


@pytest.mark.parametrize("best", [1e-3, 0.05, 0.1, 3.0])
def test_the_grid_grows_until_its_best_point_lies_inside(best: float) -> None:
    def run(step: float) -> list[dict[str, Any]]:
        loss = abs(np.log(step / best))
        return [{"valid": 1.0 - min(1.0, loss), "valid loss": loss}] * 2

    step, grid = runs.tune(run, 0.1)
    assert min(grid) < step < max(grid)
    assert max(step / best, best / step) <= 2**0.5 * 1.001
    assert all(b / a == pytest.approx(2.0) for a, b in zip(grid, list(grid)[1:], strict=False))


def test_among_equal_accuracies_the_lower_loss_is_chosen_and_a_diverged_run_last() -> None:
    def run(step: float) -> list[dict[str, Any]]:
        diverged = step > 0.5
        return [{"valid": 0.9, "valid loss": None if diverged else (step - 0.2) ** 2}]

    step, grid = runs.tune(run, 0.1)
    assert step == pytest.approx(0.2)
    assert max(grid) == pytest.approx(0.4)
    with pytest.raises(RuntimeError, match="no step size of"):
        runs.tune(lambda step: [{"valid": step, "valid loss": 0.0}], 0.1)


# --- the report ----------------------------------------------------------------------------------


def table(held: list[float], free: list[float], excess: float = 0.0) -> dict[str, Any]:
    def run(tests: list[float], constrained: bool) -> dict[str, Any]:
        cell = {"valid": 0.5, "loss": 0.1, "spectral": 2.0, "frobenius": 3.0, "excess": excess}
        cells = [
            {**cell, "test": t, "seconds": 1.0, "processor seconds": 1.0, "gradients": 10}
            for t in tests
        ]
        grid = {0.1: cells[:2], 0.2: cells[:2], 0.4: cells[:2]}
        return {"step": 0.2, "cells": cells, "grid": grid, "constrained": constrained}

    return {"toy": {"AdamW": run(free, False), "proximal, spectral ball 2": run(held, True)}}


@pytest.mark.parametrize(
    ("held", "excess", "verdict"),
    [
        ([0.9, 0.91, 0.92, 0.9, 0.91], 0.0, "holds"),
        ([0.9, 0.91, 0.92, 0.9, 0.91], 1e-3, "fails"),
        ([0.88, 0.89, 0.9, 0.88, 0.89], 0.0, "fails"),
        ([0.88, 0.93, 0.9, 0.94, 0.87], 0.0, "undecided"),
    ],
)
def test_the_verdict_needs_feasibility_and_an_interval_above_the_margin(
    held: list[float], excess: float, verdict: str
) -> None:
    finding = report.finding(table(held, [0.9, 0.91, 0.92, 0.9, 0.91], excess), 2)
    assert finding.verdict == verdict


# --- short runs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("candidate", candidates(), ids=lambda candidate: candidate.name)
def test_every_candidate_learns_and_stays_in_its_set(candidate: Any) -> None:
    """Twenty-five steps on a part of the problem above, with a step near those that are chosen."""
    problem = classes(rows=120, dtype="float32")
    params = runs._inside(problem.start((16,), seed=0), candidate.constraint)
    assert runs._excess(params, candidate.constraint) == 0.0
    route = trees.route(params, trees.Group("*", candidate.rule(runs.linear(0.1, 25))))
    state, before, first = trees.init(params, route), params, problem.value(params)
    for t in range(25):
        sample = problem.sample(t)
        _, grads = problem.value_and_grad(params, sample)
        old = problem.value_and_grad(before, sample)[1]
        before = params
        params, state = trees.update(params, grads, state, route, previous_grads=old)
        assert runs._excess(params, candidate.constraint) == 0.0
    assert route.needs_previous_grad == (candidate.gradients == 2)
    limit = 0.9 if candidate.name.endswith("ball 1") else 0.8
    assert problem.value(params) < limit * first


def test_a_run_counts_its_gradients_and_repeats() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    task = Task("digits", (16,), 32, 12)
    known = {candidate.name: candidate for candidate in candidates()}
    storm = runs.train(task, known["STORM, spectral ball 2"], 0.1, 1, "numpy")
    plain = runs.train(task, known["proximal, spectral ball 2"], 0.1, 1, "numpy")
    assert storm["gradients"] == plain["gradients"] == 12
    assert plain["excess"] == 0.0
    assert plain["spectral"] <= 2.0 * (1 + 1e-6)
    again = runs.train(task, known["proximal, spectral ball 2"], 0.1, 1, "numpy")
    clocks = {"seconds": 0.0, "processor seconds": 0.0}
    assert {**again, **clocks} == {**plain, **clocks}


def test_a_set_that_was_left_is_seen() -> None:
    """Plain descent grows out of a small ball, and the excess says by how much."""
    problem = classes(dtype="float32")
    params = {"layers": [3.0 * w for w in problem.start((8,), seed=0)["layers"]]}
    assert runs._excess(params, prox.SpectralBall(2.0)) == pytest.approx(1.0, rel=1e-5)
    inside = runs._inside(params, prox.SpectralBall(2.0))
    assert runs._excess(inside, prox.SpectralBall(2.0)) == 0.0


def test_the_quick_claim_ends_with_a_verdict_and_a_figure(tmp_path: Any) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    claim = verify.CLAIMS["constrained-training"]
    found = verify.verify(Options((claim,), quick=True, out=tmp_path), lambda _: None)
    finding = found["constrained-training"]
    assert finding.verdict in ("holds", "undecided")
    rows = finding.numbers["digits"]
    assert rows["proximal, spectral ball 2"]["largest excess"] == 0.0
    assert all(row["test accuracy"] > 0.85 for row in rows.values())
    for row in rows.values():
        steps = [float(step) for step in row["grid"]]
        assert min(steps) < row["step"] < max(steps)
    assert (tmp_path / "constrained-training.png").exists()
