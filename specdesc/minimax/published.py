"""Published iterations, as they are, and what they promise."""

import math
from collections.abc import Sequence

from specdesc._lib.tracing import opaque
from specdesc.minimax.images import Polynomial, composed_image

Quintic = tuple[float, float, float]

#: Keller Jordan's step of the Muon optimizer (github.com/KellerJordan/Muon), five times the same.
NEWTON_SCHULZ: tuple[Quintic, ...] = ((3.4445, -4.7750, 2.0315),) * 5

#: Polar Express (arXiv:2505.16932), designed for singular values in [1e-3, 1].
POLAR_EXPRESS: tuple[Quintic, ...] = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)

#: Polar Express leaves its interval 1 + 1e-5 above 1 and overflows, so its published code damps
#: every step but the last ones by this factor. Rounding can then never push a value out.
SAFETY = 1.01


def damped(step: Quintic, factor: float, /) -> Quintic:
    """Return the coefficients of p(x / factor)."""
    a, b, c = step
    return a / factor, b / factor**3, c / factor**5


@opaque
def damped_polar_express() -> tuple[Quintic, ...]:
    """Return the published run, damped so that rounding cannot push a value out of it."""
    return (*(damped(step, SAFETY) for step in POLAR_EXPRESS[:-1]), POLAR_EXPRESS[-1])


@opaque
def bound(steps: Sequence[Polynomial], lower: float, /) -> float:
    """Return max abs(1 - p(x)) of the composition p on [lower, 1].

    Exact up to rounding: a polynomial takes an interval onto an interval, so the image of a
    composition is the composition of the images. What starts below `lower` may not exceed it.
    """
    low, high = composed_image(steps, lower, 1.0)
    return max(1.0 - low, high - 1.0, composed_image(steps, 0.0, lower)[1] - 1.0)


@opaque
def slope(steps: Sequence[Polynomial], /) -> float:
    """Return the slope of the composition at zero, the product of the leading coefficients."""
    return float(math.prod(step[0] for step in steps))
