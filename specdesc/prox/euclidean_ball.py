"""The Euclidean ball in a geometry that is not Euclidean: one multiplier, many scalar equations.

Outside of the ball the point x solves s_i = x_i + step pre(mu x_i) for all i, with the mu > 0 that
gives it the norm `radius`; the scale eps drops out. x(mu) decreases, and N(mu) = 1 / norm(x(mu)) -
1 / radius was found concave for every kernel here, so Newton from the left does not overshoot.
Derived.
"""

from specdesc._lib.checks import is_number
from specdesc._lib.dtypes import eps
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg.basic import root
from specdesc.backends import Backend
from specdesc.preconditioners import kernels
from specdesc.prox.profile import Phi
from specdesc.prox.scalar import STEPS, affine_root

#: Newton steps for the multiplier (at most 11 were seen), and for the points after the first one.
OUTER, INNER = 14, 6


def norm(s: Array, /, *, xp: Namespace) -> Array:
    """Return the Euclidean norm along the last axis, kept as 1, safe at any scale."""
    largest = xp.max(xp.abs(s), axis=-1, keepdims=True)
    safe = xp.where(largest > 0, largest, xp.ones_like(largest))
    return largest * root(xp.sum((s / safe) ** 2, axis=-1, keepdims=True), xp=xp)


def project(s: Array, radius: float, phi: Phi, /, *, backend: Backend) -> Array:
    """Return the point of the ball; the Euclidean one where the kernel does not reach the ball."""
    xp = backend.xp
    size = norm(s, xp=xp)
    outside = size > radius
    ones = xp.ones_like(size)
    euclidean = xp.where(outside, s * (radius / xp.where(outside, size, ones)), s)
    if is_number(radius, 0.0) or isinstance(phi.kernel, kernels.Quadratic) or s.shape[-1] == 1:
        return euclidean
    # The nearest that a bounded kernel comes to the origin. A point on its edge is not far away:
    # a saturated step from the sphere lands there, and the way back is this one.
    edge = xp.clip(s - phi.step * phi.kernel.limit, min=0.0) if bounded(phi) else 0.0 * s
    reach = norm(edge, xp=xp)
    unit = 64.0 * eps(xp, s.dtype)
    edge = edge * (radius / xp.maximum(reach, radius + 0.0 * reach))
    euclidean = xp.where(outside & (reach <= radius * (1.0 + unit)), edge, euclidean)
    wanted = outside & (reach < radius * (1.0 - unit))
    if backend.branches and not bool(xp.any(wanted)):
        return euclidean
    # In units of the radius; where nothing is to be done, a problem that converges at once.
    scaled = xp.where(wanted, s / radius, xp.full_like(s, s.shape[-1] ** -0.5))
    phi = Phi(phi.kernel, 1.0, phi.step / radius + xp.zeros_like(size))
    solve = _by_shift if phi.kernel.convexity == 0.0 else _by_multiplier
    x = _inside(solve(scaled, phi, backend), xp)
    return xp.where(wanted, x * radius, euclidean)


def bounded(phi: Phi, /) -> bool:
    """Say whether the kernel takes no step longer than phi.step."""
    return phi.kernel.limit < float("inf")


def _inside(x: Array, xp: Namespace) -> Array:
    """Take away what rounding left beyond 1."""
    size = norm(x, xp=xp)
    return x / xp.where(size > 1.0, size, xp.ones_like(size))


def _by_shift(s: Array, phi: Phi, backend: Backend) -> Array:
    """Solve for the ideal sign: max(s - t, 0), whose norm is convex in t."""
    xp = backend.xp

    def step(shift: Array) -> tuple[Array]:
        x = xp.clip(s - shift, min=0.0)
        size, sum_ = norm(x, xp=xp), xp.sum(x, axis=-1, keepdims=True)
        safe = xp.where(sum_ > 0, sum_, xp.ones_like(sum_))
        return (shift + xp.clip(size - 1.0, min=0.0) * size / safe,)

    (shift,) = backend.repeat(OUTER * 2, step, (xp.zeros_like(s[..., :1]),))
    return xp.clip(s - shift, min=0.0)


def _by_multiplier(s: Array, phi: Phi, backend: Backend) -> Array:
    """Solve for mu by Newton, and for x(mu) from the point before."""
    xp, unit = backend.xp, eps(backend.xp, s.dtype)
    least = xp.clip(norm(s, xp=xp) - 1.0, min=0.0) / phi.step

    def nearer(mu: Array, x: Array) -> Array:
        size = norm(x, xp=xp)
        slope = phi.kernel.slope(mu * x, xp=xp)
        fall = x * phi.step * slope / (1.0 + phi.step * mu * slope)
        rise = xp.sum(x * fall, axis=-1, keepdims=True)
        # N = 1 / size - 1 and N' = rise / size³.
        new = mu + (size - 1.0) * size * size / xp.where(rise > 0, rise, xp.ones_like(rise))
        return xp.maximum(xp.where(rise > 0, new, mu), least)

    def step(mu: Array, x: Array) -> tuple[Array, Array]:
        x = _point(s, mu, phi, x, INNER, backend)
        return nearer(mu, x), x

    first = STEPS["double" if unit < 1e-10 else "single"]
    x = _point(s, least, phi, None, first, backend)
    mu = nearer(least, x)
    if not backend.branches:
        mu, x = backend.repeat(OUTER - 1, step, (mu, x))
        return _point(s, mu, phi, x, INNER, backend)
    for _ in range(OUTER - 1):
        if bool(xp.all(xp.abs(norm(x, xp=xp) - 1.0) <= 4 * unit)):
            break
        mu, x = step(mu, x)
    return _point(s, mu, phi, x, INNER, backend)


def _point(
    s: Array, mu: Array, phi: Phi, start: Array | None, steps: int, backend: Backend
) -> Array:
    """Return x(mu): the prox of a square of weight mu."""
    begin = None if start is None else backend.xp.minimum(start, s)
    return affine_root(s, phi, 0.0, mu, backend=backend, steps=steps, start=begin)
