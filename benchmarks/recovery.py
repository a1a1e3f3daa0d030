"""How good what the command writes is: ``python -m benchmarks.recovery FOLDER [PART OF]``.

On the grid of `benchmarks.ranks`, and with an offset of 1e4 on a part of it, ``specdesc recover``
runs with no flags. The relative error of the low-rank part that it writes is held against the
better of two that know more or take longer: truncated descent at the true rank, and pursuit to a
gap of 1e-7, both on all entries. Writes ``recovery.json`` with one row a cell. Most of an hour on
one core; with PART and OF, every OF-th cell from PART on.
"""

import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ranks import COLUMNS, NOISE, OUTLIERS, RANKS, ROWS, data
from specdesc.problems import RobustRecovery, principal_component_pursuit
from specdesc.recover import methods
from specdesc.recover.job import Options, recover

#: What counts as as good.
FACTOR, LEAST = 1.2, 1e-3

#: Sizes that are tried with an offset as well.
OFFSET, WITH_OFFSET = 1e4, ((30, 80), (100, 80))

STEPS = 300


def cells() -> list[tuple[Any, ...]]:
    """Return the grid, small matrices first."""
    grid = itertools.product(ROWS, COLUMNS, RANKS, NOISE, OUTLIERS, (0.0, OFFSET))
    kept = [cell for cell in grid if not cell[-1] or cell[:2] in WITH_OFFSET]
    return sorted(kept, key=lambda cell: cell[0] * cell[1])


def written(destroyed: Any, folder: Path) -> Any:
    """Return the low-rank part that the command writes."""
    np.save(folder / "cell.npy", destroyed)
    recover(Options(folder / "cell.npy", out=folder / "out"), lambda _: None)
    return np.load(folder / "out" / "cell-low-rank.npy")


def main(folder: str, part: str = "0", of: str = "1") -> None:
    """Run the grid, and say where the command loses."""
    rows = []
    name = "recovery.json" if of == "1" else f"recovery-{part}.json"
    target = Path(folder) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    for m, n, rank, noise, outliers, offset in cells()[int(part) :: int(of)]:
        destroyed, _, truth = data(m, n, rank, noise, outliers)
        truth, destroyed = truth + offset, destroyed + offset

        def error(values: Any, truth: Any = truth) -> float:
            # An offset is no achievement: errors are relative to what varies.
            return float(np.linalg.norm(values - truth) / np.linalg.norm(truth - truth.mean()))

        with tempfile.TemporaryDirectory() as place:
            ours = error(written(destroyed, Path(place)))
        centre = np.median(destroyed)
        problem = RobustRecovery.from_entries(destroyed - centre)
        by_rank = methods.descend("truncated", problem, rank, STEPS).values + centre
        pursued = principal_component_pursuit(destroyed - centre, tol=1e-7)[0] + centre
        row = {
            "rows": m,
            "columns": n,
            "rank": rank,
            "noise": noise,
            "share": outliers[0],
            "size": outliers[1],
            "offset": offset,
            "written": ours,
            "true rank": error(by_rank),
            "pursuit": error(pursued),
        }
        best = min(row["true rank"], row["pursuit"])
        rows.append({**row, "as good": bool(ours <= FACTOR * best + LEAST)})
        target.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    lost = [row for row in rows if not row["as good"]]
    for row in lost:
        print(*(f"{key} {value:.4g}" for key, value in row.items()))
    print(f"{len(rows) - len(lost)} of {len(rows)} cells are as good")


if __name__ == "__main__":
    main(*sys.argv[1:])
