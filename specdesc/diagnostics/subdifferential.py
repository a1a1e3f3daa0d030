"""The distance of -grad to the subdifferential of g, where it has a closed form (derived)."""

from collections.abc import Callable

from specdesc._lib.arrays import adjoint, per_batch
from specdesc._lib.checks import check_same_shape
from specdesc._lib.dtypes import is_complex, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg import magnitudes
from specdesc._linalg.basic import replace_broken, restore, thin_svd
from specdesc.backends import Backend
from specdesc.backends.entry import check_supported, enter
from specdesc.diagnostics.residual import norm_of
from specdesc.prox import PSD, Operator, penalties, sets
from specdesc.prox.frames import NORM, SINGULAR_VALUES


def subdifferential_distance(x: Array, grad: Array, g: Operator, /) -> Array:
    """Return the least ||grad + v||_F over the subgradients v of g at x.

    Parameters
    ----------
    x : array, shape (..., m, n)
        A point where g is finite.
    grad : array, shape (..., m, n)
        The gradient of f there.
    g : Operator
        `prox.Zero`, `Ridge`, `FrobeniusBall`, `L1`, `ElasticNet`, `Huber`, `MCP`, `SCAD`,
        `Nuclear`, `Spectral` of those, `MaxBall`, `L1Ball`, `Box`, `SpectralBall`, `NuclearBall`,
        `PSD`.

    Returns
    -------
    array, shape (...)
        Real, in float32 at least; inf at a point outside of a set, NaN where an array is not
        finite.

    Raises
    ------
    TypeError, ValueError
        As in the table of bad input.
    NotImplementedError
        There is no closed form for `g`; `prox_residual` takes any.

    Notes
    -----
    0 exactly at stationary points of f + g (textbook); for MCP and SCAD the subdifferential is that
    of Fréchet. For convex f + g it bounds the objective, f + g - min <= it times ||x - x*||, and it
    bounds `prox_residual` from above. With an absolutely symmetric function of singular values the
    subgradients at x = U_1 S V_1ᴴ are U_1 g'(S) V_1ᴴ + W, where W is orthogonal to both bases and
    has a spectral norm of at most g'(0) (textbook: Lewis).

    It jumps: an entry of 1e-9 that should be 0 has the one subgradient of its sign. Singular values
    below 8 max(m, n) eps of the largest count as 0, and those so near to a bound as at it. Where
    iterates only tend to such a point, `prox_residual` is the measure that tends to 0.

    Cost: one SVD for x and one for the rest of the gradient, for functions of singular values.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import diagnostics, prox
    >>> distance = diagnostics.subdifferential_distance
    >>> distance(np.diag([1.0, 0.0]), np.diag([-0.7, 0.6]), prox.Nuclear(0.7))
    np.float64(0.0)
    >>> distance(np.diag([1.0, 0.0]), np.diag([-0.7, 1.7]), prox.Nuclear(0.7))
    np.float64(1.0)
    """
    backend = enter("diagnostics.subdifferential_distance", x, grad, names=("x", "grad"))
    check_same_shape(x, grad, "x", "grad")
    rest_of = _closed_form(g)
    xp = backend.xp
    outside = g.value(x)
    with backend.guard(x):
        if g.frame == SINGULAR_VALUES:
            check_supported(f"prox.{type(g).__name__}", backend)
        here, whole = replace_broken(working(xp, x), backend=backend)
        pull, finite = replace_broken(working(xp, grad), backend=backend)
        if getattr(g, "axes", None) == (-1,):
            here, pull = here[..., None, :], pull[..., None, :]
        slack = magnitudes.slack(x, xp=xp)
        least = (
            0.0 * norm_of(here, backend) if 0 in x.shape else rest_of(here, pull, slack, backend)
        )
        least = least + xp.where(outside < float("inf"), 0.0 * least, outside)
        known = whole & finite
        batch = per_batch(known)
        rows = least.ndim > batch.ndim
        return restore(least, batch[..., None] if rows else batch, backend=backend)


_Distance = Callable[[Array, Array, float, Backend], Array]


def _closed_form(g: Operator) -> _Distance:
    """Return the distance as a function of x, the gradient and the relative rounding."""
    profile = g.profile
    found: _Distance | None = None
    if isinstance(g, PSD):
        found = _cone
    elif isinstance(profile, penalties.Nothing):
        found = _norm
    elif g.frame == NORM:
        found = _square(profile) if isinstance(profile, penalties.Squares) else _ball(profile)
    elif isinstance(profile, sets.Interval) and profile.low == 0.0:
        found = _spectral_ball(profile) if g.frame == SINGULAR_VALUES else _max_ball(profile)
    elif isinstance(profile, sets.Box):
        found = _box(profile)
    elif isinstance(
        profile, (penalties.Sum, penalties.Squares, penalties.Huber, penalties.Concave)
    ):
        found = _of_spectrum(profile) if g.frame == SINGULAR_VALUES else _of_entries(profile)
    elif isinstance(profile, sets.SumBall):
        found = _nuclear_ball(profile) if g.frame == SINGULAR_VALUES else _l1_ball(profile)
    if found is None:
        msg = (
            f"{type(g).__name__} has no closed form for the distance to its subdifferential; "
            "diagnostics.prox_residual takes any g"
        )
        raise NotImplementedError(msg)
    return found


def _norm(_: Array, grad: Array, __: float, backend: Backend) -> Array:
    return norm_of(grad, backend)


def _square(profile: penalties.Squares) -> _Distance:
    def distance(x: Array, grad: Array, _: float, backend: Backend) -> Array:
        return norm_of(grad + profile.square * x, backend)

    return distance


def _ball(profile: sets.EuclideanBall) -> _Distance:
    """Return the distance for the ball, whose normals are the multiples of the point."""

    def distance(x: Array, grad: Array, slack: float, backend: Backend) -> Array:
        xp = backend.xp
        size = magnitudes.norm(x, (-2, -1), xp=xp)
        unit = x / xp.astype(xp.where(size > 0, size, xp.ones_like(size)), x.dtype)
        along = xp.sum(xp.sum(_real(xp.conj(unit) * grad, xp), axis=-1), axis=-1)[..., None, None]
        push = xp.where(
            size >= profile.radius * (1.0 - slack), xp.clip(-along, min=0.0), 0.0 * along
        )
        return norm_of(grad + xp.astype(push, unit.dtype) * unit, backend)

    return distance


# --- entries: the part of the gradient along the phase of x ---------------------------------------


def _real(x: Array, xp: Namespace) -> Array:
    return xp.real(x) if is_complex(xp, x.dtype) else x


def _along(x: Array, grad: Array, xp: Namespace) -> tuple[Array, Array, Array]:
    """Return abs(x), the gradient in units of the phase of x, and abs of the gradient."""
    size = xp.abs(x)
    safe = xp.where(size > 0, size, xp.ones_like(size))
    return size, xp.conj(x / xp.astype(safe, x.dtype)) * grad, xp.abs(grad)


def _of_entries(profile: penalties.Sloped) -> _Distance:
    def distance(x: Array, grad: Array, _: float, backend: Backend) -> Array:
        xp = backend.xp
        size, along, pull = _along(x, grad, xp)
        slope = profile.slope(size, xp=xp)
        at_zero = xp.clip(pull - slope, min=0.0)
        return norm_of(
            xp.where(size > 0, xp.abs(along + xp.astype(slope, along.dtype)), at_zero), backend
        )

    return distance


def _max_ball(profile: sets.Interval) -> _Distance:
    def distance(x: Array, grad: Array, slack: float, backend: Backend) -> Array:
        xp = backend.xp
        size, along, pull = _along(x, grad, xp)
        push = xp.clip(-_real(along, xp), min=0.0)
        rest = xp.abs(along + xp.astype(push, along.dtype))
        active = (size >= profile.high * (1.0 - slack)) & (size > 0)
        # Every direction is normal to a ball without an interior.
        rest = xp.where(active, rest, pull)
        return norm_of(0.0 * rest if profile.high == 0.0 else rest, backend)

    return distance


def _box(profile: sets.Box) -> _Distance:
    def distance(x: Array, grad: Array, slack: float, backend: Backend) -> Array:
        xp = backend.xp
        room = slack * float(profile.scale(x, xp=xp))
        down = xp.where(x >= profile.high - room, xp.clip(grad, min=0.0), grad)
        return norm_of(xp.where(x <= profile.low + room, xp.clip(down, max=0.0), down), backend)

    return distance


def _l1_ball(profile: sets.SumBall) -> _Distance:
    def distance(x: Array, grad: Array, slack: float, backend: Backend) -> Array:
        xp = backend.xp
        size, along, pull = _along(x, grad, xp)
        flat = (*x.shape[:-2], x.shape[-2] * x.shape[-1])
        kept = xp.astype(size > 0, size.dtype)
        total = xp.sum(xp.reshape(kept * _real(along, xp), flat), axis=-1)
        count = xp.sum(xp.reshape(kept, flat), axis=-1)
        others = xp.reshape((1.0 - kept) * pull, flat)
        active = xp.sum(xp.reshape(size, flat), axis=-1) >= profile.radius * (1.0 - slack)
        w = _multiplier(others, total, count, active, backend)[..., None, None]
        rest = xp.where(
            size > 0, xp.abs(along + xp.astype(w, along.dtype)), xp.clip(pull - w, min=0.0)
        )
        return norm_of(rest, backend)

    return distance


def _multiplier(
    others: Array, total: Array, count: Array, active: Array, backend: Backend
) -> Array:
    """Return the w >= 0 of the nearest w (signs + ball): the largest of finitely many roots.

    It solves count w + total = sum of (others - w)_+, the largest over j of the sums of the j
    largest of (others - w).
    """
    xp = backend.xp
    ordered = xp.sort(others, axis=-1, descending=True)
    sums = xp.cumulative_sum(ordered, axis=-1, include_initial=True)
    j = xp.arange(sums.shape[-1], dtype=sums.dtype, device=backend.placement)
    below = count[..., None] + j
    below = xp.where(below > 0, below, xp.ones_like(below))
    w = xp.max((sums - total[..., None]) / below, axis=-1)
    return xp.where(active, xp.clip(w, min=0.0), xp.zeros_like(w))


# --- singular values ------------------------------------------------------------------------------


def _split(x: Array, grad: Array, slack: float, xp: Namespace) -> tuple[Array, Array, Array, Array]:
    """Return U_1, s, V_1ᴴ of the values that are not 0, and the gradient orthogonal to both."""
    u, s, vh = thin_svd(x, xp=xp)
    kept = xp.astype(s > slack * s[..., :1], s.dtype)
    s = s * kept
    u = u * xp.astype(kept, u.dtype)[..., None, :]
    vh = vh * xp.astype(kept, vh.dtype)[..., :, None]
    left = grad - xp.matmul(u, xp.matmul(adjoint(u, xp=xp), grad))
    return u, s, vh, left - xp.matmul(xp.matmul(left, adjoint(vh, xp=xp)), vh)


def _joined(first: Array, second: Array, backend: Backend) -> Array:
    return backend.xp.hypot(norm_of(first, backend), norm_of(second[..., None, :], backend))


def _of_spectrum(profile: penalties.Sloped) -> _Distance:
    def distance(x: Array, grad: Array, slack: float, backend: Backend) -> Array:
        xp = backend.xp
        u, s, vh, rest = _split(x, grad, slack, xp)
        slope = xp.astype(profile.slope(s, xp=xp), u.dtype)
        first = grad - rest + xp.matmul(u * slope[..., None, :], vh)
        beyond = xp.clip(xp.linalg.svdvals(rest) - profile.slope(0.0 * s, xp=xp), min=0.0)
        return _joined(first, beyond, backend)

    return distance


def _nuclear_ball(profile: sets.SumBall) -> _Distance:
    def distance(x: Array, grad: Array, slack: float, backend: Backend) -> Array:
        xp = backend.xp
        u, s, vh, rest = _split(x, grad, slack, xp)
        factor, others = xp.matmul(u, vh), xp.linalg.svdvals(rest)
        total = xp.sum(xp.sum(_real(xp.conj(factor) * grad, xp), axis=-1), axis=-1)
        count = xp.sum(xp.astype(s > 0, s.dtype), axis=-1)
        active = xp.sum(s, axis=-1) >= profile.radius * (1.0 - slack)
        w = _multiplier(others, total, count, active, backend)
        first = grad - rest + xp.astype(w, factor.dtype)[..., None, None] * factor
        return _joined(first, xp.clip(others - w[..., None], min=0.0), backend)

    return distance


def _positive_part(x: Array, backend: Backend) -> Array:
    """Return the positive semi-definite part of the Hermitian part."""
    xp = backend.xp
    values, vectors = xp.linalg.eigh(0.5 * (x + adjoint(x, xp=xp)))
    scaled = vectors * xp.astype(xp.clip(values, min=0.0), vectors.dtype)[..., None, :]
    return xp.matmul(scaled, adjoint(vectors, xp=xp))


def _spectral_ball(profile: sets.Interval) -> _Distance:
    """Return the distance for the ball.

    Its normals are U H Vᴴ with H semi-definite on the vectors of the values at the bound.
    """

    def distance(x: Array, grad: Array, slack: float, backend: Backend) -> Array:
        xp = backend.xp
        if profile.high == 0.0:
            return 0.0 * norm_of(grad, backend)
        u, s, vh = thin_svd(x, xp=xp)
        active = xp.astype(s >= profile.high * (1.0 - slack), s.dtype)
        u = u * xp.astype(active, u.dtype)[..., None, :]
        vh = vh * xp.astype(active, vh.dtype)[..., :, None]
        block = -xp.matmul(xp.matmul(adjoint(u, xp=xp), grad), adjoint(vh, xp=xp))
        push = xp.matmul(xp.matmul(u, _positive_part(block, backend)), vh)
        return norm_of(grad + push, backend)

    return distance


def _cone(x: Array, grad: Array, slack: float, backend: Backend) -> Array:
    """Return the distance for the cone of semi-definite matrices; skew parts are normal."""
    xp = backend.xp
    values, vectors = xp.linalg.eigh(0.5 * (x + adjoint(x, xp=xp)))
    largest = xp.max(xp.abs(values), axis=-1, keepdims=True)
    null = vectors * xp.astype(values <= slack * largest, vectors.dtype)[..., None, :]
    pull = 0.5 * (grad + adjoint(grad, xp=xp))
    block = xp.matmul(xp.matmul(adjoint(null, xp=xp), pull), null)
    kept = xp.matmul(xp.matmul(null, _positive_part(block, backend)), adjoint(null, xp=xp))
    return norm_of(pull - kept, backend)
