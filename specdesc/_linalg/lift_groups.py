"""Functions of the norms of groups of entries, with derivatives that are finite at groups of zeros.

y = q w for a group of norm s and direction q = x / s, with w = f(s), moves by

    (w / s) (dx - q Re <q, dx>) + q dw,

and where the group is zero by f'(0) dx, as f is odd if it is smooth. Derived.
"""

from collections.abc import Callable
from dataclasses import dataclass

from specdesc._lib.typing import Array, Namespace
from specdesc._linalg.lift import Arrays, above_zero
from specdesc.backends import Backend, Derivative


@dataclass(frozen=True)
class Grouped:
    """A finite stack with the directions and the norms of its groups, as constants."""

    matrix: Array
    direction: Array  # zero for a group of zeros
    norms: Array  # with the axes of the groups kept as 1
    axes: tuple[int, ...]


def norms(x: Grouped, /, *, backend: Backend) -> Array:
    """Return the norms as a function of the matrix; that of zeros has the derivative 0."""
    xp = backend.xp

    def function(_: Array, __: Array, sizes: Array) -> Arrays:
        return (sizes,)

    def tangent(arrays: Arrays, moves: Arrays) -> Arrays:
        return (_along(arrays[1], moves[0], x.axes, xp),)

    def cotangent(arrays: Arrays, given: Arrays) -> Arrays:
        return (arrays[1] * xp.astype(given[0], arrays[1].dtype),)

    rule = Derivative(tangent, cotangent, twice=False)
    return backend.differentiable(function, rule)(x.matrix, x.direction, x.norms)[0]


def with_norms(
    x: Grouped, w: Array, y: Array, function: Callable[[Array], Array], /, *, backend: Backend
) -> Array:
    """Return y, the groups with the norms w = function(norms), with the derivative of that."""
    xp = backend.xp
    least = above_zero(x.norms, backend=backend)
    slope = backend.frozen(backend.differential(function, least, xp.ones_like(least)))

    def given_already(_: Array, __: Array, ___: Array, ____: Array, y: Array) -> Arrays:
        return (y,)

    def turned(arrays: Arrays, moved: Array) -> Array:
        _, __, direction, ratio, ___ = arrays
        rest = moved - direction * xp.astype(_along(direction, moved, x.axes, xp), moved.dtype)
        return xp.astype(ratio, moved.dtype) * rest

    def tangent(arrays: Arrays, moves: Arrays) -> Arrays:
        grown = arrays[2] * xp.astype(moves[1], arrays[2].dtype)
        return (turned(arrays, moves[0]) + grown,)

    def cotangent(arrays: Arrays, given: Arrays) -> Arrays:
        return turned(arrays, given[0]), _along(arrays[2], given[0], x.axes, xp)

    # The quotient belongs to the derivative in x alone, which may not be differentiated.
    ratio = xp.where(x.norms > 0, backend.frozen(w) / least, slope)
    rule = Derivative(tangent, cotangent, inputs=2, twice=False)
    return backend.differentiable(given_already, rule)(
        x.matrix, w, x.direction, ratio, backend.frozen(y)
    )[0]


def _along(direction: Array, moved: Array, axes: tuple[int, ...], xp: Namespace) -> Array:
    """Return Re <direction, moved> over each group, with its axes kept as 1."""
    if direction.dtype in (xp.complex64, xp.complex128):
        product = xp.real(xp.conj(direction) * moved)
    else:
        product = direction * moved
    return xp.sum(product, axis=axes, keepdims=True) if axes else product
