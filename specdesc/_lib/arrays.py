"""Rearranging arrays in ways for which the standard has no function."""

from collections.abc import Iterator, Sequence

from specdesc._lib.typing import Array, Namespace


def adjoint(x: Array, /, *, xp: Namespace) -> Array:
    """Return the conjugate transpose. Nothing in the library transposes in another way."""
    return xp.conj(xp.matrix_transpose(x)) if has_parts(xp, x) else xp.matrix_transpose(x)


def has_parts(xp: Namespace, x: Array, /) -> bool:
    """Say whether the entries are complex."""
    return x.dtype in (xp.complex64, xp.complex128)


def diagonal(x: Array, /, *, xp: Namespace) -> Array:
    """Return the diagonals of square matrices, without the extension for linear algebra."""
    n = x.shape[-1]
    return xp.reshape(x, (*x.shape[:-2], n * n))[..., :: n + 1]


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
