"""The pieces of the comparison on ill-conditioned covariates."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from specdesc import backends, minimize, schedules
from specdesc.verify import Trial
from specdesc.verify.ill_conditioned import claim, methods, report, runs, tasks
from specdesc.verify.tuning import Point

EVERY = [*methods.SPECTRAL, "TSD k=3", "SD, Polyak", *methods.BASELINES]


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(True, backends.load("numpy"), tmp_path, lambda _: None)


@pytest.mark.parametrize("name", EVERY)
def test_settings_side_by_side_are_single_runs(trial: Trial, name: str) -> None:
    task = tasks.regression(trial, "condition 100", 1)
    momentum = methods.choices(name)[0]
    settings = [Point(-2, 0), Point(-5, 0)]
    together = minimize(
        task.value_and_grad,
        task.starts(2),
        methods.rule(name, momentum, settings, task, 9),
        steps=9,
    ).x
    for i in (0, 1):
        one = minimize(
            task.value_and_grad,
            task.starts(1),
            methods.rule(name, momentum, settings[i : i + 1], task, 9),
            steps=9,
        ).x
        np.testing.assert_allclose(together[i], one[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["SD", "TSD k=3", "Muon", "subgradient", "sign"])
def test_first_steps_have_one_length_whatever_the_method(trial: Trial, name: str) -> None:
    task = tasks.regression(trial, "isotropic", 1)
    rule = methods.rule(name, methods.choices(name)[0], [Point(-3, 2)], task, 10)
    x = task.starts(1)
    after, _ = rule.update(x, task.value_and_grad(x)[1], rule.init(x))
    assert np.linalg.norm(after - x) == pytest.approx(task.size / 8, rel=1e-2)


def test_polyak_steps_are_those_of_the_schedule(trial: Trial) -> None:
    task = tasks.regression(trial, "condition 100", 2)
    x = task.starts(1)
    value, grad = task.value_and_grad(x)
    for name, rank in (("SD, Polyak", 8), ("subgradient, Polyak", None)):
        rule: Any = methods.rule(name, (), [Point(-1, 0)], task, 10)
        wanted = schedules.polyak(optimum=task.least, scale=0.5, rank=rank)(
            0, value=value, grad=grad
        )
        np.testing.assert_allclose(rule.step(0, value=value, grad=grad), wanted, rtol=1e-12)


def test_the_value_at_the_solution_is_the_least(trial: Trial, rng: np.random.Generator) -> None:
    """With three tenths of outliers that agree with each other, too."""
    for task in (tasks.regression(trial, "condition 100", 3), tasks.structured(trial, 3)):
        for _ in range(20):
            x = task.truth + 1e-3 * rng.standard_normal(task.shape)
            assert task.value_and_grad(x)[0] > task.least


def test_the_factorization_has_the_gradient_of_its_value(
    trial: Trial, rng: np.random.Generator
) -> None:
    task = tasks.factorization(trial, 1)
    x, along = rng.standard_normal((2, *task.start.shape))
    value, grad = task.value_and_grad(x)
    assert value[0] == value[1]
    step = 1e-7
    rise = task.value_and_grad(x + step * along)[0] - task.value_and_grad(x - step * along)[0]
    np.testing.assert_allclose(rise / (2 * step), np.sum(grad * along), rtol=1e-4)
    rule = methods.rule("SD", (), [Point(-3, 1), Point(-4, 1)], task, 5)
    assert minimize(task.value_and_grad, task.starts(2), rule, steps=5).x.shape == (2, 2, 40, 8)


def test_a_run_notes_the_cosine_of_its_steps(trial: Trial) -> None:
    task = tasks.regression(trial, "isotropic", 1)
    chosen = {"momentum": [], "scale": -2, "decay": 1}
    found = runs.follow("subgradient", chosen, task, 4)
    grad = task.value_and_grad(task.start)[1]
    rest = task.start - task.truth
    cosine = np.sum(grad * rest) / np.linalg.norm(grad) / np.linalg.norm(rest)
    assert found["cosines"][0] == pytest.approx(cosine)
    assert found["errors"][0] == 1.0
    s = np.linalg.svd(grad, compute_uv=False)
    assert found["nuclear ranks"][0] == pytest.approx(s.sum() ** 2 / (s**2).sum())


def test_the_interval_of_a_quotient_is_that_of_student(rng: np.random.Generator) -> None:
    a, b = 10.0 ** rng.standard_normal((2, 10))
    middle, low, high = runs.ratio(a.tolist(), b.tolist())
    right = stats.ttest_rel(np.log10(a), np.log10(b)).confidence_interval(0.95)
    np.testing.assert_allclose(np.log10([low, high]), right, rtol=1e-3)
    assert np.log10(middle) == pytest.approx(np.mean(np.log10(a / b)))


def _ends(**last: list[float]) -> dict[str, Any]:
    return {name: {"runs": [{"last": each} for each in row]} for name, row in last.items()}


def test_the_verdict_needs_every_rival_and_every_problem() -> None:
    won = _ends(SD=[1e-3, 2e-3, 1e-3], Muon=[1e-5, 2e-5, 1e-5], AdamW=[0.1, 0.1, 0.2])
    verdict, rivals = report.compared({"a": won, "b": won})
    assert verdict == "holds"
    assert rivals["a"]["SD"][0] == "AdamW"
    lost = won | _ends(sign=[1e-6, 1e-6, 2e-6])
    assert report.compared({"a": won, "b": lost})[0] == "fails"
    unclear = won | _ends(sign=[1e-9, 1.0, 1e-3])
    assert report.compared({"a": unclear, "b": won})[0] == "undecided"


def test_the_lemma_is_the_best_step(rng: np.random.Generator) -> None:
    step, rest = rng.standard_normal((2, 30))
    cosine = step @ rest / np.linalg.norm(step) / np.linalg.norm(rest)
    lengths = np.linspace(-2.0, 2.0, 40001)
    left = np.min(np.linalg.norm(rest - lengths[:, None] * step, axis=1)) / np.linalg.norm(rest)
    assert report.lemma(cosine) == pytest.approx(left, rel=1e-6)


def test_tuning_and_measuring_have_no_seed_in_common() -> None:
    assert not set(claim.TUNING) & set(range(1, 11))
