"""What rules without a memory share: a direction of the gradient, decay, and a proximal step."""

from abc import abstractmethod
from dataclasses import dataclass

from specdesc._lib.typing import Array
from specdesc.backends import Backend
from specdesc.prox import Function
from specdesc.rules import rule
from specdesc.rules.advancing import Advancing
from specdesc.rules.rule import State
from specdesc.schedules import Schedule


@dataclass(frozen=True)
class Steepest(Advancing):
    """x <- prox_g((1 - weight_decay step) x - step direction(grad))."""

    step: float | Array | Schedule
    weight_decay: float | Array = 0.0
    g: Function | None = None

    def __post_init__(self) -> None:
        rule.check_rule(self.step, self.weight_decay)

    def init(self, x: Array, /) -> State:
        """Return the state before the first step."""
        backend = rule.enter_init(x)
        with backend.guard(x):
            return rule.initial_state(x, self.g, backend=backend)

    def _advance(
        self,
        x: Array,
        grad: Array,
        state: State,
        value: Array | None,
        previous_grad: Array | None,
        whole: bool,
        /,
    ) -> tuple[Array, State]:
        backend = rule.enter_update(x, grad)
        with backend.guard(x):
            size = rule.length(self.step, x, grad, state, value, backend=backend)
            direction = self._direction(grad, backend=backend)
            share = rule.decayed(self.weight_decay, size, x, backend=backend)
            move = rule.Move(share, size, direction)
            return rule.finish(x, move, size, self.g, state, whole, backend=backend)

    @abstractmethod
    def _direction(self, grad: Array, /, *, backend: Backend) -> Array:
        """Return what the step goes against, of norm 1; 0 for a zero gradient."""
