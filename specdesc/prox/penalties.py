"""Penalties on magnitudes: value and prox in the geometry of a kernel (formulas derived)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from specdesc._lib.checks import is_number
from specdesc._lib.typing import Array, Namespace
from specdesc.backends import Backend
from specdesc.prox import blocks, switch
from specdesc.prox.profile import Phi
from specdesc.prox.scalar import falling, rising


class Sloped(Protocol):
    """A penalty with a slope."""

    def slope(self, s: Array, /, *, xp: Namespace) -> Array:
        """Return the derivative at magnitudes, and its limit at 0."""
        ...


@dataclass(frozen=True)
class Nothing:
    """0."""

    separable = True
    depends_on_kernel = False

    def value(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return 0."""
        return xp.sum(xp.zeros_like(s), axis=-1)

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Return s."""
        return s


@dataclass(frozen=True)
class Sum:
    """`weight` (s_1 + s_2 + ...)."""

    weight: float
    separable = True
    depends_on_kernel = True

    @property
    def steepest(self) -> float:
        """The slope at 0."""
        return self.weight

    def slope(self, s: Array, /, *, xp: Namespace) -> Array:
        """Return the weight."""
        return xp.full_like(s, self.weight)

    def value(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return the weighted sum."""
        return self.weight * xp.sum(s, axis=-1)

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Shrink by step pre(weight / eps)."""
        xp, shift = backend.xp, _shift(self.weight, phi, backend.xp)

        def shrink(part: Array) -> Array:
            return xp.maximum(part - shift, xp.zeros_like(shift))

        return blocks.magnitudes(shrink, s, phi.step, backend=backend)


@dataclass(frozen=True)
class Count:
    """`weight` times the number of magnitudes that are not 0."""

    weight: float
    relative: bool  # magnitudes below slack times the first one count as 0
    separable = True
    depends_on_kernel = True

    def value(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return the weighted count."""
        kept = s > slack * s[..., :1] if self.relative else s > 0
        return self.weight * xp.sum(xp.astype(kept, s.dtype), axis=-1)

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Keep s where removing it costs more than `weight`."""
        xp = backend.xp
        few = switch.found_once(s, phi.step, backend)
        limit = switch.level(phi, self.weight, backend) if few else phi.step

        def keep(part: Array) -> Array:
            kept = part > limit if few else phi.reference(part, xp=xp) > self.weight
            return xp.where(kept, part, xp.zeros_like(part))

        return blocks.magnitudes(keep, s, phi.step, backend=backend)


@dataclass(frozen=True)
class Squares:
    """`linear` (s_1 + ...) + `square` (s_1² + ...) / 2."""

    linear: float
    square: float
    separable = True
    depends_on_kernel = True

    @property
    def steepest(self) -> float:
        """The slope at 0; it grows with the magnitudes, which nothing bounds."""
        return self.linear

    def slope(self, s: Array, /, *, xp: Namespace) -> Array:
        """Return linear + square s."""
        return self.linear + self.square * s

    def value(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return the value."""
        return xp.sum(s * (self.linear + 0.5 * self.square * s), axis=-1)

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Return 0 up to step pre(linear / eps), and the root of one equation beyond."""
        return blocks.magnitudes(self.map(s, phi, backend), s, phi.step, backend=backend)

    def map(self, like: Array, phi: Phi, backend: Backend, /) -> Callable[[Array], Array]:
        """Return the prox as a function of magnitudes, after what they have in common."""
        xp = backend.xp
        shift = _shift(self.linear, phi, xp)

        def shrink(s: Array) -> Array:
            return xp.maximum(s - shift, xp.zeros_like(shift))

        if is_number(self.square, 0.0):
            return shrink
        if phi.kernel.convexity == 0.0:  # the ideal sign moves by a whole step whatever the slope
            return lambda s: xp.clip(s - phi.step, min=0.0)
        solve = rising(phi, self.linear, self.square, like, backend=backend)
        if is_number(self.linear, 0.0):
            return lambda s: solve(s, None)

        def root(s: Array) -> Array:
            x = solve(xp.maximum(s, shift), None)
            return xp.where(s > shift, xp.maximum(x, xp.zeros_like(shift)), xp.zeros_like(x))

        return root


@dataclass(frozen=True)
class Huber:
    """`weight` times s² / 2 up to `delta`, and delta (s - delta / 2) beyond."""

    weight: float
    delta: float
    separable = True
    depends_on_kernel = True

    @property
    def steepest(self) -> float:
        """The slope from `delta` on."""
        return self.weight * self.delta

    def slope(self, s: Array, /, *, xp: Namespace) -> Array:
        """Return weight min(s, delta)."""
        return self.weight * xp.clip(s, max=self.delta)

    def value(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return the value."""
        low = xp.clip(s, max=self.delta)
        return self.weight * xp.sum(low * (s - 0.5 * low), axis=-1)

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Return the prox of the squares below, and a shift beyond."""
        xp = backend.xp
        shift = _shift(self.weight * self.delta, phi, xp)
        edge = self.delta + shift
        flat = phi.kernel.convexity == 0.0 or is_number(self.weight * self.delta, 0.0)
        inner = Squares(0.0, self.weight).map(s, phi, backend)

        def move(part: Array) -> Array:
            beyond = part - shift
            if flat:
                return xp.clip(beyond, min=0.0)
            return xp.where(part > edge, beyond, inner(xp.minimum(part, edge)))

        return blocks.magnitudes(move, s, phi.step, backend=backend)


@dataclass(frozen=True)
class Concave:
    """MCP and SCAD: slope `weight` up to `flat`, falling to 0 at `plateau`, and 0 beyond.

    Not convex: up to three points are stationary, and the least of the smallest value is taken.
    """

    weight: float
    flat: float
    plateau: float
    separable = True
    depends_on_kernel = True

    @property
    def steepest(self) -> float:
        """The slope at 0."""
        return self.weight

    @property
    def rate(self) -> float:
        """How fast the slope falls."""
        return self.weight / (self.plateau - self.flat)

    def value(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return the value."""
        return xp.sum(self._values(s, xp), axis=-1)

    def _values(self, s: Array, xp: Namespace) -> Array:
        ramp = xp.clip(s, min=self.flat, max=self.plateau) - self.flat
        return self.weight * (xp.clip(s, max=self.flat) + ramp) - 0.5 * self.rate * ramp * ramp

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Return the best of 0, the root of F(x) = s where F rises, and s."""
        if is_number(self.weight, 0.0):
            return s
        xp = backend.xp
        first = _shift(self.weight, phi, xp)
        turn, top = self._turn(phi, first, xp)
        root = self._root(s, phi, first, turn, top, backend)
        if switch.found_once(s, phi.step, backend):
            return self._by_limit(s, phi, first, top, root, backend)

        def move(part: Array) -> Array:
            point = root(part)
            infinite = xp.full_like(part, float("inf"))
            allowed = (part > first) & (part <= top) & (turn > 0)
            at_zero = xp.where(part <= first, phi.reference(part, xp=xp), infinite)
            at_root = xp.where(allowed, self._at_root(point, phi, xp), infinite)
            last = xp.full_like(part, self._last())
            at_end = xp.where(part >= self.plateau, last, infinite)
            best = xp.where(at_root <= at_end, point, part)
            return xp.where(at_zero <= xp.minimum(at_root, at_end), xp.zeros_like(part), best)

        return blocks.magnitudes(move, s, phi.step, backend=backend)

    def _by_limit(
        self,
        s: Array,
        phi: Phi,
        first: Array,
        top: Array,
        root: Callable[[Array], Array],
        backend: Backend,
    ) -> Array:
        """Do so by the one number where the plateau begins to win, as all share a step.

        Of 0 and the root at most one is stationary; with s its value grows, that of s does not.
        """
        xp = backend.xp

        def excess(t: Array) -> tuple[Array, Array]:
            x = root(t)
            zero = t <= first
            value = xp.where(zero, phi.reference(t, xp=xp), self._at_root(x, phi, xp))
            slope = xp.where(
                zero, phi.eps * phi.kernel.inverse(t / phi.step, xp=xp), self.slope(x, xp=xp)
            )
            return value - self._last(), slope

        limit = switch.crossing(excess, first * 0.0 + self.plateau, top, backend)

        def move(part: Array) -> Array:
            ends = part >= limit
            zero = xp.zeros_like(part)
            inner = (part > first) & xp.logical_not(ends)
            if not bool(xp.any(inner)):
                return xp.where(ends, part, zero)
            # Where no root is wanted, one that is found at once.
            point = root(xp.where(inner, part, zero + first))
            return xp.where(ends, part, xp.where(inner, point, zero))

        return blocks.elementwise(move, s, backend=backend)

    def slope(self, x: Array, /, *, xp: Namespace) -> Array:
        """Return the slope of the penalty."""
        slope = xp.clip(self.rate * (self.plateau - x), min=0.0, max=self.weight)
        if not is_number(self.flat, 0.0):
            slope = xp.where(x <= self.flat, xp.full_like(slope, self.weight), slope)
        return slope

    def _at_root(self, x: Array, phi: Phi, xp: Namespace) -> Array:
        """Return the objective where it is stationary."""
        return self._values(x, xp) + phi.at_slope(self.slope(x, xp=xp), xp=xp)

    def _last(self) -> float:
        """Return the value on the plateau."""
        return self.weight * self.plateau - 0.5 * self.rate * (self.plateau - self.flat) ** 2

    def _turn(self, phi: Phi, first: Array, xp: Namespace) -> tuple[Array, Array]:
        """Return where F stops rising, and F there."""
        q = phi.eps / (phi.step * self.rate)
        ones = xp.ones_like(q)
        away = phi.kernel.inverse_slope(xp.minimum(q, ones), xp=xp) * (phi.eps / self.rate)
        turn = xp.clip(self.plateau - away, min=self.flat, max=self.plateau)
        if phi.kernel.convexity == 0.0:
            turn = xp.full_like(q, self.plateau)
            return turn, turn + first
        turn = xp.where(q >= 1.0, xp.full_like(turn, self.plateau), turn)
        top = turn + phi.pre(self.rate * (self.plateau - turn), xp=xp)
        return turn, xp.maximum(xp.clip(top, min=self.plateau), first)

    def _root(
        self, s: Array, phi: Phi, first: Array, turn: Array, top: Array, backend: Backend
    ) -> Callable[[Array], Array]:
        """Return the root of F(x) = s on [0, turn] as a function of s."""
        xp = backend.xp

        def before(part: Array) -> Array:  # where the slope is still the weight
            return xp.clip(part - first, min=0.0)

        if phi.kernel.convexity == 0.0:
            return lambda part: xp.clip(before(part), max=self.plateau)
        fold = turn - self.flat
        solve = falling(phi, self.weight, -self.rate, fold, s, backend=backend)

        def root(part: Array) -> Array:
            inside = xp.minimum(xp.maximum(part - self.flat, first), top - self.flat)
            x = xp.minimum(xp.maximum(solve(inside), xp.zeros_like(fold)), fold) + self.flat
            if is_number(self.flat, 0.0):
                return x
            return xp.where(part <= self.flat + first, xp.clip(before(part), max=self.flat), x)

        return root


def _shift(slope: float, phi: Phi, xp: Namespace) -> Array:
    """Return the displacement of one slope, of the shape of the step."""
    return phi.pre(xp.full_like(phi.step, slope), xp=xp)
