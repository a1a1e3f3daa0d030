"""Linear maps from a matrix to what is observed of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from specdesc._lib.typing import Array
from specdesc.backends import Backend
from specdesc.backends.creation import scalar


class Observation(Protocol):
    """A linear map with its adjoint, and the number of observations per matrix."""

    @property
    def count(self) -> float | Array:
        """How many numbers are observed, of the batch shape or one for all."""
        ...

    def apply(self, x: Array, /) -> Array:
        """Return what is observed of `x`."""
        ...

    def adjoint(self, residual: Array, /) -> Array:
        """Return the matrix that belongs to weights of the observations."""
        ...

    def embed(self, observations: Array, /) -> Array:
        """Return what `adjoint` does, for numbers that are 0 where nothing is observed."""
        ...

    def total(self, values: Array, /) -> Array:
        """Sum numbers, one an observation, for each matrix of the stack."""
        ...


@dataclass(frozen=True)
class Entries:
    """The entries under a mask; None observes all of them."""

    mask: Array | None
    backend: Backend
    size: int

    @cached_property
    def count(self) -> float | Array:
        """The number of observed entries, at least 1."""
        if self.mask is None:
            return float(max(1, self.size))
        xp = self.backend.xp
        counted = xp.sum(xp.astype(self.mask, xp.int32), axis=(-2, -1), dtype=xp.int32)
        return xp.where(counted > 0, counted, xp.ones_like(counted))

    def apply(self, x: Array, /) -> Array:
        """Return the entries, 0 where nothing is observed."""
        if self.mask is None:
            return x
        return self.backend.xp.where(self.mask, x, scalar(self.backend, 0.0, x))

    def adjoint(self, residual: Array, /) -> Array:
        """Return the weights in place."""
        return self.apply(residual)

    def embed(self, observations: Array, /) -> Array:
        """Return them as they are: no pass over memory."""
        return observations

    def total(self, values: Array, /) -> Array:
        """Sum over the entries of each matrix."""
        return self.backend.xp.sum(values, axis=(-2, -1))


@dataclass(frozen=True)
class Measurements:
    """Inner products trace(A_iᴴ x) with the matrices A_i of an array of shape (p, m, n)."""

    matrices: Array
    backend: Backend

    @property
    def count(self) -> float:
        """Return p."""
        return float(self.matrices.shape[0])

    def apply(self, x: Array, /) -> Array:
        """Return the p inner products, along the last axis."""
        xp = self.backend.xp
        rows = xp.reshape(x, (*x.shape[:-2], -1))
        return xp.matmul(rows, xp.matrix_transpose(xp.conj(self._flat)))

    def adjoint(self, residual: Array, /) -> Array:
        """Return the sum of the A_i, weighted."""
        xp = self.backend.xp
        flat = xp.matmul(residual, self._flat)
        return xp.reshape(flat, (*residual.shape[:-1], *self.matrices.shape[1:]))

    def embed(self, observations: Array, /) -> Array:
        """Return what `adjoint` does."""
        return self.adjoint(observations)

    def total(self, values: Array, /) -> Array:
        """Sum over the measurements."""
        return self.backend.xp.sum(values, axis=-1)

    @property
    def _flat(self) -> Array:
        return self.backend.xp.reshape(self.matrices, (self.matrices.shape[0], -1))
