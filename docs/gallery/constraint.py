"""A ball of the spectral norm: a proximal step acts at the boundary, a Frank-Wolfe step shrinks."""

import numpy as np
from matplotlib.figure import Figure

import specdesc as sd
from specdesc import norms, preconditioners, prox, rules


def draw(figure: Figure) -> None:
    target = np.diag([2.0, 0.4])  # the first singular value is outside of the ball

    def value_and_grad(x):
        return ((x - target) ** 2).sum() / 2, x - target

    ball = prox.SpectralBall(1.0)
    kappa = preconditioners.Kappa(4, eps=0.1)
    chosen = {
        "proximal": rules.ProximalSpectral(0.05, beta=0.5, preconditioner=kappa, g=ball),
        "Scion, constrained": rules.Scion(0.05, beta=0.5, norm=norms.Spectral(), radius=1.0),
        "Muon, weight decay 1": rules.Muon(0.05, beta=0.5, weight_decay=1.0),
    }
    axes = figure.subplots()
    for name, rule in chosen.items():
        path = [(0.0, 0.0)]

        def keep(step, x, value, path=path):
            path.append((float(x[0, 0]), float(x[1, 1])))

        sd.minimize(value_and_grad, np.zeros((2, 2)), rule, steps=80, callback=keep)
        axes.plot(*np.asarray(path).T, "o-", ms=3, label=name)
    axes.plot([1, 1, -0.1], [-0.1, 1, 1], "k:", label="boundary of the ball")
    axes.plot(1.0, 0.4, "k*", ms=12, label="solution")
    axes.set(xlabel="first singular value", ylabel="second singular value")
    axes.legend()
