"""Orthonormal bases of tall blocks: Q and R with Q R = X, and blocks orthogonal to a basis."""

import math

from specdesc._lib.arrays import adjoint, choose, per_batch
from specdesc._lib.dtypes import eps
from specdesc._lib.typing import Array
from specdesc._linalg.basic import frobenius, row_energies
from specdesc.backends import Backend
from specdesc.backends.creation import identity

#: Below this distance of QᴴQ to I an unshifted Cholesky factorization cannot fail.
CLOSE = 0.5

#: Rounds of shifted Cholesky before reflections take over. Each one divides the condition by about
#: 1 / sqrt(shift), 50 in single precision and 10^6 in double.
ROUNDS = 3


def qr(x: Array, /, *, backend: Backend) -> tuple[Array, Array]:
    """Return ``(q, r)`` with orthonormal columns in q, completed where x is deficient.

    Householder reflections are orthonormal for a zero or a rank-one block, but in some libraries
    they are hundreds of small calls, each of which may wait for a thread. There, and where code may
    look at values, rounds of Cholesky come first: two products of whole blocks each, and a look at
    whether they held. A backend says up to which size its reflections are the faster of the two.
    """
    if _reflects(x, backend):
        q, r = backend.xp.linalg.qr(x, mode="reduced")
        return q, r
    q, r, held = by_cholesky(x, backend=backend)
    if bool(backend.xp.all(held)):
        return q, r
    q, r = choose(held, (q, r), by_reflections(x, backend=backend), xp=backend.xp)
    return q, r


def against(y: Array, basis: Array, /, *, backend: Backend) -> Array:
    """Return orthonormal columns that are orthogonal to `basis` and span what is left of `y` there.

    `basis` has orthonormal columns. Where less is left than `y` has columns, the rest is any.
    """
    if _reflects(y, backend):
        return _reflected(y, basis, backend)
    q, _, held = by_cholesky(y, basis, backend=backend)
    if bool(backend.xp.all(held)):
        return q
    (q,) = choose(held, (q,), (_reflected(y, basis, backend),), xp=backend.xp)
    return q


def _reflects(x: Array, backend: Backend) -> bool:
    return not backend.branches or math.prod(x.shape[-2:]) <= backend.reflections


def _reflected(y: Array, basis: Array, backend: Backend) -> Array:
    # Three rounds: a deficient block gets columns that know nothing of the basis, the second round
    # takes the basis out of them, and the third what rounding has put back. Most blocks need no
    # third one, which is seen where code may look.
    xp, small = backend.xp, 4 * eps(backend.xp, y.dtype)
    for number in range(3):
        part = xp.matmul(adjoint(basis, xp=xp), y)
        if number == 2 and backend.branches and bool(xp.all(xp.abs(part) <= small)):
            break
        y, _ = by_reflections(y - xp.matmul(basis, part), backend=backend)
    return y


def by_reflections(x: Array, /, *, backend: Backend) -> tuple[Array, Array]:
    """Return what `qr` does, by the library's own."""
    q, r = backend.xp.linalg.qr(x, mode="reduced")
    return q, r


def by_cholesky(
    x: Array, basis: Array | None = None, /, *, backend: Backend
) -> tuple[Array, Array, Array]:
    """Factorize by Cholesky of the Gram matrix, and say for which matrices it held.

    Before each look at the Gram matrix, what a `basis` has of the block is taken out.
    """
    xp = backend.xp
    one = identity(x.shape[-1], x, backend=backend)
    # The shift exceeds what rounding can take from the smallest eigenvalue, so that the
    # factorization exists whatever the block is.
    shift = 4 * max(x.shape[-2:]) * eps(xp, x.dtype)
    q, r = x, None
    for _ in range(ROUNDS):
        unit, lengths = _unit(q, backend)
        upper = _upper(_gram(unit, backend) + shift * one, backend)
        q = xp.matmul(unit, xp.linalg.inv(upper))
        if basis is not None:
            q = _without(q, basis, backend)
        r = upper * lengths if r is None else xp.matmul(upper * lengths, r)
        gram = _gram(q, backend)
        held = frobenius(gram - one, xp=xp) < CLOSE
        if bool(xp.all(held)):
            break
    last = _upper(xp.where(held, gram, one), backend)
    return xp.matmul(q, xp.linalg.inv(last)), xp.matmul(last, r), per_batch(held)


def _unit(x: Array, backend: Backend) -> tuple[Array, Array]:
    """Divide the columns by their lengths: blocks are ill-conditioned by length alone."""
    xp = backend.xp
    lengths = xp.sqrt(row_energies(xp.matrix_transpose(x), xp=xp))[..., None, :]
    lengths = xp.astype(xp.where(lengths > 0, lengths, xp.ones_like(lengths)), x.dtype)
    return x / lengths, lengths


def _without(x: Array, basis: Array, backend: Backend) -> Array:
    xp = backend.xp
    return x - xp.matmul(basis, xp.matmul(adjoint(basis, xp=xp), x))


def _gram(x: Array, backend: Backend) -> Array:
    return backend.xp.matmul(adjoint(x, xp=backend.xp), x)


def _upper(gram: Array, backend: Backend) -> Array:
    return adjoint(backend.xp.linalg.cholesky(gram), xp=backend.xp)
