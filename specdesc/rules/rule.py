"""What every rule shares: the protocol, the step length, and the proximal step at the end."""

from typing import Any, Protocol

from specdesc._lib.checks import check_same_shape, plain
from specdesc._lib.dtypes import real_dtype, working
from specdesc._lib.typing import Array
from specdesc._linalg.basic import replace_broken, restore
from specdesc._linalg.operator import LinearOperator
from specdesc._truncate import first_block
from specdesc.backends import Backend
from specdesc.backends.entry import check_per_matrix, enter
from specdesc.prox import Function, Rank, WarmStarted
from specdesc.prox.calculus import point
from specdesc.schedules import Schedule

State = dict[str, Array]

#: What the warm prox of an iterate may miss of the singular values that it keeps, relative.
PROX_TOL = 1e-2


class Rule(Protocol):
    """A pure update rule.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import minimize, problems
    >>> class Heavy:
    ...     needs_previous_grad = False
    ...     def init(self, x, /):
    ...         return {"t": np.asarray(0, dtype=np.int32), "buffer": 0.0 * x}
    ...     def update(self, x, grad, state, /, *, value=None, previous_grad=None):
    ...         buffer = 0.5 * state["buffer"] + grad
    ...         return x - 0.05 * buffer, {"t": state["t"] + 1, "buffer": buffer}
    ...
    >>> problem = problems.random_quadratic(3, 2)
    >>> found = minimize(problem.value_and_grad, problem.start(), Heavy(), steps=50)
    >>> found.status
    'steps'
    """

    @property
    def needs_previous_grad(self) -> bool:
        """Whether `update` needs the gradient of the same sample at the previous point."""
        ...

    def init(self, x: Array, /) -> State:
        """Return the state before the first step."""
        ...

    def update(
        self,
        x: Array,
        grad: Array,
        state: State,
        /,
        *,
        value: Array | None = None,
        previous_grad: Array | None = None,
    ) -> tuple[Array, State]:
        """Return the next point and state. The arguments are not changed."""
        ...


def check_rule(step: float | Schedule, weight_decay: float, /) -> None:
    """Raise `ValueError` for a negative step or weight decay."""
    value = plain(step)
    if isinstance(value, str):
        msg = f"step must be a number or a schedule, got {step!r}"
        raise TypeError(msg)
    if isinstance(value, float) and not 0.0 <= value < float("inf"):
        msg = f"step must be a schedule or a finite number of at least 0, got {step!r}"
        raise ValueError(msg)
    if not 0.0 <= weight_decay < float("inf"):
        msg = f"weight_decay must be a finite number of at least 0, got {weight_decay!r}"
        raise ValueError(msg)


def check_share(step: float | Schedule, /) -> None:
    """Raise `ValueError` for a step beyond 1, which would leave the ball."""
    step = plain(step)
    if isinstance(step, float) and not 0.0 <= step <= 1.0:
        msg = f"step must be a schedule or lie in [0, 1] for a constrained step, got {step!r}"
        raise ValueError(msg)


def enter_init(x: Array, /) -> Backend:
    """Check the array of an `init`."""
    return enter("rules", x)


def initial_state(x: Array, g: Function | None, /, *, backend: Backend) -> State:
    """Return the part of a state that every rule has."""
    state = {"t": backend.xp.zeros((), dtype=backend.xp.int32, device=backend.placement)}
    if isinstance(g, Rank):
        state["g_start"] = first_block(x, g.rank, backend=backend)
    elif isinstance(g, WarmStarted):
        state["g_start"] = g.initial_start(x)
    return state


def enter_update(
    x: Array, grad: Array | LinearOperator, previous_grad: Array | None = None, /
) -> Backend:
    """Check the arrays of an update; a `LinearOperator` is taken at its word."""
    if previous_grad is not None:
        names = ("x", "grad", "previous_grad")
        backend = enter("rules", x, grad, previous_grad, names=names)
        check_same_shape(x, grad, "x", "grad")
        check_same_shape(grad, previous_grad, "grad", "previous_grad")
        return backend
    if isinstance(grad, LinearOperator):
        backend = enter("rules", x)
        enter("rules", x[..., :0, :0], grad.like, names=("x", "grad.like"), ndim=0)
        check_same_shape(x, grad, "x", "grad")
        return backend
    backend = enter("rules", x, grad, names=("x", "grad"))
    check_same_shape(x, grad, "x", "grad")
    return backend


def length(
    step: float | Schedule,
    x: Array,
    grad: Array,
    state: State,
    value: Array | None,
    /,
    name: str = "step",
    *,
    backend: Backend,
) -> float | Array:
    """Return the step size at this state: a number, or an array of shape () or the batch shape.

    Arrays are real, in float32 at least, so that a count of steps stays exact next to a half
    precision `x`. Any other parameter that may be a schedule is read in the same way, under its
    own `name`.
    """
    step = plain(step)
    if isinstance(step, float):
        return step
    xp = backend.xp
    real = real_dtype(xp, working(xp, x[..., :0, :0]).dtype)
    size: Any = step
    if callable(step):
        t = xp.astype(state["t"], real)
        # A schedule that looks at the gradient need not check it again.
        checked = getattr(step, "at_checked", None)
        if checked is None:
            size = step(t, value=value, grad=grad)
        else:
            size = checked(t, value, grad, backend=backend)
    size = plain(size)
    if isinstance(size, float):
        return size
    check_per_matrix(backend, size, x, name)
    return xp.astype(size, real, copy=False)


def per_matrix(size: float | Array, /) -> float | Array:
    """Return what multiplies a stack: a number, or an array with two more axes of 1."""
    size = plain(size)
    return size if isinstance(size, float) else size[..., None, None]


def move(
    x: Array, size: float | Array, direction: Array, weight_decay: float, /, *, backend: Backend
) -> Array:
    """Return (1 - weight_decay size) x - size direction, in the dtype of `x`."""
    keep = per_matrix(1.0 - weight_decay * size)
    return blend(x, keep, per_matrix(size), direction, backend=backend)


def blend(
    x: Array, keep: float | Array, length: float | Array, direction: Array, /, *, backend: Backend
) -> Array:
    """Return keep x - length direction, in the dtype of `x`; the factors broadcast against `x`.

    Rounded once. Directions that are not finite spread over their matrix by themselves.
    """
    if not (backend.branches or backend.warns):
        keep = keep + backend.primitives.nan_where_broken(x)
        return backend.primitives.axpby(keep, x, -length, direction)
    x, finite = replace_broken(x, backend=backend)
    moved = backend.primitives.axpby(keep, x, -length, direction)
    return restore(moved, finite, backend=backend)


def move_thin(
    x: Array,
    size: float | Array,
    left: Array,
    right: Array,
    weight_decay: float,
    /,
    *,
    backend: Backend,
) -> Array:
    """Return (1 - weight_decay size) x - size left right, in the dtype of `x`.

    The product goes into the new point: nothing of the size of `x` is made beside it where the
    library can add in place, or fuses.
    """
    xp = backend.xp
    length, shrink = per_matrix(size), per_matrix(1.0 - weight_decay * size)
    if not isinstance(length, float):
        length = xp.astype(length, left.dtype)
        shrink = xp.astype(shrink, x.dtype) if weight_decay else 1.0
    thin = xp.astype(-length * left, x.dtype, copy=False)
    right = xp.astype(right, x.dtype, copy=False)
    if not (backend.branches or backend.warns):
        broken = backend.primitives.nan_where_broken(x)
        shrink = xp.astype(shrink + broken, x.dtype, copy=False)
        return backend.primitives.addmm(shrink, x, thin, right)
    x, finite = replace_broken(x, backend=backend)
    return restore(backend.primitives.addmm(shrink, x, thin, right), finite, backend=backend)


def finish(
    y: Array, size: float | Array, g: Function | None, state: State, /, *, backend: Backend
) -> tuple[Array, State]:
    """Apply the proximal step of `g` and count the step."""
    state = {**state, "t": state["t"] + 1}
    if g is None:
        return y, state
    if isinstance(g, Rank):
        y, start = g.nearest_from(y, state["g_start"], PROX_TOL, backend=backend)
        return y, {**state, "g_start": start}
    if isinstance(g, WarmStarted):
        y, start = g.prox_from(y, size, state["g_start"], tol=PROX_TOL)
        return y, {**state, "g_start": start}
    return point(g, y, size, backend), state
