"""Leaves: found by their entry points, imported when somebody needs one."""

import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import cast

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


def loaded(name: str, /) -> Backend | None:
    """Return a leaf whose library somebody has imported, None if there is none that works.

    The agnostic way needs no leaf; `load` tells why there is none.
    """
    # Whoever holds an array of a library has imported it: other libraries are not even asked.
    if name not in sys.modules:
        return None
    try:
        return load(name)
    except BackendUnavailable:
        return None


def opened(node: object, /) -> Opened | None:
    """Ask the libraries in use what is inside a container. Private to specdesc."""
    leaves = (loaded(name) for name in registered())
    inside = (leaf.open_node(node) for leaf in leaves if leaf is not None)
    return next((each for each in inside if each is not None), None)
