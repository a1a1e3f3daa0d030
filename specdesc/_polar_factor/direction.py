"""The orthogonal factor as the direction of a step: as exact as was asked for, and no more."""

from typing import NamedTuple

from specdesc._lib.checks import check_fraction
from specdesc._lib.dtypes import is_complex
from specdesc._lib.typing import Array
from specdesc._polar_factor.method import Method, Request
from specdesc._polar_factor.solvers import on_device, orthogonal_factor
from specdesc.backends import Backend
from specdesc.backends.entry import check_supported

#: What None asks for on a device, where working accuracy would cost steps that no method feels.
DEVICE_TOL, DEVICE_FLOOR = 3e-2, 1e-3

#: What a factor may be computed in, by name.
DTYPES = ("bfloat16", "float16", "float32", "float64", "complex64", "complex128")


class Accuracy(NamedTuple):
    """What is asked of a direction: the options of `orthogonalize`, and a dtype to compute in."""

    tol: float | None = None
    floor: float | None = None
    dtype: str | None = None

    @property
    def given(self) -> bool:
        """Whether anything was asked for."""
        return self != Accuracy()


def check_accuracy(accuracy: Accuracy, /) -> None:
    """Raise `ValueError` for a `tol` or `floor` outside (0, 1) and for an unknown dtype."""
    check_fraction(accuracy.tol, "tol")
    check_fraction(accuracy.floor, "floor")
    if accuracy.dtype not in (None, *DTYPES):
        msg = f"dtype must be one of {', '.join(DTYPES)}, got {accuracy.dtype!r}"
        raise ValueError(msg)


def direction(
    x: Array, accuracy: Accuracy, method: Method = "auto", /, *, backend: Backend
) -> Array:
    """Return U Vᴴ of x = U S Vᴴ, in the dtype that was asked for; NaN for what is not finite.

    Without a `tol` that is to working accuracy, and on a device to `DEVICE_TOL`.
    """
    check_supported("orthogonalize", backend)
    xp, (tol, floor, name) = backend.xp, accuracy
    if name is not None:
        dtype = getattr(xp, name, None)
        if dtype is None or is_complex(xp, dtype) != is_complex(xp, x.dtype):
            msg = f"dtype must suit {x.dtype} of {backend.name}, got {name!r}"
            raise ValueError(msg)
        x = xp.astype(x, dtype, copy=False)
    if tol is None and method == "auto" and on_device(x, backend):
        tol, floor = DEVICE_TOL, floor or DEVICE_FLOOR
    return orthogonal_factor(x, Request(tol, floor, method), backend=backend)[0]
