"""What every rule shares: the protocol, the step length, and the proximal step at the end."""

from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple, Protocol

from specdesc._lib.arrays import times
from specdesc._lib.checks import check_number, check_same_shape, is_number, plain
from specdesc._lib.dtypes import real_dtype, working, working_dtype
from specdesc._lib.tracing import opaque
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


def check_rule(step: float | Array | Schedule, weight_decay: float | Array, /) -> None:
    """Raise for a step that is no schedule and no number of at least 0, and for such a decay."""
    wanted = "a finite number of at least 0"
    check_scheduled(step, "step", _not_negative, wanted)
    if callable(weight_decay):
        msg = f"weight_decay must be {wanted}, and no schedule, got {weight_decay!r}"
        raise TypeError(msg)
    check_number(weight_decay, "weight_decay", _not_negative, wanted)


def check_scheduled(
    value: float | Schedule | Array, name: str, holds: Callable[[float], bool], wanted: str, /
) -> None:
    """Raise unless `value` is a schedule, an array, or a number for which `holds`."""
    # An array may have the batch shape: one number for each matrix.
    if callable(value) or (hasattr(value, "dtype") and getattr(value, "ndim", 0) > 0):
        return
    check_number(value, name, holds, wanted, other="a schedule or ")


def _not_negative(value: float) -> bool:
    return 0.0 <= value < float("inf")


def check_share(step: float | Schedule, /) -> None:
    """Raise `ValueError` for a step beyond 1, which would leave the ball."""
    step = plain(step)
    if isinstance(step, float) and not 0.0 <= step <= 1.0:
        msg = f"step must be a schedule or lie in [0, 1] for a constrained step, got {step!r}"
        raise ValueError(msg)


def number(value: float | Array, like: Array, /, *, backend: Backend) -> float | Array:
    """Return a parameter as a float, or as a real array in working precision."""
    value = plain(value)
    if isinstance(value, float):
        return value
    xp = backend.xp
    return xp.astype(value, real_dtype(xp, working_dtype(xp, like.dtype)), copy=False)


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


def buffers_of(remembers: bool, feeds_back: bool, /) -> tuple[str, ...]:
    """Return the names of the arrays like x in the state of a rule with these options."""
    return ("momentum_buffer",) * remembers + ("error",) * feeds_back


def with_buffers(x: Array, g: Function | None, names: tuple[str, ...], /) -> State:
    """Return the first state of a rule with arrays like `x`, which start from zero."""
    backend = enter_init(x)
    with backend.guard(x):
        return buffered(x, g, names, backend=backend)


def buffered(x: Array, g: Function | None, names: tuple[str, ...], /, *, backend: Backend) -> State:
    """Return the same for an array that was checked."""
    # Like x, so that they lie where it does, over several devices too.
    buffers = {name: backend.xp.zeros_like(x) for name in names}
    return {**initial_state(x, g, backend=backend), **buffers}


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
    real = real_dtype(xp, working_dtype(xp, x.dtype))
    size: Any = step
    if callable(step):
        t = xp.astype(state["t"], real)
        # A schedule that looks at the gradient need not check it again.
        checked = getattr(step, "at_checked", None)
        if checked is not None:
            size = checked(t, value, grad, backend=backend)
        elif _is_of_count_alone(step):
            size = step(state["t"])
        else:
            size = step(t, value=value, grad=grad)
    size = plain(size)
    if isinstance(size, float):
        return size
    check_per_matrix(backend, size, x, name)
    return xp.astype(size, real, copy=False)


def decayed(
    weight_decay: float | Array, size: float | Array, like: Array, /, *, backend: Backend
) -> float | Array:
    """Return the share of a point that decoupled decay takes at this step size."""
    decay = number(weight_decay, like, backend=backend)
    return 0.0 if is_number(decay, 0.0) else decay * size


def per_matrix(size: float | Array, /) -> float | Array:
    """Return what multiplies a stack: one number, or an array with two more axes of 1."""
    size = plain(size)
    if isinstance(size, float) or size.ndim == 0:
        return size
    return size[..., None, None]


class Move(NamedTuple):
    """The step (1 - share) x - length direction; factors are numbers or have the batch shape."""

    share: float | Array
    length: float | Array
    direction: Array
    where: Array | None = None  # which entries are shrunk, 1 or 0; None for all

    def point(self, x: Array, /, *, backend: Backend) -> Array:
        """Return the next point in the dtype of `x`, rounded once.

        Directions that are not finite spread over their matrix by themselves.
        """
        keep, length = 1.0 - self._shrunk(), -per_matrix(self.length)
        if not (backend.branches or backend.warns):
            keep = keep + backend.primitives.nan_where_broken(x)
            return backend.primitives.axpby(keep, x, length, self.direction)
        x, finite = replace_broken(x, backend=backend, by_entry=True)
        moved = backend.primitives.axpby(keep, x, length, self.direction)
        return restore(moved, finite, backend=backend)

    def change(self, x: Array, /, *, backend: Backend) -> Array:
        """Return what is added to `x`, in working precision."""
        xp = backend.xp
        down = times(-per_matrix(self.length), working(xp, self.direction), xp=xp)
        if is_number(self.share, 0.0):
            return down
        return down - times(self._shrunk(), working(xp, x), xp=xp)

    def _shrunk(self) -> float | Array:
        share = per_matrix(self.share)
        return share if self.where is None else share * self.where


class ThinMove(NamedTuple):
    """The step (1 - share) x - length left right."""

    share: float | Array
    length: float | Array
    left: Array
    right: Array

    def point(self, x: Array, /, *, backend: Backend) -> Array:
        """Return the next point in the dtype of `x`.

        The product goes into it: nothing of the size of `x` is made beside it where the library can
        add in place, or fuses.
        """
        xp = backend.xp
        keep = per_matrix(1.0 - self.share)
        if not isinstance(keep, float):
            keep = xp.astype(keep, x.dtype)
        thin = xp.astype(self._down(backend), x.dtype, copy=False)
        right = xp.astype(self.right, x.dtype, copy=False)
        if not (backend.branches or backend.warns):
            broken = backend.primitives.nan_where_broken(x)
            keep = xp.astype(keep + broken, x.dtype, copy=False)
            return backend.primitives.addmm(keep, x, thin, right)
        x, finite = replace_broken(x, backend=backend, by_entry=True)
        return restore(backend.primitives.addmm(keep, x, thin, right), finite, backend=backend)

    def change(self, x: Array, /, *, backend: Backend) -> Array:
        """Return what is added to `x`, in working precision."""
        xp = backend.xp
        down = xp.matmul(self._down(backend), self.right)
        if is_number(self.share, 0.0):
            return down
        return down - times(per_matrix(self.share), working(xp, x), xp=xp)

    def _down(self, backend: Backend) -> Array:
        return times(-per_matrix(self.length), self.left, xp=backend.xp)


def finish(
    x: Array,
    move: Move | ThinMove,
    size: float | Array,
    g: Function | None,
    state: State,
    whole: bool,
    /,
    *,
    backend: Backend,
) -> tuple[Array, State]:
    """Move, apply the proximal step of `g`, and count the step.

    The result is the next point, or what is added to this one unless `whole`.
    """
    state = counted(state)
    if g is None:
        made = move.point if whole else move.change
        return made(x, backend=backend), state
    if not whole:  # a difference of points, of full precision
        x = working(backend.xp, x)
    y, state = _nearest(move.point(x, backend=backend), size, g, state, backend)
    return y if whole else y - x, state


def counted(state: State, /) -> State:
    """Return a state with one step more."""
    return {**state, "t": state["t"] + 1}


def _nearest(
    y: Array, size: float | Array, g: Function, state: State, backend: Backend
) -> tuple[Array, State]:
    """Apply the proximal step of `g`."""
    if isinstance(g, Rank):
        y, start = g.nearest_from(y, state["g_start"], PROX_TOL, backend=backend)
        return y, {**state, "g_start": start}
    if isinstance(g, WarmStarted):
        y, start = g.prox_from(y, size, state["g_start"], tol=PROX_TOL)
        return y, {**state, "g_start": start}
    return point(g, y, size, backend), state


@opaque
def _is_of_count_alone(schedule: Schedule, /) -> bool:
    """Say whether a schedule is a function of the count and of nothing else, such as optax has."""
    try:
        parameters = signature(schedule).parameters.values()
    except (TypeError, ValueError):  # it does not say: some that are written in C
        return True
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return False
    return not {"value", "grad"} <= {p.name for p in parameters}
