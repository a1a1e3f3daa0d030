"""Small linear algebra that the standard lacks, safe for zeros, NaN and any scale."""

from typing import NamedTuple

from specdesc._lib.arrays import adjoint
from specdesc._lib.dtypes import is_complex, smallest_normal
from specdesc._lib.tracing import opaque
from specdesc._lib.typing import Array, Device, DType, Namespace
from specdesc.backends import Backend
from specdesc.backends.creation import scalar, zeros


def row_energies(x: Array, /, *, xp: Namespace) -> Array:
    """Return the sum of abs(x)**2 along the last axis, real, without a temporary of that size."""
    energies = xp.vecdot(x, x, axis=-1)
    return xp.real(energies) if x.dtype in (xp.complex64, xp.complex128) else energies


def frobenius(x: Array, /, *, xp: Namespace) -> Array:
    """Return the Frobenius norm of each matrix, with its axes kept as (1, 1).

    Summed along one axis and then the other, which bounds the rounding by (m + n) eps rather than
    m n eps. Safe from overflow only for a matrix of ordinary scale: see `balance`.
    """
    return xp.sqrt(xp.sum(row_energies(x, xp=xp), axis=-1, keepdims=True))[..., None]


def differentiable_frobenius(x: Array, /, *, xp: Namespace) -> Array:
    """Return `frobenius`, with the derivative 0 at a matrix of zeros."""
    return root(xp.sum(row_energies(x, xp=xp), axis=-1, keepdims=True), xp=xp)[..., None]


def root(energies: Array, /, *, xp: Namespace) -> Array:
    """Return the square root of numbers of at least 0, with the derivative 0 at 0."""
    positive = energies > 0
    return xp.where(
        positive, xp.sqrt(xp.where(positive, energies, xp.ones_like(energies))), energies
    )


def energy(x: Array, /, *, backend: Backend) -> Array:
    """Return ||X||_F² of each matrix, (...,): row by row, then summed in the widest real dtype."""
    xp = backend.xp
    return xp.sum(widest(row_energies(x, xp=xp), backend=backend), axis=-1)


def widest(x: Array, /, *, backend: Backend) -> Array:
    """Return `x` in double precision where the library makes that on this device."""
    return backend.xp.astype(x, widest_dtype(x.dtype, backend=backend), copy=False)


def widest_dtype(dtype: DType, /, *, backend: Backend) -> DType:
    """Return the dtype of `widest` for arrays of another."""
    xp = backend.xp
    if dtype in (xp.float64, xp.complex128):
        return dtype
    return _widest(xp, dtype, backend.placement)


@opaque
def _widest(xp: Namespace, dtype: DType, device: Device) -> DType:
    """Return the double precision of a real or complex dtype, or itself where there is none."""
    kind, name = (
        ("complex floating", "complex128")
        if is_complex(xp, dtype)
        else ("real floating", "float64")
    )
    return xp.__array_namespace_info__().dtypes(device=device, kind=kind).get(name, dtype)


#: Entries of sizes between 1 / ORDINARY and ORDINARY can be squared twice, and summed, in float32.
ORDINARY = 2.0**20


#: Powers of two with smaller exponents are far from subnormal in float32, and their reciprocals.
ONE_DIVISION = 100


class Balanced(NamedTuple):
    """A matrix ready for squares and factorizations: finite, entries of size about 1."""

    matrix: Array
    scale: Array  # (..., 1, 1), real, a power of two: the input is matrix * scale
    finite: Array  # (..., 1, 1), bool: False where the input had a NaN or an inf


def balance(x: Array, /, *, backend: Backend) -> Balanced:
    """Replace non-finite matrices by zero and divide each matrix by a power of two.

    A stack of ordinary size comes back as it is where that can be seen.

    Factorizations hide a NaN or spread it over a stack, squares overflow above 1e19 and vanish
    below 1e-19 in float32. After this, neither can happen, and `restore` puts the NaN back.
    """
    xp = backend.xp
    if 0 in x.shape:  # there is no largest entry of nothing, on any backend
        one = zeros((*x.shape[:-2], 1, 1), x, backend=backend, real=True) + 1
        return Balanced(x, one, one > 0)
    if backend.branches:
        sizes = _extent(x, xp)  # carries a NaN here; XLA's maximum may drop it
        if bool(xp.all((sizes > 1.0 / ORDINARY) & (sizes < ORDINARY))):
            one = xp.ones_like(sizes)
            return Balanced(x, one, one > 0)
    x, finite = replace_broken(x, backend=backend)
    largest = _extent(x, xp) if backend.branches else _largest(x, xp)
    tiny = scalar(backend, smallest_normal(xp, x.dtype), largest)
    exponent = xp.floor(xp.log2(xp.maximum(largest, tiny)))
    exponent = xp.where(largest > 0, exponent, xp.zeros_like(exponent))
    if backend.branches and bool(xp.all(xp.abs(exponent) < ONE_DIVISION)):
        scale = xp.pow(scalar(backend, 2.0, largest), exponent)
        return Balanced(x / xp.astype(scale, x.dtype), scale, finite)
    # Two halves: a compiler may turn a division into a product with the reciprocal, and that of
    # 2**127 is subnormal, which XLA flushes to zero.
    half = xp.floor(exponent / 2)
    two = scalar(backend, 2.0, largest)
    first, second = xp.pow(two, half), xp.pow(two, exponent - half)
    matrix = x / xp.astype(first, x.dtype) / xp.astype(second, x.dtype)
    return Balanced(matrix, first * second, finite)


def _largest(x: Array, xp: Namespace) -> Array:
    """Return the size of the largest entry of each matrix, within a factor of sqrt(2).

    That of a complex entry is its larger part, which unlike abs cannot overflow.
    """
    sizes = (
        xp.maximum(xp.abs(xp.real(x)), xp.abs(xp.imag(x)))
        if x.dtype in (xp.complex64, xp.complex128)
        else xp.abs(x)
    )
    return xp.max(xp.max(sizes, axis=-1, keepdims=True), axis=-2, keepdims=True)


def _extent(x: Array, xp: Namespace) -> Array:
    """Return what `_largest` does, by two reductions and no temporary of the size of `x`."""
    if x.dtype in (xp.complex64, xp.complex128):
        return xp.maximum(_extent(xp.real(x), xp), _extent(xp.imag(x), xp))
    axes = (-2, -1)
    return xp.maximum(xp.max(x, axis=axes, keepdims=True), -xp.min(x, axis=axes, keepdims=True))


def all_finite(x: Array, /, *, xp: Namespace) -> Array:
    """Say which matrices have neither a NaN nor an inf, with the two axes kept as (1, 1).

    Asked of every entry: the largest one does not tell, as XLA's maximum on a CPU may drop a NaN.
    """
    return xp.all(xp.all(xp.isfinite(x), axis=-1, keepdims=True), axis=-2, keepdims=True)


def replace_broken(x: Array, /, *, backend: Backend, by_entry: bool = False) -> tuple[Array, Array]:
    """Return `x` with zeros for each matrix that is not finite, and which matrices are.

    `by_entry` is for functions of entries: where chunks stream no chunk waits for another one, and
    zeros are for entries.
    """
    if by_entry and backend.streams:
        finite = backend.xp.isfinite(x)
        return backend.xp.where(finite, x, scalar(backend, 0.0, x)), finite
    if backend.branches and 0 not in x.shape:
        finite = backend.xp.isfinite(_extent(x, backend.xp))  # two reductions and no temporary
        if bool(backend.xp.all(finite)):
            return x, finite
    finite = all_finite(x, xp=backend.xp)
    if backend.branches and bool(backend.xp.all(finite)):
        return x, finite
    return backend.xp.where(finite, x, scalar(backend, 0.0, x)), finite


def restore(y: Array, finite: Array, /, *, backend: Backend) -> Array:
    """Put NaN over all of each matrix (or number, or vector) that came from non-finite input."""
    if backend.branches and bool(backend.xp.all(finite)):
        return y
    xp = backend.xp
    if backend.traps:
        zero = xp.zeros_like(y)
        infinite = xp.where(finite, zero, xp.full_like(y, float("inf")))
        return y - (infinite - infinite)  # a difference, which keeps the sign of zero
    return xp.where(finite, y, scalar(backend, float("nan"), y))


def diagonal(x: Array, /, *, xp: Namespace) -> Array:
    """Return the diagonals of square matrices, without the extension for linear algebra."""
    n = x.shape[-1]
    return xp.reshape(x, (*x.shape[:-2], n * n))[..., :: n + 1]


def thin_svd(x: Array, /, *, xp: Namespace) -> tuple[Array, Array, Array]:
    """Return ``(U, S, Vh)`` of the thin SVD of finite matrices.

    LAPACK's divide and conquer gives up on some finite matrices, and not on their adjoints. What
    libraries raise then has one name, and no common class.
    """
    try:
        u, s, vh = xp.linalg.svd(x, full_matrices=False)
    except Exception as error:
        if type(error).__name__ not in ("LinAlgError", "_LinAlgError"):
            raise
        v, s, uh = xp.linalg.svd(adjoint(x, xp=xp), full_matrices=False)
        u, vh = adjoint(uh, xp=xp), adjoint(v, xp=xp)
    return u, s, vh
