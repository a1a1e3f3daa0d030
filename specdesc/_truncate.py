"""The leading singular triplets, and the truncated spectral step that is made of them."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, overload

from specdesc._lib.arrays import adjoint, per_batch
from specdesc._lib.checks import check_fraction, check_rank
from specdesc._lib.dtypes import eps, is_half, working
from specdesc._lib.typing import Array
from specdesc._linalg import krylov, subspace
from specdesc._linalg.basic import balance, energy, replace_broken, restore, thin_svd, widest
from specdesc._linalg.krylov import Products
from specdesc._linalg.operator import LinearOperator
from specdesc._truncated_svd.acceptance import Served, Source, Task
from specdesc._truncated_svd.block_krylov import climb
from specdesc.backends import Backend
from specdesc.backends.creation import zeros
from specdesc.backends.entry import enter

#: The dense SVD is used where a block would be wider than this share of the short side: there
#: one pass costs as much as eigenvalues of the Gram matrix (2 CPU cores).
DENSE_SHARE = 0.25

#: Passes of subspace iteration where code may not look at values.
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
    """Return the `rank` leading singular triplets of a matrix.

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
        Of the random columns. The same seed gives the same result on one backend.
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

    Notes
    -----
    With a `tol` and where code may look at values (NumPy, torch on a CPU): one pass of subspace
    iteration from `start` or from random columns; the block Krylov space that its products begin;
    the dense SVD. Each is entered only if the one before has met `tol` neither by its certificate
    nor by four times its estimate, and starts from what that one has. With sides up to 256 a block
    of rank + 6 random columns takes 6 passes, or a `start` one, then three times 4 more, in place
    of the Krylov space. Two columns of a warm block are drawn anew for each `step`, and a block
    that the energy outside of it proves useless is dropped for random columns. Elsewhere (JAX,
    GPUs, traced arrays) the plan is fixed: one pass from a `start`, two from random columns,
    whatever `tol` is; ``estimate`` says how far they came.

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
    (block Krylov). Certificate and ladder: derived.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import truncated_svd
    >>> u, s, vh = truncated_svd(np.diag([3.0, 2.0, 1.0]), 2)
    >>> s
    array([3., 2.])
    """
    full = _truncated_svd("truncated_svd", x, rank, tol, start, seed, step, full_output)
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
    """Return U_k V_kᴴ of the k leading singular triplets of x.

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
    full = _truncated_svd("truncated_spectral_step", x, rank, tol, start, seed, step, full_output)
    backend = _enter("truncated_spectral_step", x)
    xp = backend.xp
    kept = kept_pairs(full, backend=backend)
    product = xp.matmul(full.U * xp.astype(kept, full.U.dtype)[..., None, :], full.Vh)
    if not full_output:
        return product
    counts = xp.sum(xp.astype(kept, xp.int32), axis=-1, dtype=xp.int32)
    return TruncatedStep(product, full.value, full.gap, full.estimate, full.start, counts)


def kept_pairs(found: TruncatedSVD, /, *, backend: Backend) -> Array:
    """Say which of the leading pairs carry a singular value above rounding level.

    NaN counts as kept, so that a non-finite matrix gives a step of NaN.
    """
    xp, s = backend.xp, found.S
    if 0 in s.shape:  # a slice beyond the end is not in the standard
        return xp.zeros(s.shape, dtype=xp.bool, device=backend.placement)
    size = max(found.U.shape[-2], found.Vh.shape[-1])
    return ~(s <= size * eps(xp, found.U.dtype) * s[..., :1])


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
    backend = _enter("initial_start", x)
    like = x.like if isinstance(x, LinearOperator) else working(backend.xp, x)
    if rank is None:
        side = min(x.shape[-2:])
        with backend.guard(like):
            return zeros((*x.shape[:-2], side, side), like, backend=backend)
    check_rank(rank, x)
    with backend.guard(like):
        return _initial_start(like, tuple(x.shape), rank, seed, backend)


def _initial_start(
    like: Array, shape: tuple[int, ...], rank: int, seed: int, backend: Backend
) -> Array:
    columns = subspace.width(rank, shape)
    block = subspace.random_block(shape, columns, seed, like, backend=backend)
    # Adding zeros makes a new array where a broadcast would be a view.
    return block + zeros(tuple(block.shape), like, backend=backend)


def _truncated_svd(
    function: str,
    x: Array | LinearOperator,
    rank: int,
    tol: float | None,
    start: Array | None,
    seed: int,
    step: int | Array,
    carry: bool,
) -> TruncatedSVD:
    """Return the full output; without `carry` its `start` is whatever was at hand."""
    backend = _enter(function, x)
    check_rank(rank, x)
    check_fraction(tol, "tol")
    shape = tuple(x.shape)
    task = Task(rank, subspace.width(rank, shape) if carry else rank, tol or 0.0, seed, step)
    if isinstance(x, LinearOperator):
        if tol is None:
            msg = "tol must be given for a LinearOperator: None is a dense SVD"
            raise ValueError(msg)
        if start is not None:
            _check_start(x.like, shape, start, rank)
        with backend.guard(x.like):
            return _of_operator(x, task, start, carry, backend)
    with backend.guard(x):
        if 0 in shape:
            return _empty(x, rank, backend)
        balanced = balance(working(backend.xp, x), backend=backend)
        matrix = _flat(balanced.matrix, backend)
        block = None
        if start is not None:
            _check_start(balanced.matrix, shape, start, rank)
            block = _flat(start, backend)
        served = _serve(matrix, task, block, backend)
        served = Served(*(_unflat(y, shape[:-2], backend) for y in served))
        kept = start if carry else None
        return _finish(served, x, balanced.scale, balanced.finite, kept, backend)


def _enter(function: str, x: Array | LinearOperator) -> Backend:
    if not isinstance(x, LinearOperator):
        return enter(function, x)
    backend = enter(function, x.like, names=("like",), ndim=0)
    if is_half(backend.xp, x.like.dtype):
        msg = f"like must not be half precision, got {x.like.dtype}: nothing casts the products"
        raise TypeError(msg)
    return backend


def _check_start(like: Array, shape: tuple[int, ...], start: Array, rank: int) -> None:
    enter("initial_start", like, start, names=("x", "start"), ndim=0)
    expected = (*shape[:-2], shape[-1], subspace.width(rank, shape))
    if tuple(start.shape) != expected:
        msg = (
            f"start must have shape {expected} for rank {rank} and x of shape {shape}, "
            f"got {tuple(start.shape)}"
        )
        raise ValueError(msg)


def _flat(x: Array, backend: Backend) -> Array:
    """Return a stack with one axis of matrices, or one matrix."""
    return x if x.ndim <= 3 else backend.xp.reshape(x, (-1, *x.shape[-2:]))


def _unflat(y: Array, batch: tuple[int, ...], backend: Backend) -> Array:
    return y if len(batch) <= 1 else backend.xp.reshape(y, (*batch, *y.shape[1:]))


def _serve(x: Array, task: Task, start: Array | None, backend: Backend) -> Served:
    """Choose: dense, adaptive, or a fixed plan."""
    if task.tol == 0 or subspace.width(task.rank, x.shape) > DENSE_SHARE * min(x.shape[-2:]):
        return _dense(x, task, backend)
    if backend.branches:
        return climb(_source(x, task, backend), task, start, backend=backend)
    products = krylov.products_of(x, backend=backend)
    return _fixed(products, x, x.shape, energy(x, backend=backend), task, start, backend)


def _source(x: Array, task: Task, backend: Backend) -> Source:
    def only(members: Sequence[int]) -> Array:
        if x.ndim == 2 or len(members) == x.shape[0]:
            return x
        index = backend.xp.asarray(list(members), device=backend.placement)
        return backend.xp.take(x, index, axis=0)

    return Source(
        shape=tuple(x.shape),
        like=x,
        products=krylov.products_of(x, backend=backend),
        energy=energy(x, backend=backend),
        take=lambda members: _source(only(members), task, backend),
        dense=lambda members: _dense(only(members), task, backend),
    )


def _fixed(
    products: Products,
    like: Array,
    shape: tuple[int, ...],
    energy: Array | None,
    task: Task,
    start: Array | None,
    backend: Backend,
) -> Served:
    """Run subspace iteration of a fixed number of passes, for code that may not look at values."""
    xp, rank, seed = backend.xp, task.rank, task.seed
    if start is None:
        columns = subspace.width(rank, shape)
        block = subspace.random_block(shape, columns, seed, like, backend=backend)
        found = subspace.iterate(products, block, rank, COLD_PASSES, backend=backend)
    else:
        block = subspace.refresh(start, seed, task.step, backend=backend)
        found = subspace.iterate(products, block, rank, WARM_PASSES, backend=backend)
    u, s, v = found.triplets
    leading = s[..., :rank]
    value, unit = xp.sum(leading, axis=-1), eps(xp, s.dtype)
    guess = subspace.extrapolate(*found.earlier, value, 0.0, xp=xp)
    gap = xp.full_like(value, float("inf"))
    if energy is not None:
        captured = xp.sum(xp.astype(s, energy.dtype) ** 2, axis=-1)
        gap = subspace.certificate(energy, captured, leading, unit, backend=backend)
    estimate = guess + subspace.rounding(value, rank, unit)
    return Served(u[..., :rank], leading, v, gap, estimate)


def _dense(x: Array, task: Task, backend: Backend) -> Served:
    xp, rank = backend.xp, task.rank
    u, s, vh = thin_svd(x, xp=xp)
    block = adjoint(vh, xp=xp)[..., : task.columns]
    rounding = 4 * max(x.shape[-2:]) ** 0.5 * eps(xp, x.dtype) * rank * s[..., 0]
    return Served(u[..., :rank], s[..., :rank], block, rounding, rounding)


def _of_operator(
    x: LinearOperator, task: Task, start: Array | None, carry: bool, backend: Backend
) -> TruncatedSVD:
    """Serve a matrix that is known by its products alone: no scale, no dense rung."""
    xp, shape = backend.xp, tuple(x.shape)
    if 0 in shape:
        return _empty(zeros(shape, x.like, backend=backend), task.rank, backend)
    ok = xp.asarray(True, device=backend.placement)
    finite = [ok]
    products = Products(
        lambda block: _watched(x.matmul(block), (shape[0], block.shape[-1]), finite, backend),
        lambda block: _watched(x.rmatmul(block), (shape[1], block.shape[-1]), finite, backend),
    )
    known = x.energy
    if known is not None:
        known = widest(known, backend=backend)
    if backend.branches:
        source = Source(shape, x.like, products, known, None, None)
        served = climb(source, task, start, backend=backend)
    else:
        served = _fixed(products, x.like, shape, known, task, start, backend)
    one = zeros((1, 1), x.like, backend=backend, real=True) + 1
    held = finite[0]
    for flag in finite[1:]:
        held = held & flag
    kept = start if carry else None
    return _finish(served, x.like, one, xp.reshape(held, (1, 1)), kept, backend)


def _watched(y: Array, expected: tuple[int, int], finite: list[Array], backend: Backend) -> Array:
    """Return a product that is finite, and note where it was not."""
    if tuple(y.shape) != expected:
        msg = f"a product of the LinearOperator must have shape {expected}, got {tuple(y.shape)}"
        raise ValueError(msg)
    y, good = replace_broken(y, backend=backend)
    finite.append(per_batch(good))
    return y


def _finish(
    served: Served,
    like: Array,
    scale: Array,
    finite: Array,
    start: Array | None,
    backend: Backend,
) -> TruncatedSVD:
    """Undo the scale, cast back, and put NaN where it belongs, but not into the next start."""
    xp, rank = backend.xp, served.s.shape[-1]
    size, ok = per_batch(scale), per_batch(finite)
    vh = adjoint(served.block[..., :rank], xp=xp)
    value = xp.sum(served.s, axis=-1)
    block = served.block if start is None else xp.where(finite, served.block, start)
    return TruncatedSVD(
        U=restore(xp.astype(served.u, like.dtype, copy=False), finite, backend=backend),
        S=restore(served.s * size[..., None], ok[..., None], backend=backend),
        Vh=restore(xp.astype(vh, like.dtype, copy=False), finite, backend=backend),
        value=restore(value * size, ok, backend=backend),
        gap=restore(served.gap * size, ok, backend=backend),
        estimate=restore(served.estimate * size, ok, backend=backend),
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
