"""A derivative that autograd and functorch use in place of that of the operations."""

from collections.abc import Callable
from typing import Any

import torch
from specdesc._lib.typing import Array
from specdesc.backends import Derivative

Function = Callable[..., tuple[Array, ...]]


def attached(function: Function, derivative: Derivative, /) -> Function:
    """Return the function with its derivative, and without one where nothing asks for any."""

    def call(x: Array, *others: Array) -> tuple[Array, ...]:
        if torch.compiler.is_compiling():
            # The compiler traces gradients, and refuses forward mode even where it is not used.
            if torch.is_grad_enabled() and x.requires_grad:
                return tuple(_Reverse.apply(function, derivative, x, *others))
        elif _asked(x) or any(map(_wrapped, others)):
            return tuple(_Both.apply(function, derivative, x, *others))
        return function(x, *others)

    return call


def _asked(x: Array) -> bool:
    if torch.is_grad_enabled() and x.requires_grad:
        return True
    # Under vmap neither the flag nor the tangent shows through the wrapper.
    return _wrapped(x) or torch.autograd.forward_ad.unpack_dual(x).tangent is not None


def _wrapped(x: Array) -> bool:
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(x))


class _Reverse(torch.autograd.Function):  # type: ignore[misc]  # torch is not read by mypy
    """Runs a function without recording it, and pulls gradients back by a `Derivative`."""

    @staticmethod
    def forward(function: Function, derivative: Derivative, *arrays: Array) -> tuple[Array, ...]:
        # Forward mode refuses tangents for a view, such as the adjoint of a wide result.
        return tuple(torch.clone(y) for y in function(*arrays))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Array, ...]) -> None:
        _, derivative, *arrays = inputs
        ctx.derivative = derivative
        # The inputs alone: the derivative is computed from them anew.
        ctx.save_for_backward(*arrays)
        ctx.mark_non_differentiable(*output[derivative.outputs :])

    @staticmethod
    def backward(ctx: Any, *cotangents: Array) -> tuple[Array | None, ...]:
        # Gradients of torch are those of the inner product that the derivative speaks of.
        x, *others = ctx.saved_tensors
        derivative = ctx.derivative
        gradient = derivative.cotangent(x, cotangents[: derivative.outputs], *others)
        return None, None, gradient, *[None] * len(others)


class _Both(_Reverse):
    """The same with forward mode, and with stacks in place of a loop."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Array, ...]) -> None:
        _Reverse.setup_context(ctx, inputs, output)
        _, derivative, *arrays = inputs
        ctx.save_for_forward(*arrays)
        ctx.still = len(output) - derivative.outputs

    @staticmethod
    def jvp(ctx: Any, *tangents: Array | None) -> tuple[Array | None, ...]:
        x, *others = ctx.saved_tensors
        moved = ctx.derivative.tangent(x, tangents[2], *others)
        return (*moved, *[None] * ctx.still)

    @staticmethod
    def vmap(
        info: Any,
        axes: tuple[int | None, ...],
        function: Function,
        derivative: Derivative,
        *arrays: Array,
    ) -> tuple[tuple[Array, ...], int]:
        stacks = (
            x.expand(info.batch_size, *x.shape) if axis is None else torch.movedim(x, axis, 0)
            for x, axis in zip(arrays, axes[2:], strict=True)
        )
        return _Both.apply(function, derivative, *stacks), 0
