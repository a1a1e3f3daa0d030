"""Primitives for CuPy in the names that NumPy has too, so that NumPy runs them in the tests."""

from collections.abc import Sequence
from dataclasses import dataclass

from specdesc._lib.typing import Array
from specdesc.backends.primitives import Primitives


@dataclass(frozen=True)
class CuPyPrimitives(Primitives):
    """Sums written into an array that is there."""

    def addmm(
        self,
        beta: float | Array,
        c: Array,
        a: Array,
        b: Array,
        /,
        *,
        alpha: float = 1.0,
        overwrite: bool = False,
        out: Array | None = None,
    ) -> Array:
        """Return ``beta c + alpha a b``, the sum written into the product."""
        total = self.xp.matmul(a, b, out=out)
        if alpha != 1.0:
            total *= alpha
        total += beta * c
        return total

    def linear_combination(
        self,
        coefficients: Sequence[float],
        matrices: Sequence[Array],
        shift: float,
        /,
        *,
        overwrite: bool = False,
    ) -> Array:
        """Return the sum of ``coefficients[i] matrices[i]`` and `shift` I, in one array."""
        first = matrices[0]
        total = self.xp.multiply(first, coefficients[0], out=first if overwrite else None)
        for coefficient, matrix in zip(coefficients[1:], matrices[1:], strict=True):
            total += coefficient * matrix
        if shift != 0.0:
            index = self.xp.arange(total.shape[-1])
            total[..., index, index] += shift
        return total

    def unscale(self, x: Array, scale: Array, /, *, overwrite: bool = False) -> Array:
        """Return ``x / scale``, over `x` where it may be overwritten."""
        # In the wider dtype, and rounded once.
        out = x if overwrite else self.xp.empty_like(x)
        return self.xp.divide(x, scale, out=out, casting="same_kind")
