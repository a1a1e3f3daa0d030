"""Rules as a gradient transformation of optax."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from specdesc import trees
from specdesc._lib import extras
from specdesc._lib.typing import Array
from specdesc.rules import Rule
from specdesc.trees.groups import is_elementwise

from .parameters import Parameters, has_numbers, parameters_of
from .states import (
    RuleState,
    assembled,
    buffer_names,
    converted,
    is_buffer,
    placeholders,
    taken_apart,
)
from .steps import Item, changes, common_dtype, restored, seen, stacks, view_of


class Grouping(NamedTuple):
    """Which parameter gets which rule: the groups for given parameters, and all rules."""

    groups: Callable[[Parameters], tuple[tuple[trees.Group, ...], Rule | trees.Group | None]]
    rules: tuple[Rule, ...]


def transformation(
    *groups: trees.Group, rest: Rule | trees.Group | None = None, update_dtype: Any = None
) -> Any:
    """Return rules of `specdesc.rules` as an ``optax.GradientTransformationExtraArgs``.

    Parameters
    ----------
    *groups : trees.Group
        Each parameter goes to the first group that takes it. Kernels of Flax are (in, out): give
        the rule or its group ``layout="in_out"``. Paths have no name for the box that Flax puts
        around an array: ``"*kernel"`` matches.
    rest : Rule or trees.Group, optional
        For what no group takes; see `trees.route`, which decides and raises.
    update_dtype : dtype, optional
        That of the updates, such as ``"float32"`` for parameters in half precision whose updates
        are to be scaled or added up. None is the dtype that parameter and gradient promote to.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        ``init(params)`` and ``update(grads, state, params, *, value=None)``. An update is the step
        itself, sign included: nothing is to be negated behind it, and the learning rate is the step
        of the rule. Weight decay is in it. What rescales updates behind it rescales the decay, too,
        and where a rule has a set (`g`, `rules.ProximalSpectral`, a constrained `rules.Scion`), or
        decay stands for one, the set is kept only if nothing but ``optax.apply_updates`` follows.
        What changes gradients goes before it.

        The state is a `RuleState`: a count, trees like that of the parameters, and arrays of other
        shapes. A flat state of `trees.init` is converted. Leaves that are no floating numbers, and
        those of a group whose rule is None, get updates of zero and have no state.

    Raises
    ------
    specdesc.MissingExtra
        If optax is not installed.
    ValueError
        On `init`, for a bare `rest` that would flatten a parameter of three axes or more: which of
        them are inputs is for a view to say, such as ``trees.Axes``. As `trees.route` raises.
    NotImplementedError
        On the first `init`, for a rule that needs the gradient at the previous point, which optax
        does not hand over.

    Notes
    -----
    Every number of a rule may be an array, traced too, so that ``optax.inject_hyperparams`` works,
    and any function of the count is a schedule. Sums are made in float32 at least; buffers have the
    dtype of the parameter. Matrices of one shape are stepped on together; rules that look at one
    number at a time take each parameter as it is.

    Examples
    --------
    >>> import jax.numpy as jnp, optax
    >>> from specdesc import rules
    >>> from specdesc.optax import transformation
    >>> muon = transformation(rest=rules.Muon(0.25, layout="in_out"))
    >>> params = {"kernel": jnp.eye(2)}
    >>> updates, state = muon.update(params, muon.init(params), params)
    >>> new = optax.apply_updates(params, updates)
    >>> bool(jnp.allclose(new["kernel"], 0.75 * jnp.eye(2), atol=1e-6))
    True
    >>> optax.tree_utils.tree_get(state, "momentum_buffer")["kernel"].shape
    (2, 2)
    """
    known = (*groups, rest)
    own = [each.rule if isinstance(each, trees.Group) else each for each in known]
    rules = tuple(rule for rule in own if rule is not None)
    return of_grouping(Grouping(lambda _: (groups, rest), rules), update_dtype=update_dtype)


def of_grouping(grouping: Grouping, /, *, update_dtype: Any = None, sign: float = 1.0) -> Any:
    """Return the transformation whose groups depend on the parameters; its updates times `sign`."""
    optax = extras.require("optax", "optax")
    names: list[str] = []

    def init(params: Any) -> RuleState:
        names[:] = names or buffer_names(grouping.rules)
        if not jax.tree.leaves(params):
            return placeholders(params, names)
        taken = parameters_of(params)
        return _initial(taken, _routed(taken, grouping), names)

    def update(
        grads: Any, state: Any, params: Any = None, *, value: Array | None = None, **_: object
    ) -> tuple[Any, RuleState]:
        if params is None:
            msg = "params must be given to update: weight decay and constraints depend on them"
            raise ValueError(msg)
        taken = parameters_of(params)
        route = _routed(taken, grouping)
        if isinstance(state, dict):
            state = converted(state, route, taken)
        gradients = dict(zip(taken.paths, taken.form.flatten_up_to(grads), strict=True))
        value = None if value is None else jnp.asarray(value)
        moved, state = _update(taken, gradients, state, route, value)
        for path, u in moved.items():
            kind = update_dtype or common_dtype(taken.by_path()[path], gradients[path])
            moved[path] = (u if sign == 1.0 else sign * u).astype(kind)
        frozen = {p: jnp.zeros_like(x) for p, x in taken.by_path().items() if p not in moved}
        return taken.form.unflatten([(moved | frozen)[path] for path in taken.paths]), state

    return optax.GradientTransformationExtraArgs(init, update)


def _routed(params: Parameters, grouping: Grouping) -> trees.Route:
    """Return the route; leaves that are no floating numbers stay as they are."""
    groups, rest = grouping.groups(params)
    numbers = {p: x for p, x in params.by_path().items() if has_numbers(x)}
    if rest is not None and not isinstance(rest, trees.Group) and not is_elementwise(rest):
        _refuse_to_flatten(numbers, groups)
    route = trees.route(numbers, *groups, rest=rest)
    if route.needs_previous_grad:
        msg = "optax hands over no gradient at the previous point: use approximate=True"
        raise NotImplementedError(msg)
    return route


def _refuse_to_flatten(arrays: dict[str, Array], groups: tuple[trees.Group, ...]) -> None:
    """Raise `ValueError` where a bare rule would have to guess which axes are inputs."""
    for path, x in arrays.items():
        if x.ndim > 2 and not any(group.takes(path, x) for group in groups):
            msg = (
                f"{path!r} of shape {tuple(x.shape)} is no matrix: give it a trees.Group with a "
                "view, such as trees.Axes(inputs=0, outputs=(1, 2)) for the query kernel of an "
                "attention, or 'flatten' for a convolution"
            )
            raise ValueError(msg)


def _initial(params: Parameters, route: trees.Route, names: list[str]) -> RuleState:
    arrays = params.by_path()
    buffers: dict[str, dict[str, Array]] = {name: {} for name in names}
    others: dict[str, Array] = {}
    for entry in route.entries:
        if entry.rule is None:
            continue
        view = view_of(entry)
        matrices = seen(arrays[entry.path], view)
        for name, value in entry.rule.init(matrices).items():
            if is_buffer(name, value, tuple(matrices.shape)):
                whole = restored(value, entry, view)
                buffers.setdefault(name, {})[entry.path] = whole
            elif name != "t":
                others[f"{entry.path}/{name}"] = value
    return assembled(params, jnp.zeros((), jnp.int32), buffers, others)


def _update(
    params: Parameters,
    grads: dict[str, Array],
    state: RuleState,
    route: trees.Route,
    value: Array | None,
) -> tuple[dict[str, Array], RuleState]:
    """Return the changes by path and the next state."""
    arrays = params.by_path()
    buffers, others = taken_apart(params, state)
    own: dict[str, dict[str, Array]] = {}
    for key, array in others.items():
        path, _, name = key.rpartition("/")
        own.setdefault(path, {})[name] = array
    items = []
    for entry in route.entries:
        if entry.rule is not None:
            path, view = entry.path, view_of(entry)
            kept = {name: seen(b[path], view) for name, b in buffers.items() if path in b}
            remembered = {"t": state.count, **kept, **own.get(path, {})}
            x, grad = seen(arrays[path], view), seen(jnp.asarray(grads[path]), view)
            items.append(Item(entry, view, x, grad, remembered))
    moved: dict[str, Array] = {}
    new = {name: dict[str, Array]() for name in buffers}
    new_others: dict[str, Array] = {}
    for stack in stacks(items):
        for item, (change, after) in zip(stack, changes(stack, value), strict=True):
            path = item.entry.path
            moved[path] = restored(change, item.entry, item.view)
            for name, array in after.items():
                if name in new and path in buffers[name]:
                    new[name][path] = restored(array, item.entry, item.view)
                elif name != "t":
                    new_others[f"{path}/{name}"] = array
    return moved, assembled(params, state.count + 1, new, new_others)
