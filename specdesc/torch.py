"""For users of torch: rules as an optimizer, and Muon under the name that torch has for it.

The names are those of the leaf of torch, which is imported when one of them is asked for.
"""

from importlib import import_module
from typing import Any

from specdesc.backends import load

__all__ = ["Muon", "Optimizer"]  # noqa: F822  # they come from the leaf


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    load("torch")  # says what is missing where torch is not installed
    return getattr(import_module("specdesc.backends.torch.optimizer"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
