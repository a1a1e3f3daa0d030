"""What recovery starts from does not depend on the size of outliers, nor on an offset."""

from typing import Any

import numpy as np
import pytest

from specdesc import minimize, prox, rules
from specdesc.problems import RobustRecovery
from specdesc.problems.scale import medians, spread


def planted(size: float, offset: float = 0.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 40))
    data = truth + 0.01 * rng.standard_normal(truth.shape)
    hit = rng.random(truth.shape) < 0.05
    data[hit] += size * rng.choice([-1.0, 1.0], hit.sum())
    return truth + offset, data + offset


def recovered(data: Any, rank: int) -> Any:
    problem = RobustRecovery.from_entries(data)
    steps = problem.geometric_steps(rank, 300)
    rule = rules.TruncatedSpectralDescent(rank, steps, g=prox.Rank(rank))
    return minimize(problem.value_and_grad, problem.start(), rule, steps=300).x


@pytest.mark.parametrize("size", [5e3, 1e8, 1e12])
def test_the_size_of_outliers_moves_the_result_by_less_than_a_percent(size: float) -> None:
    truth, data = planted(size)
    reference = recovered(planted(5.0)[1], 3)
    assert np.linalg.norm(recovered(data, 3) - reference) < 0.01 * np.linalg.norm(truth)


def test_one_wild_entry_does_nothing() -> None:
    truth, data = planted(5.0)
    data[3, 4] = 1e6
    assert np.linalg.norm(recovered(data, 3) - truth) < 0.01 * np.linalg.norm(truth)


def test_an_offset_does_nothing() -> None:
    truth, data = planted(5.0, offset=1e6)
    assert np.linalg.norm(recovered(data, 4) - truth) < 0.01 * np.linalg.norm(truth - 1e6)


def test_medians_and_spreads_are_those_of_the_observed_entries() -> None:
    rng = np.random.default_rng(0)
    data, seen = rng.standard_normal((3, 9, 7)), rng.random((3, 9, 7)) < 0.7
    backend = RobustRecovery.from_entries(data).backend
    middle, size = medians(data, seen, backend=backend), spread(data, seen, backend=backend)
    for i in range(3):
        observed = np.sort(data[i][seen[i]])
        assert middle[i, 0, 0] == observed[(len(observed) - 1) // 2]
        sizes = np.sort(np.abs(observed))
        assert size[i, 0, 0] == 1.4826 * sizes[(len(sizes) - 1) // 2]
