"""CuPy: NumPy's interface on a CUDA device."""

from contextlib import AbstractContextManager

import array_api_compat.cupy

import cupy
from specdesc._lib.typing import Array, Device
from specdesc.backends import Backend, Capabilities

from .primitives import CuPyPrimitives


class CuPyBackend(Backend):
    """Arrays of CuPy. Nothing waits for the device."""

    name = "cupy"
    xp = array_api_compat.cupy
    capabilities = Capabilities.read(__name__)
    primitives_type = CuPyPrimitives

    def owns(self, kind: type, /) -> bool:
        """Claim CuPy's arrays."""
        return issubclass(kind, cupy.ndarray)

    def may_branch(self, x: Array, /) -> bool:
        """Say no: a value on the host is a wait for the device."""
        return False

    def multiplies(self, x: Array, /) -> bool:
        """Say yes: the tensor cores of every device that CuPy supports do."""
        return True

    def device(self, x: Array, /) -> Device:
        """Return the device of `x`."""
        return x.device

    def place(self, x: Array, /) -> Device:
        """Return None: CuPy's creation functions ignore ``device=``, `guard` makes it current."""
        return None

    def guard(self, x: Array, /) -> AbstractContextManager[object]:
        """Make the device of `x` current."""
        # https://github.com/data-apis/array-api-compat/issues/337
        device: AbstractContextManager[object] = x.device
        return device

    def devices(self) -> tuple[str, ...]:
        """Return the CUDA devices by index."""
        return tuple(f"cuda:{index}" for index in range(cupy.cuda.runtime.getDeviceCount()))

    def from_host(self, values: Array, /, *, dtype: str, device: str | None = None) -> Array:
        """Copy `values` to the current device, or to the one named."""
        named = self.devices()
        if device is not None and device not in named:
            msg = f"cupy has the devices {', '.join(named)}, not {device!r}"
            raise ValueError(msg)
        with cupy.cuda.Device(named.index(device) if device else None):
            return cupy.array(values, dtype=dtype)

    def to_host(self, x: Array, /) -> Array:
        """Copy `x` to the host."""
        return cupy.asnumpy(x)

    def synchronize(self) -> None:
        """Wait for the current device."""
        cupy.cuda.get_current_stream().synchronize()


BACKEND = CuPyBackend()
