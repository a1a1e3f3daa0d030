"""Matrices taken apart into magnitudes, and put together with others.

A geometry says what counts as one magnitude: a singular value, an entry, a row, a column, or the
whole matrix. A function of the magnitudes is lifted to matrices by `Parts.rebuild`, with a
derivative that is finite at equal magnitudes and at 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from specdesc._lib.arrays import per_batch
from specdesc._lib.dtypes import eps, smallest_normal, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg import lift, lift_groups
from specdesc._linalg.basic import balance, replace_broken, restore, thin_svd
from specdesc._linalg.lift import Decomposed
from specdesc._linalg.lift_groups import Grouped
from specdesc.backends import Backend
from specdesc.backends.creation import scalar, zeros

Geometry = Literal["spectral", "elementwise", "global", "rows", "columns"]

GEOMETRIES: tuple[Geometry, ...] = get_args(Geometry)

#: A function of magnitudes (..., count) that treats all of them alike.
Map = Callable[[Array], Array]

#: No full precision has a larger eps.
HALF = 1e-6


class Parts(Protocol):
    """A stack of matrices with the magnitudes of one geometry."""

    @property
    def matrix(self) -> Array:
        """The stack as it came in."""
        ...

    @property
    def finite(self) -> Array:
        """Which matrices have neither a NaN nor an inf, shape (..., 1, 1)."""
        ...

    @property
    def magnitudes(self) -> Array:
        """Numbers of at least 0, shape (..., count), real, descending where singular values."""
        ...

    def rebuild(self, magnitudes: Array, function: Map, /) -> Array:
        """Return matrices with other magnitudes, in the dtype of the stack; NaN is put back.

        These are function(self.magnitudes). The function is called again where somebody may ask
        for a derivative, and nowhere else.
        """
        ...


@dataclass(frozen=True)
class Spectrum:
    """A stack with its singular values."""

    matrix: Array
    finite: Array
    magnitudes: Array
    u: Array
    vh: Array
    backend: Backend
    known: Decomposed | None = None  # where somebody may ask for a derivative

    def rebuild(self, magnitudes: Array, function: Map, /) -> Array:
        """Return U diag(magnitudes) Vᴴ."""
        xp = self.backend.xp
        if self.known is not None:
            y = lift.with_values(self.known, magnitudes, function, backend=self.backend)
            return xp.astype(y, self.matrix.dtype, copy=False)
        y = xp.matmul(self.u * xp.astype(magnitudes, self.u.dtype)[..., None, :], self.vh)
        y = xp.astype(y, self.matrix.dtype, copy=False)
        return restore(y, self.finite, backend=self.backend)


@dataclass(frozen=True)
class Groups:
    """A stack with the Euclidean norms of groups of its entries."""

    matrix: Array
    finite: Array
    magnitudes: Array
    safe: Array  # `matrix` in a working dtype, zero where it is not finite
    kept: tuple[int, ...]  # the shape of the magnitudes with the axes of the groups kept as 1
    backend: Backend
    known: Grouped | None = None  # where somebody may ask for a derivative

    def rebuild(self, magnitudes: Array, function: Map, /) -> Array:
        """Return every group scaled to another norm; a group of zeros stays so."""
        xp = self.backend.xp
        new = xp.reshape(magnitudes, self.kept)
        y = self._scaled(new)
        if self.known is not None:

            def kept(sizes: Array) -> Array:
                moved = function(xp.reshape(sizes, self.magnitudes.shape))
                return xp.reshape(moved, self.kept)

            y = lift_groups.with_norms(self.known, new, y, kept, backend=self.backend)
        y = xp.astype(y, self.matrix.dtype, copy=False)
        return restore(y, self.finite, backend=self.backend)

    def _scaled(self, new: Array) -> Array:
        xp = self.backend.xp
        old = xp.reshape(self.magnitudes, self.kept)
        if self.kept == tuple(self.safe.shape) and old.dtype == self.safe.dtype:
            return xp.sign(self.safe) * new
        # Direction first: a quotient of norms may overflow where no result does.
        y = _direction(self.safe, old, self.backend) * xp.astype(new, self.safe.dtype)
        # An unchanged norm means an unchanged group, to the last bit.
        return xp.where(new == old, self.safe, y)


def _direction(x: Array, norms: Array, backend: Backend) -> Array:
    """Return every group divided by its norm, zero for a group of zeros."""
    xp = backend.xp
    # The reciprocal of a subnormal number is infinite, and a complex quotient is made with it.
    least = scalar(backend, smallest_normal(xp, norms.dtype), norms)
    return x / xp.astype(xp.maximum(norms, least), x.dtype)


def take_apart(x: Array, geometry: Geometry, /, *, backend: Backend) -> Parts:
    """Return a stack with its magnitudes; no copy of the input is shared."""
    return spectrum(x, backend) if geometry == "spectral" else _groups(x, geometry, backend)


def spectrum(x: Array, backend: Backend, /) -> Spectrum:
    """Return a stack with its singular values, by one SVD."""
    xp, batch, k = backend.xp, tuple(x.shape[:-2]), min(x.shape[-2:])
    if 0 in x.shape:
        balanced = balance(working(xp, x), backend=backend)
        like = balanced.matrix
        u = zeros((*batch, x.shape[-2], k), like, backend=backend)
        vh = zeros((*batch, k, x.shape[-1]), like, backend=backend)
        s = zeros((*batch, k), like, backend=backend, real=True)
        return Spectrum(x, balanced.finite, s, u, vh, backend)
    asked = backend.asks(x)
    balanced = balance(working(xp, backend.frozen(x) if asked else x), backend=backend)
    u, s, vh = thin_svd(balanced.matrix, xp=xp)
    s, known = s * balanced.scale[..., 0], None
    if asked:
        known = Decomposed(working(xp, x), u, s, vh, balanced.finite)
        s = lift.singular_values(known, backend=backend)
    return Spectrum(x, balanced.finite, s, u, vh, backend, known)


_AXES = {"elementwise": (), "rows": (-1,), "columns": (-2,), "global": (-2, -1)}


def _groups(x: Array, geometry: Geometry, backend: Backend) -> Groups:
    xp = backend.xp
    safe, finite = replace_broken(working(xp, x), backend=backend)
    axes, known = _AXES[geometry], None
    if backend.asks(x) and 0 not in x.shape:
        still = backend.frozen(safe)
        sizes = norm(still, axes, xp=xp)
        known = Grouped(safe, _direction(still, sizes, backend), sizes, axes)
        sizes = lift_groups.norms(known, backend=backend) if axes else norm(safe, axes, xp=xp)
    else:
        sizes = norm(safe, axes, xp=xp)
    kept = tuple(sizes.shape)
    flat = xp.reshape(sizes, (*kept[:-2], kept[-2] * kept[-1]))
    return Groups(x, finite, flat, safe, kept, backend, known)


def norm(x: Array, axes: tuple[int, ...], /, *, xp: Namespace) -> Array:
    """Return Euclidean norms along some of the last two axes, kept as 1; safe at any scale."""
    sizes = xp.abs(x)
    if not axes or 0 in x.shape:
        return xp.sum(sizes, axis=axes, keepdims=True) if axes else sizes
    largest = sizes
    for axis in axes:
        largest = xp.max(largest, axis=axis, keepdims=True)
    safe = xp.where(largest > 0, largest, xp.ones_like(largest))
    return largest * xp.sqrt(xp.sum((sizes / safe) ** 2, axis=axes, keepdims=True))


def number(values: Array, parts: Parts, /, *, backend: Backend) -> Array:
    """Finish an array of the batch shape: NaN where the input was not finite."""
    return restore(values, per_batch(parts.finite), backend=backend)


def slack(x: Array, /, *, xp: Namespace, longest: int | None = None) -> float:
    """Return the relative violation that counts as none, for the longest side of a matrix.

    8 times that and eps of the precision that is computed in, and one rounding of a coarser
    storage: half precision is computed in float32.
    """
    unit, factor = eps(xp, x.dtype), 8.0 * float(longest or max(1, *x.shape[-2:]))
    return factor * unit if unit < HALF else factor * eps(xp, xp.float32) + unit
