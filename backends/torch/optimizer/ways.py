"""Ways in: what may stand for the parameters of an optimizer, and which group each one joins."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from specdesc import trees
from specdesc._lib.typing import Array
from specdesc.rules import Rule
from specdesc.trees.routes import entry_of

from . import numbers, shards

#: A parameter and its name, None where it came without one.
Named = tuple[str | None, Array]

#: Keys of a group that say how its rule sees parameters.
SEEN = ("view", "scale", "layout", "stack", "sections")


@dataclass(frozen=True)
class Chooser:
    """Which rule a parameter gets that comes without one.

    Attributes
    ----------
    groups : tuple of trees.Group
        The first that takes it.
    rest : trees.Group or None
        What no group takes.
    """

    groups: tuple[trees.Group, ...] = ()
    rest: trees.Group | None = None

    @classmethod
    def of(cls, groups: Sequence[Any], rest: Any) -> "Chooser":
        """Check what a user has given."""
        for group in groups:
            if not isinstance(group, trees.Group):
                msg = (
                    f"groups must be of specdesc.trees.Group, got {group!r}; "
                    'write trees.Group("*.weight", rule), or rest=rule'
                )
                raise TypeError(msg)
        return cls(tuple(groups), as_rest(rest))

    def index(self, path: str, p: Array) -> int:
        """Return which group takes a parameter, -1 for the rest."""
        for i, group in enumerate(self.groups):
            if group.takes(path, p):
                return i
        if self.rest is None or not self.rest.takes(path, p):
            msg = f"no group takes {path!r} of shape {tuple(p.shape)}: write rest=rules.AdamW(1e-3)"
            raise ValueError(msg)
        return -1


def as_rest(rest: Any) -> trees.Group | None:
    """Return what takes everything that is left."""
    if rest is None or isinstance(rest, trees.Group):
        return rest
    if isinstance(rest, type) or not hasattr(rest, "update"):
        msg = f"rest must be a rule such as rules.AdamW(1e-3), or a trees.Group, got {rest!r}"
        raise TypeError(msg)
    return trees.Group("*", rest, view="whole")


def listed(params: Any) -> list[dict[str, Any]]:
    """Return the groups that the first argument of an optimizer stands for.

    Parameters
    ----------
    params : Module, iterable of parameters, of (name, parameter), or of dict
        A dict is a group, as torch has it.
    """
    if isinstance(params, torch.nn.Module):
        params = params.named_parameters()
    if isinstance(params, (torch.Tensor, str)) or not isinstance(params, Iterable):
        msg = f"params must be model.named_parameters() or groups of it, got {type(params)}"
        raise TypeError(msg)
    found = list(params)
    if not found:
        msg = "the optimizer got no parameters: pass model.named_parameters()"
        raise ValueError(msg)
    if all(isinstance(each, dict) for each in found):
        return [dict(each) for each in found]
    return [{"params": found}]


def pairs(params: Any) -> list[Named]:
    """Return the parameters of a group with their names."""
    if isinstance(params, torch.nn.Module):
        params = params.named_parameters()
    if isinstance(params, (set, frozenset)):
        msg = "the parameters of a group must have an order: pass a list in place of a set"
        raise TypeError(msg)
    found: list[Named] = []
    for each in [params] if isinstance(params, torch.Tensor) else params:
        name, p = each if isinstance(each, tuple) and len(each) == 2 else (None, each)
        if not isinstance(p, torch.Tensor):
            msg = f"parameters must be tensors, or named as (name, tensor), got {each!r}"
            raise TypeError(msg)
        if not p.is_leaf and not p.retains_grad:
            msg = f"{name or 'a parameter'} is the result of a computation: pass parameters"
            raise ValueError(msg)
        found.append((name, p))
    return found


def paths(named: Iterable[Named], start: int = 0) -> list[str]:
    """Return how routes call parameters: by name, by order without one, and each differently."""
    found: list[str] = []
    seen: dict[str, int] = {}
    for i, (name, _) in enumerate(named, start):
        path = str(i) if name is None else name
        seen[path] = seen.get(path, 0) + 1
        found.append(path if seen[path] == 1 else f"{path} ({seen[path]})")
    return found


def check_new(known: Iterable[Array], named: Sequence[Named]) -> None:
    """Raise `ValueError` for a parameter that is there already, under whatever name."""
    taken = {id(p): "" for p in known}
    for path, (_, p) in zip(paths(named), named, strict=True):
        if id(p) in taken:
            other = taken[id(p)]
            where = f"as {other!r} and as {path!r}" if other else f"again, as {path!r}"
            msg = f"one parameter was given {where}: pass each one once"
            raise ValueError(msg)
        taken[id(p)] = path


def check_taken(named: Sequence[Named], chooser: Chooser) -> None:
    """Raise `ValueError` for a group that takes none of the parameters."""
    known = paths(named)
    taken = {chooser.index(path, p) for path, (_, p) in zip(known, named, strict=True)}
    for i, group in enumerate(chooser.groups):
        if i not in taken:
            listed = ", ".join([*known[:20], *["..."] * (len(known) > 20)])
            msg = f"the group {group.named()} takes no parameter; paths: {listed}"
            raise ValueError(msg)


def resolved(group: dict[str, Any], chooser: Chooser, start: int) -> Iterator[dict[str, Any]]:
    """Return the groups of an optimizer that a group of a user becomes: one a rule.

    Parameters
    ----------
    group : dict
        With ``"params"``, and any of the keys of `numbers`; with a ``"rule"`` it stays one.
    chooser : Chooser
        For parameters without a rule. A ``"rest"`` in the group goes before its own.
    start : int
        How many parameters there are already, from which those without a name are counted.
    """
    options = {key: value for key, value in group.items() if key not in ("params", "rest")}
    named = pairs(group["params"])
    if "param_names" in options:
        names = options.pop("param_names")
        named = [(name, p) for name, (_, p) in zip(names, named, strict=True)]
    if group.get("rest") is not None:
        chooser = Chooser(chooser.groups, as_rest(group["rest"]))
    routed: dict[int, tuple[trees.Group, list[Named]]] = {}
    if "rule" in options:
        seen = {key: options.pop(key, None) for key in SEEN}
        spec = trees.Group("*", _rule(options.pop("rule")), **seen)
        routed[0] = (spec, named)
    elif not named:
        routed[-1] = (_only(chooser), named)
    else:
        for path, each in zip(paths(named, start), named, strict=True):
            index = chooser.index(path, each[1])
            spec = chooser.groups[index] if index >= 0 else _only(chooser)
            routed.setdefault(index, (spec, []))[1].append(each)
    # In the order of the groups, the rest last.
    for index in sorted(routed, key=lambda i: (i < 0, i)):
        spec, members = routed[index]
        name = "rest" if index < 0 else spec.named().strip("'")
        if "rule" in group:
            name = "frozen" if spec.rule is None else type(spec.rule).__name__
        yield _group(spec, members, {"name": name, **options}, start)


def spec_of(group: dict[str, Any], rule: Rule | None) -> trees.Group:
    """Return what a group of an optimizer does to a parameter, with this rule in it."""
    return trees.Group(group.get("name", "*"), rule, **{key: group.get(key) for key in SEEN})


def check_entries(group: dict[str, Any], start: int) -> None:
    """Raise unless the view of a group fits each of its parameters, which are whole."""
    spec = spec_of(group, numbers.current(group, 0))
    for path, p in called(group, start):
        shards.check_whole(p, repr(path))
        entry_of(path, tuple(p.shape), spec, 0)


def called(group: dict[str, Any], start: int) -> list[tuple[str, Array]]:
    """Return the parameters of a group by path; `start` of other groups stand before them."""
    named = list(zip(names_of(group), group["params"], strict=True))
    return list(zip(paths(named, start), group["params"], strict=True))


def names_of(group: dict[str, Any]) -> list[str | None]:
    """Return a name for each parameter; None for all where somebody has changed their number."""
    names, params = group.get("param_names"), group["params"]
    return list(names) if names and len(names) == len(params) else [None] * len(params)


def _rule(rule: Any) -> Any:
    if rule is not None and (isinstance(rule, type) or not hasattr(rule, "update")):
        msg = f"the rule of a group must be one such as rules.Muon(0.02), got {rule!r}"
        raise TypeError(msg)
    return rule


def _only(chooser: Chooser) -> trees.Group:
    if chooser.rest is not None:
        return chooser.rest
    if len(chooser.groups) == 1:
        return chooser.groups[0]
    msg = "a group without parameters needs a rule: write {'params': [], 'rule': rule}"
    raise ValueError(msg)


def _group(
    spec: trees.Group, members: list[Named], options: dict[str, Any], start: int
) -> dict[str, Any]:
    group: dict[str, Any] = {"params": [p for _, p in members]}
    if members and all(name is not None for name, _ in members):
        group["param_names"] = [name for name, _ in members]
    # Any other option of the rule is one of its own from here on; numbers stay in the group.
    inside = (numbers.fields_of(spec.rule) - set(numbers.FIELDS) - set(SEEN)) & options.keys()
    rule: Any = spec.rule
    if inside:
        rule = replace(rule, **{key: options.pop(key) for key in inside})
    group |= {"name": options.pop("name"), "rule": rule}
    group |= {key: getattr(spec, key) for key in SEEN if getattr(spec, key) is not None}
    group |= options
    numbers.filled(group)
    check_entries(group, start)
    return group
