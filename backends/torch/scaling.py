"""Division of large matrices by one number each, in one pass, by a Triton kernel.

torch takes a slow path where dtypes differ or the divisor lies on the device: three times as long.
"""

import triton
import triton.language as tl

from specdesc._lib.typing import Array

#: Numbers of a program.
SHARE = 4096


def divided(x: Array, scale: Array, out: Array, /) -> Array:
    """Write ``x / scale`` to `out`, for contiguous stacks with a divisor (..., 1, 1) each."""
    size = x.shape[-2] * x.shape[-1]
    grid = (-(-size // SHARE), max(1, x.numel() // max(1, size)))
    _divide[grid](x, scale.contiguous(), out, size, SHARE=SHARE, num_warps=8)
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _divide(x, scale, out, size, SHARE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Divide a share of one matrix, in float32 at least."""
    batch = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * SHARE + tl.arange(0, SHARE)
    inside = place < size
    value = tl.load(x + batch * size + place, mask=inside).to(tl.float32)
    quotient = value / tl.load(scale + batch).to(tl.float32)
    tl.store(out + batch * size + place, quotient.to(out.dtype.element_ty), mask=inside)
