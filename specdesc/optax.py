"""For users of optax: rules as a gradient transformation, and Muon by the names that optax has.

The names are those of the leaf of JAX, which is imported when one of them is asked for.
"""

from importlib import import_module
from typing import Any

from specdesc.backends import load

__all__ = ["RuleState", "muon", "scale_by_muon", "scion", "transformation"]  # noqa: F822  # they come from the leaf


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    load("jax")  # says what is missing where JAX is not installed
    return getattr(import_module("specdesc.backends.jax.transformation"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
