"""Derivatives of the polar factor, of both polar parts, and of clipping: `krein` with tables.

For the polar factor A is zero and nothing divides by s_i - s_j; for clipping A lies in [0, 1].
"""

from functools import partial
from typing import NamedTuple

from specdesc._lib.arrays import adjoint
from specdesc._lib.dtypes import eps, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg import krein
from specdesc._linalg.basic import Balanced, balance, restore, thin_svd
from specdesc._linalg.krein import Tables
from specdesc.backends import Backend, Derivative

#: Singular values that differ by this many roundings are taken for different.
ROUNDINGS = 4.0

#: What a function takes and what it returns.
Arrays = tuple[Array, ...]


class _Factors(NamedTuple):
    """A balanced matrix and its thin SVD."""

    balanced: Balanced
    u: Array
    s: Array
    vh: Array


def of_factor(floor: float, /, *, backend: Backend) -> Derivative:
    """Return the derivative of U Vᴴ over the directions with s_i > max(floor, max(m, n) eps) s_1.

    The others are taken to be zero and to stay so: it is the derivative along matrices of one rank.
    """

    def tangent(arrays: Arrays, moves: Arrays) -> Arrays:
        x = arrays[0]
        factors = _take_apart(x, backend)
        kept = _kept(factors, floor, backend.xp)
        moved = _apply(factors, _isometry(factors, kept, backend.xp), moves[0], backend)
        return (_finish(moved * _inverse_scale(factors, backend), x, backend),)

    return Derivative(tangent, tangent, where=partial(_distinct, backend=backend))


def of_polar(side: str, /, *, backend: Backend) -> Derivative:
    """Return the derivative of both parts of a polar decomposition, x = U P or x = P U."""
    right = _of_right_polar(backend)
    if side == "right":
        return right
    xp = backend.xp

    # x = P U says xᴴ = Uᴴ P.
    def tangent(arrays: Arrays, moves: Arrays) -> Arrays:
        turned = (adjoint(moves[0], xp=xp),)
        unitary, hermitian = right.tangent((adjoint(arrays[0], xp=xp),), turned)
        return adjoint(unitary, xp=xp), hermitian

    def cotangent(arrays: Arrays, given: Arrays) -> Arrays:
        flipped = (adjoint(given[0], xp=xp), given[1])
        (gradient,) = right.cotangent((adjoint(arrays[0], xp=xp),), flipped)
        return (adjoint(gradient, xp=xp),)

    where = partial(_distinct, backend=backend)
    return Derivative(tangent, cotangent, outputs=2, where=where)


def of_clip(*, backend: Backend) -> Derivative:
    """Return the derivative of U min(S, r) Vᴴ in the matrix and in r, which has shape (..., 1, 1).

    On the limit itself nothing is clipped yet.
    """
    xp = backend.xp

    def parts(arrays: Arrays) -> tuple[_Factors, Tables, Array]:
        x, radius = arrays
        factors = _take_apart(x, backend)
        limit = (radius / factors.balanced.scale)[..., 0]
        clipped = xp.astype(factors.s > limit, factors.s.dtype) * _whole(factors, backend)[..., 0]
        return factors, _clipping(factors.s, limit, xp), clipped

    def tangent(arrays: Arrays, moves: Arrays) -> Arrays:
        factors, tables, clipped = parts(arrays)
        moved = _apply(factors, tables, moves[0], backend) * _whole(factors, backend)
        grown = krein.scaled(factors.u, clipped * moves[1][..., 0], factors.vh, xp=xp)
        return (_finish(moved + grown, arrays[0], backend),)

    def cotangent(arrays: Arrays, given: Arrays) -> Arrays:
        factors, tables, clipped = parts(arrays)
        gradient = _apply(factors, tables, given[0], backend) * _whole(factors, backend)
        each = clipped * krein.along(factors.u, factors.vh, given[0], xp=xp)
        grown = xp.sum(each, axis=-1, keepdims=True)[..., None]
        return _finish(gradient, arrays[0], backend), xp.astype(grown, arrays[1].dtype, copy=False)

    where = partial(_distinct, backend=backend)
    return Derivative(tangent, cotangent, inputs=2, where=where)


def _of_right_polar(backend: Backend) -> Derivative:
    """Differentiate P = Uᴴ x by the product rule; directions of rounding size stay zero."""
    xp = backend.xp

    def parts(x: Array) -> tuple[_Factors, Tables, Array]:
        factors = _take_apart(x, backend)
        kept = _kept(factors, 0.0, xp)
        unitary = xp.matmul(factors.u * xp.astype(kept, factors.u.dtype)[..., None, :], factors.vh)
        return factors, _isometry(factors, kept, xp), unitary

    def tangent(arrays: Arrays, moves: Arrays) -> Arrays:
        (x,), (dx,) = arrays[:1], moves
        factors, tables, unitary = parts(x)
        moved = _apply(factors, tables, dx, backend)
        grown = xp.matmul(adjoint(moved, xp=xp), factors.balanced.matrix)
        grown = _hermitian(grown + xp.matmul(adjoint(unitary, xp=xp), working(xp, dx)), xp)
        return (
            _finish(moved * _inverse_scale(factors, backend), x, backend),
            _finish(grown * _whole(factors, backend), x, backend),
        )

    def cotangent(arrays: Arrays, given: Arrays) -> Arrays:
        x = arrays[0]
        factors, tables, unitary = parts(x)
        grown = _hermitian(working(xp, given[1]), xp)
        pulled = xp.matmul(factors.balanced.matrix, grown)
        first = _apply(factors, tables, given[0], backend)
        second = _apply(factors, tables, pulled, backend) + xp.matmul(unitary, grown)
        gradient = first * _inverse_scale(factors, backend) + second * _whole(factors, backend)
        return (_finish(gradient, x, backend),)

    where = partial(_distinct, backend=backend)
    return Derivative(tangent, cotangent, outputs=2, where=where)


def _distinct(x: Array, /, *, backend: Backend) -> Array:
    """Say of which matrices the rules may be differentiated: that divides by differences of s."""
    xp = backend.xp
    s = xp.linalg.svdvals(balance(working(xp, x), backend=backend).matrix)
    level = ROUNDINGS * max(x.shape[-2:]) * eps(xp, s.dtype) * s[..., :1]
    apart = xp.all(s[..., :-1] - s[..., 1:] > level, axis=-1)
    return apart & xp.all(s > level, axis=-1)


def _take_apart(x: Array, backend: Backend) -> _Factors:
    balanced = balance(working(backend.xp, x), backend=backend)
    return _Factors(balanced, *thin_svd(balanced.matrix, xp=backend.xp))


def _kept(factors: _Factors, floor: float, xp: Namespace) -> Array:
    """Say which directions count: those above the floor and above rounding."""
    s, shape = factors.s, factors.balanced.matrix.shape
    return s > max(floor, max(shape[-2:]) * eps(xp, s.dtype)) * s[..., :1]


def _isometry(factors: _Factors, kept: Array, xp: Namespace) -> Tables:
    """Return the tables of f = 1 on the kept directions and 0 on the others, which are zero."""
    one = xp.ones_like(factors.s)
    none = xp.zeros_like(one)
    s = xp.where(kept, factors.s, none)
    total = s[..., :, None] + s[..., None, :]
    count = xp.astype(kept, s.dtype)
    count = count[..., :, None] + count[..., None, :]
    odd = count / xp.where(total > 0, total, xp.ones_like(total))
    return Tables(
        even=xp.where(count == 1, odd, xp.zeros_like(odd)),
        odd=odd,
        ratio=xp.where(kept, one / xp.where(kept, s, one), none),
    )


def _clipping(s: Array, limit: Array, xp: Namespace) -> Tables:
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
    return Tables(
        even=xp.where(rows & columns, ones, mixed),
        odd=xp.where(total > 0, kept / xp.where(total > 0, total, ones), ones),
        ratio=xp.where(s > 0, clipped / xp.where(s > 0, s, one), one),
    )


def _apply(factors: _Factors, tables: Tables, direction: Array, backend: Backend) -> Array:
    """Return the derivative at the balanced matrix in one direction."""
    return krein.apply(factors.u, factors.vh, tables, direction, xp=backend.xp)


def _hermitian(x: Array, xp: Namespace) -> Array:
    return (x + adjoint(x, xp=xp)) / 2


def _whole(factors: _Factors, backend: Backend) -> Array:
    """Return 1 for each matrix, NaN for one that was not finite: a factor, to stay linear."""
    finite = factors.balanced.finite
    one = backend.xp.ones_like(factors.balanced.scale)
    return restore(one, finite, backend=backend)


def _inverse_scale(factors: _Factors, backend: Backend) -> Array:
    return _whole(factors, backend) / factors.balanced.scale


def _finish(moved: Array, x: Array, backend: Backend) -> Array:
    return backend.xp.astype(moved, x.dtype, copy=False)
