"""One parameter in a step: what it is, what it gets, and its state in the form that rules know.

A state is kept as torch keeps it: buffers have the shape of their parameter, the count ``"t"`` is a
number on the host. Rules see matrices, and counts where their arrays are.
"""

from dataclasses import dataclass
from typing import Any

import torch
from specdesc import trees
from specdesc._lib.typing import Array
from specdesc.rules.rule import State
from specdesc.trees.groups import is_elementwise
from specdesc.trees.routes import entry_of
from specdesc.trees.sections import Sections

from .. import BACKEND
from . import shards


@dataclass(frozen=True, eq=False)
class Item:
    """A parameter with a gradient.

    Attributes
    ----------
    name : str
        As messages call it.
    p, grad : tensor
        Parameter and gradient, of one shape.
    state : dict of str to tensor
        That of the optimizer, written in place.
    entry : trees.Entry
        Its view, its rule with the numbers of this step, and whether it is stacked.
    capturable : bool
        Whether the step may become part of a graph of the device: then nothing is read on the
        host, and the count is where the parameter is.
    """

    name: str
    p: Array
    grad: Array
    state: dict[str, Any]
    entry: trees.Entry
    capturable: bool = False

    @property
    def by_entry(self) -> bool:
        """Whether each process can step on its own part of the parameter."""
        return self.entry.rule is not None and is_elementwise(self.entry.rule)

    def on_this_process(self) -> "Item":
        """Return the part of a sharded parameter that lies here, with what that part gets."""
        state = {
            key: value.to_local() if shards.is_sharded(value) else value
            for key, value in self.state.items()
        }
        p, grad = self.p.detach().to_local(), shards.local(self.grad, self.p)
        seen = trees.Group("*", self.entry.rule, view="whole", stack=self.entry.stack)
        entry = entry_of(self.name, tuple(p.shape), seen, 0)
        return Item(self.name, p, grad, state, entry, self.capturable)

    def sections(self) -> "list[Item]":
        """Return the matrices of a fused projection as parameters: views, written in place."""
        rule = self.entry.rule
        if not isinstance(rule, Sections) or shards.is_sharded(self.p):
            return [self]
        found = []
        for i, own in enumerate(rule.rules):
            cut = (rule.axis, sum(rule.sizes[:i]), rule.sizes[i])
            state = {
                key: value.narrow(*cut) if self._is_buffer(value) else value
                for key, value in self.state.items()
            }
            if i > 0:
                state["t"] = state["t"].clone()  # all of them are one step
            p, grad = self.p.detach().narrow(*cut), self.grad.narrow(*cut)
            seen = trees.Group("*", own, layout="out_in" if rule.axis == 0 else "in_out")
            entry = entry_of(self.name, tuple(p.shape), seen, 0)
            found.append(Item(self.name, p, grad, state, entry, self.capturable))
        return found

    def count(self) -> int:
        """Return how many steps the parameter has had; 0 where nobody on the host may know."""
        return int(self.state["t"]) if "t" in self.state and not self.capturable else 0

    def matrices(self, x: Array) -> Array:
        """Return a tensor of the shape of the parameter as the rule sees it, all of it."""
        if self.is_plain:
            return shards.whole(x)
        return self.entry.view.matrices(shards.whole(x), xp=BACKEND.xp)

    def restored(self, y: Array) -> Array:
        """Return matrices in the shape of the parameter."""
        if self.is_plain:
            return y
        return self.entry.view.restore(y, self.entry.shape, xp=BACKEND.xp)

    def write(self, into: Array, y: Array) -> None:
        """Write matrices into a tensor of the shape of the parameter, or into this part of it."""
        target = into.to_local() if shards.is_sharded(into) else into
        target.copy_(shards.local(self.restored(y), into))

    def open(self) -> None:
        """Fill in what the state lacks, from the start of the rule."""
        if self.entry.rule is None:
            return
        if "t" in self.state:
            self._follow()
            if self.capturable and self.state["t"].device != self.p.device:
                self.state["t"] = self.state["t"].to(self.p.device)
            return
        try:
            start = self.entry.rule.init(self.matrices(self.p.detach()))
        except (TypeError, ValueError) as error:
            msg = f"{self.name}: {error}"
            raise type(error)(msg) from error
        for key, value in start.items():
            self.state.setdefault(key, self._kept(value))

    def _follow(self) -> None:
        """Give buffers the dtype of a parameter that was cast since; averages stay as wide."""
        for key, value in self.state.items():
            if value.dtype != self.p.dtype and self._is_buffer(value) and key == "momentum_buffer":
                self.state[key] = value.to(self.p.dtype)

    def own_state(self) -> State:
        """Return the state as the rule knows it."""
        state: State = {}
        for key, value in self.state.items():
            if key == "previous":
                continue
            if self._is_buffer(value):
                state[key] = self.matrices(value)
            elif is_count(value) and value.device != self.p.device:
                # Made there: a copy would make the host wait.
                number = int(value)
                state[key] = torch.full((), number, dtype=value.dtype, device=self.p.device)
            else:
                state[key] = shards.whole(value)
        return state

    def keep(self, state: State) -> None:
        """Write a state of the rule over the old one, in place."""
        for key, value in state.items():
            old = self.state[key]
            if self._is_buffer(old):
                self.write(old, value)
            elif key == "t" and value.device != old.device:
                old.add_(1)  # without a wait for the device
            else:
                old.copy_(value)

    @property
    def is_plain(self) -> bool:
        """Say whether the rule sees the parameter as it is."""
        view, shape = self.entry.view, self.entry.shape
        return view.shape == shape == view.split and view.order == tuple(range(len(shape)))

    def _is_buffer(self, value: Array) -> bool:
        return tuple(value.shape) == self.entry.shape and not is_count(value)

    def _kept(self, value: Array) -> Array:
        """Return an entry of a state as it is kept, in memory of its own."""
        if is_count(value):
            return value.to(self.p.device if self.capturable else "cpu", copy=True)
        if tuple(value.shape) != self.entry.view.shape:
            return value.clone(memory_format=torch.contiguous_format)
        buffer = torch.zeros_like(self.p.detach(), dtype=value.dtype)
        self.write(buffer, value)
        return buffer


def is_count(value: Array) -> bool:
    """Say whether an entry of a state counts steps."""
    return value.ndim == 0 and not value.is_floating_point()
