"""Steps: odd polynomials in a form that a matrix kernel evaluates stably."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from specdesc.minimax.algebra import add, multiply, scale
from specdesc.minimax.images import Polynomial
from specdesc.minimax.shifted import expand_shifted, shifted_constants

#: Products of square matrices per step, once the Gram matrix is known.
PRODUCTS: Mapping[int, int] = MappingProxyType({3: 0, 5: 1, 9: 2, 17: 3})


class Step(NamedTuple):
    """One polynomial step p(x) = x r(x^2), ready for a matrix kernel.

    With R the Gram matrix of an iterate X whose singular values lie in [0, 1], the step is
    X <- r(R) X, r(R) = a_0 I + Z. The identity stays implicit: form Z, then X <- a_0 X + Z X.
    With R2 = R R, S = 2 R - I and T2 = 2 S S - I = 8 (R2 - R) + I:

    ======  ======================  =================================
    degree  constants               definition
    ======  ======================  =================================
    3       a_0, b                  Z = b R
    5       a_0, b, c               Z = b R + c R2
    9       a_0, b, c, d, e         Z = b S + c T2 + (d S + e T2) T2
    17      a_0, mu, k_1, ..., k_8  see `specdesc.minimax.shifted`
    ======  ======================  =================================

    Monomials of degree 9 would cancel at small ratios, even in single precision.

    Attributes
    ----------
    degree : int
        Degree of p.
    constants : tuple of float
        The constants of the form; the first one is a_0.
    coefficients : tuple of float
        Coefficients of x, x^3, x^5, ... of p, for the record. What a kernel evaluates is given by
        `constants`: see `step_polynomial`.
    """

    degree: int
    constants: tuple[float, ...]
    coefficients: tuple[float, ...]


def evaluation_step(coefficients: Polynomial, /) -> Step:
    """Put an odd polynomial of degree 3, 5, 9 or 17 into the form of its degree.

    Parameters
    ----------
    coefficients : sequence of float or Fraction
        Coefficients of x, x^3, x^5, ...

    Returns
    -------
    Step
        See there for the meaning of its constants.

    Raises
    ------
    ValueError
        If the degree has no form.

    Examples
    --------
    >>> from specdesc.minimax import evaluation_step
    >>> evaluation_step((1.5, -0.5)).constants
    (1.5, -0.5)
    """
    degree = 2 * len(coefficients) - 1
    if degree not in PRODUCTS:
        msg = f"coefficients must have 2, 3, 5 or 9 entries, got {len(coefficients)}"
        raise ValueError(msg)
    exact = [Fraction(c) for c in coefficients]
    rounded = tuple(float(c) for c in exact)
    return Step(degree, _CONSTANTS[degree](exact) if degree in _CONSTANTS else rounded, rounded)


def step_polynomial(step: Step, /) -> tuple[Fraction, ...]:
    """Return the exact coefficients of x, x^3, ... of what the constants of a step define.

    They differ from ``step.coefficients`` by the rounding of the constants.
    """
    constants = [Fraction(c) for c in step.constants]
    expand = _EXPANSIONS.get(step.degree)
    return tuple(expand(constants) if expand else constants)


def _chebyshev(factor: Sequence[Fraction]) -> tuple[float, ...]:
    """Chebyshev coefficients in 2 y - 1, folded by T3 = 2 S T2 - S, T4 = 2 T2 T2 - I."""
    constant, first, second, third, fourth = (
        _chebyshev_coefficient(factor, j) for j in range(len(factor))
    )
    folded = (constant - fourth, first - third, second, 2 * third, 2 * fourth)
    return tuple(float(d) for d in folded)


def _chebyshev_coefficient(factor: Sequence[Fraction], j: int) -> Fraction:
    """By 4^i y^i = binom(2 i, i) + 2 sum_j binom(2 i, i - j) T_j(2 y - 1)."""
    total = sum(
        (c * math.comb(2 * i, i - j) / 4**i for i, c in enumerate(factor) if i >= j),
        Fraction(),
    )
    return 2 * total if j else total


def _expand_chebyshev(constants: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients in y of the Chebyshev form."""
    first = [Fraction(-1), Fraction(2)]
    second = [Fraction(1), Fraction(-8), Fraction(8)]
    constant, b, c, d, e = constants
    low = add([constant], scale(b, first), scale(c, second))
    return add(low, multiply(add(scale(d, first), scale(e, second)), second))


# Monomials serve degrees 3 and 5.
_CONSTANTS = MappingProxyType({9: _chebyshev, 17: shifted_constants})
_EXPANSIONS = MappingProxyType({9: _expand_chebyshev, 17: expand_shifted})
