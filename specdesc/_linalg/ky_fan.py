"""The Ky Fan norm s_1 + ... + s_k and its dual max(s_1, (s_1 + s_2 + ...) / k), on singular values.

Every function takes singular values in descending order, (..., n) with n >= k, and knows nothing of
the matrices that they belong to. A spectral function of a matrix is one of these between the two
halves of an SVD.
"""

from specdesc._lib.typing import Array, Namespace


def norm(s: Array, k: int, /, *, xp: Namespace) -> Array:
    """Return s_1 + ... + s_k, of the batch shape; 0 for no values at all."""
    return xp.sum(s[..., : min(k, s.shape[-1])], axis=-1)


def dual_norm(s: Array, k: int, /, *, xp: Namespace) -> Array:
    """Return max(s_1, (s_1 + s_2 + ...) / k), of the batch shape; 0 for no values at all."""
    return xp.maximum(norm(s, 1, xp=xp), xp.sum(s, axis=-1) / k)


def dual_ball_atom(s: Array, k: int, slack: float, /, *, xp: Namespace) -> Array:
    """Return the singular values of the maximiser of <g, p> over spectral <= 1, nuclear <= k.

    One for each of the k leading pairs of g and zero for the others; pairs with s_i <= slack s_1
    carry no value and are dropped, so that a zero matrix gives zero. NaN counts as kept.
    """
    return _kept(s, slack, xp) * _first(s, k, xp)


def ball_atom(s: Array, k: int, slack: float, /, *, xp: Namespace) -> Array:
    """Return the singular values of the maximiser of <g, p> over the unit ball of the Ky Fan norm.

    The ball is the hull of the u vᴴ and of the partial isometries divided by k. The first kind wins
    where s_1 >= (s_1 + s_2 + ...) / k, also at a tie.
    """
    kept = _kept(s, slack, xp)
    tall = s[..., :1] >= xp.sum(s, axis=-1, keepdims=True) / k
    return xp.where(tall, kept * _first(s, 1, xp), kept / k)


def project(s: Array, largest: float, total: float, /, *, xp: Namespace) -> Array:
    """Return the point of {0 <= p_i <= largest, p_1 + p_2 + ... <= total} nearest to s >= 0.

    It is clip(s - t, 0, largest) with the least shift t >= 0 that meets the sum. The sum falls with
    t and is linear between the 2 n breaks s_i and s_i - largest, so it is known everywhere from its
    values there: no sort, no gather, no iteration, and a table of 2 n by n numbers, which is twice
    the size of the matrix that these values came from. Derived.
    """
    if s.shape[-1] == 0:
        return s
    nothing = xp.zeros_like(s)
    breaks = xp.concat([s, xp.maximum(s - largest, nothing)], axis=-1)
    sums = xp.sum(xp.clip(s[..., None, :] - breaks[..., :, None], 0.0, largest), axis=-1)
    above = sums > total
    infinite = xp.full_like(breaks, float("inf"))
    left = xp.max(xp.where(above, breaks, -infinite), axis=-1, keepdims=True)
    right = xp.min(xp.where(above, infinite, breaks), axis=-1, keepdims=True)
    before = xp.min(xp.where(above, sums, infinite), axis=-1, keepdims=True)
    after = xp.max(xp.where(above, -infinite, sums), axis=-1, keepdims=True)
    outside = before < float("inf")  # some break has a sum above the total, so that t > 0
    fall = xp.where(outside, before - after, xp.ones_like(before))
    share = xp.where(outside, (before - total) / fall, xp.zeros_like(before))
    width = xp.where(outside, right - left, xp.zeros_like(left))
    shift = xp.where(outside, left, xp.zeros_like(left)) + share * width
    return xp.clip(s - shift, 0.0, largest)


def _kept(s: Array, slack: float, xp: Namespace) -> Array:
    return xp.astype(~(s <= slack * s[..., :1]), s.dtype)


def _first(s: Array, k: int, xp: Namespace) -> Array:
    """Return k ones and then zeros. Not by a cumulative sum, which no tracer of torch takes."""
    if k >= s.shape[-1]:
        return xp.ones_like(s)
    return xp.concat([xp.ones_like(s[..., :k]), xp.zeros_like(s[..., k:])], axis=-1)
