"""What a step does to the singular values of a gradient."""

import numpy as np
from matplotlib.figure import Figure

import specdesc as sd
from specdesc import preconditioners


def draw(figure: Figure) -> None:
    sizes = np.geomspace(1.0, 1e-3, 40)
    left, right = (
        np.linalg.qr(np.random.default_rng(s).standard_normal((40, 40)))[0] for s in (0, 1)
    )
    x = (left * sizes) @ right
    steps = {
        "gradient": x,
        "orthogonal factor": sd.orthogonalize(x),
        "truncated, k = 10": sd.truncated_spectral_step(x, 10),
        "Kappa(4), eps = 0.03": preconditioners.Kappa(4, eps=0.03)(x),
        "newton-schulz, 5 steps": sd.orthogonalize(x, method="newton-schulz"),
    }
    axes = figure.subplots()
    for name, step in steps.items():
        axes.semilogx(sizes, np.sum((left.T @ step) * right, axis=1), "o-", ms=3, label=name)
    axes.set(xlabel="singular value of the gradient", ylabel="singular value of the step")
    axes.legend()
