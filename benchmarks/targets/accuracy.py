"""How near a factor comes to the true one."""

from typing import NamedTuple

import numpy as np


class Known(NamedTuple):
    """The singular directions of one matrix that count, U_k and V_kᴴ, and the factor on them."""

    u: np.ndarray
    vh: np.ndarray
    factor: np.ndarray


class Accuracy(NamedTuple):
    """Over the kept directions, with t_i = Re(u_iᴴ Q v_i); the worst matrix of a stack."""

    worst: float  # max |1 - t_i|
    rms: float  # root mean square of 1 - t_i
    distance: float  # ||U_kᴴ (Q - U Vᴴ) V_k||_2


def truth(x, floor, *, double=False):
    """Return what is known of each matrix of a stack on the host, from a float64 SVD of it.

    `floor` None keeps what float64 can see. With `double`, for matrices that are meant in float64,
    the factor has extended precision: an SVD would share its rounding with the peer that is one.
    """
    matrices = np.asarray(x, dtype=np.float64).reshape(-1, *x.shape[-2:])
    return [_known(matrix, floor, double) for matrix in matrices]


def verify(factor, known):
    """Compare a factor, float64 on the host, with the truth."""
    matrices = factor.reshape(-1, *factor.shape[-2:])
    parts = [_compare(q, one) for q, one in zip(matrices, known, strict=True)]
    return Accuracy(*(max(values) for values in zip(*parts, strict=True)))


def _known(matrix, floor, double):
    u, s, vh = np.linalg.svd(matrix, full_matrices=False)
    counts = s >= (floor or max(matrix.shape) * np.finfo(np.float64).eps) * s[0]
    u, vh = u[:, counts], vh[counts]
    factor = u @ vh
    return Known(u, vh, _refined(matrix, factor) if double and counts.all() else factor)


def _compare(q, known):
    off = np.asarray(q - known.factor, dtype=np.float64)
    image = known.u.T @ off @ known.vh.T
    errors = np.abs(np.diagonal(image))
    distance = np.linalg.norm(image, 2)
    return Accuracy(float(errors.max()), float(np.sqrt(np.mean(errors**2))), float(distance))


def _refined(matrix, factor):
    """Return the polar factor of a matrix of full rank in extended precision, from a near one.

    One Newton step: with Q orthonormal and Qᴴ X = H + K, Hermitian and skew, the factor is
    Q (I + W) + (X - Q Qᴴ X) H⁻¹ up to squares of what is added, where W H + H W = 2 K.
    """
    if matrix.shape[0] < matrix.shape[1]:
        return _refined(matrix.T, factor.T).T
    x, q = matrix.astype(np.longdouble), factor.astype(np.longdouble)
    q = q @ (1.5 * np.eye(q.shape[1], dtype=np.longdouble) - 0.5 * (q.T @ q))
    product = q.T @ x
    skew = np.asarray((product - product.T) / 2, dtype=np.float64)
    values, vectors = np.linalg.eigh(np.asarray((product + product.T) / 2, dtype=np.float64))
    turned = 2 * (vectors.T @ skew @ vectors) / (values[:, None] + values)
    outside = np.asarray(x - q @ product, dtype=np.float64) @ (vectors / values) @ vectors.T
    return q + np.asarray(q, dtype=np.float64) @ (vectors @ turned @ vectors.T) + outside
