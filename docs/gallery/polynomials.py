"""The best polynomials for a tolerance and a floor, composed."""

import numpy as np
from matplotlib.figure import Figure

import specdesc as sd


def draw(figure: Figure) -> None:
    points = np.geomspace(1e-4, 1.0, 2000)
    axes = figure.subplots()
    for tol, floor in ((0.3, 1e-2), (1e-2, 1e-2), (1e-2, 1e-3)):
        plan = sd.plan_orthogonalization((512, 512), "float64", tol=tol, floor=floor)
        values = np.diagonal(
            sd.orthogonalize(np.diag(points[::10]), tol=tol, floor=floor, method="polynomial")
        )
        label = f"tol {tol:g}, floor {floor:g}: {plan.products} products"
        axes.loglog(points[::10], abs(1.0 - values) + 1e-17, label=label)
    axes.set(
        xlabel="singular value, relative to the largest", ylabel="distance of its image from 1"
    )
    axes.legend()
