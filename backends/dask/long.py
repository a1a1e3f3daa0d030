"""Long matrices in chunks of rows, read twice and never held.

A function that commutes with isometries is taken from the small factor R of X = Q R: f(X) = Q f(R).
R comes from a tree of QR factorizations, chunk by chunk (Demmel, Grigori, Hoemmen and Langou,
2012), and so does Q, whose chunks are made a second time rather than kept. Unlike a Gram matrix, R
has the small singular values of X.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import dask.array
from dask.graph_manipulation import bind
from specdesc._lib.typing import Array

from . import blocks
from .blocks import Form, Kernel

#: Only matrices that are so many times longer than they are wide.
LONG = 4

#: Rows of a panel, in multiples of the columns: LAPACK is the fastest while one is in the cache.
PANEL = 16


def side(x: Array, /) -> int | None:
    """Return the axis of `x` that is long and cut into chunks, None for a matrix without one."""
    m, n = x.shape[-2:]
    if max(m, n) < LONG * min(m, n) or 0 in x.shape:
        return None
    axis = -2 if m > n else -1
    return axis if x.numblocks[axis] > 1 else None


class Part(NamedTuple):
    """One output of a kernel."""

    shape: tuple[int, ...] | None  # of each long matrix; None stands for no output
    small: tuple[int, ...] | None  # of its small factor
    dtype: Any
    is_alike: bool  # of the shape of the matrix

    @property
    def turn(self) -> int | None:
        """Return the axis that is the long one, None for none."""
        if self.shape is None or self.small is None or self.shape == self.small:
            return None
        return -2 if self.shape[-2] != self.small[-2] else -1


def reduced(kernel: Kernel, x: Array, /, *others: Array | None) -> Any | None:
    """Run a kernel that commutes with isometries on the small factor of each matrix.

    Returns None for a kernel with an output that has the long side twice.
    """
    axis = side(x)
    size, n = (x.shape[-2], x.shape[-1]) if axis == -2 else (x.shape[-1], x.shape[-2])
    given = tuple(None if o is None or size in o.shape[x.ndim - 2 :] else o for o in others)
    form = blocks.form_of(kernel, x.shape[-2:], x, given)
    if any(shape is not None and shape[-2:] == (size, size) for shape in form.shapes):
        return None
    small = blocks.form_of(kernel, (n, n), x, given)
    dtypes = iter(form.dtypes)
    parts = [
        Part(shape, own, None if shape is None else next(dtypes), shape == tuple(x.shape[-2:]))
        for shape, own in zip(form.shapes, small.shapes, strict=True)
    ]

    rows = x if axis == -2 else _turned(x)
    rows = rows.rechunk({rows.ndim - 1: -1})
    if min(rows.chunks[-2][:-1]) < PANEL * n:
        rows = rows.rechunk({rows.ndim - 2: PANEL * n})
    counts = tuple(min(count, n) for count in rows.chunks[-2])
    factors = _map(_triangle, [rows], counts, n, _working(x.dtype))
    stacked = factors.rechunk({factors.ndim - 2: -1})

    run = partial(_on_factor, kernel, parts, axis == -2, given)
    made = _small_form(parts, stacked.shape[-2])
    found = iter(blocks.mapped(run, made, stacked, [o for o in given if o is not None]))
    return form.pack([_finished(part, found, rows, counts) for part in parts])


def _on_factor(
    kernel: Kernel,
    parts: list[Part],
    tall: bool,
    given: tuple[Array | None, ...],
    stacked: Array,
    *rest: Array,
) -> Any:
    """Return what the kernel makes of R, times the isometry that R has in the stacked factors."""
    q, r = _top(stacked)
    point = r if tall else _adjoint(r)
    found = blocks.flat(blocks.called(kernel, point, blocks.filled(given, rest)))
    outputs: list[Array] = []
    for value, part in zip(found, parts, strict=True):
        if value is None:
            continue
        out = np.asanyarray(value)
        if part.turn is None:
            outputs.append(out)
            continue
        held = np.zeros(r.shape[:-2], dtype=bool)
        if part.is_alike:
            held = np.all(out == point, axis=(-2, -1))
        outputs += [q @ (out if part.turn == -2 else _adjoint(out)), held[..., None, None]]
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def _small_form(parts: list[Part], rows: int) -> Form:
    """Return the outputs of `_on_factor`."""
    shapes: list[tuple[int, ...] | None] = []
    dtypes: list[Any] = []
    for part in parts:
        if part.small is None:
            continue
        if part.turn is None:
            shapes, dtypes = [*shapes, part.small], [*dtypes, part.dtype]
        else:
            width = part.small[-1] if part.turn == -2 else part.small[-2]
            shapes += [(rows, width), (1, 1)]
            dtypes += [_working(part.dtype), np.dtype(bool)]
    return Form(tuple, shapes, dtypes)


def _finished(
    part: Part, found: Iterator[Array], rows: Array, counts: tuple[int, ...]
) -> Array | None:
    """Return an output of the long matrix, by a second reading where it has the long side."""
    if part.shape is None:
        return None
    own = next(found)
    if part.turn is None:
        return own
    held = next(found)
    own = own.rechunk({own.ndim - 2: counts})
    arrays = [bind(rows, own), own, held]
    function = partial(_applied, kind=part.dtype)
    out = _map(function, arrays, rows.chunks[-2], own.shape[-1], part.dtype)
    return out if part.turn == -2 else _turned(out)


def _turned(x: Array) -> Array:
    return dask.array.conj(x).swapaxes(-1, -2)


def _working(dtype: Any) -> Any:
    return np.dtype("float32") if dtype == np.dtype("float16") else np.dtype(dtype)


def _map(
    function: Callable[..., Array],
    arrays: list[Array],
    rows: tuple[int, ...],
    columns: int,
    dtype: Any,
) -> Array:
    """Map chunks of rows to chunks of these sizes."""
    first = arrays[0]
    return dask.array.map_blocks(
        function,
        *arrays,
        chunks=(*first.chunks[:-2], rows, (columns,)),
        dtype=dtype,
        meta=np.empty((0,) * first.ndim, dtype=dtype),
    )


def _adjoint(x: Array) -> Array:
    return np.conj(np.swapaxes(x, -1, -2))


def _panels(rows: int, columns: int) -> list[slice]:
    step = PANEL * columns
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _triangle(block: Array) -> Array:
    """Return the factor R of a chunk, NaN for a matrix that is not finite there."""
    x, finite = _sound(block)
    pieces = [
        np.linalg.qr(x[..., panel, :].astype(_working(x.dtype), copy=False), mode="r")
        for panel in _panels(*x.shape[-2:])
    ]
    r: Array = pieces[0]
    if len(pieces) > 1:
        r = np.linalg.qr(np.concatenate(pieces, axis=-2), mode="r")
    return np.where(finite, r, r.dtype.type(np.nan))


def _sound(block: Array) -> tuple[Array, Array]:
    finite = np.all(np.isfinite(block), axis=(-2, -1), keepdims=True)
    return (block if finite.all() else np.where(finite, block, 0)), finite


def _top(stacked: Array) -> tuple[Array, Array]:
    """Return Q and R of the factors of all chunks; R is NaN where one of them is."""
    x, finite = _sound(stacked)
    q, r = np.linalg.qr(x)
    return q, np.where(finite, r, r.dtype.type(np.nan))


def _applied(block: Array, part: Array, held: Array, *, kind: Any) -> Array:
    """Return Q of a chunk times its part of a small matrix; the chunk itself where f(R) = R."""
    x, finite = _sound(block)
    panels = _panels(*x.shape[-2:])
    dtype = _working(x.dtype)
    q = np.empty(x.shape, dtype=dtype)
    pieces = []
    for panel in panels:
        rows = slice(panel.start, panel.start + min(panel.stop - panel.start, x.shape[-1]))
        q[..., panel, : rows.stop - rows.start], r = np.linalg.qr(
            x[..., panel, :].astype(dtype, copy=False)
        )
        pieces.append(r)
    if len(pieces) > 1:
        local, _ = np.linalg.qr(np.concatenate(pieces, axis=-2))
        part = local @ part
    out = q if part.shape[-1] == q.shape[-1] else np.empty((*q.shape[:-1], part.shape[-1]), dtype)
    start = 0
    for panel, piece in zip(panels, pieces, strict=True):
        k = piece.shape[-2]
        out[..., panel, :] = q[..., panel, :k] @ part[..., start : start + k, :]
        start += k
    if not finite.all():
        out = np.where(finite, out, out.dtype.type(np.nan))
    if held.any():
        out = np.where(held, block, out)
    return out.astype(kind, copy=False)
