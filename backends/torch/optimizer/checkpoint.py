"""States that come from elsewhere: matched by name, converted where they are another optimizer's.

What cannot be taken over is refused before anything is changed.
"""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from specdesc._lib.typing import Array
from specdesc.rules import AdamW, Muon, Rule
from specdesc.trees.sections import Sections

from . import numbers, shards
from .items import Item, is_count

#: Keys of a group by which the optimizers of torch are known that have the same buffers.
_STRANGERS = {"dampening": "SGD", "alpha": "RMSprop", "lr_decay": "Adagrad", "etas": "Rprop"}

#: Names that a scale of a rule has in torch.
_SCALES = {None: "keller", "original": "keller", "match_rms_adamw": "adamw_rms"}

#: Keys of a saved group that need no look: its form, and hints on how steps were made.
_HINTS = {
    *numbers.FORM,
    *numbers.SCHEDULERS,
    *numbers.OPTIONS,
    "amsgrad",
    "decoupled_weight_decay",
    "adjust_lr_fn",
    "ns_coefficients",
    "ns_steps",
}


def packed(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a state as it is saved: tensors, numbers and names, which load without code."""
    groups = []
    for group in state_dict["param_groups"]:
        # Every key stays: those who flatten a state look for all that the groups have.
        form = {key: _said(group[key]) for key in _FORM if key in group}
        groups.append({**group, **form})
    return {**state_dict, "param_groups": groups}


#: What the program says of its groups: a file has the names of it, and loading reads the rule's.
_FORM = ("rule", "rest", "view", "scale", "layout", "stack", "sections")


def _said(value: Any) -> Any:
    """Return a value of a group as plain data: the name of what is none."""
    if value is None or isinstance(value, (str, bool, tuple)):
        return value
    return getattr(value, "__name__", type(value).__name__)


def named(rule: Rule | None) -> str:
    """Return the name under which the rule of a group is saved."""
    return str(_said(rule))


def matched(
    state_dict: Mapping[str, Any], groups: list[dict[str, Any]]
) -> tuple[list[list[Any]], list[dict[str, Any]]]:
    """Return the indices of a saved state for the parameters of each group, and its numbers.

    By name where both sides have names, else by order.

    Raises
    ------
    ValueError
        If names, or the sizes of groups, are not the same, or the parameters of one group had
        different numbers.
    """
    saved = state_dict["param_groups"]
    if _has_names(saved) and _has_names(groups):
        origin = _origins(saved)
        wanted = [list(group.get("param_names", [])) for group in groups]
        flat = _occurrences(wanted)
        missing = sorted(name for part in flat for name, _ in part if (name, _) not in origin)
        extra = sorted({name for name, _ in origin} - {name for part in flat for name, _ in part})
        if missing or extra:
            msg = f"the state is of other parameters: it lacks {missing}, and has {extra}"
            raise ValueError(msg)
        sources = [[origin[key] for key in part] for part in flat]
    else:
        sizes, theirs = ([len(g["params"]) for g in each] for each in (groups, saved))
        if sizes != theirs:
            msg = (
                f"the state has groups of {theirs} parameters, the optimizer has groups of {sizes}"
            )
            raise ValueError(msg)
        sources = [[(j, i) for i in group["params"]] for j, group in enumerate(saved)]
    indices = [[index for _, index in part] for part in sources]
    return indices, [
        _one_of(groups[i], [saved[j] for j in sorted({j for j, _ in part})] or saved[i : i + 1])
        for i, part in enumerate(sources)
    ]


def adopted(group: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a saved group under our names, for a group of ours.

    Raises
    ------
    ValueError
        If it is the group of another rule, or of an optimizer that steps in another way.
    """
    rule = group["rule"]
    if "rule" in saved:
        if str(saved["rule"]) != named(rule):
            msg = f"{numbers.called(group)} has the rule {named(rule)}, the state {saved['rule']}"
            raise ValueError(msg)
    else:
        _check_stranger(group, saved)
    own = [key for key in numbers.keys_of(rule) if not callable(getattr(rule, numbers.FIELDS[key]))]
    found = {
        key: deepcopy(saved[key]) for key in (*own, *numbers.SCHEDULERS, "maximize") if key in saved
    }
    if "betas" in found:
        found["betas"] = tuple(found["betas"])
    if "rule" in saved and "momentum" in saved and "betas" in own:
        found["momentum"] = saved["momentum"]
    return found


def converted(item: Item, saved: Mapping[str, Any]) -> dict[str, Array]:
    """Return the state of one parameter as ours, in memory of its own.

    Raises
    ------
    ValueError
        If it is the state of another rule, or of a parameter of another shape.
    """
    rule = item.entry.rule
    own = rule.rules[0] if isinstance(rule, Sections) else rule
    state = dict(saved)
    if isinstance(own, AdamW) and "exp_avg" in state:
        state = _from_adamw(item, state)
    elif isinstance(own, Muon) and state.keys() == {"momentum_buffer"}:
        state = _from_muon(item, own, state)
    template: dict[str, Array] = {}
    replace(item, state=template).open()
    expected = template.keys() | (state.keys() & {"previous"})
    if state.keys() != expected:
        msg = (
            f"the state of {item.name} is of another rule than {named(own)}: it has "
            f"{sorted(state)}, needed are {sorted(template)}"
        )
        raise ValueError(msg)
    for key, value in state.items():
        like: Array = template.get(key, item.p)
        if tuple(value.shape) != tuple(like.shape):
            msg = (
                f"the state of {item.name} has {key!r} of shape {tuple(value.shape)}, "
                f"needed is {tuple(like.shape)}"
            )
            raise ValueError(msg)
        state[key] = _placed(value, like)
    return state


def _placed(value: Array, like: Array) -> Array:
    """Return a copy of a saved tensor where and as that of the state is, in its own dtype."""
    value = value.detach()
    if is_count(like):
        return value.to(like.device, like.dtype, copy=True)
    copy = torch.zeros_like(like.detach(), dtype=value.dtype)
    target = copy.to_local() if shards.is_sharded(copy) else copy
    if shards.is_sharded(like) and not shards.is_sharded(value):
        value = value.to(like.device)
    target.copy_(shards.local(value, like))
    return copy


def _from_adamw(item: Item, state: dict[str, Any]) -> dict[str, Array]:
    """Convert the averages of torch.optim.AdamW: ours keeps the root of the second."""
    if "max_exp_avg_sq" in state:
        msg = f"the state of {item.name} is of AdamW with amsgrad, which rules.AdamW has not"
        raise ValueError(msg)
    wide = torch.promote_types(item.p.dtype, torch.float32)
    return {
        "t": torch.tensor(int(state["step"]), dtype=torch.int32),
        "mean": state["exp_avg"].to(wide),
        "root_mean_square": state["exp_avg_sq"].to(wide).sqrt(),
    }


def _from_muon(item: Item, rule: Muon, state: dict[str, Any]) -> dict[str, Array]:
    """Convert the buffer of torch.optim.Muon, an average from zero without a count of steps."""
    if callable(rule.step) or callable(rule.beta) or rule.momentum == "ema_corrected":
        msg = f"the state of {item.name} has no count of steps, which {rule!r} needs"
        raise ValueError(msg)
    buffer = state["momentum_buffer"]
    if rule.momentum == "heavy_ball":
        buffer = buffer / (1.0 - float(rule.beta))
    return {"t": torch.zeros((), dtype=torch.int32), "momentum_buffer": buffer.to(item.p.dtype)}


def _check_stranger(group: dict[str, Any], saved: dict[str, Any]) -> None:
    """Raise unless a group of another optimizer says what a group of ours can do."""
    rule = group["rule"]
    known = {*numbers.keys_of(rule), *_HINTS}
    if isinstance(rule, Muon):
        known.add("eps")  # of the division by a norm, which has none here
    reasons: list[tuple[str, Any]] = [
        (f"it is of torch.optim.{name}", key in saved and key not in numbers.keys_of(rule))
        for key, name in _STRANGERS.items()
    ]
    reasons += [
        ("amsgrad is not possible", saved.get("amsgrad")),
        (
            "its weight decay is part of the gradient",
            saved.get("decoupled_weight_decay") is False and saved.get("weight_decay"),
        ),
    ]
    if isinstance(rule, Muon):
        reasons.append(("it has betas", "betas" in saved))
        if "adjust_lr_fn" in saved:
            scale = _SCALES.get(saved["adjust_lr_fn"], "none")
            own = group.get("scale", rule.scale)
            reasons.append((f"its steps have the scale {scale!r}, ours {own!r}", scale != own))
        decay = rule.decay
        reasons.append(
            (f"its weight decay is decoupled, ours {decay!r}", _has_decay(saved, decay, rule))
        )
    for reason, found in reasons:
        if found:
            msg = f"{numbers.called(group)} cannot take over the state: {reason}"
            raise ValueError(msg)
    unknown = sorted(saved.keys() - known - set(numbers.FIELDS))
    lost = sorted(
        key
        for key in numbers.FIELDS
        if key in saved and key not in known and not (key == "weight_decay" and not saved[key])
    )
    if unknown or lost:
        msg = f"{numbers.called(group)} cannot take over {unknown + lost} of the state"
        raise ValueError(msg)


def _has_decay(saved: dict[str, Any], decay: str, rule: Muon) -> bool:
    return decay != "decoupled" and bool(saved.get("weight_decay", 0.0))


def _has_names(groups: list[dict[str, Any]]) -> bool:
    return all(len(group.get("param_names", [])) == len(group["params"]) for group in groups)


def _occurrences(parts: list[list[str]]) -> list[list[tuple[str, int]]]:
    """Return names with a number: two parameters of one name are matched in their order."""
    seen: dict[str, int] = {}
    found: list[list[tuple[str, int]]] = []
    for part in parts:
        found.append([])
        for name in part:
            seen[name] = seen.get(name, 0) + 1
            found[-1].append((name, seen[name]))
    return found


def _origins(saved: list[dict[str, Any]]) -> dict[tuple[str, int], tuple[int, Any]]:
    """Return group and index of each saved parameter, by name."""
    keys = _occurrences([list(group.get("param_names", [])) for group in saved])
    return {
        key: (j, index)
        for j, (group, part) in enumerate(zip(saved, keys, strict=True))
        for key, index in zip(part, group["params"], strict=True)
    }


def _one_of(group: dict[str, Any], saved: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the one saved group with the numbers of a group of ours."""
    found = [adopted(group, each) for each in saved]
    if any(not _same(found[0], other) for other in found[1:]):
        msg = f"the parameters of {numbers.called(group)} were in groups of different numbers"
        raise ValueError(msg)
    return found[0] if found else {}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    def equal(a: Any, b: Any) -> bool:
        both = isinstance(a, float) and isinstance(b, float)
        return bool(a == b) or (both and math.isnan(a) and math.isnan(b))

    return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
