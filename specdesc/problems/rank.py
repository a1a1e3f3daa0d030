"""How many singular values of a destroyed matrix are signal."""

import math
from functools import cache

from specdesc import schedules
from specdesc._lib.dtypes import is_half, working
from specdesc._lib.typing import Array
from specdesc._linalg import stacks
from specdesc._minimize import minimize
from specdesc.backends.entry import enter
from specdesc.problems.observation import Entries
from specdesc.problems.pursuit import principal_component_pursuit
from specdesc.problems.robust_recovery import LAST_STEP, RobustRecovery
from specdesc.problems.scale import medians
from specdesc.prox import Rank
from specdesc.rules import TruncatedSpectralDescent

ROUNDS = 3
STEPS = 40
FIRST_SHARE = 0.04
CLIP = 2.0


#: The duality gap up to which pursuit is solved: what it is off by is below `FLOOR`.
PURSUIT_TOL = 1e-3

#: Of the data that pursuit has cleaned, singular values below this part of the largest one are
#: errors of pursuit.
FLOOR = 2e-3

#: A spectrum that falls by GAP from one value to the next, and there to NEAR times the threshold
#: for noise, says where the signal ends.
GAP, NEAR = 1.8, 2.5

#: Residuals beyond so many robust standard deviations are outliers.
BEYOND = 3.0


def estimate_rank(problem: RobustRecovery, /) -> int:
    """Estimate the rank of what lies under the outliers of a problem with observed entries.

    Two estimates. The first: a few short recoveries by truncated spectral descent; after each,
    residuals beyond two robust standard deviations are taken for outliers and clipped, missing
    entries are filled in, and the singular values above the optimal threshold for white noise of
    unknown level are counted. The second: outliers and missing entries are replaced by what
    principal component pursuit says of them. If the spectrum that is left has a gap down to the
    level of noise, the rank is where the gap is. If it has none, as that of a photograph, whose
    singular values fall like a power, it is the lower one of the two counts.

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
    the one at the best rank, and close to it on most. How far it is right on random matrices:
    `benchmarks/ranks.py`. Costs three recoveries of 40 steps and about 60 SVDs for pursuit. Reads
    values: not for tracing.
    """
    if not isinstance(problem.observation, Entries):
        msg = "estimate_rank needs a problem made by RobustRecovery.from_entries"
        raise ValueError(msg)
    enter("problems.estimate_rank", problem.observed, names=("data",))
    xp = problem.backend.xp
    if is_half(xp, problem.observed.dtype):
        wide, mask = working(xp, problem.observed), problem.observation.mask
        problem = RobustRecovery.from_entries(wide, mask=mask)
    most = max(1, int(min(problem.observed.shape[-2:])) // 2)
    start = problem.start()
    rank = max(1, round(FIRST_SHARE * min(problem.observed.shape[-2:])))
    for _ in range(ROUNDS):
        counts = _count_signal(_spectra(_clean(problem, start, rank), problem), problem)
        rank = min(max(1, counts[len(counts) // 2]), most)
    pursued = _spectra(_pursued(problem, start), problem)
    floor = FLOOR * pursued[:, :1]
    noise = stacks.floats(_noise(pursued, problem, floor), backend=problem.backend)
    ranks = sorted(
        _end_of_signal(stacks.floats(pursued[i, :], backend=problem.backend), level, rank)
        for i, level in enumerate(noise)
    )
    return min(max(1, ranks[len(ranks) // 2]), most)


def _end_of_signal(s: list[float], noise: float, rank: int) -> int:
    """Return where a spectrum has its largest gap down to noise, else the lower count."""
    count = sum(value > noise for value in s)
    gaps = {
        k: s[k - 1] / s[k] if s[k] > 0 else math.inf
        for k in range(1, min(count, len(s) // 2 + 1) + 1)
        if k < len(s) and s[k] <= NEAR * noise
    }
    clear = {k: ratio for k, ratio in gaps.items() if ratio >= GAP}
    best: int = max(clear, key=clear.__getitem__, default=min(rank, count))
    return best


def _pursued(problem: RobustRecovery, start: Array) -> Array:
    """Return the data, less the start, with outliers and gaps as pursuit fills them."""
    xp, backend = problem.backend.xp, problem.backend
    seen = problem.observation.apply(xp.ones_like(problem.observed)) != 0
    data = problem.observed - start
    low, _ = principal_component_pursuit(data, mask=seen, tol=PURSUIT_TOL)
    residual = xp.abs(data - low)
    spread = 1.4826 * medians(residual, seen, backend=backend)
    return xp.where(seen & (residual <= BEYOND * spread), data, low)


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


def _spectra(data: Array, problem: RobustRecovery) -> Array:
    """Return the singular values of each matrix, a row each."""
    xp = problem.backend.xp
    s = xp.linalg.svdvals(data)
    return xp.reshape(s, (-1, s.shape[-1]))


def _noise(s: Array, problem: RobustRecovery, floor: float | Array = 0.0) -> Array:
    """Return what singular values of signal are above, for each row."""
    xp = problem.backend.xp
    short, long = sorted(problem.observed.shape[-2:])
    # The median singular value belongs to the noise, and so tells its level.
    median = s[:, s.shape[-1] // 2]
    return xp.maximum(_threshold(short / long) * median, (xp.zeros_like(s[:, :1]) + floor)[:, 0])


def _count_signal(s: Array, problem: RobustRecovery) -> list[int]:
    xp = problem.backend.xp
    above = xp.astype(s > _noise(s, problem)[:, None], xp.float32)
    counts = stacks.floats(xp.sum(above, axis=-1), backend=problem.backend)
    return sorted(int(count) for count in counts)


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
