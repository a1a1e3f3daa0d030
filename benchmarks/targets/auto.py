"""``method="auto"`` against the best of its own methods, over the grid that it is calibrated on."""

import math
import random
import time

from tqdm import tqdm

from benchmarks.calibrate import grid
from benchmarks.calibrate.eligible import eligible

from .clock import medians
from .row import Row

#: At most this over all calls, in geometric mean, and over the worst call.
MEAN, WORST = 1.10, 1.5
#: Every other size of the grid.
SIDES = (8, 32, 128, 512)
#: What was this many times slower in a first run is not the best.
HOPELESS = 3.0
#: Seconds that the rounds of one call may take; at least LEAST rounds are run.
SECONDS, LEAST = 1.0, 3


def rows(quick, rounds, budget):
    """Yield two rows for each library and dtype: the mean and the worst call.

    Calls are taken in a random order from a fixed seed, as many as `budget` seconds allow.
    """
    sides = (8, 32) if quick else SIDES
    found = grid.cells(grid.libraries(), sides, 1 if quick else None)
    cells = [cell for cell in found if cell.dtype not in grid.COARSE]
    random.Random(0).shuffle(cells)
    kinds, end = {}, time.monotonic() + budget
    for cell in tqdm(cells, unit="call", disable=None):
        if time.monotonic() < end:
            kinds.setdefault((cell.library, cell.dtype), {})[cell] = _ratio(cell, rounds)
    for (library, dtype), ratios in sorted(kinds.items()):
        work = f"auto, {len(ratios)} calls, {dtype}, {library}, sides {sides[0]} to {sides[-1]}"
        mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
        worst = max(ratios, key=ratios.__getitem__)
        yield _row(work, "the best method, in geometric mean", mean, MEAN)
        yield _row(work, "the best method, worst call", ratios[worst], WORST, _name(worst))


def _ratio(cell, rounds):
    """Return the time of auto over that of the best method that does the work."""
    first, full = {}, {}
    for method in grid.methods(cell.library):
        call = cell.call(method)
        full[method] = call(full_output=True)
        start = time.perf_counter()
        call()
        first[method] = time.perf_counter() - start
    able = eligible(cell, full)
    del full
    fastest = min(first[method] for method in able)
    rivals = [method for method in able if first[method] <= HOPELESS * fastest]
    calls = [cell.call(method) for method in ("auto", *rivals)]
    affordable = int(SECONDS / (fastest * len(calls)))
    seconds = medians(calls, min(rounds, max(LEAST, affordable)), least=5e-4, rest=0.0)
    return seconds[0] / min(seconds[1:])


def _row(work, against, value, bar, note=""):
    return Row(work, against, value, "times its time", "at most", bar, note=note)


def _name(cell):
    sizes = " x ".join(map(str, cell.shape))
    return f"{sizes}, {cell.floor}, tol {cell.tol}"
