"""Matrices to try things on, numbers on the host, and what rounding may do to them."""

import math

import numpy

from specdesc._lib import host
from specdesc._lib.dtypes import eps, is_half
from specdesc._lib.typing import Array
from specdesc.backends import Backend, load
from specdesc.testing.report import Laws

#: Draws of each law and size.
DRAWS = 3

#: Roundings of a whole computation, for each entry of the longest side; in half precision, where
#: the computation is finer than the storage, roundings of the storage.
ROUNDINGS, HALF_ROUNDINGS = 32.0, 8.0


def precision(backend: Backend, dtype: str | None, /) -> str:
    """Return the dtype of a check: float64, or float32 where the library makes no such arrays."""
    if dtype is not None:
        return dtype
    try:
        backend.from_host(numpy.zeros(1), dtype="float64")
    except (TypeError, ValueError):
        return "float32"
    return "float64"


class Trial(Laws):
    """Matrices of one shape and dtype of one library, and the laws that failed on them.

    Parameters
    ----------
    seed : int
        Of the matrices.
    shape : tuple of int
        (m, n).
    dtype : str, optional
        By name.
    backend : str
        By name.
    """

    def __init__(
        self, seed: int, shape: tuple[int, int], dtype: str | None, backend: str | Backend
    ) -> None:
        super().__init__()
        self.backend = load(backend) if isinstance(backend, str) else backend
        self.random = host.generator(seed)
        self.shape = shape
        self.dtype = precision(self.backend, dtype)
        self.is_complex = self.dtype.startswith("complex")
        kind = self.array(numpy.zeros((1, 1))).dtype
        self.half = is_half(self.backend.xp, kind)
        unit = eps(self.backend.xp, kind)
        #: What may differ, relative to the numbers that are compared.
        self.rounding = unit * (HALF_ROUNDINGS if self.half else ROUNDINGS * max(shape))

    def turned(self) -> None:
        """Go on with matrices of the transposed shape."""
        self.shape = (self.shape[1], self.shape[0])

    # --- matrices --------------------------------------------------------------------------------

    def array(self, values: Array) -> Array:
        """Return numbers of the host as an array of the library under test."""
        return self.backend.from_host(values, dtype=self.dtype)

    def draw(self, *batch: int, size: float = 1.0) -> Array:
        """Return a random stack."""
        return self.array(size * self._gaussian((*batch, *self.shape)))

    def special(self) -> dict[str, Array]:
        """Return matrices where formulas divide by 0, or have to choose."""
        m, n = self.shape
        grid = numpy.round(2.0 * self._gaussian(self.shape)) / 2.0
        grid[0] = 0.0
        u, s, vh = numpy.linalg.svd(self._gaussian(self.shape), full_matrices=False)
        tied = numpy.where(numpy.arange(len(s)) < len(s) - 1, 2.0, 1.0)
        found = {
            "zero": numpy.zeros(self.shape),
            "equal entries": numpy.ones(self.shape),
            "entries that tie": grid,
            "equal singular values": 1.5 * numpy.eye(m, n),
            "singular values that tie": (u * tied) @ vh,
            "rank one": 2.0 * (u[:, :1] @ vh[:1]),
        }
        return {name: self.array(values) for name, values in found.items()}

    def _gaussian(self, shape: tuple[int, ...]) -> Array:
        x = self.random.standard_normal(shape)
        return x + 1j * self.random.standard_normal(shape) if self.is_complex else x

    # --- numbers ---------------------------------------------------------------------------------

    def host(self, x: Array) -> Array:
        """Return an array or a number on the host, in double precision."""
        if isinstance(x, (int, float, complex, numpy.ndarray)):
            found = numpy.asarray(x)
        else:
            xp = self.backend.xp
            if x.dtype not in (xp.float32, xp.float64, xp.complex64, xp.complex128):
                x = xp.astype(x, xp.float32)  # no host knows every half precision
            found = self.backend.to_host(x)
        return found.astype("complex128" if found.dtype.kind == "c" else "float64")

    def number(self, x: Array) -> float:
        """Return one number."""
        return float(self.host(x))

    def inner(self, x: Array, y: Array) -> float:
        """Return Re <x, y>."""
        return float((self.host(x).conj() * self.host(y)).sum().real)

    def size(self, x: Array) -> float:
        """Return the Frobenius norm."""
        return math.sqrt(max(self.inner(x, x), 0.0))

    def apart(self, x: Array, y: Array) -> float:
        """Return the distance of two arrays, of which the difference is taken on the host."""
        return float(numpy.sqrt((numpy.abs(self.host(x) - self.host(y)) ** 2).sum()))

    # --- laws of all maps ------------------------------------------------------------------------

    def near(self, law: str, left: float, right: float, scale: float) -> None:
        """Hold left <= right up to the rounding of numbers of this size."""
        self.hold(law, left, right, self.rounding * scale)

    def same(self, law: str, left: float, right: float, scale: float) -> None:
        """Hold left = right up to the rounding of numbers of this size."""
        self.equal(law, left, right, self.rounding * scale)

    def alike(self, law: str, x: Array, y: Array, before: Array) -> bool:
        """Hold an output to the kind of its input, to be finite, and the input to what it was."""
        if type(y) is not type(x) or y.dtype != x.dtype or tuple(y.shape) != tuple(x.shape):
            found = f"{type(y).__name__} {getattr(y, 'dtype', '')} {getattr(y, 'shape', '')}"
            self.fail(law, f"not the kind of array that came in, but {found}")
            return False
        if not numpy.array_equal(self.host(x), before):
            self.fail("input", "it was written to")
        if not numpy.isfinite(self.host(y)).all():
            self.fail(law, "not finite")
            return False
        return True
