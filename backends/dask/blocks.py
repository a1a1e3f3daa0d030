"""Functions of matrices and of entries, run on the chunks by the library of the chunks."""

from collections.abc import Callable
from math import nan
from typing import Any, NamedTuple

import numpy as np

import dask.array
from specdesc._lib.typing import Array
from specdesc.backends.entry import bound_to

#: Entries that a function of entries takes at once: they stay in a cache.
PIECE = 2**17

#: A function of a backend and arrays.
Kernel = Callable[..., Any]


class Form(NamedTuple):
    """The outputs of a kernel: how they are held together, and what each matrix has of them."""

    pack: Callable[[list[Any]], Any]
    shapes: list[tuple[int, ...] | None]  # without the stack; None stands for no output
    dtypes: list[Any]


def is_whole(x: Array, /) -> bool:
    """Say whether every matrix lies in one chunk."""
    return bool(x.numblocks[-2:] == (1, 1))


def gathered(x: Array, /) -> Array:
    """Return `x` with each matrix in one chunk."""
    return x if is_whole(x) else x.rechunk({x.ndim - 2: -1, x.ndim - 1: -1})


def whole(kernel: Kernel, x: Array, /, *others: Array | None) -> Any:
    """Run a kernel chunk by chunk on a stack whose matrices lie in one chunk each.

    `others` have the batch shape in front, or no axes.
    """
    form = form_of(kernel, x.shape[-2:], x, others)
    given = [other for other in others if other is not None]

    def run(x: Array, *rest: Array) -> Any:
        parts = flat(called(kernel, x, filled(others, rest)))
        parts = [np.asanyarray(part) for part in parts if part is not None]
        return parts[0] if len(parts) == 1 else tuple(parts)

    return form.pack(mapped(run, form, x, given))


def mapped(run: Callable[..., Any], form: Form, x: Array, others: list[Array]) -> list[Any]:
    """Return one lazy array for each output of `run`, a function of whole matrices."""
    batch = x.ndim - 2
    inputs = [f"({_names(0, 2)})"]
    arrays = [x]
    for number, other in enumerate(others, 1):
        core = max(0, other.ndim - batch)
        inputs.append(f"({_names(number, core)})")
        arrays.append(_beside(other, x.chunks[:batch], other.ndim - core))
    outputs: list[str] = []
    sizes: dict[str, int] = {}
    there = [shape for shape in form.shapes if shape is not None]
    for number, shape in enumerate(there, len(arrays)):
        names = _names(number, len(shape))
        outputs.append(f"({names})")
        sizes.update(zip(filter(None, names.split(",")), shape, strict=True))
    metas = [
        np.empty((0,) * (batch + len(shape)), dtype=dtype)
        for shape, dtype in zip(there, form.dtypes, strict=True)
    ]
    found = dask.array.apply_gufunc(
        run,
        f"{','.join(inputs)}->{','.join(outputs)}",
        *arrays,
        output_sizes=sizes,
        meta=tuple(metas) if len(metas) > 1 else metas[0],
    )
    parts = iter(found if len(there) > 1 else [found])
    return [None if shape is None else next(parts) for shape in form.shapes]


def _beside(other: Array, chunks: tuple[tuple[int, ...], ...], loop: int) -> Array:
    """Return an array with these chunks on its first axes, as many as `loop`, and one on the rest.

    Axes are matched from the right; those of size one are broadcast.
    """
    own: dict[int, Any] = dict.fromkeys(range(loop, other.ndim), -1)
    for axis in range(loop):
        wanted = chunks[len(chunks) - loop + axis]
        own[axis] = wanted if sum(wanted) == other.shape[axis] else -1
    return dask.array.asarray(other).rechunk(own)


def _names(number: int, count: int) -> str:
    return ",".join(f"a{number}x{axis}" for axis in range(count))


def form_of(kernel: Kernel, sides: tuple[int, ...], x: Array, others: tuple[Any, ...]) -> Form:
    """Learn the outputs of a kernel from an empty stack of matrices."""
    batch = max(1, x.ndim - 2)
    empty = np.empty((*[0] * batch, *sides), dtype=x.dtype)
    made = [None if other is None else _emptied(other, x.ndim - 2) for other in others]
    found = called(kernel, empty, made)
    parts = flat(found)
    there = [part for part in parts if part is not None]
    return Form(
        pack=_packing(found),
        shapes=[None if part is None else tuple(part.shape[batch:]) for part in parts],
        dtypes=[part.dtype for part in there],
    )


def _emptied(other: Array, batch: int) -> Array:
    """Return an array like `other` of an empty stack; numbers without axes stay so."""
    core = other.shape[min(batch, other.ndim) :] if other.ndim > batch else ()
    front = min(batch, other.ndim) if batch else int(bool(core))
    # A stack of one, where it had none, is the axis that the empty one has.
    return np.zeros((*[0] * front, *core), dtype=other.dtype)


def called(kernel: Kernel, x: Array, others: Any) -> Any:
    """Run a kernel on a chunk with the backend of its library."""
    backend = bound_to(x)
    with backend.guard(x):
        return kernel(backend, x, *others)


def filled(others: tuple[Any, ...], rest: tuple[Array, ...]) -> list[Array | None]:
    """Return `rest` with None where `others` has it."""
    parts = iter(rest)
    return [None if other is None else next(parts) for other in others]


def flat(found: Any) -> list[Any]:
    """Return the outputs of a kernel as a list."""
    return list(found) if isinstance(found, tuple) else [found]


def _packing(found: Any) -> Callable[[list[Any]], Any]:
    if not isinstance(found, tuple):
        return lambda parts: parts[0]
    make: Callable[[list[Any]], Any] = getattr(type(found), "_make", tuple)  # named tuples
    return make


def entry_by_entry(kernel: Kernel, x: Array, /, *others: Array) -> Array:
    """Run a kernel of entries chunk by chunk; NaN where an entry is not finite.

    `others` broadcast against `x`, and have as many axes or none.
    """

    def piece(x: Array, *rest: Array) -> Array:
        finite = np.isfinite(x)
        if finite.all():
            return called(kernel, x, rest)
        return np.where(finite, called(kernel, np.where(finite, x, 0), rest), x.dtype.type(nan))

    def run(x: Array, *rest: Array) -> Array:
        # A chunk is as large as memory allows: what the kernel makes on its way is not.
        if x.size <= PIECE or x.shape[-2] == 1:
            return piece(x, *rest)
        out = np.empty_like(x)
        step = max(1, PIECE * x.shape[-2] // x.size)
        for start in range(0, x.shape[-2], step):
            rows = slice(start, start + step)
            own = [y[..., rows, :] if y.ndim and y.shape[-2] > 1 else y for y in rest]
            out[..., rows, :] = piece(x[..., rows, :], *own)
        return out

    given = [_beside(other, x.chunks, other.ndim) for other in others]
    return dask.array.map_blocks(run, x, *given, dtype=x.dtype, meta=x._meta)
