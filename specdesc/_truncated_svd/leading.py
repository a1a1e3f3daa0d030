"""The leading singular triplets, behind the door: dense, adaptive, or by a fixed plan."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from specdesc._lib.arrays import adjoint, per_batch
from specdesc._lib.dtypes import eps, working
from specdesc._lib.typing import Array
from specdesc._linalg import krylov, subspace
from specdesc._linalg.basic import (
    balance,
    energy,
    frobenius,
    replace_broken,
    restore,
    thin_svd,
    widest,
)
from specdesc._linalg.krylov import Action
from specdesc._linalg.operator import LinearOperator
from specdesc._truncated_svd import on_device
from specdesc._truncated_svd.acceptance import Served, Source, Task
from specdesc._truncated_svd.block_krylov import adaptive
from specdesc._truncated_svd.on_device import Pairs
from specdesc.backends import Backend
from specdesc.backends.creation import zeros

#: The dense SVD is used where a block would be wider than this share of the short side: there
#: one pass costs as much as eigenvalues of the Gram matrix (2 CPU cores).
DENSE_SHARE = 0.25

#: Products with an operator and its adjoint may disagree by this many roots of eps.
ADJOINT = 64.0

#: Passes of subspace iteration where code may not look at values, for each decimal digit wanted.
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


class Request(NamedTuple):
    """What is asked of the leading triplets: the options of `truncated_svd`."""

    rank: int
    tol: float | None = None
    start: Array | None = None
    seed: int = 0
    step: int | Array = 0
    #: Whether another call follows, which starts from the block of this one.
    carry: bool = False


def leading_triplets(
    x: Array | LinearOperator, request: Request, /, *, backend: Backend
) -> TruncatedSVD:
    """Return the full output; where no call follows, its `start` is whatever was at hand."""
    rank, tol, start, seed, step, carry = request
    shape = tuple(x.shape)
    task = Task(rank, subspace.width(rank, shape) if carry else rank, tol or 0.0, seed, step)
    kept = start if carry else None
    if isinstance(x, LinearOperator):
        return _of_operator(x, task, start, kept, backend)
    if backend.streams and 0 not in shape:
        moving = step if start is not None and not isinstance(step, int) else None
        kernel = partial(_of_chunks, request._replace(start=None))
        full = backend.per_matrix(kernel, x, start, moving, spectral=True)
        return TruncatedSVD(*full)
    return _of_whole(x, request, backend)


def _of_chunks(
    request: Request, backend: Backend, x: Array, start: Array | None, step: Array | None
) -> TruncatedSVD:
    request = request._replace(start=start, step=request.step if step is None else step)
    return _of_whole(x, request, backend)


def _of_whole(x: Array, request: Request, backend: Backend) -> TruncatedSVD:
    rank, tol, start, seed, step, carry = request
    shape = tuple(x.shape)
    task = Task(rank, subspace.width(rank, shape) if carry else rank, tol or 0.0, seed, step)
    kept = start if carry else None
    if 0 in shape:
        return _empty(x, rank, backend)
    balanced = balance(working(backend.xp, x), backend=backend)
    if x.ndim <= 3:
        served = _serve(balanced.matrix, task, start, backend)
    else:
        served = _serve_flat(balanced.matrix, task, start, backend)
    return _finish(served, x, balanced.scale, balanced.finite, kept, backend)


def leading_isometry(x: Array | LinearOperator, request: Request, /, *, backend: Backend) -> Pairs:
    """Return the leading vectors alone: their product is the truncated spectral step."""
    xp, rank = backend.xp, request.rank
    shape = tuple(x.shape)
    dense = not request.tol or subspace.width(rank, shape) > DENSE_SHARE * min(shape[-2:])
    if isinstance(x, LinearOperator) or dense or not on_device.is_possible(x, backend):
        full = leading_triplets(x, request, backend=backend)
        kept = kept_pairs(full, backend=backend)
        left = full.U * xp.astype(kept, full.U.dtype)[..., None, :]
        return Pairs(left, full.Vh, full.start)
    columns = subspace.width(rank, shape) if request.carry else rank
    task = Task(rank, columns, request.tol or 0.0, request.seed, request.step)
    passes = _passes(task.tol, request.start is not None)
    return on_device.leading_pairs(x, task, request.start, passes, backend=backend)


def initial_block(
    like: Array, shape: tuple[int, ...], rank: int, seed: int, /, *, backend: Backend
) -> Array:
    """Return the block that a first call would start from."""
    columns = subspace.width(rank, shape)
    block = subspace.random_block(shape, columns, seed, like, backend=backend)
    # Adding zeros makes a new array where a broadcast would be a view.
    return block + zeros(tuple(block.shape), like, backend=backend)


def kept_pairs(triplets: TruncatedSVD, /, *, backend: Backend) -> Array:
    """Say which of the leading pairs carry a singular value above rounding level.

    NaN counts as kept, so that a non-finite matrix gives a step of NaN.
    """
    xp, s = backend.xp, triplets.S
    if 0 in s.shape:  # a slice beyond the end is not in the standard
        return xp.zeros(s.shape, dtype=xp.bool, device=backend.placement)
    size = max(triplets.U.shape[-2], triplets.Vh.shape[-1])
    return ~(s <= size * eps(xp, s.dtype) * s[..., :1])


def _serve_flat(x: Array, task: Task, start: Array | None, backend: Backend) -> Served:
    """Serve a stack with several axes of matrices as one with one."""
    xp, batch = backend.xp, tuple(x.shape[:-2])
    flat, block = (y if y is None else xp.reshape(y, (-1, *y.shape[-2:])) for y in (x, start))
    served = _serve(flat, task, block, backend)
    return Served(*(xp.reshape(y, (*batch, *y.shape[1:])) for y in served))


def _serve(x: Array, task: Task, start: Array | None, backend: Backend) -> Served:
    """Choose: dense, adaptive, or a fixed plan."""
    if task.tol == 0 or subspace.width(task.rank, x.shape) > DENSE_SHARE * min(x.shape[-2:]):
        return _dense(x, task, backend)
    if backend.branches:
        return adaptive(_source(x, task, backend), task, start, backend=backend)
    action = krylov.action_of(x, backend=backend)
    return _fixed(action, x, x.shape, energy(x, backend=backend), task, start, backend)


def _source(x: Array, task: Task, backend: Backend) -> Source:
    def only(members: Sequence[int]) -> Array:
        if x.ndim == 2 or len(members) == x.shape[0]:
            return x
        index = backend.xp.asarray(list(members), device=backend.placement)
        return backend.xp.take(x, index, axis=0)

    return Source(
        shape=tuple(x.shape),
        like=x,
        action=krylov.action_of(x, backend=backend),
        energy=energy(x, backend=backend),
        take=lambda members: _source(only(members), task, backend),
        dense=lambda members: _dense(only(members), task, backend),
    )


def _passes(tol: float, warm: bool) -> int:
    """Return how often a fixed plan multiplies: what that leads to depends on the spectrum."""
    digits = max(1, math.ceil(-math.log10(max(tol, 1e-16)) - 1e-9))
    return digits * (WARM_PASSES if warm else COLD_PASSES)


def _fixed(
    action: Action,
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
        block = subspace.drawn_columns(shape[-1], columns, seed, 0, like, backend=backend)
        block = xp.broadcast_to(block, (*shape[:-2], *block.shape))
        iterated = subspace.iterate(action, block, rank, _passes(task.tol, False), backend=backend)
    else:
        block = subspace.refresh(start, seed, task.step, backend=backend)
        iterated = subspace.iterate(action, block, rank, _passes(task.tol, True), backend=backend)
    u, s, v = iterated.triplets
    leading = s[..., :rank]
    value, unit = xp.sum(leading, axis=-1), eps(xp, s.dtype)
    guess = subspace.extrapolate(*iterated.earlier, value, 0.0, xp=xp)
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
    x: LinearOperator, task: Task, start: Array | None, kept: Array | None, backend: Backend
) -> TruncatedSVD:
    """Serve a matrix that is known by its products alone: no scale, no dense SVD."""
    xp, shape = backend.xp, tuple(x.shape)
    if 0 in shape:
        return _empty(zeros(shape, x.like, backend=backend), task.rank, backend)
    ok = xp.ones((), dtype=xp.bool, device=backend.placement)
    finite = [ok]
    first: dict[str, tuple[Array, Array]] = {}

    def product(name: str, call: Callable[[Array], Array], size: int, block: Array) -> Array:
        y = _watched(call(block), (size, block.shape[-1]), finite, backend)
        first.setdefault(name, (block, y))
        return y

    action = Action(
        partial(product, "forward", x.matmul, shape[0]),
        partial(product, "backward", x.rmatmul, shape[1]),
    )
    energy = x.energy
    if energy is not None:
        energy = widest(energy, backend=backend)
    if backend.branches:
        source = Source(shape, x.like, action, energy, None, None)
        served = adaptive(source, task, start, backend=backend)
    else:
        served = _fixed(action, x.like, shape, energy, task, start, backend)
    if len(first) == 2:
        infinite = xp.full_like(served.estimate, float("inf"))
        paired = _are_adjoint(first["forward"], first["backward"], backend)
        served = served._replace(
            gap=xp.where(paired, served.gap, infinite),
            estimate=xp.where(paired, served.estimate, infinite),
        )
    one = zeros((1, 1), x.like, backend=backend, real=True) + 1
    held = finite[0]
    for flag in finite[1:]:
        held = held & flag
    return _finish(served, x.like, one, xp.reshape(held, (1, 1)), kept, backend)


def _are_adjoint(
    forward: tuple[Array, Array], backward: tuple[Array, Array], backend: Backend
) -> Array:
    """Say whether <c, X b> = <Xᴴ c, b> for the columns of one block each, up to rounding.

    Where not, Xᴴ X is another matrix and nothing is known of the singular values of X.
    """
    xp = backend.xp
    (b, xb), (c, xc) = forward, backward
    left = xp.matmul(adjoint(c, xp=xp), xb)
    right = xp.matmul(adjoint(xc, xp=xp), b)
    size = frobenius(left, xp=xp) + frobenius(right, xp=xp)
    apart = frobenius(left - right, xp=xp)
    return per_batch(apart <= ADJOINT * eps(xp, left.dtype) ** 0.5 * size)


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
    size, block = scale[..., 0, 0], served.block
    full = TruncatedSVD(
        U=xp.astype(served.u, like.dtype, copy=False),
        S=served.s * size[..., None],
        Vh=xp.astype(adjoint(block[..., :rank], xp=xp), like.dtype, copy=False),
        value=xp.sum(served.s, axis=-1) * size,
        gap=served.gap * size,
        estimate=served.estimate * size,
        start=block if start is None else xp.where(finite, block, start),
    )
    if backend.branches and bool(xp.all(finite)):
        return full
    ok = per_batch(finite)
    return TruncatedSVD(
        U=restore(full.U, finite, backend=backend),
        S=restore(full.S, ok[..., None], backend=backend),
        Vh=restore(full.Vh, finite, backend=backend),
        value=restore(full.value, ok, backend=backend),
        gap=restore(full.gap, ok, backend=backend),
        estimate=restore(full.estimate, ok, backend=backend),
        start=full.start,
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
