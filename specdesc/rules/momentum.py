"""Running averages of gradients. `beta` is the factor on the old one, everywhere.

Sums are made in a working precision and rounded once. A matrix with a NaN or an inf is all NaN.
"""

from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._linalg.basic import replace_broken, restore
from specdesc.backends import Backend
from specdesc.backends.creation import zeros
from specdesc.backends.entry import enter
from specdesc.rules import rule
from specdesc.rules.rule import State
from specdesc.schedules import Schedule


def check_beta(beta: float | Schedule, /) -> None:
    """Raise `ValueError` for a beta outside of [0, 1)."""
    if isinstance(beta, (int, float)) and not 0.0 <= beta < 1.0:
        msg = f"beta must be a schedule or lie in [0, 1), got {beta!r}"
        raise ValueError(msg)


def initial_state(x: Array, /) -> State:
    """Return the state of a rule with a buffer, which starts from zero."""
    backend = enter("rules", x)
    with backend.guard(x):
        buffer = zeros(tuple(x.shape), x, backend=backend)
        return {**rule.initial_state(x, None), "momentum_buffer": buffer}


def factor(
    beta: float | Schedule,
    x: Array,
    grad: Array,
    state: State,
    value: Array | None,
    /,
    *,
    backend: Backend,
) -> Array:
    """Return beta at this state, (..., 1, 1), in the dtype that sums are made in."""
    found = rule.length(beta, x, grad, state, value, name="beta", backend=backend)
    return backend.xp.astype(found[..., None, None], working(backend.xp, x).dtype)


def from_first(beta: Array, state: State, /, *, backend: Backend) -> Array:
    """Return beta, and 0 at the first step: then an average starts from the first gradient."""
    return backend.xp.where(state["t"] == 0, backend.xp.zeros_like(beta), beta)


def ema(buffer: Array, grad: Array, beta: Array, /, *, backend: Backend) -> Array:
    """Return beta buffer + (1 - beta) grad."""
    return combination((beta, buffer), (1.0 - beta, grad), like=grad, backend=backend)


def heavy_ball(buffer: Array, grad: Array, beta: Array, /, *, backend: Backend) -> Array:
    """Return beta buffer + grad."""
    return combination((beta, buffer), (1.0, grad), like=grad, backend=backend)


def combination(*terms: tuple[float | Array, Array], like: Array, backend: Backend) -> Array:
    """Return the sum of factor * matrix over the terms, in the dtype of `like`.

    Summed in a working precision and rounded once; a matrix that is not finite in one of its terms
    is all NaN, and meets no arithmetic on the way. Always a new array.
    """
    xp = backend.xp
    total, finite = None, None
    for weight, x in terms:
        safe, whole = replace_broken(working(xp, x), backend=backend)
        term = weight * safe
        total = term if total is None else total + term
        finite = whole if finite is None else finite & whole
    return xp.astype(restore(total, finite, backend=backend), like.dtype, copy=False)
