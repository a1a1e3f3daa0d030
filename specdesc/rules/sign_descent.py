"""Sign descent: the steepest descent of the largest entry."""

from dataclasses import dataclass
from typing import ClassVar

from specdesc._typing import Array
from specdesc.norms import Max
from specdesc.prox import Function
from specdesc.rules import rule
from specdesc.rules.rule import State
from specdesc.schedules import Schedule


@dataclass(frozen=True)
class SignDescent:
    """x <- prox_g((1 - weight_decay step) x - step sign(grad)), entry by entry.

    Parameters
    ----------
    step : float or schedule
        Step size, in the units of x: every entry moves by `step`.
    weight_decay : float
        Decoupled. With strength w > 0 and step sizes of `schedules.frank_wolfe(w)` this is the
        Frank-Wolfe method on the ball of entries at most 1 / w.
    g : prox function, optional
        A constraint or penalty on the iterate, applied with the Euclidean prox.

    Notes
    -----
    The sign of a complex entry is the entry over its absolute value; that of 0 is 0.
    """

    needs_previous_grad: ClassVar[bool] = False

    step: float | Schedule
    weight_decay: float = 0.0
    g: Function | None = None

    def __post_init__(self) -> None:
        rule.check_rule(self.step, self.weight_decay)

    def init(self, x: Array, /) -> State:
        """Return the state before the first step."""
        return rule.initial_state(x, self.g)

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
        with backend.guard(x):
            size = rule.length(self.step, x, grad, state, value)
            y = rule.move(x, size, Max().direction(grad), self.weight_decay, backend=backend)
            return rule.finish(y, size, self.g, state)
