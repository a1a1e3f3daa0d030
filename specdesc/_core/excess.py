"""The few singular values of a matrix that lie beyond a radius, where code may look at values."""

import math
from typing import NamedTuple

from specdesc._array import eps
from specdesc._core import subspace
from specdesc._core.linalg import adjoint, frobenius, identity, per_batch, thin_svd
from specdesc._core.orthonormal import qr
from specdesc._typing import Array, Namespace
from specdesc.backends import Backend

#: Columns of the block, and the largest share of the short side that it may be.
COLUMNS, SHARE = 32, 0.125

#: Passes at most, and degrees of the polynomial of each: beyond them the dense way costs less.
PASSES, DEGREE = 8, 24

#: How much more the largest value may be amplified than those inside, so that columns stay apart.
AMPLIFIED = 3e3


class Excess(NamedTuple):
    """Triplets with s_i > radius; U and V have orthonormal columns and Uᴴ X = S Vᴴ."""

    u: Array
    s: Array
    vh: Array
    residual: float  # Frobenius norm of X V - U S: how far the others turn with V


def beyond(
    x: Array, gram: Array, radius: float, most: float, /, *, backend: Backend
) -> Excess | None:
    """Find all triplets beyond the radius > 0, if they are few; None if they are not, or hide.

    Up to `most` >= radius a singular value need not be found.

    Subspace iteration on the Gram matrix, with Chebyshev polynomials that are at most 1 on the
    squares inside: what lies outside is amplified by its distance from the radius, and not by
    that from its neighbours. That nothing else lies outside is for the caller to prove.

    `x` is one wide, balanced matrix.
    """
    xp = backend.xp
    columns = min(COLUMNS, int(SHARE * x.shape[-2]))
    if columns < 2:
        return None
    goal = 0.25 * max(x.shape[-2:]) * eps(xp, x.dtype)
    block = subspace.random_block(tuple(gram.shape), columns, 0, gram, backend=backend)
    q, _ = qr(xp.matmul(gram, block), backend=backend)
    for number in range(PASSES):
        image = xp.matmul(gram, q)
        values, turn = xp.linalg.eigh(_hermitian(xp.matmul(adjoint(q, xp=xp), image), xp))
        q, image = xp.matmul(q, turn), xp.matmul(image, turn)
        ritz = [float(values[i]) for i in range(columns)]  # ascending
        count, largest = sum(value > most**2 for value in ritz), ritz[-1]
        if count == columns:
            return None
        if count == 0 and number > 0:
            return Excess(q[..., :0], values[..., :0], adjoint(q[..., :0], xp=xp), 0.0)
        if count > 0:
            left = image[..., -count:] - q[..., -count:] * xp.astype(values[-count:], q.dtype)
            # G q - q s² = s (X v - q s).
            if float(per_batch(frobenius(left, xp=xp))) <= goal * most * math.sqrt(largest):
                break
        q, _ = qr(_filtered(gram, q, image, radius**2, largest, xp), backend=backend)
    return _project(x, q, radius, backend)


def _filtered(
    gram: Array, q: Array, image: Array, inside: float, largest: float, xp: Namespace
) -> Array:
    """Apply the Chebyshev polynomial of [0, inside] that amplifies the largest value enough."""
    growth = math.acosh(max(2.0 * largest / inside - 1.0, 1.0 + 1e-6))
    degree = min(max(int(math.log(AMPLIFIED) / growth), 1), DEGREE)
    before, last = q, (2.0 / inside) * image - q
    for _ in range(degree - 1):
        before, last = last, (4.0 / inside) * xp.matmul(gram, last) - 2.0 * last - before
    return last


def _project(x: Array, q: Array, radius: float, backend: Backend) -> Excess:
    xp = backend.xp
    left, s, vh = thin_svd(xp.matmul(adjoint(q, xp=xp), x), xp=xp)
    count = int(xp.sum(xp.astype(s > radius, xp.int32)))
    u, s, vh = xp.matmul(q, left)[..., :count], s[..., :count], vh[..., :count, :]
    turned = xp.matmul(x, adjoint(vh, xp=xp)) - u * xp.astype(s, u.dtype)
    return Excess(u, s, vh, float(per_batch(frobenius(turned, xp=xp))))


def inside(gram: Array, bound: float, /, *, backend: Backend) -> bool:
    """Prove that every singular value is at most `bound`, from the Gram matrix of one matrix.

    By Cholesky, which succeeds where bound² I - G is positive definite up to rounding.
    """
    one = identity(gram.shape[-1], gram, backend=backend)
    return _positive(bound**2 * one - gram, backend.xp)


def outside(gram: Array, bound: float, /, *, backend: Backend) -> bool:
    """Prove likewise that every singular value is at least `bound`."""
    one = identity(gram.shape[-1], gram, backend=backend)
    return _positive(gram - bound**2 * one, backend.xp)


def _positive(shifted: Array, xp: Namespace) -> bool:
    try:
        factor = xp.linalg.cholesky(shifted)
    except (ValueError, RuntimeError):  # the errors of NumPy and of torch
        return False
    return bool(xp.all(xp.isfinite(factor)))


def _hermitian(x: Array, xp: Namespace) -> Array:
    return (x + adjoint(x, xp=xp)) / 2
