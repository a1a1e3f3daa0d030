"""The rules of a route at work: the state of a tree, and its next step."""

from collections.abc import Mapping
from math import prod
from typing import Any

from specdesc._lib.typing import Array
from specdesc.backends import Backend
from specdesc.backends.entry import bound_to, enter
from specdesc.rules.rule import State
from specdesc.trees.containers import leaves, rebuild
from specdesc.trees.routes import Entry, Route

#: Numbers of a view up to which a stack is faster than a loop on a processor: measured on 12 to 24
#: matrices on NumPy and torch, a stack of 32 x 32 takes between a ninth and four thirds of the
#: time of the loop, one of 256 x 256 the same for Muon and up to six times as long for AdamW.
SMALL = 64 * 64


def init(params: Any, route: Route, /) -> State:
    """Return the state before the first step.

    Parameters
    ----------
    params : tree of arrays
        With the paths and shapes that were routed.
    route : Route
        Of `trees.route`.

    Returns
    -------
    dict of str to array
        Flat, with the keys ``"path/key"`` for every key of the rule's own state: what
        ``numpy.savez`` and ``torch.load(weights_only=True)`` can hold. Buffers have the shape of
        the view.

    Raises
    ------
    ValueError
        If `params` has other paths or shapes than the route.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import rules, trees
    >>> params = {"w": np.ones((3, 2)), "b": np.zeros(3)}
    >>> route = trees.route(params, trees.Group("w", rules.Muon(0.1)), rest=rules.AdamW(0.01))
    >>> state = trees.init(params, route)
    >>> state["w/momentum_buffer"].shape
    (3, 2)
    """
    arrays = _checked(params, route, "params")
    state: State = {}
    for entry in route.entries:
        if entry.rule is None:
            continue
        x = arrays[entry.path]
        backend = enter("rules", x, names=(entry.path,), ndim=0)
        own = entry.rule.init(entry.view.matrices(x, xp=backend.xp))
        state |= {f"{entry.path}/{key}": value for key, value in own.items()}
    return state


def update(
    params: Any,
    grads: Any,
    state: State,
    route: Route,
    /,
    *,
    value: Array | None = None,
    previous_grads: Any = None,
) -> tuple[Any, State]:
    """Return the next tree and state.

    Parameters
    ----------
    params, grads : tree of arrays
        With the paths and shapes that were routed. Neither is changed.
    state : dict of str to array
        Of `init` or the last `update`.
    route : Route
        Static: close over it, or mark it as static, under a tracer.
    value : array, optional
        The objective at `params`, a 0-d array, for schedules that need it.
    previous_grads : tree of arrays, optional
        The gradients of the same sample at the previous point, for rules that need them.

    Returns
    -------
    params : tree of arrays
        Of the same form.
    state : dict of str to array
        With the same keys, shapes and dtypes.

    Raises
    ------
    ValueError
        If a tree has other paths or shapes than the route.
    KeyError
        If `state` lacks a key.

    See Also
    --------
    route : Which parameter gets which rule.
    init : The first state.

    Notes
    -----
    Parameters of one group whose views have one shape and dtype may be one call of the rule on
    their stack, see `Group`. Matrices of a stack are independent: the result is that of a loop up
    to rounding. A rule that stops at a tolerance may take the same care for the whole
    stack, and is within its tolerance in both. Counters of a stack, integers without axes, are
    those of its first parameter: all of them count every update.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import rules, trees
    >>> params = {"w": np.ones((3, 2)), "b": np.zeros(3)}
    >>> route = trees.route(params, trees.Group("w", rules.Muon(0.1)), rest=rules.AdamW(0.01))
    >>> grads = {"w": np.ones((3, 2)), "b": np.ones(3)}
    >>> params, state = trees.update(params, grads, trees.init(params, route), route)
    >>> params["b"].round(6)
    array([-0.01, -0.01, -0.01])
    """
    xs, gradients = _checked(params, route, "params"), _checked(grads, route, "grads")
    previous = None if previous_grads is None else _checked(previous_grads, route, "previous_grads")
    new: dict[str, Array] = dict(xs)
    new_state = dict(state)
    own = _by_path(state)
    for entries, backend in _stacks(route, xs):
        points, states = _step(entries, xs, gradients, previous, own, value, backend)
        new |= points
        new_state |= states
    return rebuild(params, new), new_state


def _checked(tree: Any, route: Route, name: str) -> dict[str, Array]:
    """Return the arrays of a tree that has the form of the route."""
    arrays = leaves(tree)
    expected = {entry.path: entry.shape for entry in route.entries}
    missing, extra = expected.keys() - arrays.keys(), arrays.keys() - expected.keys()
    if missing or extra:
        msg = f"{name} and the route differ: missing {sorted(missing)}, unknown {sorted(extra)}"
        raise ValueError(msg)
    for path, shape in expected.items():
        if tuple(arrays[path].shape) != shape:
            msg = f"{name} at {path!r} has shape {tuple(arrays[path].shape)}, routed was {shape}"
            raise ValueError(msg)
    return arrays


def _stacks(route: Route, arrays: Mapping[str, Array]) -> list[tuple[list[Entry], Backend]]:
    """Return the parameters by the calls that update them, with the backend of their arrays.

    The rule of each call checks its arrays; nothing is checked here.
    """
    stacks: dict[tuple[object, ...], tuple[list[Entry], Backend]] = {}
    for entry in route.entries:
        if entry.rule is not None:
            x = arrays[entry.path]
            backend = bound_to(x)
            kind = (entry.group, entry.view.shape, str(x.dtype), backend.layout(x))
            stacked = _gains(entry, backend) if entry.stack is None else entry.stack
            stacks.setdefault(kind if stacked else (entry.path,), ([], backend))[0].append(entry)
    return list(stacks.values())


def _gains(entry: Entry, backend: Backend) -> bool:
    """Say whether one call for many is worth the copies."""
    return not backend.branches or prod(entry.view.shape) <= SMALL


def _by_path(state: State) -> dict[str, State]:
    """Return the state of each parameter. Rules name no key with a slash."""
    own: dict[str, State] = {}
    for name, value in state.items():
        path, _, key = name.rpartition("/")
        own.setdefault(path, {})[key] = value
    return own


def _step(
    entries: list[Entry],
    xs: Mapping[str, Array],
    gradients: Mapping[str, Array],
    previous: Mapping[str, Array] | None,
    own: Mapping[str, State],
    value: Array | None,
    backend: Backend,
) -> tuple[dict[str, Array], State]:
    """Update the parameters of one stack: they share rule, view shape, dtype and device."""
    xp = backend.xp

    def together(arrays: Mapping[str, Array]) -> Array:
        views = [entry.view.matrices(arrays[entry.path], xp=xp) for entry in entries]
        return _stacked(views, backend)

    states = [own[entry.path] for entry in entries]
    stacked = {key: _stacked([each[key] for each in states], backend) for key in states[0]}
    y, stacked = entries[0].update(
        together(xs),
        together(gradients),
        stacked,
        value,
        None if previous is None else together(previous),
    )
    points: dict[str, Array] = {}
    new: State = {}
    for i, entry in enumerate(entries):
        part = _part(y, i, entries)
        points[entry.path] = entry.view.restore(part, entry.shape, xp=xp)
        new |= {f"{entry.path}/{key}": _part(each, i, entries) for key, each in stacked.items()}
    return points, new


def _stacked(values: list[Array], backend: Backend) -> Array:
    """Stack what each parameter has of its own; a counter is one for all."""
    if len(values) == 1 or _is_counter(values[0], backend):
        return values[0]
    return backend.xp.stack(values)


def _part(value: Array, i: int, entries: list[Entry]) -> Array:
    return value if len(entries) == 1 or value.ndim == 0 else value[i, ...]


def _is_counter(value: Array, backend: Backend) -> bool:
    return value.ndim == 0 and bool(backend.xp.isdtype(value.dtype, "integral"))
