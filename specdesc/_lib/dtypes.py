"""Facts about a dtype, as Python values: constants of a trace.

The libraries spell the questions differently, and some answers are not Python floats (the `finfo`
of NumPy and of JAX).
"""

from specdesc._lib.tracing import opaque
from specdesc._lib.typing import Array, DType, Namespace


@opaque
def is_floating(xp: Namespace, dtype: DType, /) -> bool:
    """Say whether a dtype is real or complex floating; half precision counts, object does not."""
    return bool(xp.isdtype(dtype, ("real floating", "complex floating")))


@opaque
def is_complex(xp: Namespace, dtype: DType, /) -> bool:
    """Say whether a dtype is complex."""
    return bool(xp.isdtype(dtype, "complex floating"))


@opaque
def eps(xp: Namespace, dtype: DType, /) -> float:
    """Return the distance from 1 to the next number of a dtype, that of its parts if complex."""
    return float(xp.finfo(dtype).eps)


@opaque
def smallest_normal(xp: Namespace, dtype: DType, /) -> float:
    """Return the smallest positive number of full precision."""
    return float(xp.finfo(dtype).smallest_normal)


@opaque
def largest_finite(xp: Namespace, dtype: DType, /) -> float:
    """Return the largest finite number of a dtype."""
    return float(xp.finfo(dtype).max)


@opaque
def is_half(xp: Namespace, dtype: DType, /) -> bool:
    """Say whether a dtype has 16 bits: no library factorizes those."""
    return int(xp.finfo(dtype).bits) == 16


@opaque
def precision(xp: Namespace, dtype: DType, /) -> str:
    """Return "half", "real32", "real64", "complex64" or "complex128"."""
    if is_half(xp, dtype):
        return "half"
    double = eps(xp, dtype) < 2.0**-40
    if is_complex(xp, dtype):
        return "complex128" if double else "complex64"
    return "real64" if double else "real32"


def real_dtype(xp: Namespace, dtype: DType, /) -> DType:
    """Return the dtype of the parts of a complex dtype, and a real one unchanged."""
    # By comparison: NumPy's dtypes equal the names of its namespace but do not hash like them.
    if dtype == xp.complex64:
        return xp.float32
    return xp.float64 if dtype == xp.complex128 else dtype


def working_dtype(xp: Namespace, dtype: DType, /) -> DType:
    """Return a dtype that the library can factorize: float32 for half precision."""
    known = (xp.float32, xp.float64, xp.complex64, xp.complex128)
    return dtype if dtype in known else xp.float32


def working(xp: Namespace, x: Array, /) -> Array:
    """Return `x` in its `working_dtype`."""
    if x.dtype in (xp.float32, xp.float64, xp.complex64, xp.complex128):
        return x
    return xp.astype(x, xp.float32)
