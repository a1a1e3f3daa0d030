"""Functions of the magnitudes of a matrix, and the prox of each in the geometry of a kernel.

A profile is an absolutely symmetric function of a vector s >= 0. The classes of this package lift
profiles to matrices: to singular values, entries, or norms. Every method takes arrays of shape
(..., count), count >= 1, and returns as many numbers, or numbers of shape (...,).
"""

from typing import NamedTuple, Protocol

from specdesc._lib.typing import Array, Namespace
from specdesc.backends import Backend
from specdesc.preconditioners.kernels import Kernel
from specdesc.preconditioners.preconditioner import over


class Phi(NamedTuple):
    """The function step eps h(r / step) of a displacement r."""

    kernel: Kernel
    eps: float
    step: Array  # 0-d or (..., 1), positive

    def pre(self, slope: Array, /, *, xp: Namespace) -> Array:
        """Return the displacement that a slope v of g asks for: step pre(v / eps)."""
        return self.step * self.kernel.pre(over(slope, self.eps, xp=xp), xp=xp)

    def reference(self, r: Array, /, *, xp: Namespace) -> Array:
        """Return the price of a displacement."""
        return self.step * self.eps * self.kernel.reference(r / self.step, xp=xp)

    def at_slope(self, slope: Array, /, *, xp: Namespace) -> Array:
        """Return the price of the displacement that a slope asks for, by Fenchel's equality.

        h at a displacement that rounding took beyond the limit would be inf.
        """
        t = over(slope, self.eps, xp=xp)
        pre = self.kernel.pre(t, xp=xp)
        return self.step * self.eps * (t * pre - self.kernel.conjugate(t, xp=xp))


class Profile(Protocol):
    """What functions and sets share."""

    #: g is a sum over the magnitudes
    separable: bool
    #: the prox in the geometry of a kernel depends on the kernel
    depends_on_kernel: bool

    def prox(self, s: Array, phi: Phi, /, *, backend: Backend) -> Array:
        """Return argmin over x of g(x) + step eps sum h((s - x) / step)."""
        ...


class Penalty(Profile, Protocol):
    """A function with finite values."""

    def value(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return g(s); `slack` is the relative size of magnitudes that are rounding."""
        ...


class SetProfile(Profile, Protocol):
    """A set, given by how much a point violates it."""

    def violation(self, s: Array, /, *, xp: Namespace) -> Array:
        """Return how far s is from meeting the constraints, 0 inside."""
        ...

    def scale(self, s: Array, /, *, xp: Namespace) -> Array | float:
        """Return what a violation is relative to."""
        ...


class Bounded(SetProfile, Protocol):
    """A bounded set."""

    def support(self, s: Array, slack: float, /, *, xp: Namespace) -> Array:
        """Return a point of the set that maximises <s, x>."""
        ...
