"""The backend protocol and its loader.

A backend is what only one array library can do: how its arrays are recognised, made and moved,
whether code may look at their values, and faster primitives with the contract of the agnostic ones.
Leaves are entry points in the group ``specdesc.backends``, so any distribution can add one. A leaf
is named after the module of its library, and is imported the first time that somebody asks for it
or hands in one of its arrays, never before.
"""

from pathlib import Path

from specdesc.backends.capabilities import Capabilities
from specdesc.backends.loader import BackendUnavailable, available, load, registered
from specdesc.backends.primitives import Primitives
from specdesc.backends.protocol import Backend, Derivative

__all__ = [
    "Backend",
    "BackendUnavailable",
    "Capabilities",
    "Derivative",
    "Primitives",
    "available",
    "load",
    "registered",
]

# In a checkout the leaves lie in a folder of the repository's top; a wheel brings them in here.
_CHECKOUT = Path(__file__).parents[2]
if (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "backends").is_dir():
    __path__.append(str(_CHECKOUT / "backends"))
