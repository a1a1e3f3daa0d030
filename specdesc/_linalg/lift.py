"""Functions of the singular values, with derivatives that are finite where these are equal.

y = U diag(w) Vᴴ for w = f(s) is put together from two functions that a library differentiates by
rules of ours: x to s, whose derivative needs U and V alone, and (x, w) to y, which holds how U and
V turn. What lies between is differentiated by the library, so that f may depend on other arrays.

Turning needs the quotients of `krein`. Where two numbers are equal, or so close that rounding
hides the difference of f, the quotient is the directional derivative of f: with the Jacobian J of
a function that treats all its numbers alike, and any directions 1 and v,

    A_ij = [(J v)_i - (J v)_j - ((J 1)_i - (J 1)_j) (v_i + v_j) / 2] / (v_i - v_j),

and where both are zero, B_ij = ((J 1)_i + (J 1)_j) / 2, as f is odd if it is smooth. Derived.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from specdesc._lib.dtypes import eps, smallest_normal
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg import krein
from specdesc._linalg.basic import diagonal, restore, thin_svd
from specdesc._linalg.krein import Tables
from specdesc.backends import Backend, Derivative
from specdesc.backends.creation import identity, scalar

Arrays = tuple[Array, ...]

#: Roundings that a difference of two values of f may have.
ROUNDINGS = 8.0

#: What a singular value of 0 is replaced by where f may have a corner: the smallest number times
#: this.
ABOVE = 2.0**10


class Slopes(NamedTuple):
    """J 1 and J v for v_i = 1 + i / k."""

    ones: Array
    graded: Array


def slopes(function: Callable[[Array], Array], s: Array, /, *, backend: Backend) -> Slopes:
    """Return what is needed of the derivative of a function of numbers along the last axis."""
    one = backend.xp.ones_like(s)
    # As many axes as the numbers: JAX may be told to broadcast no others.
    grades = backend.xp.reshape(_grades(s, backend), (*(1,) * (s.ndim - 1), s.shape[-1]))
    found = (
        backend.frozen(backend.differential(function, s, direction))
        for direction in (one, one * grades)
    )
    return Slopes(*found)


def above_zero(s: Array, /, *, backend: Backend) -> Array:
    """Return numbers of at least 0 with the zeros moved to where f has no corner."""
    least = smallest_normal(backend.xp, s.dtype) * ABOVE
    return backend.xp.clip(s, min=least)


def quotients(s: Array, w: Array, given: Slopes, longest: int, /, *, backend: Backend) -> Array:
    """Return (w_i - w_j) / (s_i - s_j) off the diagonal, and the slope where rounding hides it.

    Numbers that differ by less than the rounding of a decomposition may have values that differ by
    that of the largest.
    """
    xp, unit = backend.xp, eps(backend.xp, s.dtype)
    v = _grades(s, backend)
    one = identity(s.shape[-1], s, backend=backend)
    apart = v[:, None] - v[None, :] + one
    middle = (v[:, None] + v[None, :]) / 2
    slope = (_minus(given.graded) - _minus(given.ones) * middle) / apart
    moved, length = _minus(w), _minus(s)
    values = _plus(xp.abs(w))
    close = xp.abs(length) <= 2.0 * longest * unit * _largest(s, xp)
    values = xp.where(close, xp.maximum(values, _largest(w, xp)), values)
    rounding = ROUNDINGS * unit * (values + xp.abs(slope) * _plus(xp.abs(s)))
    told = (xp.abs(moved - slope * length) > rounding) & (length != 0)
    quotient = moved / xp.where(told, length, xp.ones_like(length))
    return xp.where(told, quotient, slope) * (1.0 - one)


def _sums(s: Array, w: Array, given: Slopes, longest: int, /, *, backend: Backend) -> Array:
    """Return (w_i + w_j) / (s_i + s_j), and the slope at 0 where both numbers are rounding.

    A function that jumps at 0 has no slope there: directions of rounding size stay.
    """
    xp, unit = backend.xp, eps(backend.xp, s.dtype)
    total, slope = _plus(s), _plus(given.ones) / 2
    small = total <= 2.0 * longest * unit * s[..., :1, None]
    off = xp.abs(_plus(w) - slope * total)
    smooth = off <= ROUNDINGS * unit * (_largest(w, xp) + xp.abs(slope) * total)
    near = (small & (smooth | (slope == 0))) | (total == 0)
    return xp.where(near, slope, _plus(w) / xp.where(near, xp.ones_like(total), total))


def _tables(s: Array, w: Array, given: Slopes, longest: int, /, *, backend: Backend) -> Tables:
    """Return the tables of f without what it does to s itself, but at 0, where s has a corner."""
    xp = backend.xp
    odd = _sums(s, w, given, longest, backend=backend)
    one = identity(s.shape[-1], s, backend=backend)
    corner = xp.where(s == 0, given.ones, xp.zeros_like(s))
    even = quotients(s, w, given, longest, backend=backend) + one * corner[..., None, :]
    return Tables(even, odd, diagonal(odd, xp=xp))


@dataclass(frozen=True)
class Decomposed:
    """A stack, finite or not, with the SVD of a finite one, through which no derivative flows.

    Or Hermitian matrices with their eigenvalues and vectors: these are `signed`, and 0 is a number
    like others.
    """

    matrix: Array
    u: Array
    s: Array
    vh: Array
    finite: Array  # (..., 1, 1)
    signed: bool = False


def singular_values(x: Decomposed, /, *, backend: Backend) -> Array:
    """Return the values as a function of the matrix; a singular value 0 has the derivative 0."""
    xp = backend.xp

    def function(_: Array, __: Array, s: Array, ___: Array, ____: Array) -> Arrays:
        return (s,)

    def tangent(arrays: Arrays, moves: Arrays) -> Arrays:
        _, u, s, vh, whole = arrays
        moved = krein.along(u, vh, moves[0], xp=xp) * whole[..., 0]
        return (moved if x.signed else xp.where(s > 0, moved, xp.zeros_like(moved)),)

    def cotangent(arrays: Arrays, given: Arrays) -> Arrays:
        _, u, s, vh, whole = arrays
        kept = given[0] if x.signed else xp.where(s > 0, given[0], xp.zeros_like(given[0]))
        return (krein.scaled(u, kept * whole[..., 0], vh, xp=xp),)

    rule = Derivative(tangent, cotangent, twice=False)
    arrays = (x.matrix, x.u, x.s, x.vh, _whole(x, backend))
    return backend.differentiable(function, rule)(*arrays)[0]


def with_values(
    x: Decomposed, w: Array, function: Callable[[Array], Array], /, *, backend: Backend
) -> Array:
    """Return U diag(w) Vᴴ for w = function(singular_values), NaN where `x` is not finite."""
    xp, longest = backend.xp, max(x.matrix.shape[-2:])
    where = x.s if x.signed else above_zero(x.s, backend=backend)
    given = slopes(function, where, backend=backend)

    def put_together(_: Array, w: Array, *rest: Array) -> Arrays:
        u, _, vh, *_, whole = rest
        return (krein.scaled(u, w, vh, xp=xp) * xp.astype(whole, u.dtype),)

    def turned(direction: Array, arrays: Arrays) -> Array:
        _, w, u, s, vh, ones, graded, whole = arrays
        given = Slopes(ones, graded)
        if x.signed:
            even = quotients(s, w, given, longest, backend=backend)
            tables = Tables(even, even, s)
        else:
            tables = _tables(s, w, given, longest, backend=backend)
        return krein.apply(u, vh, tables, direction, xp=xp) * xp.astype(whole, u.dtype)

    def tangent(arrays: Arrays, moves: Arrays) -> Arrays:
        u, vh, whole = arrays[2], arrays[4], arrays[-1]
        grown = krein.scaled(u, moves[1], vh, xp=xp) * xp.astype(whole, u.dtype)
        return (turned(moves[0], arrays) + grown,)

    def cotangent(arrays: Arrays, given: Arrays) -> Arrays:
        u, vh, whole = arrays[2], arrays[4], arrays[-1]
        grown = krein.along(u, vh, given[0], xp=xp) * whole[..., 0]
        return turned(given[0], arrays), grown

    rule = Derivative(tangent, cotangent, inputs=2, twice=False)
    arrays = (x.matrix, w, x.u, x.s, x.vh, given.ones, given.graded, _whole(x, backend))
    return backend.differentiable(put_together, rule)(*arrays)[0]


def of_each(function: Callable[[Array], Array], /, *, backend: Backend) -> Derivative:
    """Return the derivative of U diag(f(s_1), f(s_2), ...) Vᴴ, whatever way it is computed.

    f is odd and smooth. One SVD of the matrix, which is finite.
    """
    xp = backend.xp

    def tangent(arrays: Arrays, moves: Arrays) -> Arrays:
        x = arrays[0]
        u, s, vh = thin_svd(x, xp=xp)
        given = slopes(function, above_zero(s, backend=backend), backend=backend)
        tables = _tables(s, function(s), given, max(x.shape[-2:]), backend=backend)
        own = xp.where(s > 0, given.ones, xp.zeros_like(s))
        one = identity(s.shape[-1], s, backend=backend)
        tables = tables._replace(even=tables.even + one * own[..., None, :])
        return (krein.apply(u, vh, tables, moves[0], xp=xp),)

    return Derivative(tangent, tangent, twice=False)


def in_place_of(point: Array, y: Array, /, *, backend: Backend) -> Array:
    """Return y, with the derivative of a point that it equals up to rounding."""

    def function(_: Array, y: Array) -> Arrays:
        return (y,)

    rule = Derivative(lambda _, moves: moves, lambda _, given: given)
    return backend.differentiable(function, rule)(point, backend.frozen(y))[0]


def _whole(x: Decomposed, backend: Backend) -> Array:
    """Return 1 for each matrix, NaN for one that was not finite: a factor, to stay linear."""
    one = scalar(backend, 1.0, x.s)
    return restore(one + backend.xp.zeros_like(x.s[..., :1, None]), x.finite, backend=backend)


def _grades(s: Array, backend: Backend) -> Array:
    """Return the direction v: no two numbers are equal, none is small."""
    count = s.shape[-1]
    steps = backend.xp.arange(count, dtype=s.dtype, device=backend.placement)
    return 1.0 + steps / count


def _largest(x: Array, xp: Namespace) -> Array:
    """Return the largest size, with two axes of 1."""
    return xp.max(xp.abs(x), axis=-1)[..., None, None]


def _minus(x: Array) -> Array:
    return x[..., :, None] - x[..., None, :]


def _plus(x: Array) -> Array:
    return x[..., :, None] + x[..., None, :]
