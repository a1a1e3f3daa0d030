"""Fused projections: one parameter that holds several matrices, one below the other."""

from dataclasses import dataclass

from specdesc._lib.typing import Array, Namespace
from specdesc.backends.entry import enter
from specdesc.rules import Layout, Rule
from specdesc.rules.rule import State
from specdesc.trees.views import Shape


@dataclass(frozen=True)
class Sections:
    """Rules on the sections of a matrix, each a matrix of its own.

    Arrays of a state that have the shape of their section are kept as one array of the shape of
    the parameter, counters once; whatever else a rule keeps has the number of its section before
    its name.

    Parameters
    ----------
    rules : tuple of Rule
        One for each section.
    sizes : tuple of int
        Of the sections along `axis`.
    axis : {0, 1}
        That of the outputs.
    """

    rules: tuple[Rule, ...]
    sizes: tuple[int, ...]
    axis: int

    @property
    def needs_previous_grad(self) -> bool:
        """Whether the rules need the gradient of the same sample at the previous point."""
        return any(rule.needs_previous_grad for rule in self.rules)

    def init(self, x: Array, /) -> State:
        """Return the state before the first step."""
        xp = enter("rules", x).xp
        parts = self._parts(x)
        states = [rule.init(part) for rule, part in zip(self.rules, parts, strict=True)]
        return self._joined(states, parts, xp)

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
        xp = enter("rules", x).xp
        points, states = [], []
        parts = self._parts(x)
        grads = self._parts(grad)
        before = [None] * len(parts) if previous_grad is None else self._parts(previous_grad)
        for i, rule in enumerate(self.rules):
            own = self._own(state, i, tuple(x.shape))
            y, own = rule.update(parts[i], grads[i], own, value=value, previous_grad=before[i])
            points.append(y)
            states.append(own)
        return xp.concat(points, axis=self.axis), self._joined(states, parts, xp)

    def _parts(self, x: Array) -> list[Array]:
        ends = [sum(self.sizes[: i + 1]) for i in range(len(self.sizes))]
        cuts = [slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]
        return [x[cut, :] if self.axis == 0 else x[:, cut] for cut in cuts]

    def _own(self, state: State, i: int, shape: Shape) -> State:
        """Return the state of one section."""
        own: State = {}
        for name, value in state.items():
            number, dot, key = name.partition(".")
            if dot and number.isdecimal():
                if int(number) == i:
                    own[key] = value
            else:
                own[name] = self._parts(value)[i] if tuple(value.shape) == shape else value
        return own

    def _joined(self, states: list[State], parts: list[Array], xp: Namespace) -> State:
        """Return the state of the parameter."""
        joined: State = {}
        for key, value in states[0].items():
            values = [state[key] for state in states]
            if value.ndim == 0 and xp.isdtype(value.dtype, "integral"):
                joined[key] = value
            elif all(v.shape == part.shape for v, part in zip(values, parts, strict=True)):
                joined[key] = xp.concat(values, axis=self.axis)
            else:
                joined |= {f"{i}.{key}": each for i, each in enumerate(values)}
        return joined


def section_shapes(sizes: tuple[int, ...], shape: Shape, layout: Layout, /) -> list[Shape]:
    """Return the shapes of the sections along the outputs of a matrix.

    Raises
    ------
    ValueError
        For a parameter that is no matrix, or whose outputs are not as many as the sizes say.
    """
    axis = output_axis(layout)
    positive = all(isinstance(size, int) and size > 0 for size in sizes)
    if len(shape) != 2 or not positive or sum(sizes) != shape[axis]:
        msg = f"sections={sizes} must add up to axis {axis} of a matrix, got shape {shape}"
        raise ValueError(msg)
    return [(size, shape[1]) if axis == 0 else (shape[0], size) for size in sizes]


def output_axis(layout: Layout, /) -> int:
    """Return which axis of a matrix counts its outputs."""
    return 0 if layout == "out_in" else 1
