"""Penalties on magnitudes: value and prox in the geometry of a kernel (formulas derived)."""

from dataclasses import dataclass

from specdesc._typing import Array, Namespace
from specdesc.backends import Backend
from specdesc.preconditioners import kernels
from specdesc.prox.profile import Phi
from specdesc.prox.scalar import affine_root


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

    def value(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return the weighted sum."""
        return self.weight * xp.sum(s, axis=-1)

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Shrink by step pre(weight / eps)."""
        return backend.xp.clip(s - _shift(self.weight, s, phi, backend.xp), min=0.0)


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
        return backend.xp.where(
            phi.reference(s, xp=backend.xp) > self.weight, s, backend.xp.zeros_like(s)
        )


@dataclass(frozen=True)
class Squares:
    """`linear` (s_1 + ...) + `square` (s_1² + ...) / 2."""

    linear: float
    square: float
    separable = True
    depends_on_kernel = True

    def value(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return the value."""
        return xp.sum(s * (self.linear + 0.5 * self.square * s), axis=-1)

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Return 0 up to step pre(linear / eps), and the root of one equation beyond."""
        xp = backend.xp
        shift = _shift(self.linear, s, phi, xp)
        rest = xp.clip(s - shift, min=0.0)
        if self.square == 0.0:
            return rest
        kernel = phi.kernel
        if isinstance(kernel, kernels.Quadratic):
            return rest / (1.0 + phi.step * (self.square / phi.eps))
        if kernel.convexity == 0.0:  # the ideal sign moves by a whole step whatever the slope
            return xp.clip(s - phi.step, min=0.0)
        # The first Newton step from 0, and what a bounded kernel cannot take away.
        slope = kernel.slope(xp.zeros_like(shift) + self.linear / phi.eps, xp=xp)
        low = rest / (1.0 + phi.step * (self.square / phi.eps) * slope)
        if kernel.limit < float("inf"):
            low = xp.maximum(low, xp.clip(s - phi.step * kernel.limit, min=0.0))
        # Zeros solve the equation for s = shift, so that every entry has a root.
        target = xp.maximum(s, shift + xp.zeros_like(s))
        return affine_root(
            target, phi, self.linear, self.square, low=low, high=target, backend=backend
        )


@dataclass(frozen=True)
class Huber:
    """`weight` times s² / 2 up to `delta`, and delta (s - delta / 2) beyond."""

    weight: float
    delta: float
    separable = True
    depends_on_kernel = True

    def value(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return the value."""
        low = xp.clip(s, max=self.delta)
        return self.weight * xp.sum(low * (s - 0.5 * low), axis=-1)

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Return the prox of the squares below, and a shift beyond."""
        xp = backend.xp
        shift = _shift(self.weight * self.delta, s, phi, xp)
        inner = xp.clip(s, max=self.delta + shift)
        low = Squares(0.0, self.weight).prox(inner, phi, backend=backend)
        if phi.kernel.convexity == 0.0 or self.weight * self.delta == 0.0:
            return xp.clip(s - shift, min=0.0)
        return xp.where(s > self.delta + shift, s - shift, low)


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
        if self.weight == 0.0:
            return s
        xp = backend.xp
        infinite = xp.full_like(s, float("inf"))
        first = _shift(self.weight, s, phi, xp)
        turn, top = self._turn(phi, first, xp)
        root, allowed = self._root(s, phi, first, turn, top, backend)
        if backend.may_branch(s) and not bool(xp.any((s >= self.plateau) & (s <= top))):
            # Nowhere do two points compete, and their values are the dearest part.
            inner = xp.where(s >= self.plateau, s, root)
            return xp.where((s <= first) & (s < self.plateau), xp.zeros_like(s), inner)
        slope = xp.clip(self.rate * (self.plateau - root), min=0.0, max=self.weight)
        if self.flat > 0.0:
            slope = xp.where(root <= self.flat, xp.full_like(slope, self.weight), slope)
        at_zero = xp.where(s <= first, phi.reference(s, xp=xp), infinite)
        at_root = self._values(root, xp) + phi.at_slope(slope, xp=xp)
        at_root = xp.where(allowed, at_root, infinite)
        last = xp.full_like(s, self._last())
        at_end = xp.where(s >= self.plateau, last, infinite)
        best = xp.where(at_root <= at_end, root, s)
        return xp.where(at_zero <= xp.minimum(at_root, at_end), xp.zeros_like(s), best)

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
    ) -> tuple[Array, Array]:
        """Return the root of F(x) = s on [0, turn], and where it is one."""
        xp = backend.xp
        allowed = (s > first) & (s <= top) & (turn > 0)
        before = xp.clip(s - first, min=0.0)  # where the slope is still the weight
        if phi.kernel.convexity == 0.0:
            return xp.clip(before, max=self.plateau), allowed
        start = self.flat + first
        target = xp.minimum(xp.maximum(s, start + xp.zeros_like(s)), top)
        zero = xp.zeros_like(target)
        root = affine_root(
            target,
            phi,
            self.rate * self.plateau,
            -self.rate,
            low=zero + self.flat,
            high=zero + turn,
            backend=backend,
        )
        return xp.where(s <= start, xp.clip(before, max=self.flat), root), allowed


def _shift(slope: float, s: Array, phi: Phi, xp: Namespace) -> Array:
    """Return the displacement of one slope, of shape (..., 1)."""
    return phi.pre(xp.full_like(s[..., :1], slope), xp=xp)
