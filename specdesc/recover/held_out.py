"""Observed entries that a fit does not see, and how well it tells them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from specdesc._lib import host
from specdesc._lib.typing import Array
from specdesc.recover import centring

#: Of the observed entries, and at most so many: that many tell the mean error to less than 1 %.
SHARE = 0.05
MOST = 100_000

#: An error counts at most so many robust standard deviations of the data. Otherwise a few outliers
#: of any size would drown the differences of the methods, which agree on them.
CLIP = 10.0

#: Robust standard deviations from all fits, from which on an entry is no judge of any; and the
#: least such distance, relative to the clip.
FAR = 15.0
LEAST = 1e-4

#: Where less than this share of the entries is held out, a fit does not miss them.
NEGLIGIBLE = 0.01


@dataclass(frozen=True)
class HeldOut:
    """A sample of the observed entries.

    Attributes
    ----------
    places : NumPy array of int
        Indices into the flat data.
    values : NumPy array
        The entries there.
    clip : float
        The largest error that counts.
    scale : float
        The robust standard deviation of the data.
    size : int
        Of the data.
    """

    places: Array
    values: Array
    clip: float
    scale: float
    size: int

    @property
    def is_negligible(self) -> bool:
        """Say whether a fit without these entries need not be made again with them."""
        return len(self.places) < NEGLIGIBLE * self.size

    def errors(self, fit: Array, /) -> Array:
        """Return the absolute errors of a fit on the sample, clipped."""
        found = abs(fit.reshape(-1)[self.places] - self.values)
        return numpy.minimum(numpy.nan_to_num(found, nan=self.clip), self.clip)

    def near(self, errors: Sequence[Array], /) -> Array:
        """Return which entries of the sample one of the fits comes near.

        What all fits are far from, by more than 15 robust standard deviations of the smallest
        error, is an outlier of the data and tells nothing of the fits.
        """
        nearest = numpy.min(numpy.stack(errors), axis=0)
        far = FAR * centring.NORMAL * float(numpy.median(nearest))
        return nearest <= max(far, LEAST * float(self.clip))

    def means(self, errors: Sequence[Array], /) -> list[float]:
        """Return the mean errors of several fits, over the entries that one of them comes near."""
        if not len(self.places):
            return [float("nan")] * len(errors)
        near = self.near(errors)
        return [float(each[near].mean()) for each in errors]

    def root_mean_squares(self, errors: Sequence[Array], /) -> list[float]:
        """Return the root mean square errors of several fits, over the same entries."""
        near = self.near(errors)
        return [float((each[near] ** 2).mean() ** 0.5) for each in errors]

    def as_good(self, errors: Sequence[Array], /) -> list[bool]:
        """Return which fits are within one standard error of the best one.

        The standard error is that of the mean difference of the two on the same entries.
        """
        near = self.near(errors)
        means = self.means(errors)
        best = errors[means.index(min(means))][near]
        scale = max(1, len(best)) ** -0.5
        return [
            mean - min(means) <= scale * float(numpy.std(each[near] - best))
            for mean, each in zip(means, errors, strict=True)
        ]


def choose(values: Array, seed: int, /) -> HeldOut:
    """Draw the sample. A matrix of the stack keeps half of its observed entries at least."""
    random = host.generator((seed, 2))
    flat = values.reshape(-1)
    count = min(int(SHARE * flat.size), MOST)
    places = numpy.sort(random.choice(flat.size, count, replace=False, shuffle=False))
    places = places[~numpy.isnan(flat[places])]
    places = _with_company(values, places)
    known = flat if flat.size <= 10 * MOST else flat[random.integers(flat.size, size=MOST)]
    scale = centring.spread(known)
    clip = CLIP * scale if scale > 0 else float("inf")
    return HeldOut(places, flat[places], clip, scale, flat.size)


def _with_company(values: Array, places: Array) -> Array:
    """Leave out places whose row or column would have fewer than two entries to learn from."""
    if values.size > 10 * MOST:
        return places  # lines are long then
    held = numpy.zeros(values.size, bool)
    held[places] = True
    held = held.reshape(values.shape)
    left = ~numpy.isnan(values) & ~held
    lonely = (left.sum(-1, keepdims=True) < 2) | (left.sum(-2, keepdims=True) < 2)
    return places[~(held & lonely).reshape(-1)[places]]
