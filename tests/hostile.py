"""A library that is as hostile as CuPy, made of NumPy: for faults that only a device shows.

Its arrays never become host values unless `to_host` asks; its devices do not hash; creation
functions ignore ``device=`` and use the device that is current; reductions give arrays without
axes; whatever is made of host values is counted, as a copy to a device.
"""

import operator
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import array_api_compat.numpy as compat
import numpy as np

from specdesc.backends import Backend, Capabilities, entry


def _primitives_of_cupy() -> Any:
    """Return the class of the leaf, whose package imports CuPy."""
    path = Path(__file__).parent.parent / "backends" / "cupy" / "primitives.py"
    spec = spec_from_file_location("cupy_primitives", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks for its module
    spec.loader.exec_module(module)
    return module.CuPyPrimitives


class HostAccess(TypeError):
    """A value was read on the host, and nobody had asked for it."""


class Device:
    """A device that is compared, entered, and not hashed."""

    __hash__ = None  # type: ignore[assignment]
    current: ClassVar[list["Device"]] = []

    def __init__(self, index: int) -> None:
        self.index = index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.index == self.index

    def __enter__(self) -> "Device":
        Device.current.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        Device.current.pop()

    def __repr__(self) -> str:
        return f"<hostile device {self.index}>"


DEVICES = (Device(0), Device(1))
Device.current.append(DEVICES[0])


class Transfers:
    """How often an array was made of host values."""

    count = 0


def _refuse(self: object, *_: object, **__: object) -> Any:
    msg = "implicit conversion of a hostile array to a host value"
    raise HostAccess(msg)


class HostileArray:
    """An array on a device."""

    __array_priority__ = 1000
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: Any, device: Device) -> None:
        self.values, self.device = np.asarray(values), device

    shape = property(lambda self: self.values.shape)
    ndim = property(lambda self: self.values.ndim)
    size = property(lambda self: self.values.size)
    dtype = property(lambda self: self.values.dtype)
    T = property(lambda self: HostileArray(self.values.T, self.device))
    mT = property(lambda self: HostileArray(self.values.swapaxes(-1, -2), self.device))

    for _name in ("array", "float", "int", "bool", "complex", "index", "iter", "len", "contains"):
        locals()[f"__{_name}__"] = _refuse
    item = tolist = _refuse

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return NAMESPACE

    def __getitem__(self, key: Any) -> "HostileArray":
        return HostileArray(self.values[_inside(key, self.device)], self.device)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.values[_inside(key, self.device)] = _inside(value, self.device)

    def __repr__(self) -> str:
        return f"HostileArray(shape={self.shape}, dtype={self.dtype}, device={self.device})"


def _inside(value: Any, device: Device) -> Any:
    """Return the NumPy arrays inside of an argument; refuse those of the host and of elsewhere."""
    if isinstance(value, HostileArray):
        if value.device != device:
            msg = f"arrays on {value.device} and {device}"
            raise ValueError(msg)
        return value.values
    if isinstance(value, (np.ndarray, np.generic)):
        msg = f"a host array of shape {value.shape} among those of a device"
        raise TypeError(msg)
    if isinstance(value, (list, tuple)):
        return type(value)(_inside(each, device) for each in value)
    return value


def _outside(result: Any, device: Device) -> Any:
    if isinstance(result, (np.ndarray, np.generic)):
        return HostileArray(result, device)
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*(_outside(each, device) for each in result))
    if isinstance(result, (list, tuple)):
        return type(result)(_outside(each, device) for each in result)
    return result


def _device_of(values: Any) -> Device | None:
    if isinstance(values, HostileArray):
        return values.device
    if isinstance(values, (list, tuple)):
        return next(filter(None, map(_device_of, values)), None)
    return None


def _wrapped(function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        out, place = kwargs.pop("out", None), kwargs.pop("device", None)
        assert place is None or isinstance(place, Device)
        device = _device_of([*args, *kwargs.values()]) or Device.current[-1]
        named = {name: _inside(each, device) for name, each in kwargs.items()}
        if out is not None:
            named["out"] = _inside(out, device)
        with np.errstate(all="ignore"):  # no device warns
            result = function(*(_inside(each, device) for each in args), **named)
        return out if out is not None else _outside(result, device)

    return call


def _operator(name: str) -> Any:
    function = _wrapped(getattr(operator, name))

    def call(self: HostileArray, *others: Any) -> Any:
        return function(self, *others)

    def reflected(self: HostileArray, other: Any) -> Any:
        return function(other, self)

    def in_place(self: HostileArray, other: Any) -> Any:
        with np.errstate(all="ignore"):
            getattr(operator, f"i{name}")(self.values, _inside(other, self.device))
        return self

    return call, reflected, in_place


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
for _each in _BINARY:
    _plain, _reflected, _in_place = _operator(_each)
    setattr(HostileArray, f"__{_each}__", _plain)
    setattr(HostileArray, f"__r{_each}__", _reflected)
    setattr(HostileArray, f"__i{_each}__", _in_place)
for _each in ("and_", "or_", "xor", "lt", "le", "gt", "ge", "eq", "ne", "neg", "abs", "invert"):
    _plain, _reflected, _ = _operator(_each)
    setattr(HostileArray, f"__{_each.strip('_')}__", _plain)
    if _each in ("and_", "or_", "xor"):
        setattr(HostileArray, f"__r{_each.strip('_')}__", _reflected)


class _Info:
    """What the namespace says of itself."""

    def __init__(self) -> None:
        self._info = compat.__array_namespace_info__()

    def dtypes(self, *, device: Any = None, kind: Any = None) -> Any:
        return self._info.dtypes(kind=kind)

    def default_dtypes(self, *, device: Any = None) -> Any:
        return self._info.default_dtypes()

    def capabilities(self) -> Any:
        return self._info.capabilities()

    def devices(self) -> list[Device]:
        return list(DEVICES)

    def default_device(self) -> Device:
        return DEVICES[0]


def _asarray(values: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Any:
    if isinstance(values, HostileArray):
        return HostileArray(np.array(values.values, dtype=dtype, copy=copy or None), values.device)
    Transfers.count += 1
    return HostileArray(np.array(values, dtype=dtype), Device.current[-1])


_PLAIN = ("finfo", "iinfo", "isdtype", "result_type", "can_cast")


def _namespace(source: Any, name: str) -> ModuleType:
    module = ModuleType(name)
    for each in dir(source):
        thing = getattr(source, each)
        if each.startswith("_"):
            continue
        known = each in _PLAIN or isinstance(thing, type) or not callable(thing)
        setattr(module, each, thing if known else _wrapped(thing))
    return module


def _types(function: Any) -> Any:
    """Let a function of dtypes take arrays."""

    def call(*args: Any) -> Any:
        return function(*(getattr(each, "dtype", each) for each in args))

    return call


NAMESPACE: Any = _namespace(compat, "hostile")
NAMESPACE.linalg = _namespace(compat.linalg, "hostile.linalg")
NAMESPACE.asarray = _asarray
NAMESPACE.__array_namespace_info__ = _Info
NAMESPACE.result_type = _types(compat.result_type)
NAMESPACE.finfo, NAMESPACE.isdtype = compat.finfo, compat.isdtype


class HostileBackend(Backend):
    """The leaf that CuPy's is modelled on."""

    name = "hostile"
    xp = NAMESPACE
    capabilities = Capabilities(
        "numpy", "2.0", ("float16", "float32", "float64", "complex64", "complex128"), "nowhere"
    )
    primitives_type = _primitives_of_cupy()

    def owns(self, kind: type, /) -> bool:
        return issubclass(kind, HostileArray)

    def may_branch(self, x: Any, /) -> bool:
        return False

    def multiplies(self, x: Any, /) -> bool:
        return True

    def device(self, x: Any, /) -> Any:
        return x.device

    def place(self, x: Any, /) -> Any:
        return None

    def guard(self, x: Any, /) -> Any:
        return x.device

    def devices(self) -> tuple[str, ...]:
        return ("hostile:0", "hostile:1")

    def from_host(self, values: Any, /, *, dtype: str, device: str | None = None) -> Any:
        place = DEVICES[self.devices().index(device)] if device else Device.current[-1]
        return HostileArray(np.array(values, dtype=dtype), place)

    def to_host(self, x: Any, /) -> Any:
        return np.array(x.values)


@contextmanager
def registered() -> Iterator[HostileBackend]:
    """Let the door know the leaf."""
    leaf = HostileBackend()
    entry._OWNERS[HostileArray] = leaf
    try:
        yield leaf
    finally:
        del entry._OWNERS[HostileArray]
        for key in [key for key in entry._BOUND if key[0] is HostileArray]:
            del entry._BOUND[key]
