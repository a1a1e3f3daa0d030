"""Kernels of the agnostic contract that JAX has beyond the standard."""

import jax.scipy.linalg
from specdesc._lib.typing import Array
from specdesc.backends import Backend


def solve_add(
    a: float,
    x: Array,
    b: float,
    z: Array,
    /,
    *,
    spend: bool = False,
    ours: bool = False,
    room: Array | None = None,
    backend: Backend,
) -> Array:
    """Return ``a x + b z⁻¹ x`` by Cholesky: one call to compile, whatever the size."""
    lower = backend.xp.linalg.cholesky(z)
    return a * x + b * jax.scipy.linalg.cho_solve((lower, True), x)
