"""How near a factor comes to the true one, against an SVD in float64."""

from typing import NamedTuple

import numpy as np


class Truth(NamedTuple):
    """The singular directions of a stack that count, from a float64 SVD of the very same numbers.

    `kept` holds one (U_k, V_kᴴ) for each matrix: the directions with s_i >= floor s_1.
    """

    kept: tuple


class Accuracy(NamedTuple):
    """Over the kept directions, with t_i = Re(u_iᴴ Q v_i); the worst matrix of a stack."""

    worst: float  # max |1 - t_i|
    rms: float  # root mean square of 1 - t_i
    distance: float  # ||U_kᴴ (Q - U Vᴴ) V_k||_2


def truth(x, floor):
    """Return what counts of a stack `x` on the host; `floor` None keeps what float64 can see."""
    matrices = np.asarray(x, dtype=np.float64).reshape(-1, *x.shape[-2:])
    kept = []
    for matrix in matrices:
        u, s, vh = np.linalg.svd(matrix, full_matrices=False)
        counts = s >= (floor or max(x.shape[-2:]) * np.finfo(np.float64).eps) * s[0]
        kept.append((u[:, counts], vh[counts]))
    return Truth(tuple(kept))


def verify(factor, known):
    """Compare a factor, float64 on the host, with the truth."""
    matrices = factor.reshape(-1, *factor.shape[-2:])
    parts = [_one(q, *pair) for q, pair in zip(matrices, known.kept, strict=True)]
    return Accuracy(*(max(values) for values in zip(*parts, strict=True)))


def _one(q, u, vh):
    image = u.T @ q @ vh.T
    errors = np.abs(1.0 - np.diagonal(image))
    distance = np.linalg.norm(image - np.eye(image.shape[0]), 2)
    return Accuracy(float(errors.max()), float(np.sqrt(np.mean(errors**2))), float(distance))
