"""Small polynomials with exact coefficients, constant term first."""

import itertools
from collections.abc import Sequence
from fractions import Fraction


def add(*terms: Sequence[Fraction]) -> list[Fraction]:
    """Sum of polynomials."""
    return [sum(c, Fraction()) for c in itertools.zip_longest(*terms, fillvalue=Fraction())]


def scale(factor: float | Fraction, terms: Sequence[Fraction]) -> list[Fraction]:
    """Multiple of a polynomial."""
    return [Fraction(factor) * c for c in terms]


def multiply(left: Sequence[Fraction], right: Sequence[Fraction]) -> list[Fraction]:
    """Product of polynomials."""
    product = [Fraction()] * (len(left) + len(right) - 1)
    for (i, a), (j, b) in itertools.product(enumerate(left), enumerate(right)):
        product[i + j] += a * b
    return product
