"""What every rule of this package has: its step as the next point, and as what is added to it."""

from abc import ABC, abstractmethod

from specdesc._lib.typing import Array
from specdesc._linalg.operator import LinearOperator
from specdesc.rules.rule import State


class Advancing(ABC):
    """A rule by one method, which makes the next point or the change of the point."""

    @property
    def needs_previous_grad(self) -> bool:
        """Whether `update` needs the gradient of the same sample at the previous point."""
        return False

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
        return self._advance(x, grad, state, value, previous_grad, True)

    def change(
        self,
        x: Array,
        grad: Array,
        state: State,
        /,
        *,
        value: Array | None = None,
        previous_grad: Array | None = None,
    ) -> tuple[Array, State]:
        """Return what `update` adds to `x`, and the next state.

        In float32 at least. It is made as such, and not as a difference of two points, but where a
        set or a penalty moves the point.
        """
        return self._advance(x, grad, state, value, previous_grad, False)

    @abstractmethod
    def _advance(
        self,
        x: Array,
        grad: Array | LinearOperator,
        state: State,
        value: Array | None,
        previous_grad: Array | None,
        whole: bool,
        /,
    ) -> tuple[Array, State]:
        """Return the next point if `whole`, else what is added to this one, and the next state."""
