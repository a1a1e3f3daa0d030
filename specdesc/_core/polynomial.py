"""Polynomial iterations on the singular values of a stack of wide matrices."""

from collections.abc import Sequence
from typing import NamedTuple

from specdesc._array import eps
from specdesc._core import products
from specdesc._core.linalg import adjoint, frobenius, identity
from specdesc._typing import Array, Namespace
from specdesc.backends import Backend
from specdesc.minimax import Step


class Start(NamedTuple):
    """A stack divided by a bound on its largest singular value, and what that cost anyway."""

    matrix: Array  # X / s, singular values in [0, 1]
    gram: Array
    square: Array | None  # gram², where it is known


class Iterate(NamedTuple):
    """Where an iteration stands."""

    matrix: Array
    gram: Array
    residual: Array  # (..., 1, 1): Frobenius norm of I - X Xᴴ, a bound on every |1 - s**2|


def slack(shape: tuple[int, ...], unit: float, /) -> float:
    """Return what rounding may take from the bound on the norm: (m + n) eps (first order)."""
    return (shape[-2] + shape[-1]) * unit


def reach(rows: int, /) -> float:
    """Return a lower bound on s_1 / s for the bound s of `start` on matrices of that many rows.

    s⁸ = s_1⁸ + ... + s_m⁸ <= m s_1⁸.
    """
    return float(rows**-0.125)


def start(x: Array, /, *, backend: Backend) -> Start:
    """Divide by s = (1 + slack) ||R²||_F^(1/4) >= s_1, the Schatten norm of order 8.

    R and R² are those of the first step, so the bound costs no product. A zero matrix stays zero.
    Divided by its largest entry before it is squared, R neither overflows nor vanishes.
    """
    xp = backend.xp
    gram = gram_matrix(x, backend=backend)
    largest = _or_one(
        xp.max(xp.max(xp.abs(gram), axis=-1, keepdims=True), axis=-2, keepdims=True), xp
    )
    unit = gram / xp.astype(largest, gram.dtype)
    square = gram_matrix(unit, backend=backend)
    rest = (1.0 + slack(x.shape, eps(xp, x.dtype))) ** 2 * xp.sqrt(
        _or_one(frobenius(square, xp=xp), xp)
    )
    scale = xp.sqrt(largest) * xp.sqrt(rest)
    return Start(
        x / xp.astype(scale, x.dtype),
        unit / xp.astype(rest, x.dtype),
        square / xp.astype(rest, x.dtype) / xp.astype(rest, x.dtype),
    )


def start_unit(x: Array, /, *, backend: Backend) -> Start:
    """Divide by the Frobenius norm, as the published iterations do."""
    xp = backend.xp
    unit = x / xp.astype(_or_one(frobenius(x, xp=xp), xp), x.dtype)
    gram = gram_matrix(unit, backend=backend)
    return Start(unit, gram, gram_matrix(gram, backend=backend))


def _or_one(x: Array, xp: Namespace) -> Array:
    return xp.where(x > 0, x, xp.ones_like(x))


def run(begin: Start, steps: Sequence[Step], /, *, backend: Backend) -> Array:
    """Apply every step to a stack whose singular values lie in [0, 1]."""
    x, gram, square = begin
    for i, step in enumerate(steps):
        if i > 0:
            gram, square = gram_matrix(x, backend=backend), None
        x = apply(step, Start(x, gram, square), backend=backend)
    return x


def measure(x: Array, /, *, backend: Backend) -> Iterate:
    """Attach the distance to an isometry."""
    gram = gram_matrix(x, backend=backend)
    one = identity(gram.shape[-1], gram, backend=backend)
    return Iterate(x, gram, frobenius(gram - one, xp=backend.xp))


def apply(step: Step, begin: Start, /, *, backend: Backend) -> Array:
    """Return a X + Z X, with R the Gram matrix of X and Z the rest of the step (see `Step`).

    The term a X stays outside of the bracket: added to its diagonal, a would round away the small
    singular values that the step is there to raise.
    """
    x = begin.matrix
    bracket = _bracket(step, begin.gram, begin.square, backend)
    return products.kernel("multiply_add", backend)(step.constants[0], x, bracket, x, xp=backend.xp)


def _bracket(step: Step, gram: Array, square: Array | None, backend: Backend) -> Array:
    if step.degree == 3:
        return step.constants[1] * gram
    if square is None:
        square = gram_matrix(gram, backend=backend)
    if step.degree == 5:
        return step.constants[1] * gram + step.constants[2] * square
    _, b, c, d, e = step.constants
    one = identity(gram.shape[-1], gram, backend=backend)
    first, second = 2.0 * gram - one, 8.0 * (square - gram) + one
    return b * first + c * second + backend.xp.matmul(d * first + e * second, second)


def gram_matrix(x: Array, /, *, backend: Backend) -> Array:
    """Return X Xᴴ."""
    # The product of one array with its own adjoint: NumPy hands it to BLAS at half the work.
    return backend.xp.matmul(x, adjoint(x, xp=backend.xp))
