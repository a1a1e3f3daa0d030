"""Draw the polynomials next to the kernels that model them, and print their fits as a table."""

import math
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from specdesc import minimax
from specdesc.preconditioners import Kappa, Polynomial

mpl.use("svg")
import matplotlib.pyplot as plt

PICTURE = Path(__file__).resolve().parent / "images" / "kappa.svg"
KAPPAS = (1, 2, 3, 4, 6, math.inf)


def polar_express(steps):
    """Return the published run: its input is divided by 1.01, too, and its last step repeats."""
    table = [minimax.damped(q, minimax.SAFETY) for q in minimax.POLAR_EXPRESS]
    run = [*table, (1.875, -1.25, 0.375)][:steps]
    return Polynomial([minimax.damped(run[0], minimax.SAFETY), *run[1:]])


RUNS = {
    "Polar Express, 5 steps": polar_express(5),
    "Polar Express, 6 steps": polar_express(6),
    "Polar Express, 8 steps": polar_express(8),
    "cubic Newton-Schulz, 10 steps": Polynomial([(1.5, -0.5)] * 10),
    "quintic Newton-Schulz of Muon": Polynomial(minimax.NEWTON_SCHULZ),
}


HEADER = (
    "| polynomial | slope at 0 | eps of kappa 4 | error: kappa 1 | 2 | 3 | 4 | 6 | inf "
    "| largest, kappa 4 | sign: error | largest | ripple | best kappa | its error |"
)


def main():
    lines = [HEADER, "|---" * HEADER.count(" | ") + "|---|"]
    for name, p in RUNS.items():
        errors = [p.fit_kappa(kappa).error for kappa in KAPPAS]
        best, four = p.fit_kappa(), p.fit_kappa(4)
        away = 1.0 - responses(p, np.logspace(-5, 0, 20001))
        sign = np.sqrt(np.mean(away**2)), np.max(np.abs(away))
        low, high = p.ripple()
        cells = [name, f"{p.slope:.1f}", f"{four.eps:.2e}", *(f"{e:.4f}" for e in errors)]
        cells += [f"{each:.3f}" for each in (four.largest, *sign)]
        cells.append(f"{low:.2f} to {high:.2f}")
        lines.append(f"| {' | '.join([*cells, f'{best.kappa:.2f}', f'{best.error:.4f}'])} |")
    sys.stdout.write("\n".join(lines) + "\n")
    draw()


def responses(p, s):
    """Return what becomes of magnitudes."""
    return Polynomial(p.schedule, geometry="elementwise")(s[None, :])[0]


def draw():
    """Draw the three that differ most."""
    s = np.logspace(-5, 0, 1000)
    mpl.rcParams["svg.hashsalt"] = "specdesc"
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True, layout="constrained")
    for panel, name in zip(axes, [list(RUNS)[i] for i in (1, 3, 4)], strict=True):
        p = RUNS[name]
        panel.semilogx(s, responses(p, s), color="black", label="polynomial")
        for kappa, style in ((1, ":"), (4, "--")):
            fit = p.fit_kappa(kappa)
            model = Kappa(kappa, eps=fit.eps, geometry="elementwise")
            label = f"kappa {kappa}, eps {fit.eps:.1e}"
            panel.semilogx(s, model(s[None, :])[0], style, label=label)
        panel.axhline(1.0, color="gray", linewidth=0.6)
        panel.set_title(name, fontsize=9)
        panel.set_xlabel("singular value / Frobenius norm")
        panel.legend(fontsize=7, loc="lower right")
    axes[0].set_ylabel("response")
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
