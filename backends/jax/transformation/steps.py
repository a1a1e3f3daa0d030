"""The changes of parameters that share a rule, a view and a place, made together."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array, DType
from specdesc.backends import load
from specdesc.rules import Rule
from specdesc.rules.rule import State
from specdesc.trees import Entry, View
from specdesc.trees.groups import is_elementwise


class Item(NamedTuple):
    """One parameter of an update, seen as matrices, with the rule's state for it."""

    entry: Entry
    view: View | None  # None where it is seen as it is
    x: Array
    grad: Array
    state: State


def view_of(entry: Entry, /) -> View | None:
    """Return the view of a parameter, None for its own axes.

    Rules that look at one number at a time do without: joined axes would be moved between devices.
    """
    own = entry.shape == entry.view.shape and entry.view == View(
        entry.shape, tuple(range(len(entry.shape))), entry.shape
    )
    if own or (len(entry.shape) >= 2 and entry.rule is not None and is_elementwise(entry.rule)):
        return None
    return entry.view


def seen(x: Array, view: View | None, /) -> Array:
    """Return a parameter as matrices."""
    return x if view is None else view.matrices(x, xp=jnp)


def restored(y: Array, entry: Entry, view: View | None, /) -> Array:
    """Return matrices as the parameter that they were."""
    return y if view is None else view.restore(y, entry.shape, xp=jnp)


def common_dtype(x: Array, grad: Array, /) -> DType:
    """Return the dtype that a parameter and a gradient meet in."""
    if x.dtype == grad.dtype:
        return x.dtype
    with jax.numpy_dtype_promotion("standard"):
        return jnp.promote_types(x.dtype, grad.dtype)


def stacks(items: list[Item], /) -> list[list[Item]]:
    """Return the items by the calls that change them."""
    layout = load("jax").layout
    found: dict[tuple[object, ...], list[Item]] = {}
    for item in items:
        entry = item.entry
        alone = entry.stack is False or entry.rule is None or is_elementwise(entry.rule)
        kinds = (item.x.dtype, item.grad.dtype, layout(item.x), layout(item.grad))
        key = (entry.path,) if alone else (entry.group, entry.view.shape, *map(str, kinds))
        found.setdefault(key, []).append(item)
    return list(found.values())


def changes(items: list[Item], value: Array | None, /) -> list[tuple[Array, State]]:
    """Return the change and the next state of each parameter of a stack, as matrices."""
    first = items[0]
    rule = first.entry.rule
    if rule is None:
        raise AssertionError("what is frozen makes no step")
    x, grad = _stacked([item.x for item in items]), _stacked([item.grad for item in items])
    state = {key: _stacked([item.state[key] for item in items]) for key in first.state}
    kind = common_dtype(x, grad)
    moved, new = _change(rule, x.astype(kind), grad.astype(kind), state, value)
    new = {key: array.astype(state[key].dtype) for key, array in new.items()}
    if len(items) == 1:
        return [(moved, new)]
    return [
        (moved[i], {key: each if each.ndim == 0 else each[i] for key, each in new.items()})
        for i in range(len(items))
    ]


def _stacked(values: list[Array]) -> Array:
    """Stack what each parameter has of its own; a counter is one for all."""
    if len(values) == 1 or (values[0].ndim == 0 and jnp.issubdtype(values[0].dtype, jnp.integer)):
        return values[0]
    return jnp.stack(values)


def _change(
    rule: Rule, x: Array, grad: Array, state: State, value: Array | None
) -> tuple[Array, State]:
    made: Any = getattr(rule, "change", None)
    if made is not None:
        change: tuple[Array, State] = made(x, grad, state, value=value)
        return change
    wide = working(jnp, x)  # a rule of a user: the difference of two points, of full precision
    y, state = rule.update(wide, working(jnp, grad), state, value=value)
    return y - wide, state
