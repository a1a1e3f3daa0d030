"""What a transformation remembers: trees like that of the parameters, and little else."""

from typing import Any, NamedTuple

import jax
from specdesc import trees
from specdesc._lib import extras
from specdesc._lib.typing import Array
from specdesc.rules import Rule
from specdesc.rules.rule import State

from .parameters import Parameters

#: Blocks of columns that a rule starts from: no array like the parameter, whatever their shape.
BLOCKS = ("start", "g_start")

#: Shapes to ask a rule with which of its arrays are like the parameter: no block of columns is.
PROBES = ((9, 8), (129, 128), (2049, 2048))


class RuleState(NamedTuple):
    """The state of a transformation.

    Attributes
    ----------
    count : array of int32
        Updates so far: what schedules are called with.
    buffers : dict of str to tree
        For each name in the states of the rules, such as ``"momentum_buffer"``, a tree like that of
        the parameters, with ``optax.MaskedNode()`` where a parameter has none.
    others : dict of str to array
        Arrays of other shapes, by ``"path/name"``.
    """

    count: Array
    buffers: dict[str, Any]
    others: dict[str, Array]


def is_buffer(name: str, value: Array, shape: tuple[int, ...], /) -> bool:
    """Say whether an array of a rule's state is one number for each of its parameter."""
    return name.rpartition(".")[2] not in BLOCKS and tuple(value.shape) == shape


def buffer_names(rules: tuple[Rule, ...], /) -> list[str]:
    """Return the names of the arrays that are like the parameter, in the states of some rules."""
    names: dict[str, None] = {}
    for rule in rules:
        shape, state = _shapes(rule)
        names |= {name: None for name, value in state.items() if is_buffer(name, value, shape)}
    return list(names)


def _shapes(rule: Rule) -> tuple[tuple[int, ...], State]:
    for shape in PROBES[:-1]:
        like = jax.ShapeDtypeStruct(shape, "float32")
        try:
            return shape, jax.eval_shape(rule.init, like)
        except ValueError:  # a rank beyond this size
            continue
    return PROBES[-1], jax.eval_shape(rule.init, jax.ShapeDtypeStruct(PROBES[-1], "float32"))


def placeholders(tree: Any, names: list[str], /) -> RuleState:
    """Return a state for a tree without leaves: what stands for it is where its copies would be.

    That is how optax asks which parts of a state belong to the parameters.
    """
    everything_else: Any = 0  # one leaf stands for it, whatever it is
    return RuleState(jax.numpy.zeros((), "int32"), dict.fromkeys(names, tree), everything_else)


def assembled(
    params: Parameters,
    count: Array,
    buffers: dict[str, dict[str, Array]],
    others: dict[str, Array],
    /,
) -> RuleState:
    """Return the state with these buffers, by name and path."""
    none = extras.require("optax", "optax").MaskedNode()
    mirrored = {
        name: params.form.unflatten([found.get(path, none) for path in params.paths])
        for name, found in buffers.items()
    }
    return RuleState(count, mirrored, others)


def taken_apart(params: Parameters, state: Any, /) -> tuple[dict[str, dict[str, Array]], State]:
    """Return the buffers by name and path, and the other arrays.

    Raises
    ------
    ValueError
        For a state of something else, or of another tree.
    """
    if not isinstance(state, RuleState):
        msg = f"state must be one of this transformation's init, got {type(state).__name__}"
        raise ValueError(msg)
    buffers = {}
    for name, tree in state.buffers.items():
        values = params.form.flatten_up_to(tree)
        buffers[name] = {
            path: value
            for path, value in zip(params.paths, values, strict=True)
            if hasattr(value, "dtype")
        }
    return buffers, state.others


def converted(state: dict[str, Array], route: trees.Route, params: Parameters, /) -> RuleState:
    """Return a flat state of `trees.init` as one of a transformation.

    Raises
    ------
    ValueError
        If it is not the state of this route.
    """
    buffers: dict[str, dict[str, Array]] = {}
    others: dict[str, Array] = {}
    counts = [value for key, value in state.items() if key.endswith("/t")]
    known = {entry.path: entry for entry in route.entries if entry.rule is not None}
    for key, value in state.items():
        path, _, name = key.rpartition("/")
        if path not in known or not counts:
            msg = f"state must be one of this transformation's init, got a dictionary with {key!r}"
            raise ValueError(msg)
        entry = known[path]
        if is_buffer(name, value, entry.view.shape):
            whole = entry.view.restore(value, entry.shape, xp=jax.numpy)
            buffers.setdefault(name, {})[path] = whole
        elif name != "t":
            others[key] = value
    return assembled(params, counts[0], buffers, others)
