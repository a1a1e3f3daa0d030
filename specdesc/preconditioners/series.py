"""Sums that closed forms lose digits in: t - ln(1 + t), and the hypergeometric ones of kappa."""

import math

from specdesc._lib.tracing import opaque
from specdesc._lib.typing import Array, Namespace

#: Terms of the power series, which converge like 2^-n: enough for float64.
TERMS = 56


def less_log1p(t: Array, /, *, xp: Namespace) -> Array:
    """Return t - ln(1 + t) for t > -1, to full relative accuracy also near 0.

    With z = t / (2 + t), ln(1 + t) = 2 artanh z and t - 2 z = t z; the rest is its series.
    """
    near = xp.clip(t, min=-0.5, max=0.5)
    z = near / (2.0 + near)
    square = z * z
    tail = xp.zeros_like(z)
    for j in range(18, 0, -1):
        tail = square * (tail + 1.0 / (2 * j + 1))
    return xp.where(xp.abs(t) <= 0.5, near * z - 2.0 * z * tail, t - xp.log1p(t))


def horner(z: Array, ratios: tuple[float, ...], /, *, xp: Namespace) -> Array:
    """Return the sum of a_n z^n with a_0 = 1 and a_(n+1) / a_n = ratios[n], for 0 <= z <= 1/2."""
    total = xp.ones_like(z)
    for ratio in ratios[::-1]:
        total = 1.0 + ratio * z * total
    return total


@opaque
def ratios(above: tuple[float, ...], below: tuple[float, ...], /) -> tuple[float, ...]:
    """Return for every term the product of (n + a) over that of (n + b)."""
    return tuple(
        math.prod(n + a for a in above) / math.prod(n + b for b in below) for n in range(TERMS)
    )


@opaque
def top(kappa: float, /) -> float:
    """Return h_kappa(1) = B(2 / kappa, 1 - 1 / kappa) / kappa for kappa > 1."""
    a, b = 2.0 / kappa, 1.0 - 1.0 / kappa
    return math.exp(math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)) / kappa


def conjugate(t: Array, pre: Array, z: Array, kappa: float, /, *, xp: Namespace) -> Array:
    """Return h*(t) for kappa > 1, given pre(t) and z = pre(t)^kappa."""
    q = 1.0 / kappa
    below = xp.clip(z, max=0.5)
    near = 0.5 * t * pre * horner(below, ratios((q,), (1.0 + 2.0 * q,)), xp=xp)
    w = xp.clip(1.0 - z, max=0.5)
    far = t * pre * horner(w, ratios((q,), (1.0 - q,)), xp=xp) - top(kappa)
    return xp.where(z <= 0.5, near, far)


def reference(r: Array, w: Array, kappa: float, /, *, xp: Namespace) -> Array:
    """Return h(r) for kappa > 1 and r in [0, 1], given w = 1 - r^kappa."""
    q = 1.0 / kappa
    below = xp.clip(1.0 - w, max=0.5)
    near = 0.5 * r * r * horner(below, ratios((q, 2.0 * q), (1.0 + 2.0 * q, 1.0)), xp=xp)
    above = xp.clip(w, min=0.0, max=0.5)
    sum_ = horner(above, ratios((1.0 + q,), (2.0 - q,)), xp=xp) / (kappa - 1.0)
    far = top(kappa) - r * r * above ** (1.0 - q) * sum_
    return xp.where(w >= 0.5, near, far)
