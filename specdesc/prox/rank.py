"""The matrices of bounded rank, with a projection that may start from an earlier one."""

from dataclasses import dataclass
from typing import Any, ClassVar

from specdesc._lib.checks import check_positive_rank, check_rank
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._truncate import initial_start, triplets_from
from specdesc.backends import Backend
from specdesc.backends.entry import enter
from specdesc.prox import sets
from specdesc.prox.operator import Operator


@dataclass(frozen=True)
class Rank(Operator):
    r"""The matrices of rank at most `rank`. Not convex.

    .. math:: \operatorname{prox}(y) = U_r S_r V_r^H

    Parameters
    ----------
    rank : int
        At least 1, and at most min(m, n) of the matrices that it meets.

    See Also
    --------
    RankPenalty : The penalty.
    Nuclear : The convex one.

    Notes
    -----
    The projection keeps the leading singular triplets (Eckart and Young); where singular values
    tie at the cut it is one of several. `prox` takes one dense SVD. `prox_from` starts from the
    block of an earlier call and costs O(m n rank).

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import prox
    >>> prox.Rank(1).prox(np.diag([3.0, 1.0])) + 0.0
    array([[3., 0.],
           [0., 0.]])
    """

    rank: int
    is_set: ClassVar[bool] = True
    is_convex: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive_rank(self.rank)

    @property
    def profile(self) -> Any:
        """The leading values."""
        return sets.Leading(self.rank, ordered=True)

    def _check(self, x: Array) -> None:
        check_rank(self.rank, x)

    def initial_start(self, x: Array, /) -> Array:
        """Return the first block for `prox_from`, of fixed shape."""
        return initial_start(x, self.rank)

    def prox_from(
        self, y: Array, step: float | Array, start: Array, /, *, tol: float
    ) -> tuple[Array, Array]:
        """Return a matrix of this rank near `y`, and the block for the next call.

        The kept singular values miss at most `tol` of the sum of the leading ones of `y`, in the
        sense of `truncated_svd`.
        """
        backend = enter("prox.Rank", y)
        enter("initial_start", working(backend.xp, y), start, names=("x", "start"), ndim=0)
        with backend.guard(y):
            return self.nearest_from(y, start, tol, backend=backend)

    def nearest_from(
        self, y: Array, start: Array, tol: float, /, *, backend: Backend
    ) -> tuple[Array, Array]:
        """Return what `prox_from` does, for arrays that were checked."""
        full = triplets_from(y, self.rank, tol, start, backend=backend)
        scaled = full.U * backend.xp.astype(full.S, full.U.dtype)[..., None, :]
        return backend.xp.matmul(scaled, full.Vh), full.start
