"""Functions and sets that see the Frobenius norm alone: they have a prox in every geometry."""

from dataclasses import dataclass
from typing import Any, ClassVar

from specdesc._lib.arrays import per_batch
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._linalg.basic import replace_broken, restore, row_energies
from specdesc.backends import Backend
from specdesc.preconditioners import Preconditioner
from specdesc.prox import penalties, sets
from specdesc.prox.entrywise import check_axes
from specdesc.prox.frames import NORM, Frame
from specdesc.prox.geometries import How
from specdesc.prox.operator import Axes, BoundedSet, Operator, check_non_negative, status_of


@dataclass(frozen=True)
class Zero(Operator):
    """The function 0: no constraint.

    Parameters
    ----------
    axes : tuple of int
        ``(-1,)`` makes the last axis one point, instead of the last two.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Zero().prox(np.asarray([[2.0, 0.5]]), 1.0)
    array([[2. , 0.5]])
    """

    axes: Axes = (-2, -1)
    frame: ClassVar[Frame] = NORM

    def __post_init__(self) -> None:
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """Nothing."""
        return penalties.Nothing()

    def _anisotropic(
        self, x: Array, _: Array, __: Preconditioner, ___: How, backend: Backend
    ) -> tuple[Array, Array]:
        """Return the point itself: no geometry is worth a factorization here."""
        own = self._take_apart(x, backend)
        return own.rebuild(own.magnitudes, lambda s: s), status_of(own, None, backend)


@dataclass(frozen=True)
class FrobeniusBall(BoundedSet):
    r"""The points of Euclidean norm at most `radius`.

    .. math:: \operatorname{prox}(y) = y \min(1, \rho / \|y\|_F)

    Parameters
    ----------
    radius : float
        At least 0.
    axes : tuple of int
        ``(-1,)`` makes the last axis one point, instead of the last two.

    Notes
    -----
    The Euclidean and the isotropic projection scale. In the other geometries every magnitude solves
    s = x + step pre(mu x), with one multiplier mu that gives x the norm `radius` (derived): closed
    for given mu for the soft sign and hard clipping, and by the scalar solver otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.FrobeniusBall(1.0).prox(np.asarray([[3.0, 4.0]]))
    array([[0.6, 0.8]])
    """

    radius: float
    axes: Axes = (-2, -1)
    is_set: ClassVar[bool] = True
    frame: ClassVar[Frame] = NORM

    def __post_init__(self) -> None:
        check_non_negative(self.radius, "radius")
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """The Euclidean ball."""
        return sets.EuclideanBall(self.radius)


@dataclass(frozen=True)
class Ridge(Operator):
    r"""weight / 2 times the squared Frobenius norm: implicit weight decay.

    .. math:: \operatorname{prox}_{\gamma g}(y) = y / (1 + \gamma w)

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
    >>> prox.Ridge(1.0).prox(np.asarray([[2.0, -4.0]]), 1.0)
    array([[ 1., -2.]])
    """

    weight: float
    axes: Axes = (-2, -1)
    frame: ClassVar[Frame] = NORM

    def __post_init__(self) -> None:
        check_non_negative(self.weight, "weight")
        check_axes(self.axes)

    @property
    def profile(self) -> Any:
        """The squares."""
        return penalties.Squares(0.0, self.weight)

    def value(self, x: Array, /) -> Array:
        """Return the value of every point, of the batch shape."""
        backend, matrix = self._enter(x)
        xp = backend.xp
        with backend.guard(x):
            # No root: so all derivatives are those of a polynomial, at 0 too.
            safe, finite = replace_broken(working(xp, matrix), backend=backend)
            value = (0.5 * self.weight) * xp.sum(row_energies(safe, xp=xp), axis=-1)
            return restore(value, per_batch(finite), backend=backend)
