"""The door: what every public function checks, once, before any mathematics.

Checks read types, dtypes and shapes, which are static, so they are the same for traced arrays.
What a *value* cannot be is never an exception: it is NaN in that matrix, or a ``status``.
"""

import array_api_compat

from specdesc._agnostic import agnostic
from specdesc._opaque import opaque
from specdesc._typing import Array, DType, Namespace
from specdesc.backends import Backend, owner


def enter(function: str, *arrays: Array, names: tuple[str, ...] = ("x",), ndim: int = 2) -> Backend:
    """Check the array arguments of a public function and return their backend.

    Parameters
    ----------
    function : str
        The name in the capability table, such as ``"polar"``.
    *arrays : array
        They must share library, dtype and device.
    names : tuple of str
        How messages call them.
    ndim : int
        The least number of axes.

    Raises
    ------
    TypeError
        Not an array, mixed libraries, mixed dtypes, a dtype that is not real or complex
        floating, or a shape that is not known yet.
    ValueError
        Too few axes, or mixed devices.
    NotImplementedError
        The capability table says that this backend has no such function, and why.
    """
    backend = _backend_of(arrays[0], names[0])
    for x, name in zip(arrays, names, strict=True):
        if _backend_of(x, name) is not backend:
            msg = (
                f"{names[0]} and {name} must be arrays of one library, "
                f"got {_kind(arrays[0])} and {_kind(x)}"
            )
            raise TypeError(msg)
        backend.check(x)
        _check_dtype(backend, x, name)
        _check_shape(x, name, ndim)
        _check_same(backend, arrays[0], x, names[0], name)
    check_supported(function, backend)
    return backend


def check_supported(function: str, backend: Backend, /) -> None:
    """Raise `NotImplementedError` where the capability table says so, with its reason."""
    reason = backend.capabilities.unsupported.get(function)
    if reason is not None:
        msg = f"{function} is not available on {backend.name}: {reason}"
        raise NotImplementedError(msg)


def _backend_of(x: Array, name: str) -> Backend:
    known = owner(x)
    if known is not None:
        return known
    try:
        return agnostic(array_api_compat.array_namespace(x))
    except TypeError:
        msg = f"{name} must be an array of one library, got {_kind(x)}; use xp.asarray({name})"
        raise TypeError(msg) from None


def _kind(x: object) -> str:
    return f"{type(x).__module__}.{type(x).__qualname__}"


def _check_dtype(backend: Backend, x: Array, name: str) -> None:
    if not is_floating(backend.xp, x.dtype):
        msg = f"{name} must be real or complex floating, got {x.dtype}; cast it first"
        raise TypeError(msg)


def _check_shape(x: Array, name: str, ndim: int) -> None:
    if x.ndim < ndim:
        msg = f"{name} must have at least {ndim} axes, got shape {tuple(x.shape)}"
        raise ValueError(msg)
    # dask writes an unknown size as nan, other lazy libraries as None: neither equals itself.
    if any(size is None or size != size for size in x.shape):
        msg = f"{name} must have known sizes, got shape {tuple(x.shape)}; compute chunk sizes first"
        raise TypeError(msg)


def _check_same(backend: Backend, x: Array, y: Array, x_name: str, y_name: str) -> None:
    if x.dtype != y.dtype:
        msg = f"{x_name} and {y_name} must have one dtype, got {x.dtype} and {y.dtype}"
        raise TypeError(msg)
    devices = {backend.device(x), backend.device(y)}
    # A tracer may not know its device.
    if len(devices - {None}) > 1:
        msg = (
            f"{x_name} and {y_name} must be on one device, "
            f"got {backend.device(x)} and {backend.device(y)}"
        )
        raise ValueError(msg)


def check_per_matrix(backend: Backend, values: Array, x: Array, name: str, /) -> None:
    """Raise unless `values` is one number, or one for each matrix of `x`, of the same library."""
    if _backend_of(values, name) is not backend:
        msg = f"{name} must be a number or an array of {backend.name}, got {_kind(values)}"
        raise TypeError(msg)
    batch = tuple(x.shape[:-2])
    if tuple(values.shape) not in ((), batch):
        msg = f"{name} must have the batch shape {batch}, got {tuple(values.shape)}"
        raise ValueError(msg)


def check_same_shape(x: Array, y: Array, x_name: str, y_name: str, /) -> None:
    """Raise `ValueError` with both shapes unless they are equal."""
    if tuple(x.shape) != tuple(y.shape):
        msg = (
            f"{x_name} and {y_name} must have one shape, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
        raise ValueError(msg)


def check_rank(rank: int, x: Array, /, name: str = "rank") -> None:
    """Raise `ValueError` unless 1 <= rank <= min(m, n); an empty matrix takes any rank."""
    limit = min(x.shape[-2:])
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1 or (limit and rank > limit):
        msg = (
            f"{name} must be an integer from 1 to {limit} for shape {tuple(x.shape)}, got {rank!r}"
        )
        raise ValueError(msg)


def check_positive_rank(rank: int, /, name: str = "rank") -> None:
    """Raise `ValueError` unless `rank` is an integer of at least 1."""
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        msg = f"{name} must be an integer of at least 1, got {rank!r}"
        raise ValueError(msg)


def check_fraction(value: float | None, name: str, /) -> None:
    """Raise `ValueError` unless `value` is None or lies inside (0, 1)."""
    if value is not None and not 0.0 < value < 1.0:
        msg = f"{name} must lie in (0, 1) or be None, got {value!r}"
        raise ValueError(msg)


# Facts about a dtype are constants of a trace; the libraries spell the questions differently, and
# some answers are not Python floats (numpy's and jax's finfo).


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


def working(xp: Namespace, x: Array, /) -> Array:
    """Return `x` in a dtype that the library can factorize: float32 for half precision."""
    return xp.astype(x, xp.float32) if is_half(xp, x.dtype) else x


def scalar(backend: Backend, value: complex, like: Array, /) -> Array:
    """Make a 0-d array with the dtype and the device of `like`."""
    return backend.xp.asarray(value, dtype=like.dtype, device=backend.device(like))
