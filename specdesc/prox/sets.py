"""Sets of magnitudes: violation, projection, support points (formulas derived unless named).

All projections but that on the Euclidean ball are the same for every kernel: they are clips,
truncations, or one uniform shift.
"""

import math
from dataclasses import dataclass

from specdesc._lib.checks import is_number, plain
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg import ky_fan
from specdesc.backends import Backend
from specdesc.prox import blocks, euclidean_ball
from specdesc.prox.profile import Phi


@dataclass(frozen=True)
class Interval:
    """All magnitudes between `low` >= 0 and `high`."""

    low: float
    high: float
    separable = True
    depends_on_kernel = False

    def violation(self, s: Array, /, *, xp: Namespace) -> Array:
        """Return how far the worst magnitude lies outside."""
        above = xp.max(s, axis=-1) - self.high
        below = self.low - xp.min(s, axis=-1)
        return xp.clip(xp.maximum(above, below), min=0.0)

    def scale(self, s: Array, /, *, xp: Namespace) -> Array | float:
        """Return the upper end."""
        return self.high

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Clip."""
        low = plain(self.low)
        if isinstance(low, float) and is_number(self.high, low):  # where a clip has a corner
            return backend.xp.full_like(s, self.low)
        return backend.xp.clip(s, min=self.low, max=self.high)

    def support(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return the upper end, and the lower one where s is 0 up to rounding."""
        kept = s > slack * xp.max(s, axis=-1, keepdims=True)
        return xp.where(kept, xp.full_like(s, self.high), xp.full_like(s, self.low))


@dataclass(frozen=True)
class SumBall:
    """Magnitudes that add up to at most `radius`."""

    radius: float
    separable = False
    depends_on_kernel = False

    def violation(self, s: Array, /, *, xp: Namespace) -> Array:
        """Return the excess of the sum."""
        return xp.clip(xp.sum(s, axis=-1) - self.radius, min=0.0)

    def scale(self, s: Array, /, *, xp: Namespace) -> Array | float:
        """Return the radius."""
        return self.radius

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Subtract the shift that leaves the sum at the radius; nothing where s is inside."""
        xp = backend.xp

        def project(part: Array) -> Array:
            p = on_simplex(part, self.radius, backend=backend)
            inside = xp.sum(part, axis=-1, keepdims=True) <= self.radius
            if backend.branches and not bool(xp.any(inside)):
                return p
            return xp.where(inside, part, p)

        return blocks.rows(project, s, backend=backend)

    def support(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return the radius at the first of the largest magnitudes."""
        return self.radius * one_hot(s, xp=xp)


@dataclass(frozen=True)
class CappedSumBall:
    """Magnitudes of at most `radius` that add up to at most k radius."""

    k: int
    radius: float
    separable = False
    depends_on_kernel = False

    def violation(self, s: Array, /, *, xp: Namespace) -> Array:
        """Return how far the dual Ky Fan norm exceeds the radius."""
        return xp.clip(ky_fan.dual_norm(s, self.k, xp=xp) - self.radius, min=0.0)

    def scale(self, s: Array, /, *, xp: Namespace) -> Array | float:
        """Return the radius."""
        return self.radius

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Shift and clip; what the rounding of a large shift leaves over is divided out."""
        xp, total = backend.xp, self.k * self.radius
        p = ky_fan.project(s, self.radius, total, xp=xp)
        sum_ = xp.sum(p, axis=-1, keepdims=True)
        over = sum_ > total
        return p * xp.where(over, total / xp.where(over, sum_, sum_ + 1.0), xp.ones_like(sum_))

    def support(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return the radius at the k leading magnitudes."""
        return self.radius * ky_fan.dual_ball_atom(s, self.k, slack, xp=xp)


@dataclass(frozen=True)
class EuclideanBall:
    """Magnitudes of Euclidean norm at most `radius`: the one projection that sees the kernel."""

    radius: float
    separable = False
    depends_on_kernel = True

    def violation(self, s: Array, /, *, xp: Namespace) -> Array:
        """Return the excess of the norm."""
        return xp.clip(euclidean_ball.norm(s, xp=xp)[..., 0] - self.radius, min=0.0)

    def scale(self, s: Array, /, *, xp: Namespace) -> Array | float:
        """Return the radius."""
        return self.radius

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Return the point of the ball that is nearest in the geometry of the kernel."""
        return euclidean_ball.project(s, self.radius, phi, backend=backend)

    def support(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return s of length `radius`."""
        size = euclidean_ball.norm(s, xp=xp)
        return self.radius * (s / xp.where(size > 0, size, xp.ones_like(size)))


@dataclass(frozen=True)
class Leading:
    """At most `count` magnitudes that are not 0."""

    count: int
    ordered: bool  # the magnitudes descend, and rounding counts as 0
    separable = False
    depends_on_kernel = False

    def violation(self, s: Array, /, *, xp: Namespace) -> Array:
        """Return the largest magnitude that is one too many."""
        if self.count >= s.shape[-1]:
            return xp.sum(xp.zeros_like(s), axis=-1)
        if self.ordered:
            return s[..., self.count]
        return xp.sort(s, axis=-1, descending=True)[..., self.count]

    def scale(self, s: Array, /, *, xp: Namespace) -> Array | float:
        """Return the largest magnitude: a rank has no units. Entries are 0 or not."""
        return xp.max(s, axis=-1) if self.ordered else 0.0

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Keep the largest; of equal ones the first."""
        return backend.xp.where(self._kept(s, backend), s, backend.xp.zeros_like(s))

    def _kept(self, s: Array, backend: Backend) -> Array:
        xp = backend.xp
        if self.ordered:
            return xp.arange(s.shape[-1], device=backend.placement) < self.count
        # Ranks, not a threshold: a threshold keeps too many where magnitudes tie.
        order = xp.argsort(s, axis=-1, descending=True, stable=True)
        return xp.argsort(order, axis=-1) < self.count


@dataclass(frozen=True)
class Box:
    """Entries, with their signs, between `low` and `high`."""

    low: float
    high: float
    separable = True
    depends_on_kernel = False

    def violation(self, s: Array, /, *, xp: Namespace) -> Array:
        """Return how far the worst entry lies outside."""
        worst = xp.maximum(xp.max(s, axis=-1) - self.high, self.low - xp.min(s, axis=-1))
        return xp.clip(worst, min=0.0)

    def scale(self, s: Array, /, *, xp: Namespace) -> Array | float:
        """Return the larger end that is finite."""
        low, high = plain(self.low), plain(self.high)
        if isinstance(low, float) and isinstance(high, float):
            return max(abs(end) if math.isfinite(end) else 0.0 for end in (low, high))
        sizes = [xp.abs(xp.zeros_like(s[..., 0]) + end) for end in (low, high)]
        sizes = [xp.where(xp.isfinite(size), size, xp.zeros_like(size)) for size in sizes]
        return xp.maximum(*sizes)

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Clip."""
        return backend.xp.clip(s, min=self.low, max=self.high)

    def support(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return the end that the sign of s points to, and the least entry at 0."""
        zero = xp.zeros_like(s)
        least = xp.minimum(xp.maximum(zero, zero + self.low), zero + self.high)
        end = xp.where(s > 0, xp.full_like(s, self.high), xp.full_like(s, self.low))
        return xp.where(s == 0, least, end)


@dataclass(frozen=True)
class ProbabilitySimplex:
    """Entries of at least 0 that add up to `total`."""

    total: float
    separable = False
    depends_on_kernel = False

    def violation(self, s: Array, /, *, xp: Namespace) -> Array:
        """Return the largest of the violations of all constraints."""
        below = xp.clip(-xp.min(s, axis=-1), min=0.0)
        return xp.maximum(below, xp.abs(xp.sum(s, axis=-1) - self.total))

    def scale(self, s: Array, /, *, xp: Namespace) -> Array | float:
        """Return the sum."""
        return self.total

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Subtract the shift that leaves the sum at its value."""

        def project(part: Array) -> Array:
            return on_simplex(part, self.total, backend=backend)

        return blocks.rows(project, s, backend=backend)

    def support(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return the vertex of the first of the largest entries."""
        return self.total * one_hot(s, xp=xp)


def on_simplex(s: Array, total: float, /, *, backend: Backend) -> Array:
    """Return the point nearest to s of {p >= 0, sum p = total}, exact, by one sort.

    With z = max s - s sorted upwards, the shift is the least over i of (z_1 + ... + z_i + total) /
    i: no search for the index, no gather. The last division keeps the sum where the shift itself is
    rounded. As the first and the last of these bound the shift, and all z beyond it count for
    nothing, code that may look at values leaves those out. Derived.
    """
    xp, n = backend.xp, s.shape[-1]
    if is_number(total, 0.0):
        return xp.zeros_like(s)
    z = xp.max(s, axis=-1, keepdims=True) - s
    first = xp.sort(z, axis=-1, stable=False)
    if backend.branches:
        bound = xp.minimum(
            xp.sum(z, axis=-1, keepdims=True) / n + total / n, 0.0 * z[..., :1] + total
        )
        counted = xp.sum(xp.astype(z <= bound, xp.int32), axis=-1)
        first = first[..., : min(int(xp.max(counted)) + 1, n)]
    counts = xp.arange(1, first.shape[-1] + 1, dtype=s.dtype, device=backend.placement)
    sums = xp.cumulative_sum(first, axis=-1)
    shift = xp.min((sums + total) / counts, axis=-1, keepdims=True)
    p = xp.maximum(shift - z, xp.zeros_like(shift))
    return p * (total / xp.sum(p, axis=-1, keepdims=True))


def one_hot(s: Array, /, *, xp: Namespace) -> Array:
    """Return 1 at the first of the largest numbers."""
    index = xp.cumulative_sum(xp.ones_like(s), axis=-1) - 1.0
    largest = s == xp.max(s, axis=-1, keepdims=True)
    count = float(s.shape[-1])
    first = xp.min(xp.where(largest, index, xp.full_like(index, count)), axis=-1, keepdims=True)
    return xp.astype(index == first, s.dtype)
