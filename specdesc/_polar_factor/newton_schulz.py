"""Polynomial iterations on the singular values of a stack of wide matrices."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from specdesc._lib.dtypes import eps, is_half, smallest_normal, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg.basic import diagonal, frobenius
from specdesc.backends import Backend
from specdesc.backends.creation import identity
from specdesc.backends.primitives import Primitives
from specdesc.minimax import Step

#: Steps between two Gram matrices of the iterate: see `specdesc.minimax.segments`.
Segment = tuple[Step, ...]

#: A dtype whose smallest number is larger cannot hold the squares of its own numbers.
SHORT_RANGE = 2.0**-30

#: What the products of every precision are added up in, at least.
SINGLE = 2.0**-23


class Scaled(NamedTuple):
    """A stack with a bound on its largest singular value, and what that cost anyway."""

    matrix: Array  # X
    scale: Array  # (..., 1, 1), real: the singular values of X / scale lie in [0, 1]
    gram: Array  # of X / scale
    square: Array | None  # gram², where it is known
    workspace: Array | None = None  # a square that nobody needs, for where that is not known


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


def hidden(shape: tuple[int, ...], unit: float, /) -> float:
    """Bound what rounding takes from an eigenvalue of R, in units of the mean one.

    Entries of R are rounded by eps of the mean, or a random walk of them, and those of random
    signs add up to a few times that.
    """
    if unit > SINGLE:
        return 4.0 * unit
    return (8.0 + 0.5 * math.sqrt(max(shape[-2:]))) * unit


def reach(rows: int, /) -> float:
    """Return a lower bound on s_1 / s for the bound s of `scale_by_schatten`, given the rows.

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


def scale_by_schatten(x: Array, /, *, backend: Backend) -> Scaled:
    """Bound s_1 by s = (1 + slack) ||R²||_F^(1/4), the Schatten norm of order 8.

    R and R² are those of the first step, so the bound costs no product. Divided by its largest
    entry before it is squared, R neither overflows nor vanishes. A zero matrix has s = 1.
    """
    xp, primitives, half = backend.xp, backend.primitives, is_half(backend.xp, x.dtype)
    gram = primitives.gram(x)
    # The largest entry of a positive semidefinite matrix is on its diagonal.
    largest = _or_one(xp.max(_real_diagonal(gram, xp), axis=-1)[..., None, None], xp)
    if half:
        # By a power of two, so that only the second division rounds.
        largest = xp.pow(xp.full_like(largest, 2.0), xp.ceil(xp.log2(largest)))
    gram = primitives.unscale(gram, largest, overwrite=True)
    square = primitives.gram(gram)
    unit = eps(xp, x.dtype)
    # The Frobenius norm in working precision: see `basic.frobenius`.
    sums = primitives.squared_row_norms(square)
    norm = _or_one(xp.sqrt(xp.sum(sums, axis=-1, keepdims=True))[..., None], xp)
    rest = (1.0 + slack(x.shape, unit)) ** 2 * xp.sqrt(norm)
    scale = xp.sqrt(largest) * xp.sqrt(rest)
    if half:
        # A divisor that the dtype has, so that the matrix and its squares share it.
        scale = xp.astype(xp.astype((1.0 + unit) * scale, x.dtype), scale.dtype)
        rest = scale / largest * scale
    gram = primitives.unscale(gram, rest, overwrite=True)
    return Scaled(x, scale, gram, primitives.unscale(square, rest * rest, overwrite=True))


def _real_diagonal(gram: Array, xp: Namespace) -> Array:
    """Return the diagonal of Hermitian matrices, real and in working precision."""
    entries = working(xp, diagonal(gram, xp=xp))
    return xp.real(entries) if entries.dtype in (xp.complex64, xp.complex128) else entries


def scale_by_frobenius(x: Array, /, *, backend: Backend) -> Scaled:
    """Bound s_1 by the Frobenius norm, as the published iterations do."""
    xp = backend.xp
    norm = _or_one(frobenius(x, xp=xp), xp)
    gram = backend.primitives.gram(x / xp.astype(norm, x.dtype))
    return Scaled(x, norm, gram, None)


def _or_one(x: Array, xp: Namespace) -> Array:
    return xp.where(x > 0, x, xp.ones_like(x))


def mean(scaled: Scaled, /, *, backend: Backend) -> Array:
    """Return the root mean square of the singular values of X / scale, (..., 1, 1)."""
    xp = backend.xp
    trace = xp.sum(_real_diagonal(scaled.gram, xp), axis=-1)
    return xp.sqrt(trace / scaled.gram.shape[-1])[..., None, None]


def facts(scaled: Scaled, /, *, backend: Backend) -> Facts:
    """Return what the spectrum is known to be like, from squares that are there.

    No vector grows by more than s_1⁴ under R²: two steps of the power method from its longest
    column come close.
    """
    xp, primitives, square = backend.xp, backend.primitives, scaled.square
    average = mean(scaled, backend=backend)
    if square is None:
        return Facts(average, average)
    sums = primitives.squared_row_norms(square)[..., None]
    longest = sums == xp.max(sums, axis=-2, keepdims=True)
    column = working(xp, xp.astype(longest, square.dtype))
    first = primitives.thin_product(square, primitives.thin_product(square, column))
    second = primitives.thin_product(square, first)
    growth = frobenius(second, xp=xp) / _or_one(frobenius(first, xp=xp), xp)
    return Facts(average, (1.0 - slack(scaled.matrix.shape, SINGLE)) * xp.sqrt(xp.sqrt(growth)))


def run(
    scaled: Scaled,
    segments: Sequence[Segment],
    /,
    *,
    owned: bool = False,
    backend: Backend,
) -> Array:
    """Apply every segment to a stack. The squares of the start are overwritten.

    So is its matrix if it is `owned`, in which case it is divided by the scale already.
    Their memory serves all steps: at the peak there are two squares and the iterate, and a part of
    the next one or, in a step of degree 17, another square.
    """
    x, scale, gram, square, workspace = scaled
    workspace = workspace if square is None else square
    for i, steps in enumerate(segments):
        if i > 0:
            gram, square = backend.primitives.gram(x, out=gram), None
        x = _advance(x, gram, square, steps, owned or i > 0, workspace, backend)
        if i == 0 and not owned:
            # After the first product: one rounding less of the small singular values.
            x = backend.primitives.unscale(x, scale, overwrite=True)
    return x


def measure(x: Array, /, *, backend: Backend) -> Iterate:
    """Attach the distance to an isometry."""
    gram = backend.primitives.gram(x)
    one = identity(gram.shape[-1], gram, backend=backend)
    return Iterate(x, gram, frobenius(gram - one, xp=backend.xp))


def _advance(
    x: Array,
    gram: Array,
    square: Array | None,
    steps: Segment,
    owned: bool,
    workspace: Array | None,
    backend: Backend,
) -> Array:
    """Apply the product a I + W of the steps, each of the form h = b I + Z (see `Step`).

    The multiples of the identity stay outside of the matrices: added to a diagonal, they would
    round away the small singular values that they are there to raise. `owned` says that x may be
    overwritten; the squares are, and `workspace` is where R² was or goes.
    """
    primitives = backend.primitives
    total, factor = 1.0, None
    for i, step in enumerate(steps):
        last = i + 1 == len(steps)
        b, z = step.constants[0], _bracket(step, gram, square, last, workspace, backend)
        # Where a step is left, its Z may stay in the workspace.
        workspace = workspace if last else None
        if factor is None:
            factor = z
        else:
            factor = primitives.addmm(b, factor, z, factor, overwrite=True)
            factor = primitives.linear_combination((1.0, total), (factor, z), 0.0, overwrite=True)
        total *= b
        if not last:
            gram, square = _following(b, z, gram, backend), None
    return primitives.addmm(total, x, factor, x, overwrite=owned)


def _following(b: float, z: Array, gram: Array, backend: Backend) -> Array:
    """Return h R h, the Gram matrix after a step h = b I + Z. R is overwritten."""
    primitives = backend.primitives
    half = primitives.addmm(b, gram, gram, z, overwrite=True)
    gram = primitives.addmm(b, half, half, z, overwrite=True)
    twice = gram + primitives.adjoint(gram)
    return primitives.linear_combination((0.5,), (twice,), 0.0, overwrite=True)


def _bracket(
    step: Step,
    gram: Array,
    square: Array | None,
    overwrite: bool,
    workspace: Array | None,
    backend: Backend,
) -> Array:
    """Return Z of a step: see `Step` for the forms.

    R² is overwritten, and R where `overwrite` says so.
    """
    constants, primitives = step.constants[1:], backend.primitives
    if step.degree == 3:
        return primitives.linear_combination(constants, (gram,), 0.0, overwrite=overwrite)
    if step.degree == 5:
        if square is not None:
            squares = (gram, square)
            return primitives.linear_combination(constants, squares, 0.0, overwrite=overwrite)
        b, c = constants
        return primitives.square_sum(b, gram, c, out=workspace)
    if step.degree == 9:
        if square is None:
            square = primitives.gram(gram, out=workspace)
        return _ninth(constants, gram, square, overwrite, primitives)
    return _seventeenth(constants, gram, overwrite, workspace, primitives)


def _ninth(
    constants: Sequence[float],
    gram: Array,
    square: Array,
    overwrite: bool,
    primitives: Primitives,
) -> Array:
    b, c, d, e = constants
    second = primitives.linear_combination((8.0, -8.0), (square, gram), 1.0, overwrite=True)
    added, factor = (2.0 * b, c, -b), (2.0 * d, e, -d)
    return primitives.affine_product(added, factor, gram, second, overwrite=overwrite)


def _seventeenth(
    constants: Sequence[float],
    gram: Array,
    overwrite: bool,
    workspace: Array | None,
    primitives: Primitives,
) -> Array:
    mu, k1, k2, k3, k4, k5, k6, k7, k8 = constants
    s = primitives.linear_combination((2.0,), (gram,), -2.0 * mu, overwrite=overwrite)
    a = primitives.gram(s, out=workspace)
    v = primitives.affine_product((0.0, 0.0, 0.0), (k2, k1, 0.0), s, a)
    # The result takes the memory of R.
    coefficients = (k8, k7, k6), (k4, k3, 1.0), (0.0, k5, 1.0)
    added, left, right = primitives.linear_combinations(coefficients, (s, a, v))
    return primitives.addmm(1.0, added, left, right, overwrite=True)
