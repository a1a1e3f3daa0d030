"""The subgradient method with normalized steps: what spectral steps are compared with."""

from dataclasses import dataclass
from typing import ClassVar

from specdesc._array import working
from specdesc._core.linalg import balance, frobenius, restore
from specdesc._typing import Array
from specdesc.backends import Backend
from specdesc.prox import Function
from specdesc.rules import rule
from specdesc.rules.rule import State
from specdesc.schedules import Schedule


@dataclass(frozen=True)
class NormalizedGradient:
    """x <- prox_g((1 - weight_decay step) x - step grad / ||grad||_F).

    Parameters
    ----------
    step : float or schedule
        Step size, in the units of x: the step has Frobenius norm `step`.
    weight_decay : float
        Decoupled.
    g : prox function, optional
        A constraint or penalty on the iterate, applied with the Euclidean prox.

    Notes
    -----
    A zero gradient is a zero step. Each matrix of a stack is normalized by its own norm.
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
            y = rule.move(x, size, _normalized(grad, backend), self.weight_decay, backend=backend)
            return rule.finish(y, size, self.g, state)


def _normalized(grad: Array, backend: Backend) -> Array:
    xp = backend.xp
    balanced = balance(working(xp, grad), backend=backend)
    norm = frobenius(balanced.matrix, xp=xp)
    norm = xp.where(norm > 0, norm, xp.ones_like(norm))
    direction = balanced.matrix / xp.astype(norm, balanced.matrix.dtype)
    return restore(direction, balanced.finite, backend=backend)
