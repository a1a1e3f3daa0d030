"""Block Krylov spaces of XᴴX, and the leading singular triplets that they hold."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from specdesc._lib.arrays import adjoint
from specdesc._lib.dtypes import eps, is_complex
from specdesc._lib.typing import Array, Namespace
from specdesc._linalg.basic import diagonal, thin_svd, widest, widest_dtype
from specdesc._linalg.orthonormal import against, qr
from specdesc.backends import Backend


class Action(NamedTuple):
    """A matrix as the two products that it takes part in."""

    forward: Callable[[Array], Array]  # (..., n, b) to X times it
    backward: Callable[[Array], Array]  # (..., m, b) to Xᴴ times it


class Space(NamedTuple):
    """A subspace of the right side, and what the matrix makes of it."""

    v: Array  # (..., n, c), orthonormal columns
    w: Array  # (..., m, c): X V
    gram: Array  # (..., c, c): Wᴴ W, in the widest dtype


class Half(NamedTuple):
    """Where half a pass of subspace iteration has led: X V = Q R, and Z = Xᴴ Q."""

    q: Array  # (..., m, b), orthonormal columns
    r: Array  # (..., b, b)
    z: Array  # (..., n, b)


class Ritz(NamedTuple):
    """What a space says of the leading singular values."""

    s: Array  # (..., k), the largest ones, descending, at most those of X
    noise: Array  # (...): what rounding of the Gram matrix may have done to their sum
    captured: Array  # (...): the energy inside


class Leading(NamedTuple):
    """Leading triplets, largest first: X V = U S."""

    u: Array  # (..., m, b), orthonormal columns
    s: Array  # (..., b)
    v: Array  # (..., n, b), orthonormal columns


def action_of(x: Array, /, *, backend: Backend) -> Action:
    """Return the products of a dense matrix or stack."""
    forward = partial(backend.xp.matmul, x) if x.ndim == 2 else partial(_turned, x, backend.xp)
    return Action(forward, partial(backend.primitives.adjoint_product, x))


def _turned(x: Array, xp: Namespace, block: Array) -> Array:
    """Return (Bᵀ Xᵀ)ᵀ: twice as fast for a stack of small matrices (torch)."""
    turned = xp.matmul(xp.matrix_transpose(block), xp.matrix_transpose(x))
    return xp.matrix_transpose(turned)


def begin(x: Action, block: Array, /, *, backend: Backend) -> Space:
    """Return the space of a block: one product."""
    v, _ = qr(block, backend=backend)
    w = x.forward(v)
    return Space(v, w, _square(w, backend))


def extend(x: Action, space: Space, y: Array, /, *, backend: Backend) -> Space:
    """Add y = XᴴX times the newest columns, as many as those: one product."""
    xp, width = backend.xp, y.shape[-1]
    # The Gram matrix holds Vᴴ y already: the first of the projections costs one product, not two.
    coefficients = xp.astype(space.gram[..., :, -width:], y.dtype)
    v = against(y - xp.matmul(space.v, coefficients), space.v, backend=backend)
    w = x.forward(v)
    new = widest(w, backend=backend)
    side = xp.matmul(backend.primitives.adjoint(widest(space.w, backend=backend)), new)
    upper = xp.concat([space.gram, side], axis=-1)
    corner = xp.matmul(backend.primitives.adjoint(new), new)
    lower = xp.concat([adjoint(side, xp=xp), corner], axis=-1)
    return Space(
        xp.concat([space.v, v], axis=-1),
        xp.concat([space.w, w], axis=-1),
        xp.concat([upper, lower], axis=-2),
    )


def half_pass(x: Action, space: Space, /, *, backend: Backend) -> Half:
    """Project X on the left side of a first block: one product, and half a pass of iteration."""
    q, r = qr(space.w, backend=backend)
    return Half(q, r, x.backward(q))


def ky_fan(image: Array, rank: int, /, *, backend: Backend) -> Array:
    """Return the sum of the `rank` leading singular values of a tall block, (...)."""
    return backend.xp.sum(_ritz(_square(image, backend), rank, backend).s, axis=-1)


def half_ritz(half: Half, rank: int, /, *, backend: Backend) -> Ritz:
    """Return the `rank` leading singular values of Qᴴ X: none is smaller than that of X V."""
    return _ritz(_square(half.z, backend), rank, backend)


def half_solve(half: Half, rank: int, /, *, backend: Backend) -> tuple[Ritz, Array, Array]:
    """Return what `half_ritz` does, and the eigenvalues of Qᴴ X Xᴴ Q, ascending, with vectors."""
    xp, gram = backend.xp, _square(half.z, backend)
    squares, turn = xp.linalg.eigh(gram)
    return _of_squares(squares, gram, rank, backend), squares, turn


def half_leading(
    half: Half, columns: int, turn: Array | None = None, /, *, backend: Backend
) -> Leading:
    """Return the `columns` leading triplets of Qᴴ X, if it has so many: Uᴴ X = S Vᴴ."""
    xp = backend.xp
    columns = min(columns, half.z.shape[-1])
    if _is_widest(half.z, backend):
        p, t = qr(half.z, backend=backend)
        left, s, right = thin_svd(adjoint(t, xp=xp), xp=xp)
        left, right = left[..., :columns], right[..., :columns, :]
        v = xp.matmul(p, adjoint(right, xp=xp))
        return Leading(xp.matmul(half.q, left), s[..., :columns], v)
    if turn is None:
        _, turn = xp.linalg.eigh(_square(half.z, backend))
    turn = xp.astype(xp.flip(turn, axis=-1)[..., :columns], half.z.dtype)
    v, s = _straight(xp.matmul(half.z, turn), backend)
    return Leading(xp.matmul(half.q, turn), s, v)


def thicken(space: Space, width: int, keep: int, /, *, backend: Backend) -> Space:
    """Return the `keep` leading directions of a space, with its newest block behind them.

    The newest block of `width` columns is what the next products start from, so it stays.
    """
    xp = backend.xp
    old = space.gram[..., :-width, :-width]
    _, z = xp.linalg.eigh(old)
    z = xp.flip(z, axis=-1)[..., :keep]
    part = xp.astype(z, space.v.dtype)
    v = xp.concat([xp.matmul(space.v[..., :-width], part), space.v[..., -width:]], axis=-1)
    w = xp.concat([xp.matmul(space.w[..., :-width], part), space.w[..., -width:]], axis=-1)
    return Space(v, w, _square(w, backend))


def ritz(space: Space, rank: int, /, *, backend: Backend) -> Ritz:
    """Return the `rank` leading singular values of X V, by its Gram matrix."""
    return _ritz(space.gram, rank, backend)


def _ritz(gram: Array, rank: int, backend: Backend) -> Ritz:
    return _of_squares(backend.xp.linalg.eigvalsh(gram), gram, rank, backend)


def _of_squares(squares: Array, gram: Array, rank: int, backend: Backend) -> Ritz:
    """Return what the ascending eigenvalues of a Gram matrix say."""
    xp = backend.xp
    squares = xp.flip(squares, axis=-1)[..., :rank]
    s = xp.sqrt(xp.maximum(squares, xp.zeros_like(squares)))
    # An eigenvalue of the Gram matrix is wrong by some eps s_1², the root of it by that over s.
    wrong = 8 * eps(xp, s.dtype) * s[..., :1] ** 2
    below = s + xp.sqrt(wrong)
    share = wrong / xp.where(below > 0, below, xp.ones_like(below))
    trace = xp.linalg.trace(gram)
    energy = xp.real(trace) if is_complex(xp, trace.dtype) else trace
    return Ritz(s, xp.sum(share, axis=-1), energy)


def leading(space: Space, columns: int, /, *, backend: Backend) -> Leading:
    """Return the leading triplets of a space, as accurate as the products were.

    The Gram matrix only says which directions lead; the triplets come from their images.
    """
    xp = backend.xp
    _, z = xp.linalg.eigh(space.gram)
    columns = min(columns, z.shape[-1])
    z = xp.astype(xp.flip(z, axis=-1)[..., :columns], space.v.dtype)
    images = xp.matmul(space.w, z)
    if not _is_widest(images, backend):
        u, s = _straight(images, backend)
        return Leading(u, s, xp.matmul(space.v, z))
    q, r = qr(images, backend=backend)
    left, s, right = thin_svd(r, xp=xp)
    v = xp.matmul(space.v, xp.matmul(z, adjoint(right, xp=xp)))
    return Leading(xp.matmul(q, left), s, v)


def _straight(images: Array, backend: Backend) -> tuple[Array, Array]:
    """Return orthonormal columns and lengths of columns that are orthogonal already.

    That they are to working accuracy if eigenvectors of their Gram matrix have turned them, and if
    that matrix was made and solved in a wider dtype than theirs: then R of their QR is diagonal.
    """
    xp = backend.xp
    q, r = qr(images, backend=backend)
    d = diagonal(r, xp=xp)
    s = xp.abs(d)
    zero = s == 0
    phase = xp.where(
        zero, xp.ones_like(d), d / xp.where(zero, xp.ones_like(d), xp.astype(s, d.dtype))
    )
    return q * phase[..., None, :], s


def _is_widest(x: Array, backend: Backend) -> bool:
    return bool(widest_dtype(x.dtype, backend=backend) == x.dtype)


def _square(x: Array, backend: Backend) -> Array:
    wide = widest(x, backend=backend)
    return backend.xp.matmul(backend.primitives.adjoint(wide), wide)
