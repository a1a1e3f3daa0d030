"""Kernels of the agnostic contract that JAX has beyond the standard."""

import jax.scipy.linalg
from specdesc._typing import Array, Namespace


def solve_add(a: float, x: Array, b: float, z: Array, /, *, xp: Namespace) -> Array:
    """Return ``a x + b z⁻¹ x`` by Cholesky: one call to compile, whatever the size."""
    return a * x + b * jax.scipy.linalg.cho_solve((xp.linalg.cholesky(z), True), x)
