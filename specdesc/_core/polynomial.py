"""Polynomial iterations on the singular values of a stack of wide matrices."""

from collections.abc import Sequence
from typing import NamedTuple

from specdesc._array import eps, is_complex, is_half, smallest_normal, working
from specdesc._core import products
from specdesc._core.linalg import adjoint, frobenius, identity, row_energies
from specdesc._typing import Array, Namespace
from specdesc.backends import Backend
from specdesc.minimax import Step

#: Steps between two Gram matrices of the iterate: see `specdesc.minimax.segments`.
Segment = tuple[Step, ...]

#: A dtype whose smallest number is larger cannot hold the squares of its own numbers.
SHORT_RANGE = 2.0**-30

#: What the products of every precision are added up in, at least.
SINGLE = 2.0**-23


class Start(NamedTuple):
    """A stack with a bound on its largest singular value, and what that cost anyway."""

    matrix: Array  # X
    scale: Array  # (..., 1, 1), real: the singular values of X / scale lie in [0, 1]
    gram: Array  # of X / scale
    square: Array | None  # gram², where it is known


class Iterate(NamedTuple):
    """Where an iteration stands."""

    matrix: Array
    gram: Array
    residual: Array  # (..., 1, 1): Frobenius norm of I - X Xᴴ, a bound on every |1 - s**2|


class Facts(NamedTuple):
    """What the squares of a start say about the spectrum; (..., 1, 1) each, 0 for a zero matrix."""

    mean: Array  # root mean square of the singular values of X / scale
    reach: Array  # a lower bound on the largest one


def slack(shape: tuple[int, ...], unit: float, /) -> float:
    """Return what rounding may take from the bound on the norm (first order).

    (m + n) eps of the precision that products are added up in, and twice the eps of a coarser one
    that they are rounded to.
    """
    added = (shape[-2] + shape[-1]) * min(unit, SINGLE)
    return added + 2.0 * unit if unit > SINGLE else added


def reach(rows: int, /) -> float:
    """Return a lower bound on s_1 / s for the bound s of `start` on matrices of that many rows.

    s⁸ = s_1⁸ + ... + s_m⁸ <= m s_1⁸.
    """
    return float(rows**-0.125)


def within_range(x: Array, /, *, backend: Backend) -> Array:
    """Multiply matrices of a dtype of short range (float16) by powers of two.

    With a Frobenius norm of about m^(1/4), neither R nor R² of a rank-one matrix overflows, and
    those of a Gaussian one stay above the subnormals.
    """
    xp = backend.xp
    if smallest_normal(xp, x.dtype) < SHORT_RANGE:
        return x
    wide = working(xp, x)
    norm = _or_one(frobenius(wide, xp=xp), xp) / x.shape[-2] ** 0.25
    power = xp.pow(xp.full_like(norm, 2.0), xp.round(xp.log2(norm)))
    return xp.astype(wide / power, x.dtype)


def start(x: Array, /, *, backend: Backend) -> Start:
    """Bound s_1 by s = (1 + slack) ||R²||_F^(1/4), the Schatten norm of order 8.

    R and R² are those of the first step, so the bound costs no product. Divided by its largest
    entry before it is squared, R neither overflows nor vanishes. A zero matrix has s = 1.
    """
    xp = backend.xp
    gram = working(xp, gram_matrix(x, backend=backend))
    largest = _or_one(
        xp.max(xp.max(xp.abs(gram), axis=-1, keepdims=True), axis=-2, keepdims=True), xp
    )
    gram = gram / xp.astype(largest, gram.dtype)
    square = working(xp, gram_matrix(xp.astype(gram, x.dtype, copy=False), backend=backend))
    unit = eps(xp, x.dtype)
    rest = (1.0 + slack(x.shape, unit)) ** 2 * xp.sqrt(_or_one(frobenius(square, xp=xp), xp))
    scale = xp.sqrt(largest) * xp.sqrt(rest)
    if is_half(xp, x.dtype):
        # A divisor that the dtype has, so that the matrix and its squares share it.
        scale = xp.astype(xp.astype((1.0 + unit) * scale, x.dtype), scale.dtype)
        rest = scale / largest * scale
    rest = xp.astype(rest, gram.dtype)
    gram = xp.astype(gram / rest, x.dtype, copy=False)
    return Start(x, scale, gram, xp.astype(square / rest / rest, x.dtype, copy=False))


def start_unit(x: Array, /, *, backend: Backend) -> Start:
    """Bound s_1 by the Frobenius norm, as the published iterations do."""
    xp = backend.xp
    norm = _or_one(frobenius(x, xp=xp), xp)
    gram = gram_matrix(x / xp.astype(norm, x.dtype), backend=backend)
    return Start(x, norm, gram, None)


def _or_one(x: Array, xp: Namespace) -> Array:
    return xp.where(x > 0, x, xp.ones_like(x))


def facts(begin: Start, /, *, backend: Backend) -> Facts:
    """Return what the spectrum is known to be like, from squares that are there.

    No vector grows by more than s_1⁴ under R²: two steps of the power method from its longest
    column come close.
    """
    xp = backend.xp
    gram, square = working(xp, begin.gram), begin.square
    trace = xp.linalg.trace(gram)
    trace = xp.real(trace) if is_complex(xp, gram.dtype) else trace
    mean = xp.sqrt(trace / gram.shape[-1])[..., None, None]
    if square is None:
        return Facts(mean, mean)
    square = working(xp, square)
    energies = row_energies(square, xp=xp)[..., None]
    longest = energies == xp.max(energies, axis=-2, keepdims=True)
    first = xp.matmul(square, xp.matmul(square, xp.astype(longest, square.dtype)))
    second = xp.matmul(square, first)
    growth = frobenius(second, xp=xp) / _or_one(frobenius(first, xp=xp), xp)
    return Facts(mean, (1.0 - slack(begin.matrix.shape, SINGLE)) * xp.sqrt(xp.sqrt(growth)))


def run(begin: Start, segments: Sequence[Segment], /, *, backend: Backend) -> Array:
    """Apply every segment to a stack."""
    x, scale, gram, square = begin
    for i, steps in enumerate(segments):
        if i > 0:
            gram, square = gram_matrix(x, backend=backend), None
        x = _advance(x, gram, square, steps, backend)
        if i == 0:
            # After the first product: one rounding less of the small singular values.
            x = x / backend.xp.astype(scale, x.dtype)
    return x


def measure(x: Array, /, *, backend: Backend) -> Iterate:
    """Attach the distance to an isometry."""
    gram = gram_matrix(x, backend=backend)
    one = identity(gram.shape[-1], gram, backend=backend)
    return Iterate(x, gram, frobenius(gram - one, xp=backend.xp))


def _advance(
    x: Array, gram: Array, square: Array | None, steps: Segment, backend: Backend
) -> Array:
    """Apply the product a I + W of the steps, each of the form h = b I + Z (see `Step`).

    The multiples of the identity stay outside of the matrices: added to a diagonal, they would
    round away the small singular values that they are there to raise.
    """
    multiply_add = products.kernel("multiply_add", backend)
    total, factor = 1.0, None
    for i, step in enumerate(steps):
        b, z = step.constants[0], _bracket(step, gram, square, backend)
        if factor is None:
            factor = z
        else:
            factor = multiply_add(b, factor, z, factor, backend=backend) + total * z
        total *= b
        if i + 1 < len(steps):
            gram, square = _following(b, z, gram, backend), None
    return multiply_add(total, x, factor, x, backend=backend)


def _following(b: float, z: Array, gram: Array, backend: Backend) -> Array:
    """Return h R h, the Gram matrix after a step h = b I + Z."""
    multiply_add = products.kernel("multiply_add", backend)
    half = multiply_add(b, gram, gram, z, backend=backend)
    gram = multiply_add(b, half, half, z, backend=backend)
    return (gram + adjoint(gram, xp=backend.xp)) / 2


def _bracket(step: Step, gram: Array, square: Array | None, backend: Backend) -> Array:
    """Return Z of a step: see `Step` for the forms."""
    constants = step.constants[1:]
    if step.degree == 3:
        return constants[0] * gram
    if step.degree == 5:
        return _quintic(constants, gram, square, backend)
    if step.degree == 9:
        return _ninth(constants, gram, square, backend)
    return _seventeenth(constants, gram, backend)


def _quintic(
    constants: Sequence[float], gram: Array, square: Array | None, backend: Backend
) -> Array:
    b, c = constants
    if square is not None:
        return products.kernel("combine", backend)((b, c), (gram, square), 0.0, backend=backend)
    multiply_add = products.kernel("multiply_add", backend)
    return multiply_add(b, gram, gram, adjoint(gram, xp=backend.xp), alpha=c, backend=backend)


def _ninth(
    constants: Sequence[float], gram: Array, square: Array | None, backend: Backend
) -> Array:
    b, c, d, e = constants
    combine = products.kernel("combine", backend)
    if square is None:
        square = gram_matrix(gram, backend=backend)
    second = combine((8.0, -8.0), (square, gram), 1.0, backend=backend)
    left = combine((2.0 * d, e), (gram, second), -d, backend=backend)
    rest = combine((2.0 * b, c), (gram, second), -b, backend=backend)
    return products.kernel("multiply_add", backend)(1.0, rest, left, second, backend=backend)


def _seventeenth(constants: Sequence[float], gram: Array, backend: Backend) -> Array:
    mu, k1, k2, k3, k4, k5, k6, k7, k8 = constants
    combine = products.kernel("combine", backend)
    s = combine((2.0,), (gram,), -2.0 * mu, backend=backend)
    a = gram_matrix(s, backend=backend)
    v = backend.xp.matmul(a, combine((k1, k2), (a, s), 0.0, backend=backend))
    rest = combine((k6, k7, k8), (v, a, s), 0.0, backend=backend)
    left = combine((1.0, k3, k4), (v, a, s), 0.0, backend=backend)
    right = combine((1.0, k5), (v, a), 0.0, backend=backend)
    return products.kernel("multiply_add", backend)(1.0, rest, left, right, backend=backend)


def gram_matrix(x: Array, /, *, backend: Backend) -> Array:
    """Return X Xᴴ."""
    # The product of one array with its own adjoint: NumPy hands it to BLAS at half the work.
    return backend.xp.matmul(x, adjoint(x, xp=backend.xp))
