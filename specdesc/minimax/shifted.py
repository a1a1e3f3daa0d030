"""Degree 17 in three products of squares.

With S = 2 (R - mu I) and A = S S, the form of a polynomial h of degree 8 in R is

    V = A (k_1 A + k_2 S),    h = (V + k_3 A + k_4 S) (V + k_5 A) + k_6 V + k_7 A + k_8 S + k_0 I.

A shift mu to the middle of the spectrum keeps all constants below about 30, where those of the
monomials exceed 10^5 (derived; the scheme is of the type that Sastre published).
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

from specdesc.minimax.algebra import add, multiply, scale
from specdesc.minimax.images import common_denominator


def shifted_constants(factor: Sequence[Fraction], /) -> tuple[float, ...]:
    """Return k_0, mu, k_1 ... k_8 for the shift with the smallest expected rounding error."""
    numerators, denominator = common_denominator(factor)
    candidates = (
        candidate
        for shift in _SHIFTS
        for candidate in _solutions(shift, _shifted(numerators, denominator, shift))
    )
    return min(candidates, key=_roundoff)


def expand_shifted(constants: Sequence[Fraction], /) -> list[Fraction]:
    """Coefficients in y, the eigenvalue of R, of the form."""
    k0, mu, k1, k2, k3, k4, k5, k6, k7, k8 = constants
    s = [-2 * mu, Fraction(2)]
    a = multiply(s, s)
    v = multiply(a, add(scale(k1, a), scale(k2, s)))
    left = add(v, scale(k3, a), scale(k4, s))
    product = multiply(left, add(v, scale(k5, a)))
    return add(product, scale(k6, v), scale(k7, a), scale(k8, s), [k0])


_SHIFT_UNIT = 64
_SHIFTS = tuple(range(28, 48, 2))  # shifts mu = 28/64 .. 46/64
# Values of y = x^2, denser at both ends.
_GRID = tuple(math.sin(math.pi * (2 * i + 1) / 44) ** 2 for i in range(11))


def _shifted(numerators: Sequence[int], denominator: int, shift: int) -> list[float]:
    """Coefficients in s = 2 (y - shift / 64), each correctly rounded."""
    top = len(numerators) - 1
    return [
        sum(
            numerators[i] * math.comb(i, j) * shift ** (i - j) * _SHIFT_UNIT ** (top - i + j)
            for i in range(j, top + 1)
        )
        / (denominator * _SHIFT_UNIT**top * 2**j)
        for j in range(top + 1)
    ]


def _solutions(shift: int, b: Sequence[float]) -> Iterator[tuple[float, ...]]:
    """Yield the real solutions, none to two.

    Comparing coefficients with sum_j b_j s^j leaves one quadratic equation, for k_5.
    """
    if b[8] <= 0.0 or b[7] == 0.0:
        return
    k1 = math.sqrt(b[8])
    k2 = b[7] / (2.0 * k1)
    w = (b[6] - k2 * k2) / k1
    k4 = (b[5] - w * k2) / k1
    half = (w - k1 * k4 / k2) / 2.0
    square = half * half + k1 / k2 * b[3] - b[4] + k4 * k2
    if square < 0.0:
        return
    for k5 in (half - math.sqrt(square), half + math.sqrt(square)):
        k6 = (b[3] - k4 * k5) / k2
        yield (b[0], shift / _SHIFT_UNIT, k1, k2, w - k5, k4, k5, k6, b[2], b[1])


def _roundoff(constants: Sequence[float]) -> float:
    """Estimated rounding error of p in the form, in unit roundoffs."""
    return max(math.sqrt(y) * _roundoff_at(constants, y) for y in _GRID)


def _roundoff_at(constants: Sequence[float], y: float) -> float:
    """First-order error of h(y), root mean square over independent roundings.

    A rounding of a quantity q by one unit roundoff moves the result by q times the derivative in q;
    the derivatives (``to_...``) are found backwards.
    """
    k0, mu, k1, k2, k3, k4, k5, k6, k7, k8 = constants
    s = 2.0 * (y - mu)
    a = s * s
    inner = k1 * a + k2 * s
    v = a * inner
    left = v + k3 * a + k4 * s
    right = v + k5 * a
    product = left * right
    tail = k6 * v + k7 * a + k8 * s
    to_v = left + right + k6
    to_inner = a * to_v
    to_a = inner * to_v + k1 * to_inner + k3 * right + k5 * left + k7
    to_s = 2.0 * s * to_a + k2 * to_inner + k4 * right + k8
    sizes = (s * to_s, a * to_a, v * to_v, inner * to_inner, product, product)
    inside = (k1 * a * to_inner, k2 * s * to_inner, k3 * a * right, k4 * s * right)
    outside = (k5 * a * left, product, k6 * v, k7 * a, k8 * s, tail, product + tail)
    return math.hypot(*sizes, *inside, *outside, product + tail + k0)
