"""PyTorch: CPU and GPU, eager and compiled."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import array_api_compat.torch

import torch
from specdesc._lib.typing import Array, Device
from specdesc.backends import Backend, Capabilities, Derivative

from . import gradients, spread
from .primitives import TorchPrimitives

#: Whether oneDNN multiplies bfloat16 natively on this CPU: asked once, for the tracer's sake.
BFLOAT16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

#: What ``torch.set_float32_matmul_precision`` reduces.
_SINGLE = (torch.float32, torch.complex64)

_NOTHING = nullcontext()


def _is_reduced() -> bool:
    return str(torch.get_float32_matmul_precision()) != "highest"


@contextmanager
def _exact(kind: str, reduced: bool) -> Iterator[None]:
    """Switch autocast off and, for the whole process, reduced float32 products."""
    precision = torch.get_float32_matmul_precision() if reduced else "highest"
    if reduced:
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(kind, enabled=False):
            yield
    finally:
        if reduced:
            torch.set_float32_matmul_precision(precision)


class TorchBackend(Backend):
    """Tensors of PyTorch."""

    name = "torch"
    reflections = float("inf")  # its QR beats two Cholesky factorizations at every size
    xp = array_api_compat.torch
    capabilities = Capabilities.read(__name__)
    primitives_type = TorchPrimitives
    not_converged = (torch.linalg.LinAlgError,)

    def owns(self, kind: type, /) -> bool:
        """Claim tensors and their subclasses: parameters, fake and functional tensors."""
        return issubclass(kind, torch.Tensor)

    def of_type(self, kind: type, /) -> Backend:
        """Return the backend of tensors that are spread over processes, for those."""
        return SPREAD if spread.is_spread(kind) else self

    def check(self, x: Array, /) -> None:
        """Refuse layouts that have no dense linear algebra."""
        if x.layout != torch.strided:
            msg = f"x has the layout {x.layout}; use x.to_dense()"
            raise TypeError(msg)

    def may_branch(self, x: Array, /) -> bool:
        """Say yes on the CPU, outside compile, functorch and fake tensors."""
        return (
            x.device.type == "cpu"
            and type(x) in (torch.Tensor, torch.nn.Parameter)
            and not torch.compiler.is_compiling()
            and not torch._C._functorch.is_functorch_wrapped_tensor(x)
        )

    def multiplies(self, x: Array, /) -> bool:
        """Say yes for an accelerator, and for bfloat16 on a CPU that has instructions for it."""
        if x.device.type != "cpu":
            return True
        return x.dtype == torch.bfloat16 and BFLOAT16

    def device(self, x: Array, /) -> Device:
        """Return the device of `x`."""
        return x.device

    def guard(self, x: Array, /) -> AbstractContextManager[object]:
        """Make products what certificates count: no autocast, no reduced precision of float32."""
        kind = x.device.type
        reduced = not torch.compiler.is_compiling() and x.dtype in _SINGLE and _is_reduced()
        if kind == "meta" or not (reduced or torch.is_autocast_enabled(kind)):
            return _NOTHING
        return _exact(kind, reduced)

    def devices(self) -> tuple[str, ...]:
        """Return the CPU and every accelerator of the kind that torch was built for."""
        if not torch.accelerator.is_available():
            return ("cpu",)
        kind = torch.accelerator.current_accelerator()
        count = torch.accelerator.device_count()
        return ("cpu", *(f"{kind}:{index}" for index in range(count)))

    def from_host(self, values: Array, /, *, dtype: str, device: str | None = None) -> Array:
        """Copy `values` into a new tensor."""
        return torch.tensor(values, dtype=getattr(torch, dtype), device=device)

    def to_host(self, x: Array, /) -> Array:
        """Copy `x`, without its history, with its order of axes in memory."""
        return x.detach().resolve_conj().cpu().numpy().copy(order="K")

    differentiates = True

    def differentiable(
        self, function: Callable[..., tuple[Array, ...]], derivative: Derivative, /
    ) -> Callable[..., tuple[Array, ...]]:
        """Attach both maps where something asks for a derivative, else nothing."""
        return gradients.attached(function, derivative)

    def asks(self, x: Array, /) -> bool:
        """Say whether `x` is recorded, has a tangent, or is wrapped by functorch."""
        return gradients.asked(x)

    def frozen(self, x: Array, /) -> Array:
        """Return the tensor without its history and its tangent."""
        return x.detach()

    def differential(self, function: Callable[[Array], Array], x: Array, dx: Array, /) -> Array:
        """Return Jᵀ dx, in reverse mode."""
        return torch.func.vjp(function, x)[1](dx)[0]

    def synchronize(self) -> None:
        """Wait for the accelerator, if there is one."""
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()


class SpreadBackend(TorchBackend):
    """Tensors of torch.distributed: `DTensor`."""

    xp = spread.NAMESPACE
    primitives_type = spread.SpreadPrimitives
    streams: ClassVar[bool] = True

    def of_type(self, kind: type, /) -> Backend:
        """Return this backend."""
        return self

    def may_branch(self, x: Array, /) -> bool:
        """Say no: a look at a value is a question to all processes."""
        return False

    def place(self, x: Array, /) -> Device:
        """Return where new arrays are made: beside the parts of `x`, or on every process."""
        return spread.Place(x.device_mesh, tuple(x.placements), tuple(x.shape), x.device)

    def per_matrix(
        self,
        kernel: Callable[..., Any],
        x: Array,
        /,
        *others: Array | None,
        spectral: bool = False,
        by_products: bool = False,
    ) -> Any:
        """Run `kernel` on whole matrices, each on some process, or on long ones where they are."""
        if by_products and spread.is_long(x):
            return kernel(self, x, *others)
        return spread.per_matrix(kernel, x, others)

    def per_entry(self, kernel: Callable[..., Array], x: Array, /, *others: Array) -> Array:
        """Run `kernel` on the part that is here."""
        return spread.per_entry(kernel, x, others)


BACKEND = TorchBackend()
SPREAD = SpreadBackend()
