"""Matrices from a seed, on the host in float64."""

import numpy as np


def gaussian(shape, seed=0):
    """Return independent standard normal entries."""
    return np.random.default_rng(seed).standard_normal(shape)


def power_law(shape, seed=0):
    """Return matrices with s_i = 1 / i: from the hundredth direction on, s_i is below 0.01 s_1."""
    return with_spectrum(1.0 / np.arange(1, min(shape[-2:]) + 1), shape, seed)


def conditioned(shape, condition, seed=0):
    """Return matrices with singular values from 1 to 1 / condition, geometric."""
    return with_spectrum(np.geomspace(1.0, 1.0 / condition, min(shape[-2:])), shape, seed)


def with_spectrum(s, shape, seed=0):
    """Return matrices with these singular values and random directions."""
    random = np.random.default_rng(seed)
    left, right = (
        np.linalg.qr(random.standard_normal((*shape[:-2], size, len(s))))[0] for size in shape[-2:]
    )
    return (left * s) @ np.swapaxes(right, -1, -2)
