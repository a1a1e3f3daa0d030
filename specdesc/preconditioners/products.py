"""Spectral maps by products, as exact as was asked for.

The sign is a polar factor, a clip has its own products, and the kernels of `inverse_root` are polar
factors of [X, eps I]. Other kernels are functions of the singular values alone.
"""

from specdesc._clip import clip
from specdesc._lib.checks import plain
from specdesc._lib.dtypes import smallest_normal
from specdesc._lib.typing import Array
from specdesc._polar_factor.direction import Accuracy, direction
from specdesc._polar_factor.solvers import on_device
from specdesc.backends import Backend
from specdesc.preconditioners import inverse_root, kernels
from specdesc.preconditioners.kernels import Kernel


def spectral_map(
    x: Array, kernel: Kernel, eps: float, accuracy: Accuracy, /, *, backend: Backend
) -> Array | None:
    """Return the map of a kernel, None for one that needs the singular values.

    Within `tol` for singular values of at least `floor` s_1; a clip and a multiple to working
    accuracy. `x` is in the dtype that was asked for.
    """
    known = plain(eps)
    if isinstance(known, float) and known < smallest_normal(backend.xp, x.dtype):
        return None
    if isinstance(kernel, kernels.Sign):
        return direction(x, accuracy, backend=backend)
    if isinstance(kernel, kernels.Clip):
        return clip(x, eps, 0.0, backend=backend) / eps
    coarse = accuracy.tol is not None or on_device(x, backend)
    if coarse and inverse_root.has(kernel):
        return inverse_root.apply(x, kernel, eps, accuracy, backend=backend)
    return None
