"""Numbers of a parameter group: those of its rule, under the names that torch has for them.

A group holds the rule that it was made with under ``"rule"``, and beside it what schedulers,
loggers and users read and write: ``"lr"`` is the step, absolute; ``"weight_decay"``; ``"momentum"``
is the factor on the old buffer, ``"betas"`` both of AdamW; ``"eps"``; ``"nesterov"``. The numbers
win: the rule of a step is the rule of the group with the numbers of the group.

Where a rule has a schedule in place of a number the group shows its value at the next step, and
whoever writes another one is refused: two schedules of one number cannot both be followed.
"""

import math
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from specdesc.rules import Rule

Group = dict[str, Any]

#: Keys of a group, and the field of a rule that each one is.
FIELDS = {
    "lr": "step",
    "weight_decay": "weight_decay",
    "momentum": "beta",
    "betas": "betas",
    "eps": "eps",
    "nesterov": "nesterov",
}

#: What says which parameters a group has and how its rule sees them.
FORM = ("params", "param_names", "name", "rule", "view", "scale", "layout", "stack", "sections")

#: What the schedulers of torch leave in a group for themselves.
SCHEDULERS = (
    "initial_lr",
    "max_lr",
    "min_lr",
    "swa_lr",
    "max_momentum",
    "base_momentum",
)

#: Options of torch's optimizers, and what to do instead of each that has no meaning here.
OPTIONS = {
    "maximize": "",
    "foreach": "",
    "rest": "",
    "capturable": "",
    "differentiable": "the step is no part of a graph; use specdesc.trees.update, which is",
    "fused": "leave it out",
}


def fields_of(rule: Rule | None) -> set[str]:
    """Return the names of the numbers that a rule has."""
    return {field.name for field in fields(rule)} if is_dataclass(rule) else set()


def keys_of(rule: Rule | None) -> list[str]:
    """Return the keys that a group with this rule has numbers under."""
    known = fields_of(rule)
    # A rule without a buffer has None for the factor on it.
    return [k for k, field in FIELDS.items() if field in known and getattr(rule, field) is not None]


def shown(rule: Rule | None, key: str, t: int) -> Any:
    """Return the number of a rule, or the value of its schedule at step `t`.

    A schedule that needs the loss or the gradient has no value before the step: NaN.
    """
    number = getattr(rule, FIELDS[key])
    if not callable(number):
        return number
    try:
        return float(number(float(t), value=None, grad=None))
    except (TypeError, ValueError, AttributeError):
        return math.nan


def has_schedule(rule: Rule | None) -> bool:
    """Say whether a rule has a schedule in place of one of its numbers."""
    return any(callable(getattr(rule, FIELDS[key])) for key in keys_of(rule))


def filled(group: Group) -> None:
    """Give a new group the numbers of its rule that it lacks."""
    for key in keys_of(group["rule"]):
        group.setdefault(key, shown(group["rule"], key, 0))
    # Loggers and schedulers expect these two of every group.
    group.setdefault("lr", 0.0 if group["rule"] is None else math.nan)
    group.setdefault("weight_decay", 0.0)


def refresh(group: Group, t: int) -> None:
    """Show the values that the schedules of the rule have at step `t`."""
    for key in keys_of(group["rule"]):
        if callable(getattr(group["rule"], FIELDS[key])):
            group[key] = shown(group["rule"], key, t)


def current(group: Group, t: int) -> Rule | None:
    """Return the rule of a group with the numbers of the group.

    Raises
    ------
    TypeError, ValueError
        For an unknown key, a number that the rule does not have, one that it has a schedule for,
        or one that it refuses; the message names group and key.
    """
    rule = group["rule"]
    check_keys(group)
    changes: dict[str, Any] = {}
    for key in keys_of(rule):
        own, number = getattr(rule, FIELDS[key]), plain(group, key)
        if callable(own):
            _check_schedule(group, key, number, t)
        elif isinstance(own, torch.Tensor) or isinstance(number, torch.Tensor) or number != own:
            changes[FIELDS[key]] = number
    if "betas" in group and "momentum" in group:
        # Schedulers that cycle momentum write this key where any group has it.
        betas = changes.get("betas", rule.betas)
        changes["betas"] = (plain(group, "momentum"), *betas[1:])
    if not changes or rule is None:
        return rule  # type: ignore[no-any-return]
    try:
        return replace(rule, **changes)  # type: ignore[no-any-return]
    except ValueError as error:
        msg = f"{called(group)}: {error}"
        raise ValueError(msg) from error


def check_keys(group: Group) -> None:
    """Raise unless every key of a group has a meaning for its rule."""
    rule = group["rule"]
    own = keys_of(rule)
    for key, value in group.items():
        if key in own or key in FORM or key in SCHEDULERS:
            continue
        if key in OPTIONS:
            if value and OPTIONS[key]:
                msg = f"{called(group)} has {key}={value!r}, which is not possible: {OPTIONS[key]}"
                raise ValueError(msg)
        elif key not in FIELDS:
            known = ", ".join([*own, *FORM, "maximize"])
            msg = f"{called(group)} has the unknown key {key!r}; known are {known}"
            raise ValueError(msg)
        elif not _means_nothing(group, key, value):
            name = "None" if rule is None else type(rule).__name__
            msg = f"{called(group)} has {key}={value!r}, but its rule {name} has no {FIELDS[key]}"
            raise ValueError(msg)


def plain(group: Group, key: str) -> Any:
    """Return a number of a group as Python has it: tensors of one number are allowed, as in torch.

    Raises
    ------
    TypeError
        For anything else.
    """
    value = group[key]
    if key == "betas":
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            msg = f"{called(group)}: betas must be two numbers, got {value!r}"
            raise TypeError(msg)
        return tuple(_number(group, key, beta) for beta in value)
    if isinstance(value, bool) and key == "nesterov":
        return value
    return _number(group, key, value)


def called(group: Group) -> str:
    """Return how messages call a group."""
    return f"the parameter group {group.get('name', '')!r}"


def defaults_of(groups: Iterable[Group]) -> dict[str, Any]:
    """Return what torch's schedulers look for to learn which numbers they may cycle."""
    groups = list(groups)
    found: dict[str, Any] = {"lr": math.nan, "weight_decay": 0.0}
    if not groups:
        return found
    found |= {key: groups[0][key] for key in found}
    if any("momentum" in keys_of(group["rule"]) for group in groups):
        found["momentum"] = next(g["momentum"] for g in groups if "momentum" in g)
    elif any("betas" in group for group in groups):
        found["betas"] = next(group["betas"] for group in groups if "betas" in group)
    return found


def _number(group: Group, key: str, value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        if key == "lr" and group.get("capturable"):
            return value.reshape(())  # read on the device, whenever the graph is replayed
        return float(value)
    try:
        if isinstance(value, (bool, str)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        msg = f"{called(group)}: {key} must be a number, got {value!r}"
        raise TypeError(msg) from None


def _check_schedule(group: Group, key: str, number: float, t: int) -> None:
    if group.get("capturable"):
        msg = f"{called(group)} is capturable, but its rule has a schedule: give it a number"
        raise ValueError(msg)
    if key == "lr" and "initial_lr" in group:
        msg = (
            f"{called(group)} is driven by a scheduler of torch, but the step of its rule is a "
            "schedule itself: give the rule a number"
        )
        raise ValueError(msg)
    expected = shown(group["rule"], key, t)
    if number != expected and not (math.isnan(number) and math.isnan(expected)):
        msg = (
            f"{called(group)}: {key} was set to {number!r}, but the rule has a schedule for it, "
            f"which says {expected!r}: give the rule a number"
        )
        raise ValueError(msg)


def _means_nothing(group: Group, key: str, value: Any) -> bool:
    """Say whether a number that a rule does not have may stand in its group all the same."""
    if key == "momentum" and ("base_momentum" in group or "betas" in group):
        return True  # of a scheduler, which cycles the momentum of other groups
    if key == "weight_decay":
        return bool(value == 0.0)
    return key == "lr" and (group["rule"] is None or math.isnan(value))
