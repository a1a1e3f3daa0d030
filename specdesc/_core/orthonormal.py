"""Orthonormal bases of tall blocks: Q and R with Q R = X."""

from specdesc._array import eps
from specdesc._core.linalg import adjoint, frobenius, identity, row_energies
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
    if backend.may_branch(x):
        found = _by_cholesky(x, backend)
        if found is not None:
            return found
    q, r = backend.xp.linalg.qr(x, mode="reduced")
    return q, r


def _by_cholesky(x: Array, backend: Backend) -> tuple[Array, Array] | None:
    """Factorize by Cholesky of the Gram matrix twice, or return None where x is too deficient."""
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
    if not bool(xp.all(frobenius(gram - one, xp=xp) < CLOSE)):
        return None
    again = _upper(gram, backend)
    r = xp.matmul(again, upper) * xp.astype(lengths, x.dtype)
    return xp.matmul(q, xp.linalg.inv(again)), r


def _gram(x: Array, backend: Backend) -> Array:
    return backend.xp.matmul(adjoint(x, xp=backend.xp), x)


def _upper(gram: Array, backend: Backend) -> Array:
    return adjoint(backend.xp.linalg.cholesky(gram), xp=backend.xp)
