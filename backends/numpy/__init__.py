"""NumPy: the CPU backend, and the oracle of all others."""

import array_api_compat.numpy

import numpy
from specdesc._lib.typing import Array, Device
from specdesc.backends import Backend, Capabilities

from .primitives import NumPyPrimitives


class NumPyBackend(Backend):
    """Arrays of NumPy. Everything is eager, on one device."""

    name = "numpy"
    xp = array_api_compat.numpy
    capabilities = Capabilities.read(__name__)
    primitives_type = NumPyPrimitives
    not_converged = (numpy.linalg.LinAlgError,)

    def owns(self, kind: type, /) -> bool:
        """Claim arrays and the scalars that reductions return."""
        return issubclass(kind, (numpy.ndarray, numpy.generic))

    def check(self, x: Array, /) -> None:
        """Refuse the subclasses whose operators mean something else."""
        if isinstance(x, (numpy.matrix, numpy.ma.MaskedArray)):
            advice = "use numpy.asarray(x)"
            if isinstance(x, numpy.ma.MaskedArray):
                # asarray would drop the mask and let in what lies under it.
                advice = "fill what is masked: x.filled(numpy.nan) where NaN marks a missing entry"
            msg = f"a {type(x).__name__} is not an array of the standard; {advice}"
            raise TypeError(msg)

    def may_branch(self, x: Array, /) -> bool:
        """Say yes: values are there to look at."""
        return True

    def device(self, x: Array, /) -> Device:
        """Return None: there is one device and no choice."""
        return None

    def place(self, x: Array, /) -> Device:
        """Return None: there is one device and no choice."""
        return None

    def devices(self) -> tuple[str, ...]:
        """Return the only device."""
        return ("cpu",)

    def from_host(self, values: Array, /, *, dtype: str, device: str | None = None) -> Array:
        """Copy `values` into a new array of this dtype."""
        if device not in (None, "cpu"):
            msg = f"numpy has the device 'cpu', not {device!r}"
            raise ValueError(msg)
        return numpy.array(values, dtype=dtype)

    def to_host(self, x: Array, /) -> Array:
        """Copy `x`."""
        return numpy.array(x)


BACKEND = NumPyBackend()
