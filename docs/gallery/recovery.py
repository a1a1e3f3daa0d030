"""Robust recovery: a matrix of rank 2 from 2000 measurements, a tenth of them grossly wrong."""

import numpy as np
from matplotlib.figure import Figure

import specdesc as sd
from specdesc import rules, schedules


def draw(figure: Figure) -> None:
    problem = sd.problems.random_recovery(20, 2, measurements=2000, outliers=0.1)
    size = float(np.linalg.norm(problem.truth))
    chosen = {
        "truncated spectral, k = 5": rules.TruncatedSpectralDescent(
            5, schedules.geometric(0.3 * size / 5**0.5, 0.93), tol=None
        ),
        "spectral": rules.SpectralDescent(schedules.geometric(0.3 * size / 20**0.5, 0.93)),
        "normalized subgradient": rules.NormalizedGradient(schedules.geometric(0.3 * size, 0.93)),
    }
    axes = figure.subplots()
    for name, rule in chosen.items():
        errors = []

        def keep(step, x, value, errors=errors):
            errors.append(float(problem.error(x)))

        sd.minimize(problem.value_and_grad, problem.start(), rule, steps=250, callback=keep)
        axes.semilogy(errors, label=name)
    axes.set(xlabel="step", ylabel="relative error")
    axes.legend()
