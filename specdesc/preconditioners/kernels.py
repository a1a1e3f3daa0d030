"""Scalar kernels h of unit scale: even, convex, h(0) = 0, and h''(0) = 1 where h is smooth.

Each has its conjugate h*, the derivative of that (the preconditioner), the derivative of the
preconditioner, and the inverse of both. All of them take arrays of numbers of at least 0; the
namespace is passed down. The formulas are those that neither overflow nor cancel (derived).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

from specdesc._lib.typing import Array, Namespace
from specdesc.preconditioners import series

INF = float("inf")

#: A map of a bounded kernel tells magnitudes apart as long as its slope is not below this.
FLAT = 1e-4


class Kernel(Protocol):
    """A kernel h on [0, limit)."""

    @property
    def limit(self) -> float:
        """Where the domain of h ends: no step of the preconditioner is longer."""
        ...

    @property
    def convexity(self) -> float:
        """The modulus of strong convexity of h; its inverse is the Lipschitz constant of `pre`."""
        ...

    @property
    def curvature(self) -> float:
        """An upper bound on the second derivative of `pre`."""
        return 2.0

    @property
    def knee(self) -> float:
        """The t from which on `slope` is below `FLAT`; inf for a kernel without a bound."""
        return INF

    def pre(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return (h*)'(t), which increases from 0 to `limit` and is concave."""
        ...

    def slope(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return the derivative of `pre`."""
        ...

    def both(self, t: Array, /, *, xp: Namespace) -> tuple[Array, Array]:
        """Return `pre` and `slope`, for less than the price of two."""
        return self.pre(t, xp=xp), self.slope(t, xp=xp)

    def inverse(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return h'(r), the inverse of `pre`; inf at the limit where h is steep there."""
        ...

    def inverse_slope(self, q: Array, /, *, xp: Namespace) -> Array:
        """Return the largest t with slope(t) >= q, for 0 < q <= 1."""
        ...

    def conjugate(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return h*(t)."""
        ...

    def reference(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return h(r); inf beyond `limit`."""
        ...


def _outside(r: Array, value: Array, limit: float, xp: Namespace) -> Array:
    return xp.where(r <= limit, value, xp.full_like(value, INF))


def _reciprocal(t: Array, xp: Namespace) -> Array:
    """Return 1 / max(t, 1): what keeps squares and powers of large numbers finite."""
    return 1.0 / xp.maximum(t, xp.ones_like(t[..., :1]) if t.ndim else xp.ones_like(t))


@dataclass(frozen=True)
class Quadratic(Kernel):
    """h(r) = r² / 2: the Euclidean geometry."""

    limit: ClassVar[float] = INF
    convexity: ClassVar[float] = 1.0

    def pre(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return t."""
        return t

    def slope(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return 1."""
        return xp.ones_like(t)

    def inverse(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return r."""
        return r

    def inverse_slope(self, q: Array, /, *, xp: Namespace) -> Array:
        """Return inf at q <= 1: the slope never falls below 1."""
        return xp.full_like(q, INF)

    def conjugate(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return t² / 2."""
        return 0.5 * t * t

    def reference(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return r² / 2."""
        return 0.5 * r * r


@dataclass(frozen=True)
class Clip(Kernel):
    """h(r) = r² / 2 on [0, 1], the dual of the Huber function: kappa = inf."""

    limit: ClassVar[float] = 1.0
    convexity: ClassVar[float] = 1.0
    knee: ClassVar[float] = 1.0

    def pre(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return min(t, 1)."""
        return xp.clip(t, max=1.0)

    def slope(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return 1 below 1, and 0."""
        return xp.where(t < 1.0, xp.ones_like(t), xp.zeros_like(t))

    def inverse(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return r."""
        return _outside(r, r, 1.0, xp)

    def inverse_slope(self, q: Array, /, *, xp: Namespace) -> Array:
        """Return 1, where the slope falls to 0."""
        return xp.ones_like(q)

    def conjugate(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return t² / 2 up to 1, and t - 1/2."""
        return xp.where(t <= 1.0, 0.5 * xp.clip(t, max=1.0) ** 2, t - 0.5)

    def reference(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return r² / 2 on [0, 1]."""
        return _outside(r, 0.5 * xp.clip(r, max=1.0) ** 2, 1.0, xp)


@dataclass(frozen=True)
class Sign(Kernel):
    """h(r) = 0 on [0, 1]: the ideal sign, the limit of every bounded kernel for small scales."""

    limit: ClassVar[float] = 1.0
    convexity: ClassVar[float] = 0.0
    knee: ClassVar[float] = 0.0

    def pre(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return 1, and 0 at 0."""
        return xp.where(t > 0, xp.ones_like(t), xp.zeros_like(t))

    def slope(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return 0."""
        return xp.zeros_like(t)

    def inverse(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return 0, the least element of the subdifferential."""
        return _outside(r, xp.zeros_like(r), 1.0, xp)

    def inverse_slope(self, q: Array, /, *, xp: Namespace) -> Array:
        """Return 0: the slope is 0 from there on."""
        return xp.zeros_like(q)

    def conjugate(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return t."""
        return t

    def reference(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return 0 on [0, 1]."""
        return _outside(r, xp.zeros_like(r), 1.0, xp)


@dataclass(frozen=True)
class Kappa(Kernel):
    """(h*)'(t) = t / (1 + t^kappa)^(1/kappa), for kappa >= 1."""

    kappa: float
    limit: ClassVar[float] = 1.0
    convexity: ClassVar[float] = 1.0

    def pre(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return t / (1 + t^kappa)^(1/kappa), without forming t^kappa for large t."""
        if self.kappa == 1:
            return t / (1.0 + t)
        return self.both(t, xp=xp)[0]

    def slope(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return (1 + t^kappa)^(-1 - 1/kappa)."""
        return self.both(t, xp=xp)[1]

    def both(self, t: Array, /, *, xp: Namespace) -> tuple[Array, Array]:
        """Return both from one power and one root."""
        if self.kappa == 1:
            rest = 1.0 / (1.0 + t)
            return t * rest, rest * rest
        inverse = _reciprocal(t, xp)
        scaled = t * inverse
        # One of inverse and scaled is 1, so that one power serves both.
        power = self._power(inverse * scaled, xp)
        sum_ = 1.0 + power
        root = self._root(sum_, xp)
        small = xp.where(t > 1.0, power, xp.ones_like(power))
        return scaled / root, small * inverse / (sum_ * root)

    @property
    def curvature(self) -> float:
        """At most 2 up to kappa 3, and at most (kappa + 1) / 2 beyond."""
        return max(2.0, 0.5 * (self.kappa + 1.0))

    @property
    def knee(self) -> float:
        """Where `inverse_slope` is at `FLAT`."""
        k = self.kappa
        return float((FLAT ** (-k / (k + 1.0)) - 1.0) ** (1.0 / k))

    def inverse(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return r / (1 - r^kappa)^(1/kappa)."""
        w = self._rest(r, xp)
        below = xp.where(w > 0, w, xp.ones_like(w))
        steep = xp.where(w > 0, r / self._root(below, xp), xp.full_like(r, INF))
        return _outside(r, steep, 1.0, xp)

    def inverse_slope(self, q: Array, /, *, xp: Namespace) -> Array:
        """Return (q^(-kappa / (kappa + 1)) - 1)^(1/kappa)."""
        k = self.kappa
        return xp.clip(xp.expm1(-k / (k + 1.0) * xp.log(q)), min=0.0) ** (1.0 / k)

    def conjugate(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return h*(t): closed forms for kappa 1 and 2, a power series else."""
        if self.kappa == 1:
            return series.less_log1p(t, xp=xp)
        if self.kappa == 2:
            return t * (t / (1.0 + xp.hypot(xp.ones_like(t), t)))
        pre = self.pre(t, xp=xp)
        return series.conjugate(t, pre, self._power(pre, xp), self.kappa, xp=xp)

    def reference(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return h(r): closed forms for kappa 1 and 2, a power series else."""
        inside = xp.clip(r, max=1.0)
        if self.kappa == 1:
            # The logarithm has no value at 1: the limit is put there by hand.
            open_ = xp.where(inside < 1.0, inside, xp.zeros_like(r))
            value = series.less_log1p(-open_, xp=xp)
            return xp.where(r < 1.0, value, xp.full_like(r, INF))
        if self.kappa == 2:
            value = inside * inside / (1.0 + xp.sqrt((1.0 - inside) * (1.0 + inside)))
        else:
            value = series.reference(inside, self._rest(inside, xp), self.kappa, xp=xp)
        return _outside(r, value, 1.0, xp)

    def _power(self, t: Array, xp: Namespace) -> Array:
        """Return t^kappa; products cost a tenth of a power."""
        if self.kappa == 1.5:
            return t * xp.sqrt(t)
        if self.kappa not in (2, 3, 4, 8):
            return t**self.kappa
        square = t * t
        if self.kappa == 3:
            return square * t
        for _ in range(int(self.kappa).bit_length() - 2):
            square = square * square
        return square

    def _root(self, t: Array, xp: Namespace) -> Array:
        """Return t^(1/kappa)."""
        if self.kappa not in (1, 2, 4, 8):
            return xp.exp(xp.log(t) / self.kappa)  # faster than a power
        for _ in range(int(self.kappa).bit_length() - 1):
            t = xp.sqrt(t)
        return t

    def _rest(self, r: Array, xp: Namespace) -> Array:
        """Return 1 - r^kappa without cancellation, 0 beyond 1."""
        positive = xp.where(r > 0, r, xp.ones_like(r))
        power = xp.expm1(self.kappa * xp.log(positive))
        return xp.where(r > 0, xp.clip(-power, min=0.0), xp.ones_like(r))


@dataclass(frozen=True)
class Tanh(Kernel):
    """(h*)'(t) = tanh t: the kernel is an entropy."""

    limit: ClassVar[float] = 1.0
    convexity: ClassVar[float] = 1.0
    knee: ClassVar[float] = math.atanh(math.sqrt(1.0 - FLAT))

    def pre(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return tanh t."""
        return xp.tanh(t)

    def slope(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return 1 / cosh² t."""
        decay = xp.exp(-t) ** 2
        return 4.0 * decay / (1.0 + decay) ** 2

    def inverse(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return artanh r."""
        inside = xp.where(r < 1.0, r, xp.zeros_like(r))
        return xp.where(r < 1.0, xp.atanh(inside), xp.full_like(r, INF))

    def inverse_slope(self, q: Array, /, *, xp: Namespace) -> Array:
        """Return artanh sqrt(1 - q)."""
        root = xp.sqrt(1.0 - q)
        # atanh of a number that rounds to 1 is inf; as a logarithm it is not.
        return xp.log1p(root) - 0.5 * xp.log(q)

    def conjugate(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return ln cosh t."""
        near = xp.sinh(0.5 * xp.clip(t, max=1.0))
        far = t + xp.log1p(xp.exp(-t) ** 2) - math.log(2.0)
        return xp.where(t < 1.0, xp.log1p(2.0 * near * near), far)

    def reference(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return r artanh r + ln(1 - r²) / 2, at most ln 2."""
        near = xp.clip(r, max=0.5)
        low = near * xp.atanh(near) + 0.5 * xp.log1p(-near * near)
        inside = xp.clip(r, min=0.5, max=1.0)
        rest = 1.0 - inside
        safe = xp.where(rest > 0, rest, xp.ones_like(rest))
        high = 0.5 * ((1.0 + inside) * xp.log1p(inside) + rest * xp.log(safe))
        return _outside(r, xp.where(r < 0.5, low, high), 1.0, xp)


@dataclass(frozen=True)
class Arctan(Kernel):
    """(h*)'(t) = (2/pi) arctan(pi t / 2)."""

    limit: ClassVar[float] = 1.0
    convexity: ClassVar[float] = 1.0
    knee: ClassVar[float] = 2.0 / math.pi * math.sqrt(1.0 / FLAT - 1.0)

    def pre(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return (2/pi) arctan(pi t / 2)."""
        return 2.0 / math.pi * xp.atan(0.5 * math.pi * t)

    def slope(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return 1 / (1 + (pi t / 2)²)."""
        u = 0.5 * math.pi * t
        inverse = _reciprocal(u, xp)
        scaled, square = u * inverse, inverse * inverse
        return square / (square + scaled * scaled)

    def inverse(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return (2/pi) tan(pi r / 2)."""
        inside = xp.where(r < 1.0, r, xp.zeros_like(r))
        value = 2.0 / math.pi * xp.tan(0.5 * math.pi * inside)
        return xp.where(r < 1.0, value, xp.full_like(r, INF))

    def inverse_slope(self, q: Array, /, *, xp: Namespace) -> Array:
        """Return (2/pi) sqrt((1 - q) / q)."""
        return 2.0 / math.pi * xp.sqrt((1.0 - q) / q)

    def conjugate(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return (4/pi²)(u arctan u - ln(1 + u²) / 2) with u = pi t / 2."""
        u = 0.5 * math.pi * t
        near = xp.clip(u, max=1.0)
        low = near * xp.atan(near) - 0.5 * xp.log1p(near * near)
        far = xp.clip(u, min=1.0)
        # ln(1 + u²) / 2 = ln u + ln(1 + u^-2) / 2 does not overflow.
        high = far * xp.atan(far) - xp.log(far) - 0.5 * xp.log1p((1.0 / far) ** 2)
        return 4.0 / math.pi**2 * xp.where(u < 1.0, low, high)

    def reference(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return -(4/pi²) ln cos(pi r / 2)."""
        near = xp.sin(0.5 * math.pi * xp.clip(r, max=0.5))
        low = -2.0 / math.pi**2 * xp.log1p(-near * near)
        inside = xp.where((r > 0.5) & (r < 1.0), r, xp.full_like(r, 0.5))
        high = -4.0 / math.pi**2 * xp.log(xp.sin(0.5 * math.pi * (1.0 - inside)))
        value = xp.where(r < 0.5, low, high)
        return xp.where(r < 1.0, value, xp.full_like(r, INF))


@dataclass(frozen=True)
class Arcsinh(Kernel):
    """(h*)'(t) = arcsinh t: h(r) = cosh r - 1. Not bounded."""

    limit: ClassVar[float] = INF
    convexity: ClassVar[float] = 1.0

    def pre(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return arcsinh t."""
        return xp.asinh(t)

    def slope(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return (1 + t²)^(-1/2)."""
        inverse = _reciprocal(t, xp)
        scaled = t * inverse
        return inverse / xp.sqrt(inverse * inverse + scaled * scaled)

    def inverse(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return sinh r."""
        return xp.sinh(r)

    def inverse_slope(self, q: Array, /, *, xp: Namespace) -> Array:
        """Return sqrt(1 - q²) / q."""
        return xp.sqrt((1.0 - q) * (1.0 + q)) / q

    def conjugate(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return t arcsinh t - (sqrt(1 + t²) - 1)."""
        low = xp.clip(t, max=0.125)
        # Below 1/8 the difference loses digits: its series, with terms of alternating sign.
        square, total = low * low, xp.zeros_like(t)
        for n in range(8, -1, -1):
            ratio = -((2 * n + 1.0) ** 2) / ((2 * n + 3.0) * (2 * n + 4.0))
            total = 1.0 + ratio * square * total
        high = t * xp.asinh(t) - t * (t / (1.0 + xp.hypot(xp.ones_like(t), t)))
        return xp.where(t < 0.125, 0.5 * square * total, high)

    def reference(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return 2 sinh²(r / 2)."""
        half = xp.sinh(0.5 * r)
        return 2.0 * half * half


@dataclass(frozen=True)
class Log(Kernel):
    """(h*)'(t) = ln(1 + t): h(r) = e^r - r - 1. Not bounded."""

    limit: ClassVar[float] = INF
    convexity: ClassVar[float] = 1.0

    def pre(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return ln(1 + t)."""
        return xp.log1p(t)

    def slope(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return 1 / (1 + t)."""
        return 1.0 / (1.0 + t)

    def inverse(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return e^r - 1."""
        return xp.expm1(r)

    def inverse_slope(self, q: Array, /, *, xp: Namespace) -> Array:
        """Return 1 / q - 1."""
        return 1.0 / q - 1.0

    def conjugate(self, t: Array, /, *, xp: Namespace) -> Array:
        """Return (1 + t) ln(1 + t) - t."""
        return t * xp.log1p(t) - series.less_log1p(t, xp=xp)

    def reference(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return e^r - r - 1, by its series below 1/2."""
        near, total = xp.clip(r, max=0.5), xp.ones_like(r)
        for n in range(17, 2, -1):
            total = 1.0 + near / n * total
        return xp.where(r < 0.5, 0.5 * near * near * total, xp.expm1(r) - r)
