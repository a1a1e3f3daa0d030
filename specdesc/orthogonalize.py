"""Functions of the singular values: the polar factor, and exact spectral maps."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args, overload

from specdesc import _adapt as adapt
from specdesc import _plan
from specdesc._adapt import Followed
from specdesc._array import check_fraction, enter, eps, is_half, working
from specdesc._core import polynomial
from specdesc._core.linalg import (
    Balanced,
    adjoint,
    balance,
    choose,
    per_batch,
    restore,
    thin_svd,
    zeros,
)
from specdesc._typing import Array, Namespace
from specdesc.backends import Backend

Method = Literal["auto", "polynomial", "svd", "newton-schulz", "polar-express"]

#: Up to this short side one SVD costs less than the products of an iteration (measured, CPU).
SMALL = 32


class Orthogonalization(NamedTuple):
    """The full output of `orthogonalize`; all but the factor have the batch shape.

    Attributes
    ----------
    factor : array
        The polar factor, shape (..., m, n).
    error : array
        Upper bound on the error that `orthogonalize` documents, in the real dtype; ``inf`` where
        nothing is certified.
    rank : array of int32
        The number of singular directions in the factor: counted by the SVD; otherwise m less the
        square of the residual, rounded, which a loose `tol` makes an estimate.
    products : array of int32
        Matrix products that were spent; 0 for the SVD.
    status : array of int32
        0: certified, `error` is at most `tol`. 1: not certified. 2: the input has a NaN or an
        inf. 3: zero matrix.
    """

    factor: Array
    error: Array
    rank: Array
    products: Array
    status: Array


class Polar(NamedTuple):
    """A polar decomposition, in the order of `scipy.linalg.polar`."""

    unitary: Array
    hermitian: Array


@overload
def orthogonalize(
    x: Array,
    /,
    *,
    tol: float | None = ...,
    floor: float | None = ...,
    method: Method = ...,
    full_output: Literal[False] = ...,
) -> Array: ...
@overload
def orthogonalize(
    x: Array,
    /,
    *,
    tol: float | None = ...,
    floor: float | None = ...,
    method: Method = ...,
    full_output: Literal[True],
) -> Orthogonalization: ...
def orthogonalize(
    x: Array,
    /,
    *,
    tol: float | None = None,
    floor: float | None = None,
    method: Method = "auto",
    full_output: bool = False,
) -> Array | Orthogonalization:
    """Return U Vᴴ of the thin singular value decomposition x = U S Vᴴ.

    With t_i = Re(u_iᴴ Q v_i) of the result Q: |1 - t_i| <= `tol` for every s_i >= `floor` s_1, and
    -c eps <= t_i <= 1 + `tol` below, where c is the rounding term of the notes. A zero matrix gives
    zero.

    Parameters
    ----------
    x : array, shape (..., m, n)
        Real or complex. Half precision is computed in float32 and cast back.
    tol : float, optional
        Accuracy in (0, 1). None is the working accuracy of the dtype.
    floor : float, optional
        The smallest relative singular value that counts, in (0, 1). None measures it where code
        may look at values, and is 1e-3 elsewhere (JAX, dask, GPUs, traced arrays).
    method : str
        ``"svd"`` is exact and drops s_i <= max(`floor`, max(m, n) eps) s_1. ``"polynomial"`` runs
        the cheapest polynomials that `tol` and `floor` need, see `plan_orthogonalization`.
        ``"newton-schulz"`` and ``"polar-express"`` are the published iterations of 5 and 7 steps
        as they are. ``"auto"`` takes the SVD for small matrices and for the working accuracy,
        polynomials otherwise, and
        the SVD again where values may be looked at and show a matrix without a certificate.
    full_output : bool
        Return an `Orthogonalization` instead of the factor alone.

    Returns
    -------
    array or Orthogonalization
        New arrays of the library, dtype and device of `x`.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input: not a floating array, fewer than two axes, `tol` or `floor`
        outside (0, 1), an unknown `method`, or a method that the backend does not have.

    Notes
    -----
    `error` bounds |1 - t_i| and the spectral distance of Q to the true factor on the kept
    directions. Polynomials: the exact image of the interval that starts at the floor, or
    r / (1 + sqrt(1 - r)) with r the measured Frobenius norm of I - Q Qᴴ, plus
    (2 + sqrt(max(m, n)) / 8) eps / l. Here l is the smallest singular value, relative to the norm,
    that the floor proves, or the residual and the steps together. The norm is the Schatten norm of
    order 8, at most m^(1/8) s_1. SVD: 4 sqrt(max(m, n)) eps s_1/s_r with s_r the last one kept. The
    rounding terms are first order in eps, for errors that add like a random walk: the one of the
    polynomials is measured, with a factor of 3 to spare, the one of the SVD derived, and the tests
    try both on thousands of matrices.

    Cost for m <= n: one SVD, or 4 m² n flops a step and 2 m³ for each product of squares in
    it. A NaN or an inf gives NaN in that matrix alone.

    References
    ----------
    Best odd polynomials in sequence: arXiv:2505.16932 (Polar Express). Quintic
    Newton-Schulz: Keller Jordan's Muon. Error bounds: derived.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import orthogonalize
    >>> orthogonalize(np.asarray([[0.0, -2.0], [5.0, 0.0]])) + 0.0
    array([[ 0., -1.],
           [ 1.,  0.]])
    """
    check_fraction(tol, "tol")
    check_fraction(floor, "floor")
    if method not in get_args(Method):
        msg = f"method must be one of {', '.join(get_args(Method))}, got {method!r}"
        raise ValueError(msg)
    backend = enter("orthogonalize", x)
    chosen = _resolve(method, x, tol, backend)
    enter(f"orthogonalize[{chosen}]", x)
    with backend.guard(x):
        if 0 in x.shape:
            full = _empty(x, backend)
        else:
            # Where values may be looked at, a matrix without a proof gets an SVD. With a floor
            # that would prove no more.
            again = method == "auto" and chosen != "svd" and floor is None and backend.may_branch(x)
            full = _orthogonalize(x, tol, floor, chosen, full_output, backend)
            if again and bool(backend.xp.any(full.status == 1)):
                exact = _orthogonalize(x, tol, floor, "svd", full_output, backend)
                xp = backend.xp
                full = Orthogonalization(*choose(full.status == 1, exact, full, xp=xp))
    return full if full_output else full.factor


def _resolve(method: Method, x: Array, tol: float | None, backend: Backend) -> Method:
    if method != "auto":
        return method
    if "orthogonalize[svd]" in backend.capabilities.unsupported:
        return "polynomial"
    small = min(x.shape[-2:]) <= SMALL
    # Half precision never asks for more than a polynomial in float32 can give.
    return "svd" if small or (tol is None and not is_half(backend.xp, x.dtype)) else "polynomial"


def _empty(x: Array, backend: Backend) -> Orthogonalization:
    xp, batch = backend.xp, tuple(x.shape[:-2])
    counts = xp.zeros(batch, dtype=xp.int32, device=backend.device(x))
    error = zeros(batch, working(xp, x), backend=backend, real=True)
    return Orthogonalization(zeros(x.shape, x, backend=backend), error, counts, counts, counts + 3)


def _orthogonalize(
    x: Array,
    tol: float | None,
    floor: float | None,
    method: Method,
    proven: bool,
    backend: Backend,
) -> Orthogonalization:
    xp = backend.xp
    goal = _plan.goal(tol, eps(xp, x.dtype), half=is_half(xp, x.dtype))
    coarse = method == "polynomial" and _coarse(x, goal, floor, backend)
    balanced = balance(x if coarse else working(xp, x), backend=backend)
    wide = x.shape[-2] <= x.shape[-1]
    matrix = balanced.matrix if wide else adjoint(balanced.matrix, xp=xp)
    if method == "svd":
        full = _by_svd(matrix, floor, backend)
    elif method == "polynomial":
        full = _by_polynomial(matrix, goal, floor, proven, backend)
    else:
        full = _by_published(matrix, method, floor, proven, backend)
    factor = full.factor if wide else adjoint(full.factor, xp=xp)
    return _finish(full._replace(factor=factor), x, tol, balanced, backend)


def _coarse(x: Array, goal: float, floor: float | None, backend: Backend) -> bool:
    """Say whether products in half precision are faster and will do."""
    xp = backend.xp
    if not is_half(xp, x.dtype) or not backend.multiplies(x):
        return False
    measured = floor is None and backend.may_branch(x)
    return not measured and _plan.coarse_floor(eps(xp, x.dtype), goal, floor) is not None


def _finish(
    full: Orthogonalization, x: Array, tol: float | None, balanced: Balanced, backend: Backend
) -> Orthogonalization:
    """Cast back, set the status, and put NaN where it belongs."""
    xp = backend.xp
    factor, error = xp.astype(full.factor, x.dtype, copy=False), full.error
    if full.factor.dtype != x.dtype:
        # Rounding an entry of the factor moves it by eps / 2 of itself; errors that are not made
        # to add up turn no direction by more than a few times that.
        error = error + min(min(x.shape[-2:]) ** 0.5, 4.0) * eps(xp, x.dtype) / 2
    certified = error <= tol if tol is not None else xp.isfinite(error)
    finite = balanced.finite
    zero = xp.all(xp.all(balanced.matrix == 0, axis=-1), axis=-1)
    status = xp.where(certified, full.status, xp.ones_like(full.status))
    status = xp.where(zero, xp.full_like(status, 3), status)
    status = xp.where(per_batch(finite), status, xp.full_like(status, 2))
    return full._replace(
        factor=restore(factor, finite, backend=backend),
        error=restore(error, per_batch(finite), backend=backend),
        status=status,
    )


def _by_svd(x: Array, floor: float | None, backend: Backend) -> Orthogonalization:
    xp = backend.xp
    u, s, vh = thin_svd(x, xp=xp)
    unit, largest = eps(xp, x.dtype), max(x.shape[-2:])
    kept = s > max(floor or 0.0, largest * unit) * s[..., :1]
    factor = xp.matmul(u * xp.astype(kept, x.dtype)[..., None, :], vh)
    smallest = xp.min(xp.where(kept, s, s[..., :1]), axis=-1)
    ones = xp.ones_like(smallest)
    spread = xp.where(smallest > 0, s[..., 0] / xp.where(smallest > 0, smallest, ones), ones)
    counts = xp.sum(xp.astype(kept, xp.int32), axis=-1, dtype=xp.int32)
    none = xp.zeros_like(counts)
    return Orthogonalization(factor, 4 * largest**0.5 * unit * spread, counts, none, none)


def _by_polynomial(
    x: Array, goal: float, floor: float | None, proven: bool, backend: Backend
) -> Orthogonalization:
    xp = backend.xp
    shape, unit = (x.shape[-2], x.shape[-1]), eps(xp, x.dtype)
    begin = polynomial.start(polynomial.within_range(x, backend=backend), backend=backend)
    if backend.may_branch(x) and floor is None:
        followed = adapt.follow(begin, goal, backend=backend)
    elif backend.may_branch(x) and floor is not None:
        followed = adapt.above(begin, goal, floor, backend=backend)
    else:
        lowest = _plan.coarse_floor(unit, goal, floor) if is_half(xp, x.dtype) else floor
        run = _plan.fixed(shape, unit, goal, lowest)
        followed = adapt.fixed(begin, run, floor, backend=backend)
    return _certified(followed, proven, backend)


def _by_published(
    x: Array, method: Method, floor: float | None, proven: bool, backend: Backend
) -> Orthogonalization:
    # Dividing by the Frobenius norm takes s_1 to at least 1 / sqrt(m) and so the floor with it.
    run = _plan.published(method, (floor or _plan.DEFAULT_FLOOR) / x.shape[-2] ** 0.5)
    begin = polynomial.start_unit(x, backend=backend)
    return _certified(adapt.fixed(begin, run, floor, backend=backend), proven, backend)


def _certified(followed: Followed, measured: bool, backend: Backend) -> Orthogonalization:
    """Attach the bound: what the run promises, or the measured residual where that is smaller.

    A residual below 1 says that every singular value of the factor lies near 1, so that nothing
    was lost below the floor.
    """
    xp = backend.xp
    shape = tuple(followed.matrix.shape[-2:])
    base, per_gain = _plan.rounding(shape, eps(xp, followed.matrix.dtype))
    rounding = followed.turn + base
    error = followed.bound + rounding + per_gain * _times(followed.mean, followed.gain, xp)
    full = xp.full_like(followed.products, min(shape))
    if not measured:
        return Orthogonalization(
            followed.matrix, error, full, followed.products, xp.zeros_like(full)
        )
    iterate = polynomial.measure(working(xp, followed.matrix), backend=backend)
    residual = per_batch(iterate.residual)
    gain = adapt.gain(residual, followed.slope, followed.lifted, xp=xp)
    gain = xp.minimum(gain, followed.gain)
    found = adapt.distance(residual, xp=xp) + rounding + per_gain * _times(followed.mean, gain, xp)
    infinite = xp.full_like(residual, float("inf"))
    error = xp.minimum(error, xp.where(residual < 1, found, infinite))
    # Each direction that the factor lacks adds 1 to the square of the residual.
    kept = xp.maximum(min(shape) - residual**2, xp.zeros_like(residual))
    rank = xp.astype(xp.round(kept), xp.int32)
    return Orthogonalization(followed.matrix, error, rank, followed.products, xp.zeros_like(rank))


def _times(mean: Array, gain: Array, xp: Namespace) -> Array:
    """Return the product, with 0 inf = 0: a zero matrix has no error."""
    return mean * xp.where(mean > 0, gain, xp.zeros_like(mean))


def polar(x: Array, /, *, side: Literal["left", "right"] = "right") -> Polar:
    """Return the polar decomposition x = U P (right) or x = P U (left).

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

    Notes
    -----
    By one SVD, backward stable: ||x - U P|| <= c max(m, n) eps ||x||.

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
        return _polar(x, side, backend)


def _polar(x: Array, side: str, backend: Backend) -> Polar:
    xp = backend.xp
    n = x.shape[-1] if side == "right" else x.shape[-2]
    if 0 in x.shape:
        empty = zeros((*x.shape[:-2], n, n), x, backend=backend)
        return Polar(zeros(x.shape, x, backend=backend), empty)
    balanced = balance(working(xp, x), backend=backend)
    u, s, vh = thin_svd(balanced.matrix, xp=xp)
    basis = adjoint(vh, xp=xp) if side == "right" else u
    root = basis * xp.astype(s, basis.dtype)[..., None, :]
    hermitian = xp.matmul(root, adjoint(basis, xp=xp))
    hermitian = (hermitian + adjoint(hermitian, xp=xp)) / 2
    hermitian = hermitian * xp.astype(balanced.scale, hermitian.dtype)
    parts = (xp.astype(part, x.dtype, copy=False) for part in (xp.matmul(u, vh), hermitian))
    return Polar(*(restore(part, balanced.finite, backend=backend) for part in parts))


def spectral_map(x: Array, fun: Callable[[Array], Array], /) -> Array:
    """Return U diag(fun(s)) Vᴴ for the thin singular value decomposition of x.

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

    Notes
    -----
    Exact up to the SVD: backward error c max(m, n) eps ||x||. Where a singular value is 0 and
    fun(0) is not, the direction is not unique.

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
        return _spectral_map(x, fun, backend)


def _spectral_map(x: Array, fun: Callable[[Array], Array], backend: Backend) -> Array:
    xp = backend.xp
    balanced = balance(working(xp, x), backend=backend)
    u, s, vh = thin_svd(balanced.matrix, xp=xp)
    mapped = fun(s * balanced.scale[..., 0])
    if tuple(mapped.shape) != tuple(s.shape):
        msg = f"fun must keep the shape {tuple(s.shape)}, got {tuple(mapped.shape)}"
        raise ValueError(msg)
    y = xp.matmul(u * xp.astype(mapped, u.dtype)[..., None, :], vh)
    return restore(xp.astype(y, x.dtype, copy=False), balanced.finite, backend=backend)
