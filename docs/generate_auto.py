"""Write the table of what ``method="auto"`` takes, from the measurements that it reads.

Run from anywhere; with ``--check`` nothing is written and the exit code says whether it would be.
"""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "specdesc" / "_polar_factor" / "calibration.toml"
TARGET = ROOT / "docs" / "data" / "auto.md"

PRECISIONS = {
    "real32": "float32, half precision",
    "real64": "float64",
    "complex64": "complex64",
    "complex128": "complex128",
}
BACKENDS = {"numpy": "NumPy", "torch": "torch on a CPU"}
TOLERANCES = ("0.3", "1e-3", "working")
#: What is not measured, in the words of `specdesc._polar_factor.method`.
ELSEWHERE = (
    ("a GPU", "all", "polynomial", "polynomial", "polynomial"),
    ("JAX, dask, traced, others", "all", *2 * ("svd to 32, polynomial",), "svd"),
)


def table() -> str:
    """Return one row a backend and precision, for one square matrix and with a floor."""
    measured = tomllib.loads(SOURCE.read_text(encoding="utf-8"))["methods"]
    header = ("arrays", "dtype", "`tol` near 0.3", "near 1e-3", "None")
    rows: list[tuple[str, ...]] = [header, ("---",) * len(header)]
    for backend, name in BACKENDS.items():
        for precision, dtypes in PRECISIONS.items():
            row = measured[backend].get(precision, {}).get("floor, square, single")
            if row is not None:
                rows.append((name, dtypes, *(words(row[tol]) for tol in TOLERANCES)))
    rows += ELSEWHERE
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", '"svd to 91, rational" reads: the SVD up to a short side of 91, rational above.']
    return "\n".join(lines) + "\n"


def words(decision: list[str | int]) -> str:
    """Return ``[method, limit, method, ...]`` as a phrase."""
    *below, last = decision
    pairs = zip(below[::2], below[1::2], strict=True)
    return ", ".join([*(f"{method} to {limit}" for method, limit in pairs), str(last)])


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text(encoding="utf-8") != table() and f"{TARGET} is out of date")
    TARGET.write_text(table(), encoding="utf-8")
