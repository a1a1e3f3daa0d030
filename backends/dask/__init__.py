"""dask: chunked arrays; functions run on the chunks, and nothing is computed."""

from collections.abc import Callable
from typing import Any, ClassVar

import dask.array
from specdesc._lib.typing import Array, Device
from specdesc.backends import Backend, Capabilities

from . import blocks, long, namespace


class DaskBackend(Backend):
    """Lazy chunked arrays of dask."""

    name = "dask"
    xp = namespace
    capabilities = Capabilities.read(__name__)
    warns = True  # NumPy does, when chunks are computed
    streams: ClassVar[bool] = True

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

    def per_matrix(
        self,
        kernel: Callable[..., Any],
        x: Array,
        /,
        *others: Array | None,
        spectral: bool = False,
        by_products: bool = False,
    ) -> Any:
        """Run `kernel` on each chunk of whole matrices, and on small factors of long ones."""
        if 0 in x.shape:
            return kernel(self, x, *others)
        if blocks.is_whole(x):
            return blocks.whole(kernel, x, *others)
        found = long.reduced(kernel, x, *others) if spectral and long.side(x) else None
        return kernel(self, x, *others) if found is None else found

    def per_entry(self, kernel: Callable[..., Array], x: Array, /, *others: Array) -> Array:
        """Run `kernel` on each chunk; a NaN or an inf is NaN in its entry alone."""
        return blocks.entry_by_entry(kernel, x, *others)


BACKEND = DaskBackend()
