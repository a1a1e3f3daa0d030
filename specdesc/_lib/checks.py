"""Checks of shapes and of numbers: the messages name the argument, its value and what is right."""

import operator
from collections.abc import Callable
from numbers import Real
from typing import Any

from specdesc._lib.tracing import opaque
from specdesc._lib.typing import Array


@opaque
def check_integer(value: object, name: str, /, *, least: int | None = None) -> int:
    """Return an integer of Python, NumPy or a 0-d array as one of Python.

    Raises
    ------
    TypeError
        For anything else, a boolean and a float with an integral value included.
    ValueError
        If it is below `least`.
    """
    bound = "" if least is None else f" of at least {least}"
    try:
        if isinstance(value, bool) or getattr(value, "ndim", 0) > 0:
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        msg = f"{name} must be an integer{bound}, got {value!r}"
        raise TypeError(msg) from None
    if least is not None and number < least:
        msg = f"{name} must be an integer{bound}, got {value!r}"
        raise ValueError(msg)
    return number


def plain(value: Any, /) -> Any:
    """Return a number of any kind, one of NumPy for instance, as a float, others as they are."""
    return float(value) if isinstance(value, Real) else value


def check_number(
    value: Any, name: str, holds: Callable[[float], bool], wanted: str, /, *, other: str = ""
) -> None:
    """Raise unless `value` is a number for which `holds`, or a 0-d array, which nobody reads.

    An array may be traced, or on a device: what it cannot be is for the result to show.

    Parameters
    ----------
    value : object
        What was given.
    name, wanted : str
        How messages call it, and what it should have been.
    holds : callable
        Says whether a number is right.
    other : str
        What else may be given, such as ``"a schedule or "``.

    Raises
    ------
    TypeError
        Neither a number nor an array, or an array with axes.
    ValueError
        A number that is not right.
    """
    number = plain(value)
    if isinstance(number, float):
        if not holds(number):
            msg = f"{name} must be {other}{wanted}, got {value!r}"
            raise ValueError(msg)
    elif not hasattr(value, "dtype") or not hasattr(value, "ndim"):
        msg = f"{name} must be {other}{wanted}, got {value!r}"
        raise TypeError(msg)
    elif value.ndim > 0:
        msg = f"{name} must be one number, got an array of shape {tuple(value.shape)}"
        raise TypeError(msg)


def is_number(value: object, number: float, /) -> bool:
    """Say whether `value` is this number; of an array, which may be traced, nobody knows."""
    value = plain(value)
    return isinstance(value, float) and value == number


def check_same_shape(x: Array, y: Array, x_name: str, y_name: str, /) -> None:
    """Raise `ValueError` with both shapes unless they are equal."""
    if tuple(x.shape) != tuple(y.shape):
        msg = (
            f"{x_name} and {y_name} must have one shape, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
        raise ValueError(msg)


def check_rank(rank: int, x: Array, /, name: str = "rank") -> None:
    """Raise `ValueError` unless 1 <= rank <= min(m, n); an empty matrix takes any rank."""
    limit = min(x.shape[-2:])
    if not _is_integer(rank) or rank < 1 or (limit and rank > limit):
        msg = (
            f"{name} must be an integer from 1 to {limit} for shape {tuple(x.shape)}, got {rank!r}"
        )
        raise ValueError(msg)


def check_positive_rank(rank: int, /, name: str = "rank") -> None:
    """Raise `ValueError` unless `rank` is an integer of at least 1."""
    if not _is_integer(rank) or rank < 1:
        msg = f"{name} must be an integer of at least 1, got {rank!r}"
        raise ValueError(msg)


def check_fraction(value: float | None, name: str, /) -> None:
    """Raise `ValueError` unless `value` is None or lies inside (0, 1)."""
    if value is not None and not 0.0 < value < 1.0:
        msg = f"{name} must lie in (0, 1) or be None, got {value!r}"
        raise ValueError(msg)


def _is_integer(value: object) -> bool:
    try:
        check_integer(value, "value")
    except TypeError:
        return False
    return True
