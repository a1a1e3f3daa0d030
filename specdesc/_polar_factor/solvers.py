"""The ways to an orthogonal factor, and the proof that each of them has."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from specdesc._lib.arrays import per_batch
from specdesc._lib.dtypes import eps, is_half, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg.basic import thin_svd
from specdesc._polar_factor import adaptive, newton_schulz, plan
from specdesc._polar_factor.adaptive import Followed
from specdesc._polar_factor.plan import Kind
from specdesc.backends import Backend


class Proof(NamedTuple):
    """What is known of a factor; every array has the batch shape."""

    error: Array
    rank: Array
    products: Array


class Found(NamedTuple):
    """A factor, and its proof for those who ask."""

    factor: Array
    #: Called with True, it may measure the factor, for the price of a product.
    proof: Callable[[bool], Proof]


def by_svd(x: Array, floor: float | None, backend: Backend) -> Found:
    """Return U Vᴴ without the directions at the floor or of rounding size."""
    xp = backend.xp
    u, s, vh = thin_svd(x, xp=xp)
    kept = s > max(floor or 0.0, max(x.shape[-2:]) * eps(xp, x.dtype)) * s[..., :1]
    factor = xp.matmul(u * xp.astype(kept, x.dtype)[..., None, :], vh)
    return Found(factor, partial(_proof_of_svd, x, s, kept, backend))


def _proof_of_svd(x: Array, s: Array, kept: Array, backend: Backend, measured: bool) -> Proof:
    xp = backend.xp
    smallest = xp.min(xp.where(kept, s, s[..., :1]), axis=-1)
    ones = xp.ones_like(smallest)
    spread = xp.where(smallest > 0, s[..., 0] / xp.where(smallest > 0, smallest, ones), ones)
    rank = xp.sum(xp.astype(kept, xp.int32), axis=-1, dtype=xp.int32)
    error = 4 * max(x.shape[-2:]) ** 0.5 * eps(xp, x.dtype) * spread
    return Proof(error, rank, xp.zeros_like(rank))


def by_steps(x: Array, rational: bool, goal: float, floor: float | None, backend: Backend) -> Found:
    """Return the factor by polynomials, or by Halley steps and polynomials."""
    xp = backend.xp
    shape, unit = (x.shape[-2], x.shape[-1]), eps(xp, x.dtype)
    begin = newton_schulz.start(newton_schulz.within_range(x, backend=backend), backend=backend)
    if backend.may_branch(x):
        kind = Kind(shape, unit, rational)
        if floor is None:
            followed = adaptive.follow(begin, kind, goal, backend=backend)
        else:
            followed = adaptive.above(begin, kind, goal, floor, backend=backend)
    else:
        lowest = plan.coarse_floor(unit, goal, floor) if is_half(xp, x.dtype) else floor
        run = plan.fixed(shape, unit, rational, goal, lowest)
        followed = adaptive.fixed(begin, run, floor, backend=backend)
    return Found(followed.matrix, partial(_proof_of_steps, followed, backend))


def by_published(x: Array, method: str, floor: float | None, backend: Backend) -> Found:
    """Return what a published iteration makes of a matrix."""
    # Dividing by the Frobenius norm takes s_1 to at least 1 / sqrt(m) and so the floor with it.
    run = plan.published(method, (floor or plan.DEFAULT_FLOOR) / x.shape[-2] ** 0.5)
    begin = newton_schulz.start_unit(x, backend=backend)
    followed = adaptive.fixed(begin, run, floor, backend=backend)
    return Found(followed.matrix, partial(_proof_of_steps, followed, backend))


def _proof_of_steps(followed: Followed, backend: Backend, measured: bool) -> Proof:
    """Return what the run promises, or what the residual says where that is less.

    A residual below 1 says that every singular value of the factor lies near 1, so that nothing
    was lost below the floor.
    """
    xp = backend.xp
    shape = tuple(followed.matrix.shape[-2:])
    base, per_gain = plan.rounding(shape, eps(xp, followed.matrix.dtype))
    rounding = followed.turn + base
    error = followed.bound + rounding + per_gain * _times(followed.mean, followed.gain, xp)
    if not measured:
        return Proof(error, xp.full_like(followed.products, min(shape)), followed.products)
    iterate = newton_schulz.measure(working(xp, followed.matrix), backend=backend)
    residual = per_batch(iterate.residual)
    gain = adaptive.gain(residual, followed.slope, followed.lifted, xp=xp)
    gain = xp.minimum(gain, followed.gain)
    found = (
        adaptive.distance(residual, xp=xp) + rounding + per_gain * _times(followed.mean, gain, xp)
    )
    infinite = xp.full_like(residual, float("inf"))
    error = xp.minimum(error, xp.where(residual < 1, found, infinite))
    # Each direction that the factor lacks adds 1 to the square of the residual.
    kept = xp.maximum(min(shape) - residual**2, xp.zeros_like(residual))
    return Proof(error, xp.astype(xp.round(kept), xp.int32), followed.products)


def _times(mean: Array, gain: Array, xp: Namespace) -> Array:
    """Return the product, with 0 inf = 0: a zero matrix has no error."""
    return mean * xp.where(mean > 0, gain, xp.zeros_like(mean))
