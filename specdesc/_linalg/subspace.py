"""Random blocks, subspace iteration, and what by-products prove about the leading triplets."""

import math
from typing import NamedTuple

from specdesc._lib import host
from specdesc._lib.arrays import adjoint
from specdesc._lib.dtypes import real_dtype
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg import krylov
from specdesc._linalg.basic import all_finite, thin_svd, widest
from specdesc._linalg.krylov import Action, Half, Leading
from specdesc._linalg.orthonormal import against, qr
from specdesc.backends import Backend
from specdesc.backends.creation import scalar

#: Columns beyond the wanted rank. Ten are customary (Halko, Martinsson, Tropp); fewer cost passes.
OVERSAMPLING = 10

#: Columns of a warm block that are drawn anew, so that a direction orthogonal to it can be found.
FRESH = 2

#: Draws of columns before they come again: a prime, so that any two of them are independent, and
#: so small that products of two numbers below fit into int32. Fifth powers permute its residues.
DRAWS = 32749

#: Arbitrary: what neighbouring rows, and neighbouring seeds, differ by.
STRIDE, OFFSET = 12553, 7919

#: What rounding may take from the energy of a matrix, in eps: the products in its dtype lose some,
#: and the directions of a Krylov space are chosen by numbers that are rounded once more.
SLACK = 8


class Iterated(NamedTuple):
    """Where subspace iteration has led."""

    triplets: Leading  # here Uᴴ X = S Vᴴ
    earlier: tuple[Array, Array]  # Ky Fan values of the two half passes before, (...)


def width(rank: int, shape: tuple[int, ...], /) -> int:
    """Return the number of columns of a block that is carried from call to call."""
    return min(rank + OVERSAMPLING, *shape[-2:])


def iterate(x: Action, block: Array, rank: int, passes: int, /, *, backend: Backend) -> Iterated:
    """Run subspace iteration with `passes` >= 1 full passes on finite, balanced matrices."""
    xp = backend.xp
    q, _ = qr(x.forward(block), backend=backend)
    for _ in range(passes - 1):
        v, _ = qr(x.backward(q), backend=backend)
        q, _ = qr(x.forward(v), backend=backend)
    v, r = qr(x.backward(q), backend=backend)
    before = _ky_fan(r, rank, backend)
    q, r = qr(x.forward(v), backend=backend)
    last = _ky_fan(r, rank, backend)
    if _has_wider(r, backend):
        half = Half(q, r, x.backward(q))
        return Iterated(krylov.half_leading(half, q.shape[-1], backend=backend), (before, last))
    p, t = qr(x.backward(q), backend=backend)
    # Xᴴ Q = P T, so the SVD of a b by b matrix gives that of the projection Q Qᴴ X.
    left, s, right = thin_svd(adjoint(t, xp=xp), xp=xp)
    triplets = Leading(xp.matmul(q, left), s, xp.matmul(p, adjoint(right, xp=xp)))
    return Iterated(triplets, (before, last))


def certificate(
    energy: Array, captured: Array, s: Array, unit: float, /, *, backend: Backend
) -> Array:
    """Bound what s_1 + ... + s_k misses of the Ky Fan norm of X, per matrix.

    `energy` is ||X||_F², in the widest dtype; `captured` the part of it inside of a subspace, and
    `s` the k leading singular values of X there. By Weyl and Ky Fan the true sigma_i² exceed s_i²
    by amounts of total at most E = energy - captured, and the sum of the first roots grows most
    when E fills the smallest of them first, up to a water level. Derived; attained by some matrix
    with these numbers.

    The two energies are large and close: a slack in units of `unit`, the eps of the products,
    covers what they have lost.
    """
    xp, rank = backend.xp, s.shape[-1]
    squares = xp.astype(s, energy.dtype, copy=False) ** 2
    whole = energy[..., None]
    outside = whole - captured[..., None]
    outside = xp.maximum(outside, xp.zeros_like(outside)) + (SLACK + 2 * rank) * unit * whole
    # Row j of the table adds the j + 1 smallest of them; the level is the least of the averages.
    order = xp.arange(rank, dtype=energy.dtype, device=backend.placement)
    smallest = order[None, :] >= rank - 1 - order[:, None]
    filled = xp.sum(squares[..., None, :] * xp.astype(smallest, energy.dtype), axis=-1)
    level = xp.min((outside + filled) / (order + 1), axis=-1, keepdims=True)
    top = xp.sqrt(xp.maximum(squares, level)) + xp.sqrt(squares)
    top = xp.where(top > 0, top, xp.ones_like(top))
    risen = xp.maximum(level - squares, xp.zeros_like(squares))
    return xp.astype(xp.sum(risen / top, axis=-1), s.dtype, copy=False)


def extrapolate(
    before: Array, last: Array, value: Array, least: float | Array, /, *, xp: Namespace
) -> Array:
    """Estimate what a rising sequence still misses, by Aitken's extrapolation of its last growth.

    The ratio of two growths is taken to be `least` at least. An estimate, not a bound.
    """
    smallest = xp.zeros_like(value) + least
    ratio = xp.clip(xp.maximum(growth_ratio(before, last, value, xp=xp), smallest), max=0.99)
    growing = value - last
    return xp.maximum(growing, xp.zeros_like(growing)) * ratio / (1.0 - ratio)


def growth_ratio(before: Array, last: Array, value: Array, /, *, xp: Namespace) -> Array:
    """Return the last growth over the one before, 1 where nothing grew before."""
    grown = last - before
    moving = grown > 0
    ratio = (value - last) / xp.where(moving, grown, xp.ones_like(grown))
    return xp.where(moving, ratio, xp.ones_like(ratio))


def rounding(value: Array, rank: int, unit: float, /) -> Array:
    """Return what rounding of the products may have done to a Ky Fan value."""
    return 4 * rank * unit * value


def random_block(
    shape: tuple[int, ...], columns: int, seed: int, like: Array, /, *, backend: Backend
) -> Array:
    """Return n by `columns` Gaussian numbers for each matrix of a stack, the same for all.

    `shape` is that of the stack; dtype and device are those of `like`.
    """
    block = _device_block((shape[-1], columns), seed, like, backend)
    if len(shape) == 2:
        return block
    return backend.xp.broadcast_to(block, (*shape[:-2], *block.shape))


def refresh(start: Array, seed: int, step: int | Array, /, *, backend: Backend) -> Array:
    """Replace the weakest columns of a warm block by fresh ones, and a broken block whole."""
    xp = backend.xp
    kept = start.shape[-1] - FRESH
    rows, columns = start.shape[-2:]
    fresh = drawn_columns(rows, columns, seed, step, start, backend=backend)
    fresh = xp.broadcast_to(fresh, start.shape)
    # A block that a NaN has reached would hand it on to every later step.
    ok = all_finite(start, xp=xp)
    warm = xp.concat([start[..., : max(0, kept)], fresh[..., max(0, kept) :]], axis=-1)
    return xp.where(ok, warm, fresh)


def drawn_columns(
    rows: int, count: int, seed: int, step: int | Array, like: Array, /, *, backend: Backend
) -> Array:
    """Return columns of mean square 1 / rows, of other draws for each step.

    Column number j is cos(angle j + phase), row by row, with angles and phases scattered over the
    multiples of 2 pi / `DRAWS`: any two columns see independent entries. They are made of integers
    where they are wanted: nothing is copied from the host, and the step may be traced.
    """
    xp = backend.xp
    drawn = xp.reshape(_scattered(2 * rows, seed, backend), (2, rows, 1))
    angle, phase = drawn[0, ...], drawn[1, ...]
    number = xp.arange(count, dtype=xp.int32, device=backend.placement)
    if not isinstance(step, int) or step:
        number = (number + step % DRAWS * count) % DRAWS
    turned = (angle * number[None, :] + phase) % DRAWS
    turned = xp.astype(turned, real_dtype(xp, like.dtype)) * (2 * math.pi / DRAWS)
    return xp.astype(xp.cos(turned) * (2 / max(1, rows)) ** 0.5, like.dtype, copy=False)


def _scattered(count: int, seed: int, backend: Backend) -> Array:
    """Return integers below `DRAWS`: fifth powers of a progression, which permute its residues."""
    xp = backend.xp
    x = xp.arange(count, dtype=xp.int32, device=backend.placement)
    if count > DRAWS:
        x = (x % DRAWS + x // DRAWS * STRIDE) % DRAWS
    x = (x * (1 + (seed + STRIDE) % (DRAWS - 1)) + seed * OFFSET % DRAWS) % DRAWS
    square = x * x % DRAWS
    return square * square % DRAWS * x % DRAWS


def complete(v: Array, columns: int, seed: int, /, *, backend: Backend) -> Array:
    """Add random columns to an orthonormal block, up to a number of them."""
    missing = columns - v.shape[-1]
    if missing <= 0:
        return v[..., :columns]
    block = _device_block((v.shape[-2], missing), seed, v, backend)
    block = backend.xp.broadcast_to(block, (*v.shape[:-2], *block.shape))
    return backend.xp.concat([v, against(block, v, backend=backend)], axis=-1)


def _device_block(shape: tuple[int, ...], seed: int, like: Array, backend: Backend) -> Array:
    values = host.gaussian(shape, seed)
    block = backend.xp.asarray(
        values, dtype=real_dtype(backend.xp, like.dtype), device=backend.placement
    )
    # Columns of length about 1 weigh as much as the orthonormal ones that they join.
    return backend.xp.astype(block, like.dtype) * scalar(backend, max(1, shape[0]) ** -0.5, like)


def _ky_fan(r: Array, rank: int, backend: Backend) -> Array:
    """Return the sum of the leading singular values of a small factor.

    By the eigenvalues of its squares in double precision, where there is one: on some devices the
    SVD of small matrices is less accurate than its dtype.
    """
    if _has_wider(r, backend):
        real = real_dtype(backend.xp, r.dtype)
        return backend.xp.astype(krylov.ky_fan(r, rank, backend=backend), real)
    return backend.xp.sum(backend.xp.linalg.svdvals(r)[..., :rank], axis=-1)


def _has_wider(x: Array, backend: Backend) -> bool:
    return bool(widest(x[..., :0, :0], backend=backend).dtype != x.dtype)
