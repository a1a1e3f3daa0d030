"""Primitives that JAX has beyond the standard."""

from dataclasses import dataclass
from typing import ClassVar

import jax.scipy.linalg
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc.backends.primitives import Primitives


@dataclass(frozen=True)
class JaxPrimitives(Primitives):
    """A solution by Cholesky: one call to compile, whatever the size."""

    factorizes: ClassVar[bool] = True

    def is_positive_definite(self, x: Array, shift: Array | None = None, /) -> Array:
        """Say which matrices have a Cholesky factorization: NaN says that one has none."""
        x = x if x.dtype.itemsize > 2 else x.astype("float32")
        if shift is not None:
            x = x - shift.astype(x.dtype) * self.xp.eye(x.shape[-1], dtype=x.dtype)
        return ~self.xp.any(self.xp.isnan(self.xp.linalg.cholesky(x)), axis=(-2, -1))

    def nan_where_broken(self, x: Array, /) -> Array:
        """Return NaN for each matrix with a NaN or an inf, 0 for the others, by x - x."""
        xp, wide = self.xp, working(self.xp, x)
        nothing = wide - wide
        if xp.iscomplexobj(nothing):
            nothing = xp.real(nothing) + xp.imag(nothing)
        return xp.sum(nothing, axis=(-2, -1), keepdims=True)

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
        if x.shape[-1] >= 2 * x.shape[-2]:
            # The inverse of the small square: a long matrix that is sharded stays where it is, and
            # a triangular solve would gather it.
            one = self.xp.eye(z.shape[-1], dtype=z.dtype)
            inverse = jax.scipy.linalg.cho_solve((lower, True), self.xp.broadcast_to(one, z.shape))
            return self.addmm(beta, x, alpha * inverse, x)
        return beta * x + alpha * jax.scipy.linalg.cho_solve((lower, True), x)
