"""Halley steps on the singular values of a stack of wide matrices, and polynomials after them."""

from collections.abc import Sequence

from specdesc._core import polynomial, products
from specdesc._core.linalg import identity
from specdesc._core.polynomial import Segment, Start
from specdesc._typing import Array
from specdesc.backends import Backend
from specdesc.minimax import Halley


def run(
    begin: Start, halleys: Sequence[Halley], segments: Sequence[Segment], /, *, backend: Backend
) -> Array:
    """Apply Halley steps and then polynomials to a stack."""
    xp = backend.xp
    for i, step in enumerate(halleys):
        x = apply(step, begin, backend=backend) / xp.astype(begin.scale, begin.matrix.dtype)
        last = i + 1 == len(halleys) and not segments
        # The Gram matrix of the result is for whoever measures it.
        gram = begin.gram if last else polynomial.gram_matrix(x, backend=backend)
        begin = Start(x, xp.ones_like(begin.scale), gram, None)
    return polynomial.run(begin, segments, backend=backend) if segments else begin.matrix


def apply(step: Halley, begin: Start, /, *, backend: Backend) -> Array:
    """Return X (a + b R) (I + c R)^-1 = (b / c) X + (a - b / c) (I + c R)^-1 X, R = X Xᴴ / s².

    Both weights are positive, so nothing cancels. R carries an error of eps, and I + c R one of
    c eps next to an eigenvalue of 1: directions turn by that much among the small ones, and by
    eps / s as in every method.
    """
    gram = begin.gram
    ratio = step.b / step.c
    shifted = identity(gram.shape[-1], gram, backend=backend) + step.c * gram
    kernel = products.kernel("solve_add", backend)
    return kernel(ratio, begin.matrix, step.a - ratio, shifted, backend=backend)
