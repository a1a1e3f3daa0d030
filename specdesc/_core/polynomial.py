"""Quintic iterations on the singular values of a stack of wide matrices."""

from collections.abc import Sequence
from typing import NamedTuple

from specdesc._core import products
from specdesc._core.linalg import adjoint, frobenius, identity
from specdesc._typing import Array
from specdesc.backends import Backend
from specdesc.minimax import Quintic, slope


class Iterate(NamedTuple):
    """Where an iteration stands."""

    matrix: Array
    residual: Array  # (..., 1, 1): Frobenius norm of I - X Xᴴ, a bound on every |1 - s**2|
    gain: Array  # (..., 1, 1): product of the leading coefficients that this matrix went through
    steps: int


def run(x: Array, steps: Sequence[Quintic], /, *, backend: Backend) -> Iterate:
    """Apply every step to `x`, whose singular values lie in [0, 1]."""
    for step in steps:
        x = apply(step, x, _gram(x, backend), backend=backend)
    residual = _distance_to_identity(_gram(x, backend), backend)
    return Iterate(x, residual, backend.xp.full_like(residual, slope(steps)), len(steps))


def run_until(
    x: Array, steps: Sequence[Quintic], tol: float, idle: Array, /, *, backend: Backend
) -> Iterate:
    """Apply steps until every matrix is orthonormal within `tol`; needs values on the host.

    The Gram matrix that the next step needs anyway tells how far the last one came. A matrix that
    is done stays as it is while its neighbours go on. `idle` marks matrices that nobody waits for,
    such as zeros.
    """
    xp = backend.xp
    taken = 0
    gram = _gram(x, backend)
    residual = _distance_to_identity(gram, backend)
    gain = xp.ones_like(residual)
    for step in steps:
        done = (residual <= tol) | idle
        if bool(xp.all(done)):
            break
        x = xp.where(done, x, apply(step, x, gram, backend=backend))
        gain = xp.where(done, gain, gain * step[0])
        gram = _gram(x, backend)
        residual = _distance_to_identity(gram, backend)
        taken += 1
    return Iterate(x, residual, gain, taken)


def apply(step: Quintic, x: Array, gram: Array, /, *, backend: Backend) -> Array:
    """Return a X + (b R + c R²) X, with R the Gram matrix of X.

    The term a X stays outside of the bracket: added to its diagonal, a would round away the small
    singular values that the step is there to raise.
    """
    a, b, c = step
    bracket = b * gram + c * backend.xp.matmul(gram, adjoint(gram, xp=backend.xp))
    return products.kernel("multiply_add", backend)(a, x, bracket, x, xp=backend.xp)


def _gram(x: Array, backend: Backend) -> Array:
    # The product of one array with its own adjoint: NumPy hands it to BLAS at half the work.
    return backend.xp.matmul(x, adjoint(x, xp=backend.xp))


def _distance_to_identity(gram: Array, backend: Backend) -> Array:
    return frobenius(gram - identity(gram.shape[-1], gram, backend=backend), xp=backend.xp)
