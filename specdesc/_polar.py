"""The polar decomposition and functions of the singular values, to working accuracy."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

from specdesc._lib.arrays import adjoint
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._linalg import derivative, magnitudes
from specdesc._linalg.basic import balance, restore, thin_svd
from specdesc._polar_factor.fixed import isometry
from specdesc._polar_factor.solvers import on_device
from specdesc.backends import Backend
from specdesc.backends.creation import zeros
from specdesc.backends.entry import enter


class Polar(NamedTuple):
    """A polar decomposition, in the order of `scipy.linalg.polar`."""

    unitary: Array
    hermitian: Array


def polar(x: Array, /, *, side: Literal["left", "right"] = "right") -> Polar:
    r"""Return the polar decomposition x = U P (right) or x = P U (left).

    .. math:: x = U V^H \cdot V S V^H = U S U^H \cdot U V^H

    Parameters
    ----------
    x : array, shape (..., m, n)
        Real or complex.
    side : {"right", "left"}
        Where the Hermitian factor stands: n by n on the right, m by m on the left.

    Returns
    -------
    Polar
        ``(unitary, hermitian)``. The first has orthonormal columns (rows, if m < n) also where
        `x` is rank deficient, in which case it is not unique. The second is Hermitian and positive
        semi-definite.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input; `side` must be "left" or "right".

    See Also
    --------
    orthogonalize : The first factor alone, to an accuracy that is asked for.
    spectral_map : Any function of the singular values.

    Notes
    -----
    By one SVD, and on a device, where that waits, by about 60 products (derived). Backward stable:
    ||x - U P|| <= c max(m, n) eps ||x||. Both parts are differentiable on torch and JAX, as in
    `orthogonalize`; directions of rounding size count as zero.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import polar
    >>> polar(np.asarray([[0.0, -2.0], [5.0, 0.0]])).hermitian + 0.0
    array([[5., 0.],
           [0., 2.]])
    """
    if side not in ("left", "right"):
        msg = f"side must be 'left' or 'right', got {side!r}"
        raise ValueError(msg)
    backend = enter("polar", x)
    with backend.guard(x):
        if 0 in x.shape:
            return _polar(x, side, backend)
        if backend.streams:
            return Polar(*backend.per_matrix(partial(_of_chunks, side), x, spectral=True))
        rule = derivative.of_polar(side, backend=backend)
        return Polar(*backend.differentiable(lambda y: _polar(y, side, backend), rule)(x))


def _of_chunks(side: str, backend: Backend, x: Array) -> tuple[Array, ...]:
    return tuple(_polar(x, side, backend))


def _polar(x: Array, side: str, backend: Backend) -> Polar:
    xp = backend.xp
    n = x.shape[-1] if side == "right" else x.shape[-2]
    if 0 in x.shape:
        empty = zeros((*x.shape[:-2], n, n), x, backend=backend)
        return Polar(zeros(x.shape, x, backend=backend), empty)
    if on_device(x, backend):
        return _by_products(x, side, backend)
    balanced = balance(working(xp, x), backend=backend)
    u, s, vh = thin_svd(balanced.matrix, xp=xp)
    basis = adjoint(vh, xp=xp) if side == "right" else u
    root = basis * xp.astype(s, basis.dtype)[..., None, :]
    hermitian = xp.matmul(root, adjoint(basis, xp=xp))
    hermitian = (hermitian + adjoint(hermitian, xp=xp)) / 2
    hermitian = hermitian * xp.astype(balanced.scale, hermitian.dtype)
    parts = (xp.astype(part, x.dtype, copy=False) for part in (xp.matmul(u, vh), hermitian))
    return Polar(*(restore(part, balanced.finite, backend=backend) for part in parts))


def _by_products(x: Array, side: str, backend: Backend) -> Polar:
    xp, primitives, wide = backend.xp, backend.primitives, x.shape[-2] <= x.shape[-1]
    matrix = working(xp, x)
    unitary = isometry(matrix if wide else primitives.adjoint(matrix), backend=backend)
    unitary = unitary if wide else primitives.adjoint(unitary)
    other = primitives.adjoint(unitary)
    product = xp.matmul(other, matrix) if side == "right" else xp.matmul(matrix, other)
    hermitian = (product + primitives.adjoint(product)) / 2
    return Polar(*(xp.astype(part, x.dtype, copy=False) for part in (unitary, hermitian)))


def spectral_map(x: Array, fun: Callable[[Array], Array], /) -> Array:
    r"""Return U diag(fun(s)) Vᴴ for the thin singular value decomposition of x.

    .. math:: U \operatorname{diag}(f(s_1), \dots, f(s_r))\, V^H, \qquad r = \min(m, n)

    Parameters
    ----------
    x : array, shape (..., m, n)
        Real or complex.
    fun : callable
        Takes the singular values, shape (..., min(m, n)), descending, in the real dtype (float32
        for half precision), and returns as many numbers of the same dtype.

    Returns
    -------
    array
        Shape, dtype and device of `x`.

    Raises
    ------
    TypeError, NotImplementedError
        As in the table of bad input.
    ValueError
        Fewer than two axes, or `fun` changed the shape.

    See Also
    --------
    spectral_clip : The minimum with a radius, by products where they are faster.
    polar : The function that is 1.

    Notes
    -----
    Exact up to the SVD: backward error c max(m, n) eps ||x||. Where a singular value is 0 and
    fun(0) is not, the direction is not unique.

    On torch and JAX the result is differentiable in `x`, and in what `fun` depends on: also where
    singular values are equal, if `fun` treats all of them alike, and where they are 0, if it is odd
    around 0. There `fun` is called three times. Second derivatives in `x` raise
    `NotImplementedError`.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import spectral_map
    >>> spectral_map(np.asarray([[0.0, -2.0], [5.0, 0.0]]), lambda s: s**2) + 0.0
    array([[ 0., -4.],
           [25.,  0.]])
    """
    backend = enter("spectral_map", x)
    with backend.guard(x):
        if 0 in x.shape:
            return zeros(x.shape, x, backend=backend)
        if backend.streams:
            return backend.per_matrix(partial(_map_chunk, fun), x, spectral=True)
        return _spectral_map(x, fun, backend)


def _map_chunk(fun: Callable[[Array], Array], backend: Backend, x: Array) -> Array:
    if 0 in x.shape:
        return zeros(x.shape, x, backend=backend)
    return _spectral_map(x, fun, backend)


def _spectral_map(x: Array, fun: Callable[[Array], Array], backend: Backend) -> Array:
    taken = magnitudes.spectrum(x, backend)
    s = taken.magnitudes

    def checked(s: Array) -> Array:
        mapped = fun(s)
        if tuple(mapped.shape) != tuple(s.shape):
            msg = f"fun must keep the shape {tuple(s.shape)}, got {tuple(mapped.shape)}"
            raise ValueError(msg)
        return mapped

    return taken.rebuild(checked(s), checked)
