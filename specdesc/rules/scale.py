"""How the length of a step depends on the sizes of a matrix."""

import math
from collections.abc import Callable
from typing import Literal, get_args

from specdesc._lib.checks import plain
from specdesc._lib.tracing import opaque

#: The name of a scale rule, or a function of (fan_out, fan_in).
Scale = Literal["keller", "rms_to_rms", "adamw_rms", "none"] | Callable[[int, int], float]

#: Which of the last two axes counts outputs: the first (torch), or the second (JAX, Keras).
Layout = Literal["out_in", "in_out"]

_NAMED: dict[object, Callable[[int, int], float]] = {
    "keller": lambda fan_out, fan_in: math.sqrt(max(1.0, fan_out / fan_in)),
    "rms_to_rms": lambda fan_out, fan_in: math.sqrt(fan_out / fan_in),
    "adamw_rms": lambda fan_out, fan_in: 0.2 * math.sqrt(max(fan_out, fan_in)),
    "none": lambda fan_out, fan_in: 1.0,
}


def scale_factor(scale: Scale, shape: tuple[int, ...], /, layout: Layout = "out_in") -> float:
    """Return what a rule multiplies its step with, for matrices of this shape.

    Parameters
    ----------
    scale : str or callable
        ``"keller"`` is sqrt(max(1, fan_out / fan_in)), ``"rms_to_rms"`` sqrt(fan_out / fan_in),
        ``"adamw_rms"`` 0.2 sqrt(max(fan_out, fan_in)), ``"none"`` 1; or a function of
        (fan_out, fan_in).
    shape : tuple of int
        Of at least two axes; the last two count. For a tensor it is the shape of its matrix view.
    layout : {"out_in", "in_out"}
        Which of the two axes is which.

    Returns
    -------
    float
        1 for an empty matrix.

    Raises
    ------
    ValueError
        An unknown `scale` or `layout`, fewer than two axes, or a function that gives a negative
        number or none.

    Examples
    --------
    >>> from specdesc import rules
    >>> rules.scale_factor("rms_to_rms", (9, 4)), rules.scale_factor("keller", (9, 4), "in_out")
    (1.5, 1.0)
    """
    check_scale(scale, layout)
    if len(shape) < 2:
        msg = f"shape must have at least 2 axes, got {tuple(shape)}"
        raise ValueError(msg)
    first, second = shape[-2:]
    fan_out, fan_in = (first, second) if layout == "out_in" else (second, first)
    return _factor(scale, int(fan_out), int(fan_in))


def check_scale(scale: Scale, layout: Layout, /) -> None:
    """Raise `ValueError` for a scale rule or a layout that does not exist."""
    if not callable(scale) and scale not in _NAMED:
        msg = f"scale must be one of {', '.join(map(str, _NAMED))} or callable, got {scale!r}"
        raise ValueError(msg)
    if layout not in get_args(Layout):
        msg = f"layout must be one of {', '.join(get_args(Layout))}, got {layout!r}"
        raise ValueError(msg)


@opaque
def _factor(scale: Scale, fan_out: int, fan_in: int) -> float:
    if 0 in (fan_out, fan_in):
        return 1.0
    found = scale(fan_out, fan_in) if callable(scale) else _NAMED[scale](fan_out, fan_in)
    factor: float = plain(found)
    if hasattr(factor, "dtype"):  # an array, which may be traced: nobody reads it
        return factor
    if not 0.0 <= factor < math.inf:
        msg = f"scale must give a finite number of at least 0, got {factor!r} for {fan_out, fan_in}"
        raise ValueError(msg)
    return factor
