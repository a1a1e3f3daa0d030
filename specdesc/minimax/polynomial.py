"""The best odd polynomial approximation of 1 on an interval."""

import math
import operator
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from specdesc.minimax.alternation import best_on, monomials

#: Degrees that the tests hold to an exchange algorithm with 70 digits.
DEGREES = (3, 5, 7, 9, 17)


class MinimaxPolynomial(NamedTuple):
    """Best odd polynomial approximation of 1 on an interval.

    Attributes
    ----------
    coefficients : tuple of float
        Coefficients of x, x^3, x^5, ...
    error : float
        The largest abs(1 - p(x)) on the interval.
    deficit : float
        1 - error, the least value of p on the interval, to full relative accuracy: it tends to 0
        with `lower`, and the difference of two floats would keep few of its digits.
    """

    coefficients: tuple[float, ...]
    error: float
    deficit: float


def minimax_polynomial(lower: float, degree: int, /, *, upper: float = 1.0) -> MinimaxPolynomial:
    """Best odd polynomial approximation of 1 on [lower, upper].

    The minimiser of max abs(1 - p(x)) over the odd polynomials p of the given
    degree, x from `lower` to `upper`. It is unique and equioscillates.

    Parameters
    ----------
    lower : float
        Lower end of the interval, ``0 < lower < upper``.
    degree : {3, 5, 7, 9, 17}
        Degree of p.
    upper : float, default 1.0
        Upper end of the interval.

    Returns
    -------
    MinimaxPolynomial
        ``(coefficients, error, deficit)``, coefficients of x, x^3, x^5, ...

    Raises
    ------
    ValueError
        If the degree is not offered, if the interval is empty, not finite or
        not positive, or if a coefficient leaves the range of a float.

    See Also
    --------
    plan_orthogonalization : Sequences of such polynomials.

    Notes
    -----
    The error is accurate to a few units in the last place, also where it is tiny; where it is near
    1, ``deficit`` is as accurate, and ``1 - error`` is not. The coefficients are as accurate, one
    by one. Where they are large (degree 17 at
    a small ratio: 5e5), a float evaluation of their sum is not.

    The cost is a few Newton steps, 0.1 to 3 ms. Results are cached.

    Examples
    --------
    >>> from specdesc import minimax_polynomial
    >>> coefficients, error, deficit = minimax_polynomial(0.5, 5)
    >>> [round(c, 12) for c in coefficients]
    [2.670835388801, -3.285356619058, 1.638567867384]
    >>> round(error, 14), round(deficit, 14)
    (0.02404663712616, 0.97595336287384)
    """
    degree = _checked_degree(degree)
    ratio, gap = _checked_interval(lower, upper)
    best = best_on(degree // 2, ratio, gap)
    scaled = _odd_powers(monomials(best, 1.0), Fraction(1) / Fraction(upper))
    return MinimaxPolynomial(_in_range(scaled, upper), best.error, best.rest)


def _checked_degree(degree: int) -> int:
    """Return the degree if it is one of those offered."""
    if operator.index(degree) not in DEGREES:
        msg = f"degree must be one of {DEGREES}, got {degree!r}"
        raise ValueError(msg)
    return operator.index(degree)


def _checked_interval(lower: float, upper: float) -> tuple[float, float]:
    """Return lower / upper and (upper - lower) / upper."""
    if not 0.0 < upper < math.inf:
        msg = f"upper must be positive and finite, got upper={upper!r}"
        raise ValueError(msg)
    if not 0.0 < lower < upper:
        msg = f"lower must lie strictly between 0 and upper={upper!r}, got lower={lower!r}"
        raise ValueError(msg)
    if lower / upper < _SMALLEST_RATIO:
        msg = (
            f"lower / upper must be at least {_SMALLEST_RATIO:g}, "
            f"got lower={lower!r}, upper={upper!r}"
        )
        raise ValueError(msg)
    return lower / upper, float((Fraction(upper) - Fraction(lower)) / Fraction(upper))


_SMALLEST_RATIO = 1e-200


def _odd_powers(coefficients: Sequence[Fraction], factor: Fraction) -> list[Fraction]:
    """Coefficients of p(factor x)."""
    return [c * factor ** (2 * j + 1) for j, c in enumerate(coefficients)]


def _in_range(coefficients: Iterable[Fraction], upper: float) -> tuple[float, ...]:
    """Round to floats, or say which parameter took them out of range."""
    try:
        rounded = tuple(float(c) for c in coefficients)
    except OverflowError:
        rounded = (0.0,)
    if min(abs(c) for c in rounded) < _SMALLEST_NORMAL:
        msg = f"upper={upper!r} takes a coefficient out of the range of a float: rescale"
        raise ValueError(msg)
    return rounded


_SMALLEST_NORMAL = 2.0**-1022
