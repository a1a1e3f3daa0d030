"""Gross errors of data, from the kindest to those that deceive."""

from collections.abc import Callable
from typing import Literal, get_args

from specdesc._lib.typing import Array

Outliers = Literal["symmetric", "one_sided", "structured"]
KINDS = get_args(Outliers)


def check_kind(kind: str, /) -> None:
    """Raise `ValueError` for a kind of outliers that does not exist."""
    if kind not in KINDS:
        msg = f"kind must be one of {', '.join(KINDS)}, got {kind!r}"
        raise ValueError(msg)


def strike(
    data: Array,
    hit: Array,
    kind: Outliers,
    errors: Array,
    decoy: Callable[[], Array],
    /,
) -> None:
    """Spoil some numbers of a host array, in place.

    Parameters
    ----------
    data : NumPy array
        Any shape.
    hit : NumPy array of int
        Which of its numbers, counted through all axes.
    kind : {"symmetric", "one_sided", "structured"}
        Add the errors, add their absolute values, or put the decoy's numbers there.
    errors : NumPy array, shape of `hit`
        Of a symmetric distribution.
    decoy : callable
        Returns what another solution would have given, of the shape of `data`.
    """
    flat = data.reshape(-1)
    if kind == "structured":
        flat[hit] = decoy().reshape(-1)[hit]
    else:
        flat[hit] += abs(errors) if kind == "one_sided" else errors
