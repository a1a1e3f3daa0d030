"""Products of a matrix with its own transpose at half of their flops, by a Triton kernel.

BLAS has no such product in half precision. The tiles on and below the diagonal are computed and
written twice, once mirrored, so that the result is symmetric to the last bit. Triton comes with
every build of torch for CUDA, and is imported with this module alone.
"""

from typing import NamedTuple

import triton
import triton.language as tl

import torch
from specdesc._lib.typing import Array


class Tiles(NamedTuple):
    """How a product is cut: fixed, since a search would take longer than a training step."""

    side: int
    depth: int
    warps: int
    stages: int


#: Measured on an H200 (`benchmarks/results`); others were within a few percent, or slower.
TILES = Tiles(128, 64, 4, 3)


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
    shape = (*x.shape[:-1], rows)
    if out is None:
        out = torch.empty(shape, dtype=x.dtype, device=x.device)
    flat, target = _stack(x), _stack(out)
    added = target if c is None else _stack(c)
    side = -(-rows // tiles.side)
    _lower_triangle[(side * (side + 1) // 2, flat.shape[0])](
        flat,
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
        SIDE=tiles.side,
        DEPTH=tiles.depth,
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )
    return out


def _stack(x: Array) -> Array:
    return x.unsqueeze(0) if x.ndim == 2 else x.flatten(end_dim=-3)


@triton.jit  # type: ignore[untyped-decorator]
def _lower_triangle(  # type: ignore[no-untyped-def]
    x,
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
    SIDE: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Compute one tile of the lower triangle of one matrix, and write it on both sides."""
    number = tl.program_id(0)
    batch = tl.program_id(1).to(tl.int64)
    # Tile (i, j) with j <= i has the number i (i + 1) / 2 + j.
    i = ((tl.sqrt(8.0 * number.to(tl.float32) + 1.0) - 1.0) / 2.0).to(tl.int32)
    # The root was rounded.
    i = tl.where(i * (i + 1) // 2 > number, i - 1, i)
    i = tl.where((i + 1) * (i + 2) // 2 <= number, i + 1, i)
    j = number - i * (i + 1) // 2
    x += batch * x_batch
    first = i * SIDE + tl.arange(0, SIDE)
    second = j * SIDE + tl.arange(0, SIDE)
    inner = tl.arange(0, DEPTH)
    left = x + first[:, None].to(tl.int64) * x_row + inner[None, :] * x_column
    right = x + second[None, :].to(tl.int64) * x_row + inner[:, None] * x_column
    total = tl.zeros((SIDE, SIDE), dtype=tl.float32)
    for start in range(0, columns, DEPTH):
        inside = inner < columns - start
        a = tl.load(left, mask=(first[:, None] < rows) & inside[None, :], other=0.0)
        b = tl.load(right, mask=(second[None, :] < rows) & inside[:, None], other=0.0)
        total = tl.dot(a, b, total)
        left += DEPTH * x_column
        right += DEPTH * x_column
    total = total * alpha
    inside = (first[:, None] < rows) & (second[None, :] < rows)
    if ADDED:
        place = first[:, None].to(tl.int64) * c_row + second[None, :] * c_column
        own = tl.load(c + batch * c_batch + place, mask=inside, other=0.0)
        total += beta * own.to(tl.float32)
    tile = total.to(out.dtype.element_ty)
    out += batch * out_batch
    place = first[:, None].to(tl.int64) * out_row + second[None, :] * out_column
    tl.store(out + place, tile, mask=inside)
    if i != j:
        mirrored = second[:, None].to(tl.int64) * out_row + first[None, :] * out_column
        inside = (second[:, None] < rows) & (first[None, :] < rows)
        tl.store(out + mirrored, tl.trans(tile), mask=inside)
