"""The rank that a recovery gets where the user names none."""

from collections.abc import Callable

import numpy

from specdesc import rules
from specdesc._lib import host
from specdesc._lib.typing import Array
from specdesc._minimize import minimize
from specdesc.problems import RobustRecovery, estimate_rank
from specdesc.prox import Rank
from specdesc.recover import centring
from specdesc.recover.held_out import HeldOut

#: From this size on the rank is that of random rows and columns: enough to see what stands out.
LARGE = 1024
SAMPLE = 256

#: Entries up to which an estimate is refined, by fits of so many steps and at most so many fits.
REFINED = 400_000
REFINING_STEPS = 200
MOST_FITS = 20

#: What the error may be, relative to that at a rank, to move to a lower and to a higher one; and
#: what it may be more at a lower one, relative to the spread of the data: nobody sees so little.
LOWER = 1.0
HIGHER = 0.97
UNSEEN = 1e-3

#: A background is rarely richer than this: the scene, and a few ways in which its light changes.
MOST_BACKGROUND = 5
BACKGROUND_STEPS = 200
PIXELS = 2000
FRAMES = 300

#: What is left of noise is as large as its differences in time, over the square root of 2.
LIKE_NOISE = 1.3

#: A rank more must take away a fifth of what is left.
GAIN = 0.8


def estimate(values: Array, make: Callable[[Array], RobustRecovery], seed: int, /) -> int:
    """Return the rank of data, by `estimate_rank`; the one place where a rule is chosen.

    Parameters
    ----------
    values : NumPy array, shape (..., m, n)
    make : callable
        ``make(values)`` is the problem on a backend.
    seed : int
        Of the rows and columns that stand for large data.
    """
    stack = values.reshape((-1, *values.shape[-2:]))
    varies = [i for i, matrix in enumerate(stack) if numpy.nanmin(matrix) != numpy.nanmax(matrix)]
    if not varies:
        return 1
    # Equal numbers have no noise for a threshold to be set by.
    small = values = stack if len(varies) == len(stack) else stack[varies]
    if min(values.shape[-2:]) > LARGE:
        random = host.generator((seed, 3))
        rows, columns = (
            numpy.sort(random.choice(size, SAMPLE, replace=False)) for size in values.shape[-2:]
        )
        sampled = values[len(values) // 2][rows[:, None], columns]  # of a photograph the green
        if not numpy.isnan(sampled).all():
            small = sampled
    return estimate_rank(make(small))


def refined(
    rank: int,
    most: int,
    errors: Callable[[int], Array],
    held: HeldOut,
    /,
) -> int:
    """Return a rank near an estimate that tells held-out entries better, or as well and is lower.

    Data that are not of low rank plus noise, as tables of measurements, have no rank to be found;
    what a fit is good for then is what it tells of entries that it did not see.

    Parameters
    ----------
    rank, most : int
        The estimate, and the largest rank there is.
    errors : callable
        The errors on held-out entries at a rank.
    held : HeldOut
        The sample that the errors are those on.
    """
    tried = {rank: errors(rank)}
    step = max(1, rank // 4)
    while step:
        if len(tried) > MOST_FITS:
            break
        for each in (max(1, rank - step), min(most, rank + step)):
            if each not in tried:
                tried[each] = errors(each)
        found = dict(zip(tried, held.means(list(tried.values())), strict=True))
        unseen = UNSEEN * held.scale
        below, above = max(1, rank - step), min(most, rank + step)
        if below < rank and found[below] <= LOWER * found[rank] + unseen:
            rank = below
        elif above in tried and found[above] < HIGHER * found[rank] - unseen:
            rank = above
        else:
            step //= 2
    return rank


def of_background(values: Array, make: Callable[[Array], RobustRecovery], seed: int, /) -> int:
    """Return the rank of the background of frames, one a row.

    What a held-out entry, or a threshold for noise, takes for signal includes what moves slowly:
    a sprite is where it was one frame ago, and so predictable. What tells the background from it is
    that it covers most of each frame. So the rank starts at 1, a scene under light of one colour
    that may get brighter and darker, and grows while the *typical* entry, by the median, is left
    with something that changes slowly in time. Noise does not: its differences from frame to frame
    are as large as that of independent numbers. Things that cover less than half of the frame do
    not move a median. In doubt the rank is lower.

    Derived. Looks at 2000 pixels of 300 frames at most.
    """
    random = host.generator((seed, 4))
    frames = numpy.unique(numpy.linspace(0, len(values) - 1, FRAMES).round().astype(int))
    count = min(PIXELS, values.shape[1])
    pixels = numpy.sort(random.choice(values.shape[1], count, replace=False))
    sample = values[frames[:, None], pixels]
    level = 0.5 / 255 * centring.spread(sample)  # next to nothing
    best, left = 1, float("inf")
    for rank in range(1, min(MOST_BACKGROUND, *sample.shape) + 1):
        residual = sample - _fit(make(sample), rank)
        now = _size(residual)
        if now > GAIN * left:
            break
        best, left = rank, now
        # Neighbours in a sample that skips frames are further apart: then all looks like noise,
        # and the rank stays low.
        if now <= max(level, LIKE_NOISE * _size(numpy.diff(residual, axis=0)) / 2**0.5):
            break
    return best


def _fit(problem: RobustRecovery, rank: int) -> Array:
    steps = problem.geometric_steps(rank, BACKGROUND_STEPS)
    rule = rules.TruncatedSpectralDescent(rank, steps, g=Rank(rank))
    found = minimize(problem.value_and_grad, problem.start(), rule, steps=BACKGROUND_STEPS)
    return problem.backend.to_host(found.x)


def _size(values: Array) -> float:
    return centring.NORMAL * float(numpy.nanmedian(abs(values)))
