"""Matrices taken apart into magnitudes, and put together with others.

A geometry says what counts as one magnitude: a singular value, an entry, a row, a column, or the
whole matrix. A function of the magnitudes is lifted to matrices by `Parts.rebuild`.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from specdesc._lib.arrays import per_batch
from specdesc._lib.dtypes import eps, smallest_normal, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg.basic import balance, replace_broken, restore, thin_svd
from specdesc.backends import Backend
from specdesc.backends.creation import scalar, zeros

Geometry = Literal["spectral", "elementwise", "global", "rows", "columns"]

GEOMETRIES: tuple[Geometry, ...] = get_args(Geometry)

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

    def rebuild(self, magnitudes: Array, /) -> Array:
        """Return matrices with other magnitudes, in the dtype of the stack; NaN is put back."""
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

    def rebuild(self, magnitudes: Array, /) -> Array:
        """Return U diag(magnitudes) Vᴴ."""
        xp = self.backend.xp
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

    def rebuild(self, magnitudes: Array, /) -> Array:
        """Return every group scaled to another norm; a group of zeros stays so."""
        xp = self.backend.xp
        new, old = (xp.reshape(part, self.kept) for part in (magnitudes, self.magnitudes))
        if self.kept == tuple(self.safe.shape) and old.dtype == self.safe.dtype:
            y = xp.sign(self.safe) * new
        else:
            # Direction first: a quotient of norms may overflow where no result does. The reciprocal
            # of a subnormal number is infinite, and a complex quotient is made with it.
            least = scalar(self.backend, smallest_normal(xp, old.dtype), old)
            direction = self.safe / xp.astype(xp.maximum(old, least), self.safe.dtype)
            y = direction * xp.astype(new, self.safe.dtype)
            # An unchanged norm means an unchanged group, to the last bit.
            y = xp.where(new == old, self.safe, y)
        y = xp.astype(y, self.matrix.dtype, copy=False)
        return restore(y, self.finite, backend=self.backend)


def take_apart(x: Array, geometry: Geometry, /, *, backend: Backend) -> Parts:
    """Return a stack with its magnitudes; no copy of the input is shared."""
    return spectrum(x, backend) if geometry == "spectral" else _groups(x, geometry, backend)


def spectrum(x: Array, backend: Backend, /) -> Spectrum:
    """Return a stack with its singular values, by one SVD."""
    xp, batch, k = backend.xp, tuple(x.shape[:-2]), min(x.shape[-2:])
    balanced = balance(working(xp, x), backend=backend)
    if 0 in x.shape:
        like = balanced.matrix
        u = zeros((*batch, x.shape[-2], k), like, backend=backend)
        vh = zeros((*batch, k, x.shape[-1]), like, backend=backend)
        s = zeros((*batch, k), like, backend=backend, real=True)
        return Spectrum(x, balanced.finite, s, u, vh, backend)
    u, s, vh = thin_svd(balanced.matrix, xp=xp)
    return Spectrum(x, balanced.finite, s * balanced.scale[..., 0], u, vh, backend)


_AXES = {"elementwise": (), "rows": (-1,), "columns": (-2,), "global": (-2, -1)}


def _groups(x: Array, geometry: Geometry, backend: Backend) -> Groups:
    xp = backend.xp
    safe, finite = replace_broken(working(xp, x), backend=backend)
    norms = norm(safe, _AXES[geometry], xp=xp)
    kept = tuple(norms.shape)
    count = kept[-2] * kept[-1]
    return Groups(x, finite, xp.reshape(norms, (*kept[:-2], count)), safe, kept, backend)


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
