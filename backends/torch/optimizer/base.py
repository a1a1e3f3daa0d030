"""Rules as an optimizer of torch, in place on its parameters."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import torch
from specdesc import trees
from specdesc._lib.typing import Array
from specdesc.rules import Rule
from specdesc.trees.routes import entry_of

from .. import BACKEND
from . import adamw, checkpoint, exchange, momentum, numbers, shards, stacks, ways
from .items import Item

Loss = Callable[[], Any]


def _hooked(step: Callable[..., Any]) -> Any:
    """Return a step with the hooks of torch around it, which a compiler leaves alone as a whole.

    Torch would put its hooks around whatever is here, and a compiler would break its graph inside.
    """
    hooked: Any = torch.compiler.disable(torch.optim.Optimizer.profile_hook_step(step))
    hooked.hooked = True
    return hooked


class Optimizer(torch.optim.Optimizer):  # type: ignore[misc]  # torch is not read by mypy
    """Rules of `specdesc.rules` on the parameters of a model.

    Parameters
    ----------
    params : iterable
        Of ``(name, parameter)``, as ``model.named_parameters()`` gives it; of parameters, which are
        then routed by shape, and called by their order; or of dicts, each a group of its own with
        ``"params"`` and any keys of a group, such as ``"rule"``, ``"lr"`` or ``"view"``. A module
        stands for its named parameters.
    *groups : trees.Group
        Each parameter without a rule goes to the first group that takes it.
    rest : Rule or trees.Group, optional
        For what no group takes, and for groups that are added later without a rule.
    maximize : bool
        Climb in place of descend.
    capturable : bool
        The step may become part of a CUDA graph: counts are on the device, and an ``"lr"`` that is
        a tensor is read there at every replay. The rule of a group must have no schedule.
    init_states : bool
        Make the states now. False makes that of a parameter at its first step.
    split : bool or ProcessGroup
        For parameters and gradients that every process has, as with DistributedDataParallel: each
        process makes the factors of some matrices and sends them to the others, and all hold the
        same bits after the step. True is the default group. Muon with plain numbers is split, other
        rules are not. A copy or a pickle is not split.

    Attributes
    ----------
    route : trees.Route
        ``print(optimizer.route)`` shows which parameter gets which rule, view and scale.

    Raises
    ------
    TypeError, ValueError
        For whatever cannot be meant: the message says what to write.

    Notes
    -----
    ``param_groups`` is the only truth. Each group has a ``"rule"`` and beside it the numbers of the
    rule: ``"lr"`` is its step, absolute, ``"weight_decay"``, ``"momentum"`` its factor on the old
    buffer, ``"betas"`` and ``"eps"`` those of AdamW. What schedulers, loggers or you write there is
    what the next step uses; parameters may be added, swapped, removed, frozen and unfrozen. Where
    the step of a rule is a schedule, ``"lr"`` shows its value and a scheduler of torch is refused.

    A parameter without a gradient is skipped. The state of a parameter has buffers of its shape,
    written in place, and the count ``"t"``. Half precision gets float32 averages in AdamW. Steps
    are made in the dtype of the parameters, under autocast too. A first step with gradients and
    learning rates that are all zero, as checkpoints of sharded models make it, opens the states
    and changes nothing else.

    A rule with ``needs_previous_grad`` needs a closure. It is called a second time at the last
    point, on the same sample therefore, and costs a copy of the parameters.

    The step runs outside of ``torch.compile``.

    Examples
    --------
    >>> import torch
    >>> from specdesc import rules, trees
    >>> from specdesc.torch import Optimizer
    >>> model = torch.nn.Linear(3, 2)
    >>> matrices = trees.Group("*", rules.Muon(0.02), ndim=2)
    >>> optimizer = Optimizer(model.named_parameters(), matrices, rest=rules.AdamW(1e-3))
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.02, 0.001]
    >>> model(torch.ones(3)).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Any],
        *groups: trees.Group,
        rest: Rule | trees.Group | None = None,
        maximize: bool = False,
        capturable: bool = False,
        init_states: bool = False,
        split: Any = False,
    ) -> None:
        self._split = shards.team(split)
        self._chooser = ways.Chooser.of(groups, rest)
        self._options = {"maximize": maximize, "capturable": capturable}
        self._init_states = init_states
        given = ways.listed(params)
        for group in given:
            if "params" in group:
                group["params"] = ways.pairs(group["params"])
        ways.check_taken(
            [each for group in given if "rule" not in group for each in group.get("params", [])],
            self._chooser,
        )
        super().__init__(given, {})

    def add_param_group(self, param_group: Any) -> None:
        """Add a group: one for each rule that its parameters get, in the order of the groups.

        Parameters
        ----------
        param_group : dict
            ``"params"``, with names or without, and any of: ``"rule"``, without which parameters
            are chosen for as at construction; the numbers of the rule; ``"view"``, ``"scale"``,
            ``"layout"``, ``"stack"``, ``"sections"`` as in `trees.Group`; ``"name"``;
            ``"maximize"``; ``"capturable"``.

        Raises
        ------
        TypeError, ValueError
            For unknown keys, parameters that are there already, and what does not fit the rule.
        """
        if not isinstance(param_group, dict) or "params" not in param_group:
            msg = f"a group must be a dict with the key 'params', got {param_group!r}"
            raise TypeError(msg)
        known = [p for group in self.param_groups for p in group["params"]]
        named = ways.pairs(param_group["params"])
        ways.check_new(known, named)
        group = {**param_group, "params": named}
        for key, value in self._options.items():
            if value:
                group.setdefault(key, True)
        ready = list(ways.resolved(group, self._chooser, len(known)))
        if any("param_names" in group for group in (*self.param_groups, *ready)):
            # Torch wants names for all or for none: without one a parameter has its order.
            _name([*self.param_groups, *ready])
        self.defaults = {}
        for new in ready:
            new["name"] = _unused(new["name"], self.param_groups)
            super().add_param_group(new)
        self.defaults = numbers.defaults_of(self.param_groups)
        if self._init_states:
            self._open(ready)

    #: The processes that share the work on what each of them has, None for no sharing.
    _split: Any = None

    @property
    def route(self) -> trees.Route:
        """Which parameter gets which rule, view and scale, as ``param_groups`` is now."""
        entries = []
        start, has_names = 0, True
        for i, group in enumerate(self.param_groups):
            spec = ways.spec_of(group, numbers.current(group, self._count(group)))
            has_names = has_names and None not in ways.names_of(group)
            for path, p in ways.called(group, start):
                entries.append(entry_of(path, tuple(p.shape), spec, i))
            start += len(group["params"])
        kind = trees.Route if has_names else _ByOrder
        return kind(tuple(entries), tuple(group["name"] for group in self.param_groups))

    @_hooked
    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Loss | None = None) -> Any:
        """Make one step and return what `closure` returned, which is called with gradients.

        Raises
        ------
        TypeError
            For a sparse gradient.
        ValueError
            If a rule needs the gradient at the previous point and there is no closure, or a group
            says what its rule cannot do.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with ExitStack() as precise:
            for p in {p.device: p for group in self.param_groups for p in group["params"]}.values():
                precise.enter_context(BACKEND.guard(p))
            self._advance(loss, closure)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the state: tensors, numbers and names, which load with ``weights_only=True``."""
        every: defaultdict[Array, dict[str, Any]] = vars(self)["state"]
        known = {p for group in self.param_groups for p in group["params"]}
        # What was taken out of the groups keeps its state, for the time that it comes back.
        self.state = defaultdict(dict, {p: own for p, own in every.items() if p in known and own})
        try:
            return checkpoint.packed(super().state_dict())
        finally:
            self.state = every

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state: of this optimizer, ``torch.optim.Muon`` or ``torch.optim.AdamW``.

        Parameters
        ----------
        state_dict : dict
            Matched by names where both sides have them, else by order. Learning rate, weight decay
            and the other numbers of its groups become those of the groups here; what the program
            says, rules and views, stays. Tensors are copied.

        Raises
        ------
        ValueError
            For the state of other parameters, of another rule, or of an optimizer whose steps are
            not those of the rule; nothing is changed then.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        indices, found = checkpoint.matched(state_dict, self.param_groups)
        states: defaultdict[Array, dict[str, Any]] = defaultdict(dict)
        for group, saved, origins in zip(self.param_groups, found, indices, strict=True):
            items = self._items({**group, **saved}, lambda _: {})
            for item, origin in zip(items, origins, strict=True):
                own = state_dict["state"].get(origin)
                if own and item.entry.rule is not None:
                    states[item.p] = checkpoint.converted(item, own)
        self.state = states
        for group, saved in zip(self.param_groups, found, strict=True):
            group.update(saved)
            numbers.refresh(group, self._count(group))
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        own = ("_chooser", "_options", "_init_states")
        return {**super().__getstate__(), **{key: self.__dict__[key] for key in own}}

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            size = sum(p.numel() for p in group["params"])
            lines += [f"Parameter Group {i}: {group['name']}"]
            lines += [f"    params: {len(group['params'])} arrays, {size:,} numbers"]
            lines += [f"    rule: {numbers.current(group, self._count(group))!r}"]
            skipped = ("params", "param_names", "name", "rule")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key not in skipped]
        return "\n".join([*lines, ")"])

    def _advance(self, loss: Any, closure: Loss | None) -> None:
        if self._opens_only():
            self._open(self.param_groups)
            return
        moving = [self._moving(group) for group in self.param_groups]
        every = [item for items in moving for item in items]
        for item in every:
            item.open()
        previous = self._previous_gradients(every, closure)
        value = loss.detach() if isinstance(loss, torch.Tensor) else None
        for group, items in zip(self.param_groups, moving, strict=True):
            _move(items, value, previous, self._split)
            numbers.refresh(group, self._count(group))

    def _moving(self, group: dict[str, Any]) -> list[Item]:
        """Return what moves in this step: parameters with a rule and a gradient."""
        if group["rule"] is None:
            numbers.check_keys(group)
            return []
        items = self._items(group, self.state.__getitem__, moving=True)
        for item in items:
            shards.check_whole(item.p, item.name)
            if item.grad.layout != torch.strided:
                msg = (
                    f"the gradient of {item.name} is sparse, of layout {item.grad.layout}: make "
                    "its layer with sparse=False, or give it to torch.optim.SparseAdam"
                )
                raise TypeError(msg)
        return items

    def _items(
        self, group: dict[str, Any], state_of: Callable[[Array], Any], *, moving: bool = False
    ) -> list[Item]:
        """Return the parameters of a group with the rule that its numbers make.

        All of them, or those that have a gradient.
        """
        spec = ways.spec_of(group, numbers.current(group, self._count(group)))
        sign = -1 if group.get("maximize") else 1
        capturable = bool(group.get("capturable"))
        entries: dict[tuple[int, ...], trees.Entry] = {}
        items = []
        names, called = ways.names_of(group), group["name"]
        for i, p in enumerate(group["params"]):
            if moving and p.grad is None:
                continue
            shape = tuple(p.shape)
            name = f"parameter {i} of {called!r}" if names[i] is None else repr(names[i])
            if shape not in entries:
                entries[shape] = entry_of(name.strip("'"), shape, spec, 0)
            grad = None if p.grad is None else sign * p.grad if sign < 0 else p.grad
            items.append(Item(name, p, grad, state_of(p), entries[shape], capturable))
        return items

    def _open(self, groups: Iterable[dict[str, Any]]) -> None:
        """Make the states of all parameters that have none."""
        for group in groups:
            ready = dict(group)
            numbers.refresh(ready, self._count(group))
            if group["rule"] is None:
                continue
            for item in self._items(ready, self.state.__getitem__):
                item.open()

    def _opens_only(self) -> bool:
        """Say whether a first step asks for nothing but states: it has no length, and no gradient.

        `torch.distributed.checkpoint.state_dict` makes such a step before it reads a state.
        """
        if self.state or any(numbers.plain(group, "lr") != 0.0 for group in self.param_groups):
            return False
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        known = [grad for grad in grads if grad is not None and grad.layout == torch.strided]
        return bool(known) and not any(bool(shards.whole(grad.any())) for grad in known)

    def _count(self, group: dict[str, Any]) -> int:
        """Return how many steps a group has had, for the schedules of its rule."""
        if not numbers.has_schedule(group["rule"]):
            return 0
        states = [self.state[p] for p in group["params"] if p in self.state]
        return max((int(state.get("t", 0)) for state in states), default=0)

    def _previous_gradients(
        self, items: list[Item], closure: Loss | None
    ) -> dict[Array, Array] | None:
        """Return the gradients of this sample at the last point; at the first step, at this one."""
        if not any(item.entry.rule.needs_previous_grad for item in items if item.entry.rule):
            return None
        if closure is None:
            msg = "a rule needs the gradient at the previous point: call step(closure)"
            raise ValueError(msg)
        now = [(item.p.detach().clone(), item.p.grad) for item in items]
        for item, (point, _) in zip(items, now, strict=True):
            item.p.copy_(item.state.get("previous", point))
            item.p.grad = None
        with torch.enable_grad():
            closure()
        found = {item.p: item.p.grad for item in items}
        for item, (point, gradient) in zip(items, now, strict=True):
            item.p.copy_(point)
            item.p.grad = gradient
            item.state["previous"] = point
        return found


class _ByOrder(trees.Route):
    """A route of parameters without names."""

    def __str__(self) -> str:
        note = "parameters have no names here: they are called by their order, and routed by shape"
        return f"{super().__str__()}\n{note}"


def _move(
    items: list[Item], value: Array | None, previous: dict[Array, Array] | None, split: Any
) -> None:
    """Make the step of one group: by what is made for its rule where there is such a thing."""
    fused: list[Item] = []
    lean: list[Item] = []
    cut: list[Item] = []
    others: list[Item] = []
    for item in items:
        if shards.is_sharded(item.p) and item.by_entry:
            part = item.on_this_process()
            (fused if adamw.suits(part) else others).append(part)
        elif shards.is_sharded(item.p):
            (cut if exchange.suits(item) else others).append(item)
        elif adamw.suits(item):
            fused.append(item)
        elif all(momentum.suits(part) for part in item.sections()):
            lean += item.sections()
        else:
            others.append(item)
    if cut:
        exchange.advance(cut)
    if split is None:
        momentum.advance(lean)
    else:
        exchange.advance_split(lean, split)
    stacks.advance([*others, *adamw.advance(fused)], value, previous)


def _name(groups: list[dict[str, Any]]) -> None:
    """Give names to the groups that have none: the order of their parameters."""
    first = 0
    for group in groups:
        size = len(group["params"])
        group.setdefault("param_names", [str(first + i) for i in range(size)])
        first += size


def _unused(name: str, groups: list[dict[str, Any]]) -> str:
    """Return a name that no group has yet."""
    taken = {group["name"] for group in groups}
    others = (f"{name} ({i})" for i in range(2, len(groups) + 2))
    return name if name not in taken else next(new for new in others if new not in taken)
