"""Halley steps on the singular values of a stack of wide matrices, and polynomials after them."""

from collections.abc import Sequence

from specdesc._lib.typing import Array
from specdesc._polar_factor import newton_schulz
from specdesc._polar_factor.newton_schulz import Segment, Start
from specdesc.backends import Backend, primitives
from specdesc.minimax import Halley


def run(
    begin: Start, halleys: Sequence[Halley], segments: Sequence[Segment], /, *, backend: Backend
) -> Array:
    """Apply Halley steps and then polynomials to a stack. The squares of the start are spent."""
    xp = backend.xp
    divide = primitives.kernel("divide", backend)
    room = begin.room if begin.square is None else begin.square
    for i, step in enumerate(halleys):
        x = apply(step, begin, room, ours=i > 0, backend=backend)
        if i == 0:
            x = divide(x, begin.scale, spend=True, backend=backend)
        last = i + 1 == len(halleys) and not segments
        # The Gram matrix of the result is for whoever measures it.
        gram = begin.gram
        if not last:
            gram = newton_schulz.gram_matrix(x, room=gram, backend=backend)
        begin = Start(x, xp.ones_like(begin.scale), gram, None, room)
    if not segments:
        return begin.matrix
    return newton_schulz.run(begin, segments, ours=bool(halleys), backend=backend)


def apply(
    step: Halley, begin: Start, room: Array | None, /, *, ours: bool, backend: Backend
) -> Array:
    """Return X (a + b R) (I + c R)^-1 = (b / c) X + (a - b / c) (I + c R)^-1 X, R = X Xᴴ / s².

    Both weights are positive, so nothing cancels. R carries an error of eps, and I + c R one of
    c eps next to an eigenvalue of 1: directions turn by that much among the small ones, and by
    eps / s as in every method. R is spent, and so is X if `ours`.
    """
    ratio = step.b / step.c
    combine = primitives.kernel("combine", backend)
    shifted = combine((step.c,), (begin.gram,), 1.0, spend=True, backend=backend)
    x, b = begin.matrix, step.a - ratio
    solve_add = primitives.kernel("solve_add", backend)
    return solve_add(ratio, x, b, shifted, spend=True, ours=ours, room=room, backend=backend)
