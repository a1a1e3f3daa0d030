"""What a step costs, in units of m^3 flops for an m x n matrix with alpha = n / m >= 1."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from specdesc.minimax.forms import PRODUCTS

#: Passes over an m x m array per step beside the products.
SWEEPS: Mapping[int, int] = MappingProxyType({3: 1, 5: 2, 9: 7, 17: 12})


def x_side_costs(
    alpha: float, /, *, degrees: Iterable[int] = tuple(PRODUCTS), sweep: float = 0.0
) -> dict[int, float]:
    """Return the cost of a step on the matrix itself: 4 alpha + 2 k.

    With k products of square matrices; the Gram matrix and the product with the iterate cost
    2 alpha each. A pass over a square array costs `sweep`.
    """
    return {d: 4.0 * alpha + _square(d, sweep) + 2.0 * alpha * sweep for d in degrees}


def gram_side_costs(
    *, degrees: Iterable[int] = tuple(PRODUCTS), sweep: float = 0.0
) -> dict[int, float]:
    """Return the cost of a step on the Gram matrix: 6 + 2 k.

    One product for the factor and two for the next Gram matrix. A segment costs 4 alpha - 6 more:
    see `specdesc.minimax.segments`.
    """
    return {d: 6.0 + _square(d, sweep) + 5.0 * sweep for d in degrees}


def _square(degree: int, sweep: float) -> float:
    return 2.0 * PRODUCTS[degree] + sweep * SWEEPS[degree]
