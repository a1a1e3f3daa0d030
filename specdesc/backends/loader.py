"""Leaves: found by their entry points, imported when somebody needs one."""

import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import cast

from specdesc._lib.tracing import opaque
from specdesc._lib.typing import Array
from specdesc.backends.protocol import Backend, Opened

GROUP = "specdesc.backends"


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
