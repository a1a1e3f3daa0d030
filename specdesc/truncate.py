"""The leading singular triplets, and the truncated spectral step that is made of them."""

from collections.abc import Callable
from typing import Literal, NamedTuple, overload

from specdesc._array import check_fraction, check_rank, enter, eps, working
from specdesc._core import subspace
from specdesc._core.linalg import adjoint, balance, choose, per_batch, restore, thin_svd, zeros
from specdesc._core.subspace import Triplets
from specdesc._typing import Array
from specdesc.backends import Backend

#: The dense SVD is used where a block would be wider than this share of the short side: there
#: one pass costs as much as eigenvalues of the Gram matrix (2 CPU cores).
DENSE_SHARE = 0.25

#: Aitken's estimate is accepted when this many times it is within the tolerance.
SAFETY = 4.0

WARM_PASSES = 1
COLD_PASSES = 2


class TruncatedSVD(NamedTuple):
    """The full output of `truncated_svd`.

    Attributes
    ----------
    U, S, Vh : array
        Shapes (..., m, k), (..., k), (..., k, n).
    value : array
        S_1 + ... + S_k, of the batch shape like the next two.
    gap : array
        A bound on how much `value` misses of the Ky Fan norm; absolute, in the units of x.
    estimate : array
        An estimate of the same.
    start : array
        The block for the next call, shape (..., n, min(k + 10, m, n)).
    """

    U: Array
    S: Array
    Vh: Array
    value: Array
    gap: Array
    estimate: Array
    start: Array


class TruncatedStep(NamedTuple):
    """The full output of `truncated_spectral_step`.

    Attributes
    ----------
    step : array
        U_k V_kᴴ, shape (..., m, n).
    value, gap, estimate, start : array
        As in `TruncatedSVD`.
    rank : array of int32
        The number of pairs kept, of the batch shape.
    """

    step: Array
    value: Array
    gap: Array
    estimate: Array
    start: Array
    rank: Array


@overload
def truncated_svd(
    x: Array,
    rank: int,
    /,
    *,
    tol: float | None = ...,
    start: Array | None = ...,
    seed: int = ...,
    full_output: Literal[False] = ...,
) -> tuple[Array, Array, Array]: ...
@overload
def truncated_svd(
    x: Array,
    rank: int,
    /,
    *,
    tol: float | None = ...,
    start: Array | None = ...,
    seed: int = ...,
    full_output: Literal[True],
) -> TruncatedSVD: ...
def truncated_svd(
    x: Array,
    rank: int,
    /,
    *,
    tol: float | None = None,
    start: Array | None = None,
    seed: int = 0,
    full_output: bool = False,
) -> tuple[Array, Array, Array] | TruncatedSVD:
    """Return the `rank` leading singular triplets of a matrix.

    U and V have orthonormal columns always; where a singular value is zero they are completed.

    Parameters
    ----------
    x : array, shape (..., m, n)
        Real or complex. Half precision is computed in float32 and cast back.
    rank : int
        From 1 to min(m, n).
    tol : float, optional
        How much of the Ky Fan value s_1 + ... + s_rank may be missed, relative to it, in (0, 1).
        None is the working accuracy, by a dense SVD.
    start : array, shape (..., n, min(rank + 10, m, n)), optional
        The block of an earlier call for a matrix that has moved little, or of `initial_start`.
    seed : int
        Of the random columns. The same seed gives the same result on one backend.
    full_output : bool
        Return a `TruncatedSVD`.

    Returns
    -------
    tuple of (U, S, Vh), or TruncatedSVD
        New arrays of the library and device of `x`; S is real.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input; `rank` or `tol` out of range, `start` of another shape.

    Notes
    -----
    With a `tol`: subspace iteration, one pass from a warm `start`, two passes from random columns,
    then the dense SVD, each entered only if the one before has met `tol` neither by its
    certificate nor by four times its estimate. Where code may not look at values (JAX, GPUs,
    traced arrays) the first of them is the plan. ``gap`` is a true bound; it has a floor set by
    the energy of the singular values beyond the block, so on a heavy tail it stays large while
    ``estimate`` says how close the value is.

    With b = rank + 10 a warm call takes 8 m n b flops and a cold one 12 m n b, plus O((m + n) b²).
    Blocks wider than a quarter of the short side go to the dense SVD at once.

    References
    ----------
    Halko, Martinsson, Tropp, arXiv:0909.4061 (subspace iteration). Certificate: derived.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import truncated_svd
    >>> u, s, vh = truncated_svd(np.diag([3.0, 2.0, 1.0]), 2)
    >>> s
    array([3., 2.])
    """
    full = _truncated_svd("truncated_svd", x, rank, tol, start, seed)
    return full if full_output else (full.U, full.S, full.Vh)


@overload
def truncated_spectral_step(
    x: Array,
    rank: int,
    /,
    *,
    tol: float | None = ...,
    start: Array | None = ...,
    seed: int = ...,
    full_output: Literal[False] = ...,
) -> Array: ...
@overload
def truncated_spectral_step(
    x: Array,
    rank: int,
    /,
    *,
    tol: float | None = ...,
    start: Array | None = ...,
    seed: int = ...,
    full_output: Literal[True],
) -> TruncatedStep: ...
def truncated_spectral_step(
    x: Array,
    rank: int,
    /,
    *,
    tol: float | None = None,
    start: Array | None = None,
    seed: int = 0,
    full_output: bool = False,
) -> Array | TruncatedStep:
    """Return U_k V_kᴴ of the k leading singular triplets of x.

    The maximiser of Re <x, p> over spectral norm <= 1 and nuclear norm <= k: the step of truncated
    spectral descent, and minus the linear minimisation oracle of that ball. Pairs with
    s_i <= max(m, n) eps s_1 are dropped, so that the step has spectral norm 1 and its nuclear norm
    is the number kept; a zero matrix gives zero.

    Parameters
    ----------
    x, rank, tol, start, seed, full_output : as there
        See `truncated_svd`.

    Returns
    -------
    array, shape (..., m, n), or TruncatedStep
        New arrays of the library, dtype and device of `x`.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in `truncated_svd`.

    Notes
    -----
    Cost and accuracy as in `truncated_svd`, plus one product of 2 m n k flops.

    References
    ----------
    Truncated spectral descent: arXiv:2605.26977, our reading of its abstract.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import truncated_spectral_step
    >>> abs(truncated_spectral_step(np.diag([3.0, -2.0, 1.0]), 2))
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 0.]])
    """
    full = _truncated_svd("truncated_spectral_step", x, rank, tol, start, seed)
    backend = enter("truncated_spectral_step", x)
    xp = backend.xp
    kept = kept_pairs(full.S, x, backend=backend)
    step = xp.matmul(full.U * xp.astype(kept, full.U.dtype)[..., None, :], full.Vh)
    if not full_output:
        return step
    counts = xp.sum(xp.astype(kept, xp.int32), axis=-1, dtype=xp.int32)
    return TruncatedStep(step, full.value, full.gap, full.estimate, full.start, counts)


def kept_pairs(s: Array, x: Array, /, *, backend: Backend) -> Array:
    """Say which of the leading pairs carry a singular value above rounding level.

    NaN counts as kept, so that a non-finite matrix gives a step of NaN.
    """
    if 0 in s.shape:  # a slice beyond the end is not in the standard
        return backend.xp.zeros(s.shape, dtype=backend.xp.bool, device=backend.device(x))
    return ~(s <= max(x.shape[-2:]) * eps(backend.xp, x.dtype) * s[..., :1])


def initial_start(x: Array, rank: int, /, *, seed: int = 0) -> Array:
    """Return the block that a first call would start from, for states of fixed structure.

    Parameters
    ----------
    x : array, shape (..., m, n)
        Only shape, dtype and device are read.
    rank : int
        From 1 to min(m, n).
    seed : int
        Of the Gaussian columns, which are drawn on the host and do not depend on the backend.

    Returns
    -------
    array, shape (..., n, min(rank + 10, m, n))
        In the dtype that `x` is factorized in: its own, float32 for half precision.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in the table of bad input; `rank` out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import initial_start
    >>> initial_start(np.ones((30, 40)), 3).shape
    (40, 13)
    """
    backend = enter("initial_start", x)
    check_rank(rank, x)
    with backend.guard(x):
        return _initial_start(working(backend.xp, x), rank, seed, backend)


def _initial_start(x: Array, rank: int, seed: int, backend: Backend) -> Array:
    block = subspace.random_block(x, subspace.width(rank, x.shape), seed, backend=backend)
    # Adding zeros makes a new array where a broadcast would be a view.
    return block + zeros((*x.shape[:-2], *block.shape), x, backend=backend)


def _truncated_svd(
    function: str, x: Array, rank: int, tol: float | None, start: Array | None, seed: int
) -> TruncatedSVD:
    backend = enter(function, x)
    check_rank(rank, x)
    check_fraction(tol, "tol")
    with backend.guard(x):
        if 0 in x.shape:
            return _empty(x, rank, backend)
        balanced = balance(working(backend.xp, x), backend=backend)
        if start is not None:
            _check_start(balanced.matrix, start, rank)
        full = _climb(balanced.matrix, rank, tol, start, seed, backend)
        return _finish(full, x, balanced.scale, balanced.finite, start, backend)


def _check_start(x: Array, start: Array, rank: int) -> None:
    enter("initial_start", x, start, names=("x", "start"))
    expected = (*x.shape[:-2], x.shape[-1], subspace.width(rank, x.shape))
    if tuple(start.shape) != expected:
        msg = f"start must have shape {expected} for rank {rank}, got {tuple(start.shape)}"
        raise ValueError(msg)


def _climb(
    x: Array, rank: int, tol: float | None, start: Array | None, seed: int, backend: Backend
) -> TruncatedSVD:
    """Try the cheap methods first, each one only as long as it may be judged."""
    columns = subspace.width(rank, x.shape)
    if tol is None or columns > DENSE_SHARE * min(x.shape[-2:]):
        return _dense(x, rank, backend)

    def cold() -> TruncatedSVD:
        block = subspace.random_block(x, columns, seed, backend=backend)
        if x.ndim > 2:
            block = backend.xp.broadcast_to(block, (*x.shape[:-2], *block.shape))
        return _by_block(x, block, rank, COLD_PASSES, backend)

    def dense() -> TruncatedSVD:
        return _dense(x, rank, backend)

    if start is None:
        return _improve(cold(), tol, dense, backend)
    block = subspace.refresh(start, seed, backend=backend)
    warm = _by_block(x, block, rank, WARM_PASSES, backend)
    return _improve(_improve(warm, tol, cold, backend), tol, dense, backend)


def _improve(
    full: TruncatedSVD, tol: float, better: Callable[[], TruncatedSVD], backend: Backend
) -> TruncatedSVD:
    """Replace what misses `tol` by something better, where code may look; leave its neighbours."""
    if not backend.may_branch(full.value):
        return full
    close = (full.gap <= tol * full.value) | (SAFETY * full.estimate <= tol * full.value)
    if bool(backend.xp.all(close)):
        return full
    return TruncatedSVD(*choose(close, full, better(), xp=backend.xp))


def _by_block(x: Array, block: Array, rank: int, passes: int, backend: Backend) -> TruncatedSVD:
    found = subspace.iterate(x, block, rank, passes, backend=backend)
    gap = subspace.certificate(x, found.s, rank, backend=backend)
    estimate = subspace.estimate(found, rank, backend=backend)
    return _leading(found, rank, gap, estimate, backend)


def _dense(x: Array, rank: int, backend: Backend) -> TruncatedSVD:
    xp = backend.xp
    u, s, vh = thin_svd(x, xp=xp)
    columns = subspace.width(rank, x.shape)
    value = xp.sum(s[..., :rank], axis=-1)
    found = Triplets(u, s, adjoint(vh, xp=xp)[..., :columns], earlier=(value, value))
    rounding = 4 * max(x.shape[-2:]) ** 0.5 * eps(xp, x.dtype) * rank * s[..., 0]
    return _leading(found, rank, rounding, rounding, backend)


def _leading(
    found: Triplets, rank: int, gap: Array, estimate: Array, backend: Backend
) -> TruncatedSVD:
    s = found.s[..., :rank]
    vh = adjoint(found.v[..., :rank], xp=backend.xp)
    value = backend.xp.sum(s, axis=-1)
    return TruncatedSVD(found.u[..., :rank], s, vh, value, gap, estimate, found.v)


def _finish(
    full: TruncatedSVD, x: Array, scale: Array, finite: Array, start: Array | None, backend: Backend
) -> TruncatedSVD:
    """Undo the scale, cast back, and put NaN where it belongs, but not into the next start."""
    xp = backend.xp
    size, ok = per_batch(scale), per_batch(finite)
    block = full.start if start is None else xp.where(finite, full.start, start)
    return TruncatedSVD(
        U=restore(xp.astype(full.U, x.dtype, copy=False), finite, backend=backend),
        S=restore(full.S * size[..., None], ok[..., None], backend=backend),
        Vh=restore(xp.astype(full.Vh, x.dtype, copy=False), finite, backend=backend),
        value=restore(full.value * size, ok, backend=backend),
        gap=restore(full.gap * size, ok, backend=backend),
        estimate=restore(full.estimate * size, ok, backend=backend),
        start=block,
    )


def _empty(x: Array, rank: int, backend: Backend) -> TruncatedSVD:
    m, n, batch = x.shape[-2], x.shape[-1], tuple(x.shape[:-2])
    k = min(rank, m, n)
    like = working(backend.xp, x)
    none = zeros(batch, like, backend=backend, real=True)
    return TruncatedSVD(
        U=zeros((*batch, m, k), x, backend=backend),
        S=zeros((*batch, k), like, backend=backend, real=True),
        Vh=zeros((*batch, k, n), x, backend=backend),
        value=none,
        gap=none,
        estimate=none,
        start=zeros((*batch, n, subspace.width(rank, x.shape)), like, backend=backend),
    )
