"""The map grad phi* of one kernel in one geometry."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from specdesc._lib.checks import check_number, plain
from specdesc._lib.dtypes import eps, largest_finite, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg import magnitudes
from specdesc._linalg.basic import balance, differentiable_frobenius, restore
from specdesc._linalg.magnitudes import GEOMETRIES, Geometry, Parts
from specdesc.backends import Backend
from specdesc.backends.creation import zeros
from specdesc.backends.entry import check_supported, enter
from specdesc.preconditioners import inverse_root
from specdesc.preconditioners.kernels import Kernel


@dataclass(frozen=True, kw_only=True)
class Preconditioner:
    """What all preconditioners share.

    A kernel h acts on the magnitudes t of a matrix, and phi is the sum of eps h over them. The
    magnitudes are the singular values (``"spectral"``), the entries (``"elementwise"``), the norms
    of the rows or the columns, or the Frobenius norm (``"global"``).

    Parameters
    ----------
    eps : float
        Scale, positive, in the units of the gradient: the map is pre(t / eps), so that magnitudes
        far below `eps` are scaled by 1 / eps.
    geometry : str
        ``"spectral"``, ``"elementwise"``, ``"global"``, ``"rows"`` or ``"columns"``.
    normalize : bool
        Divide the input of the map by its Frobenius norm. `conjugate` and `reference` stay those
        of phi itself.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import preconditioners
    >>> isinstance(preconditioners.Kappa(4), preconditioners.Preconditioner)
    True
    """

    eps: float = 1e-3
    geometry: Geometry = "spectral"
    normalize: bool = False

    def __post_init__(self) -> None:
        check_number(self.eps, "eps", lambda eps: 0.0 < eps < math.inf, "a finite number above 0")
        if self.geometry not in GEOMETRIES:
            msg = f"geometry must be one of {', '.join(GEOMETRIES)}, got {self.geometry!r}"
            raise ValueError(msg)

    @property
    def kernel(self) -> Kernel:
        """The scalar kernel of unit scale."""
        raise NotImplementedError

    @property
    def reach(self) -> float:
        """The largest magnitude of the result: 1 for bounded kernels, inf for others."""
        return self.kernel.limit

    @property
    def convexity(self) -> float:
        """The modulus of strong convexity of phi in the Frobenius norm: eps, or 0 for the sign."""
        return self.eps * self.kernel.convexity

    @property
    def lipschitz(self) -> float:
        """The Lipschitz constant of the map in the Frobenius norm, `normalize` aside."""
        return 1.0 / self.convexity if self.convexity else math.inf

    def __call__(self, x: Array, /) -> Array:
        """Return grad phi*(x), a new array like `x`; zero magnitudes stay zero."""
        return self.apply(x, backend=enter("preconditioners", x))

    def apply(self, x: Array, /, *, backend: Backend) -> Array:
        """Return the map of an array that was checked."""
        check_supported("preconditioners", backend)
        if not self._without_svd(x, backend):
            check_supported(f"preconditioners[{self._way()}]", backend)
        with backend.guard(x):
            if 0 in x.shape:
                return zeros(x.shape, x, backend=backend)
            if not backend.streams:
                return self._applied(backend, x)
            if self.geometry == "elementwise" and not self.normalize:
                return backend.per_entry(self._applied, x)
            spectral = self.geometry in ("spectral", "global")
            return backend.per_matrix(self._applied, x, spectral=spectral)

    def _applied(self, backend: Backend, x: Array) -> Array:
        if 0 in x.shape:
            return zeros(x.shape, x, backend=backend)
        return backend.xp.astype(self._map(x, backend), x.dtype, copy=False)

    def conjugate(self, x: Array, /) -> Array:
        """Return phi*(x) for every matrix, of the batch shape."""
        backend = self._enter(x)
        with backend.guard(x):
            return self._measured(self._conjugate, x, backend)

    def _conjugate(self, backend: Backend, x: Array) -> Array:
        taken = magnitudes.take_apart(x, self.geometry, backend=backend)
        t = over(taken.magnitudes, self.eps, xp=backend.xp)
        return total(self.eps * self.kernel.conjugate(t, xp=backend.xp), taken, backend)

    def reference(self, x: Array, /) -> Array:
        """Return phi(x) for every matrix, of the batch shape; inf outside of its domain.

        As for a set, magnitudes beyond the domain by at most 8 max(m, n) eps, relative, count as
        its border, so that phi is finite at every image of a map whose phi is finite there.
        """
        backend = self._enter(x)
        with backend.guard(x):
            return self._measured(self._reference, x, backend)

    def _reference(self, backend: Backend, x: Array) -> Array:
        xp, kernel = backend.xp, self.kernel
        taken = magnitudes.take_apart(x, self.geometry, backend=backend)
        s = taken.magnitudes
        if kernel.limit < math.inf:
            border = kernel.limit * (1.0 + magnitudes.slack(x, xp=xp))
            s = xp.where(s <= border, xp.clip(s, max=kernel.limit), s)
        return total(self.eps * kernel.reference(s, xp=xp), taken, backend)

    def _measured(
        self, measure: Callable[[Backend, Array], Array], x: Array, backend: Backend
    ) -> Array:
        """Return a number of each matrix."""
        if not backend.streams:
            return measure(backend, x)
        return backend.per_matrix(measure, x, spectral=self.geometry in ("spectral", "global"))

    def _enter(self, x: Array) -> Backend:
        backend = enter("preconditioners", x)
        check_supported(f"preconditioners[{self._way()}]", backend)
        return backend

    def _way(self) -> str:
        """Return the name in the capability table."""
        return self.geometry

    def _without_svd(self, x: Array, backend: Backend) -> bool:
        """Say whether the map is taken without an SVD: where that is slow, or does not exist.

        On a CPU the SVD costs less at the same accuracy, see docs/proximal.md.
        """
        if self.geometry != "spectral" or not self.normalize or backend.branches:
            return False
        if not backend.multiplies(x):
            return False
        return inverse_root.has(self.kernel) and inverse_root.resolved(x, self.eps, backend)

    def _map(self, x: Array, backend: Backend) -> Array:
        xp = backend.xp
        source = normalized(x, backend) if self.normalize else x
        if self._without_svd(x, backend):
            return inverse_root.apply(source, self.kernel, self.eps, backend=backend)
        taken = magnitudes.take_apart(source, self.geometry, backend=backend)

        def pre(s: Array) -> Array:
            if self.kernel.convexity == 0.0:
                s = _without_noise(s, x, self.geometry, xp)
            return self.kernel.pre(over(s, self.eps, xp=xp), xp=xp)

        return taken.rebuild(pre(taken.magnitudes), pre)


def over(s: Array, scale: float, /, *, xp: Namespace) -> Array:
    """Return s / scale, or the largest finite number where that is larger."""
    known = plain(scale)
    if isinstance(known, float) and known >= 1.0:
        return s / known
    limit = largest_finite(xp, s.dtype)
    return xp.clip(s, max=0.5 * scale * limit) / scale


def total(values: Array, taken: Parts, backend: Backend, /) -> Array:
    """Sum over the magnitudes."""
    return magnitudes.number(backend.xp.sum(values, axis=-1), taken, backend=backend)


def normalized(x: Array, backend: Backend, /) -> Array:
    """Return every matrix divided by its Frobenius norm, in a working dtype.

    Zero stays zero; what is not finite is NaN.
    """
    xp = backend.xp
    balanced = balance(working(xp, x), backend=backend)
    size = differentiable_frobenius(balanced.matrix, xp=xp)
    size = xp.where(size > 0, size, xp.ones_like(size))
    unit = balanced.matrix / xp.astype(size, balanced.matrix.dtype)
    return restore(unit, balanced.finite, backend=backend)


def _without_noise(s: Array, x: Array, geometry: Geometry, xp: Namespace) -> Array:
    """Drop the singular values that are rounding: the sign has no slope to make them small."""
    if geometry != "spectral":
        return s
    floor = max(x.shape[-2:]) * eps(xp, s.dtype) * s[..., :1]
    return xp.where(s > floor, s, xp.zeros_like(s))
