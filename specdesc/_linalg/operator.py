"""A matrix that is known by its products alone."""

from collections.abc import Callable
from dataclasses import dataclass

from specdesc._lib.typing import Array


@dataclass(frozen=True)
class LinearOperator:
    """A matrix that is never formed: sparse, low-rank, or a sum of such.

    Taken in the place of a matrix by `truncated_svd`, `truncated_spectral_step`, `initial_start`
    and as the gradient by `rules.TruncatedSpectralDescent`.

    Parameters
    ----------
    matmul : callable
        Takes an array of shape (n, b) to the product with it, shape (m, b), in the dtype of `like`.
    rmatmul : callable
        Takes (m, b) to the product of the conjugate transpose with it, shape (n, b).
    shape : tuple of int
        (m, n). One matrix, no stack.
    like : array
        Of the library, dtype and device of the matrix; its values and its shape do not matter.
        float32, float64, complex64 or complex128.
    energy : array of no axes, optional
        The squared Frobenius norm, where it is known. Without it nothing bounds what the products
        have not seen: ``gap`` is inf, and `tol` is met by the estimate alone.

    Notes
    -----
    There is no dense SVD to fall back on. Where the Krylov space has as many columns as the matrix
    has rows or columns, or as many products were made as that, the best triplets so far are
    returned: compare ``4 * estimate`` with ``tol * value`` to know. The entries should be of
    ordinary size, as nobody can look at them; a product that is not finite makes all outputs NaN.
    Where the first products show that `rmatmul` is not the adjoint of `matmul`, ``gap`` and
    ``estimate`` are inf; `testing.check_operator` says more.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import LinearOperator, truncated_svd
    >>> u, v = np.eye(1000, 2), np.eye(800, 2)
    >>> x = LinearOperator(lambda b: u @ (v.T @ b), lambda b: v @ (u.T @ b), (1000, 800), u)
    >>> truncated_svd(x, 2, tol=1e-3)[1].round(6)
    array([1., 1.])
    """

    matmul: Callable[[Array], Array]
    rmatmul: Callable[[Array], Array]
    shape: tuple[int, int]
    like: Array
    energy: Array | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or min(self.shape) < 0:
            msg = f"shape must be (m, n), got {self.shape!r}"
            raise ValueError(msg)
