"""Any rule, stack by stack, in place.

Parameters of a group whose views have one shape, dtype and device, and that have had as many steps,
may be one call of the rule. Beside the model there is never more than one stack and what its rule
makes of it.
"""

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import torch
from specdesc._lib.typing import Array
from specdesc.trees.steps import SMALL

from .. import BACKEND
from .items import Item, is_count

#: Numbers that a stack holds at most where it would be larger than its largest matrix.
MOST = 2**22


def advance(
    items: Iterable[Item], value: Array | None, previous: Mapping[Array, Array] | None
) -> None:
    """Make one step of the rule on each of some parameters of one group."""
    for stack in stacked(items, _gains):
        _advance(stack, value, previous)


def stacked(items: Iterable[Item], gains: Any) -> list[list[Item]]:
    """Return parameters by the calls that move them.

    Parameters
    ----------
    items : iterable of Item
        Of one group.
    gains : callable
        Says of an item whether it is worth the copies of a stack, where the group does not say.
    """
    found: dict[tuple[object, ...], list[list[Item]]] = {}
    for item in items:
        entry = item.entry
        together = gains(item) if entry.stack is None else entry.stack
        kind = (entry.view.shape, item.p.dtype, item.p.device, item.count())
        stacks = found.setdefault(kind if together else (id(item),), [[]])
        room = max(1, MOST // max(1, prod(entry.view.shape)))
        if entry.stack is None and len(stacks[-1]) >= room:
            stacks.append([])
        stacks[-1].append(item)
    return [stack for stacks in found.values() for stack in stacks]


def _gains(item: Item) -> bool:
    return not BACKEND.may_branch(item.p) or prod(item.entry.view.shape) <= SMALL


def _advance(
    stack: list[Item], value: Array | None, previous: Mapping[Array, Array] | None
) -> None:
    first = stack[0]
    rule = first.entry.rule
    if rule is None:
        return
    states = [item.own_state() for item in stack]
    own = {key: _together([state[key] for state in states]) for key in states[0]}
    del states
    point, own = rule.update(
        _together([item.matrices(item.p.detach()) for item in stack]),
        _together([item.matrices(item.grad.to(item.p.dtype)) for item in stack]),
        own,
        value=value,
        previous_grad=None
        if previous is None
        else _together([item.matrices(previous[item.p].to(item.p.dtype)) for item in stack]),
    )
    for i, item in enumerate(stack):
        item.write(item.p.detach(), _part(point, i, stack))
        item.keep({key: _part(each, i, stack) for key, each in own.items()})


def _together(values: list[Array]) -> Array:
    """Stack what each parameter has of its own; a count is one for all."""
    if len(values) == 1 or is_count(values[0]):
        return values[0]
    return torch.stack(values)


def _part(value: Array, i: int, stack: list[Item]) -> Array:
    return value if len(stack) == 1 or value.ndim == 0 else value[i]
