"""What rules without a memory share: a direction of the gradient, decay, and a proximal step."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from specdesc._lib.checks import is_number
from specdesc._lib.typing import Array
from specdesc._linalg.magnitudes import Geometry
from specdesc.backends import Backend
from specdesc.prox import Function
from specdesc.prox.fixed_points import check_step
from specdesc.rules import rule
from specdesc.rules.advancing import Advancing
from specdesc.rules.rule import State
from specdesc.schedules import Schedule


@dataclass(frozen=True)
class Steepest(Advancing):
    """x <- prox_g((1 - weight_decay step) x - step direction(grad))."""

    #: The geometry whose norm the direction is the steepest ascent of.
    geometry: ClassVar[Geometry] = "spectral"

    step: float | Array | Schedule
    weight_decay: float | Array = 0.0
    g: Function | None = None

    def __post_init__(self) -> None:
        rule.check_rule(self.step, self.weight_decay)
        check_step(
            type(self).__name__, self.g, self.geometry, decay=not is_number(self.weight_decay, 0.0)
        )

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
