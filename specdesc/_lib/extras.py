"""Optional libraries: imported when they are needed, named when they are missing."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


class MissingExtra(ImportError):
    """An optional library is not installed; the message names the extra that has it.

    Examples
    --------
    >>> from specdesc import MissingExtra
    >>> issubclass(MissingExtra, ImportError)
    True
    """


def require(module: str, extra: str, /) -> ModuleType:
    """Import an optional module or say in one line how to get it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        msg = f"this needs {library}: pip install 'specdesc[{extra}]'"
        raise MissingExtra(msg) from error


def installed(module: str, /) -> bool:
    """Say whether an optional module is there, without importing it."""
    return find_spec(module) is not None
