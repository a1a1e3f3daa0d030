"""A derivative that autograd and functorch use in place of that of the operations."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from specdesc._lib.typing import Array
from specdesc.backends import Derivative
from specdesc.backends.protocol import ONCE

Function = Callable[..., tuple[Array, ...]]


def attached(function: Function, derivative: Derivative, /) -> Function:
    """Return the function with its derivative, and without one where nothing asks for any."""

    def call(*arrays: Array) -> tuple[Array, ...]:
        moving = arrays[: derivative.inputs]
        if torch.compiler.is_compiling():
            # The compiler traces gradients, and refuses forward mode even where it is not used.
            if any(map(asked, moving)):
                return tuple(_Reverse.apply(function, derivative, *arrays))
        elif any(map(asked, moving)) or any(map(_wrapped, arrays)):
            return tuple(_Both.apply(function, derivative, *arrays))
        return function(*arrays)

    return call


def asked(x: Array, /) -> bool:
    """Say whether a derivative in a tensor may be asked for."""
    if torch.is_grad_enabled() and x.requires_grad:
        return True
    if torch.compiler.is_compiling():
        return False
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
        arrays, derivative = ctx.saved_tensors, ctx.derivative
        gradients = derivative.cotangent(arrays, cotangents[: derivative.outputs])
        if not derivative.twice or derivative.where is not None:
            gradients = tuple(_once(gradient, arrays[0], derivative) for gradient in gradients)
        return None, None, *gradients, *[None] * (len(arrays) - derivative.inputs)


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
        arrays, derivative = ctx.saved_tensors, ctx.derivative
        given = tuple(
            torch.zeros_like(x) if dx is None else dx
            for x, dx in zip(arrays, tangents[2 : 2 + derivative.inputs], strict=False)
        )
        moved = derivative.tangent(arrays, given)
        if not derivative.twice or derivative.where is not None:
            moved = tuple(_once(y, arrays[0], derivative) for y in moved)
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


def _once(y: Array, x: Array, derivative: Derivative) -> Array:
    """Return `y`, and refuse to differentiate it in `x` where the derivative says so."""
    if torch.compiler.is_compiling() or not asked(x):
        return y
    # As a partial function: functorch opens tuples among the arguments.
    return _Once.apply(y, x, partial(_check, derivative))


def _check(derivative: Derivative, x: Array, /) -> None:
    if not derivative.twice or (derivative.where and not bool(torch.all(derivative.where(x)))):
        raise NotImplementedError(ONCE)


class _Once(torch.autograd.Function):  # type: ignore[misc]  # torch is not read by mypy
    """Returns its first argument, and lets no derivative in its second pass unchecked."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Array, x: Array, check: Callable[[Array], None]) -> Array:
        return y.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Array) -> None:
        _, x, ctx.check = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, cotangent: Array) -> tuple[Array, None, None]:
        if ctx.needs_input_grad[1]:
            ctx.check(ctx.saved_tensors[0].detach())
        return cotangent, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Array | None, other: Array | None, _: None) -> Array | None:
        if other is not None:
            ctx.check(ctx.saved_tensors[0].detach())
        return tangent
