"""The inner product of matrices."""

from specdesc._lib.arrays import per_batch
from specdesc._lib.dtypes import working
from specdesc._lib.typing import Array
from specdesc._linalg.basic import balance, restore
from specdesc.backends import Backend


def inner(a: Array, b: Array, /, *, backend: Backend) -> Array:
    """Return Re sum conj(a) b of every matrix, safe at any scale; NaN where one is not finite."""
    xp = backend.xp
    left, right = (balance(working(xp, part), backend=backend) for part in (a, b))
    rows = xp.vecdot(left.matrix, right.matrix, axis=-1)
    rows = xp.real(rows) if rows.dtype in (xp.complex64, xp.complex128) else rows
    total = xp.sum(rows, axis=-1) * per_batch(left.scale) * per_batch(right.scale)
    return restore(total, per_batch(left.finite & right.finite), backend=backend)
