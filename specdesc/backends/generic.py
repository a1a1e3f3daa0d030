"""The backend of every library that has no leaf: the standard and nothing else."""

from functools import cache

import array_api_compat

from specdesc._lib.typing import Array, Device, Namespace
from specdesc.backends.capabilities import Capabilities
from specdesc.backends.protocol import Backend

_CAPABILITIES = Capabilities(
    distribution="",
    minimum="",
    dtypes=("float32", "float64", "complex64", "complex128"),
    branches="wherever the arrays are not lazy",
)


class Agnostic(Backend):
    """A namespace that follows the standard, such as array-api-strict."""

    capabilities = _CAPABILITIES

    def __init__(self, xp: Namespace, branches: bool = False, placement: Device = None) -> None:
        self.name = xp.__name__
        self.xp = xp
        super().__init__(branches, placement)

    def bound(self, branches: bool, placement: Device, /) -> "Agnostic":
        """Return this backend for arrays in one place."""
        return Agnostic(self.xp, branches, placement)

    def owns(self, kind: type, /) -> bool:
        """Claim nothing: this backend is the last resort, never an owner."""
        return False

    def may_branch(self, x: Array, /) -> bool:
        """Trust the library's own word on whether it is lazy."""
        return not array_api_compat.is_lazy_array(x)

    def device(self, x: Array, /) -> Device:
        """Return the device of `x`."""
        return array_api_compat.device(x)

    def devices(self) -> tuple[str, ...]:
        """Return the devices that the namespace reports."""
        return tuple(str(d) for d in self.xp.__array_namespace_info__().devices())

    def from_host(self, values: Array, /, *, dtype: str, device: str | None = None) -> Array:
        """Make an array on the default device, or on the one of this name."""
        known = {str(d): d for d in self.xp.__array_namespace_info__().devices()}
        return self.xp.asarray(
            values, dtype=getattr(self.xp, dtype), device=known[device] if device else None
        )

    def to_host(self, x: Array, /) -> Array:
        """Copy through DLPack, the one exchange that the standard has."""
        from specdesc._lib import host  # for reports, never inside a computation

        return host.from_dlpack(x)


@cache
def agnostic(xp: Namespace, /) -> Agnostic:
    """Return the backend of one namespace."""
    return Agnostic(xp)
