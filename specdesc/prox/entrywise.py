"""Functions and sets of entries."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from specdesc._lib.checks import check_number, check_positive_rank, plain
from specdesc.prox import penalties, sets
from specdesc.prox.frames import ENTRIES, MAGNITUDES, Frame
from specdesc.prox.operator import Axes, BoundedSet, Operator, check_non_negative


def check_axes(axes: tuple[int, ...], /) -> None:
    """Raise `ValueError` unless the axes are the last two or the last one."""
    if axes not in ((-2, -1), (-1,)):
        msg = f"axes must be (-2, -1) or (-1,), got {axes!r}"
        raise ValueError(msg)


@dataclass(frozen=True)
class MaxBall(BoundedSet):
    r"""The points whose entries have abs at most `radius`.

    .. math:: \operatorname{prox}(y)_{ij} = y_{ij} \min(1, \rho / |y_{ij}|)

    Parameters
    ----------
    radius : float
        At least 0.
    axes : tuple of int
        ``(-1,)`` makes the last axis one point, instead of the last two.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.MaxBall(1.0).prox(np.asarray([[2.0, -0.5]]))
    array([[ 1. , -0.5]])
    """

    radius: float
    axes: Axes = (-2, -1)
    frame: ClassVar[Frame] = MAGNITUDES
    is_set: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_non_negative(self.radius, "radius")
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """A clip."""
        return sets.Interval(0.0, self.radius)


@dataclass(frozen=True)
class L1Ball(BoundedSet):
    """The points whose entries have absolute values that add up to at most `radius`.

    Parameters
    ----------
    radius : float
        At least 0.
    axes : tuple of int
        ``(-1,)`` makes the last axis one point, instead of the last two.

    Notes
    -----
    The projection is exact: one sort, and no search (derived).

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.L1Ball(1.0).prox(np.asarray([[2.0, -0.5]])) + 0.0
    array([[1., 0.]])
    """

    radius: float
    axes: Axes = (-2, -1)
    frame: ClassVar[Frame] = MAGNITUDES
    is_set: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_non_negative(self.radius, "radius")
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """The ball of the sum."""
        return sets.SumBall(self.radius)


@dataclass(frozen=True)
class Sparse(Operator):
    """The points with at most `count` entries that are not 0. Not convex.

    Parameters
    ----------
    count : int
        At least 1.
    axes : tuple of int
        ``(-1,)`` makes the last axis one point, instead of the last two.

    Notes
    -----
    The projection keeps the largest entries, of equal ones the first; two sorts.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Sparse(1).prox(np.asarray([[2.0, -0.5]])) + 0.0
    array([[2., 0.]])
    """

    count: int
    axes: Axes = (-2, -1)
    frame: ClassVar[Frame] = MAGNITUDES
    is_set: ClassVar[bool] = True
    is_convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive_rank(self.count, "count")
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """The leading entries."""
        return sets.Leading(self.count, ordered=False)


@dataclass(frozen=True)
class Box(BoundedSet):
    """The real points whose entries lie in [low, high].

    Parameters
    ----------
    low, high : float
        low <= high; they may be infinite, and then there is no `lmo`.
    axes : tuple of int
        ``(-1,)`` makes the last axis one point, instead of the last two.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Box(0.0, 1.0).prox(np.asarray([[2.0, -0.3, 0.5]]))
    array([[1. , 0. , 0.5]])
    """

    low: float
    high: float
    axes: Axes = (-2, -1)
    frame: ClassVar[Frame] = ENTRIES
    is_set: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_box(self.low, self.high)
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """A clip."""
        return sets.Box(self.low, self.high)


@dataclass(frozen=True)
class Simplex(BoundedSet):
    """The real points of entries of at least 0 that add up to `total`.

    Parameters
    ----------
    total : float
        At least 0.
    axes : tuple of int
        ``(-1,)`` makes the last axis one point, instead of the last two.

    Notes
    -----
    The projection is exact: one sort, and no search (derived).

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Simplex().prox(np.asarray([[0.8, 0.6]])).round(12)
    array([[0.6, 0.4]])
    """

    total: float = 1.0
    axes: Axes = (-2, -1)
    frame: ClassVar[Frame] = ENTRIES
    is_set: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_non_negative(self.total, "total")
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """The simplex."""
        return sets.ProbabilitySimplex(self.total)


@dataclass(frozen=True)
class L1(Operator):
    r"""`weight` times the sum of the absolute values.

    .. math::

        \operatorname{prox}_{\gamma g}(y)_{ij}
        = \operatorname{sign}(y_{ij}) \max(|y_{ij}| - \gamma w, 0)

    Parameters
    ----------
    weight : float
        At least 0.
    axes : tuple of int
        ``(-1,)`` makes the last axis one point, instead of the last two.

    Notes
    -----
    The prox is the soft threshold, step pre(weight / eps) in the geometry of a kernel.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.L1(0.5).prox(np.asarray([[2.0, -0.3]]), 1.0) + 0.0
    array([[1.5, 0. ]])
    """

    weight: float
    axes: Axes = (-2, -1)
    frame: ClassVar[Frame] = MAGNITUDES

    def __post_init__(self) -> None:
        check_non_negative(self.weight, "weight")
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """The weighted sum."""
        return penalties.Sum(self.weight)


@dataclass(frozen=True)
class L0(Operator):
    r"""`weight` times the number of entries that are not 0. Not convex.

    .. math::

        \operatorname{prox}_{\gamma g}(y)_{ij} = y_{ij} \ \text{ where } |y_{ij}|^2 > 2
            \gamma w, \text{ else } 0

    Parameters
    ----------
    weight : float
        At least 0.
    axes : tuple of int
        ``(-1,)`` makes the last axis one point, instead of the last two.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.L0(0.5).prox(np.asarray([[2.0, 0.9]]), 1.0)
    array([[2., 0.]])
    """

    weight: float
    axes: Axes = (-2, -1)
    frame: ClassVar[Frame] = MAGNITUDES
    is_convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_non_negative(self.weight, "weight")
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """The weighted count."""
        return penalties.Count(self.weight, relative=False)


@dataclass(frozen=True)
class ElasticNet(Operator):
    r"""`linear` times the sum of the absolute values, and `square` / 2 times that of squares.

    .. math::

        \operatorname{prox}_{\gamma g}(y)_{ij} = \operatorname{sign}(y_{ij})
            \max(|y_{ij}| - \gamma a, 0) / (1 + \gamma b)

    Parameters
    ----------
    linear, square : float
        At least 0.
    axes : tuple of int
        ``(-1,)`` makes the last axis one point, instead of the last two.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.ElasticNet(0.5, 1.0).prox(np.asarray([[2.5, -0.3]]), 1.0) + 0.0
    array([[1., 0.]])
    """

    linear: float
    square: float
    axes: Axes = (-2, -1)
    frame: ClassVar[Frame] = MAGNITUDES

    def __post_init__(self) -> None:
        check_non_negative(self.linear, "linear")
        check_non_negative(self.square, "square")
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """The sum and the squares."""
        return penalties.Squares(self.linear, self.square)


@dataclass(frozen=True)
class Huber(Operator):
    """`weight` times x² / 2 for abs x <= delta, and delta (abs x - delta / 2) beyond.

    Parameters
    ----------
    weight, delta : float
        At least 0.
    axes : tuple of int
        ``(-1,)`` makes the last axis one point, instead of the last two.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Huber(1.0, 1.0).prox(np.asarray([[4.0, 1.0]]), 1.0)
    array([[3. , 0.5]])
    """

    weight: float
    delta: float
    axes: Axes = (-2, -1)
    frame: ClassVar[Frame] = MAGNITUDES

    def __post_init__(self) -> None:
        check_non_negative(self.weight, "weight")
        check_non_negative(self.delta, "delta")
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """The Huber function."""
        return penalties.Huber(self.weight, self.delta)


@dataclass(frozen=True)
class MCP(Operator):
    """The minimax concave penalty, of slope max(weight - abs(x) / a, 0). Not convex.

    Parameters
    ----------
    weight : float
        At least 0.
    a : float
        Above 0; the prox of step t is that of a convex problem for t <= a.
    axes : tuple of int
        ``(-1,)`` makes the last axis one point, instead of the last two.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.MCP(1.0, 3.0).prox(np.asarray([[5.0, 1.5, 0.5]]), 1.0)
    array([[5.  , 0.75, 0.  ]])
    """

    weight: float
    a: float
    axes: Axes = (-2, -1)
    frame: ClassVar[Frame] = MAGNITUDES
    is_convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_non_negative(self.weight, "weight")
        _check_above(self.a, 0.0)
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """A slope that falls from the start."""
        return penalties.Concave(self.weight, 0.0, self.a * self.weight)


@dataclass(frozen=True)
class SCAD(Operator):
    """The penalty of slope `weight` up to it, then falling to 0 at a `weight`. Not convex.

    Parameters
    ----------
    weight : float
        At least 0.
    a : float
        Above 2.
    axes : tuple of int
        ``(-1,)`` makes the last axis one point, instead of the last two.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.SCAD(1.0, 3.0).prox(np.asarray([[5.0, 1.5, 0.5]]), 1.0)
    array([[5. , 0.5, 0. ]])
    """

    weight: float
    a: float
    axes: Axes = (-2, -1)
    frame: ClassVar[Frame] = MAGNITUDES
    is_convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_non_negative(self.weight, "weight")
        _check_above(self.a, 2.0)
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """A slope that falls later."""
        return penalties.Concave(self.weight, self.weight, self.a * self.weight)


def _check_box(low: float, high: float) -> None:
    """Refuse an empty box."""
    low, high = plain(low), plain(high)
    for end, name in ((low, "low"), (high, "high")):
        check_number(end, name, lambda _: True, "a number")
    known = isinstance(low, float) and isinstance(high, float)
    if known and (not low <= high or low == math.inf or high == -math.inf):
        msg = f"low must be at most high={high!r}, got {low!r}: the set is empty"
        raise ValueError(msg)


def _check_above(value: float, least: float) -> None:
    check_number(value, "a", lambda v: least < v < math.inf, f"a finite number above {least!r}")
