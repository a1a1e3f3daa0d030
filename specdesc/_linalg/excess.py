"""The few singular values of a matrix that lie beyond a radius, where code may look at values."""

import math
from typing import NamedTuple

from specdesc._lib.arrays import adjoint, per_batch
from specdesc._lib.dtypes import eps
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg import subspace
from specdesc._linalg.basic import frobenius, row_energies, thin_svd
from specdesc._linalg.orthonormal import against, qr
from specdesc.backends import Backend
from specdesc.backends.creation import identity

#: Columns of the block, and the largest share of the short side that it may be.
COLUMNS, SHARE = 32, 0.125

#: Passes at most, and degrees of the polynomial of each: beyond them the dense way costs less.
PASSES, DEGREE = 16, 24


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
    goal = 0.25 * max(x.shape[-2:]) * eps(xp, x.dtype) / math.sqrt(columns)
    block = subspace.random_block(tuple(gram.shape), columns, 0, gram, backend=backend)
    q, _ = qr(xp.matmul(gram, block), backend=backend)
    settled = Settled(q[..., :0], xp.zeros_like(xp.real(q[:1, :0])))
    largest = 0.0
    for number in range(PASSES):
        pairs = _rayleigh_ritz(gram, settled, q, xp)
        largest = max(largest, pairs.squares[-1])
        outside = sum(square > most**2 for square in pairs.squares)
        if outside == len(pairs.squares):
            return None
        if outside == 0 and number > 0:
            if settled.q.shape[-1] == 0:
                none = pairs.q[..., :0]
                return Excess(none, pairs.values[..., :0], adjoint(none, xp=xp), 0.0)
            return _project(x, xp.concat([pairs.q, settled.q], axis=-1), radius, backend)
        converged = _converged(pairs, goal, most, largest, xp)
        new = [i for i, done in enumerate(converged) if done and pairs.squares[i] > most**2]
        settled = settled.joined(new, pairs, xp)
        pairs = pairs.only([i for i in range(len(converged)) if i not in new], backend)
        if outside > 0 and all(converged[-outside:]):
            return _project(x, xp.concat([pairs.q, settled.q], axis=-1), radius, backend)
        y = _filtered(gram, settled, pairs, radius**2, xp)
        q = against(y, settled.q, backend=backend)
    return _project(x, xp.concat([q, settled.q], axis=-1), radius, backend)


class Ritz(NamedTuple):
    """Approximate eigenpairs of the Gram matrix, ascending."""

    q: Array  # (m, b), orthonormal columns
    image: Array  # what the rest of the Gram matrix makes of them
    values: Array  # (b,)
    squares: list[float]  # the same, on the host

    def only(self, chosen: list[int], backend: Backend) -> "Ritz":
        """Keep the chosen pairs."""
        xp = backend.xp
        index = xp.asarray(chosen, device=backend.placement)
        q, image = (xp.take(y, index, axis=-1) for y in (self.q, self.image))
        squares = [self.squares[i] for i in chosen]
        return Ritz(q, image, xp.take(self.values, index, axis=-1), squares)


class Settled(NamedTuple):
    """Eigenpairs of the Gram matrix that are settled: iteration goes on without them.

    Next to large values, those near the radius would grow too slowly to be seen.
    """

    q: Array  # (m, c)
    squares: Array  # (1, c)

    def joined(self, chosen: list[int], pairs: Ritz, xp: Namespace) -> "Settled":
        """Add the chosen pairs."""
        if not chosen:
            return self
        columns = [self.q, *(pairs.q[:, i : i + 1] for i in chosen)]
        squares = [self.squares, *(pairs.values[None, i : i + 1] for i in chosen)]
        return Settled(xp.concat(columns, axis=-1), xp.concat(squares, axis=-1))


def _rayleigh_ritz(gram: Array, settled: Settled, q: Array, xp: Namespace) -> Ritz:
    image = _rest(gram, settled, q, xp)
    values, turn = xp.linalg.eigh(_hermitian(xp.matmul(adjoint(q, xp=xp), image), xp))
    q, image = xp.matmul(q, turn), xp.matmul(image, turn)
    return Ritz(q, image, values, [float(values[i]) for i in range(q.shape[-1])])


def _converged(pairs: Ritz, goal: float, most: float, largest: float, xp: Namespace) -> list[bool]:
    """Say which pairs are as accurate as the caller asks."""
    # G q - q s² = s (X v - q s), and the caller asks for X v - q s relative to s_1.
    wrong = pairs.image - pairs.q * xp.astype(pairs.values, pairs.q.dtype)
    lengths = xp.sqrt(row_energies(xp.matrix_transpose(wrong), xp=xp))
    return [
        float(lengths[i]) <= goal * math.sqrt(max(square, most**2) * largest)
        for i, square in enumerate(pairs.squares)
    ]


def _rest(gram: Array, settled: Settled, y: Array, xp: Namespace) -> Array:
    """Multiply with what the Gram matrix is beside the eigenpairs that are settled."""
    image = xp.matmul(gram, y)
    if settled.q.shape[-1] == 0:
        return image
    part = xp.matmul(adjoint(settled.q, xp=xp), y)
    return image - xp.matmul(settled.q * xp.astype(settled.squares, y.dtype), part)


def _filtered(gram: Array, settled: Settled, pairs: Ritz, inside: float, xp: Namespace) -> Array:
    """Apply the Chebyshev polynomial of [0, inside] that amplifies the largest value enough."""
    q, image = pairs.q, pairs.image
    growth = math.acosh(max(2.0 * pairs.squares[-1] / inside - 1.0, 1.0 + 1e-6))
    # So that columns stay apart: what has grown by more would hide half of the digits of the rest.
    most = -math.log(eps(xp, q.dtype)) / 2
    degree = min(max(int(most / growth), 1), DEGREE)
    before, last = q, (2.0 / inside) * image - q
    for _ in range(degree - 1):
        step = _rest(gram, settled, last, xp)
        before, last = last, (4.0 / inside) * step - 2.0 * last - before
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
