"""How many singular values of a destroyed matrix are signal."""

import math
from functools import cache

from specdesc import schedules
from specdesc._lib.typing import Array
from specdesc._minimize import minimize
from specdesc.backends.entry import enter
from specdesc.problems.observation import Entries
from specdesc.problems.robust_recovery import LAST_STEP, RobustRecovery
from specdesc.prox import Rank
from specdesc.rules import TruncatedSpectralDescent

ROUNDS = 3
STEPS = 40
FIRST_SHARE = 0.04
CLIP = 2.0


def estimate_rank(problem: RobustRecovery, /) -> int:
    """Estimate the rank of what lies under the outliers of a problem with observed entries.

    A few short recoveries by truncated spectral descent. After each, residuals beyond two robust
    standard deviations are taken for outliers and clipped, missing entries are filled in, and the
    singular values above the optimal threshold for white noise of unknown level are counted.

    Parameters
    ----------
    problem : RobustRecovery
        Made by `RobustRecovery.from_entries`.

    Returns
    -------
    int
        From 1 to min(m, n) / 2; of a stack the upper median over its matrices.

    Raises
    ------
    ValueError
        If the problem observes anything but entries.

    Notes
    -----
    Derived: the threshold of Gavish and Donoho (arXiv:1305.5870) on robust pseudo-data. On
    photographs with a fifth of the pixels destroyed the recovery at this rank was within 1.3 dB of
    the one at the best rank, and close to it on most. Where there is next to no noise the
    short fits end above it, and a few too many are counted. Reads values: not for tracing.
    """
    if not isinstance(problem.observation, Entries):
        msg = "estimate_rank needs a problem made by RobustRecovery.from_entries"
        raise ValueError(msg)
    enter("problems.estimate_rank", problem.observed, names=("data",))
    short = int(min(problem.observed.shape[-2:]))
    start = problem.start()
    rank = max(1, round(FIRST_SHARE * short))
    for _ in range(ROUNDS):
        counts = _count_signal(_clean(problem, start, rank), problem)
        rank = min(max(1, counts[len(counts) // 2]), max(1, short // 2))
    return rank


def _clean(problem: RobustRecovery, start: Array, rank: int) -> Array:
    """Return the data, less the start, with outliers clipped and gaps filled by a short fit."""
    xp = problem.backend.xp
    first = problem.geometric_steps(rank, STEPS)(0)
    steps = schedules.geometric(first, LAST_STEP ** (1.0 / STEPS))
    rule = TruncatedSpectralDescent(rank, steps, g=Rank(rank))
    fit = minimize(problem.value_and_grad, start, rule, steps=STEPS).x
    residual = problem.observation.apply(problem.observed - fit)
    size = xp.abs(residual)
    # 1.4826 times the median of |residual| is the standard deviation of Gaussian noise.
    spread = RobustRecovery.from_entries(size, mask=problem.observation.mask).start()  # type: ignore[attr-defined]
    limit = CLIP * 1.4826 * spread
    clipped = residual * xp.astype(limit / xp.maximum(limit, size), residual.dtype)
    return fit - start + xp.where(limit > 0, clipped, xp.zeros_like(clipped))


def _count_signal(data: Array, problem: RobustRecovery) -> list[int]:
    xp = problem.backend.xp
    s = xp.linalg.svdvals(data)
    s = xp.reshape(s, (-1, s.shape[-1]))
    short, long = sorted(data.shape[-2:])
    # The median singular value belongs to the noise, and so tells its level.
    median = s[:, s.shape[-1] // 2]
    threshold = _threshold(short / long) * median
    return sorted(
        int(xp.sum(xp.astype(row > limit, xp.int32)))
        for row, limit in zip(
            (s[i, :] for i in range(s.shape[0])),
            (threshold[i] for i in range(s.shape[0])),
            strict=True,
        )
    )


@cache
def _threshold(aspect: float) -> float:
    """Return the optimal hard threshold over the median singular value, both of white noise."""
    root = math.sqrt(aspect * aspect + 14 * aspect + 1)
    optimal = math.sqrt(2 * (aspect + 1) + 8 * aspect / (aspect + 1 + root))
    return optimal / _median_noise(aspect)


def _median_noise(aspect: float) -> float:
    """Return the median of the Marchenko-Pastur law of singular values, by summing its density."""
    cells = 4096
    low, high = 1 - math.sqrt(aspect), 1 + math.sqrt(aspect)
    points = [low + (high - low) * (i + 0.5) / cells for i in range(cells)]
    density = [math.sqrt((high**2 - t * t) * (t * t - low**2)) / t for t in points]
    half, total = sum(density) / 2, 0.0
    for point, weight in zip(points, density, strict=True):
        total += weight
        if total >= half:
            return point
    return high
