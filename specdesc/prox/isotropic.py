"""The prox of a convex g where phi is h of the norm of the whole, or of each row or column.

The solution is the Euclidean prox with the step t that solves

    delta(t) / step = pre(delta(t) / (t eps)),    delta(t) = norm(y - prox_(t g)(y)).

delta(t) increases and delta(t) / t decreases, so that there is one crossing, in (0, step / eps].
Derived.
"""

from specdesc._lib.typing import Array
from specdesc._linalg import lift, magnitudes
from specdesc._linalg.basic import root
from specdesc._linalg.magnitudes import Parts
from specdesc.backends import Backend
from specdesc.preconditioners import Preconditioner
from specdesc.preconditioners.kernels import Quadratic
from specdesc.preconditioners.preconditioner import over
from specdesc.prox.geometries import AXES
from specdesc.prox.profile import Penalty, Phi

#: Bisections of the exponent of t, and the powers of 2 below step / eps that are searched.
STEPS, RANGE = 60, 100.0


def solve(
    g: Penalty,
    flat: Array,
    taken: Parts,
    preconditioner: Preconditioner,
    step: Array,
    backend: Backend,
) -> Array:
    """Return the magnitudes of the proximal point for those of the stack, or for others."""
    xp, kernel, eps = backend.xp, preconditioner.kernel, preconditioner.eps
    axes = AXES[preconditioner.geometry]
    shape = tuple(taken.matrix.shape)
    whole = preconditioner.geometry == "global"
    s = flat[..., None, :] if whole else xp.reshape(flat, shape)
    size = step if step.ndim == 0 else step[..., None]
    moves = size > 0
    size = xp.where(moves, size, xp.ones_like(size))
    zero = magnitudes.norm(s, axes, xp=xp) * 0.0
    # t = (step / eps) 2^-exponent; the ideal sign, whose slope at 0 is not 1, may need more.
    low, high = zero - (0.5 * RANGE if kernel.convexity == 0.0 else 0.0), zero + RANGE

    def moved(exponent: Array) -> tuple[Array, Array]:
        t = (size / eps) * (zero + 2.0) ** -exponent
        return t, g.prox(s, Phi(Quadratic(), 1.0, t), backend=backend)

    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        t, x = moved(middle)
        delta = magnitudes.norm(s - x, axes, xp=xp)
        ratio = over(delta / t, eps, xp=xp)
        short = delta <= size * kernel.pre(ratio, xp=xp)  # t is too small: a lower exponent
        high, low = xp.where(short, middle, high), xp.where(short, low, middle)
    t, x = moved(low)
    if backend.asks(s) or backend.asks(size):
        x = lift.in_place_of(_near(g, s, t, preconditioner, size, backend), x, backend=backend)
    return xp.reshape(xp.where(moves, x, s), flat.shape)


def _near(
    g: Penalty,
    s: Array,
    t: Array,
    preconditioner: Preconditioner,
    size: Array,
    backend: Backend,
) -> Array:
    """Return the proximal point by one step of Newton's method from the solution t.

    Bisections have no derivative; this step has that of the implicit function.
    """
    xp, kernel, eps = backend.xp, preconditioner.kernel, preconditioner.eps
    axes = AXES[preconditioner.geometry]

    def excess(t: Array, s: Array, size: Array) -> Array:
        x = g.prox(s, Phi(Quadratic(), 1.0, t), backend=backend)
        delta = root(xp.sum((s - x) ** 2, axis=axes, keepdims=True), xp=xp)
        return delta - size * kernel.pre(over(delta / t, eps, xp=xp), xp=xp)

    still, fixed, t = backend.frozen(s), backend.frozen(size), backend.frozen(t)
    slope = backend.differential(lambda t: excess(t, still, fixed), t, xp.ones_like(t))
    slope = backend.frozen(slope)
    there = slope != 0  # else the point does not depend on t
    moved = xp.where(there, excess(t, s, size), xp.zeros_like(t))
    t = t - moved / xp.where(there, slope, xp.ones_like(slope))
    return g.prox(s, Phi(Quadratic(), 1.0, t), backend=backend)
