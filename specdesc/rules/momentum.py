"""Running averages of gradients. `beta` is the factor on the old one, everywhere.

Sums are made in a working precision and rounded once. A matrix with a NaN or an inf is all NaN.
"""

import operator
from functools import reduce

from specdesc._lib.dtypes import real_dtype, working, working_dtype
from specdesc._lib.typing import Array
from specdesc._linalg.basic import replace_broken, restore
from specdesc.backends import Backend
from specdesc.prox import Function, Operator
from specdesc.rules import rule
from specdesc.rules.rule import State
from specdesc.schedules import Schedule


def check_beta(beta: float | Schedule, /) -> None:
    """Raise `ValueError` for a beta outside of [0, 1)."""
    rule.check_scheduled(beta, "beta", lambda b: 0.0 <= b < 1.0, "lie in [0, 1)")


def initial_state(x: Array, /, *more: str, g: Function | None = None) -> State:
    """Return the state of a rule with a buffer, and `more` like it, which start from zero."""
    return rule.with_buffers(x, g, ("momentum_buffer", *more))


def factor(
    beta: float | Schedule,
    x: Array,
    grad: Array,
    state: State,
    value: Array | None,
    /,
    *,
    backend: Backend,
) -> float | Array:
    """Return beta at this state: a number, or a real array with the axes of a matrix as 1."""
    return rule.per_matrix(rule.length(beta, x, grad, state, value, name="beta", backend=backend))


def from_first(beta: float | Array, state: State, like: Array, /, *, backend: Backend) -> Array:
    """Return beta, and 0 at the first step: then an average starts from the first gradient."""
    xp = backend.xp
    real = real_dtype(xp, working_dtype(xp, like.dtype))
    return beta * xp.astype(state["t"] > 0, real)


def remember(
    beta: float | Schedule,
    x: Array,
    grad: Array,
    state: State,
    value: Array | None,
    /,
    *,
    backend: Backend,
) -> Array:
    """Return the new average of gradients, beta buffer + (1 - beta) grad."""
    weight = factor(beta, x, grad, state, value, backend=backend)
    return ema(state["momentum_buffer"], grad, weight, backend=backend)


def ema(buffer: Array, grad: Array, beta: float | Array, /, *, backend: Backend) -> Array:
    """Return beta buffer + (1 - beta) grad."""
    return combination((beta, buffer), (1.0 - beta, grad), like=grad, backend=backend)


def heavy_ball(buffer: Array, grad: Array, beta: float | Array, /, *, backend: Backend) -> Array:
    """Return beta buffer + grad."""
    return combination((beta, buffer), (1.0, grad), like=grad, backend=backend)


def combination(*terms: tuple[float | Array, Array], like: Array, backend: Backend) -> Array:
    """Return the sum of factor * matrix over the terms, in the dtype of `like`: a new array.

    Summed in a working precision and rounded once. Where code may look, a matrix that is not finite
    in one of its terms is all NaN and meets no arithmetic on the way; elsewhere its entries are
    what arithmetic makes of them, and the step that follows takes the whole matrix.
    """
    xp = backend.xp
    weights = [weight for weight, _ in terms]
    matrices = [working(xp, x) for _, x in terms]
    finite = None
    if backend.branches or backend.warns:
        looked = [replace_broken(x, backend=backend, by_entry=True) for x in matrices]
        matrices = [x for x, _ in looked]
        finite = reduce(operator.and_, [flag for _, flag in looked])
    if len(terms) == 1:
        total = weights[0] * matrices[0]
    else:
        total = backend.primitives.axpby(weights[0], matrices[0], weights[1], matrices[1])
    for weight, x in zip(weights[2:], matrices[2:], strict=True):
        total = backend.primitives.axpby(1.0, total, weight, x)
    total = xp.astype(total, like.dtype, copy=False)
    return total if finite is None else restore(total, finite, backend=backend)


def within(g: Operator, grad: Array, /, *, backend: Backend) -> Array:
    """Return the gradient within the points of g: its Hermitian part where those are Hermitian.

    A map of singular values would mix the rest of it into the step.
    """
    if not getattr(g, "is_hermitian", False):
        return grad
    turned = backend.primitives.adjoint(grad)
    return combination((0.5, grad), (0.5, turned), like=grad, backend=backend)
