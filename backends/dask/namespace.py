"""The namespace of dask, with the factorizations of whole matrices that it lacks."""

from typing import Any

import array_api_compat.dask.array

from . import linalg

__all__ = ["linalg"]


def __getattr__(name: str) -> Any:
    """Return what dask has itself."""
    return getattr(array_api_compat.dask.array, name)
