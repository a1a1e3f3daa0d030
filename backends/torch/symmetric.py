"""Products of a matrix with its own transpose at half of their flops, by a Triton kernel.

BLAS has no such product in half precision. Tiles that reach below the diagonal are computed and
written twice, once mirrored, so that the result is symmetric to the last bit. Triton comes with
every build of torch for CUDA, and is imported with this module alone.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

import torch
from specdesc._lib.typing import Array


class Tiles(NamedTuple):
    """How a product is cut: fixed, since a search would take longer than a training step."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    copies: bool  # whether the tensor memory accelerator loads the tiles of contiguous matrices


#: The fastest of those that were measured on an H200 (`benchmarks/results`).
TILES = Tiles(128, 256, 64, 8, 3, copies=True)

#: Neighbouring programs share so many rows of tiles, which stay in the cache.
GROUP = 8


def product(
    x: Array,
    /,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    c: Array | None = None,
    out: Array | None = None,
    tiles: Tiles = TILES,
) -> Array:
    """Return ``beta c + alpha x x^T`` of real matrices, for a symmetric `c`.

    Parameters
    ----------
    x : tensor, shape (..., m, n)
        Of any strides.
    alpha, beta : float
        The factors.
    c : tensor, shape (..., m, m), optional
        Symmetric; only its lower triangle is read.
    out : tensor, shape (..., m, m), optional
        Where the result goes, and neither of the operands.
    tiles : Tiles
        How the product is cut.

    Returns
    -------
    tensor, shape (..., m, m)
        Added up in float32 and rounded once, symmetric to the last bit.
    """
    rows, columns = x.shape[-2:]
    if out is None:
        out = torch.empty((*x.shape[:-1], rows), dtype=x.dtype, device=x.device)
    flat, target = _stack(x), _stack(out)
    added = target if c is None else _stack(c)
    # The accelerator wants rows of contiguous numbers that start at multiples of 16 bytes.
    copies = tiles.copies and flat.is_contiguous() and columns * x.element_size() % 16 == 0
    source = flat
    if copies:
        lines = flat.view(-1, columns)
        source = (
            TensorDescriptor.from_tensor(lines, [tiles.rows, tiles.depth]),
            TensorDescriptor.from_tensor(lines, [tiles.columns, tiles.depth]),
        )
    else:
        source = (flat, flat)
    grid = (-(-rows // tiles.rows) * -(-rows // tiles.columns), flat.shape[0])
    _lower_triangle[grid](
        *source,
        added,
        target,
        rows,
        columns,
        *flat.stride(),
        *added.stride(),
        *target.stride(),
        alpha,
        beta,
        ADDED=c is not None,
        COPIES=copies,
        ROWS=tiles.rows,
        COLUMNS=tiles.columns,
        DEPTH=tiles.depth,
        GROUP=GROUP,
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )
    return out


def _stack(x: Array) -> Array:
    return x.unsqueeze(0) if x.ndim == 2 else x.flatten(end_dim=-3)


@triton.jit  # type: ignore[untyped-decorator]
def _lower_triangle(  # type: ignore[no-untyped-def]
    x_rows,
    x_columns,
    c,
    out,
    rows,
    columns,
    x_batch,
    x_row,
    x_column,
    c_batch,
    c_row,
    c_column,
    out_batch,
    out_row,
    out_column,
    alpha,
    beta,
    ADDED: tl.constexpr,
    COPIES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Compute one tile of one matrix if it reaches below the diagonal, and write it twice."""
    number = tl.program_id(0)
    batch = tl.program_id(1).to(tl.int64)
    down, across = tl.cdiv(rows, ROWS), tl.cdiv(rows, COLUMNS)
    first_of_group = number // (GROUP * across) * GROUP
    height = min(down - first_of_group, GROUP)
    i = first_of_group + number % (GROUP * across) % height
    j = number % (GROUP * across) // height
    if j * COLUMNS > i * ROWS + ROWS - 1:
        return
    first = i * ROWS + tl.arange(0, ROWS)
    second = j * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    if COPIES:
        line = (batch * rows).to(tl.int32)
        for start in range(0, columns, DEPTH):
            a = x_rows.load([line + i * ROWS, start])
            b = x_columns.load([line + j * COLUMNS, start])
            total = tl.dot(a, b.T, total)
    else:
        inner = tl.arange(0, DEPTH)
        left = x_rows + batch * x_batch + first[:, None].to(tl.int64) * x_row
        left += inner[None, :] * x_column
        right = x_columns + batch * x_batch + second[None, :].to(tl.int64) * x_row
        right += inner[:, None] * x_column
        for start in range(0, columns, DEPTH):
            inside = inner < columns - start
            a = tl.load(left, mask=(first[:, None] < rows) & inside[None, :], other=0.0)
            b = tl.load(right, mask=(second[None, :] < rows) & inside[:, None], other=0.0)
            total = tl.dot(a, b, total)
            left += DEPTH * x_column
            right += DEPTH * x_column
    total = total * alpha
    below = (first[:, None] < rows) & (second[None, :] <= first[:, None])
    if ADDED:
        place = first[:, None].to(tl.int64) * c_row + second[None, :] * c_column
        own = tl.load(c + batch * c_batch + place, mask=below, other=0.0)
        total += beta * own.to(tl.float32)
    tile = total.to(out.dtype.element_ty)
    out += batch * out_batch
    place = first[:, None].to(tl.int64) * out_row + second[None, :] * out_column
    tl.store(out + place, tile, mask=below)
    mirrored = second[:, None].to(tl.int64) * out_row + first[None, :] * out_column
    above = (first[None, :] < rows) & (second[:, None] < first[None, :])
    tl.store(out + mirrored, tl.trans(tile), mask=above)
