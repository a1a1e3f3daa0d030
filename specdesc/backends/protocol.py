"""What a leaf says of its array library, and where the arrays of a call are."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple

from specdesc._lib.typing import Array, Device, Namespace
from specdesc.backends.capabilities import Capabilities
from specdesc.backends.primitives import Primitives


class Derivative(NamedTuple):
    """The derivative of a function of arrays, for libraries that differentiate.

    Both maps are linear over the reals in their second argument, and adjoint to one another in the
    inner product Re sum(conj(a) b). They see neither the function nor what it did with its buffers.

    Attributes
    ----------
    tangent : callable
        Takes all arrays of the function and the tangents of the first `inputs` of them to the
        tangents of the first outputs; those behind have none.
    cotangent : callable
        Takes all arrays and the cotangents of as many outputs to the gradients with respect to the
        first `inputs` arrays.
    outputs : int
        How many outputs have a derivative.
    inputs : int
        In how many arrays, the first ones.
    twice : bool
        Whether these maps may be differentiated themselves. Where not, a library raises
        `NotImplementedError` for a second derivative in the first array.
    where : callable, optional
        Takes the first array to a boolean array: at which matrices they may be. A library asks
        where it may read values, and raises as well.
    """

    tangent: Callable[[tuple[Array, ...], tuple[Array, ...]], tuple[Array, ...]]
    cotangent: Callable[[tuple[Array, ...], tuple[Array, ...]], tuple[Array, ...]]
    outputs: int = 1
    inputs: int = 1
    twice: bool = True
    where: Callable[[Array], Array] | None = None


#: What a leaf says where a `Derivative` may not be differentiated.
ONCE = "second derivatives of functions of singular values and of norms are not available"


#: The children of a container by name, and the way back from as many new ones.
Opened = tuple[list[tuple[str, Any]], Callable[[list[Any]], Any]]


class Backend(ABC):
    """What only one array library can do. A leaf derives from it, and exports one as ``BACKEND``.

    Behind the door of a public function it is bound to the arrays of the call: `branches`,
    `placement` and `primitives` are those of their library, device and tracer, and nothing asks
    again.

    Parameters
    ----------
    branches : bool
        Whether code may read values without waiting for a device or a tracer.
    placement : device or None
        Where new arrays are made, None for the library's own choice.
    """

    name: str
    xp: Namespace
    capabilities: Capabilities
    # The products, sums and solutions of this library.
    primitives_type: ClassVar[type[Primitives]] = Primitives
    #: Up to so many numbers a tall block is orthonormalized by reflections where code may look.
    #:
    #: Larger ones are by Cholesky factors. Measured.
    reflections: ClassVar[float] = 4096.0
    # Whether arithmetic with a NaN or an inf gives a warning: then it is kept away from them.
    warns: ClassVar[bool] = False
    # Whether the library may have been told to stop at a NaN that it makes: then none is made of
    # a literal, but by arithmetic with what is not finite, so that it stops at that.
    traps: ClassVar[bool] = False
    # What decompositions of the library raise when they give up on a finite matrix.
    not_converged: ClassVar[tuple[type[Exception], ...]] = ()
    # Called with an array, makes the context that work on it runs in, such as its device.
    guard: ClassVar[Callable[..., AbstractContextManager[object]]] = nullcontext

    def __init__(self, branches: bool = False, placement: Device = None) -> None:
        self.branches = branches
        self.placement = placement
        self.primitives = self.primitives_type(self.xp, placement)

    def bound(self, branches: bool, placement: Device, /) -> "Backend":
        """Return this backend for arrays in one place."""
        return type(self)(branches, placement)

    @abstractmethod
    def owns(self, kind: type, /) -> bool:
        """Say whether objects of this type are arrays of this library, traced ones included."""

    def of_type(self, kind: type, /) -> "Backend":
        """Return the backend for arrays of one type: this one, unless the library has several."""
        return self

    @abstractmethod
    def may_branch(self, x: Array, /) -> bool:
        """Say whether code may read values of `x` without waiting for a device or a tracer."""

    @abstractmethod
    def device(self, x: Array, /) -> Device:
        """Return the device of `x`, None where there is no choice or nobody knows."""

    def place(self, x: Array, /) -> Device:
        """Return what `placement` becomes next to `x`: hashable, or None."""
        return self.device(x)

    def layout(self, x: Array, /) -> str:
        """Return what arrays share that are stacked where they are: their device."""
        return str(self.device(x))

    @abstractmethod
    def devices(self) -> tuple[str, ...]:
        """Return the devices of this machine that the library can use, by name."""

    @abstractmethod
    def from_host(self, values: Array, /, *, dtype: str, device: str | None = None) -> Array:
        """Make an array of this library from a NumPy array."""

    @abstractmethod
    def to_host(self, x: Array, /) -> Array:
        """Copy `x` into a NumPy array: for files and reports, never inside a computation."""

    def multiplies(self, x: Array, /) -> bool:
        """Say whether products of matrices like `x`, in half precision, are fast and exact.

        That is, faster than those in float32, and added up in float32.
        """
        return False

    def check(self, x: Array, /) -> None:
        """Raise `TypeError` for arrays of the library that the mathematics cannot take."""
        return

    # Whether `differentiable` does anything.
    differentiates: ClassVar[bool] = False

    def differentiable(
        self, function: Callable[..., tuple[Array, ...]], derivative: Derivative, /
    ) -> Callable[..., tuple[Array, ...]]:
        """Return a function of arrays with this derivative in place of that of its operations."""
        return function

    def asks(self, x: Array, /) -> bool:
        """Say whether somebody may ask for a derivative in `x`."""
        return False

    def frozen(self, x: Array, /) -> Array:
        """Return an array through which no derivative flows."""
        return x

    def differential(self, function: Callable[[Array], Array], x: Array, dx: Array, /) -> Array:
        """Return J dx or Jᵀ dx, J being the Jacobian of a function at real `x`.

        Either serves: it is asked for functions that treat all entries alike.
        """
        raise NotImplementedError

    # Whether a matrix may be spread over chunks that are never in memory together: then functions
    # of entries make no entry depend on the others.
    streams: ClassVar[bool] = False

    def per_matrix(
        self,
        kernel: Callable[..., Any],
        x: Array,
        /,
        *others: Array | None,
        spectral: bool = False,
        by_products: bool = False,
    ) -> Any:
        """Return ``kernel(backend, x, *others)``, a function of each matrix of a stack.

        A library of chunks runs it chunk by chunk, with the backend of what the chunks are made of.

        Parameters
        ----------
        kernel : callable
            Returns an array, or a tuple of arrays and None. It takes empty stacks too.
        x : array, shape (..., m, n)
            A stack.
        *others : array or None
            With the batch shape in front, or without axes.
        spectral : bool
            Whether kernel(Q x) is Q kernel(x) for an isometry Q in those outputs that have the long
            side of `x` once, and kernel(x) in the others. Then `x` may be reduced to a small square
            before; what of `others` has the long side is a hint that comes as None.
        by_products : bool
            Whether the kernel is made of products, which some libraries run on matrices in parts.
        """
        return kernel(self, x, *others)

    def per_entry(self, kernel: Callable[..., Array], x: Array, /, *others: Array) -> Array:
        """Return ``kernel(backend, x, *others)``, a function of each entry, with the dtype of `x`.

        `others` have as many axes as `x` and broadcast against it, or have none.
        """
        return kernel(self, x, *others)

    def handed_out(self, x: Array, /) -> Array:
        """Return a stack whose matrices lie whole, each on some device, where several share it."""
        return x

    def open_node(self, node: object, /) -> Opened | None:
        """Return what is inside a container that this library knows, None for anything else.

        That is the children by name, and the way back from as many new ones.
        """
        return None

    def repeat(
        self,
        count: int,
        step: Callable[..., tuple[Array, ...]],
        arrays: tuple[Array, ...],
        /,
    ) -> tuple[Array, ...]:
        """Apply `step` to the arrays, `count` times: each result has their shapes and dtypes."""
        for _ in range(count):
            arrays = step(*arrays)
        return arrays

    def synchronize(self) -> None:
        """Wait until all that was started is done: for clocks, never inside a computation."""
        return
