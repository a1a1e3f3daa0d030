"""Halley steps on the singular values of a stack of wide matrices, before polynomials."""

from collections.abc import Sequence

from specdesc._lib.typing import Array
from specdesc._polar_factor.newton_schulz import Scaled
from specdesc.backends import Backend
from specdesc.minimax import Halley


def lift(scaled: Scaled, halleys: Sequence[Halley], /, *, last: bool, backend: Backend) -> Scaled:
    """Apply Halley steps to a stack, which leaves it divided by its scale.

    The squares of the start are overwritten. Nothing follows the `last` steps, so that their result
    needs no Gram matrix.
    """
    xp, primitives = backend.xp, backend.primitives
    workspace = scaled.workspace if scaled.square is None else scaled.square
    for i, step in enumerate(halleys):
        x = apply(step, scaled, workspace, owned=i > 0, backend=backend)
        if i == 0:
            x = primitives.unscale(x, scaled.scale, overwrite=True)
        needless = last and i + 1 == len(halleys)
        gram = scaled.gram if needless else primitives.gram(x, out=scaled.gram)
        scaled = Scaled(x, xp.ones_like(scaled.scale), gram, None, workspace)
    return scaled


def apply(
    step: Halley, scaled: Scaled, workspace: Array | None, /, *, owned: bool, backend: Backend
) -> Array:
    """Return X (a + b R) (I + c R)^-1 = (b / c) X + (a - b / c) (I + c R)^-1 X, R = X Xᴴ / s².

    Both weights are positive, so nothing cancels. R carries an error of eps, and I + c R one of
    c eps next to an eigenvalue of 1: directions turn by that much among the small ones, and by
    eps / s as in every method. R is overwritten, and so is X if it is `owned`.
    """
    ratio, primitives = step.b / step.c, backend.primitives
    shifted = primitives.linear_combination((step.c,), (scaled.gram,), 1.0, overwrite=True)
    return primitives.add_solve(
        ratio,
        scaled.matrix,
        step.a - ratio,
        shifted,
        overwrite=True,
        owned=owned,
        out=workspace,
    )
