"""Covariances of inputs that are not alike in all directions."""

import numpy

from specdesc._lib import host
from specdesc._lib.checks import check_integer
from specdesc._lib.typing import Array


def geometric_covariance(n: int, condition: float, /, *, seed: int = 0) -> Array:
    """Return a covariance whose standard deviations fall from 1 to 1 / condition in equal ratios.

    Parameters
    ----------
    n : int
        Its size.
    condition : float
        Of the inputs, at least 1: the eigenvalues of the covariance spread over its square.
    seed : int
        Of the random orthonormal basis.

    Returns
    -------
    NumPy array, shape (n, n)
        Symmetric, positive definite.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc.problems import geometric_covariance
    >>> np.linalg.eigvalsh(geometric_covariance(3, 10.0)).round(6)
    array([0.01, 0.1 , 1.  ])
    """
    return _rotated(numpy.geomspace(1.0, 1.0 / _at_least_1(condition, "condition"), n), n, seed)


def spiked_covariance(n: int, spike: float, /, *, seed: int = 0) -> Array:
    """Return a covariance with one direction whose standard deviation is `spike`, and 1 elsewhere.

    Parameters
    ----------
    n : int
        Its size.
    spike : float
        At least 1.
    seed : int
        Of the random orthonormal basis.

    Returns
    -------
    NumPy array, shape (n, n)
        Symmetric, positive definite.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc.problems import spiked_covariance
    >>> np.linalg.eigvalsh(spiked_covariance(3, 10.0)).round(6)
    array([  1.,   1., 100.])
    """
    deviations = numpy.ones(n)
    deviations[:1] = _at_least_1(spike, "spike")
    return _rotated(deviations, n, seed)


def root_of(covariance: Array | None, n: int, /) -> Array | None:
    """Return the symmetric root of a covariance, on the host; None if there is none.

    Raises
    ------
    ValueError
        If it is no symmetric positive semidefinite n by n matrix.
    """
    if covariance is None:
        return None
    matrix = numpy.asarray(covariance, dtype=numpy.float64)
    if tuple(matrix.shape) != (n, n):
        msg = f"covariance must have shape {(n, n)}, got {tuple(matrix.shape)}"
        raise ValueError(msg)
    u, s, _ = numpy.linalg.svd(matrix)
    # U S Uᵀ is the matrix itself exactly where it is symmetric and positive semidefinite.
    if not abs((u * s) @ u.T - matrix).max(initial=0.0) <= 1e-8 * s.max(initial=0.0):
        msg = "covariance must be symmetric and positive semidefinite"
        raise ValueError(msg)
    return (u * s**0.5) @ u.T


def _at_least_1(value: float, name: str) -> float:
    if not 1.0 <= value < float("inf"):
        msg = f"{name} must be a finite number of at least 1, got {value!r}"
        raise ValueError(msg)
    return value


def _rotated(deviations: Array, n: int, seed: int) -> Array:
    random = host.generator(check_integer(seed, "seed", least=0))
    basis = numpy.linalg.qr(random.standard_normal((n, n)))[0]
    return (basis * deviations**2) @ basis.T
