"""Rearranging arrays in ways for which the standard has no function."""

from collections.abc import Iterator, Sequence

from specdesc._lib.typing import Array, Namespace


def adjoint(x: Array, /, *, xp: Namespace) -> Array:
    """Return the conjugate transpose. Nothing in the library transposes in another way."""
    turned = xp.matrix_transpose(x)
    return xp.conj(turned) if x.dtype in (xp.complex64, xp.complex128) else turned


def times(factor: float | Array, x: Array, /, *, xp: Namespace) -> Array:
    """Return `x` times a number, or a real array that broadcasts, in the dtype of `x`."""
    if isinstance(factor, (int, float)):
        return factor * x
    return xp.astype(factor, x.dtype, copy=False) * x


def has_parts(xp: Namespace, x: Array, /) -> bool:
    """Say whether the entries are complex."""
    return x.dtype in (xp.complex64, xp.complex128)


def per_batch(flags: Array, /) -> Array:
    """Drop the two kept axes of a (..., 1, 1) array."""
    return flags[..., 0, 0]


def choose(
    chosen: Array, first: Sequence[Array], second: Sequence[Array], /, *, xp: Namespace
) -> Iterator[Array]:
    """Return the arrays of `first` for the matrices that are chosen and of `second` for others.

    `chosen` has the batch shape, which is where the shape of every array starts.
    """
    for x, y in zip(first, second, strict=True):
        trailing = (1,) * (x.ndim - chosen.ndim)
        yield xp.where(xp.reshape(chosen, (*chosen.shape, *trailing)), x, y)
