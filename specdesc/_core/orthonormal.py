"""Orthonormal bases of tall blocks: Q and R with Q R = X."""

from specdesc._array import eps
from specdesc._core.linalg import (
    adjoint,
    choose,
    frobenius,
    identity,
    per_batch,
    row_energies,
)
from specdesc._typing import Array
from specdesc.backends import Backend

#: Below this distance of QᴴQ to I the second Cholesky factorization cannot fail.
CLOSE = 0.5


def qr(x: Array, /, *, backend: Backend) -> tuple[Array, Array]:
    """Return ``(q, r)`` with orthonormal columns in q, completed where x is deficient.

    Householder reflections are orthonormal for a zero or a rank-one block, but they are hundreds of
    small calls into LAPACK, each of which may wait for a thread. Where code may look at values,
    two rounds of Cholesky come first: four products of whole blocks, and a look at whether they
    held.
    """
    if not backend.may_branch(x):
        return _by_householder(x, backend)
    found, held = _by_cholesky(x, backend)
    if bool(backend.xp.all(held)):
        return found
    q, r = choose(held, found, _by_householder(x, backend), xp=backend.xp)
    return q, r


def _by_householder(x: Array, backend: Backend) -> tuple[Array, Array]:
    q, r = backend.xp.linalg.qr(x, mode="reduced")
    return q, r


def _by_cholesky(x: Array, backend: Backend) -> tuple[tuple[Array, Array], Array]:
    """Factorize by Cholesky of the Gram matrix twice, and say for which matrices it held."""
    xp = backend.xp
    # Columns of length one: the blocks of subspace iteration are ill-conditioned by length alone.
    lengths = xp.sqrt(row_energies(xp.matrix_transpose(x), xp=xp))[..., None, :]
    lengths = xp.where(lengths > 0, lengths, xp.ones_like(lengths))
    unit = x / xp.astype(lengths, x.dtype)
    # The shift exceeds what rounding can take from the smallest eigenvalue, so that the
    # factorization exists whatever the block is.
    shift = 4 * max(x.shape[-2:]) * eps(xp, x.dtype)
    one = identity(x.shape[-1], x, backend=backend)
    upper = _upper(_gram(unit, backend) + shift * one, backend)
    q = xp.matmul(unit, xp.linalg.inv(upper))
    gram = _gram(q, backend)
    held = frobenius(gram - one, xp=xp) < CLOSE
    again = _upper(xp.where(held, gram, one), backend)
    r = xp.matmul(again, upper) * xp.astype(lengths, x.dtype)
    return (xp.matmul(q, xp.linalg.inv(again)), r), per_batch(held)


def _gram(x: Array, backend: Backend) -> Array:
    return backend.xp.matmul(adjoint(x, xp=backend.xp), x)


def _upper(gram: Array, backend: Backend) -> Array:
    return adjoint(backend.xp.linalg.cholesky(gram), xp=backend.xp)
