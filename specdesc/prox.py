"""Functions and sets of matrices with their proximal operators.

Each is a small frozen class with

- ``value(x)``: the function; for a set 0 inside and inf outside,
- ``prox(y, step)``: argmin over x of value(x) + ||x - y||_F² / (2 step), for a set the projection,
- ``is_convex``.

All of them take stacks ``(..., m, n)``, real or complex, and return new arrays of the library,
dtype and device of their input. `step` is a number or an array of the batch shape. A point that is
feasible within 8 max(m, n) eps counts as feasible in `value` and comes back from `prox` bit for
bit; whatever `prox` returns is feasible in that sense.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from specdesc._array import (
    check_per_matrix,
    check_positive_rank,
    check_rank,
    enter,
    eps,
    real_dtype,
    working,
)
from specdesc._core.linalg import all_finite, balance, per_batch, restore, thin_svd, zeros
from specdesc._typing import Array
from specdesc.backends import Backend
from specdesc.clip import clip
from specdesc.truncate import initial_start, truncated_svd

__all__ = ["Function", "Nuclear", "Rank", "SpectralBall", "WarmStarted", "Zero"]


class Function(Protocol):
    """What a rule or a step expects of a function or a set."""

    is_convex: ClassVar[bool]

    def value(self, x: Array, /) -> Array:
        """Return the value at each matrix of the stack."""
        ...

    def prox(self, y: Array, step: float | Array = 1.0, /) -> Array:
        """Return the proximal point of `y`."""
        ...


@runtime_checkable
class WarmStarted(Function, Protocol):
    """A function whose prox is cheaper for a matrix that has moved little."""

    def initial_start(self, x: Array, /) -> Array:
        """Return a first block for matrices like `x`."""
        ...

    def prox_from(
        self, y: Array, step: float | Array, start: Array, /, *, tol: float
    ) -> tuple[Array, Array]:
        """Return the proximal point within `tol`, and the block for the next call."""
        ...


@dataclass(frozen=True)
class Zero:
    """The function 0: no constraint."""

    is_convex: ClassVar[bool] = True

    def value(self, x: Array, /) -> Array:
        """Return 0 for every matrix, NaN where it is not finite."""
        backend = enter("prox.Zero", x)
        ok = per_batch(all_finite(x, xp=backend.xp))
        like = working(backend.xp, x)
        none = zeros(tuple(x.shape[:-2]), like, backend=backend, real=True)
        return restore(none, ok, backend=backend)

    def prox(self, y: Array, step: float | Array = 1.0, /) -> Array:
        """Return a copy of `y`; a matrix that is not finite becomes NaN."""
        backend = enter("prox.Zero", y)
        _step_of(step, y, backend)
        copy = backend.xp.asarray(y, copy=True)
        return restore(copy, all_finite(y, xp=backend.xp), backend=backend)


@dataclass(frozen=True)
class SpectralBall:
    """The matrices of spectral norm at most `radius`.

    Parameters
    ----------
    radius : float
        At least 0.

    Notes
    -----
    The projection is min(s, radius) on the singular values: that of `spectral_clip` where code may
    look at values, by one SVD elsewhere, where polynomials could not keep what is said of a set.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.SpectralBall(2.0).prox(np.diag([3.0, 1.0]))
    array([[2., 0.],
           [0., 1.]])
    """

    radius: float
    is_convex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_non_negative(self.radius, "radius")

    def value(self, x: Array, /) -> Array:
        """Return 0 inside the ball and inf outside."""
        backend = enter("prox.SpectralBall", x)
        with backend.guard(x):
            spectrum = _Spectrum.of(x, backend)
            return spectrum.indicator(self._feasible(spectrum))

    def prox(self, y: Array, step: float | Array = 1.0, /) -> Array:
        """Return the projection of `y`; `step` does not matter."""
        backend = enter("prox.SpectralBall", y)
        _step_of(step, y, backend)
        with backend.guard(y):
            if backend.may_branch(y):
                return clip(y, self.radius, _slack(y, backend), backend=backend)
            spectrum = _Spectrum.of(y, backend)
            clipped = backend.xp.clip(spectrum.s, max=self.radius)
            return spectrum.rebuild(clipped, unchanged=self._feasible(spectrum))

    def _feasible(self, spectrum: "_Spectrum") -> Array:
        return spectrum.largest <= self.radius * (1.0 + spectrum.slack)


@dataclass(frozen=True)
class Nuclear:
    """`weight` times the nuclear norm, the sum of the singular values.

    Parameters
    ----------
    weight : float
        At least 0.

    Notes
    -----
    The prox shrinks every singular value by `weight` times the step, to no less than 0; one SVD.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Nuclear(1.0).prox(np.diag([3.0, 1.0]), 2.0)
    array([[1., 0.],
           [0., 0.]])
    """

    weight: float
    is_convex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_non_negative(self.weight, "weight")

    def value(self, x: Array, /) -> Array:
        """Return `weight` times the sum of the singular values."""
        backend = enter("prox.Nuclear", x)
        with backend.guard(x):
            spectrum = _Spectrum.of(x, backend)
            return spectrum.number(self.weight * backend.xp.sum(spectrum.s, axis=-1))

    def prox(self, y: Array, step: float | Array = 1.0, /) -> Array:
        """Return `y` with its singular values shrunk."""
        backend = enter("prox.Nuclear", y)
        xp = backend.xp
        with backend.guard(y):
            spectrum = _Spectrum.of(y, backend)
            length = _step_of(step, y, backend)
            shift = self.weight * (length if isinstance(length, float) else length[..., 0])
            return spectrum.rebuild(xp.clip(spectrum.s - shift, min=0.0))


@dataclass(frozen=True)
class Rank:
    """The matrices of rank at most `rank`. Not convex.

    Parameters
    ----------
    rank : int
        At least 1, and at most min(m, n) of the matrices that it meets.

    Notes
    -----
    The projection keeps the leading singular triplets (Eckart and Young); where singular values
    tie at the cut it is one of several. `prox` takes one dense SVD. `prox_from` starts from the
    block of an earlier call and costs O(m n rank).
    """

    rank: int
    is_convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive_rank(self.rank)

    def value(self, x: Array, /) -> Array:
        """Return 0 for matrices of this rank and inf for others."""
        backend = enter("prox.Rank", x)
        check_rank(self.rank, x)
        with backend.guard(x):
            spectrum = _Spectrum.of(x, backend)
            return spectrum.indicator(self._feasible(spectrum))

    def prox(self, y: Array, step: float | Array = 1.0, /) -> Array:
        """Return the nearest matrix of this rank; `step` does not matter."""
        backend = enter("prox.Rank", y)
        check_rank(self.rank, y)
        _step_of(step, y, backend)
        with backend.guard(y):
            spectrum = _Spectrum.of(y, backend)
            leading = backend.xp.arange(spectrum.s.shape[-1], device=backend.device(y)) < self.rank
            kept = backend.xp.where(leading, spectrum.s, backend.xp.zeros_like(spectrum.s))
            return spectrum.rebuild(kept, unchanged=self._feasible(spectrum))

    def initial_start(self, x: Array, /) -> Array:
        """Return the first block for `prox_from`, of fixed shape."""
        return initial_start(x, self.rank)

    def prox_from(
        self, y: Array, step: float | Array, start: Array, /, *, tol: float
    ) -> tuple[Array, Array]:
        """Return a matrix of this rank near `y`, and the block for the next call.

        The kept singular values miss at most `tol` of the sum of the leading ones of `y`, in the
        sense of `truncated_svd`.
        """
        backend = enter("prox.Rank", y)
        full = truncated_svd(y, self.rank, tol=tol, start=start, full_output=True)
        scaled = full.U * backend.xp.astype(full.S, full.U.dtype)[..., None, :]
        return backend.xp.matmul(scaled, full.Vh), full.start

    def _feasible(self, spectrum: "_Spectrum") -> Array:
        if self.rank >= spectrum.s.shape[-1]:
            return spectrum.largest >= 0
        return spectrum.s[..., self.rank] <= spectrum.slack * spectrum.largest


@dataclass(frozen=True)
class _Spectrum:
    """A matrix taken apart once, for value and prox alike."""

    matrix: Array  # as it came in
    finite: Array  # (..., 1, 1)
    u: Array
    s: Array  # (..., k), in the units of the matrix; empty if the matrix is
    vh: Array
    backend: Backend

    @classmethod
    def of(cls, x: Array, backend: Backend) -> "_Spectrum":
        xp, batch, k = backend.xp, tuple(x.shape[:-2]), min(x.shape[-2:])
        balanced = balance(working(xp, x), backend=backend)
        if 0 in x.shape:
            u = zeros((*batch, x.shape[-2], k), x, backend=backend)
            vh = zeros((*batch, k, x.shape[-1]), x, backend=backend)
            s = zeros((*batch, k), balanced.matrix, backend=backend, real=True)
            return cls(x, balanced.finite, u, s, vh, backend)
        u, s, vh = thin_svd(balanced.matrix, xp=xp)
        return cls(x, balanced.finite, u, s * balanced.scale[..., 0], vh, backend)

    @property
    def largest(self) -> Array:
        """The spectral norm, 0 for an empty matrix."""
        if self.s.shape[-1] == 0:
            return self.backend.xp.sum(self.s, axis=-1)
        return self.s[..., 0]

    @property
    def slack(self) -> float:
        """The relative violation that counts as none."""
        return _slack(self.matrix, self.backend)

    def number(self, values: Array) -> Array:
        """Finish an array of the batch shape: NaN where the input was not finite."""
        return restore(values, per_batch(self.finite), backend=self.backend)

    def indicator(self, feasible: Array) -> Array:
        """Turn a test into 0 and inf."""
        none = self.backend.xp.zeros_like(self.largest)
        return self.number(
            self.backend.xp.where(feasible, none, self.backend.xp.full_like(none, float("inf")))
        )

    def rebuild(self, s: Array, unchanged: Array | None = None) -> Array:
        """Put the matrix together with other singular values, or as it was where `unchanged`."""
        xp = self.backend.xp
        y = xp.matmul(self.u * xp.astype(s, self.u.dtype)[..., None, :], self.vh)
        y = xp.astype(y, self.matrix.dtype, copy=False)
        if unchanged is not None:
            y = xp.where(unchanged[..., None, None], self.matrix, y)
        return restore(y, self.finite, backend=self.backend)


def _slack(x: Array, backend: Backend) -> float:
    return 8.0 * float(max(1, *x.shape[-2:])) * eps(backend.xp, x.dtype)


def _check_non_negative(value: float, name: str) -> None:
    if not 0.0 <= value < float("inf"):
        msg = f"{name} must be a finite number of at least 0, got {value!r}"
        raise ValueError(msg)


def _step_of(step: float | Array, y: Array, backend: Backend) -> float | Array:
    """Check a step; an array of the batch shape gets two axes to multiply matrices with."""
    if isinstance(step, (int, float)):
        _check_non_negative(step, "step")
        return float(step)
    check_per_matrix(backend, step, y, "step")
    real = backend.xp.astype(step, real_dtype(backend.xp, working(backend.xp, y).dtype))
    return real[..., None, None]
