"""Checks of shapes and of numbers: the messages name the argument, its value and what is right."""

from specdesc._lib.typing import Array


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
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1 or (limit and rank > limit):
        msg = (
            f"{name} must be an integer from 1 to {limit} for shape {tuple(x.shape)}, got {rank!r}"
        )
        raise ValueError(msg)


def check_positive_rank(rank: int, /, name: str = "rank") -> None:
    """Raise `ValueError` unless `rank` is an integer of at least 1."""
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        msg = f"{name} must be an integer of at least 1, got {rank!r}"
        raise ValueError(msg)


def check_fraction(value: float | None, name: str, /) -> None:
    """Raise `ValueError` unless `value` is None or lies inside (0, 1)."""
    if value is not None and not 0.0 < value < 1.0:
        msg = f"{name} must lie in (0, 1) or be None, got {value!r}"
        raise ValueError(msg)
