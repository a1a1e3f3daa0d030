"""AdamW in place, many parameters in one call.

The step is that of `rules.AdamW`, with the sums of a chunk of parameters in one call each. Beside
the model there are never more numbers than a chunk has.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from specdesc._lib.typing import Array
from specdesc.rules import AdamW

from .. import BACKEND
from .items import Item

#: Numbers of a chunk on a processor and on a device; one parameter may have more.
ON_PROCESSOR, ON_DEVICE = 2**18, 2**24

#: Between these a float32 has a square that is neither 0 nor inf.
SMALLEST, LARGEST = 1e-16, 1e18


def suits(item: Item) -> bool:
    """Say whether a step can be made here; the others are made by the rule itself."""
    rule = item.entry.rule
    return (
        type(rule) is AdamW
        and not item.capturable  # the bias of the averages is taken out by a count on the host
        and not callable(rule.step)
        and rule.eps >= SMALLEST
        and not item.p.is_complex()
    )


def advance(items: Iterable[Item]) -> list[Item]:
    """Make one step on each of some parameters, and return those that need the rule itself.

    Those are, where a look is free, the ones with a gradient that is not finite or so large that
    its square is not. Elsewhere there are none: no square is made.
    """
    found = list(items)
    left = [item for item in found if item.p.numel() == 0]
    for chunk in _chunks(item for item in found if item.p.numel() > 0):
        if BACKEND.may_branch(chunk[0].p):
            usual = _usual(chunk)
            left += [item for item, is_usual in zip(chunk, usual, strict=True) if not is_usual]
            _advance([item for item, is_usual in zip(chunk, usual, strict=True) if is_usual], True)
        else:
            _advance(chunk, False)
    return left


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Return parameters that have one dtype, device and count, so many numbers at a time."""
    kinds: dict[tuple[object, ...], list[Item]] = {}
    for item in items:
        kind = (item.p.dtype, item.p.device, item.grad.dtype, item.count())
        kinds.setdefault(kind, []).append(item)
    for alike in kinds.values():
        most = ON_PROCESSOR if BACKEND.may_branch(alike[0].p) else ON_DEVICE
        chunk: list[Item] = []
        numbers = 0
        for item in alike:
            if chunk and numbers + item.p.numel() > most:
                yield chunk
                chunk, numbers = [], 0
            chunk.append(item)
            numbers += item.p.numel()
        yield chunk


def _usual(chunk: list[Item]) -> list[bool]:
    """Say whose gradient is finite and has squares."""
    grads = [item.grad for item in chunk]
    # Euclidean norms, which bound the entries: a processor has them ten times sooner than maxima.
    norms = torch._foreach_norm(grads, 2, dtype=_wide(grads[0]))
    usual: list[bool] = (torch.stack(norms) < LARGEST).tolist()
    return usual


def _wide(x: Array) -> Any:
    return torch.promote_types(x.dtype, torch.float32)


def _advance(chunk: list[Item], usual: bool) -> None:
    rule = chunk[0].entry.rule if chunk else None
    if not isinstance(rule, AdamW) or callable(rule.step):
        return
    first, second = rule.betas
    t = chunk[0].count() + 1
    torch._foreach_add_([item.state["t"] for item in chunk], 1)
    points = [item.p.detach() for item in chunk]
    means = [item.state["mean"] for item in chunk]
    roots = [item.state["root_mean_square"] for item in chunk]
    pulls = [item.grad.to(means[0].dtype) for item in chunk]
    torch._foreach_lerp_(means, pulls, 1.0 - first)
    below = _new_roots(roots, pulls, second, usual)
    # With the bias taken out: the quotient of mean / u1 and root / u2 + eps.
    unbiased = math.sqrt(_one_less(second, t))
    shift = rule.eps * unbiased
    if usual:
        torch._foreach_add_(below, shift)
    else:
        # NaN for a parameter that has one anywhere, or an inf: then all of it is.
        largest = torch.stack(torch._foreach_norm(below, math.inf))
        torch._foreach_add_(below, list((0.0 * largest + shift).unbind()))
    length = -float(rule.step) * unbiased / _one_less(first, t)
    _move(points, means, below, 1.0 - rule.weight_decay * float(rule.step), length)


def _new_roots(roots: list[Array], pulls: list[Array], second: float, usual: bool) -> list[Array]:
    """Write the new averages of the squares, kept as roots, and return a copy of them."""
    if usual:
        squares = list(torch._foreach_mul(roots, roots))
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, pulls, pulls, 1.0 - second)
        torch._foreach_sqrt_(squares)
        torch._foreach_copy_(roots, squares)
        return squares
    torch._foreach_mul_(roots, math.sqrt(second))
    below = list(torch._foreach_mul(pulls, math.sqrt(1.0 - second)))
    for root, x in zip(roots, below, strict=True):
        torch.hypot(root, x, out=root)
    torch._foreach_copy_(below, roots)
    return below


def _move(
    points: list[Array], means: list[Array], below: list[Array], keep: float, length: float
) -> None:
    """Write keep point + length mean / below over each point, rounded once."""
    if points[0].dtype == means[0].dtype:
        if keep != 1.0:
            torch._foreach_mul_(points, keep)
        torch._foreach_addcdiv_(points, means, below, length)
        return
    wide = [point.to(means[0].dtype) for point in points]
    torch._foreach_mul_(wide, keep)
    torch._foreach_addcdiv_(wide, means, below, length)
    torch._foreach_copy_(points, wide)


def _one_less(beta: float, t: int) -> float:
    """Return 1 - beta^t, to full precision also for beta near 1."""
    return -math.expm1(t * math.log(beta)) if beta else 1.0
