"""The search of steps: its best is inside."""

import pytest

from specdesc.verify.tuning import ROUNDS, Point, tuned

COARSE = [Point(i, j) for i in (-2, 0, 2) for j in (-2, 0, 2)]


@pytest.mark.parametrize("target", [(0, 0), (7, -5), (-1, 12)])
def test_it_walks_to_the_best_pair_wherever_that_is(target: tuple[int, int]) -> None:
    asked: list[Point] = []

    def score(points: list[Point]) -> list[float]:
        asked.extend(points)
        return [(p.first - target[0]) ** 2 + 0.5 * (p.second - target[1]) ** 2 for p in points]

    best = tuned(score, COARSE)
    assert (best.point, best.inside, best.score) == (target, True, 0.0)
    assert best.tried == len(asked) == len(set(asked))  # nothing is run twice
    around = {(target[0] + i, target[1] + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    assert around <= set(asked)


def test_a_wall_is_no_edge() -> None:
    best = tuned(
        lambda points: [float(p.first**2 + p.second) for p in points],
        COARSE,
        lambda p: p.second >= -2,
    )
    assert (best.point, best.inside) == ((0, -2), True)


def test_a_search_without_an_end_says_so() -> None:
    best = tuned(lambda points: [float(-p.first) for p in points], COARSE)
    assert not best.inside
    assert best.point.first == 2 + ROUNDS


def test_a_plateau_is_not_walked_along() -> None:
    best = tuned(lambda points: [1.0] * len(points), COARSE)
    assert (best.inside, best.tried) == (True, len(COARSE) + 8)
