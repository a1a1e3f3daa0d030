"""Stochastic gradient descent with momentum: a baseline of the comparison, and of nothing else."""

from dataclasses import dataclass
from typing import ClassVar

from specdesc._lib.typing import Array
from specdesc.rules import momentum, rule
from specdesc.rules.rule import State
from specdesc.schedules import Schedule


@dataclass(frozen=True)
class HeavyBall:
    """x <- x - step buffer, buffer <- beta buffer + grad: ``torch.optim.SGD`` with momentum."""

    needs_previous_grad: ClassVar[bool] = False

    step: float | Schedule
    beta: float = 0.9

    def init(self, x: Array, /) -> State:
        """Return the state before the first step."""
        return momentum.initial_state(x)

    def update(
        self,
        x: Array,
        grad: Array,
        state: State,
        /,
        *,
        value: Array | None = None,
        previous_grad: Array | None = None,
    ) -> tuple[Array, State]:
        """Return the next point and state."""
        backend = rule.enter_update(x, grad)
        size = rule.length(self.step, x, grad, state, value, backend=backend)
        beta = momentum.factor(self.beta, x, grad, state, value, backend=backend)
        buffer = momentum.heavy_ball(state["momentum_buffer"], grad, beta, backend=backend)
        move, state = rule.Move(0.0, size, buffer), {**state, "momentum_buffer": buffer}
        return rule.finish(x, move, size, None, state, True, backend=backend)
