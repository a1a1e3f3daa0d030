"""Principal component pursuit, the classical convex method: a baseline."""

from typing import NamedTuple

from specdesc._lib.arrays import per_batch
from specdesc._lib.checks import check_same_shape
from specdesc._lib.dtypes import eps, real_dtype, working
from specdesc._lib.typing import Array
from specdesc._linalg.basic import all_finite, balance, frobenius, restore, thin_svd
from specdesc.backends import Backend
from specdesc.backends.entry import enter
from specdesc.problems.scale import medians, spread

#: Entries further from the median than this many robust standard deviations are brought nearer.
NEAR = 30.0

#: Over-relaxation of the alternating directions, in (0, 2).
RELAXATION = 1.6

#: The optimality test costs one more set of singular values, so it is made every tenth step.
TEST_EVERY = 10
MOST_STEPS = 1000

#: A relative gap below so many eps is lost in the rounding of the objective (measured for 32).
LEAST_TOL = 1024.0

#: The penalty is doubled or halved where one residual is this many times the other, and not after
#: this step: with a fixed penalty the iteration is known to converge.
IMBALANCE = 3.0
LAST_CHANGE = 500


class _Split(NamedTuple):
    """The iterate: parts, dual point, penalty, and which matrices are finished."""

    low_rank: Array
    sparse: Array
    dual: Array
    penalty: Array
    done: Array


def principal_component_pursuit(
    data: Array, /, *, mask: Array | None = None, weight: float | None = None, tol: float = 1e-6
) -> tuple[Array, Array]:
    """Split data into a low-rank and a sparse part.

    Minimizes ||L||_* + weight ||S||_1 subject to L + S = data where it is observed.

    Parameters
    ----------
    data : array, shape (..., m, n)
        Real or complex. A stack is solved matrix by matrix, in step. A matrix with an observed
        entry that is not finite gives NaN.
    mask : array of bool, shape of `data`, optional
        False where an entry is not observed: S is free there.
    weight : float, optional
        Positive; 1 / sqrt(max(m, n)) by default.
    tol : float
        Positive. Stop where the duality gap is at most `tol` times the objective, but never below
        1024 eps (1.2e-4 in float32, where rounding of the objective hides less).

    Returns
    -------
    tuple of arrays
        ``(L, S)``. L has exact zeros among its singular values; on observed entries S is
        data - L, elsewhere 0.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input.

    Notes
    -----
    Alternating directions with over-relaxation and a penalty that is balanced for the first 500 of
    at most 1000 steps; 40 to 300 are usual. One SVD a step, and every tenth step the duality gap:
    the dual point divided by what it exceeds its constraints by is feasible, so the gap bounds what
    the objective is above its minimum. Reads one value every tenth step: a baseline for reports,
    not for tracing.

    The size of an outlier does not matter: entries far from the median are solved for as if they
    were nearer, which changes neither L nor the dual point as long as L is nearer still, and that
    is looked at in the end.

    References
    ----------
    Candes, Li, Ma, Wright, arXiv:0912.3599; Boyd et al., "Distributed optimization and statistical
    learning via the alternating direction method of multipliers" (2011), sections 3.4.1 and 3.4.3.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import problems
    >>> data = np.ones((20, 20))
    >>> data[3, 4] = 50.0
    >>> low_rank, sparse = problems.principal_component_pursuit(data)
    >>> bool(np.allclose(low_rank, 1.0, atol=1e-3)), round(float(sparse[3, 4]))
    (True, 49)
    """
    backend = enter("problems.principal_component_pursuit", data, names=("data",))
    xp = backend.xp
    for name, value in (("weight", weight), ("tol", tol)):
        if value is not None and not 0.0 < value < float("inf"):
            msg = f"{name} must be a finite number above 0, got {value!r}"
            raise ValueError(msg)
    seen = check_mask(mask, data, backend=backend)
    if 0 in data.shape:
        return xp.zeros_like(data), xp.zeros_like(data)
    if weight is None:
        weight = max(data.shape[-2:]) ** -0.5
    if seen is None:
        seen = xp.ones(data.shape, dtype=xp.bool, device=backend.placement)
    given = working(xp, xp.where(seen, data, xp.zeros_like(data)))
    finite = all_finite(given, xp=xp)
    given = xp.where(finite, given, xp.zeros_like(given))
    low_rank = _nearer(given, seen, weight, max(tol, LEAST_TOL * eps(xp, given.dtype)), backend)
    sparse = xp.where(seen, given - low_rank, xp.zeros_like(given))
    parts = (xp.astype(part, data.dtype, copy=False) for part in (low_rank, sparse))
    first, second = (restore(part, finite, backend=backend) for part in parts)
    return first, second


def check_mask(mask: Array | None, data: Array, /, *, backend: Backend) -> Array | None:
    """Return the mask, or raise the error that names it.

    Raises
    ------
    TypeError
        If it is no array of the same library, or not of booleans.
    ValueError
        If its shape is another.
    """
    if mask is None:
        return None
    xp = backend.xp
    if type(mask) is not type(data) or getattr(mask, "dtype", None) != xp.bool:
        kind = f"{type(mask).__module__}.{type(mask).__qualname__}"
        msg = (
            f"mask must be an array of booleans of the library of data, got {kind} of dtype "
            f"{getattr(mask, 'dtype', None)}; True marks what is observed"
        )
        raise TypeError(msg)
    check_same_shape(data, mask, "data", "mask")
    return mask


def _nearer(data: Array, seen: Array, weight: float, tol: float, backend: Backend) -> Array:
    """Solve for data whose far entries are brought nearer, until the solution is nearer still."""
    xp = backend.xp
    centre = medians(data, seen, backend=backend)
    deviation = data - centre
    # An overflow here is an entry at both ends of the range: it is as far as can be.
    size = xp.abs(deviation)
    reach = NEAR * spread(deviation, seen, backend=backend)
    while True:
        # The other entries are not shrunk; 1 is only there to divide by.
        shrunk = xp.astype(reach / xp.where(size > reach, size, xp.ones_like(size)), data.dtype)
        near = xp.where(size > reach, centre + deviation * shrunk, data)
        near = xp.where(seen, near, xp.zeros_like(near))
        low_rank = _solve(near, seen, weight, tol, backend)
        # Where the solution reaches beyond what was moved, moving it has changed the problem.
        wrong = seen & (size > reach) & (xp.abs(low_rank - centre) >= 0.5 * reach)
        again = xp.any(xp.any(wrong, axis=-1, keepdims=True), axis=-2, keepdims=True)
        if not bool(xp.any(again)):
            return low_rank
        reach = xp.where(again, 10.0 * reach, reach)


def _solve(data: Array, seen: Array, weight: float, tol: float, backend: Backend) -> Array:
    xp = backend.xp
    balanced = balance(data, backend=backend)
    data = balanced.matrix
    real = real_dtype(xp, data.dtype)
    zero = xp.zeros_like(data)
    count = xp.sum(xp.astype(seen, real), axis=(-2, -1), keepdims=True)
    mean = xp.sum(xp.abs(data), axis=(-2, -1), keepdims=True) / xp.where(
        count > 0, count, count + 1
    )
    some = mean > 0
    penalty = 0.25 / xp.where(some, mean, xp.ones_like(mean))
    now = _Split(zero, zero, zero, penalty, ~some)
    for step in range(1, MOST_STEPS + 1):
        test = step % TEST_EVERY == 0
        new = _step(now, data, seen, weight, tol if test else None, step <= LAST_CHANGE, backend)
        # What is finished stays: a matrix does not depend on the others of its stack.
        keep = now.done
        now = _Split(*(xp.where(keep, old, each) for old, each in zip(now, new, strict=True)))
        if test and bool(xp.all(now.done)):
            break
    return now.low_rank * xp.astype(balanced.scale, data.dtype)


def _step(
    now: _Split,
    data: Array,
    seen: Array,
    weight: float,
    tol: float | None,
    may_change: bool,
    backend: Backend,
) -> _Split:
    """Make one step of the alternating directions, and with `tol` test it and tune the penalty."""
    xp = backend.xp
    penalty = xp.astype(now.penalty, data.dtype)
    shift = now.dual / penalty
    u, s, vh = thin_svd(data - now.sparse + shift, xp=xp)
    s = xp.clip(s - 1.0 / per_batch(now.penalty)[..., None], min=0.0)
    low_rank = xp.matmul(u * xp.astype(s, u.dtype)[..., None, :], vh)
    mixed = RELAXATION * low_rank + (1.0 - RELAXATION) * (data - now.sparse)
    rest = data - mixed + shift
    sparse = xp.where(seen, _soft_threshold(rest, weight / now.penalty, backend), rest)
    dual = now.dual + penalty * (data - mixed - sparse)
    if tol is None:
        return _Split(low_rank, sparse, dual, now.penalty, now.done)
    outside = xp.where(seen, xp.abs(data - low_rank), 0.0 * now.penalty)
    value = xp.sum(s, axis=-1) + weight * xp.sum(outside, axis=(-2, -1))
    # |dual| <= weight by construction and 0 where nothing is seen: its spectral norm alone is over.
    excess = xp.max(xp.linalg.svdvals(dual), axis=-1)
    excess = xp.where(excess > 1.0, excess, xp.ones_like(excess))
    bound = (
        xp.sum(
            xp.real(xp.conj(dual) * data) if dual.dtype != excess.dtype else dual * data,
            axis=(-2, -1),
        )
        / excess
    )
    done = now.done | (value - bound <= tol * value)[..., None, None]
    changed = now.penalty
    if may_change:
        primal = changed * frobenius(data - low_rank - sparse, xp=xp)
        moved = changed * frobenius(sparse - now.sparse, xp=xp)
        changed = xp.where(primal > IMBALANCE * moved, 2.0 * changed, changed)
        changed = xp.where(moved > IMBALANCE * primal, 0.5 * changed, changed)
    return _Split(low_rank, sparse, dual, changed, done)


def _soft_threshold(x: Array, amount: Array, backend: Backend) -> Array:
    xp = backend.xp
    size = xp.abs(x)
    shrunk = xp.clip(size - amount, min=0.0)
    factor = shrunk / xp.where(size > 0, size, xp.ones_like(size))
    return x * xp.astype(factor, x.dtype)
