"""Least squares with a condition number of 1e4: the loss of each method at its best step size.

``python docs/gallery/conditioning.py`` writes the last losses to ``docs/data/conditioning.json``
and the picture of the README to ``docs/images/conditioning.png``.
"""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import specdesc as sd
from specdesc import rules

STEPS = 200


def problem():
    """Return value and gradient of mean ||a x - b||² / 2 and a start, with min 0."""
    random = np.random.default_rng(0)
    scales = np.geomspace(1.0, 1e-2, 32)  # of the inputs, so that the Hessian has condition 1e4
    basis = np.linalg.qr(random.standard_normal((32, 32)))[0]  # no axis is special
    inputs = (random.standard_normal((2000, 32)) * scales) @ basis
    truth = random.standard_normal((32, 16))

    def value_and_grad(x):
        residual = inputs @ (x - truth)
        return (residual**2).sum() / 2 / len(inputs), inputs.T @ residual / len(inputs)

    return value_and_grad, np.zeros((32, 16))


def methods(size):
    """Return the contestants at one first step; all steps fall linearly to 0."""

    def falling(t, *, value=None, grad=None):
        return size * (1.0 - t / STEPS)

    return {
        "Muon": rules.Muon(falling, scale="none"),
        "spectral descent": rules.SpectralDescent(falling),
        "AdamW": rules.AdamW(falling),
        "sign descent": rules.SignDescent(falling),
        "gradient descent": rules.ProximalSpectral(
            falling,
            beta=0.9,
            preconditioner=sd.preconditioners.Quadratic(eps=1.0),
            g=sd.prox.Zero(),
        ),
    }


def best_runs():
    """Return the losses of each method at its best step of a grid, by name, and that step."""
    value_and_grad, start = problem()
    found = {}
    for exponent in range(-9, 5):
        for name, rule in methods(2.0**exponent).items():
            run = sd.minimize(value_and_grad, start, rule, steps=STEPS, history_budget=4 * STEPS)
            losses = np.asarray(run.history.value)
            if np.isfinite(losses[-1]) and (name not in found or losses[-1] < found[name][1][-1]):
                found[name] = (2.0**exponent, losses)
    return found


def draw(figure: Figure, runs=None) -> None:
    axes = figure.subplots()
    for name, (size, losses) in (runs or best_runs()).items():
        axes.semilogy(losses, label=f"{name}, step {size:g}")
    axes.set(xlabel="step", ylabel="loss")
    axes.legend()


if __name__ == "__main__":
    docs, runs = Path(__file__).parents[1], best_runs()
    last = {name: {"step": size, "loss": losses[-1]} for name, (size, losses) in runs.items()}
    text = json.dumps(last, indent=1) + "\n"
    (docs / "data" / "conditioning.json").write_text(text, encoding="utf-8")
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    draw(figure, runs)
    figure.savefig(docs / "images" / "conditioning.png", dpi=100)
