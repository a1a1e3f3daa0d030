"""Matrices of a stack that go different ways."""

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from specdesc._lib.typing import Array
from specdesc.backends import Backend

#: What tells matrices apart.
Key = TypeVar("Key", bound=Hashable)


def groups(keys: Iterable[Key], /) -> dict[Key, list[int]]:
    """Return the positions of each key."""
    found: dict[Key, list[int]] = {}
    for i, key in enumerate(keys):
        found.setdefault(key, []).append(i)
    return found


def floats(x: Array, /, *, backend: Backend) -> list[float]:
    """Return the numbers of an array that code may look at."""
    flat = backend.xp.reshape(x, (-1,))
    return [float(flat[i]) for i in range(flat.shape[0])]


def take(
    arrays: Iterable[Array | None], members: Sequence[int], /, *, backend: Backend
) -> list[Array | None]:
    """Return the members of flat stacks, in their order; None stays None."""
    xp = backend.xp
    return [
        y if y is None else xp.take(y, xp.asarray(members, device=backend.device(y)), axis=0)
        for y in arrays
    ]


def merge(
    parts: Sequence[Iterable[Array]], places: Sequence[Sequence[int]], /, *, backend: Backend
) -> list[Array]:
    """Put back together what `take` took apart."""
    xp = backend.xp
    order = [i for members in places for i in members]
    back = sorted(range(len(order)), key=order.__getitem__)
    return [
        xp.take(xp.concat(list(ys), axis=0), xp.asarray(back, device=backend.device(ys[0])), axis=0)
        for ys in zip(*parts, strict=True)
    ]
