"""Views: a parameter of any number of axes as a stack of matrices, and back."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from specdesc._lib.typing import Array, Namespace
from specdesc.rules import Layout

Shape = tuple[int, ...]


@dataclass(frozen=True)
class View:
    """How a parameter is seen as matrices: split its axes, permute them, join them.

    Attributes
    ----------
    split : tuple of int
        The shape that the parameter is first given.
    order : tuple of int
        The axes of `split` in their new order.
    shape : tuple of int
        The shape (..., m, n) that a rule sees.

    Examples
    --------
    Attention weights of shape (features, heads, head size), one matrix a head:

    >>> from specdesc import trees
    >>> def per_head(shape):
    ...     features, heads, size = shape
    ...     return trees.View(shape, (1, 0, 2), (heads, features, size))
    """

    split: Shape
    order: Shape
    shape: Shape

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.split))):
            msg = f"order must be a permutation of the axes of {self.split}, got {self.order}"
            raise ValueError(msg)
        if len(self.shape) < 2 or prod(self.shape) != prod(self.split):
            msg = f"shape must be one of matrices as large as {self.split}, got {self.shape}"
            raise ValueError(msg)

    def matrices(self, x: Array, /, *, xp: Namespace) -> Array:
        """Return a parameter as a stack of matrices."""
        return xp.reshape(xp.permute_dims(xp.reshape(x, self.split), self.order), self.shape)

    def restore(self, y: Array, shape: Shape, /, *, xp: Namespace) -> Array:
        """Return a stack of matrices as a parameter of this shape."""
        permuted = xp.reshape(y, tuple(self.split[axis] for axis in self.order))
        back = tuple(self.order.index(axis) for axis in range(len(self.order)))
        return xp.reshape(xp.permute_dims(permuted, back), shape)


@dataclass(frozen=True)
class Axes:
    """The view that joins some axes to the inputs, others to the outputs; the rest are stacks.

    Parameters
    ----------
    inputs, outputs : int or tuple of int
        Axes of the parameter, in the order in which they are joined; negative ones count from the
        end. None of them twice.

    Raises
    ------
    ValueError
        When the view is made, for an axis that the parameter does not have, or one named twice.

    Examples
    --------
    Attention weights of shape (features, heads, head size) that map features to all heads, and a
    stack of 4 experts:

    >>> from specdesc import rules, trees
    >>> queries = trees.Axes(inputs=0, outputs=(1, 2))
    >>> queries.view((32, 4, 8), "in_out").shape
    (32, 32)
    >>> trees.Axes(inputs=-2, outputs=-1).view((4, 8, 16), "out_in").shape
    (4, 16, 8)
    """

    inputs: int | tuple[int, ...]
    outputs: int | tuple[int, ...]

    def view(self, shape: Shape, layout: Layout, /) -> View:
        """Return the matrices of a parameter of this shape."""
        inputs, outputs = _axes(self.inputs, shape), _axes(self.outputs, shape)
        if len({*inputs, *outputs}) != len(inputs) + len(outputs):
            msg = f"inputs={self.inputs} and outputs={self.outputs} name an axis twice"
            raise ValueError(msg)
        stacks = tuple(axis for axis in range(len(shape)) if axis not in (*inputs, *outputs))
        rows, columns = (outputs, inputs) if layout == "out_in" else (inputs, outputs)
        sizes = (prod(shape[axis] for axis in axes) for axes in (rows, columns))
        joined = (*(shape[axis] for axis in stacks), *sizes)
        return View(shape, (*stacks, *rows, *columns), joined)


def _axes(axes: int | tuple[int, ...], shape: Shape) -> Shape:
    found = axes if isinstance(axes, tuple) else (axes,)
    if any(not -len(shape) <= axis < len(shape) for axis in found):
        msg = f"axes {axes} are not all axes of shape {shape}"
        raise ValueError(msg)
    return tuple(axis % len(shape) for axis in found)


def view_of(spec: str | Axes | Callable[[Shape], View], shape: Shape, layout: Layout, /) -> View:
    """Return the view of a shape.

    Parameters
    ----------
    spec : str, Axes or callable
        A name, as `Group` lists them, axes, or a function from a shape to a `View`.
    shape : tuple of int
        Of the parameter.
    layout : {"out_in", "in_out"}
        Whether outputs are the first axis of a parameter or its last.

    Raises
    ------
    ValueError
        For an unknown name, or a shape that the view does not fit.
    """
    if isinstance(spec, Axes):
        return spec.view(shape, layout)
    if callable(spec):
        return spec(shape)
    name, _, options = spec.partition("=")
    if name not in _NAMED or bool(options) != (name == "heads"):
        msg = f"view must be one of {', '.join(NAMES)} or a callable, got {spec!r}"
        raise ValueError(msg)
    if name == "heads":
        return _heads(options, shape, layout)
    return _NAMED[name](shape, layout)


def _matrix(shape: Shape, layout: Layout) -> View:
    if len(shape) != 2:
        msg = (
            f"view 'matrix' needs two axes, got shape {shape}; choose 'flatten', 'batched' or "
            "'heads=n' for more, 'vector' for fewer"
        )
        raise ValueError(msg)
    return _as_it_is(shape)


def _batched(shape: Shape, layout: Layout) -> View:
    _check_axes("batched", shape, len(shape) >= 2, "at least two axes")
    return _as_it_is(shape)


def _flatten(shape: Shape, layout: Layout) -> View:
    _check_axes("flatten", shape, len(shape) >= 2, "at least two axes")
    if layout == "out_in":
        return _joined(shape, (shape[0], prod(shape[1:])))
    return _joined(shape, (prod(shape[:-1]), shape[-1]))


def _vector(shape: Shape, layout: Layout) -> View:
    _check_axes("vector", shape, len(shape) == 1, "one axis")
    # A bias maps the constant 1 to as many outputs as it has entries: its fan-in is 1.
    return _joined(shape, (shape[0], 1) if layout == "out_in" else (1, shape[0]))


def _whole(shape: Shape, layout: Layout) -> View:
    if len(shape) == 0:
        return _joined(shape, (1, 1))
    return _vector(shape, layout) if len(shape) == 1 else _flatten(shape, layout)


_NAMED = {
    "matrix": _matrix,
    "flatten": _flatten,
    "batched": _batched,
    "heads": _matrix,
    "vector": _vector,
    "whole": _whole,
}
NAMES = tuple("heads=n" if name == "heads" else name for name in _NAMED)


def _heads(options: str, shape: Shape, layout: Layout) -> View:
    """Split one axis of a matrix, that of the outputs unless an axis is named."""
    count, _, rest = options.partition(",")
    axis = {"": 0 if layout == "out_in" else 1, "axis=0": 0, "axis=1": 1}.get(rest)
    if axis is None or not count.isdecimal() or int(count) < 1:
        msg = f"view must read 'heads=n' or 'heads=n,axis=0' or 1, got 'heads={options}'"
        raise ValueError(msg)
    n = int(count)
    fits = len(shape) == 2 and shape[axis] % n == 0
    _check_axes(f"heads={options}", shape, fits, f"two axes, and a multiple of {n} on axis {axis}")
    if axis == 0:
        split = (n, shape[0] // n, shape[1])
        return View(split, (0, 1, 2), split)
    split = (shape[0], n, shape[1] // n)
    return View(split, (1, 0, 2), (n, shape[0], shape[1] // n))


def _as_it_is(shape: Shape) -> View:
    return _joined(shape, shape)


def _joined(split: Shape, shape: Shape) -> View:
    return View(split, tuple(range(len(split))), shape)


def _check_axes(name: str, shape: Shape, fits: bool, needs: str) -> None:
    if not fits:
        msg = f"view {name!r} needs {needs}, got shape {shape}"
        raise ValueError(msg)
