"""Runs in which no value is looked at: for devices, tracers and lazy libraries.

A NaN or an inf needs no care here. Its row and column of the Gram matrix R are NaN, R² is NaN
everywhere, and R² is a term of the first step: so the whole factor of that matrix is NaN, and that
of no other, as a product of stacks never mixes its matrices. A zero matrix stays zero.
"""

import math
from typing import NamedTuple

from specdesc import minimax
from specdesc._lib.dtypes import eps, is_half, real_dtype, smallest_normal, working
from specdesc._lib.tracing import opaque
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg.basic import diagonal, restore
from specdesc._polar_factor import newton_schulz, plan
from specdesc._polar_factor.newton_schulz import Scaled
from specdesc._polar_factor.plan import DEFAULT_FLOOR, HALF, Kind, Run
from specdesc.backends import Backend

#: Nothing beside a size of about 1, and enough to divide a zero matrix by.
TINY = 1e-30

#: What a working accuracy may cost: the residual is a Frobenius norm, of rounding errors too.
WORKING = 16.0


class Start(NamedTuple):
    """A stack with a bound on its largest singular value."""

    scaled: Scaled
    size: Array  # (..., 1, 1), a norm: 0 of a zero matrix, not finite of one that is not


class Facts(NamedTuple):
    """What the squares of a start say about its spectrum; (...) each."""

    length: Array  # Frobenius norm of X / scale, root of the sum of all singular values squared
    inverse_reach: Array  # at least the inverse of the largest one, but for slack
    least: Array | None  # a proven lower bound on all of them, 0 for none; None where unasked


def orthogonal_factor(
    x: Array,
    method: str,
    goal: float,
    tol: float | None,
    floor: float | None,
    /,
    *,
    proven: bool,
    cast_error: float,
    backend: Backend,
) -> tuple[Array, ...]:
    """Return the factor of wide matrices; where it is to be proven error, rank, products, status.

    `cast_error` is what a cast of the factor will add to its error.
    """
    xp, shape = backend.xp, (x.shape[-2], x.shape[-1])
    y = ordinary(x, backend=backend)
    if method == "polynomial":
        unit = eps(xp, x.dtype)
        lowest = plan.coarse_floor(unit, goal, floor) if is_half(xp, x.dtype) else floor
        run = plan.fixed(shape, unit, False, goal, lowest)
        start = _by_schatten(y, backend)
    else:
        # Dividing by the Frobenius norm takes s_1 to at least 1 / sqrt(m) and so the floor with it.
        run = plan.published(method, (floor or DEFAULT_FLOOR) / shape[0] ** 0.5)
        start = _by_frobenius(y, backend)
    # The run overwrites the squares. A floor needs no proof that nothing lies below.
    facts = _facts(start.scaled, floor is None, backend) if proven else None
    factor = newton_schulz.run(
        start.scaled, run.segments, owned=method != "polynomial", backend=backend
    )
    if facts is None:
        return (factor,)
    error, kept = _error(factor, facts, run, floor, cast_error, backend)
    error, status, rank = _stated(
        error, kept, start.size[..., 0, 0], _working(x, backend) if tol is None else tol, backend
    )
    return factor, error, rank, xp.full_like(rank, run.products), status


def ordinary(x: Array, /, *, backend: Backend) -> Array:
    """Return new matrices, divided by powers of two, whose largest entries are about 1.

    Those of a dtype of short range (float16) have a Frobenius norm of about m^(1/4) instead.
    """
    if smallest_normal(backend.xp, x.dtype) >= newton_schulz.SHORT_RANGE:
        return newton_schulz.within_range(x, backend=backend)
    return backend.primitives.unscale(x, backend.primitives.entry_scale(x))


def _by_schatten(y: Array, backend: Backend) -> Start:
    """Bound s_1 by the Schatten norm of order 8, (1 + slack) ||R²||_F^(1/4).

    With entries of about 1 the squares neither overflow nor vanish: ||R²||_F is between 1 and
    (64 m n)², unless the matrix is zero or not finite.
    """
    xp, primitives = backend.xp, backend.primitives
    gram = primitives.gram(y)
    square = primitives.gram(gram)
    size = primitives.frobenius(square)
    share = 1.0 + newton_schulz.slack(tuple(y.shape), eps(xp, y.dtype))
    fourth = size * share**4 + TINY
    rest = xp.sqrt(fourth)
    gram = primitives.unscale(gram, rest, overwrite=True)
    square = primitives.unscale(square, fourth, overwrite=True)
    return Start(Scaled(y, xp.sqrt(rest), gram, square), size)


def _by_frobenius(y: Array, backend: Backend) -> Start:
    """Bound s_1 by the Frobenius norm, as the published iterations do; X is divided by it."""
    size = backend.primitives.frobenius(y)
    scale = size + TINY
    y = backend.primitives.unscale(y, scale, overwrite=True)
    return Start(Scaled(y, scale, backend.primitives.gram(y), None), size)


def _facts(scaled: Scaled, searched: bool, backend: Backend) -> Facts:
    """Return what is known of the spectrum, from squares that are there.

    The Schatten norm of order 8 is 1 / (1 + slack), and s_1⁴ >= sum s⁸ / sum s⁴, which is
    ||R²||_F² / ||R||_F² (derived).
    """
    xp = backend.xp
    entries = working(xp, diagonal(scaled.gram, xp=xp))
    entries = xp.real(entries) if entries.dtype in (xp.complex64, xp.complex128) else entries
    length = xp.sqrt(xp.sum(entries, axis=-1))
    size = backend.primitives.frobenius(scaled.gram)[..., 0, 0]
    searched = searched and backend.primitives.factorizes
    least = _least(scaled, length, size, backend) if searched else None
    if scaled.square is None:
        return Facts(length, scaled.gram.shape[-1] ** 0.5 / (length + TINY), least)
    return Facts(length, xp.sqrt(size), least)


def _least(scaled: Scaled, length: Array, size: Array, backend: Backend) -> Array:
    """Return a lower bound on the singular values that a Cholesky factorization proves, or 0.

    Tried are the edge of the random matrix with the same moments, or an eighth of the mean where
    that is more, and an eighth of what was tried. A factorization that fails is no exception here.
    """
    xp, rows = backend.xp, scaled.gram.shape[-1]
    mean = length / math.sqrt(rows)
    spread = rows * (size * size) / (length**4 + TINY) - 1.0
    edge = 1.0 - xp.sqrt(backend.primitives.clamp(spread, 0.0))
    first = (0.7 * mean) * backend.primitives.clamp(edge, 1.0 / 8.0)
    hidden = newton_schulz.hidden(tuple(scaled.matrix.shape), eps(xp, scaled.gram.dtype))
    least = xp.zeros_like(first)
    for trial in (first / 8.0, first):
        shift = (trial * trial + hidden * (mean * mean))[..., None, None]
        definite = backend.primitives.is_positive_definite(scaled.gram, shift)
        least = xp.where(definite, trial, least)
    return least


def _error(
    factor: Array, facts: Facts, run: Run, floor: float | None, cast_error: float, backend: Backend
) -> tuple[Array, Array]:
    """Return a bound on the error, and the rank before it is rounded down.

    The residual r of the factor bounds every |1 - s²|, and says where it is below 1 that all s lie
    near 1: nothing was lost below the floor. With a floor the bound of the run holds as well.
    """
    xp, primitives = backend.xp, backend.primitives
    shape = (factor.shape[-2], factor.shape[-1])
    gram = primitives.gram(working(xp, factor))
    gram = primitives.linear_combination((1.0,), (gram,), -1.0, overwrite=True)
    residual = primitives.frobenius(gram)[..., 0, 0]
    unit = eps(xp, factor.dtype)
    base, per_gain = plan.rounding(shape, unit)
    base, per_gain = base + unit + run.turn + cast_error, per_gain / shape[0] ** 0.5
    # |1 - s| <= 1 - sqrt(1 - r), and what rounding adds to it.
    least = xp.sqrt(primitives.clamp(1.0 - residual, 0.0))
    distance = (1.0 + base) - least
    if floor:
        distance = primitives.clamp(distance, most=run.bound + base)
        slack = 8.0 * newton_schulz.slack(shape, unit)
        turn = facts.inverse_reach * (per_gain / (1.0 - slack) / floor)
        if run.slope * run.lower < 0.5:
            # A run that was not made for this floor lifts nothing by more than its slope.
            turn = primitives.clamp(turn, most=per_gain * run.slope)
    else:
        # Steps of this slope lift x to at most slope x.
        turn = _over(per_gain * run.slope, least, xp)
    if facts.least is not None:
        turn = xp.minimum(turn, _over(per_gain, facts.least, xp))
        promised = xp.where(
            facts.least >= run.lower, run.bound + base, xp.full_like(turn, math.inf)
        )
        distance = xp.minimum(distance, promised)
    # Up to `HALF` the run knows better from where it lifted.
    turn = xp.where(residual <= HALF, primitives.clamp(turn, most=per_gain * run.gain), turn)
    # Of a zero matrix the turn may be inf, and is of no interest.
    error = distance + turn * (facts.length + TINY)
    # Each direction that the factor lacks adds 1 to the square of the residual.
    return error, (min(shape) + 0.5) - residual * residual


def _over(factor: float, x: Array, xp: Namespace) -> Array:
    """Return factor / x, inf where x is 0, without a warning."""
    positive = x > 0
    quotient = factor / xp.where(positive, x, xp.ones_like(x))
    return xp.where(positive, quotient, xp.full_like(x, math.inf))


def without_broken(proof: list[Array], finite: Array, /, *, backend: Backend) -> list[Array]:
    """Return error, rank, products and status with what matrices have that were replaced by 0."""
    if not proof:
        return proof
    xp, (error, rank, products, status) = backend.xp, proof
    error = restore(error, finite, backend=backend)
    return [error, rank, products, xp.where(finite, status, xp.full_like(status, 2))]


def _working(x: Array, backend: Backend) -> float:
    """Return the error up to which a factor has the working accuracy of its dtype.

    That is what rounding leaves of a well-conditioned matrix in the Frobenius norm.
    """
    return WORKING * math.sqrt(max(x.shape[-2:])) * eps(backend.xp, x.dtype)


def _stated(
    error: Array, kept: Array, size: Array, tol: float, backend: Backend
) -> tuple[Array, Array, Array]:
    """Return error, status and rank, with what zero and non-finite matrices have of them."""
    xp = backend.xp
    zero = size == 0
    error = xp.where(zero, size, error)
    broken = xp.isnan(error)
    status = xp.astype(error > tol, xp.int32)
    status = xp.where(zero, xp.full_like(status, 3), status)
    status = xp.where(broken, xp.full_like(status, 2), status)
    kept = xp.where(broken, xp.zeros_like(kept), backend.primitives.clamp(kept, 0.0))
    return error, status, xp.astype(kept, xp.int32)


# --- an isometry at every rank -------------------------------------------------------------------

#: The step that lifts is the best one from here to 1. It takes nothing above below 0.3 of itself: a
#: lower end would lift faster, and cost large singular values their directions on the way.
LIFT_FROM = 0.08

#: A singular value that noise of size eps leaves behind is at least eps / (NOISE sqrt(m)).
NOISE = 256.0


def isometry(x: Array, /, *, backend: Backend) -> Array:
    """Return a nearest matrix with orthonormal rows, for wide `x` of any rank.

    Noise of the size of rounding gives the directions that `x` does not have, and steps for
    singular values of that size lift them with all others. Backward error c max(m, n) eps ||x||.
    """
    xp, shape = backend.xp, (x.shape[-2], x.shape[-1])
    unit = eps(xp, x.dtype)
    y = ordinary(x, backend=backend)
    noise = unit * _scattered(shape, y, backend)
    # Of a zero matrix noise is all that there is.
    y = ordinary(y + xp.astype(noise, y.dtype, copy=False), backend=backend)
    scaled = _by_schatten(y, backend).scaled
    segments = _lifts(Kind(shape, unit, device=True), unit / (NOISE * math.sqrt(shape[0])))
    return newton_schulz.run(scaled, segments, backend=backend)


@opaque
def _lifts(kind: Kind, lower: float, /) -> tuple[newton_schulz.Segment, ...]:
    """Return steps that take [lower, 1] to working accuracy, and what is large not far down."""
    best = minimax.minimax_polynomial(LIFT_FROM, 5)
    upper = (1.0 + best.error) * (1.0 + plan.margin(kind.shape, kind.unit))
    step = minimax.evaluation_step([c / upper for c in best.coefficients])
    count = 1 + math.ceil(math.log(LIFT_FROM / lower) / math.log(step.constants[0]))
    last = plan.on_interval(kind, 4.0 * kind.unit, (1.0 - best.error) / upper, first=3)
    return (*[(step,)] * count, *last.segments)


def _scattered(shape: tuple[int, int], like: Array, backend: Backend) -> Array:
    """Return numbers in [-1, 1] without a pattern, the same on every backend, and no transfer."""
    xp, place = backend.xp, backend.placement
    real = real_dtype(xp, like.dtype)
    rows = xp.arange(1.0, shape[0] + 1.0, dtype=real, device=place)
    columns = xp.arange(1.0, shape[1] + 1.0, dtype=real, device=place)
    # The golden ratio: no row is near a multiple of another.
    return xp.cos((rows * (2.0 * math.pi * 0.6180339887498949))[:, None] * columns)
