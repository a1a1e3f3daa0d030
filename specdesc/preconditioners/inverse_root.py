"""The spectral maps of kappa 2 and 4 by products alone.

The polar factor of [X, eps I] is [U, V] = (X Xᴴ + eps² I)^(-1/2) [X, eps I]: U is the map of
kappa 2, and the condition number is that of the map itself, s_1 / eps, which the Gram matrix would
take to the power kappa. With u = s / (s² + eps²)^(1/2) and v = eps / (s² + eps²)^(1/2), whose
squares add up to 1, the map of kappa 4 is

    s / (s⁴ + eps⁴)^(1/4) = u / (u⁴ + v⁴)^(1/4) = u ((1 + y) / 2)^(-1/4),  y = (1 - 2 v²)²,

whose last factor is smooth for y in [0, 1], so that a polynomial of V Vᴴ does the rest. Derived.
"""

import math

from specdesc._lib.arrays import adjoint
from specdesc._lib.dtypes import eps as unit_of
from specdesc._lib.dtypes import working
from specdesc._lib.tracing import opaque
from specdesc._lib.typing import Array
from specdesc._linalg.basic import replace_broken, restore
from specdesc._polar_factor.method import Request
from specdesc._polar_factor.solvers import orthogonal_factor
from specdesc.backends import Backend
from specdesc.backends.creation import identity
from specdesc.preconditioners.kernels import Kappa, Kernel

#: Degrees of the polynomial for kappa 4, one less than a multiple of 4: the error falls like
#: (3 + sqrt 8)^-degree.
DEGREES = {"single": 11, "double": 19}

#: A scale of ROOM times the rounding of the largest singular value can be told from 0, as far as
#: the constants of schedules are accurate.
ROOM, LEAST = 4.0, 1.1e-12


def resolved(x: Array, eps: float, backend: Backend, /) -> bool:
    """Say whether such a form is equal to an SVD up to rounding, for singular values up to 1."""
    rounding = unit_of(backend.xp, working(backend.xp, x).dtype)
    return eps >= LEAST and eps >= ROOM * (x.shape[-2] + x.shape[-1]) * rounding


def has(kernel: Kernel, /) -> bool:
    """Say whether a kernel has such a form."""
    return isinstance(kernel, Kappa) and kernel.kappa in (2, 4)


def apply(x: Array, kernel: Kernel, eps: float, /, *, backend: Backend) -> Array:
    """Return the spectral map of a kernel that `has` such a form, for singular values up to 1.

    The bound makes the plan a function of eps alone. Error: a few eps_machine (1 + 1 / eps), that
    of an SVD, where `resolved`.
    """
    xp = backend.xp
    safe, finite = replace_broken(working(xp, x), backend=backend)
    wide = x.shape[-2] <= x.shape[-1]
    u, v = _isometry(safe if wide else adjoint(safe, xp=xp), eps, backend)
    square = isinstance(kernel, Kappa) and kernel.kappa == 2
    y = u if square else _fourth_root(u, v, backend)
    return restore(y if wide else adjoint(y, xp=xp), finite, backend=backend)


def _isometry(x: Array, eps: float, backend: Backend) -> tuple[Array, Array]:
    """Return the two blocks of the polar factor of [X, eps I]."""
    xp, (m, n) = backend.xp, (x.shape[-2], x.shape[-1])
    shift = xp.broadcast_to(eps * identity(m, x, backend=backend), (*x.shape[:-1], m))
    floor = min(eps / math.hypot(1.0, eps), 0.5)
    both = xp.concat([x, shift], axis=-1)
    factor, *_ = orthogonal_factor(both, Request(None, floor, "polynomial"), backend=backend)
    return factor[..., :n], factor[..., n:]


def _fourth_root(u: Array, v: Array, backend: Backend) -> Array:
    """Return ((I + Y) / 2)^(-1/4) U for Y = (I - 2 V Vᴴ)²."""
    xp = backend.xp
    primitives = backend.primitives
    combination = primitives.linear_combination
    turned = combination((-2.0,), (primitives.gram(v),), 1.0)
    z = combination((2.0,), (primitives.gram(turned),), -1.0)  # in [-1, 1]
    double = unit_of(xp, u.dtype) < 1e-10
    terms = coefficients(DEGREES["double" if double else "single"])
    second = primitives.gram(z)
    powers = (z, second, xp.matmul(z, second))
    fourth = primitives.gram(second)
    # Horner's rule in the fourth power, for polynomials of degree 3.
    total = combination(terms[-3:], powers, terms[-4])
    for i in range(len(terms) - 8, -1, -4):
        block = combination(terms[i + 1 : i + 4], powers, terms[i])
        total = block + xp.matmul(fourth, total)
    return xp.matmul(total, u)


@opaque
def coefficients(degree: int, /) -> tuple[float, ...]:
    """Return the coefficients of a polynomial of z that is ((3 + z) / 4)^(-1/4) on [-1, 1].

    It interpolates at the zeros of a Chebyshev polynomial. Powers of z lose no digits here, as
    the singularity at -3 is far away.
    """
    count = degree + 1
    # Angles in units of pi / (2 count): whole numbers, reduced before they are rounded.
    odd = range(1, 2 * count, 2)
    values = [((3.0 + _cosine(j, count)) / 4.0) ** -0.25 for j in odd]
    total = [0.0] * count
    this, following = [1.0] + [0.0] * degree, [0.0, 1.0] + [0.0] * (degree - 1)
    for k in range(count):
        parts = (f * _cosine(k * j, count) for f, j in zip(values, odd, strict=True))
        weight = (2.0 if k else 1.0) / count * math.fsum(parts)
        total = [t + weight * c for t, c in zip(total, this, strict=True)]
        doubled = [0.0, *(2.0 * c for c in following[:-1])]
        this, following = following, [d - c for d, c in zip(doubled, this, strict=True)]
    return tuple(total)


def _cosine(turns: int, count: int) -> float:
    return math.cos(math.pi * (turns % (4 * count)) / (2 * count))
