"""Muon on parameters that are cut over processes: what moves is as little as the factor allows.

Buffers and points are blended where they lie. Of a long matrix rows never move: its factor is made
of sums over the processes. Other matrices are handed out whole, the dearest first, each to the
process that has the least to do: one exchange brings the parts there, another one takes the parts
of the factor back. Every process sends its part of each matrix once, and gets it back once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from specdesc._lib.typing import Array
from specdesc.rules import Muon

from .. import spread
from . import momentum, shards
from .items import Item
from .stacks import ON_DEVICE

if torch.distributed.is_available():
    from torch.distributed import _functional_collectives as collectives


@dataclass(frozen=True)
class Cut:
    """How the parameters of a bucket are cut: along one axis, over the processes of one group."""

    group: Any
    count: int
    rank: int
    axis: int

    def sizes(self, shape: tuple[int, ...]) -> list[int]:
        """Return how much of the axis each process has, as torch cuts it."""
        most = -(-shape[self.axis] // self.count)
        left = [shape[self.axis] - most * i for i in range(self.count)]
        return [max(0, min(most, rest)) for rest in left]


def cut_of(p: Array) -> Cut | None:
    """Return how a tensor is cut, None where that is not along one axis in one dimension."""
    mesh, cuts = p.device_mesh, []
    for i, (size, placement) in enumerate(zip(mesh.shape, p.placements, strict=True)):
        if size > 1 and not placement.is_replicate():
            cuts.append((i, placement))
    if len(cuts) != 1 or not spread.is_cut(cuts[0][1]):
        return None
    ((i, placement),) = cuts
    group = mesh.get_group(i)
    return Cut(group, mesh.shape[i], mesh.get_local_rank(i), placement.dim % p.ndim)


def suits(item: Item) -> bool:
    """Say whether a step of a parameter that is spread can be made here."""
    return momentum.suits(item) and (stays(item) or cut_of(item.p) is not None)


def stays(item: Item) -> bool:
    """Say whether a parameter is a long matrix, whose rows do not move."""
    rule = item.entry.rule
    by_products = isinstance(rule, Muon) and rule.method not in ("svd", "rational")
    return by_products and item.p.ndim == 2 and item.is_plain and spread.is_long(item.p)


def advance(items: Iterable[Item]) -> None:
    """Make one step of Muon on each of some parameters of one group."""
    long: list[Item] = []
    handed: list[Item] = []
    for item in items:
        (long if stays(item) else handed).append(item)
    for bucket in buckets(long, 1):
        _advance_in_place(bucket)
    owners = hand_out(handed, _team)
    # While the matrices of one bucket are worked on those of the next are on their way.
    waiting: Callable[[], None] | None = None
    processes = torch.distributed.get_world_size()
    for bucket in buckets(sorted(handed, key=cost, reverse=True), processes):
        started = _send(bucket, owners)
        if waiting is not None:
            waiting()
        waiting = started
    if waiting is not None:
        waiting()


def buckets(items: list[Item], processes: int) -> list[list[Item]]:
    """Return parameters by shape, dtype and how they are cut, for so many processes to work on."""
    kinds: dict[tuple[object, ...], list[Item]] = {}
    for item in items:
        p = item.p
        lies = (p.device_mesh, p.placements) if shards.is_sharded(p) else (p.device,)
        kinds.setdefault((tuple(p.shape), p.dtype, *lies), []).append(item)
    cut: list[list[Item]] = []
    for kind in kinds.values():
        # As many on each process as a stack may have numbers.
        room = processes * max(1, ON_DEVICE // max(1, kind[0].p.numel()))
        cut += [kind[i : i + room] for i in range(0, len(kind), room)]
    return cut


def cost(item: Item) -> float:
    """Return what a factor costs, in multiplications of a few products."""
    *batch, m, n = item.entry.view.shape
    return prod(batch) * float(min(m, n)) ** 2 * max(m, n)


def hand_out(items: list[Item], team_of: Callable[[Item], tuple[Any, int]]) -> dict[int, int]:
    """Return which process makes the factor of each parameter, by the identity of the items.

    The dearest first, each to the one that has the least: every process finds the same. `team_of`
    says which processes share the work on a parameter, and how many they are.
    """
    loads: dict[Any, list[float]] = {}
    owners: dict[int, int] = {}
    for item in sorted(items, key=cost, reverse=True):
        group, count = team_of(item)
        load = loads.setdefault(group, [0.0] * count)
        least = min(range(count), key=load.__getitem__)
        load[least] += cost(item)
        owners[id(item)] = least
    return owners


def _team(item: Item) -> tuple[Any, int]:
    cut = cut_of(item.p)
    return (None, 1) if cut is None else (cut.group, cut.count)


# --- long matrices -------------------------------------------------------------------------------


def _advance_in_place(bucket: list[Item]) -> None:
    rule = bucket[0].entry.rule
    if not isinstance(rule, Muon):
        return
    parts = [item.on_this_process() for item in bucket]
    ahead = momentum.blend(rule, parts)
    p = bucket[0].p
    placements = spread.shifted(p.placements, p.ndim)
    shape = (len(bucket), *p.shape)
    stack = spread.wrapped(torch.stack(ahead), p.device_mesh, placements, shape)
    factor = momentum.factor_of(rule, stack).to_local()
    momentum.move(rule, tuple(p.shape), parts, list(factor.unbind()))


# --- whole matrices ------------------------------------------------------------------------------


def _send(bucket: list[Item], owners: dict[int, int]) -> Callable[[], None]:
    """Start to bring the parts of matrices together; return what goes on from there."""
    first = bucket[0]
    rule, cut, shape = first.entry.rule, cut_of(first.p), tuple(first.p.shape)
    if not isinstance(rule, Muon) or cut is None:
        return lambda: None  # never: `suits` has said so
    sizes, across = cut.sizes(shape), prod(shape) // max(1, shape[cut.axis])
    held = [[i for i, item in enumerate(bucket) if owners[id(item)] == r] for r in range(cut.count)]
    order, mine = [i for members in held for i in members], held[cut.rank]
    here = [sizes[cut.rank] * across * len(members) for members in held]
    there = [size * across * len(mine) for size in sizes]
    parts = [item.on_this_process() for item in bucket]
    ahead = momentum.blend(rule, parts)
    sent = torch.cat([ahead[i].reshape(-1) for i in order])
    arrived = collectives.all_to_all_single(sent, there, here, cut.group)

    def advance() -> None:
        factors = []
        for i, x in zip(mine, _joined(arrived, len(mine), shape, cut.axis, sizes), strict=True):
            factor = momentum.factor_of(rule, bucket[i].matrices(x))
            factors.append(bucket[i].restored(factor))
        pieces = [x.split(sizes, dim=cut.axis) for x in factors]
        flat = [piece.reshape(-1) for own in zip(*pieces, strict=True) for piece in own]
        factor = torch.cat([*flat, ahead[0].new_empty(0)])
        back = collectives.all_to_all_single(factor, here, there, cut.group)
        steps = back.view(len(bucket), *ahead[0].shape).unbind()
        ordered = [steps[order.index(i)] for i in range(len(bucket))]
        momentum.move(rule, first.entry.view.shape, parts, ordered)

    return advance


def _joined(
    arrived: Array, count: int, shape: tuple[int, ...], axis: int, sizes: list[int]
) -> list[Array]:
    """Return whole parameters from what each process has sent of them."""
    if not count:
        return []
    across = prod(shape) // max(1, shape[axis])
    blocks = arrived.split([size * across * count for size in sizes])
    pieces = [
        block.view(count, *shape[:axis], size, *shape[axis + 1 :]).unbind()
        for block, size in zip(blocks, sizes, strict=True)
    ]
    return [torch.cat(own, dim=axis) for own in zip(*pieces, strict=True)]


# --- parameters that every process has -----------------------------------------------------------


def advance_split(items: Iterable[Item], group: Any) -> None:
    """Make one step of Muon on parameters that every process of a group has.

    Each process makes some of the factors, and all of them write the same: what the maker sent.
    """
    every, count = list(items), torch.distributed.get_world_size(group)
    rank = torch.distributed.get_rank(group)
    owners = hand_out(every, lambda _: (group, count))
    for bucket in buckets(sorted(every, key=cost, reverse=True), count):
        rule = bucket[0].entry.rule
        if not isinstance(rule, Muon):
            continue  # never: `suits` has said so
        ahead = momentum.blend(rule, bucket)
        held = [[i for i, x in enumerate(bucket) if owners[id(x)] == r] for r in range(count)]
        made = torch.zeros(
            (max(map(len, held)), *ahead[0].shape), dtype=ahead[0].dtype, device=ahead[0].device
        )
        for place, i in enumerate(held[rank]):
            made[place] = bucket[i].restored(momentum.factor_of(rule, bucket[i].matrices(ahead[i])))
        every_one = collectives.all_gather_tensor(made, 0, group).view(count, *made.shape)
        steps = [ahead[0]] * len(bucket)
        for r, members in enumerate(held):
            for place, i in enumerate(members):
                steps[i] = every_one[r, place]
        momentum.move(rule, bucket[0].entry.view.shape, bucket, steps)
