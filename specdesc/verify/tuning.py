"""Two factors of a method by search, until the best pair has only worse neighbours."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """A pair on the grid: integers, of which the claim says what they stand for."""

    first: int
    second: int


class Best(NamedTuple):
    """What a search found.

    Attributes
    ----------
    point : Point
        The best pair.
    score : float
        Of it; less is better.
    tried : int
        How many pairs were.
    inside : bool
        Every neighbour of the best was tried and is no better. False after too many rounds.
    """

    point: Point
    score: float
    tried: int
    inside: bool


#: After so many rounds a search that keeps walking stops.
ROUNDS = 25


def tuned(
    score: Callable[[Sequence[Point]], Sequence[float]],
    coarse: Sequence[Point],
    allowed: Callable[[Point], bool] = lambda _: True,
    /,
) -> Best:
    """Search from a coarse grid to the best pair whose eight neighbours are no better.

    Parameters
    ----------
    score : callable
        Takes pairs and returns a finite number for each; less is better.
    coarse : sequence of Point
        Where the search begins.
    allowed : callable
        Says of a pair whether there is such a one.
    """
    known: dict[Point, float] = {}

    def ask(points: Sequence[Point]) -> None:
        known.update(zip(points, score(points), strict=True))

    ask(coarse)
    for _ in range(ROUNDS):
        best = min(known, key=lambda each: known[each])
        around = [Point(best.first + i, best.second + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        missing = [each for each in around if each not in known and allowed(each)]
        if not missing:
            return Best(best, known[best], len(known), True)
        ask(missing)
    best = min(known, key=lambda each: known[each])
    return Best(best, known[best], len(known), False)
