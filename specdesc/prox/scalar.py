"""One scalar equation serves every kernel: x + step pre((constant + rate x) / eps) = s.

Its unknown is the slope t = (constant + rate x) / eps, for which it reads t + c pre(t) = q with
c = step rate / eps and q = (constant + rate s) / eps: two numbers in place of five. As pre is
bounded where the kernel is steep and concave everywhere, Newton's method is safe from saturation
and, from the right side, never overshoots. Derived.
"""

import math
from collections.abc import Callable

from specdesc._lib.checks import plain
from specdesc._lib.dtypes import eps, largest_finite
from specdesc._lib.typing import Array, Namespace
from specdesc.backends import Backend
from specdesc.backends.creation import scalar
from specdesc.preconditioners import kernels
from specdesc.preconditioners.kernels import Kernel
from specdesc.prox.profile import Phi

#: Steps that reach a backward error of 4 eps: the worst of many random problems, and some more.
#: Where equations fold back, roots may be double, and every step wins no more than a factor of 4.
STEPS = {"single": 12, "double": 16}
FOLDED = {"single": 12, "double": 20}

#: Where tangents of pre are drawn for the first guess.
NODES = (0.4, 0.8, 1.3, 2.2, 5.0)

#: The same between the fold and the end of the equation.
FRACTIONS = (0.1, 0.4, 1.0)


def affine_root(
    s: Array,
    phi: Phi,
    constant: float,
    rate: float | Array,
    /,
    *,
    backend: Backend,
    steps: int | None = None,
    start: Array | None = None,
) -> Array:
    """Solve x + step pre((constant + rate x) / eps) = s for x >= 0, with a rate of at least 0.

    s is at least the left side at 0. Backward error: a few eps in s. `start` is a guess of x.
    """
    return rising(phi, constant, rate, s, backend=backend, steps=steps)(s, start)


def rising(
    phi: Phi,
    constant: float,
    rate: float | Array,
    like: Array,
    /,
    *,
    backend: Backend,
    steps: int | None = None,
) -> Callable[[Array, Array | None], Array]:
    """Return the solver of `affine_root`, after what all numbers s have in common."""
    xp, kernel = backend.xp, phi.kernel
    a, b = constant / phi.eps, rate / phi.eps
    c = phi.step * b
    count = steps or STEPS[_precision(like, xp)]
    most = scalar(backend, 0.25 * largest_finite(xp, like.dtype) ** 0.5, like)
    lines = None if closed(kernel) else _tangents(kernel, c, like, backend)

    def solve(s: Array, start: Array | None = None) -> Array:
        q = xp.minimum(a + b * s, most)
        if lines is None:
            t = _closed(kernel, q, c, xp)
            pre, slope = kernel.both(t, xp=xp)
        else:
            low = xp.maximum(q / (1.0 + c), _highest(lines, q, xp))
            t = low if start is None else xp.maximum(a + b * start, low)
            t, pre, slope = _newton(t, q, c, s, phi, low, None, count, backend)
        # Each of the two is the accurate one where the other amplifies rounding.
        steep = c * slope >= 1.0
        if backend.branches and not bool(xp.any(steep)):
            return s - phi.step * pre
        rates = b if isinstance(plain(b), float) else xp.where(b > 0, b, xp.ones_like(b))
        return xp.where(steep, (t - a) / rates, s - phi.step * pre)

    return solve


def falling(
    phi: Phi, constant: float, rate: float, fold: Array, like: Array, /, *, backend: Backend
) -> Callable[[Array], Array]:
    """Return a solver of the same equation for a rate below 0, on 0 <= x <= `fold`.

    The left side increases up to `fold`, where it may turn; s lies between its values at the ends.
    """
    xp, kernel = backend.xp, phi.kernel
    end, b = constant / phi.eps, rate / phi.eps
    c = phi.step * b
    least = end + b * fold  # the slope at the fold
    count = FOLDED[_precision(like, xp)]
    top = xp.full_like(least, end)
    lines, turn = ([], None) if closed(kernel) else _above(kernel, c, least, top, xp)

    def solve(s: Array) -> Array:
        q = end + b * s
        if closed(kernel):
            t = xp.minimum(xp.maximum(_closed(kernel, q, c, xp), least), top)
            return s - phi.step * kernel.pre(t, xp=xp)
        high = top
        for factor, offset in lines:
            high = xp.minimum(high, factor * q + offset)
        if turn is not None:
            lowest, rise, bend = turn
            gap = xp.maximum(q - lowest, xp.zeros_like(lowest))
            parabola = 2.0 * gap / (rise + xp.sqrt(rise * rise + bend * gap))
            high = xp.minimum(high, least + parabola)
        t = xp.maximum(high, least)
        _, pre, _ = _newton(t, q, c, s, phi, least, top, count, backend)
        return s - phi.step * pre

    return solve


def _precision(like: Array, xp: Namespace) -> str:
    return "double" if eps(xp, like.dtype) < 1e-10 else "single"


# --- Newton --------------------------------------------------------------------------------------


def _newton(
    t: Array,
    q: Array,
    c: Array,
    s: Array,
    phi: Phi,
    low: Array,
    high: Array | None,
    count: int,
    backend: Backend,
) -> tuple[Array, Array, Array]:
    """Return t with t + c pre(t) = q in [low, high], pre(t), and about what its derivative is.

    Code that may look at values stops when the next residual is known to be rounding: it is at most
    curvature / 2 times the square of the step, which s compares with.
    """
    xp, kernel, unit = backend.xp, phi.kernel, eps(backend.xp, q.dtype)

    def once(t: Array) -> tuple[Array, ...]:
        pre, flatness = kernel.both(t, xp=xp)
        slope = 1.0 + c * flatness
        if high is not None:
            # Next to a double root, no farther than rounding can tell.
            slope = xp.maximum(slope, xp.full_like(slope[..., :1], unit**0.5))
        moved = xp.maximum(t - (t - q + c * pre) / slope, low)
        if high is not None:
            moved = xp.minimum(moved, high)
        return moved, pre, flatness, moved - t

    found = once(t)
    if not backend.branches:
        found = backend.repeat(count - 1, lambda t, *_: once(t), found)
    else:
        enough = (4.0 * unit / kernel.curvature) * (s / phi.step)
        for _ in range(count - 1):
            found = once(found[0])
            if bool(xp.all(found[3] * found[3] <= enough)):
                break
    t, pre, flatness, step = found
    return t, pre + flatness * step, flatness


# --- first guesses -------------------------------------------------------------------------------


def _tangents(kernel: Kernel, c: Array, like: Array, backend: Backend) -> tuple[Array, Array]:
    """Return lines in q below the root, by factors and offsets: the tangents of a concave pre."""
    xp = backend.xp
    nodes = xp.asarray(NODES, dtype=like.dtype, device=backend.placement)
    pre, slope = kernel.both(nodes, xp=xp)
    factor = 1.0 / (1.0 + c * slope)
    offset = -c * (pre - nodes * slope) * factor
    if kernel.limit < math.inf:
        flat = -c * kernel.limit + xp.zeros_like(offset[..., :1])
        factor = xp.concat([factor, xp.ones_like(flat)], axis=-1)
        offset = xp.concat([offset, flat], axis=-1)
    return factor, offset


def _highest(lines: tuple[Array, Array], q: Array, xp: Namespace) -> Array:
    """Return the highest of all lines at q."""
    factor, offset = lines
    highest = factor[..., :1] * q + offset[..., :1]
    for i in range(1, factor.shape[-1]):
        highest = xp.maximum(highest, factor[..., i : i + 1] * q + offset[..., i : i + 1])
    return highest


def _above(
    kernel: Kernel, c: Array, least: Array, top: Array, xp: Namespace
) -> tuple[list[tuple[Array, Array]], tuple[Array, Array, Array]]:
    """Return lines in q above the root, and what a parabola through both ends is made of.

    Between the fold and the end, t + c pre(t) is convex, so that its tangents lie below it. The
    parabola has its slope at the fold, where the root is most sensitive.
    """
    lines = []
    for fraction in FRACTIONS:
        node = least + fraction * (top - least)
        pre, slope = kernel.both(node, xp=xp)
        rise = 1.0 + c * slope
        safe = xp.where(rise > 0, rise, xp.ones_like(rise))
        offset = xp.where(rise > 0, node - (node + c * pre) / safe, top)
        lines.append((xp.where(rise > 0, 1.0 / safe, xp.zeros_like(rise)), offset))
    pre, slope = kernel.both(least, xp=xp)
    lowest, rise = least + c * pre, xp.clip(1.0 + c * slope, min=eps(xp, top.dtype))
    width = xp.where(top > least, top - least, xp.ones_like(top))
    bend = top + c * kernel.pre(top, xp=xp) - lowest - rise * width
    return lines, (lowest, rise, 4.0 * xp.clip(bend, min=0.0) / width**2)


# --- kernels whose equation is linear or quadratic -----------------------------------------------


def closed(kernel: Kernel, /) -> bool:
    """Say whether the equation needs no iteration."""
    soft = isinstance(kernel, kernels.Kappa) and kernel.kappa == 1
    return soft or isinstance(kernel, (kernels.Quadratic, kernels.Clip))


def _closed(kernel: Kernel, q: Array, c: Array, xp: Namespace) -> Array:
    """Return the root of t + c pre(t) = q, the larger one of two."""
    one = 1.0 + c
    if isinstance(kernel, kernels.Kappa):
        p = one - q
        root = xp.sqrt(xp.clip(p * p + 4.0 * q, min=0.0))
        positive = p >= 0
        stable = xp.where(positive, p + root, xp.ones_like(root))
        return xp.where(positive & (stable > 0), 2.0 * q / stable, 0.5 * (root - p))
    below = q / xp.where(one > 0, one, xp.ones_like(one))
    if isinstance(kernel, kernels.Quadratic):
        return below
    return xp.where(q > one, q - c, below)
