"""Rational iterations on the singular values of a stack of wide matrices."""

import math
from collections.abc import Sequence

from specdesc._core import polynomial, products
from specdesc._core.linalg import identity, row_energies
from specdesc._core.polynomial import Start
from specdesc._core.subspace import random_block
from specdesc._typing import Array
from specdesc.backends import Backend
from specdesc.minimax import Halley, Step


def run(
    begin: Start, halleys: Sequence[Halley], steps: Sequence[Step], /, *, backend: Backend
) -> Array:
    """Apply Halley steps and then polynomials to a stack whose singular values lie in [0, 1]."""
    for i, step in enumerate(halleys):
        x = apply(step, begin, backend=backend)
        last = i + 1 == len(halleys) and not steps
        # The Gram matrix of the result is for whoever measures it.
        begin = Start(x, begin.gram if last else polynomial.gram_matrix(x, backend=backend), None)
    return polynomial.run(begin, steps, backend=backend)


def apply(step: Halley, begin: Start, /, *, backend: Backend) -> Array:
    """Return X (a + b R) (I + c R)^-1 = (b / c) X + (a - b / c) (I + c R)^-1 X, R = X Xᴴ.

    Both weights are positive, so nothing cancels. R carries an error of eps, and I + c R one of
    c eps next to an eigenvalue of 1: directions turn by that much among the small ones, and by
    eps / s as in every method.
    """
    x, gram, _ = begin
    ratio = step.b / step.c
    shifted = identity(gram.shape[-1], gram, backend=backend) + step.c * gram
    kernel = products.kernel("solve_add", backend)
    return kernel(ratio, x, step.a - ratio, shifted, xp=backend.xp)


def smallest(gram: Array, unit: float, /, *, backend: Backend) -> Array:
    """Estimate the least eigenvalue of Gram matrices with a largest one of about 1, from above.

    One inverse iteration from a few random vectors and the least of their Rayleigh quotients, one
    number for each matrix, good down to some eps. It may miss a direction: a guess, not a bound.
    """
    xp, rows = backend.xp, gram.shape[-1]
    block = random_block(gram, _VECTORS, 0, backend=backend)
    block = xp.broadcast_to(block, (*gram.shape[:-1], _VECTORS))
    shifted = gram + shift(rows, unit) * identity(rows, gram, backend=backend)
    solved = xp.linalg.solve(shifted, block)
    turned = xp.matrix_transpose(solved)
    image = xp.matrix_transpose(xp.matmul(gram, solved))
    # The least |quotient|: that of a Hermitian matrix is real, but for the rounding.
    quotients = xp.abs(xp.vecdot(turned, image)) / row_energies(turned, xp=xp)
    return xp.min(quotients, axis=-1)


_VECTORS = 3


def shift(rows: int, unit: float, /) -> float:
    """Return a multiple of eps that exceeds what rounding takes from the least eigenvalue."""
    return 2.0 * math.sqrt(rows) * unit
