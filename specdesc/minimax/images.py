"""Where an odd polynomial, or a sequence of them, takes an interval."""

import itertools
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

#: Coefficients of x, x^3, x^5, ..., floats or exact.
Polynomial = Sequence[float] | Sequence[Fraction]


def image(coefficients: Polynomial, lower: float, upper: float, /) -> tuple[float, float]:
    """Image of an interval under an odd polynomial.

    Parameters
    ----------
    coefficients : sequence of float or Fraction
        Coefficients of x, x^3, x^5, ..., of any degree.
    lower, upper : float
        Ends of the interval, finite, ``lower <= upper``.

    Returns
    -------
    tuple of float
        The smallest and the largest value of the polynomial on [lower, upper],
        infinite where they exceed the range of a float.

    Raises
    ------
    ValueError
        If the interval is empty or not finite.

    Notes
    -----
    The extrema are the ends and the zeros of the derivative. These are
    separated by the zeros of the second derivative, and so on, so none is
    missed. The values at the points found are exact and rounded outwards.

    Examples
    --------
    >>> from specdesc.minimax import image
    >>> image((1.5, -0.5), 0.0, 1.5)
    (0.0, 1.0)
    """
    if not -math.inf < lower <= upper < math.inf:
        msg = f"lower and upper must be finite and ordered, got {lower!r}, {upper!r}"
        raise ValueError(msg)
    exact = [Fraction(c) for c in coefficients]
    radii = _critical_radii(exact, max(abs(lower), abs(upper)))
    inner = [x for r in radii for x in (-r, r) if lower < x < upper]
    evaluate = _exact_evaluation(exact)
    values = [evaluate(x) for x in (lower, upper, *inner)]
    return _rounded_down(min(values)), -_rounded_down(-max(values))


def composed_image(
    polynomials: Iterable[Polynomial], lower: float, upper: float, /
) -> tuple[float, float]:
    """Image of an interval under a sequence of odd polynomials.

    Parameters
    ----------
    polynomials : iterable of sequences of float or Fraction
        The polynomials in the order of application, as for `image`.
    lower, upper : float
        Ends of the interval, finite, ``lower <= upper``.

    Returns
    -------
    tuple of float
        The smallest and the largest value of the composition on [lower, upper];
        ``(-inf, inf)`` if an intermediate value exceeds the range of a float.

    Examples
    --------
    >>> from specdesc.minimax import composed_image
    >>> composed_image([(1.5, -0.5), (1.5, -0.5)], 0.0, 1.0)
    (0.0, 1.0)
    """
    for coefficients in polynomials:
        if not -math.inf < lower <= upper < math.inf:
            return -math.inf, math.inf
        lower, upper = image(coefficients, lower, upper)
    return lower, upper


def _critical_radii(coefficients: Sequence[Fraction], reach: float) -> list[float]:
    """Positive zeros below `reach` of the derivative of an odd polynomial."""
    if reach == 0.0:
        return []
    exponent = math.frexp(reach)[1]  # z = (x / 2^exponent)^2 lies in [0, 1]
    slopes = _scaled_floats([(2 * j + 1) * c for j, c in enumerate(coefficients)], 2 * exponent)
    limit = math.ldexp(reach, -exponent) ** 2
    return [math.ldexp(math.sqrt(z), exponent) for z in _zeros(slopes, 0.0, limit)]


def _scaled_floats(terms: Sequence[Fraction], exponent: int) -> list[float]:
    """Floats proportional to c_j 2^(j exponent), the largest near 1."""
    parts = [math.frexp(float(c)) for c in terms]
    powers = [e + j * exponent for j, (_, e) in enumerate(parts)]
    top = max((e for e, (m, _) in zip(powers, parts, strict=True) if m), default=0)
    return [math.ldexp(m, e - top) for e, (m, _) in zip(powers, parts, strict=True)]


def _zeros(terms: Sequence[float], low: float, high: float) -> list[float]:
    """Sign changes of a polynomial, constant term first, between two points."""
    if len(terms) < 2:
        return []
    slopes = [j * c for j, c in enumerate(terms)][1:]
    knots = (low, *_zeros(slopes, low, high), high)
    signs = [_horner(terms, z) > 0.0 for z in knots]
    brackets = zip(itertools.pairwise(knots), itertools.pairwise(signs), strict=True)
    return [_zero(terms, slopes, ends) for ends, (left, right) in brackets if left != right]


def _zero(terms: Sequence[float], slopes: Sequence[float], ends: tuple[float, float]) -> float:
    """Zero of a monotone piece, by Newton's method kept inside a bracket."""
    left, right = ends
    rising = _horner(terms, right) > 0.0
    point = (left + right) / 2.0
    for _ in range(_MOST_BISECTIONS):
        value, slope = _horner(terms, point), _horner(slopes, point)
        left, right = (left, point) if (value > 0.0) == rising else (point, right)
        trial = point - value / slope if slope else left
        previous, point = point, trial if left < trial < right else (left + right) / 2.0
        if abs(point - previous) <= _CLOSE * abs(point):
            break
    return point


_MOST_BISECTIONS = 1200  # enough to reach the smallest float from 1
_CLOSE = 2.0**-50


def _horner(terms: Sequence[float], z: float) -> float:
    """Value of a polynomial, constant term first."""
    total = 0.0
    for c in reversed(terms):
        total = total * z + c
    return total


def _exact_evaluation(coefficients: Sequence[Fraction]) -> "_Evaluation":
    """Exact odd polynomial, as a function of a float."""
    return _Evaluation(*common_denominator(coefficients))


class _Evaluation(NamedTuple):
    """An odd polynomial by integer numerators over one denominator."""

    numerators: list[int]
    denominator: int

    def __call__(self, x: float) -> Fraction:
        """Evaluate at a float, exactly."""
        above, below = x.as_integer_ratio()
        above_squared, below_squared = above * above, below * below
        total, power = 0, 1
        for numerator in reversed(self.numerators):
            total = total * above_squared + numerator * power
            power *= below_squared
        return Fraction(total * above * below, self.denominator * power)


def _rounded_down(value: Fraction) -> float:
    """Largest float that does not exceed the value, infinite beyond their range."""
    try:
        nearest = float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    return nearest if Fraction(nearest) <= value else math.nextafter(nearest, -math.inf)


def common_denominator(values: Sequence[Fraction]) -> tuple[list[int], int]:
    """Numerators over one denominator."""
    denominator = math.lcm(*(c.denominator for c in values))
    return [c.numerator * (denominator // c.denominator) for c in values], denominator
