"""Matrices of a stack that go different ways, where code may look at values."""

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from specdesc._lib.typing import Array
from specdesc.backends import Backend

#: What tells matrices apart.
Key = TypeVar("Key", bound=Hashable)


def groups(keys: Iterable[Key], /) -> dict[Key, list[int]]:
    """Return the positions of each key."""
    positions: dict[Key, list[int]] = {}
    for i, key in enumerate(keys):
        positions.setdefault(key, []).append(i)
    return positions


def floats(x: Array, /, *, backend: Backend) -> list[float]:
    """Return the numbers of an array."""
    flat = backend.xp.reshape(x, (-1,))
    return [float(flat[i]) for i in range(flat.shape[0])]


def flags(x: Array, /, *, backend: Backend) -> list[bool]:
    """Return booleans per matrix; most stacks agree, and one look at all costs less than many."""
    size = 1 if x.ndim == 0 else x.shape[0]
    if bool(backend.xp.all(x)):
        return [True] * size
    if not bool(backend.xp.any(x)):
        return [False] * size
    return [bool(x[i]) for i in range(size)]


def take(
    arrays: Sequence[Array | None], members: Sequence[int], count: int, /, *, backend: Backend
) -> list[Array]:
    """Return the members of stacks of `count` matrices, in their order; None stays None.

    All of them are the arrays as they are, which need no axis of the stack then.
    """
    if len(members) == count:
        return list(arrays)
    xp = backend.xp
    index = xp.asarray(list(members), device=backend.placement)
    return [y if y is None else xp.take(y, index, axis=0) for y in arrays]


def merge(
    parts: Sequence[Iterable[Array]], places: Sequence[Sequence[int]], /, *, backend: Backend
) -> list[Array]:
    """Put back together what `take` took apart."""
    if len(parts) == 1:
        return list(parts[0])
    xp = backend.xp
    order = [i for members in places for i in members]
    back = sorted(range(len(order)), key=order.__getitem__)
    index = xp.asarray(back, device=backend.placement)
    return [xp.take(xp.concat(list(ys), axis=0), index, axis=0) for ys in zip(*parts, strict=True)]
