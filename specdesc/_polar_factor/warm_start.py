"""A start from the inverse root of a matrix that has hardly moved since.

Let W be Hermitian and near (X Xᴴ)^(-1/2). Then W X is nearly an isometry, and a short run makes one
of it, Q. That Q has orthonormal rows does not make it the factor of X: W does not commute with
X Xᴴ. But X = A Q with A = X Qᴴ, so the factor of X is that of A times Q, and where A = H + K, H
Hermitian and positive definite, K skew, the factor of A differs from the identity by at most
2 ||K|| / (s_min(A) + s_min(H)) (R.-C. Li, 1995). All of that is measured here, with the bound
s_min(A) = s_min(X) >= sqrt(1 - r) / ||W|| where r = ||I - W X Xᴴ W|| (derived).
"""

import math
from typing import NamedTuple

from specdesc._lib.arrays import adjoint, per_batch
from specdesc._lib.dtypes import eps, working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg.basic import frobenius
from specdesc._polar_factor import newton_schulz, plan
from specdesc._polar_factor.newton_schulz import Scaled
from specdesc._polar_factor.plan import Kind
from specdesc.backends import Backend
from specdesc.backends.creation import identity

#: The largest distance of W X Xᴴ W from the identity for which a start is looked at.
CLOSE = 0.5


class Warm(NamedTuple):
    """A factor from a warm start, with what is known of it."""

    factor: Array
    error: Array  # inf where the start did not prove itself
    products: Array


def attempt(x: Array, start: Array, kind: Kind, goal: float, /, *, backend: Backend) -> Warm:
    """Return the factor of wide matrices from the inverse root of others near them."""
    xp = backend.xp
    # No inverse root of a matrix that a Gram matrix shows is larger, and no NaN is smaller.
    usable = xp.all(xp.all(xp.abs(start) <= 1.0 / kind.unit, axis=-1, keepdims=True), axis=-2)
    start = xp.where(usable[..., None], start, xp.zeros_like(start))
    y = xp.matmul(start, x)
    gram = backend.primitives.gram(y)
    one = identity(gram.shape[-1], gram, backend=backend)
    residual = frobenius(gram - one, xp=xp)
    close = residual < CLOSE
    # A start of zeros, or far away, is replaced: what comes of it is not used.
    y = xp.where(close, y, xp.zeros_like(y))
    gram = xp.where(close, gram, xp.zeros_like(gram))
    upper = math.sqrt(1.0 + CLOSE)
    run = plan.on_interval(kind, goal / 4.0, math.sqrt(1.0 - CLOSE) / upper, first=3)
    scaled = Scaled(y, xp.full_like(residual, upper), gram / upper**2, None)
    factor = newton_schulz.run(scaled, run.segments, backend=backend)
    root = xp.matmul(x, adjoint(factor, xp=xp))
    turn, gain = _turned(root, start, residual, backend)
    base, per_gain = kind.rounding
    mean = frobenius(x, xp=xp) / x.shape[-2] ** 0.5
    error = run.bound + run.turn + turn + base + per_gain * mean * gain
    error = per_batch(xp.where(close, error, xp.full_like(error, float("inf"))))
    count = xp.zeros(tuple(error.shape), dtype=xp.int32, device=backend.placement)
    # W X, its Gram matrix, that of W for its norm, and X Qᴴ.
    return Warm(factor, error, count + (run.products + 2))


def inverse_root(x: Array, factor: Array, /, *, backend: Backend) -> Array:
    """Return (X Xᴴ)^(-1/2) of wide matrices with orthonormal factors, zero where they are not."""
    xp = backend.xp
    factor = working(xp, factor)
    residual = newton_schulz.measure(factor, backend=backend).residual
    whole = residual < CLOSE
    root = xp.matmul(x, adjoint(factor, xp=xp))
    root = (root + adjoint(root, xp=xp)) / 2
    one = identity(root.shape[-1], root, backend=backend)
    inverse = xp.linalg.inv(xp.where(whole, root, one))
    inverse = xp.where(whole, inverse, xp.zeros_like(inverse))
    return (inverse + adjoint(inverse, xp=xp)) / 2


def _turned(root: Array, start: Array, residual: Array, backend: Backend) -> tuple[Array, Array]:
    """Bound the turn of the factor of A = X Qᴴ from the identity, and 1 / s_min(X)."""
    xp = backend.xp
    hermitian, skew = (root + adjoint(root, xp=xp)) / 2, (root - adjoint(root, xp=xp)) / 2
    # The Schatten norm of order 4 of W.
    norm = xp.sqrt(frobenius(xp.matmul(start, adjoint(start, xp=xp)), xp=xp))
    least = xp.sqrt(xp.maximum(1.0 - residual, xp.zeros_like(residual))) / _or_one(norm, xp)
    size = frobenius(skew, xp=xp)
    proven = (least > size) & _definite(hermitian, backend)
    turn = 2.0 * size / _or_one(2.0 * least - size, xp)
    infinite = xp.full_like(turn, float("inf"))
    return xp.where(proven, turn, infinite), 1.0 / _or_one(least, xp)


def _definite(hermitian: Array, backend: Backend) -> Array:
    """Say which matrices are positive definite beyond rounding."""
    xp, rows = backend.xp, hermitian.shape[-1]
    noise = 4.0 * rows**0.5 * eps(xp, hermitian.dtype) * frobenius(hermitian, xp=xp)
    one = identity(rows, hermitian, backend=backend)
    shifted = hermitian - xp.astype(noise, hermitian.dtype) * one
    return backend.primitives.is_positive_definite(shifted)[..., None, None]


def _or_one(x: Array, xp: Namespace) -> Array:
    return xp.where(x > 0, x, xp.ones_like(x))
