"""The claim: constrained training stays feasible and loses no accuracy."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from specdesc.verify.claim import Claim, Finding
from specdesc.verify.training import report
from specdesc.verify.training.candidates import Candidate, candidates
from specdesc.verify.training.runs import Cell, train, tune
from specdesc.verify.training.tasks import Task
from specdesc.verify.trial import Trial

#: What --quick runs: seconds, and too few seeds for a verdict on small differences.
QUICK = (Task("digits", (32,), 64, 60),)
QUICK_RULES = ("AdamW", "Muon", "Scion, spectral ball 2", "proximal, spectral ball 2")
FULL = (Task("digits", (64, 64), 64, 300), Task("mnist1d", (64, 64), 128, 400))


def run(trial: Trial, /) -> Finding:
    """Tune every rule on every task, run it on all seeds, and compare."""
    seeds, tuning = trial.pick(((1, 2), (1,)), ((1, 2, 3, 4, 5), (1, 2)))
    chosen = [c for c in candidates() if not trial.quick or c.name in QUICK_RULES]
    runs = {
        task.name: {each.name: _measured(trial, task, each, seeds, tuning) for each in chosen}
        for task in trial.pick(QUICK, FULL)
    }
    return report.finding(runs, len(tuning))


CLAIM = Claim(
    "constrained-training",
    "Proximal spectral training stays in its set at every step, and loses less than "
    f"{100 * report.MARGIN:.0f} point of test accuracy against the best tuned rule without a "
    "constraint: with all layers in a spectral ball, and with all in a Frobenius ball, of a radius "
    "chosen on validation data.",
    "that constraints need not cost accuracy: arXiv:2605.11850 (abstract, secondary); feasibility "
    "at every step, radii and margin: derived",
    run,
)


def _measured(
    trial: Trial, task: Task, candidate: Candidate, seeds: Sequence[int], tuning: Sequence[int]
) -> dict[str, Any]:
    """Return the chosen step, the grid it was chosen from, and what it gave on all seeds."""

    def one(step: float, seed: int) -> Cell:
        key = f"{task.described()} {candidate.name} step={step:g} seed={seed}"
        found: Cell = trial.cell(
            key, partial(train, task, candidate, step, seed, trial.backend.name)
        )
        return found

    best, grid = tune(lambda step: [one(step, seed) for seed in tuning], candidate.first)
    cells = [one(best, seed) for seed in seeds]
    return {
        "step": best,
        "cells": cells,
        "grid": grid,
        "constrained": candidate.constraint is not None,
    }
