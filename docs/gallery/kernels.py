"""The preconditioners as functions of one magnitude, with eps = 1."""

import numpy as np
from matplotlib.figure import Figure

from specdesc import preconditioners


def draw(figure: Figure) -> None:
    magnitudes = np.linspace(0.0, 4.0, 200)
    bounded, free = figure.subplots(1, 2, sharex=True)
    for axes, names in (
        (bounded, ("SoftSign", "Sqrt", "Tanh", "Arctan", "Clip")),
        (free, ("Arcsinh", "Log", "Quadratic")),
    ):
        for name in names:
            kernel = getattr(preconditioners, name)(eps=1.0, geometry="elementwise")
            axes.plot(magnitudes, kernel(magnitudes[:, None])[:, 0], label=name)
        axes.set(xlabel="magnitude")
        axes.legend()
    bounded.set(ylabel="its image", title="bounded by 1")
    free.set(title="not bounded")
