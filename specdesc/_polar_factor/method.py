"""Which method `orthogonalize` takes by itself: what was measured, looked up."""

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal, NamedTuple, cast, get_args

from specdesc._lib.tracing import opaque

Method = Literal["auto", "polynomial", "rational", "svd", "newton-schulz", "polar-express"]
METHODS: tuple[Method, ...] = get_args(Method)


class Request(NamedTuple):
    """What is asked of an orthogonal factor: the options of `orthogonalize`."""

    tol: float | None = None
    floor: float | None = None
    method: Method = "auto"
    full_output: bool = False


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
) -> Method:
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
    case = _Case((m, n), math.prod(batch), precision, tol, working, floor is not None)
    return cast("Method", _choose(measured, case, tuple(allowed)))


class _Case(NamedTuple):
    """What a choice depends on; no array and no library is in it."""

    shape: tuple[int, int]
    batch: int
    precision: str
    tol: float | None
    working: float
    floored: bool


# Below the mark: a tracer that finds a cached function looks inside.
@lru_cache(maxsize=4096)
def _choose(measured: str | None, case: _Case, allowed: tuple[str, ...]) -> str:
    decision = None if measured is None else _decision(measured, case)
    winner = _default(case) if decision is None else _at(decision, min(case.shape))
    if winner in allowed:
        return winner
    default = _default(case)
    return default if default in allowed else "polynomial"


def _default(case: _Case) -> str:
    # Half precision never asks for more than a polynomial in float32 can give.
    precise = case.tol is None and case.precision != "half"
    return "svd" if precise or min(case.shape) <= SMALL else "polynomial"


def _decision(backend: str, case: _Case) -> Decision | None:
    """Return the row of the table that is nearest to the case."""
    table = _table()
    floor = "floor" if case.floored else "no floor"
    batch = "stack" if case.batch >= MANY else "single"
    tall = max(case.shape) >= TALL * min(case.shape)
    for precision in (case.precision, _NEXT.get(case.precision, "")):
        for aspect in ("tall", "square") if tall else ("square",):
            row = table.rows.get((backend, precision, f"{floor}, {aspect}, {batch}"))
            if row is not None:
                return row[_nearest(case, row, table.tolerances)]
    return None


def _nearest(case: _Case, names: Iterable[str], tolerances: Mapping[str, float]) -> str:
    """Return the name of the nearest tolerance that was measured, by ratio."""
    if case.tol is None:
        return "working"
    values = {**tolerances, "working": case.working}
    wanted = math.log(case.tol)
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
    table = tomllib.loads(text)
    rows = {
        (backend, precision, kind): row
        for backend, precisions in table["methods"].items()
        for precision, kinds in precisions.items()
        for kind, row in kinds.items()
    }
    return _Table(table["tolerances"], rows)


@opaque
def available(unsupported: tuple[str, ...], /) -> tuple[str, ...]:
    """Return the methods that a backend has, by what its table says it has not."""
    return tuple(name for name in METHODS if f"orthogonalize[{name}]" not in unsupported)
