"""From times to decisions: up to which short side each method wins."""

import math
from itertools import pairwise

#: A method gives way only to one that is faster by this factor: differences below it are noise.
CLEAR = 1.03


def decide(times):
    """Return ``(method, limit, method, limit, ..., method)`` for ``{side: {method: seconds}}``.

    A method holds up to its limit, which lies where the two straight lines of log seconds over log
    side cross.
    """
    sides = sorted(times)
    best = _fastest(times[sides[0]])
    decision = [best]
    for smaller, side in pairwise(sides):
        challenger = _fastest(times[side])
        held = times[side].get(best, math.inf)
        if challenger != best and held > CLEAR * times[side][challenger]:
            decision += [_crossing(times, smaller, side, best, challenger), challenger]
            best = challenger
    return tuple(decision)


def _fastest(times):
    return min(times, key=times.__getitem__)


def _crossing(times, smaller, side, first, second):
    """Return the side at which two methods take the same time, between two that were measured."""
    before, after = (
        math.log(times[n].get(first, math.inf) / times[n].get(second, math.inf))
        if first in times[n] and second in times[n]
        else None
        for n in (smaller, side)
    )
    share = 0.5
    if before is not None and after is not None and before < 0 < after:
        share = before / (before - after)
    return round(smaller * (side / smaller) ** share)
