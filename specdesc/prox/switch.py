"""Where a prox that is not continuous jumps: one number for all magnitudes that share a step.

The values that compete are the dearest part of such a prox. Their difference grows with the
magnitude, so that a thousand of them need it no oftener than one. Derived.
"""

import math
from collections.abc import Callable

from specdesc._lib.dtypes import eps
from specdesc._lib.typing import Array
from specdesc.backends import Backend
from specdesc.prox.profile import Phi

#: So many magnitudes share a step where it pays to look for the jump.
MANY = 1 << 14

#: Steps of Newton's method, or bisections.
STEPS = 80


def found_once(s: Array, step: Array, backend: Backend, /) -> bool:
    """Say whether the jump is to be found before the magnitudes are looked at."""
    return backend.branches and step.ndim == 0 and math.prod(s.shape) >= MANY


def level(phi: Phi, value: float, backend: Backend, /) -> Array:
    """Return the displacement whose price is `value`, or where prices are infinite."""
    xp, limit = backend.xp, phi.kernel.limit
    # No price is less than that of the quadratic kernel, but for the ideal sign.
    far = xp.sqrt(2.0 * phi.step * value / phi.eps)
    end = far if limit == math.inf else phi.step * limit
    high = end if phi.kernel.convexity == 0.0 else xp.minimum(far, end)

    def excess(r: Array) -> tuple[Array, Array]:
        slope = phi.eps * phi.kernel.inverse(r / phi.step, xp=xp)
        return phi.reference(r, xp=xp) - value, slope

    return crossing(excess, xp.zeros_like(high), high, backend)


def crossing(
    excess: Callable[[Array], tuple[Array, Array]], low: Array, high: Array, backend: Backend, /
) -> Array:
    """Return where an increasing function and its derivative cross 0, or the end that is nearest.

    Newton's method, and the middle of the bracket where it leaves that. All are 0-d; the function
    gets and returns one number along one axis.
    """
    xp, unit = backend.xp, eps(backend.xp, low.dtype)

    def at(x: Array) -> tuple[Array, Array]:
        value, slope = excess(xp.reshape(x, (1,)))
        return value[0], slope[0]

    if not bool(low < high) or bool(at(low)[0] >= 0):
        return low
    if bool(at(high)[0] <= 0):
        return high
    x = 0.5 * (low + high)
    for _ in range(STEPS):
        value, slope = at(x)
        low, high = (x, high) if bool(value <= 0) else (low, x)
        usable = bool(xp.isfinite(value)) and bool(slope > 0) and bool(xp.isfinite(slope))
        new = x - value / slope if usable else 0.5 * (low + high)
        if not bool((new > low) & (new < high)):
            new = 0.5 * (low + high)
        if bool(high - low <= 2 * unit * high) or bool(xp.abs(new - x) <= unit * high):
            break
        x = new
    return x
