"""Write what ``make demo`` recovers: a photograph, a table of measurements, frames of a scene."""

import csv
import sys
from pathlib import Path

import numpy as np
from skimage import data, io
from sklearn.datasets import load_breast_cancer


def table(path: Path) -> None:
    """Write measurements of cells with 5 % gross outliers: ten standard deviations off."""
    cells = load_breast_cancer()
    random = np.random.default_rng(0)
    hit = random.random(cells.data.shape) < 0.05
    sign = random.choice([-1.0, 1.0], cells.data.shape)
    values = np.where(hit, cells.data + 10 * cells.data.std(axis=0) * sign, cells.data)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(cells.feature_names)
        writer.writerows(values.tolist())


def frames(folder: Path) -> None:
    """Write 60 frames of a wall under light that changes, and a ball that crosses it."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    wall = data.brick()[::4, ::4][:96] / 255.0
    down, right = np.mgrid[: wall.shape[0], : wall.shape[1]]
    for i in range(60):
        frame = wall * (0.8 + 0.2 * np.sin(i / 9))
        middle = (48 + 20 * np.sin(i / 7), 6 + 2 * i)
        frame[(down - middle[0]) ** 2 + (right - middle[1]) ** 2 < 64] = 0.95
        frame = frame + 0.01 * random.standard_normal(frame.shape)
        pixels = (frame.clip(0, 1) * 255).round().astype("uint8")
        io.imsave(folder / f"frame{i:02}.png", pixels, check_contrast=False)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(exist_ok=True)
    io.imsave(out / "brick.png", data.brick())
    table(out / "cells.csv")
    frames(out / "ball")
