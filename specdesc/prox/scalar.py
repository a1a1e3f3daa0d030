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
    concave = not (isinstance(rate, float) and rate < 0)
    for _ in range(steps or STEPS["double" if unit < 1e-10 else "single"]):
        if concave:
            gap, slope = _residual(s, x, phi, constant, rate, xp)
            # From the left Newton stays there; from the right its first step leads to the left.
            x = xp.maximum(x - gap / slope, low)
        else:
            x, low, high, gap = _bracketed(s, x, low, high, phi, constant, rate, xp)
        if branches and bool(xp.all(xp.abs(gap) <= 4 * unit * s)):
            break
    return x


def _residual(
    s: Array, x: Array, phi: Phi, constant: float, rate: float | Array, xp: Namespace
) -> tuple[Array, Array]:
    """Return F(x) - s and F'(x)."""
    pre, flatness = phi.kernel.both(over(constant + rate * x, phi.eps, xp=xp), xp=xp)
    return x - s + phi.step * pre, 1.0 + (phi.step * (rate / phi.eps)) * flatness


def _bracketed(
    s: Array,
    x: Array,
    low: Array,
    high: Array,
    phi: Phi,
    constant: float,
    rate: float | Array,
    xp: Namespace,
) -> tuple[Array, Array, Array, Array]:
    """Return the next x, the bracket, and F(x) - s at the point before.

    Where F ends flat, a root may be double: Newton is slow there and may leave, bisection does not.
    """
    gap, slope = _residual(s, xp.minimum(x, high), phi, constant, rate, xp)
    below = gap <= 0
    low, high = xp.where(below, x, low), xp.where(below, high, x)
    steep = slope > 0
    new = x - gap / xp.where(steep, slope, xp.ones_like(slope))
    inside = steep & (new >= low) & (new <= high)
    return xp.where(inside, new, 0.5 * (low + high)), low, high, gap
