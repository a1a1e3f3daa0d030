"""Randomized subspace iteration, and what its by-products prove about the leading triplets."""

from typing import NamedTuple

from specdesc import _host
from specdesc._array import eps, real_dtype, scalar
from specdesc._core.linalg import adjoint, all_finite, row_energies, thin_svd
from specdesc._core.orthonormal import qr
from specdesc._opaque import opaque
from specdesc._typing import Array, Device, DType, Namespace
from specdesc.backends import Backend

#: Columns beyond the wanted rank. Ten are customary (Halko, Martinsson, Tropp); fewer cost passes.
OVERSAMPLING = 10

#: Columns of a warm block that are drawn anew, so that a direction orthogonal to it can be found.
FRESH = 2


class Triplets(NamedTuple):
    """The leading singular triplets that a block has found, largest first."""

    u: Array  # (..., m, b), orthonormal columns
    s: Array  # (..., b)
    v: Array  # (..., n, b), orthonormal columns; Uᴴ X = S Vᴴ exactly
    earlier: tuple[Array, Array]  # Ky Fan values of the two half passes before, (...)


def width(rank: int, shape: tuple[int, ...], /) -> int:
    """Return the number of columns of a block."""
    return min(rank + OVERSAMPLING, *shape[-2:])


def iterate(x: Array, block: Array, rank: int, passes: int, /, *, backend: Backend) -> Triplets:
    """Run subspace iteration with `passes` >= 1 full passes on finite, balanced matrices."""
    xp = backend.xp
    xh = adjoint(x, xp=xp)
    q, _ = qr(xp.matmul(x, block), backend=backend)
    for _ in range(passes - 1):
        v, _ = qr(xp.matmul(xh, q), backend=backend)
        q, _ = qr(xp.matmul(x, v), backend=backend)
    v, r = qr(xp.matmul(xh, q), backend=backend)
    before = _ky_fan(xp.linalg.svdvals(r), rank, xp)
    q, r = qr(xp.matmul(x, v), backend=backend)
    last = _ky_fan(xp.linalg.svdvals(r), rank, xp)
    p, t = qr(xp.matmul(xh, q), backend=backend)
    # Xᴴ Q = P T, so the SVD of a b by b matrix gives that of the projection Q Qᴴ X.
    left, s, right = thin_svd(adjoint(t, xp=xp), xp=xp)
    return Triplets(
        xp.matmul(q, left), s, xp.matmul(p, adjoint(right, xp=xp)), earlier=(before, last)
    )


def certificate(x: Array, s: Array, rank: int, /, *, backend: Backend) -> Array:
    """Bound what s_1 + ... + s_rank misses of the Ky Fan norm of `x`, per matrix.

    With Q orthonormal and s the singular values of Qᴴ X, the energy outside is
    E = ||X||_F² - sum s_i². By Weyl and Ky Fan the true sigma_i² exceed s_i² by amounts of total at
    most E, and the sum of the first roots grows most when E fills the smallest of them first, up to
    a water level. Derived; attained by some matrix with these numbers.

    The two energies are large and close: they are summed in the widest real dtype, and the slack
    8 eps ||X||_F² covers what the products in the dtype of `x` have lost.
    """
    xp = backend.xp
    wide = _widest(xp, x.dtype, backend.device(x))
    rows = xp.astype(row_energies(x, xp=xp), wide)
    energy = xp.sum(rows, axis=-1, keepdims=True)
    squares = xp.astype(s, wide) ** 2
    outside = energy - xp.sum(squares, axis=-1, keepdims=True)
    outside = xp.maximum(outside, xp.zeros_like(outside)) + 8 * eps(xp, x.dtype) * energy
    leading = squares[..., :rank]
    # Row j of the table adds the j + 1 smallest of them; the level is the least of the averages.
    order = xp.arange(rank, dtype=wide, device=backend.device(x))
    smallest = order[None, :] >= rank - 1 - order[:, None]
    filled = xp.sum(leading[..., None, :] * xp.astype(smallest, wide), axis=-1)
    level = xp.min((outside + filled) / (order + 1), axis=-1, keepdims=True)
    top = xp.sqrt(xp.maximum(leading, level)) + xp.sqrt(leading)
    top = xp.where(top > 0, top, xp.ones_like(top))
    risen = xp.maximum(level - leading, xp.zeros_like(leading))
    return xp.astype(xp.sum(risen / top, axis=-1), s.dtype)


def estimate(triplets: Triplets, rank: int, /, *, backend: Backend) -> Array:
    """Estimate what the Ky Fan value still misses, by Aitken's extrapolation of its last growth.

    Every half pass can only raise the value. An estimate, not a bound: it is blind to a direction
    that the block has no part of.
    """
    xp = backend.xp
    before, last = triplets.earlier
    value = _ky_fan(triplets.s, rank, xp)
    rounding = 4 * rank * eps(xp, value.dtype) * value
    grown, growing = last - before, value - last
    moving = grown > rounding
    ratio = growing / xp.where(moving, grown, xp.ones_like(grown))
    ratio = xp.clip(xp.where(moving, ratio, xp.zeros_like(ratio)), 0.0, 0.99)
    return growing * ratio / (1.0 - ratio) + rounding


def random_block(like: Array, columns: int, seed: int, /, *, backend: Backend) -> Array:
    """Return n by `columns` Gaussian numbers, the same for every matrix of the stack."""
    return _device_block((like.shape[-1], columns), seed, like, backend)


def refresh(start: Array, seed: int, /, *, backend: Backend) -> Array:
    """Replace the weakest columns of a warm block by random ones, and a broken block whole."""
    xp = backend.xp
    kept = start.shape[-1] - FRESH
    cold = _device_block(tuple(start.shape[-2:]), seed, start, backend)
    cold = xp.broadcast_to(cold, start.shape)
    # A block that a NaN has reached would hand it on to every later step.
    ok = all_finite(start, xp=xp)
    warm = xp.concat([start[..., :kept], cold[..., kept:]], axis=-1)
    return xp.where(ok, warm, cold)


def _device_block(shape: tuple[int, ...], seed: int, like: Array, backend: Backend) -> Array:
    values = _host.gaussian(shape, seed)
    block = backend.xp.asarray(
        values, dtype=real_dtype(backend.xp, like.dtype), device=backend.device(like)
    )
    # Columns of length about 1 weigh as much as the orthonormal ones that they join.
    return backend.xp.astype(block, like.dtype) * scalar(backend, max(1, shape[0]) ** -0.5, like)


def _ky_fan(s: Array, rank: int, xp: Namespace) -> Array:
    return xp.sum(s[..., :rank], axis=-1)


@opaque
def _widest(xp: Namespace, dtype: DType, device: Device) -> DType:
    """Return float64 where the library makes it on this device, else the real dtype of `dtype`."""
    made = xp.__array_namespace_info__().dtypes(device=device, kind="real floating")
    return made.get("float64", real_dtype(xp, dtype))
