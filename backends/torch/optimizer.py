"""Rules as an optimizer of torch, in place on its parameters."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from specdesc import trees
from specdesc._lib.typing import Array
from specdesc.rules import Rule
from specdesc.rules.rule import State
from specdesc.trees.lengths import lengthened

from . import BACKEND

Loss = Callable[[], Any]


class Optimizer(torch.optim.Optimizer):  # type: ignore[misc]  # torch is not read by mypy
    """Rules of `specdesc.rules` on the parameters of a model.

    Parameters
    ----------
    named : iterable of (str, parameter)
        As ``model.named_parameters()`` gives it. Parameters that need no gradient are left out.
    *groups : trees.Group
        Each parameter goes to the first group that takes it.
    rest : Rule or trees.Group, optional
        For what no group takes; see `trees.route`, which decides and raises.

    Attributes
    ----------
    route : trees.Route
        ``print(optimizer.route)`` shows which parameter gets which rule, view and scale.

    Notes
    -----
    There is a parameter group for each group that took something. Its ``"lr"`` starts at 1 and is
    what the steps of its rule are multiplied with, so that every scheduler of
    ``torch.optim.lr_scheduler`` works. A parameter without a gradient is skipped. The state of a
    parameter is that of its rule, with the count ``"steps"``; a matrix has the key
    ``"momentum_buffer"`` that ``torch.optim.Muon`` and others use, and what is missing in a state
    that was loaded is filled from ``init``.

    A rule with ``needs_previous_grad`` needs a closure. It is called a second time at the last
    point, on the same sample therefore, and costs a copy of the parameters.

    Examples
    --------
    >>> import torch
    >>> from specdesc import rules, trees
    >>> from specdesc.backends.torch.optimizer import Optimizer
    >>> model = torch.nn.Linear(3, 2)
    >>> matrices = trees.Group("*", rules.Muon(0.02), ndim=2)
    >>> optimizer = Optimizer(model.named_parameters(), matrices, rest=rules.AdamW(1e-3))
    >>> model(torch.ones(3)).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        named: Iterable[tuple[str, Array]],
        *groups: trees.Group,
        rest: Rule | trees.Group | None = None,
    ) -> None:
        self._named = {name: p for name, p in named if p.requires_grad}
        self.route = trees.route(self._named, *groups, rest=rest)
        members: dict[int, list[Array]] = {}
        for entry in self.route.entries:
            members.setdefault(entry.group, []).append(self._named[entry.path])
        self._place = {group: i for i, group in enumerate(members)}
        super().__init__([{"params": params} for params in members.values()], {"lr": 1.0})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Loss | None = None) -> Any:
        """Make one step and return what `closure` returned, which is called with gradients.

        Raises
        ------
        ValueError
            If a rule needs the gradient at the previous point and there is no closure.
        """
        loss = self._evaluate(closure)
        moving = [e for e in self.route.entries if self._named[e.path].grad is not None]
        states = {entry.path: self._opened(entry) for entry in moving}
        gradients = {entry.path: self._named[entry.path].grad for entry in moving}
        previous = self._previous_gradients(moving, closure)
        counts = {path: int(state.pop("steps")) for path, state in states.items()}
        for count in sorted(set(counts.values())):
            # Steps are counted alike within a stack: what was skipped before is a stack of its own.
            entries = [entry for entry in moving if counts[entry.path] == count]
            self._move(entries, gradients, states, previous, loss, count + 1)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state. Counters and averages keep their dtypes, which torch would change."""
        super().load_state_dict(state_dict)
        indices = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for i, p in zip(indices, params, strict=True):
            for key, value in state_dict["state"].get(i, {}).items():
                if isinstance(value, torch.Tensor):
                    self.state[p][key] = value.to(p.device, copy=True)

    def _evaluate(self, closure: Loss | None) -> Any:
        if closure is None:
            if self.route.needs_previous_grad:
                msg = "a rule needs the gradient at the previous point: call step(closure)"
                raise ValueError(msg)
            return None
        with torch.enable_grad():
            return closure()

    def _opened(self, entry: trees.Entry) -> dict[str, Any]:
        """Return a copy of the state of one parameter, with what it lacks."""
        found = dict(self.state[self._named[entry.path]])
        start: State = {}
        if entry.rule is not None and not found.keys() >= {"t", "steps"}:
            x = self._named[entry.path].detach()
            start = entry.rule.init(entry.view.matrices(x, xp=BACKEND.xp))
        return {"steps": 0, **start, **found}

    def _previous_gradients(
        self, entries: list[trees.Entry], closure: Loss | None
    ) -> dict[str, Array] | None:
        """Return the gradients of this sample at the last point; at the first step, at this one."""
        if not self.route.needs_previous_grad or closure is None:
            return None
        params = [self._named[entry.path] for entry in entries]
        now = [(p.detach().clone(), p.grad) for p in params]
        for p, (point, _) in zip(params, now, strict=True):
            p.copy_(self.state[p].get("previous", point))
            p.grad = None
        with torch.enable_grad():
            closure()
        found = {e.path: p.grad for e, p in zip(entries, params, strict=True)}
        for p, (point, gradient) in zip(params, now, strict=True):
            p.copy_(point)
            p.grad = gradient
            self.state[p]["previous"] = point
        return found

    def _move(
        self,
        entries: list[trees.Entry],
        gradients: dict[str, Array],
        states: dict[str, dict[str, Any]],
        previous: dict[str, Array] | None,
        loss: Any,
        count: int,
    ) -> None:
        route = trees.Route(tuple(map(self._paced, entries)), self.route.groups)
        paths = [entry.path for entry in entries]
        points, state = trees.update(
            {path: self._named[path].detach() for path in paths},
            {path: gradients[path] for path in paths},
            {f"{path}/{key}": x for path in paths for key, x in states[path].items()},
            route,
            value=loss.detach() if isinstance(loss, torch.Tensor) else None,
            previous_grads=None if previous is None else {path: previous[path] for path in paths},
        )
        for path in paths:
            self._named[path].copy_(points[path])
            self.state[self._named[path]]["steps"] = count
        for name, x in state.items():
            path, _, key = name.rpartition("/")
            if key != "previous":
                self.state[self._named[path]][key] = x

    def _paced(self, entry: trees.Entry) -> trees.Entry:
        """Return an entry whose rule has the pace of its parameter group."""
        pace = float(self.param_groups[self._place[entry.group]]["lr"])
        if entry.rule is None or pace == 1.0:
            return entry
        return replace(entry, rule=lengthened(entry.rule, pace))
