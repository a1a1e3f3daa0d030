"""A derivative that autograd and functorch use in place of that of the operations."""

from collections.abc import Callable
from typing import Any

import torch
from specdesc._typing import Array
from specdesc.backends import Derivative

Function = Callable[[Array], tuple[Array, ...]]


def attached(function: Function, derivative: Derivative, /) -> Function:
    """Return the function with its derivative, and without one where nothing asks for any."""

    def call(x: Array) -> tuple[Array, ...]:
        if torch.compiler.is_compiling():
            # The compiler traces gradients, and refuses forward mode even where it is not used.
            asked = torch.is_grad_enabled() and x.requires_grad
            return _Reverse.apply(x, function, derivative) if asked else function(x)
        return _Both.apply(x, function, derivative) if _asked(x) else function(x)

    return call


def _asked(x: Array) -> bool:
    if torch.is_grad_enabled() and x.requires_grad:
        return True
    # Under vmap neither the flag nor the tangent shows through the wrapper.
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(x)
    return bool(wrapped) or torch.autograd.forward_ad.unpack_dual(x).tangent is not None


class _Reverse(torch.autograd.Function):  # type: ignore[misc]  # torch is not read by mypy
    """Runs a function without recording it, and pulls gradients back by a `Derivative`."""

    @staticmethod
    def forward(x: Array, function: Function, derivative: Derivative) -> tuple[Array, ...]:
        # Forward mode refuses tangents for a view, such as the adjoint of a wide result.
        return tuple(torch.clone(y) for y in function(x))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Array, ...]) -> None:
        x, _, derivative = inputs
        ctx.derivative = derivative
        # The input alone: the derivative is computed from it anew.
        ctx.save_for_backward(x)
        ctx.mark_non_differentiable(*output[derivative.outputs :])

    @staticmethod
    def backward(ctx: Any, *cotangents: Array) -> tuple[Array, None, None]:
        # Gradients of torch are those of the inner product that the derivative speaks of.
        (x,) = ctx.saved_tensors
        derivative = ctx.derivative
        return derivative.cotangent(x, cotangents[: derivative.outputs]), None, None


class _Both(_Reverse):
    """The same with forward mode, and with stacks in place of a loop."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Array, ...]) -> None:
        _Reverse.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[0])
        ctx.still = len(output) - inputs[2].outputs

    @staticmethod
    def jvp(ctx: Any, dx: Array, *_: None) -> tuple[Array | None, ...]:
        (x,) = ctx.saved_tensors
        return (*ctx.derivative.tangent(x, dx), *[None] * ctx.still)

    @staticmethod
    def vmap(
        _: Any,
        axes: tuple[int, None, None],
        x: Array,
        function: Function,
        derivative: Derivative,
    ) -> tuple[tuple[Array, ...], int]:
        return _Both.apply(torch.movedim(x, axes[0], 0), function, derivative), 0
