"""Which method `orthogonalize` takes by itself: what was measured, looked up."""

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple

from specdesc._lib.tracing import opaque

#: Without a measurement an SVD is taken up to this short side.
SMALL = 32

#: Aspect ratios from this one on are looked up as those of tall matrices, which are measured at 4.
TALL = 2.0

#: As many matrices are looked up as a stack, which is measured with 64.
MANY = 8

#: Where a precision was not measured, this one is: half precision is computed in float32.
_NEXT = {"half": "real32", "complex64": "real32", "complex128": "real64"}


#: A method, the largest short side that it is the fastest for, the next method, and so on.
Decision = Sequence[str | int]


@opaque
def fastest_method(
    measured: str | None,
    shape: tuple[int, ...],
    precision: str,
    tol: float | None,
    working: float,
    floor: float | None,
    allowed: Sequence[str],
    /,
) -> str:
    """Return the method that was the fastest for matrices like these.

    Parameters
    ----------
    measured : str or None
        The backend whose measurements apply. None, or a backend without any (JAX, dask, GPUs,
        traced arrays, other libraries), takes the default: the SVD up to the short side `SMALL`
        and for working accuracy in full precision, polynomials otherwise.
    shape : tuple of int
        Of the stack.
    precision : str
        ``"half"``, ``"real32"``, ``"real64"``, ``"complex64"`` or ``"complex128"``.
    tol, floor : float or None
        As in `orthogonalize`. All floors that are given count as one.
    working : float
        The tolerance that None stands for.
    allowed : sequence of str
        The methods that the backend has. A winner that is not among them gives way to the default.

    Returns
    -------
    str
        One of `allowed`.
    """
    *batch, m, n = shape
    wish = _Wish((m, n), math.prod(batch), precision, tol, working, floor is not None)
    return _choose(measured, wish, tuple(allowed))


class _Wish(NamedTuple):
    """What a choice depends on; no array and no library is in it."""

    shape: tuple[int, int]
    batch: int
    precision: str
    tol: float | None
    working: float
    floored: bool


# Below the mark: a tracer that finds a cached function looks inside.
@lru_cache(maxsize=4096)
def _choose(measured: str | None, wish: _Wish, allowed: tuple[str, ...]) -> str:
    decision = None if measured is None else _decision(measured, wish)
    winner = _default(wish) if decision is None else _at(decision, min(wish.shape))
    if winner in allowed:
        return winner
    default = _default(wish)
    return default if default in allowed else "polynomial"


def _default(wish: _Wish) -> str:
    # Half precision never asks for more than a polynomial in float32 can give.
    precise = wish.tol is None and wish.precision != "half"
    return "svd" if precise or min(wish.shape) <= SMALL else "polynomial"


def _decision(backend: str, wish: _Wish) -> Decision | None:
    """Return the row of the table that is nearest to the wish."""
    table = _table()
    floor = "floor" if wish.floored else "no floor"
    batch = "stack" if wish.batch >= MANY else "single"
    tall = max(wish.shape) >= TALL * min(wish.shape)
    for precision in (wish.precision, _NEXT.get(wish.precision, "")):
        for aspect in ("tall", "square") if tall else ("square",):
            row = table.rows.get((backend, precision, f"{floor}, {aspect}, {batch}"))
            if row is not None:
                return row[_nearest(wish, row, table.tolerances)]
    return None


def _nearest(wish: _Wish, names: Iterable[str], tolerances: Mapping[str, float]) -> str:
    """Return the name of the nearest tolerance that was measured, by ratio."""
    if wish.tol is None:
        return "working"
    values = {**tolerances, "working": wish.working}
    wanted = math.log(wish.tol)
    return min(names, key=lambda name: abs(math.log(values[name]) - wanted))


def _at(decision: Decision, side: int) -> str:
    """Read ``method, limit, method, limit, ..., method`` at one short side."""
    for method, limit in zip(decision[::2], decision[1::2], strict=False):
        if side <= int(limit):
            return str(method)
    return str(decision[-1])


class _Table(NamedTuple):
    tolerances: Mapping[str, float]
    #: By backend, precision and kind, then by tolerance.
    rows: Mapping[tuple[str, str, str], Mapping[str, Decision]]


@cache
def _table() -> _Table:
    text = (files("specdesc._polar_factor") / "calibration.toml").read_text(encoding="utf-8")
    found = tomllib.loads(text)
    rows = {
        (backend, precision, kind): row
        for backend, precisions in found["methods"].items()
        for precision, kinds in precisions.items()
        for kind, row in kinds.items()
    }
    return _Table(found["tolerances"], rows)
