"""The times of all methods over a grid."""

import time

from tqdm import tqdm

from . import grid
from .eligible import eligible
from .race import race

#: A method that was this many times slower at two sizes in a row is not tried at larger ones,
LOST = 2.5
#: if both were at least this: for smaller ones it is the number of Python calls that decides.
TRUSTED = 128
#: From this short side on a method that takes no tolerance is measured once for all of them.
ONCE = 256


def measure(cells, end, *, rounds, budget):
    """Return ``{row: {side: {method: seconds}}}`` and how many cells were left out for time.

    `end` is when the whole must be over, by the monotonic clock; `budget` are the seconds after
    which one cell starts no further round.
    """
    times, skipped, exact = {}, 0, {}
    for cell in tqdm(cells, unit="cell", disable=None):
        known = times.setdefault(cell.row, {})
        methods = _remaining(known, grid.methods(cell.library))
        if len(methods) == 1:
            continue  # it wins from here on
        if known and time.monotonic() > end:
            skipped += 1
            continue
        known[cell.side] = _one(cell, methods, rounds, budget, exact)
    return times, skipped


def _one(cell, methods, rounds, budget, exact):
    """Return the seconds of every method that does what the cell asks for."""
    first, full, calls = {}, {}, {}
    for method in methods:
        calls[method] = cell.call(method)
        key = (cell.library, cell.dtype, cell.shape, cell.floor, method)
        if key not in exact:
            start = time.perf_counter()
            found = calls[method](full_output=True)
            exact[key] = time.perf_counter() - start, found
        first[method], full[method] = exact[key]
        if method not in grid.EXACT or cell.side < ONCE:
            del exact[key]
        else:
            exact[key] = first[method], full[method]._replace(factor=None)
    able = eligible(cell, full)
    once = {method for method in able if method in grid.EXACT and cell.side >= ONCE}
    found = race({m: calls[m] for m in sorted(able - once)}, first, rounds, budget)
    return found | {method: first[method] for method in once}


def _remaining(known, methods):
    """Leave out what was hopeless, or not eligible, at the last two sizes."""
    last = [known[side] for side in sorted(known)[-2:] if side >= TRUSTED]
    if len(last) < 2:
        return methods
    return tuple(
        method
        for method in methods
        if any(t.get(method, float("inf")) <= LOST * min(t.values()) for t in last)
    )
