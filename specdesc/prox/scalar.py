"""One scalar equation serves every kernel: x + step pre(g'(x) / eps) = s.

Written with the preconditioner, which is bounded where the kernel is steep, it is safe from
saturation (derived): for s >= 0 and a penalty with slope g'(x) >= 0 on x > 0, x is stationary
exactly where F(x) = x + step pre(g'(x) / eps) meets s. F is concave where g' is affine, so Newton's
method from the left never overshoots; elsewhere a bracket guards it.
"""

from specdesc._array import eps
from specdesc._typing import Array, Namespace
from specdesc.backends import Backend
from specdesc.preconditioners.preconditioner import over
from specdesc.prox.profile import Phi

#: Steps that reach a backward error of 4 eps: the worst of many random problems, and some more.
STEPS = {"single": 16, "double": 24}


def affine_root(
    s: Array,
    phi: Phi,
    constant: float,
    rate: float | Array,
    /,
    *,
    low: Array,
    high: Array,
    backend: Backend,
    steps: int | None = None,
    start: Array | None = None,
) -> Array:
    """Solve F(x) = s on [low, high] for the slope g'(x) = constant + rate x.

    F(low) <= s <= F(high), F increasing between. Backward error: a few eps in s.
    """
    xp, unit = backend.xp, eps(backend.xp, s.dtype)
    branches = backend.may_branch(s)
    x = low if start is None else start
    for _ in range(steps or STEPS["double" if unit < 1e-10 else "single"]):
        x, low, high, gap = _advance(s, x, low, high, phi, constant, rate, xp)
        if branches and bool(xp.all(xp.abs(gap) <= 4 * unit * s)):
            break
    return x


def _advance(
    s: Array,
    x: Array,
    low: Array,
    high: Array,
    phi: Phi,
    constant: float,
    rate: float | Array,
    xp: Namespace,
) -> tuple[Array, Array, Array, Array]:
    """Return the next x, the bracket, and F(x) - s at the point before."""
    t = over(xp.clip(constant + rate * x, min=0.0), phi.eps, xp=xp)
    gap = x - s + phi.step * phi.kernel.pre(t, xp=xp)
    slope = 1.0 + phi.step * (rate / phi.eps) * phi.kernel.slope(t, xp=xp)
    below = gap <= 0
    low, high = xp.where(below, x, low), xp.where(below, high, x)
    steep = slope > 0
    new = x - gap / xp.where(steep, slope, xp.ones_like(slope))
    inside = steep & (new >= low) & (new <= high)
    return xp.where(inside, new, 0.5 * (low + high)), low, high, gap


def full(value: float, like: Array, /, *, xp: Namespace) -> Array:
    """Return an array like `like` with one value."""
    return xp.full_like(like, value)
