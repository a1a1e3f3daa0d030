"""Measure what ``method="auto"`` needs, and write it where the package reads it."""

import argparse
import sys
import time
from pathlib import Path

from tqdm import tqdm

from benchmarks.targets import machine

from . import grid, table
from .decide import decide
from .measure import measure

TARGET = Path(__file__).resolve().parents[2] / "specdesc" / "_polar_factor" / "calibration.toml"


def main(arguments=None):
    options = _parse(arguments)
    end = time.monotonic() + options.budget
    wanted = (grid.SIDES[:2], 1) if options.quick else (grid.SIDES, None)
    cells = grid.cells(grid.libraries(), *wanted)
    times, skipped = measure(cells, end, rounds=options.rounds, budget=0.1)
    decisions = {row: decide(found) for row, found in times.items()}
    decisions = {row: _extended(row, found, decisions) for row, found in decisions.items()}
    text = table.render(machine.describe(), decisions)
    if options.out is None and options.quick:
        print(text)
    else:
        (options.out or TARGET).write_text(text, encoding="utf-8")
    tqdm.write(f"{len(decisions)} decisions; {skipped} cells left out to keep the budget")
    return 0


def _extended(row, decision, decisions):
    """Let a stack of larger matrices than were measured do as one matrix does."""
    single = decisions.get((*row[:4], "single", *row[5:]))
    if row[4] != "stack" or single is None:
        return decision
    beyond = [
        (method, limit)
        for method, limit in zip(single[::2], (*single[1::2], float("inf")), strict=True)
        if limit > grid.STACKED
    ]
    joined = [*decision]
    for i, (method, _) in enumerate(beyond):
        if method != joined[-1]:
            joined += [round(beyond[i - 1][1]) if i else grid.STACKED, method]
    return tuple(joined)


def _parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibrate", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two sizes in float32, printed")
    parser.add_argument("--rounds", type=int, default=5, help="alternations at most")
    parser.add_argument("--budget", type=float, default=330.0, help="seconds for all")
    parser.add_argument("--out", type=Path, help=f"the file to write ({TARGET})")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
