"""dask: element-wise work, reductions and products of chunked arrays; nothing is computed."""

import array_api_compat.dask.array

import dask.array
from specdesc._lib.typing import Array, Device
from specdesc.backends import Backend, Capabilities


class DaskBackend(Backend):
    """Lazy chunked arrays of dask."""

    name = "dask"
    xp = array_api_compat.dask.array
    capabilities = Capabilities.read(__name__)
    warns = True  # NumPy does, when chunks are computed

    def owns(self, kind: type, /) -> bool:
        """Claim dask arrays."""
        return issubclass(kind, dask.array.Array)

    def may_branch(self, x: Array, /) -> bool:
        """Say no: looking at a value would compute the whole graph."""
        return False

    def device(self, x: Array, /) -> Device:
        """Return None: chunks live where their library put them."""
        return None

    def devices(self) -> tuple[str, ...]:
        """Return the host."""
        return ("cpu",)

    def from_host(self, values: Array, /, *, dtype: str, device: str | None = None) -> Array:
        """Wrap `values` with one chunk a matrix."""
        if device not in (None, "cpu"):
            msg = f"dask has the device 'cpu', not {device!r}"
            raise ValueError(msg)
        return dask.array.from_array(values.astype(dtype), chunks=values.shape)

    def to_host(self, x: Array, /) -> Array:
        """Compute `x`."""
        return x.compute()


BACKEND = DaskBackend()
