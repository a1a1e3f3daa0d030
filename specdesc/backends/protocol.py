"""The backend protocol: what only one array library can do."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from specdesc._lib.typing import Array, Device, Namespace
from specdesc.backends.capabilities import Capabilities


class Derivative(NamedTuple):
    """The derivative of a function in its first array, for libraries that differentiate.

    Both maps are linear over the reals in their second argument, and adjoint to one another in the
    inner product Re sum(conj(a) b). They see neither the function nor what it did with its buffers;
    the other arrays of the function come behind.

    Attributes
    ----------
    tangent : callable
        ``(x, dx, *others)`` to the tangents of the first outputs; those behind have none.
    cotangent : callable
        ``(x, cotangents, *others)`` of as many outputs to the gradient with respect to x.
    outputs : int
        How many outputs have a derivative.
    """

    tangent: Callable[..., tuple[Array, ...]]
    cotangent: Callable[..., Array]
    outputs: int


#: The children of a container by name, and the way back from as many new ones.
Opened = tuple[list[tuple[str, Any]], Callable[[list[Any]], Any]]


class Backend(Protocol):
    """What a leaf exports under the name ``BACKEND``.

    The members with a body are defaults that a leaf inherits by naming this class as its base.
    """

    name: str
    xp: Namespace
    capabilities: Capabilities
    #: Kernels that replace agnostic ones of the same name and contract.
    kernels: Mapping[str, Callable[..., Array]] = MappingProxyType({})
    #: Up to so many numbers a tall block is orthonormalized by reflections where code may look.
    #:
    #: Larger ones are by Cholesky factors. Measured.
    reflections: float = 4096.0

    def owns(self, kind: type, /) -> bool:
        """Say whether objects of this type are arrays of this library, traced ones included."""
        ...

    def may_branch(self, x: Array, /) -> bool:
        """Say whether code may read values of `x` without waiting for a device or a tracer."""
        ...

    def multiplies(self, x: Array, /) -> bool:
        """Say whether products of matrices like `x`, in half precision, are fast and exact.

        That is, faster than those in float32, and added up in float32.
        """
        return False

    def device(self, x: Array, /) -> Device:
        """Return the device that new arrays next to `x` are made on, None for no choice."""
        ...

    def devices(self) -> tuple[str, ...]:
        """Return the devices of this machine that the library can use, by name."""
        ...

    def from_host(self, values: Array, /, *, dtype: str, device: str | None = None) -> Array:
        """Make an array of this library from a NumPy array."""
        ...

    def to_host(self, x: Array, /) -> Array:
        """Copy `x` into a NumPy array: for files and reports, never inside a computation."""
        ...

    def check(self, x: Array, /) -> None:
        """Raise `TypeError` for arrays of the library that the mathematics cannot take."""
        return

    def guard(self, x: Array, /) -> AbstractContextManager[object]:
        """Return the context that work on `x` runs in, such as its device."""
        return nullcontext()

    def differentiable(
        self, function: Callable[..., tuple[Array, ...]], derivative: Derivative, /
    ) -> Callable[..., tuple[Array, ...]]:
        """Return a function of arrays with this derivative in place of that of its operations."""
        return function

    def open_node(self, node: object, /) -> Opened | None:
        """Return what is inside a container that this library knows, None for anything else.

        That is the children by name, and the way back from as many new ones.
        """
        return None

    def synchronize(self) -> None:
        """Wait until everything that was started is done: for clocks, never inside a kernel."""
        return
