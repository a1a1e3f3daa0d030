"""Gauss-Legendre quadrature and small linear systems, on floats."""

import math
import operator
from collections.abc import Sequence
from functools import cache


@cache
def gauss_legendre(count: int) -> tuple[tuple[float, float, float], ...]:
    """Nodes g on (0, 1), their mirrors 1 - g, and weights."""
    return tuple(_legendre_node(count, i) for i in range(count))


def _legendre_node(count: int, index: int) -> tuple[float, float, float]:
    """One node of the Gauss-Legendre rule, by Newton's method."""
    x = math.cos(math.pi * (index + 0.75) / (count + 0.5))
    for _ in range(10):
        value, slope = _legendre(count, x)
        x -= value / slope
    slope = _legendre(count, x)[1]
    return (1.0 - x) / 2.0, (1.0 + x) / 2.0, 1.0 / ((1.0 - x * x) * slope * slope)


def _legendre(count: int, x: float) -> tuple[float, float]:
    """Legendre polynomial of degree `count` and its derivative."""
    before, value = 1.0, x
    for j in range(2, count + 1):
        before, value = value, ((2 * j - 1) * x * value - (j - 1) * before) / j
    return value, count * (x * value - before) / (x * x - 1.0)


def solve(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Solve a small dense system by elimination with partial pivoting."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i in range(len(rows)):
        pivot = max(range(i, len(rows)), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(i + 1, len(rows)):
            ratio = rows[r][i] / rows[i][i]
            rows[r] = [a - ratio * b for a, b in zip(rows[r], rows[i], strict=True)]
    return _back_substitution(rows)


def _back_substitution(rows: Sequence[Sequence[float]]) -> list[float]:
    """Solve an upper triangular system, the right-hand side being the last column."""
    solution: list[float] = []
    for i in reversed(range(len(rows))):
        solved = sum(map(operator.mul, rows[i][i + 1 : -1], solution))
        solution.insert(0, (rows[i][-1] - solved) / rows[i][i])
    return solution
