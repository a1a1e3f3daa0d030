"""Where an iteration on the Gram matrix has to start afresh.

A *segment* forms the Gram matrix R of its iterate, takes all of its steps on R, and applies their
product to the iterate once. A segment of one step is the iteration on the matrix itself.

Rounding R by v turns a direction of relative size l by v / l^2, or by v g^2 for a segment of slope
g that does not lift it to 1. What earlier segments have lifted is safe, so short segments are safe
and long ones cheap.
"""

import itertools
from typing import NamedTuple

from specdesc.minimax.schedule import Schedule

#: Constant of the model: the largest seen was 4, for 128 and 256 rows with half of the singular
#: values at the floor and half at 1.
SENSITIVITY = 4.0


class Split(NamedTuple):
    """A way to cut a schedule.

    Attributes
    ----------
    lengths : tuple of int
        Steps in each segment.
    turn : float
        The model's bound on the turn of a direction by the segments of more than one step, in unit
        roundoffs.
    """

    lengths: tuple[int, ...]
    turn: float


def split(schedule: Schedule, allowed: float, /) -> Split:
    """Cut a schedule into the fewest segments that turn directions by at most `allowed`.

    Parameters
    ----------
    schedule : Schedule
        At least one step.
    allowed : float
        Bound on the turn, in unit roundoffs of the arithmetic on the square matrices.

    Returns
    -------
    Split
        All ones, which turn nothing, if nothing else qualifies.

    Notes
    -----
    The model is ``SENSITIVITY`` times the sum of g^2 over the segments of more than one step, where
    g is the slope of a segment but at most 1 / l for the floor l before it (derived; the
    constant measured).

    Examples
    --------
    >>> from specdesc.minimax import cheapest_schedule, gram_side_costs, split
    >>> schedule = cheapest_schedule(1e-2, 0.1, gram_side_costs(degrees=(5,)))
    >>> split(schedule, 1e6).lengths, split(schedule, 1e4).lengths
    ((4,), (2, 2))
    """
    turns = _turns(schedule)
    count = len(schedule.steps)
    best: dict[int, Split] = {0: Split((), 0.0)}
    for _ in range(count):
        best = {
            end: min(
                (
                    Split((*before.lengths, end - start), before.turn + turns[start, end])
                    for start, before in best.items()
                    if start < end
                ),
                key=lambda found: found.turn,
            )
            for end in range(1, count + 1)
            if any(start < end for start in best)
        }
        if best[count].turn <= allowed:
            break
    return best[count]


def _turns(schedule: Schedule) -> dict[tuple[int, int], float]:
    """Return the turn by the segment from one step up to another."""
    gains = [step.coefficients[0] for step in schedule.steps]
    turns = {}
    for start, end in itertools.combinations(range(len(gains) + 1), 2):
        gain = 1.0
        for factor in gains[start:end]:
            gain *= factor
        gain = min(gain, 1.0 / schedule.floors[start])
        turns[start, end] = SENSITIVITY * gain**2 if end - start > 1 else 0.0
    return turns
