"""The door: what every public function checks, once, before any mathematics.

Checks read types, dtypes and shapes, which are static, so they are the same for traced arrays.
What a *value* cannot be is never an exception: it is NaN in that matrix, or a ``status``.
"""

import array_api_compat

from specdesc._lib.dtypes import is_floating
from specdesc._lib.typing import Array
from specdesc.backends.generic import agnostic
from specdesc.backends.loader import owner
from specdesc.backends.protocol import Backend


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
