"""How often the automatic rank is right: ``python -m benchmarks.ranks FOLDER``.

Random matrices of known rank under noise and outliers, on a grid of sizes, ranks, noise, shares and
sizes of outliers. Counted are the cells whose weakest singular value is at least twice
sigma (sqrt(m) + sqrt(n)); the estimate should be within 1 of the truth there. Writes ``ranks.json``
with one row a cell. Some minutes on one core.
"""

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from specdesc.problems import RobustRecovery, estimate_rank

ROWS, COLUMNS, RANKS = (30, 100, 600), (20, 80, 500), (1, 3, 10)
#: Relative to the signal, entry by entry.
NOISE = (0.0, 0.01, 0.05, 0.2)
#: Share and size of outliers.
OUTLIERS = ((0.0, 0.0), (0.05, 5.0), (0.2, 5.0), (0.05, 1e4), (0.2, 1e4))


def data(
    m: int, n: int, rank: int, noise: float, outliers: tuple[float, float]
) -> tuple[Any, float, Any]:
    """Return a destroyed matrix, the weakest singular value of what lies under it, and that."""
    share, size = outliers
    seed = [m, n, rank, int(100 * noise), int(100 * share), int(size)]
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    truth /= truth.std()
    hit = rng.random((m, n)) < share
    gross = size * rng.choice([-1.0, 1.0], (m, n)) * rng.uniform(0.5, 1.5, (m, n))
    destroyed = truth + noise * rng.standard_normal((m, n)) + hit * gross
    return destroyed, float(np.linalg.svd(truth, compute_uv=False)[rank - 1]), truth


def main(folder: str) -> None:
    """Run the grid, and say what was missed."""
    rows = []
    target = Path(folder) / "ranks.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    cells = itertools.product(ROWS, COLUMNS, RANKS, NOISE, OUTLIERS)
    for m, n, rank, noise, outliers in sorted(cells, key=lambda cell: cell[0] * cell[1]):
        destroyed, weakest, _ = data(m, n, rank, noise, outliers)
        begin = time.perf_counter()
        found = estimate_rank(RobustRecovery.from_entries(destroyed))
        rows.append(
            {
                "rows": m,
                "columns": n,
                "rank": rank,
                "noise": noise,
                "share": outliers[0],
                "size": outliers[1],
                "seen": weakest >= 2 * noise * (m**0.5 + n**0.5),
                "found": found,
                "seconds": round(time.perf_counter() - begin, 3),
            }
        )
        target.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    seen = [row for row in rows if row["seen"]]
    missed = [row for row in seen if abs(row["found"] - row["rank"]) > 1]
    for row in missed:
        print(*(f"{name} {value}" for name, value in row.items() if name != "seen"))
    print(f"{len(missed)} of {len(seen)} cells missed, {len(rows)} tried")


if __name__ == "__main__":
    main(sys.argv[1])
