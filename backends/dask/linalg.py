"""Factorizations of stacks, each matrix in one chunk: those of the library of the chunks.

dask factorizes one matrix at a time. These take stacks; a matrix that is spread over chunks is
brought together first, so that its memory is that of the function of the library of the chunks.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import array_api_compat.dask.array

from specdesc._lib.typing import Array
from specdesc.backends import Backend

from . import blocks


def __getattr__(name: str) -> Any:
    """Return what dask has itself, such as `matmul` and `vecdot`."""
    return getattr(array_api_compat.dask.array.linalg, name)


def svd(x: Array, /, *, full_matrices: bool = True) -> tuple[Array, Array, Array]:
    """Return ``(U, S, Vh)``."""
    u, s, vh = (
        _each("svd", x, full_matrices=True)
        if full_matrices
        else blocks.whole(_thin_svd, blocks.gathered(x))
    )
    return u, s, vh


def _thin_svd(backend: Backend, x: Array) -> tuple[Array, ...]:
    """Return the thin SVD; LAPACK gives up on some finite matrices, and not on their adjoints."""
    xp, adjoint = backend.xp, backend.primitives.adjoint
    try:
        return tuple(xp.linalg.svd(x, full_matrices=False))
    except backend.not_converged:
        v, s, uh = xp.linalg.svd(adjoint(x), full_matrices=False)
        return adjoint(uh), s, adjoint(v)


def _cholesky(backend: Backend, x: Array) -> Array:
    """Return lower factors, NaN where there is none: an error of one matrix would be one of all."""
    xp = backend.xp
    try:
        return xp.linalg.cholesky(x)
    except backend.not_converged:
        if x.ndim == 2:
            return xp.full_like(x, float("nan"))
        return xp.stack([_cholesky(backend, x[i, ...]) for i in range(x.shape[0])])


def cholesky(x: Array, /) -> Array:
    """Return the lower factors; NaN where a matrix is not positive definite."""
    return blocks.whole(_cholesky, blocks.gathered(x))


def _named(backend: Backend, x: Array, *, name: str, options: dict[str, Any]) -> Any:
    found = getattr(backend.xp.linalg, name)(x, **options)
    return tuple(found) if isinstance(found, tuple) else found


def _each(name: str, x: Array, **options: Any) -> Any:
    return blocks.whole(partial(_named, name=name, options=options), blocks.gathered(x))


def _of_each(name: str) -> Callable[..., Any]:
    def function(x: Array, /, **options: Any) -> Any:
        return _each(name, x, **options)

    function.__doc__ = f"Return ``linalg.{name}`` of each matrix."
    return function


qr, eigh, eigvalsh, svdvals = (_of_each(name) for name in ("qr", "eigh", "eigvalsh", "svdvals"))
inv, pinv, det = (_of_each(name) for name in ("inv", "pinv", "det"))
