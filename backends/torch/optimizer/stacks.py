"""Any rule, stack by stack, in place.

Parameters of a group whose views have one shape, dtype and device, and that have had as many steps,
may be one call of the rule. Beside the model there is never more than one stack and what its rule
makes of it.
"""

from collections.abc import Iterable, Mapping
from math import prod

import torch
from specdesc._lib.typing import Array
from specdesc.trees.steps import SMALL

from .. import BACKEND
from .items import Item, is_count

#: Numbers that a stack has at most, unless one matrix has more: on a device, where calls cost more
#: than memory, and on a processor, where a larger one is no faster (measured).
ON_DEVICE, ON_PROCESSOR = 2**26, 2**19


def advance(
    items: Iterable[Item], value: Array | None, previous: Mapping[Array, Array] | None
) -> None:
    """Make one step of the rule on each of some parameters of one group."""
    for stack in stacked(items, SMALL, counted=True):
        _advance(stack, value, previous)


def stacked(items: Iterable[Item], small: int, *, counted: bool) -> list[list[Item]]:
    """Return parameters by the calls that move them.

    Parameters
    ----------
    items : iterable of Item
        Of one group.
    small : int
        Numbers of a view up to which a stack is worth its copies on a processor.
    counted : bool
        Whether the step depends on how many there were.
    """
    kinds: dict[tuple[object, ...], list[Item]] = {}
    for item in items:
        entry, t = item.entry, item.count() if counted else 0
        alone = entry.stack is False or (entry.stack is None and not _gains(item, small))
        own = id(item) if alone else 0
        key = (own, entry.view.shape, item.p.dtype, item.p.device, t)
        kinds.setdefault(key, []).append(item)
    stacks: list[list[Item]] = []
    for kind in kinds.values():
        room = len(kind) if kind[0].entry.stack else _room(kind)
        stacks += [kind[i : i + room] for i in range(0, len(kind), room)]
    return stacks


def _gains(item: Item, small: int) -> bool:
    return not BACKEND.may_branch(item.p) or prod(item.entry.view.shape) <= small


def _room(kind: list[Item]) -> int:
    """Return how many matrices of a kind are one stack."""
    most = ON_PROCESSOR if BACKEND.may_branch(kind[0].p) else ON_DEVICE
    return max(1, most // max(1, prod(kind[0].entry.view.shape)))


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
