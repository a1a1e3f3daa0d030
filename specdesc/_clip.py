"""Clipping of singular values: the projection onto the ball of a spectral norm."""

import math
from functools import partial

from specdesc._lib.arrays import adjoint, per_batch
from specdesc._lib.checks import plain
from specdesc._lib.dtypes import eps, real_dtype, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg import derivative, excess
from specdesc._linalg.basic import Balanced, balance, frobenius, restore, row_energies, thin_svd
from specdesc._linalg.excess import Excess
from specdesc._polar_factor.fixed import isometry
from specdesc._polar_factor.method import Request
from specdesc._polar_factor.solvers import on_device, orthogonal_factor
from specdesc.backends import Backend
from specdesc.backends.creation import identity, zeros
from specdesc.backends.entry import check_per_matrix, enter

#: Up to this short side one SVD of a whole stack costs less than any other way (measured, CPU).
SMALL = 64

#: The least floor and tolerance of polynomials here.
LEAST_FLOOR = 1e-11

#: Squares are taken while s_1² exceeds radius² by no more than this times max(m, n).
SQUARED = 0.125

#: Below this part of s_1 a radius is not resolved by the polynomial that finds its own factor.
FACTOR_FLOOR = 1e-3


def spectral_clip(x: Array, radius: float | Array, /) -> Array:
    r"""Return U min(S, radius) Vᴴ of the thin singular value decomposition x = U S Vᴴ.

    .. math:: U \min(S, \rho)\, V^H = \operatorname{argmin}_{\|z\|_2 \le \rho} \|z - x\|_F

    The nearest matrix of spectral norm at most `radius`. A matrix that has that norm within
    8 max(m, n) eps comes back bit for bit.

    Parameters
    ----------
    x : array, shape (..., m, n)
        Real or complex. Half precision is computed in float32 and cast back.
    radius : float or array
        At least 0 and finite; an array has the batch shape and the library of `x`. A matrix whose
        entry of the array is not such a number becomes NaN.

    Returns
    -------
    array, shape (..., m, n)
        New array of the library, dtype and device of `x`.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input; a number `radius` that is negative or not finite.

    See Also
    --------
    specdesc.prox.SpectralBall : The same as a set that rules take.
    spectral_map : Any function of the singular values.

    Notes
    -----
    Where values can be read, every matrix takes the cheapest way that proves itself. Nothing
    outside: norms, or one Cholesky factorization of radius² I - x xᴴ. Few values outside: these
    triplets by subspace iteration, and a factorization that proves that no others are. Else the
    eigenvectors of x xᴴ beyond radius², or the SVD where the matrix is small or its norm so far
    beyond the radius that squares hide it. The error is c max(m, n) eps s_1.

    On a device two passes of products. The error is c max(m, n) eps s_1, as long as the radius is
    at least 1e-3 ||x||_F; below, the result is in the ball and its error at most the radius.

    Elsewhere (JAX and traced arrays on a CPU, matrices in many chunks of dask that are not long)
    small matrices and double precision take the SVD, others two orthogonalizations by polynomials,
    of x and of x xᴴ - radius² I. Their error is c max(m, n) eps s_1² / radius, down to a radius of
    about sqrt(eps) s_1, where it stays.

    On torch and JAX the result is differentiable in `x` and in `radius`.

    References
    ----------
    Higham, Functions of Matrices (2008), chapter 5 (sign function). Certificates: derived.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import spectral_clip
    >>> spectral_clip(np.asarray([[0.0, -2.0], [5.0, 0.0]]), 3.0) + 0.0
    array([[ 0., -2.],
           [ 3.,  0.]])
    """
    backend = enter("spectral_clip", x)
    radius = plain(radius)
    if isinstance(radius, float):
        if not 0.0 <= radius < float("inf"):
            msg = f"radius must be a finite number of at least 0, got {radius!r}"
            raise ValueError(msg)
    else:
        check_per_matrix(backend, radius, x, "radius")
    with backend.guard(x):
        allowed = 8.0 * max(1, *x.shape[-2:]) * eps(backend.xp, working(backend.xp, x).dtype)
        return clip(x, radius, allowed, backend=backend)


def clip(x: Array, radius: float | Array, allowed: float, /, *, backend: Backend) -> Array:
    """Clip where the norm exceeds (1 + allowed) radius. Private to specdesc; checks nothing."""
    xp = backend.xp
    if 0 in x.shape:
        return zeros(x.shape, x, backend=backend)
    like, radius = working(xp, x), plain(radius)
    real, shape = real_dtype(xp, like.dtype), (*x.shape[:-2], 1, 1)
    if isinstance(radius, float):
        radii = xp.full(shape, radius, dtype=real, device=backend.placement)
    else:
        radii = xp.broadcast_to(xp.astype(radius, real)[..., None, None], shape)
    positive = isinstance(radius, float) and radius > 0
    way = partial(_clip, allowed=allowed, positive=positive, backend=backend)
    if backend.streams:
        return backend.per_matrix(partial(_clip_chunk, allowed, positive), x, radii, spectral=True)
    if not backend.differentiates:
        return way(x, radii)
    rule = derivative.of_clip(backend=backend)
    return backend.differentiable(lambda y, r: (way(y, r),), rule)(x, radii)[0]


def _clip_chunk(allowed: float, positive: bool, backend: Backend, x: Array, radius: Array) -> Array:
    if 0 in x.shape:
        return zeros(x.shape, x, backend=backend)
    return _clip(x, radius, allowed=allowed, positive=positive, backend=backend)


def _clip(x: Array, radius: Array, /, *, allowed: float, positive: bool, backend: Backend) -> Array:
    """Clip to radii (..., 1, 1), which are known to be numbers above 0 where `positive` says so."""
    xp = backend.xp
    if not backend.branches and on_device(x, backend):
        return _on_device(x, radius, allowed, positive, backend)
    balanced = balance(working(xp, x), backend=backend)
    wide = x.shape[-2] <= x.shape[-1]
    matrix = balanced.matrix if wide else adjoint(balanced.matrix, xp=xp)
    valid = balanced.finite & xp.isfinite(radius) & (radius >= 0)
    limit = xp.where(valid, radius, xp.zeros_like(radius)) / balanced.scale
    clipped, unchanged = _by_values(matrix, limit, allowed, backend)
    clipped = clipped if wide else adjoint(clipped, xp=xp)
    clipped = xp.astype(_rescale(clipped, balanced, xp), x.dtype, copy=False)
    return restore(xp.where(unchanged, x, clipped), valid, backend=backend)


def _rescale(y: Array, balanced: Balanced, xp: Namespace) -> Array:
    return y * xp.astype(balanced.scale, y.dtype)


def _by_values(x: Array, radius: Array, allowed: float, backend: Backend) -> tuple[Array, Array]:
    """Return clipped wide matrices, and which of the inputs need no clipping, as (..., 1, 1)."""
    small, branches = x.shape[-2] <= SMALL, backend.branches
    if branches and not small:
        return _one_by_one(x, radius, allowed, backend)
    if small or eps(backend.xp, x.dtype) < LEAST_FLOOR:
        return _by_svd(x, radius, allowed, backend)
    return _by_polynomials(x, radius, backend)


def _by_svd(x: Array, radius: Array, allowed: float, backend: Backend) -> tuple[Array, Array]:
    xp = backend.xp
    u, s, vh = thin_svd(x, xp=xp)
    kept = xp.minimum(s, xp.broadcast_to(radius[..., 0], s.shape))
    clipped = xp.matmul(u * xp.astype(kept, u.dtype)[..., None, :], vh)
    return clipped, s[..., :1, None] <= radius * (1.0 + allowed)


# --- by what the values of each matrix allow -----------------------------------------------------


def _one_by_one(x: Array, radius: Array, allowed: float, backend: Backend) -> tuple[Array, Array]:
    xp = backend.xp
    flat, radii = xp.reshape(x, (-1, *x.shape[-2:])), xp.reshape(radius, (-1,))
    each = [_one(flat[i, ...], float(radii[i]), allowed, backend) for i in range(flat.shape[0])]
    clipped = xp.stack([flat[i, ...] if y is None else y for i, y in enumerate(each)])
    unchanged = xp.asarray([y is None for y in each], device=backend.placement)
    return xp.reshape(clipped, x.shape), xp.reshape(unchanged, radius.shape)


def _one(x: Array, radius: float, allowed: float, backend: Backend) -> Array | None:
    """Return one clipped matrix, None for no change."""
    xp = backend.xp
    most = radius * (1.0 + allowed)
    if _cheap_bound(x, xp) <= most:
        return None
    if radius == 0.0:
        return zeros(x.shape, x, backend=backend)
    gram = xp.matmul(x, adjoint(x, xp=xp))
    few = excess.beyond(x, gram, radius, most, backend=backend)
    if few is not None and few.s.shape[-1] == 0:
        if excess.inside(gram, most, backend=backend):
            return None
    elif few is not None:
        clipped = _without(x, few, radius, backend)
        own = xp.matmul(clipped, adjoint(clipped, xp=xp))
        # With V turned by the residual, the few and the rest are apart, and each is clipped
        # exactly. The projection moves no further than its argument.
        if few.residual <= max(x.shape) * eps(xp, x.dtype) * float(few.s[0]) and excess.inside(
            own, most, backend=backend
        ):
            return clipped
    return _by_eigenvectors(x, gram, radius, backend)


def _cheap_bound(x: Array, xp: Namespace) -> float:
    """Bound the spectral norm by the Frobenius norm, and by the root of the norms of 1 and inf."""
    sizes = xp.abs(x)
    rows, columns = (float(xp.max(xp.sum(sizes, axis=axis))) for axis in (-1, -2))
    return min(float(per_batch(frobenius(x, xp=xp))), math.sqrt(rows * columns))


def _without(x: Array, few: Excess, radius: float, backend: Backend) -> Array:
    """Take from x what of the triplets lies beyond the radius."""
    xp = backend.xp
    return x - xp.matmul(few.u * xp.astype(few.s - radius, x.dtype), few.vh)


def _by_eigenvectors(x: Array, gram: Array, radius: float, backend: Backend) -> Array:
    """Shrink the rows of Uᴴ X beyond the radius, with U the eigenvectors of the Gram matrix.

    Rounding of squares moves a singular value s by eps s_1² / s: where that is beyond what an SVD
    may do at the radius, the SVD does it.
    """
    xp = backend.xp
    values, vectors = xp.linalg.eigh(gram)
    if float(values[-1]) > SQUARED * max(x.shape) * radius**2:
        return _by_svd(x, xp.full_like(xp.real(x[:1, :1]), radius), 0.0, backend)[0]
    count = int(xp.sum(xp.astype(values > radius**2, xp.int32)))
    u = vectors[:, vectors.shape[-1] - count :]
    rows = xp.matmul(adjoint(u, xp=xp), x)
    lengths = xp.sqrt(row_energies(rows, xp=xp))
    excess_ = xp.maximum(1.0 - radius / lengths, xp.zeros_like(lengths))
    return x - xp.matmul(u * xp.astype(excess_, u.dtype), rows)


# --- on a device ---------------------------------------------------------------------------------

#: What the factor, and the sign of a first pass, see of s_1: enough for a radius of 1e-3 s_1.
SEEN = 5e-4
COARSE = Request(None, SEEN, "polynomial")


def _on_device(x: Array, radius: Array, allowed: float, positive: bool, backend: Backend) -> Array:
    """Clip by products: X <- X - (H - r I)_+ Q, with Q the polar factor and H = X Qᴴ (derived).

    Q counts where s > r alone, and (A)_+ = (A + sign(A) A) / 2 is wrong only where abs(A) is below
    the floor of the sign. So a first pass cuts at a bound so far above r that nothing at r notices,
    which leaves r and s_1 so near that the sign of a second pass sees all that matters.
    """
    xp, primitives = backend.xp, backend.primitives
    wide = x.shape[-2] <= x.shape[-1]
    unit = radius
    if not positive:
        whole = (radius >= 0) & (radius < float("inf"))
        radius = restore(radius, whole, backend=backend)
        unit = xp.where(radius == 0, xp.ones_like(radius), radius)
    start = primitives.unscale(working(xp, x if wide else primitives.adjoint(x)), unit)
    factor = orthogonal_factor(start, COARSE, backend=backend)[0]
    size = primitives.frobenius(start)
    y = _cut(start, factor, 1.0 + (2.0 * SEEN) * size, COARSE, backend)
    hermitian = xp.matmul(y, primitives.adjoint(factor))
    y = _cut(y, factor, 1.0, _fine(y, backend), backend, hermitian)
    # What rounding left of a skew part K takes a value of 1 to 1 + ||K||² at most (derived).
    twice = primitives.frobenius(
        primitives.axpby(1.0, hermitian, -1.0, primitives.adjoint(hermitian))
    )
    rounding = 2.0 * max(x.shape[-2:]) * eps(xp, y.dtype)
    moved = primitives.frobenius(primitives.axpby(1.0, y, -1.0, start))
    # So far beyond the radius the factor is in the ball, and all that can be told.
    y = xp.where(size <= 1.0 / SEEN, y, factor)
    y = y * xp.astype(radius / ((1.0 + rounding) + twice * twice), y.dtype)
    y = xp.astype(y if wide else primitives.adjoint(y), x.dtype, copy=False)
    unchanged = moved <= allowed
    return xp.where(unchanged if positive else unchanged & (radius > 0), x, y)


def _cut(
    y: Array,
    factor: Array,
    bound: float | Array,
    request: Request | None,
    backend: Backend,
    product: Array | None = None,
) -> Array:
    """Return Y - (Y Qᴴ - bound I)_+ Q, with the sign of a request, of an isometry for None.

    `product` is Y Qᴴ where it is there.
    """
    xp, primitives = backend.xp, backend.primitives
    hermitian = xp.matmul(y, primitives.adjoint(factor)) if product is None else product
    hermitian = primitives.axpby(0.5, hermitian, 0.5, primitives.adjoint(hermitian))
    beyond = primitives.shift_diagonal(hermitian, -bound)
    if request is None:
        sign = isometry(beyond, backend=backend)
    else:
        sign = orthogonal_factor(beyond, request, backend=backend)[0]
    positive = primitives.addmm(0.5, beyond, sign, beyond, alpha=0.5)
    return primitives.addmm(1.0, y, positive, factor, alpha=-1.0)


def _fine(x: Array, backend: Backend) -> Request | None:
    """Return what the sign of a last pass is asked for, None for an isometry."""
    unit = max(x.shape[-2:]) * eps(backend.xp, x.dtype)
    # What a sign leaves undecided is more than rounding where matrices are small.
    return None if unit < LEAST_FLOOR or x.shape[-2] <= SMALL else Request(None, unit, "polynomial")


def raise_to(x: Array, bound: float, /, *, backend: Backend) -> Array:
    """Return U max(S, bound) Vᴴ on a device, in working precision."""
    primitives, wide = backend.primitives, x.shape[-2] <= x.shape[-1]
    y = working(backend.xp, x)
    y = y if wide else primitives.adjoint(y)
    factor = isometry(y, backend=backend)
    # -s beyond -bound is cut: Y + (bound I - H)_+ Q.
    raised = -_cut(-y, factor, -bound, None, backend)
    return raised if wide else primitives.adjoint(raised)


# --- by a fixed plan -----------------------------------------------------------------------------


def _by_polynomials(x: Array, radius: Array, backend: Backend) -> tuple[Array, Array]:
    """Clip by S = sign(x xᴴ - r² I) and the polar factor Q: (x + r Q - S (x - r Q)) / 2.

    Where a value is within the floor of r, |s - r| is as small as the error of S matters; Q counts
    where S = 1 alone. S is a polynomial in A² times A: its rows of small eigenvalues are rounded
    most, and as columns of Sᴴ they meet the rows of x - r Q that are small as well.
    """
    xp = backend.xp
    gram = xp.matmul(x, adjoint(x, xp=xp))
    bound = xp.sqrt(frobenius(gram, xp=xp))  # the Schatten norm of order 4
    unchanged = bound <= radius
    r = xp.astype(xp.minimum(radius, bound), x.dtype)
    unit = max(max(x.shape[-2:]) * eps(xp, x.dtype), LEAST_FLOOR)
    one = identity(gram.shape[-1], gram, backend=backend)
    request = Request(unit, unit, "polynomial")
    sign = orthogonal_factor(gram - r**2 * one, request, backend=backend)[0]
    request = request._replace(floor=FACTOR_FLOOR)
    factor = r * orthogonal_factor(x, request, backend=backend)[0]
    clipped = (x + factor - xp.matmul(adjoint(sign, xp=xp), x - factor)) / 2
    return xp.where(radius > 0, clipped, xp.zeros_like(clipped)), unchanged
