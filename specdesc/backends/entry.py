"""The door: what every public function checks, once, before any mathematics.

Checks read types, dtypes and shapes, which are static, so they are the same for traced arrays.
What a *value* cannot be is never an exception: it is NaN in that matrix, or a ``status``.
"""

import array_api_compat

from specdesc._lib.dtypes import is_floating
from specdesc._lib.tracing import opaque
from specdesc._lib.typing import Array, Device
from specdesc.backends.generic import agnostic
from specdesc.backends.loader import loaded, registered
from specdesc.backends.protocol import Backend


def enter(function: str, *arrays: Array, names: tuple[str, ...] = ("x",), ndim: int = 2) -> Backend:
    """Check the array arguments of a public function and return their backend, bound to them.

    What lies behind the door takes the backend as an argument and never asks again: whether code
    may look at values, where new arrays are made, and what the library can do are its attributes.

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
    first = arrays[0]
    leaf = _leaf_of(first, names[0])
    branches = True
    for x, name in zip(arrays, names, strict=True):
        if x is not first and _leaf_of(x, name) is not leaf:
            msg = (
                f"{names[0]} and {name} must be arrays of one library, "
                f"got {_kind(first)} and {_kind(x)}"
            )
            raise TypeError(msg)
        leaf.check(x)
        if not is_floating(leaf.xp, x.dtype):
            msg = f"{name} must be real or complex floating, got {x.dtype}; cast it first"
            raise TypeError(msg)
        if x.ndim < ndim:
            msg = f"{name} must have at least {ndim} axes, got shape {tuple(x.shape)}"
            raise ValueError(msg)
        # dask writes an unknown size as nan, other lazy libraries as None: neither equals itself.
        if any(size is None or size != size for size in x.shape):
            shape = tuple(x.shape)
            msg = f"{name} must have known sizes, got shape {shape}; compute chunk sizes first"
            raise TypeError(msg)
        if x is not first:
            _check_same(leaf, first, x, names[0], name)
        branches = branches and leaf.may_branch(x)
    check_supported(function, leaf)
    return _bound(leaf, type(first), branches, leaf.place(first))


def bound_to(x: Array, /) -> Backend:
    """Return the backend of an array that needs no check, such as a chunk of one that had it."""
    leaf = _leaf_of(x, "x")
    return _bound(leaf, type(x), leaf.may_branch(x), leaf.place(x))


def check_supported(function: str, backend: Backend, /) -> None:
    """Raise `NotImplementedError` where the capability table says so, with its reason."""
    reason = backend.capabilities.unsupported.get(function)
    if reason is not None:
        msg = f"{function} is not available on {backend.name}: {reason}"
        raise NotImplementedError(msg)


def check_per_matrix(backend: Backend, values: Array, x: Array, name: str, /) -> None:
    """Raise unless `values` is one number, or one for each matrix of `x`, of the same library."""
    if _leaf_of(values, name).xp is not backend.xp:
        msg = f"{name} must be a number or an array of {backend.name}, got {_kind(values)}"
        raise TypeError(msg)
    batch = tuple(x.shape[:-2])
    if tuple(values.shape) not in ((), batch):
        msg = f"{name} must have the batch shape {batch}, got {tuple(values.shape)}"
        raise ValueError(msg)


#: The leaf that owns arrays of one type, None where no leaf does.
_OWNERS: dict[type, Backend | None] = {}

#: Leaves bound to arrays of one type in one place.
_BOUND: dict[tuple[type, bool, Device], Backend] = {}


def owner(x: Array, /) -> Backend | None:
    """Return the loaded leaf that owns `x`, None if none does."""
    # A tracer calls the first line and then sees a dictionary that holds the answer already.
    _remember_owner(type(x))
    return _OWNERS[type(x)]


@opaque
def _remember_owner(kind: type, /) -> bool:
    """Find the leaf that owns arrays of one type, once."""
    if kind not in _OWNERS:
        leaves = filter(None, map(loaded, registered()))
        leaf = next((leaf for leaf in leaves if leaf.owns(kind)), None)
        _OWNERS[kind] = None if leaf is None else leaf.of_type(kind)
    return True


def _leaf_of(x: Array, name: str) -> Backend:
    leaf = owner(x)
    if leaf is not None:
        return leaf
    try:
        return agnostic(array_api_compat.array_namespace(x))
    except TypeError:
        advice = f"use xp.asarray({name})"
        if hasattr(x, "filled") and hasattr(x, "mask"):
            # asarray would drop the mask and let in what lies under it.
            advice = f"fill what is masked, for instance {name}.filled(nan) where NaN is missing"
        msg = f"{name} must be an array of one library, got {_kind(x)}; {advice}"
        raise TypeError(msg) from None


def _bound(leaf: Backend, kind: type, branches: bool, placement: Device) -> Backend:
    if _remember_bound(kind, branches, placement):
        return _BOUND[kind, branches, placement]
    return leaf.bound(branches, placement)


@opaque
def _remember_bound(kind: type, branches: bool, placement: Device, /) -> bool:
    """Bind the leaf of one type, once; say whether there is one."""
    leaf, key = _OWNERS[kind], (kind, branches, placement)
    if leaf is not None and key not in _BOUND:
        _BOUND[key] = leaf.bound(branches, placement)
    return leaf is not None


def _kind(x: object) -> str:
    return f"{type(x).__module__}.{type(x).__qualname__}"


def _check_same(leaf: Backend, x: Array, y: Array, x_name: str, y_name: str) -> None:
    if x.dtype != y.dtype:
        msg = f"{x_name} and {y_name} must have one dtype, got {x.dtype} and {y.dtype}"
        raise TypeError(msg)
    one, other = leaf.device(x), leaf.device(y)
    # A tracer may not know its device.
    if one is not None and other is not None and one != other:
        msg = f"{x_name} and {y_name} must be on one device, got {one} and {other}"
        raise ValueError(msg)
