"""Norms of matrices: value, dual norm, and the minimisers of linear functions over their balls.

Each is a small frozen class with

- ``value(x)`` and ``dual(x)``: the norm and its dual norm, of the batch shape, in the real dtype,
- ``lmo(g, radius=1.0)``: a minimiser of Re <g, s> over the ball of that radius, so it points
  downhill, and Re <g, lmo(g)> = -radius dual(g),
- ``direction(g)``: -lmo(g, 1), uphill,
- ``sharp(g)``: dual(g) direction(g), the maximiser of Re <g, s> - value(s)² / 2.

All of them take stacks ``(..., m, n)``, real or complex, and return new arrays of the library,
dtype and device of their input. At g = 0 every point of the ball is a minimiser, and 0 is returned.
Singular pairs with s_i <= max(m, n) eps s_1 carry nothing and are dropped. One dense SVD each where
singular values are asked for, unless a class says otherwise.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import ClassVar, Protocol

from specdesc._lib.arrays import per_batch
from specdesc._lib.checks import check_positive_rank, check_rank
from specdesc._lib.dtypes import eps, is_complex, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg import ky_fan, magnitudes
from specdesc._linalg.basic import (
    balance,
    differentiable_frobenius,
    replace_broken,
    restore,
    root,
    row_energies,
)
from specdesc._polar_factor.direction import Accuracy, check_accuracy, direction
from specdesc._polar_factor.solvers import on_device
from specdesc.backends import Backend
from specdesc.backends.creation import zeros
from specdesc.backends.entry import check_supported, enter

__all__ = [
    "Columns",
    "Frobenius",
    "KyFan",
    "KyFanDual",
    "Max",
    "MaxVectorNorm",
    "Norm",
    "Nuclear",
    "Rows",
    "Spectral",
]


class Norm(Protocol):
    """What a rule expects of a norm."""

    def value(self, x: Array, /) -> Array:
        """Return the norm of each matrix of the stack."""
        ...

    def dual(self, x: Array, /) -> Array:
        """Return the dual norm of each matrix of the stack."""
        ...

    def lmo(self, g: Array, /, radius: float = 1.0) -> Array:
        """Return a minimiser of Re <g, s> over the ball of this radius."""
        ...

    def direction(self, g: Array, /) -> Array:
        """Return -lmo(g, 1)."""
        ...

    def sharp(self, g: Array, /) -> Array:
        """Return dual(g) times direction(g)."""
        ...


class _Norm:
    """What all norms share: everything follows from `_value`, `_dual` and `_ascent`.

    Those take a finite matrix of ordinary scale.
    """

    def value(self, x: Array, /) -> Array:
        """Return the norm of each matrix of the stack.

        Parameters
        ----------
        x : array, shape (..., m, n)
            Real or complex.

        Returns
        -------
        array, shape (...)
            Real; 0 for an empty matrix, NaN for one that is not finite.

        Raises
        ------
        TypeError, ValueError, NotImplementedError
            As in the table of bad input.
        """
        return self._number(x, self._value)

    def dual(self, x: Array, /) -> Array:
        """Return the dual norm of each matrix of the stack, max Re <x, s> over value(s) <= 1.

        Parameters
        ----------
        x : array, shape (..., m, n)
            Real or complex.

        Returns
        -------
        array, shape (...)
            Real; 0 for an empty matrix, NaN for one that is not finite.

        Raises
        ------
        TypeError, ValueError, NotImplementedError
            As in the table of bad input.
        """
        return self._number(x, self._dual)

    def lmo(self, g: Array, /, radius: float = 1.0) -> Array:
        """Return a minimiser of Re <g, s> over the ball of this radius.

        Parameters
        ----------
        g : array, shape (..., m, n)
            Real or complex; in the dual space, such as a gradient.
        radius : float
            At least 0.

        Returns
        -------
        array, shape (..., m, n)
            Zero where `g` is.

        Raises
        ------
        TypeError, ValueError, NotImplementedError
            As in the table of bad input; a negative radius.
        """
        if not 0.0 <= radius < float("inf"):
            msg = f"radius must be a finite number of at least 0, got {radius!r}"
            raise ValueError(msg)
        return self._uphill(g, -radius)

    def direction(self, g: Array, /) -> Array:
        """Return -lmo(g, 1), the steepest ascent of this norm."""
        return self._uphill(g, 1.0)

    def sharp(self, g: Array, /) -> Array:
        """Return dual(g) direction(g), the maximiser of Re <g, s> - value(s)² / 2."""
        return self._uphill(g, None)

    def _check(self, x: Array) -> None:
        """Raise `ValueError` for a matrix that the norm is not defined for."""

    def _value(self, x: Array, backend: Backend) -> Array:
        raise NotImplementedError

    def _dual(self, x: Array, backend: Backend) -> Array:
        raise NotImplementedError

    def _ascent(self, x: Array, backend: Backend) -> Array:
        raise NotImplementedError

    def _number(self, x: Array, measure: Callable[[Array, Backend], Array]) -> Array:
        backend = enter(f"norms.{type(self).__name__}", x)
        self._check(x)
        with backend.guard(x):
            if backend.streams:
                kernel = partial(_measured, measure)
                return backend.per_matrix(kernel, x, spectral=self._is_spectral)
            return _measured(measure, backend, x)

    def _uphill(self, g: Array, length: float | None) -> Array:
        backend = enter(f"norms.{type(self).__name__}", g)
        return self.uphill(g, length, backend=backend)

    def uphill(self, g: Array, length: float | None, /, *, backend: Backend) -> Array:
        """Return the steepest ascent times a length, or times the dual norm for None."""
        check_supported(f"norms.{type(self).__name__}", backend)
        self._check(g)
        with backend.guard(g):
            if 0 in g.shape:
                return zeros(tuple(g.shape), g, backend=backend)
            kernel = partial(self._climbed, length)
            if not backend.streams:
                return kernel(backend, g)
            if self._is_elementwise and length is not None:
                return backend.per_entry(kernel, g)
            return backend.per_matrix(kernel, g, spectral=self._is_spectral)

    # Whether the ascent commutes with isometries, and whether it has entries of their own.
    _is_spectral: ClassVar[bool] = False
    _is_elementwise: ClassVar[bool] = False

    def _climbed(self, length: float | None, backend: Backend, g: Array) -> Array:
        """Return what `uphill` does, of matrices that are checked."""
        xp = backend.xp
        if 0 in g.shape:
            return zeros(tuple(g.shape), g, backend=backend)
        balanced = balance(working(xp, g), backend=backend)
        x = balanced.matrix
        direction = self._ascent(x, backend)
        if length is None:
            size = self._dual(x, backend)[..., None, None] * balanced.scale
            direction = xp.astype(size, x.dtype) * direction
        elif length != 1.0:
            direction = length * direction
        direction = restore(direction, balanced.finite, backend=backend)
        return xp.astype(direction, g.dtype, copy=False)


class _OfSpectrum(_Norm):
    """A norm of the singular values: `_norm`, `_dual_norm` and `_atom` say all of it."""

    _is_spectral: ClassVar[bool] = True

    def _norm(self, s: Array, xp: Namespace) -> Array:
        raise NotImplementedError

    def _dual_norm(self, s: Array, xp: Namespace) -> Array:
        raise NotImplementedError

    def _atom(self, s: Array, slack: float, xp: Namespace) -> Array:
        """Return the singular values of the steepest ascent."""
        raise NotImplementedError

    def _value(self, x: Array, backend: Backend) -> Array:
        return self._norm(backend.xp.linalg.svdvals(x), backend.xp)

    def _dual(self, x: Array, backend: Backend) -> Array:
        return self._dual_norm(backend.xp.linalg.svdvals(x), backend.xp)

    def _ascent(self, x: Array, backend: Backend) -> Array:
        xp = backend.xp
        slack = max(x.shape[-2:]) * eps(xp, x.dtype)

        def atom(s: Array) -> Array:
            return self._atom(s, slack, xp)

        taken = magnitudes.spectrum(x, backend)
        return taken.rebuild(atom(taken.magnitudes), atom)


@dataclass(frozen=True)
class KyFan(_OfSpectrum):
    r"""The Ky Fan norm s_1 + ... + s_k. Its dual is `KyFanDual(k)`.

    .. math:: \|x\| = s_1 + \dots + s_k

    Parameters
    ----------
    k : int
        From 1 to min(m, n) of the matrices that it meets.

    Notes
    -----
    Its ball is the hull of the u vᴴ and of the partial isometries over k, so its minimiser is
    -radius u_1 v_1ᴴ where s_1 >= (s_1 + s_2 + ...) / k, also at a tie, else -radius U Vᴴ / k.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import norms
    >>> x = np.diag([3.0, 2.0, 1.0])
    >>> norms.KyFan(2).value(x), norms.KyFan(2).dual(x)
    (np.float64(5.0), np.float64(3.0))
    """

    k: int

    def __post_init__(self) -> None:
        check_positive_rank(self.k, "k")

    def _check(self, x: Array) -> None:
        check_rank(self.k, x, "k")

    def _norm(self, s: Array, xp: Namespace) -> Array:
        return ky_fan.norm(s, self.k, xp=xp)

    def _dual_norm(self, s: Array, xp: Namespace) -> Array:
        return ky_fan.dual_norm(s, self.k, xp=xp)

    def _atom(self, s: Array, slack: float, xp: Namespace) -> Array:
        return ky_fan.ball_atom(s, self.k, slack, xp=xp)


@dataclass(frozen=True)
class KyFanDual(_OfSpectrum):
    r"""max(s_1, (s_1 + s_2 + ...) / k). Its dual is `KyFan(k)`.

    .. math::

        \|x\| = \max(s_1,\ \textstyle\sum_i s_i / k), \qquad
        \operatorname{lmo}(g) = -\rho\, U_k V_k^H

    Parameters
    ----------
    k : int
        From 1 to min(m, n) of the matrices that it meets.

    Notes
    -----
    Its minimiser is -radius times the truncated spectral step U_k V_kᴴ. Here by a dense SVD;
    `truncated_spectral_step` has a cheaper one for a tolerance.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import norms
    >>> norms.KyFanDual(2).lmo(np.diag([3.0, 2.0, 1.0])) + 0.0
    array([[-1.,  0.,  0.],
           [ 0., -1.,  0.],
           [ 0.,  0.,  0.]])
    """

    k: int

    def __post_init__(self) -> None:
        check_positive_rank(self.k, "k")

    def _check(self, x: Array) -> None:
        check_rank(self.k, x, "k")

    def _norm(self, s: Array, xp: Namespace) -> Array:
        return ky_fan.dual_norm(s, self.k, xp=xp)

    def _dual_norm(self, s: Array, xp: Namespace) -> Array:
        return ky_fan.norm(s, self.k, xp=xp)

    def _atom(self, s: Array, slack: float, xp: Namespace) -> Array:
        return ky_fan.dual_ball_atom(s, self.k, slack, xp=xp)


@dataclass(frozen=True)
class Spectral(_OfSpectrum):
    r"""The largest singular value. Its dual is `Nuclear()`; its minimiser is -radius U Vᴴ.

    .. math::

        \|x\| = s_1, \qquad
        \|g\|_\circ = \sum_i s_i(g), \qquad
        \operatorname{lmo}(g) = -\rho\, U V^H

    Parameters
    ----------
    tol, floor : float, optional
        Of the polar factor in `lmo`, `direction` and `sharp`, as in `orthogonalize`. None is the
        working accuracy, by one SVD, and on a device ``tol=3e-2, floor=1e-3``, by products.
    dtype : str, optional
        Name of the dtype in which the factor is computed. None is that of the argument.

    Notes
    -----
    Where the factor is not exact, `sharp` takes Re <g, U Vᴴ> for the dual norm, which misses
    `tol` of it and what lies below the floor.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import norms
    >>> x = np.asarray([[3.0, 0.0], [4.0, 2.0]])
    >>> n = norms.Spectral()
    >>> round(float(n.value(x)), 4), round(float(n.dual(x)), 4)
    (5.2631, 6.4031)
    >>> n.lmo(x).round(4) + 0.0
    array([[-0.7809,  0.6247],
           [-0.6247, -0.7809]])
    """

    _: KW_ONLY
    tol: float | None = None
    floor: float | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        check_accuracy(self._accuracy)

    @property
    def _accuracy(self) -> Accuracy:
        return Accuracy(self.tol, self.floor, self.dtype)

    def uphill(self, g: Array, length: float | None, /, *, backend: Backend) -> Array:
        """Return the steepest ascent times a length, or times the dual norm for None."""
        exact = not self._accuracy.given and not on_device(g, backend)
        if exact or 0 in g.shape:
            return super().uphill(g, length, backend=backend)
        check_supported("norms.Spectral", backend)
        xp = backend.xp
        with backend.guard(g):
            factor = direction(g, self._accuracy, backend=backend)
            if length == 1.0:
                return xp.astype(factor, g.dtype, copy=False)
            wide = working(xp, factor)
            if length is None:
                dual = xp.sum(xp.vecdot(working(xp, g), wide, axis=-1), axis=-1)[..., None, None]
                wide = (
                    xp.astype(xp.real(dual) if is_complex(xp, dual.dtype) else dual, wide.dtype)
                    * wide
                )
            else:
                wide = length * wide
            return xp.astype(wide, g.dtype, copy=False)

    def _norm(self, s: Array, xp: Namespace) -> Array:
        return s[..., 0]

    def _dual_norm(self, s: Array, xp: Namespace) -> Array:
        return xp.sum(s, axis=-1)

    def _atom(self, s: Array, slack: float, xp: Namespace) -> Array:
        return ky_fan.dual_ball_atom(s, s.shape[-1], slack, xp=xp)


@dataclass(frozen=True)
class Nuclear(_OfSpectrum):
    r"""The sum of the singular values. Its dual is `Spectral()`; its minimiser -radius u_1 v_1ᴴ.

    .. math::

        \|x\| = \sum_i s_i, \qquad
        \|g\|_\circ = s_1(g), \qquad
        \operatorname{lmo}(g) = -\rho\, u_1 v_1^H

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import norms
    >>> x = np.diag([3.0, 1.0])
    >>> n = norms.Nuclear()
    >>> round(float(n.value(x)), 4), round(float(n.dual(x)), 4)
    (4.0, 3.0)
    >>> n.lmo(x).round(4) + 0.0
    array([[-1.,  0.],
           [ 0.,  0.]])
    """

    def _norm(self, s: Array, xp: Namespace) -> Array:
        return xp.sum(s, axis=-1)

    def _dual_norm(self, s: Array, xp: Namespace) -> Array:
        return s[..., 0]

    def _atom(self, s: Array, slack: float, xp: Namespace) -> Array:
        return ky_fan.dual_ball_atom(s, 1, slack, xp=xp)


@dataclass(frozen=True)
class Frobenius(_Norm):
    r"""The root of the sum of squares. Its own dual; its minimiser is -radius g / ||g||_F.

    .. math::

        \|x\| = \Bigl(\sum_{ij} |x_{ij}|^2\Bigr)^{1/2}, \qquad
        \operatorname{lmo}(g) = -\rho\, g / \|g\|_F

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import norms
    >>> x = np.asarray([[3.0, 0.0], [4.0, 2.0]])
    >>> n = norms.Frobenius()
    >>> round(float(n.value(x)), 4), round(float(n.dual(x)), 4)
    (5.3852, 5.3852)
    >>> n.lmo(x).round(4) + 0.0
    array([[-0.5571,  0.    ],
           [-0.7428, -0.3714]])
    """

    def _value(self, x: Array, backend: Backend) -> Array:
        return per_batch(differentiable_frobenius(x, xp=backend.xp))

    def _dual(self, x: Array, backend: Backend) -> Array:
        return self._value(x, backend)

    def _ascent(self, x: Array, backend: Backend) -> Array:
        return _over(x, differentiable_frobenius(x, xp=backend.xp), backend)

    def uphill(self, g: Array, length: float | None, /, *, backend: Backend) -> Array:
        """Return the steepest ascent times a length; times the dual norm it is `g` itself."""
        if length is not None:
            return super().uphill(g, length, backend=backend)
        check_supported("norms.Frobenius", backend)
        with backend.guard(g):
            safe, finite = replace_broken(g, backend=backend)
            return restore(safe + 0.0, finite, backend=backend)


@dataclass(frozen=True)
class Max(_Norm):
    r"""The largest absolute value of an entry. Its dual is the sum of them.

    .. math::

        \|x\| = \max_{ij} |x_{ij}|, \qquad
        \|g\|_\circ = \sum_{ij} |g_{ij}|, \qquad
        \operatorname{lmo}(g) = -\rho \operatorname{sign}(g)

    Its minimiser is -radius g / abs(g) entry by entry, 0 where g is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import norms
    >>> x = np.asarray([[3.0, 0.0], [4.0, 2.0]])
    >>> n = norms.Max()
    >>> round(float(n.value(x)), 4), round(float(n.dual(x)), 4)
    (4.0, 9.0)
    >>> n.lmo(x).round(4) + 0.0
    array([[-1.,  0.],
           [-1., -1.]])
    """

    _is_elementwise: ClassVar[bool] = True

    def _value(self, x: Array, backend: Backend) -> Array:
        return backend.xp.max(backend.xp.max(backend.xp.abs(x), axis=-1), axis=-1)

    def _dual(self, x: Array, backend: Backend) -> Array:
        return backend.xp.sum(backend.xp.sum(backend.xp.abs(x), axis=-1), axis=-1)

    def _ascent(self, x: Array, backend: Backend) -> Array:
        return _over(x, backend.xp.abs(x), backend)


@dataclass(frozen=True)
class MaxVectorNorm(_Norm):
    """The largest Euclidean length of a vector of the matrix. Its dual is the sum of the lengths.

    Its minimiser is -radius times every vector of g divided by its length, 0 where it is 0.

    Parameters
    ----------
    axis : int
        The axis that a vector runs along: -1 for rows, -2 for columns. Also as `Rows()` and
        `Columns()`.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import norms
    >>> x = np.asarray([[3.0, 0.0], [4.0, 2.0]])
    >>> n = norms.MaxVectorNorm(-1)
    >>> round(float(n.value(x)), 4), round(float(n.dual(x)), 4)
    (4.4721, 7.4721)
    >>> n.lmo(x).round(4) + 0.0
    array([[-1.    ,  0.    ],
           [-0.8944, -0.4472]])
    """

    axis: int

    def __post_init__(self) -> None:
        if isinstance(self.axis, bool) or self.axis not in (-1, -2):
            msg = f"axis must be -1 (rows) or -2 (columns), got {self.axis!r}"
            raise ValueError(msg)

    def _lengths(self, x: Array, backend: Backend) -> Array:
        """Return the lengths with the axes kept as (m, 1) or (1, n)."""
        xp = backend.xp
        if self.axis == -1:
            return root(row_energies(x, xp=xp), xp=xp)[..., :, None]
        return root(row_energies(xp.matrix_transpose(x), xp=xp), xp=xp)[..., None, :]

    def _value(self, x: Array, backend: Backend) -> Array:
        lengths = self._lengths(x, backend)
        return backend.xp.max(backend.xp.max(lengths, axis=-1), axis=-1)

    def _dual(self, x: Array, backend: Backend) -> Array:
        lengths = self._lengths(x, backend)
        return backend.xp.sum(backend.xp.sum(lengths, axis=-1), axis=-1)

    def _ascent(self, x: Array, backend: Backend) -> Array:
        return _over(x, self._lengths(x, backend), backend)


@dataclass(frozen=True)
class Columns(MaxVectorNorm):
    """The largest length of a column, `MaxVectorNorm(-2)` by name.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import norms
    >>> x = np.asarray([[3.0, 0.0], [4.0, 2.0]])
    >>> n = norms.Columns()
    >>> round(float(n.value(x)), 4), round(float(n.dual(x)), 4)
    (5.0, 7.0)
    >>> n.lmo(x).round(4) + 0.0
    array([[-0.6,  0. ],
           [-0.8, -1. ]])
    """

    axis: int = field(default=-2, init=False)


@dataclass(frozen=True)
class Rows(MaxVectorNorm):
    """The largest length of a row, `MaxVectorNorm(-1)` by name.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import norms
    >>> x = np.asarray([[3.0, 0.0], [4.0, 2.0]])
    >>> n = norms.Rows()
    >>> round(float(n.value(x)), 4), round(float(n.dual(x)), 4)
    (4.4721, 7.4721)
    >>> n.lmo(x).round(4) + 0.0
    array([[-1.    ,  0.    ],
           [-0.8944, -0.4472]])
    """

    axis: int = field(default=-1, init=False)


def _measured(measure: Callable[[Array, Backend], Array], backend: Backend, x: Array) -> Array:
    """Return a number of each matrix, measured at an ordinary scale."""
    balanced = balance(working(backend.xp, x), backend=backend)
    size = per_batch(balanced.scale)
    if 0 in x.shape:
        return 0.0 * size
    norm = measure(balanced.matrix, backend) * size
    return restore(norm, per_batch(balanced.finite), backend=backend)


def _over(x: Array, sizes: Array, backend: Backend) -> Array:
    """Divide by real sizes, and make 0 of what has the size 0."""
    xp = backend.xp
    safe = xp.where(sizes > 0, sizes, xp.ones_like(sizes))
    return x / xp.astype(safe, x.dtype)
