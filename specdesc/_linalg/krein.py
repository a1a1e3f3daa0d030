"""The formula of Daleckii and Krein: derivatives of functions of the singular values.

For x = U S Vᴴ let f act on the singular values. Its derivative in a direction E is (for odd
functions; derived), with F = Uᴴ E V,

    U [A ∘ (F + Fᴴ)/2 + B ∘ (F - Fᴴ)/2] Vᴴ + (I - U Uᴴ) E V D Vᴴ + U D Uᴴ E (I - V Vᴴ),

    A_ij = (f_i - f_j) / (s_i - s_j), B_ij = (f_i + f_j) / (s_i + s_j), D_i = f_i / s_i.

The tables are symmetric, so that the map is its own adjoint in Re <a, b>: one function serves
tangents and gradients.
"""

from typing import NamedTuple

from specdesc._lib.arrays import adjoint
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array, Namespace


class Tables(NamedTuple):
    """The values A, B (..., k, k) and D (..., k)."""

    even: Array
    odd: Array
    ratio: Array


def apply(u: Array, vh: Array, tables: Tables, direction: Array, /, *, xp: Namespace) -> Array:
    """Return the derivative in one direction, for the factors (..., m, k) and (..., k, n)."""
    direction = working(xp, direction)
    even, odd, ratio = (xp.astype(table, u.dtype) for table in tables)
    v, uh = adjoint(vh, xp=xp), adjoint(u, xp=xp)
    right = xp.matmul(uh, direction)
    f = xp.matmul(right, v)
    fh = adjoint(f, xp=xp)
    core = even * (f + fh) / 2 + odd * (f - fh) / 2
    rows, columns = direction.shape[-2:]
    if rows < columns:  # then U Uᴴ is the identity
        rest = ratio[..., :, None] * (right - xp.matmul(f, vh))
        return xp.matmul(u, xp.matmul(core, vh) + rest)
    if rows > columns:
        left = (xp.matmul(direction, v) - xp.matmul(u, f)) * ratio[..., None, :]
        return xp.matmul(xp.matmul(u, core) + left, vh)
    return xp.matmul(xp.matmul(u, core), vh)


def along(u: Array, vh: Array, direction: Array, /, *, xp: Namespace) -> Array:
    """Return Re diag(Uᴴ E V), (..., k): how the singular values move."""
    moved = xp.matmul(working(xp, direction), adjoint(vh, xp=xp))
    if u.dtype in (xp.complex64, xp.complex128):
        return xp.real(xp.sum(xp.conj(u) * moved, axis=-2))
    return xp.sum(u * moved, axis=-2)


def scaled(u: Array, s: Array, vh: Array, /, *, xp: Namespace) -> Array:
    """Return U diag(s) Vᴴ."""
    return xp.matmul(u * xp.astype(s, u.dtype)[..., None, :], vh)
