"""Derivatives of functions of the singular values, finite also where singular values are equal.

For x = U S Vᴴ let f act on the singular values. Its derivative in a direction E is (Daleckii and
Krein, for odd functions; derived), with F = Uᴴ E V,

    U [A ∘ (F + Fᴴ)/2 + B ∘ (F - Fᴴ)/2] Vᴴ + (I - U Uᴴ) E V D Vᴴ + U D Uᴴ E (I - V Vᴴ),

    A_ij = (f_i - f_j) / (s_i - s_j), B_ij = (f_i + f_j) / (s_i + s_j), D_i = f_i / s_i.

The tables are symmetric, so that the map is its own adjoint in Re <a, b>: one function serves
tangents and gradients. For the polar factor A is zero and nothing divides by s_i - s_j; for
clipping A lies in [0, 1].
"""

from typing import NamedTuple

from specdesc._lib.arrays import adjoint
from specdesc._lib.dtypes import eps, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg.basic import Balanced, balance, thin_svd
from specdesc.backends import Backend, Derivative
from specdesc.backends.creation import scalar


class _Factors(NamedTuple):
    """A balanced matrix and its thin SVD."""

    balanced: Balanced
    u: Array
    s: Array
    vh: Array


class _Tables(NamedTuple):
    """The values A, B (..., k, k) and D (..., k)."""

    even: Array
    odd: Array
    ratio: Array


def of_factor(floor: float, /, *, backend: Backend) -> Derivative:
    """Return the derivative of U Vᴴ over the directions with s_i > max(floor, max(m, n) eps) s_1.

    The others are taken to be zero and to stay so: it is the derivative along matrices of one rank.
    """

    def tangent(x: Array, dx: Array) -> tuple[Array]:
        factors = _take_apart(x, backend)
        kept = _kept(factors, floor, backend.xp)
        moved = _apply(factors, _isometry(factors, kept, backend.xp), dx, backend)
        return (_finish(moved * _inverse_scale(factors, backend), x, backend),)

    def cotangent(x: Array, given: tuple[Array, ...]) -> Array:
        return tangent(x, given[0])[0]

    return Derivative(tangent, cotangent, outputs=1)


def of_polar(side: str, /, *, backend: Backend) -> Derivative:
    """Return the derivative of both parts of a polar decomposition, x = U P or x = P U."""
    right = _of_right_polar(backend)
    if side == "right":
        return right
    xp = backend.xp

    # x = P U says xᴴ = Uᴴ P.
    def tangent(x: Array, dx: Array) -> tuple[Array, Array]:
        unitary, hermitian = right.tangent(adjoint(x, xp=xp), adjoint(dx, xp=xp))
        return adjoint(unitary, xp=xp), hermitian

    def cotangent(x: Array, given: tuple[Array, ...]) -> Array:
        flipped = (adjoint(given[0], xp=xp), given[1])
        return adjoint(right.cotangent(adjoint(x, xp=xp), flipped), xp=xp)

    return Derivative(tangent, cotangent, outputs=2)


def of_clip(*, backend: Backend) -> Derivative:
    """Return the derivative of U min(S, r) Vᴴ; r comes as (..., 1, 1) beside the matrix."""

    def tangent(x: Array, dx: Array, radius: Array) -> tuple[Array]:
        factors = _take_apart(x, backend)
        limit = (radius / factors.balanced.scale)[..., 0]
        moved = _apply(factors, _clipping(factors.s, limit, backend.xp), dx, backend)
        return (_finish(moved * _whole(factors, backend), x, backend),)

    def cotangent(x: Array, given: tuple[Array, ...], radius: Array) -> Array:
        return tangent(x, given[0], radius)[0]

    return Derivative(tangent, cotangent, outputs=1)


def _of_right_polar(backend: Backend) -> Derivative:
    """Differentiate P = Uᴴ x by the product rule; directions of rounding size stay zero."""
    xp = backend.xp

    def parts(x: Array) -> tuple[_Factors, _Tables, Array]:
        factors = _take_apart(x, backend)
        kept = _kept(factors, 0.0, xp)
        unitary = xp.matmul(factors.u * xp.astype(kept, factors.u.dtype)[..., None, :], factors.vh)
        return factors, _isometry(factors, kept, xp), unitary

    def tangent(x: Array, dx: Array) -> tuple[Array, Array]:
        factors, tables, unitary = parts(x)
        moved = _apply(factors, tables, dx, backend)
        grown = xp.matmul(adjoint(moved, xp=xp), factors.balanced.matrix)
        grown = _hermitian(grown + xp.matmul(adjoint(unitary, xp=xp), working(xp, dx)), xp)
        return (
            _finish(moved * _inverse_scale(factors, backend), x, backend),
            _finish(grown * _whole(factors, backend), x, backend),
        )

    def cotangent(x: Array, given: tuple[Array, ...]) -> Array:
        factors, tables, unitary = parts(x)
        grown = _hermitian(working(xp, given[1]), xp)
        pulled = xp.matmul(factors.balanced.matrix, grown)
        first = _apply(factors, tables, given[0], backend)
        second = _apply(factors, tables, pulled, backend) + xp.matmul(unitary, grown)
        gradient = first * _inverse_scale(factors, backend) + second * _whole(factors, backend)
        return _finish(gradient, x, backend)

    return Derivative(tangent, cotangent, outputs=2)


def _take_apart(x: Array, backend: Backend) -> _Factors:
    balanced = balance(working(backend.xp, x), backend=backend)
    return _Factors(balanced, *thin_svd(balanced.matrix, xp=backend.xp))


def _kept(factors: _Factors, floor: float, xp: Namespace) -> Array:
    """Say which directions count: those above the floor and above rounding."""
    s, shape = factors.s, factors.balanced.matrix.shape
    return s > max(floor, max(shape[-2:]) * eps(xp, s.dtype)) * s[..., :1]


def _isometry(factors: _Factors, kept: Array, xp: Namespace) -> _Tables:
    """Return the tables of f = 1 on the kept directions and 0 on the others, which are zero."""
    one = xp.ones_like(factors.s)
    none = xp.zeros_like(one)
    s = xp.where(kept, factors.s, none)
    total = s[..., :, None] + s[..., None, :]
    count = xp.astype(kept, s.dtype)
    count = count[..., :, None] + count[..., None, :]
    odd = count / xp.where(total > 0, total, xp.ones_like(total))
    return _Tables(
        even=xp.where(count == 1, odd, xp.zeros_like(odd)),
        odd=odd,
        ratio=xp.where(kept, one / xp.where(kept, s, one), none),
    )


def _clipping(s: Array, limit: Array, xp: Namespace) -> _Tables:
    """Return the tables of f = min(s, limit); on the limit itself nothing is clipped yet."""
    one, clipped = xp.ones_like(s), xp.minimum(s, limit * xp.ones_like(s))
    inside = s <= limit
    rows, columns = (inside[..., :, None], inside[..., None, :])
    apart = xp.abs(s[..., :, None] - s[..., None, :])
    moved = xp.abs(clipped[..., :, None] - clipped[..., None, :])
    total = s[..., :, None] + s[..., None, :]
    kept = clipped[..., :, None] + clipped[..., None, :]
    ones, none = xp.ones_like(total), xp.zeros_like(total)
    mixed = xp.where(rows != columns, moved / xp.where(apart > 0, apart, ones), none)
    return _Tables(
        even=xp.where(rows & columns, ones, mixed),
        odd=xp.where(total > 0, kept / xp.where(total > 0, total, ones), ones),
        ratio=xp.where(s > 0, clipped / xp.where(s > 0, s, one), one),
    )


def _apply(factors: _Factors, tables: _Tables, direction: Array, backend: Backend) -> Array:
    """Return the derivative at the balanced matrix in one direction."""
    xp = backend.xp
    u, vh = factors.u, factors.vh
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


def _hermitian(x: Array, xp: Namespace) -> Array:
    return (x + adjoint(x, xp=xp)) / 2


def _whole(factors: _Factors, backend: Backend) -> Array:
    """Return 1 for each matrix, NaN for one that was not finite: a factor, to stay linear."""
    xp, finite = backend.xp, factors.balanced.finite
    one = xp.ones_like(factors.balanced.scale)
    return xp.where(finite, one, scalar(backend, float("nan"), one))


def _inverse_scale(factors: _Factors, backend: Backend) -> Array:
    return _whole(factors, backend) / factors.balanced.scale


def _finish(moved: Array, x: Array, backend: Backend) -> Array:
    return backend.xp.astype(moved, x.dtype, copy=False)
