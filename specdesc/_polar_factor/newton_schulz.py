"""Polynomial iterations on the singular values of a stack of wide matrices."""

from collections.abc import Sequence
from typing import NamedTuple

from specdesc._lib.arrays import adjoint, diagonal
from specdesc._lib.dtypes import eps, is_complex, is_half, smallest_normal, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg.basic import frobenius
from specdesc.backends import Backend, primitives
from specdesc.backends.creation import identity
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
    room: Array | None = None  # a square that nobody needs, for where that is not known


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
    divide, half = primitives.kernel("divide", backend), is_half(xp, x.dtype)
    gram = gram_matrix(x, backend=backend)
    largest = _or_one(_largest_diagonal(gram, xp), xp)
    if half:
        # By a power of two, so that only the second division rounds.
        largest = xp.pow(xp.full_like(largest, 2.0), xp.ceil(xp.log2(largest)))
    gram = divide(gram, largest, spend=True, backend=backend)
    square = gram_matrix(gram, backend=backend)
    unit = eps(xp, x.dtype)
    norm = _or_one(_norm(square, backend), xp)
    rest = (1.0 + slack(x.shape, unit)) ** 2 * xp.sqrt(norm)
    scale = xp.sqrt(largest) * xp.sqrt(rest)
    if half:
        # A divisor that the dtype has, so that the matrix and its squares share it.
        scale = xp.astype(xp.astype((1.0 + unit) * scale, x.dtype), scale.dtype)
        rest = scale / largest * scale
    gram = divide(gram, rest, spend=True, backend=backend)
    return Start(x, scale, gram, divide(square, rest * rest, spend=True, backend=backend))


def _norm(square: Array, backend: Backend) -> Array:
    """Return the Frobenius norm in working precision: see `linalg.frobenius`."""
    energies = primitives.kernel("row_energies", backend)(square, backend=backend)
    return backend.xp.sqrt(backend.xp.sum(energies, axis=-1, keepdims=True))[..., None]


def _largest_diagonal(gram: Array, xp: Namespace) -> Array:
    """Return the largest entry of positive semidefinite matrices: it is on their diagonal."""
    return xp.max(_diagonal(gram, xp), axis=-1)[..., None, None]


def _diagonal(gram: Array, xp: Namespace) -> Array:
    """Return the diagonal of Hermitian matrices, real and in working precision."""
    entries = working(xp, diagonal(gram, xp=xp))
    return xp.real(entries) if is_complex(xp, gram.dtype) else entries


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
    gram, square = begin.gram, begin.square
    trace = xp.sum(_diagonal(gram, xp), axis=-1)
    mean = xp.sqrt(trace / gram.shape[-1])[..., None, None]
    if square is None:
        return Facts(mean, mean)
    times = primitives.kernel("times_columns", backend)
    energies = primitives.kernel("row_energies", backend)(square, backend=backend)[..., None]
    longest = energies == xp.max(energies, axis=-2, keepdims=True)
    column = working(xp, xp.astype(longest, square.dtype))
    first = times(square, times(square, column, backend=backend), backend=backend)
    second = times(square, first, backend=backend)
    growth = frobenius(second, xp=xp) / _or_one(frobenius(first, xp=xp), xp)
    return Facts(mean, (1.0 - slack(begin.matrix.shape, SINGLE)) * xp.sqrt(xp.sqrt(growth)))


def run(
    begin: Start,
    segments: Sequence[Segment],
    /,
    *,
    ours: bool = False,
    backend: Backend,
) -> Array:
    """Apply every segment to a stack. The squares of the start are spent.

    So is its matrix if it is `ours`, in which case it is divided by the scale already.
    Their memory serves all steps: at the peak there are two squares and the iterate, and a part of
    the next one or, in a step of degree 17, another square.
    """
    x, scale, gram, square, room = begin
    room = room if square is None else square
    for i, steps in enumerate(segments):
        if i > 0:
            gram, square = gram_matrix(x, room=gram, backend=backend), None
        x = _advance(x, gram, square, steps, ours or i > 0, room, backend)
        if i == 0 and not ours:
            # After the first product: one rounding less of the small singular values.
            x = primitives.kernel("divide", backend)(x, scale, spend=True, backend=backend)
    return x


def measure(x: Array, /, *, backend: Backend) -> Iterate:
    """Attach the distance to an isometry."""
    gram = gram_matrix(x, backend=backend)
    one = identity(gram.shape[-1], gram, backend=backend)
    return Iterate(x, gram, frobenius(gram - one, xp=backend.xp))


def _advance(
    x: Array,
    gram: Array,
    square: Array | None,
    steps: Segment,
    ours: bool,
    room: Array | None,
    backend: Backend,
) -> Array:
    """Apply the product a I + W of the steps, each of the form h = b I + Z (see `Step`).

    The multiples of the identity stay outside of the matrices: added to a diagonal, they would
    round away the small singular values that they are there to raise. `ours` says that x may be
    written to; the squares are, and `room` is where R² was or goes.
    """
    multiply_add = primitives.kernel("multiply_add", backend)
    combine = primitives.kernel("combine", backend)
    total, factor = 1.0, None
    for i, step in enumerate(steps):
        last = i + 1 == len(steps)
        b, z = step.constants[0], _bracket(step, gram, square, last, room, backend)
        # Where a step is left, its Z may stay in the room.
        room = room if last else None
        if factor is None:
            factor = z
        else:
            factor = multiply_add(b, factor, z, factor, spend=True, backend=backend)
            factor = combine((1.0, total), (factor, z), 0.0, spend=True, backend=backend)
        total *= b
        if not last:
            gram, square = _following(b, z, gram, backend), None
    return multiply_add(total, x, factor, x, spend=ours, backend=backend)


def _following(b: float, z: Array, gram: Array, backend: Backend) -> Array:
    """Return h R h, the Gram matrix after a step h = b I + Z. R is spent."""
    multiply_add = primitives.kernel("multiply_add", backend)
    half = multiply_add(b, gram, gram, z, spend=True, backend=backend)
    gram = multiply_add(b, half, half, z, spend=True, backend=backend)
    twice = gram + adjoint(gram, xp=backend.xp)
    return primitives.kernel("combine", backend)((0.5,), (twice,), 0.0, spend=True, backend=backend)


def _bracket(
    step: Step,
    gram: Array,
    square: Array | None,
    spend: bool,
    room: Array | None,
    backend: Backend,
) -> Array:
    """Return Z of a step: see `Step` for the forms. R² is spent, and R where `spend` says so."""
    constants = step.constants[1:]
    combine = primitives.kernel("combine", backend)
    if step.degree == 3:
        return combine(constants, (gram,), 0.0, spend=spend, backend=backend)
    if step.degree == 5:
        if square is not None:
            return combine(constants, (gram, square), 0.0, spend=spend, backend=backend)
        b, c = constants
        transposed = adjoint(gram, xp=backend.xp)
        multiply_add = primitives.kernel("multiply_add", backend)
        return multiply_add(b, gram, gram, transposed, alpha=c, room=room, backend=backend)
    if step.degree == 9:
        if square is None:
            square = gram_matrix(gram, room=room, backend=backend)
        return _ninth(constants, gram, square, spend, backend)
    return _seventeenth(constants, gram, spend, room, backend)


def _ninth(
    constants: Sequence[float], gram: Array, square: Array, spend: bool, backend: Backend
) -> Array:
    b, c, d, e = constants
    combine = primitives.kernel("combine", backend)
    second = combine((8.0, -8.0), (square, gram), 1.0, spend=True, backend=backend)
    rest, left = (2.0 * b, c, -b), (2.0 * d, e, -d)
    factored = primitives.kernel("factored", backend)
    return factored(rest, left, gram, second, spend=spend, backend=backend)


def _seventeenth(
    constants: Sequence[float], gram: Array, spend: bool, room: Array | None, backend: Backend
) -> Array:
    mu, k1, k2, k3, k4, k5, k6, k7, k8 = constants
    combine = primitives.kernel("combine", backend)
    s = combine((2.0,), (gram,), -2.0 * mu, spend=spend, backend=backend)
    a = gram_matrix(s, room=room, backend=backend)
    factored = primitives.kernel("factored", backend)
    v = factored((0.0, 0.0, 0.0), (k2, k1, 0.0), s, a, backend=backend)
    # The result takes the memory of R.
    factors = (k8, k7, k6), (k4, k3, 1.0), (0.0, k5, 1.0)
    rest, left, right = primitives.kernel("mix", backend)(factors, (s, a, v), backend=backend)
    multiply_add = primitives.kernel("multiply_add", backend)
    return multiply_add(1.0, rest, left, right, spend=True, backend=backend)


def gram_matrix(x: Array, /, *, room: Array | None = None, backend: Backend) -> Array:
    """Return X Xᴴ, in the room where there is one."""
    return primitives.kernel("gram", backend)(x, room=room, backend=backend)
