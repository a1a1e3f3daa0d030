"""What `orthogonalize` would run on matrices of a shape and a dtype, and what that promises."""

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

from specdesc._lib.checks import check_fraction
from specdesc._polar_factor import plan

#: Name: eps of the dtype, eps of the arithmetic, bytes of a number in it.
_DTYPES = MappingProxyType(
    {
        "float16": (2.0**-10, 2.0**-23, 4),
        "bfloat16": (2.0**-7, 2.0**-23, 4),
        "float32": (2.0**-23, 2.0**-23, 4),
        "float64": (2.0**-52, 2.0**-52, 8),
        "complex64": (2.0**-23, 2.0**-23, 8),
        "complex128": (2.0**-52, 2.0**-52, 16),
    }
)


class Plan(NamedTuple):
    """The schedule of a polynomial orthogonalization.

    Attributes
    ----------
    degrees : tuple of int
        Degrees of the odd polynomials, in order.
    coefficients : tuple of tuple of float
        Coefficients of x, x^3, ... of each, on singular values in [0, 1].
    bound : float
        What `error` will be at most where a floor is given, rounding included.
    products : int
        Matrix products: two for each step, those of squares in it, and one to measure the result.
    memory : int
        Bytes of the temporary arrays at the peak, about.
    """

    degrees: tuple[int, ...]
    coefficients: tuple[tuple[float, ...], ...]
    bound: float
    products: int
    memory: int


def plan_orthogonalization(
    shape: Sequence[int], dtype: str, /, *, tol: float | None, floor: float | None
) -> Plan:
    """Return the cheapest steps that take s_i >= floor s_1 to 1 +- tol.

    The ones that ``orthogonalize(x, tol=tol, floor=floor, method="polynomial")`` runs on a matrix
    of this shape and dtype where its plan is fixed.

    Parameters
    ----------
    shape : sequence of int
        At least two sizes, all positive; leading ones are a stack.
    dtype : str
        Name of a real or complex floating dtype, such as ``"float32"``.
    tol, floor : float, optional
        As in `orthogonalize`; None is the working accuracy, and the floor of 1e-3 with every
        singular value asked for.

    Returns
    -------
    Plan
        ``(degrees, coefficients, bound, products, memory)``.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the dtype has no plan.

    See Also
    --------
    orthogonalize : What runs the plan.
    minimax_polynomial : One step of it.

    Notes
    -----
    Polynomials of degree 3 and 5, each the best on the interval that the one before left behind,
    widened by what rounding may do; the cheapest sequence where a pass over memory and a call cost
    what they cost on an accelerator. Found once, cached.

    Examples
    --------
    >>> from specdesc import plan_orthogonalization
    >>> plan = plan_orthogonalization((256, 256), "float64", tol=3e-2, floor=1e-3)
    >>> plan.degrees, plan.products
    ((5, 5, 5, 5, 5, 5), 19)
    """
    check_fraction(tol, "tol")
    check_fraction(floor, "floor")
    if dtype not in _DTYPES:
        msg = f"dtype must be one of {', '.join(_DTYPES)}, got {dtype!r}"
        raise ValueError(msg)
    if len(shape) < 2 or any(size < 1 for size in shape):
        msg = f"shape must have at least two sizes, all positive, got {tuple(shape)}"
        raise ValueError(msg)
    return _described(tuple(shape), dtype, tol, floor)


def _described(shape: tuple[int, ...], dtype: str, tol: float | None, floor: float | None) -> Plan:
    stored, unit, size = _DTYPES[dtype]
    rows, columns = sorted(shape[-2:])
    goal = plan.goal(tol, stored, half=stored > unit)
    run = plan.fixed((rows, columns), unit, False, goal, floor)
    cast = min(math.sqrt(rows), 4.0) * stored / 2 if stored > unit else 0.0
    steps = tuple(step for segment in run.segments for step in segment)
    return Plan(
        tuple(step.degree for step in steps),
        tuple(step.coefficients for step in steps),
        plan.promise(run, (rows, columns), unit) + cast,
        run.products,
        # The iterate, the next one and a copy of x; R, its square, and three more in degree 17
        # where the matrix is too small for panels.
        math.prod(shape[:-2]) * size * (3 * rows * columns + 5 * rows * rows),
    )
