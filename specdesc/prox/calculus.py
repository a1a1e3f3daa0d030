"""New functions from old ones, with the Euclidean prox that follows (textbook identities)."""

import math
from dataclasses import dataclass
from typing import Any

from specdesc._lib.checks import check_same_shape
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg import magnitudes
from specdesc.backends import Backend
from specdesc.backends.entry import enter
from specdesc.prox.operator import Function, check_non_negative, step_of


def point(g: Function, y: Array, step: float | Array, backend: Backend, /) -> Array:
    """Return the prox of an array that was checked; a function of a user checks it itself."""
    checked = getattr(g, "proximal_point", None)
    point: Array = g.prox(y, step) if checked is None else checked(y, step, backend=backend)
    return point


@dataclass(frozen=True)
class Scaled:
    """`weight` g(x / `scale`).

    Parameters
    ----------
    g : Function
        Any function or set of this package, or one with `value` and `prox`.
    weight : float
        Above 0.
    scale : float
        Not 0.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Scaled(prox.L1(1.0), weight=2.0).prox(np.asarray([[3.0, -1.0]]), 1.0) + 0.0
    array([[1., 0.]])
    """

    g: Function
    weight: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.weight < math.inf:
            msg = f"weight must be a finite number above 0, got {self.weight!r}"
            raise ValueError(msg)
        if self.scale == 0.0 or not math.isfinite(self.scale):
            msg = f"scale must be a finite number other than 0, got {self.scale!r}"
            raise ValueError(msg)

    @property
    def is_convex(self) -> bool:
        """Whether g is."""
        return self.g.is_convex

    def value(self, x: Array, /) -> Array:
        """Return the value of every matrix."""
        return self.weight * self.g.value(x / self.scale)

    def prox(self, y: Array, step: float | Array = 1.0, /) -> Array:
        """Return scale prox_(weight step / scale²)(y / scale)."""
        return self.scale * self.g.prox(y / self.scale, self._step(step))

    def proximal_point(self, y: Array, step: float | Array, /, *, backend: Backend) -> Array:
        """Return the prox of an array that was checked."""
        return self.scale * point(self.g, y / self.scale, self._step(step), backend)

    def _step(self, step: float | Array) -> float | Array:
        return step * (self.weight / self.scale**2)


@dataclass(frozen=True)
class Translated:
    """g(x - `shift`).

    Parameters
    ----------
    g : Function
        Any function or set of this package, or one with `value` and `prox`.
    shift : array
        Of the shape of the points, and their library and dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Translated(prox.L1(1.0), np.asarray([[1.0, 1.0]])).prox(np.asarray([[3.0, 1.5]]), 1.0)
    array([[2., 1.]])
    """

    g: Function
    shift: Array

    @property
    def is_convex(self) -> bool:
        """Whether g is."""
        return self.g.is_convex

    def value(self, x: Array, /) -> Array:
        """Return the value of every matrix.

        For a set with a `violation`, x may be further out than the set alone allows by what the
        rounding of shift + point can move it: 8 max(m, n) eps (||x||_F + ||shift||_F).
        """
        backend, shift = self._enter(x), self.shift
        moved = x - shift
        value = self.g.value(moved)
        if not getattr(self.g, "is_set", False) or 0 in x.shape:
            return value
        xp = backend.xp
        axes = tuple(range(value.ndim, x.ndim))
        size = _euclidean(x, axes, xp) + _euclidean(shift, axes, xp)
        longest = max(x.shape[axis] for axis in axes)
        slack = magnitudes.slack(x, longest=longest, xp=xp) * size
        violation = self.g.violation(moved)  # type: ignore[attr-defined]
        return xp.where(violation <= slack, xp.zeros_like(value), value)

    def prox(self, y: Array, step: float | Array = 1.0, /) -> Array:
        """Return shift + prox(y - shift)."""
        return self.proximal_point(y, step, backend=self._enter(y))

    def proximal_point(self, y: Array, step: float | Array, /, *, backend: Backend) -> Array:
        """Return the prox of an array that was checked."""
        return self.shift + point(self.g, y - self.shift, step, backend)

    def _enter(self, x: Array) -> Backend:
        backend = enter("prox.Translated", x, self.shift, names=("x", "shift"), ndim=1)
        check_same_shape(x, self.shift, "x", "shift")
        return backend


@dataclass(frozen=True)
class Conjugate:
    r"""The convex conjugate g*(v) = sup over x of <x, v> - g(x), by its prox alone.

    .. math::

        \operatorname{prox}_{\gamma g^*}(y)
        = y - \gamma \operatorname{prox}_{g / \gamma}(y / \gamma)

    prox_(t g*)(y) = y - t prox_(g / t)(y / t), Moreau's identity. There is no general formula for
    the value, so there is no `value`: where it is known, a test should compute it independently.

    Parameters
    ----------
    g : Function
        A convex one.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Conjugate(prox.L1(1.0)).prox(np.asarray([[2.0, -0.3]]), 1.0)
    array([[ 1. , -0.3]])
    """

    g: Function

    def __post_init__(self) -> None:
        if not self.g.is_convex:
            msg = f"g must be convex, got {type(self.g).__name__}"
            raise ValueError(msg)

    @property
    def is_convex(self) -> bool:
        """A conjugate always is."""
        return True

    def prox(self, y: Array, step: float = 1.0, /) -> Array:
        """Return the proximal point for a step above 0."""
        check_non_negative(step, "step")
        if step == 0.0:
            msg = "step must be above 0 for a conjugate, got 0.0"
            raise ValueError(msg)
        return y - step * self.g.prox(y / step, 1.0 / step)


@dataclass(frozen=True)
class SeparableSum:
    """The sum of one function for every matrix of a stack, or for every array of a tree.

    Parameters
    ----------
    functions : sequence or mapping of Function
        A sequence belongs to the matrices of a stack along its first axis, or to a list or tuple
        of arrays; a mapping to a dictionary of arrays with the same keys. Trees may be nested.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> g = prox.SeparableSum({"w": prox.Nuclear(1.0), "b": prox.L1(0.5, axes=(-1,))})
    >>> point = g.prox({"w": np.diag([3.0, 0.5]), "b": np.asarray([2.0, -0.1])}, 1.0)
    >>> point["w"][0, 0], point["b"][0]
    (np.float64(2.0), np.float64(1.5))
    """

    functions: Any

    @property
    def is_convex(self) -> bool:
        """Whether all of them are."""
        return all(g.is_convex for g in leaves(self.functions))

    def value(self, x: Any, /) -> Array:
        """Return the sum of the values, 0-d for matrices and vectors."""
        values = leaves(_zip(lambda g, part: g.value(part), self.functions, x))
        total = values[0]
        for each in values[1:]:
            total = total + each
        return total

    def prox(self, y: Any, step: float | Array = 1.0, /) -> Any:
        """Return the proximal point of every part, in the structure of `y`."""
        parts = _zip(lambda g, part: g.prox(part, step), self.functions, y)
        if hasattr(y, "shape"):
            backend = enter("prox.SeparableSum", y, names=("y",))
            step_of(step, y[0, ...], backend)
            return backend.xp.stack(parts, axis=0)
        return parts


def _euclidean(x: Array, axes: tuple[int, ...], xp: Namespace) -> Array:
    """Return the Euclidean norm over some axes, safe from overflow; inf and NaN stay."""
    size = xp.abs(working(xp, x))
    largest = xp.max(size, axis=axes, keepdims=True)
    unit = xp.where((largest > 0) & xp.isfinite(largest), largest, xp.ones_like(largest))
    total = xp.sum((size / unit) ** 2, axis=axes, keepdims=True)
    return xp.reshape(xp.sqrt(total) * unit, x.shape[: x.ndim - len(axes)])


def _zip(call: Any, functions: Any, x: Any) -> Any:
    """Apply function by function, in the structure of `functions`."""
    if isinstance(functions, dict):
        if not isinstance(x, dict) or set(functions) != set(x):
            msg = f"x must be a dictionary with the keys {sorted(functions)}"
            raise ValueError(msg)
        return {key: _zip(call, functions[key], x[key]) for key in functions}
    if isinstance(functions, (list, tuple)):
        count = x.shape[0] if hasattr(x, "shape") else len(x)
        if count != len(functions):
            msg = f"x must have {len(functions)} parts, one for each function, got {count}"
            raise ValueError(msg)
        parts = [x[i, ...] for i in range(count)] if hasattr(x, "shape") else x
        listed = [_zip(call, g, part) for g, part in zip(functions, parts, strict=True)]
        return listed if hasattr(x, "shape") else type(x)(listed)
    return call(functions, x)


def leaves(tree: Any, /) -> list[Any]:
    """Return the functions, or the values, of a nested structure in one list."""
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, (list, tuple)):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree]
