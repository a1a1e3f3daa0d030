"""Functions and sets of singular values."""

from dataclasses import dataclass
from typing import Any, ClassVar

from specdesc._clip import SMALL, clip, raise_to
from specdesc._lib.arrays import adjoint
from specdesc._lib.checks import check_positive_rank, is_number, plain
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._linalg import excess, magnitudes
from specdesc._polar_factor.fixed import isometry
from specdesc._polar_factor.solvers import on_device
from specdesc.backends import Backend
from specdesc.prox import penalties, sets
from specdesc.prox.frames import MAGNITUDES, NORM
from specdesc.prox.operator import BoundedSet, Operator, check_non_negative

#: A least singular value of this part of the largest can be told from a Gram matrix.
SEEN = 0.125


@dataclass(frozen=True)
class SpectralBall(BoundedSet):
    r"""The matrices of spectral norm at most `radius`.

    .. math:: \operatorname{prox}(y) = U \min(S, \rho)\, V^H

    Parameters
    ----------
    radius : float
        At least 0.

    See Also
    --------
    KyFanBall : With a bound on the nuclear norm.
    FrobeniusBall : A bound on the Frobenius norm.
    specdesc.spectral_clip : The projection.

    Notes
    -----
    The projection is min(s, radius) on the singular values, the same in every spectral geometry.
    It is that of `spectral_clip` where values can be read and on a device, and takes one SVD
    elsewhere, where polynomials could not keep what is said of a set. So does the status of
    `anisotropic_prox`.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.SpectralBall(2.0).prox(np.diag([3.0, 1.0]))
    array([[2., 0.],
           [0., 1.]])
    """

    radius: float
    is_set: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_non_negative(self.radius, "radius")

    @property
    def profile(self) -> Any:
        """A clip."""
        return sets.Interval(0.0, self.radius)

    def _direct(self, y: Array, backend: Backend) -> Array | None:
        if not (backend.branches or on_device(y, backend)):
            return None
        return clip(y, self.radius, magnitudes.slack(y, xp=backend.xp), backend=backend)


@dataclass(frozen=True)
class SpectralInterval(BoundedSet):
    r"""The matrices whose singular values all lie in [low, high]; not convex for low > 0.

    .. math:: \operatorname{prox}(y) = U \min(\max(S, a), b)\, V^H

    Parameters
    ----------
    low, high : float
        0 <= low <= high.

    Notes
    -----
    The projection is clip(s, low, high). Where values can be read it is `spectral_clip` and a
    proof that no singular value is below `low`, one Cholesky factorization; it takes one SVD where
    there is no proof, as for low < high / 8, which squares cannot see well enough.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.SpectralInterval(1.0, 2.0).prox(np.diag([3.0, 0.5])).round(12) + 0.0
    array([[2., 0.],
           [0., 1.]])
    """

    low: float
    high: float
    is_set: ClassVar[bool] = True
    is_convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_non_negative(self.low, "low")
        check_non_negative(self.high, "high")
        low, high = plain(self.low), plain(self.high)
        if isinstance(low, float) and isinstance(high, float) and low > high:
            msg = f"low must be at most high={self.high!r}, got {self.low!r}: the set is empty"
            raise ValueError(msg)

    @property
    def profile(self) -> Any:
        """A clip."""
        return sets.Interval(self.low, self.high)

    def _direct(self, y: Array, backend: Backend) -> Array | None:
        if on_device(y, backend):
            return self._on_device(y, backend)
        known = isinstance(plain(self.low), float) and isinstance(plain(self.high), float)
        if not (known and backend.branches) or min(y.shape[-2:]) <= SMALL:
            return None
        if 0.0 < self.low < SEEN * self.high:
            return None
        slack = magnitudes.slack(y, xp=backend.xp)
        clipped = clip(y, self.high, slack, backend=backend)
        # Half of what a violation may be is left to the rounding of squares.
        least = self.low - 0.5 * slack * self.high
        return clipped if least <= 0.0 or _at_least(clipped, least, backend) else None

    def _on_device(self, y: Array, backend: Backend) -> Array:
        allowed = magnitudes.slack(y, xp=backend.xp)
        clipped = clip(y, self.high, allowed, backend=backend)
        if is_number(self.low, 0.0):
            return clipped
        raised = raise_to(clipped, self.low, backend=backend)
        return _where_moved(raised, clipped, allowed * self.high, backend)


def _where_moved(new: Array, old: Array, least: float, backend: Backend) -> Array:
    """Return `old` where it is no further than `least` from `new`, in the dtype of `old`."""
    xp, primitives = backend.xp, backend.primitives
    moved = primitives.frobenius(primitives.axpby(1.0, new, -1.0, old))
    return xp.where(moved <= least, old, xp.astype(new, old.dtype, copy=False))


def _at_least(x: Array, bound: float, backend: Backend) -> bool:
    """Prove that no singular value is below a bound."""
    xp = backend.xp
    wide = working(xp, x if x.shape[-2] <= x.shape[-1] else adjoint(x, xp=xp))
    flat = xp.reshape(wide, (-1, *wide.shape[-2:]))
    return all(
        excess.outside(xp.matmul(one, adjoint(one, xp=xp)), bound, backend=backend)
        for one in (flat[i, ...] for i in range(flat.shape[0]))
    )


@dataclass(frozen=True)
class Stiefel(BoundedSet):
    r"""The matrices with orthonormal columns, or rows if there are fewer rows. Not convex.

    .. math:: \operatorname{prox}(y) = U V^H

    The projection is the polar factor U Vᴴ, an isometry also for a matrix that has no full rank,
    in which case it is one of several.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Stiefel().prox(np.diag([3.0, 0.5])).round(12) + 0.0
    array([[1., 0.],
           [0., 1.]])
    """

    is_set: ClassVar[bool] = True
    is_convex: ClassVar[bool] = False

    @property
    def profile(self) -> Any:
        """All singular values are 1."""
        return sets.Interval(1.0, 1.0)

    def _direct(self, y: Array, backend: Backend) -> Array | None:
        if not on_device(y, backend):
            return None
        primitives, wide = backend.primitives, y.shape[-2] <= y.shape[-1]
        matrix = working(backend.xp, y)
        factor = isometry(matrix if wide else primitives.adjoint(matrix), backend=backend)
        factor = factor if wide else primitives.adjoint(factor)
        return _where_moved(factor, y, magnitudes.slack(y, xp=backend.xp), backend)


@dataclass(frozen=True)
class NuclearBall(BoundedSet):
    r"""The matrices whose singular values add up to at most `radius`.

    .. math::

        \operatorname{prox}(y) = U \max(S - \theta, 0)\, V^H, \qquad
        \sum_i \max(s_i - \theta, 0) = \rho \ \text{ outside of the ball}

    Parameters
    ----------
    radius : float
        At least 0.

    Notes
    -----
    The projection subtracts one shift from all singular values, found by one sum over them.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.NuclearBall(2.0).prox(np.diag([3.0, 1.0])) + 0.0
    array([[2., 0.],
           [0., 0.]])
    """

    radius: float
    is_set: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_non_negative(self.radius, "radius")

    @property
    def profile(self) -> Any:
        """The ball of the sum."""
        return sets.SumBall(self.radius)


@dataclass(frozen=True)
class KyFanBall(BoundedSet):
    """{spectral norm <= radius, nuclear norm <= k radius}: the ball of `norms.KyFanDual(k)`.

    The set that truncated descent with weight decay lives in: its extreme points are `radius` times
    the partial isometries of rank k. More than min(m, n) for k is the spectral ball.

    Parameters
    ----------
    k : int
        At least 1.
    radius : float
        At least 0.

    Notes
    -----
    The projection is clip(s - shift, 0, radius) with an exact shift: no iteration, but a table of
    2 k by k numbers for k singular values.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.KyFanBall(1, 1.0).prox(np.diag([2.0, 1.0])) + 0.0
    array([[1., 0.],
           [0., 0.]])
    """

    k: int
    radius: float
    is_set: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive_rank(self.k, "k")
        check_non_negative(self.radius, "radius")

    @property
    def profile(self) -> Any:
        """The ball of the sum, cut."""
        return sets.CappedSumBall(self.k, self.radius)


@dataclass(frozen=True)
class Nuclear(Operator):
    r"""`weight` times the nuclear norm, the sum of the singular values.

    .. math:: \operatorname{prox}_{\gamma g}(y) = U \max(S - \gamma w, 0)\, V^H

    Parameters
    ----------
    weight : float
        At least 0.

    See Also
    --------
    NuclearBall : The constraint.
    RankPenalty : The penalty that counts.

    Notes
    -----
    The prox shrinks every singular value by `weight` times the step, to no less than 0; one SVD.
    In a geometry of a kernel the threshold is step pre(weight / eps).

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Nuclear(1.0).prox(np.diag([3.0, 1.0]), 2.0)
    array([[1., 0.],
           [0., 0.]])
    """

    weight: float

    def __post_init__(self) -> None:
        check_non_negative(self.weight, "weight")

    @property
    def profile(self) -> Any:
        """The weighted sum."""
        return penalties.Sum(self.weight)


@dataclass(frozen=True)
class RankPenalty(Operator):
    r"""`weight` times the rank. Not convex.

    .. math:: \operatorname{prox}_{\gamma g}(y) = \sum_{s_i^2 > 2 \gamma w} s_i\, u_i v_i^H

    Parameters
    ----------
    weight : float
        At least 0.

    Notes
    -----
    `value` counts the singular values above 8 max(m, n) eps s_1. The prox keeps those that cost
    more to remove than `weight`.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.RankPenalty(1.0).prox(np.diag([3.0, 1.0]), 1.0) + 0.0
    array([[3., 0.],
           [0., 0.]])
    """

    weight: float
    is_convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_non_negative(self.weight, "weight")

    @property
    def profile(self) -> Any:
        """The weighted count."""
        return penalties.Count(self.weight, relative=True)


@dataclass(frozen=True)
class Spectral(Operator):
    """A function of magnitudes, such as `MCP`, of the singular values instead of the entries.

    Parameters
    ----------
    g : L1, Ridge, ElasticNet, MCP, SCAD or Huber
        What it says of the entries, this says of the singular values.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Spectral(prox.Huber(1.0, 2.0)).value(np.diag([3.0, 1.0]))
    np.float64(4.5)
    """

    g: Operator

    def __post_init__(self) -> None:
        if self.g.is_set or self.g.frame not in (MAGNITUDES, NORM):
            msg = f"g must be a penalty on magnitudes, got {type(self.g).__name__}"
            raise ValueError(msg)
        if isinstance(self.g.profile, penalties.Count):
            msg = "g must not be L0: RankPenalty counts singular values above rounding"
            raise ValueError(msg)

    @property
    def is_convex(self) -> bool:  # type: ignore[override]
        """Whether g is."""
        return self.g.is_convex

    @property
    def profile(self) -> Any:
        """That of g."""
        return self.g.profile
