"""The backend protocol and its loader.

A backend is what only one array library can do: how its arrays are recognised, made and moved,
whether code may look at their values, and faster kernels with the contract of the agnostic ones.
Leaves are entry points in the group ``specdesc.backends``, so any distribution can add one. A leaf
is named after the module of its library, and is imported the first time that somebody asks for it
or hands in one of its arrays, never before.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, cast

from specdesc._capabilities import Capabilities
from specdesc._opaque import opaque
from specdesc._typing import Array, Device, Namespace

__all__ = [
    "Backend",
    "BackendUnavailable",
    "Capabilities",
    "Derivative",
    "available",
    "load",
    "registered",
]

GROUP = "specdesc.backends"


class Derivative(NamedTuple):
    """The derivative of a function in its first array, for libraries that differentiate.

    Both maps are linear over the reals in their second argument, and adjoint to one another in the
    inner product Re sum(conj(a) b). They see neither the function nor what it did with its buffers;
    the other arrays of the function come behind.

    Attributes
    ----------
    tangent : callable
        ``(x, dx, *others)`` to the tangents of the first outputs; those behind have none.
    cotangent : callable
        ``(x, cotangents, *others)`` of as many outputs to the gradient with respect to x.
    outputs : int
        How many outputs have a derivative.
    """

    tangent: Callable[..., tuple[Array, ...]]
    cotangent: Callable[..., Array]
    outputs: int


#: The children of a container by name, and the way back from as many new ones.
Opened = tuple[list[tuple[str, Any]], Callable[[list[Any]], Any]]


class Backend(Protocol):
    """What a leaf exports under the name ``BACKEND``.

    The members with a body are defaults that a leaf inherits by naming this class as its base.
    """

    name: str
    xp: Namespace
    capabilities: Capabilities
    #: Kernels that replace agnostic ones of the same name and contract.
    kernels: Mapping[str, Callable[..., Array]] = MappingProxyType({})
    #: Up to so many numbers a tall block is orthonormalized by reflections where code may look.
    #:
    #: Larger ones are by Cholesky factors. Measured.
    reflections: float = 4096.0

    def owns(self, kind: type, /) -> bool:
        """Say whether objects of this type are arrays of this library, traced ones included."""
        ...

    def may_branch(self, x: Array, /) -> bool:
        """Say whether code may read values of `x` without waiting for a device or a tracer."""
        ...

    def multiplies(self, x: Array, /) -> bool:
        """Say whether products of matrices like `x`, in half precision, are fast and exact.

        That is, faster than those in float32, and added up in float32.
        """
        return False

    def device(self, x: Array, /) -> Device:
        """Return the device that new arrays next to `x` are made on, None for no choice."""
        ...

    def devices(self) -> tuple[str, ...]:
        """Return the devices of this machine that the library can use, by name."""
        ...

    def from_host(self, values: Array, /, *, dtype: str, device: str | None = None) -> Array:
        """Make an array of this library from a NumPy array."""
        ...

    def to_host(self, x: Array, /) -> Array:
        """Copy `x` into a NumPy array: for files and reports, never inside a computation."""
        ...

    def check(self, x: Array, /) -> None:
        """Raise `TypeError` for arrays of the library that the mathematics cannot take."""
        return

    def guard(self, x: Array, /) -> AbstractContextManager[object]:
        """Return the context that work on `x` runs in, such as its device."""
        return nullcontext()

    def differentiable(
        self, function: Callable[..., tuple[Array, ...]], derivative: Derivative, /
    ) -> Callable[..., tuple[Array, ...]]:
        """Return a function of arrays with this derivative in place of that of its operations."""
        return function

    def open_node(self, node: object, /) -> Opened | None:
        """Return what is inside a container that this library knows, None for anything else.

        That is the children by name, and the way back from as many new ones.
        """
        return None

    def synchronize(self) -> None:
        """Wait until everything that was started is done: for clocks, never inside a kernel."""
        return


class BackendUnavailable(ImportError):
    """The backend is not registered, or its leaf cannot be imported."""


@cache
def _entries() -> dict[str, EntryPoint]:
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        other = entries.setdefault(entry.name, entry)
        if other.value != entry.value:
            msg = f"backend {entry.name!r} is registered twice: {other.value} and {entry.value}"
            raise BackendUnavailable(msg)
    return entries


def registered() -> tuple[str, ...]:
    """Return the names of all leaves, whether or not their library is installed."""
    return tuple(sorted(_entries()))


def available() -> tuple[str, ...]:
    """Return the names of the leaves whose library is installed. Imports none of them."""
    return tuple(name for name in registered() if find_spec(name) is not None)


@cache
def load(name: str, /) -> Backend:
    """Import one leaf and return its backend.

    Parameters
    ----------
    name : str
        One of `registered()`.

    Returns
    -------
    Backend
        The ``BACKEND`` of the leaf, the same object at every call.

    Raises
    ------
    BackendUnavailable
        If no leaf has this name, its library is not installed, or its import fails; the message
        says which, and the cause is chained.
    """
    entry = _entries().get(name)
    if entry is None:
        msg = f"unknown backend {name!r}; registered are: {', '.join(registered()) or 'none'}"
        raise BackendUnavailable(msg)
    if find_spec(name) is None:
        msg = f"backend {name!r} needs the library {name!r}: pip install 'specdesc[{name}]'"
        raise BackendUnavailable(msg)
    try:
        return cast("Backend", entry.load())
    except Exception as error:
        # Whatever a broken library raises while it is imported (a missing driver is an OSError)
        # becomes the one exception that callers of this function know.
        msg = f"backend {name!r} ({entry.value}) cannot be imported: {error}"
        raise BackendUnavailable(msg) from error


_OWNERS: dict[type, Backend | None] = {}


@opaque
def _remember_owner(kind: type, /) -> bool:
    """Find the leaf that owns arrays of one type, once."""
    if kind not in _OWNERS:
        _OWNERS[kind] = next(filter(None, (_claim(name, kind) for name in registered())), None)
    return True


def _claim(name: str, kind: type, /) -> Backend | None:
    # Whoever holds an array of a library has imported it: other libraries are not even asked.
    if name not in sys.modules:
        return None
    leaf = _loaded(name)
    return leaf if leaf is not None and leaf.owns(kind) else None


def _loaded(name: str, /) -> Backend | None:
    try:
        return load(name)
    except BackendUnavailable:
        return None  # the agnostic path needs no leaf; `load(name)` tells why there is none


def owner(x: Array, /) -> Backend | None:
    """Return the loaded backend that owns `x`, None if no leaf does. Private to specdesc."""
    # A tracer calls the first line and then sees a dictionary that holds the answer already.
    _remember_owner(type(x))
    return _OWNERS[type(x)]


def opened(node: object, /) -> Opened | None:
    """Ask the libraries in use what is inside a container. Private to specdesc."""
    leaves = (_loaded(name) for name in registered() if name in sys.modules)
    inside = (leaf.open_node(node) for leaf in leaves if leaf is not None)
    return next((each for each in inside if each is not None), None)
