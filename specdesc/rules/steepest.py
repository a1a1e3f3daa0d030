"""What rules of one direction share: the direction of a gradient, decay, and a projection."""

from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from specdesc._lib.checks import is_number
from specdesc._lib.typing import Array
from specdesc._linalg.magnitudes import Geometry
from specdesc.backends import Backend
from specdesc.prox import Function
from specdesc.prox.fixed_points import check_step
from specdesc.rules import feedback, momentum, rule
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
    _: KW_ONLY
    beta: float | Array | Schedule | None = None
    error_feedback: bool = False

    def __post_init__(self) -> None:
        rule.check_rule(self.step, self.weight_decay)
        if self.beta is not None:
            momentum.check_beta(self.beta)
        feedback.check(self.error_feedback, self.weight_decay, self.g)
        check_step(
            type(self).__name__, self.g, self.geometry, decay=not is_number(self.weight_decay, 0.0)
        )

    def init(self, x: Array, /) -> State:
        """Return the state before the first step."""
        return rule.with_buffers(x, self.g, self.buffers)

    @property
    def buffers(self) -> tuple[str, ...]:
        """The names of the arrays like x that the state has."""
        return rule.buffers_of(self.beta is not None, self.error_feedback)

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
            if self.beta is not None:
                grad = momentum.remember(self.beta, x, grad, state, value, backend=backend)
                state = {**state, "momentum_buffer": grad}
            if self.error_feedback:
                p = feedback.sum_of(state["error"], grad, size, backend=backend)
                fed = feedback.split(p, self._direction(p, backend=backend), backend=backend)
                move = rule.Move(0.0, fed.length, fed.direction)
                state = {**state, "error": fed.error}
                return rule.finish(x, move, size, None, state, whole, backend=backend)
            direction = self._direction(grad, backend=backend)
            share = rule.decayed(self.weight_decay, size, x, backend=backend)
            move = rule.Move(share, size, direction)
            return rule.finish(x, move, size, self.g, state, whole, backend=backend)

    @abstractmethod
    def _direction(self, grad: Array, /, *, backend: Backend) -> Array:
        """Return what the step goes against, of norm 1; 0 for a zero gradient."""
