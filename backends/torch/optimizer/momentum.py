"""Muon in place: buffers and parameters are written over, the factor is that of the rule.

Beside the model there is one stack of matrices and its factor.
"""

from collections.abc import Iterable

import torch
from specdesc._lib.typing import Array
from specdesc._polar_factor.direction import Accuracy, direction
from specdesc.backends.entry import bound_to
from specdesc.rules import Muon, scale_factor

from .items import Item
from .stacks import stacked

#: Numbers of a view up to which a stack is worth its copies on a processor: measured.
SMALL = 256 * 256


def suits(item: Item) -> bool:
    """Say whether a step can be made here; the others are made by the rule itself."""
    rule = item.entry.rule
    return (
        type(rule) is Muon
        and isinstance(rule.step, (int, float))
        and isinstance(rule.beta, (int, float))
        and rule.decay in ("decoupled", "independent")
        and rule.momentum in ("ema", "heavy_ball")
        and rule.g is None
        and not rule.error_feedback
    )


def advance(items: Iterable[Item]) -> None:
    """Make one step of Muon on each of some parameters of one group."""
    for stack in stacked(items, SMALL, counted=False):
        rule = stack[0].entry.rule
        if isinstance(rule, Muon):
            _advance(rule, stack)


def _advance(rule: Muon, stack: list[Item]) -> None:
    buffers, pulls, weights = _accumulated(rule, stack)
    ahead = _narrowed(rule, _ahead(stack, buffers, pulls, weights))
    factor = factor_of(rule, ahead)
    del ahead
    parts = [factor] if len(stack) == 1 else list(factor.unbind())
    steps = [item.restored(part) for item, part in zip(stack, parts, strict=True)]
    move(rule, stack[0].entry.view.shape, stack, steps)


def _accumulated(
    rule: Muon, items: list[Item]
) -> tuple[list[Array], list[Array], tuple[float, float]]:
    """Add gradients to buffers; return both, and their weights in what is looked at."""
    buffers = [item.state["momentum_buffer"] for item in items]
    pulls = [item.grad.to(item.p.dtype) for item in items]
    if not isinstance(rule.beta, (int, float)):
        return buffers, pulls, (1.0, 0.0)  # never: `suits` has said so
    beta, share = rule.beta, 1.0 - rule.beta
    if rule.momentum == "ema":
        torch._foreach_lerp_(buffers, pulls, share)
    else:
        share = 1.0
        torch._foreach_mul_(buffers, beta)
        torch._foreach_add_(buffers, pulls)
    return buffers, pulls, (beta, share) if rule.nesterov else (1.0, 0.0)


def blend(rule: Muon, items: list[Item]) -> list[Array]:
    """Add gradients to buffers, and return new tensors with what is looked at, one for each."""
    buffers, pulls, weights = _accumulated(rule, items)
    wide = torch.promote_types(buffers[0].dtype, torch.float32)
    blended = list(torch._foreach_mul([x.to(wide) for x in buffers], weights[0]))
    if weights[1]:
        torch._foreach_add_(blended, [x.to(wide) for x in pulls], alpha=weights[1])
    return [_narrowed(rule, x.to(buffers[0].dtype)) for x in blended]


def _narrowed(rule: Muon, ahead: Array) -> Array:
    """Return a tensor in the half precision that the factor is asked for in, if it is."""
    dtype = rule.dtype or rule.polar_dtype
    if dtype in ("bfloat16", "float16") and not ahead.is_complex():
        return ahead.to(getattr(torch, dtype))  # nothing wide lives on beside the factor
    return ahead


def factor_of(rule: Muon, ahead: Array) -> Array:
    """Return the factor of matrices, or of a stack of them."""
    accuracy = Accuracy(rule.tol, rule.floor, rule.dtype or rule.polar_dtype)
    return direction(ahead, accuracy, rule.method, backend=bound_to(ahead))


def _ahead(
    stack: list[Item], buffers: list[Array], pulls: list[Array], weights: tuple[float, float]
) -> Array:
    """Return the stack of beta buffer + share grad, rounded once, in memory of its own."""
    wide = torch.promote_types(buffers[0].dtype, torch.float32)
    whole = torch.stack([item.matrices(x) for item, x in zip(stack, buffers, strict=True)])
    whole = whole.to(wide).mul_(weights[0]) if weights[0] != 1.0 else whole
    if weights[1]:
        parts = [item.matrices(x) for item, x in zip(stack, pulls, strict=True)]
        torch._foreach_add_(list(whole.unbind()), [x.to(wide) for x in parts], alpha=weights[1])
    whole = whole.to(buffers[0].dtype)
    return whole[0] if len(stack) == 1 else whole


def move(rule: Muon, shape: tuple[int, ...], stack: list[Item], steps: list[Array]) -> None:
    """Write keep point - reach step over each point, rounded once, and count.

    `shape` is that of the matrices, which the scale depends on.
    """
    step = rule.step
    if not isinstance(step, (int, float)):
        return  # never: `suits` has said so
    points = [item.p.detach() for item in stack]
    torch._foreach_add_([item.state["t"] for item in stack], 1)
    keep = 1.0 - rule.weight_decay * (step if rule.decay == "decoupled" else 1.0)
    reach = scale_factor(rule.scale, shape, rule.layout) * step
    wide = torch.promote_types(points[0].dtype, torch.float32)
    if points[0].dtype == wide:
        if keep != 1.0:
            torch._foreach_mul_(points, keep)
        torch._foreach_add_(points, [x.to(wide) for x in steps], alpha=-reach)
        return
    for point, x in zip(points, steps, strict=True):
        point.copy_(point.to(wide).mul_(keep).add_(x.to(wide), alpha=-reach))
