"""Primitives that JAX has beyond the standard."""

from dataclasses import dataclass

import jax.scipy.linalg
from specdesc._lib.typing import Array
from specdesc.backends.primitives import Primitives


@dataclass(frozen=True)
class JaxPrimitives(Primitives):
    """A solution by Cholesky: one call to compile, whatever the size."""

    def add_solve(
        self,
        beta: float,
        x: Array,
        alpha: float,
        z: Array,
        /,
        *,
        overwrite: bool = False,
        owned: bool = False,
        out: Array | None = None,
    ) -> Array:
        """Return ``beta x + alpha z⁻¹ x``."""
        lower = self.xp.linalg.cholesky(z)
        return beta * x + alpha * jax.scipy.linalg.cho_solve((lower, True), x)
