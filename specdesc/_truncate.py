"""The leading singular triplets, and the truncated spectral step that is made of them."""

from typing import Literal, NamedTuple, overload

from specdesc._lib.checks import check_fraction, check_integer, check_rank
from specdesc._lib.dtypes import is_half, working
from specdesc._lib.typing import Array
from specdesc._linalg import subspace
from specdesc._linalg.operator import LinearOperator
from specdesc._truncated_svd.leading import (
    Request,
    TruncatedSVD,
    initial_block,
    kept_pairs,
    leading_isometry,
    leading_triplets,
)
from specdesc._truncated_svd.on_device import Pairs
from specdesc.backends import Backend
from specdesc.backends.creation import zeros
from specdesc.backends.entry import check_supported, enter


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
    x: Array | LinearOperator,
    rank: int,
    /,
    *,
    tol: float | None = ...,
    start: Array | None = ...,
    seed: int = ...,
    step: int | Array = ...,
    full_output: Literal[False] = ...,
) -> tuple[Array, Array, Array]: ...
@overload
def truncated_svd(
    x: Array | LinearOperator,
    rank: int,
    /,
    *,
    tol: float | None = ...,
    start: Array | None = ...,
    seed: int = ...,
    step: int | Array = ...,
    full_output: Literal[True],
) -> TruncatedSVD: ...
def truncated_svd(
    x: Array | LinearOperator,
    rank: int,
    /,
    *,
    tol: float | None = None,
    start: Array | None = None,
    seed: int = 0,
    step: int | Array = 0,
    full_output: bool = False,
) -> tuple[Array, Array, Array] | TruncatedSVD:
    r"""Return the `rank` leading singular triplets of a matrix.

    .. math:: x \approx U_k S_k V_k^H, \qquad s_1 \ge \dots \ge s_k

    U and V have orthonormal columns always; where a singular value is zero they are completed.

    Parameters
    ----------
    x : array, shape (..., m, n), or LinearOperator
        Real or complex. Half precision is computed in float32 and cast back.
    rank : int
        From 1 to min(m, n).
    tol : float, optional
        How much of the Ky Fan value s_1 + ... + s_rank may be missed, relative to it, in (0, 1).
        None is the working accuracy, by a dense SVD.
    start : array, shape (..., n, min(rank + 10, m, n)), optional
        The block of an earlier call for a matrix that has moved little, or of `initial_start`.
    seed : int
        Seed of the random starting block. The same seed gives the same result on one backend.
    step : int or array
        Which draw of fresh columns joins a `start`: count the calls of a sequence, so that a
        direction that one draw has no part of is found by a later one. An array has no axes, is of
        integers and may be traced.
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

    See Also
    --------
    truncated_spectral_step : The product of the two blocks.
    initial_start : What a first call would start from.
    LinearOperator : A matrix that is known by its products.

    Notes
    -----
    With a `tol`, and where values can be read (NumPy, torch on a CPU): one pass of subspace
    iteration from `start` or from random columns; the block Krylov space that its products begin;
    the dense SVD. Each is entered only if the one before has met `tol` neither by its certificate
    nor by four times its estimate, and starts from what that one has. With sides up to 256 a block
    of rank + 6 random columns takes 6 passes, or a `start` one, then three times 4 more, in place
    of the Krylov space. Two columns of a warm block are drawn anew for each `step`, and a block
    that the energy outside of it proves useless is dropped for random columns. Elsewhere (JAX,
    GPUs, traced arrays) the plan is fixed: one pass from a `start`, two from random columns, for
    each decimal digit of `tol`; ``estimate`` says how far they came. Without the full output a step
    on a device is made of products and small Cholesky factors (derived): it waits for the
    eigenvalues of a matrix of ``rank + 10`` rows, and for nothing else.

    ``gap`` is a true bound, rounding included. It has a floor set by the energy of the singular
    values outside of the space, so on a heavy tail it stays large while ``estimate`` says how close
    the value is. Of the answers accepted by four times the estimate, 0.1 % miss more than `tol` in
    a sweep over power laws, exponentials, gaps, flat spectra, ties, random and sign matrices; those
    that do are at the edge of a flat bulk or hide a gap behind a slow start, and most miss less
    than ten times `tol`. An estimate is blind to a direction that no column has a part of.

    With b = rank + 10 a warm pass takes 4 m n b flops, and s steps of a cold Krylov space
    4 m n (rank + 2) s and less than twice that in all, in O((m + n) rank) memory. Blocks wider than
    a quarter of the short side go to the dense SVD at once.

    References
    ----------
    Halko, Martinsson, Tropp, arXiv:0909.4061 (subspace iteration); Musco, Musco, arXiv:1504.05477
    (block Krylov). Certificate and stopping rules: derived.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import truncated_svd
    >>> u, s, vh = truncated_svd(np.diag([3.0, 2.0, 1.0]), 2)
    >>> s
    array([3., 2.])
    """
    backend = _enter("truncated_svd", x, rank, tol, start, seed)
    request = Request(rank, tol, start, seed, step, carry=full_output)
    with backend.guard(x.like if isinstance(x, LinearOperator) else x):
        full = leading_triplets(x, request, backend=backend)
    return full if full_output else (full.U, full.S, full.Vh)


@overload
def truncated_spectral_step(
    x: Array | LinearOperator,
    rank: int,
    /,
    *,
    tol: float | None = ...,
    start: Array | None = ...,
    seed: int = ...,
    step: int | Array = ...,
    full_output: Literal[False] = ...,
) -> Array: ...
@overload
def truncated_spectral_step(
    x: Array | LinearOperator,
    rank: int,
    /,
    *,
    tol: float | None = ...,
    start: Array | None = ...,
    seed: int = ...,
    step: int | Array = ...,
    full_output: Literal[True],
) -> TruncatedStep: ...
def truncated_spectral_step(
    x: Array | LinearOperator,
    rank: int,
    /,
    *,
    tol: float | None = None,
    start: Array | None = None,
    seed: int = 0,
    step: int | Array = 0,
    full_output: bool = False,
) -> Array | TruncatedStep:
    r"""Return U_k V_kᴴ of the k leading singular triplets of x.

    .. math::

        U_k V_k^H = \operatorname{argmax}_{\|p\|_2 \le 1,\ \|p\|_* \le k}
            \operatorname{Re}\langle x, p\rangle

    The maximiser of Re <x, p> over spectral norm <= 1 and nuclear norm <= k: the step of truncated
    spectral descent, and minus the linear minimisation oracle of that ball. Pairs with
    s_i <= max(m, n) eps s_1 are dropped, so that the step has spectral norm 1 and its nuclear norm
    is the number kept; a zero matrix gives zero.

    Parameters
    ----------
    x, rank, tol, start, seed, step, full_output : as there
        See `truncated_svd`.

    Returns
    -------
    array, shape (..., m, n), or TruncatedStep
        New arrays of the library, dtype and device of `x`.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As in `truncated_svd`.

    See Also
    --------
    truncated_svd : The triplets themselves.
    specdesc.rules.TruncatedSpectralDescent : The rule with this step.
    specdesc.norms.KyFanDual : The norm whose oracle this is.

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
    backend = _enter("truncated_spectral_step", x, rank, tol, start, seed)
    xp, request = backend.xp, Request(rank, tol, start, seed, step, carry=full_output)
    with backend.guard(x.like if isinstance(x, LinearOperator) else x):
        if not full_output:
            pairs = leading_isometry(x, request, backend=backend)
            return xp.matmul(pairs.left, pairs.right)
        full = leading_triplets(x, request, backend=backend)
        kept = kept_pairs(full, backend=backend)
        product = xp.matmul(full.U * xp.astype(kept, full.U.dtype)[..., None, :], full.Vh)
        counts = xp.sum(xp.astype(kept, xp.int32), axis=-1, dtype=xp.int32)
    return TruncatedStep(product, full.value, full.gap, full.estimate, full.start, counts)


def initial_start(x: Array | LinearOperator, rank: int | None = None, /, *, seed: int = 0) -> Array:
    """Return what a first call would start from, for states of fixed structure.

    With a rank the block of `truncated_spectral_step`, without one the inverse root of
    `orthogonalize`: zeros, which no call takes for one.

    Parameters
    ----------
    x : array, shape (..., m, n)
        Only shape, dtype and device are read.
    rank : int, optional
        From 1 to min(m, n). Without it `x` is an array.
    seed : int
        Of the Gaussian columns, which are drawn on the host and do not depend on the backend.

    Returns
    -------
    array, shape (..., n, min(rank + 10, m, n)) or (..., k, k) with k = min(m, n)
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
    backend = enter_operator("initial_start", x)
    like = x.like if isinstance(x, LinearOperator) else working(backend.xp, x)
    if rank is None:
        side = min(x.shape[-2:])
        with backend.guard(like):
            return zeros((*x.shape[:-2], side, side), like, backend=backend)
    check_rank(rank, x)
    seed = check_integer(seed, "seed", least=0)
    with backend.guard(like):
        return initial_block(like, tuple(x.shape), rank, seed, backend=backend)


def _enter(
    function: str,
    x: Array | LinearOperator,
    rank: int,
    tol: float | None,
    start: Array | None,
    seed: int,
) -> Backend:
    """Check the arguments of a public function and return their backend."""
    backend = enter_operator(function, x)
    check_rank(rank, x)
    check_integer(seed, "seed", least=0)
    check_fraction(tol, "tol")
    if isinstance(x, LinearOperator) and tol is None:
        msg = "tol must be given for a LinearOperator: None is a dense SVD"
        raise ValueError(msg)
    if start is not None and 0 not in x.shape:
        like = x.like if isinstance(x, LinearOperator) else working(backend.xp, x)
        enter("initial_start", like, start, names=("x", "start"), ndim=0)
        _check_start(tuple(x.shape), start, rank)
    return backend


def isometry_from(
    x: Array | LinearOperator,
    rank: int,
    tol: float | None,
    start: Array,
    /,
    *,
    step: int | Array = 0,
    backend: Backend,
) -> Pairs:
    """Return the leading vectors for a caller that has checked `x`, and whose state holds `start`.

    Their product is the truncated spectral step.
    """
    request = _warm_request(x, rank, tol, start, step, backend)
    return leading_isometry(x, request, backend=backend)


def triplets_from(
    x: Array | LinearOperator,
    rank: int,
    tol: float | None,
    start: Array,
    /,
    *,
    step: int | Array = 0,
    backend: Backend,
) -> TruncatedSVD:
    """Return the full output for a caller that has checked `x`, and whose state holds `start`."""
    request = _warm_request(x, rank, tol, start, step, backend)
    return leading_triplets(x, request, backend=backend)


def _warm_request(
    x: Array | LinearOperator,
    rank: int,
    tol: float | None,
    start: Array,
    step: int | Array,
    backend: Backend,
) -> Request:
    check_supported("truncated_svd", backend)
    check_rank(rank, x)
    if isinstance(x, LinearOperator):
        enter_operator("truncated_svd", x)
        if tol is None:
            msg = "tol must be given for a LinearOperator: None is a dense SVD"
            raise ValueError(msg)
    if 0 not in x.shape:
        _check_start(tuple(x.shape), start, rank)
    return Request(rank, tol, start, step=step, carry=True)


def first_block(x: Array, rank: int, /, *, backend: Backend) -> Array:
    """Return `initial_start` of an array that was checked."""
    check_supported("initial_start", backend)
    check_rank(rank, x)
    return initial_block(working(backend.xp, x), tuple(x.shape), rank, 0, backend=backend)


def enter_operator(function: str, x: Array | LinearOperator, /) -> Backend:
    """Check an array or an operator. Private to specdesc."""
    if not isinstance(x, LinearOperator):
        return enter(function, x)
    backend = enter(function, x.like, names=("like",), ndim=0)
    if is_half(backend.xp, x.like.dtype):
        msg = f"like must not be half precision, got {x.like.dtype}: nothing casts the products"
        raise TypeError(msg)
    return backend


def _check_start(shape: tuple[int, ...], start: Array, rank: int) -> None:
    expected = (*shape[:-2], shape[-1], subspace.width(rank, shape))
    if tuple(start.shape) != expected:
        msg = (
            f"start must have shape {expected} for rank {rank} and x of shape {shape}, "
            f"got {tuple(start.shape)}"
        )
        raise ValueError(msg)
