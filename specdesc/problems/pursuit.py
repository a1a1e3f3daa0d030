"""Principal component pursuit, the classical convex method: a baseline."""

from collections.abc import Callable

from specdesc._lib.arrays import per_batch
from specdesc._lib.dtypes import eps
from specdesc._lib.typing import Array
from specdesc._linalg.basic import frobenius
from specdesc._polar import spectral_map
from specdesc.backends import Backend
from specdesc.backends.entry import enter

#: The customary constants of the inexact augmented Lagrangian (arXiv:1009.5055).
FIRST_PENALTY = 1.25
PENALTY_GROWTH = 1.5
MOST_PENALTY = 1e7
MOST_STEPS = 100


def principal_component_pursuit(
    data: Array, /, *, mask: Array | None = None, weight: float | None = None, tol: float = 1e-7
) -> tuple[Array, Array]:
    """Split data into a low-rank and a sparse part by an inexact augmented Lagrangian.

    Minimizes ||L||_* + weight ||S||_1 subject to L + S = data where it is observed.

    Parameters
    ----------
    data : array, shape (..., m, n)
        Finite. A stack is solved matrix by matrix, in step.
    mask : array of bool, shape of `data`, optional
        False where an entry is not observed: S is free there.
    weight : float, optional
        1 / sqrt(max(m, n)) by default.
    tol : float
        Stop at ||data - L - S||_F <= tol ||data||_F, but never below 32 eps.

    Returns
    -------
    tuple of arrays
        ``(L, S)``.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input.

    Notes
    -----
    One SVD a step, 20 to 40 steps. Reads one value a step: a baseline for reports, not for tracing.

    References
    ----------
    Candes, Li, Ma, Wright, arXiv:0912.3599; Lin, Chen, Ma, arXiv:1009.5055.
    """
    backend = enter("problems.principal_component_pursuit", data, names=("data",))
    xp = backend.xp
    tol = max(tol, 32 * eps(xp, data.dtype))
    weight = max(data.shape[-2:]) ** -0.5 if weight is None else weight
    zero = xp.zeros_like(data)
    seen = zero == zero if mask is None else mask
    data = xp.where(seen, data, zero)
    size = frobenius(data, xp=xp)
    size = xp.where(size > 0, size, xp.ones_like(size))
    largest = xp.max(xp.linalg.svdvals(data), axis=-1)[..., None, None]
    largest = xp.where(largest > 0, largest, xp.ones_like(largest))
    entry = xp.max(xp.abs(data), axis=(-2, -1), keepdims=True)
    dual = data / xp.astype(xp.maximum(largest, entry / weight), data.dtype)
    penalty = FIRST_PENALTY / largest
    most = MOST_PENALTY * penalty
    low_rank = sparse = zero
    for _ in range(MOST_STEPS):
        shift = dual / xp.astype(penalty, data.dtype)
        low_rank = spectral_map(data - sparse + shift, _shrink(1.0 / penalty[..., 0]))
        rest = data - low_rank + shift
        sparse = xp.where(seen, _soft_threshold(rest, weight / penalty, backend), rest)
        gap = data - low_rank - sparse
        dual = dual + xp.astype(penalty, data.dtype) * gap
        penalty = xp.minimum(PENALTY_GROWTH * penalty, most)
        if bool(xp.all(per_batch(frobenius(gap, xp=xp) / size) <= tol)):
            break
    return low_rank, xp.where(seen, sparse, zero)


def _shrink(amount: Array) -> Callable[[Array], Array]:
    def shrink(s: Array) -> Array:
        return (s - amount + abs(s - amount)) / 2

    return shrink


def _soft_threshold(x: Array, amount: Array, backend: Backend) -> Array:
    xp = backend.xp
    size = xp.abs(x)
    shrunk = xp.clip(size - amount, min=0.0)
    factor = shrunk / xp.where(size > 0, size, xp.ones_like(size))
    return x * xp.astype(factor, x.dtype)
