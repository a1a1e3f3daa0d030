"""Functions and sets of matrices with their proximal operators, Euclidean and anisotropic.

Each is a small frozen class with

- ``value(x)``: the function; for a set 0 inside and inf outside,
- ``violation(x)``: how far a point is from a set,
- ``prox(y, step)``: argmin over x of value(x) + ||x - y||² / (2 step), for a set the projection,
- ``anisotropic_prox(y, step, preconditioner)``: the same with step phi((x - y) / step) in place of
  the square,
- ``lmo(g)``: for a bounded set, a point that minimises <g, x>,
- ``is_convex``.

All of them take stacks ``(..., m, n)``, real or complex, and return new arrays of the library,
dtype and device of their input; functions of entries and of the Frobenius norm take
``axes=(-1,)``, which makes the last axis one point. `step` is a number or an array of the batch
shape. A point that is feasible within 8 max(m, n) eps counts as feasible in `value` and comes back
from `prox` bit for bit; whatever `prox` returns is feasible in that sense.

The anisotropic prox belongs to the methods of arXiv:2605.11850, of which only the abstract was
read: the formulas are reconstructions from the papers it builds on (arXiv:2210.15531) and derived.
`combinations()` lists which function has one in which geometry.
"""

from specdesc.prox.calculus import Conjugate, Scaled, SeparableSum, Translated
from specdesc.prox.entrywise import (
    L0,
    L1,
    MCP,
    SCAD,
    Box,
    ElasticNet,
    Huber,
    L1Ball,
    MaxBall,
    Simplex,
    Sparse,
)
from specdesc.prox.geometries import Combination, rows
from specdesc.prox.hermitian import PSD, Spectraplex
from specdesc.prox.operator import AnisotropicProx, Function, Operator, WarmStarted
from specdesc.prox.rank import Rank
from specdesc.prox.spectral import (
    KyFanBall,
    Nuclear,
    NuclearBall,
    RankPenalty,
    Spectral,
    SpectralBall,
    SpectralInterval,
    Stiefel,
)
from specdesc.prox.whole import FrobeniusBall, Ridge, Zero

__all__ = [
    "L0",
    "L1",
    "MCP",
    "PSD",
    "SCAD",
    "AnisotropicProx",
    "Box",
    "Combination",
    "Conjugate",
    "ElasticNet",
    "FrobeniusBall",
    "Function",
    "Huber",
    "KyFanBall",
    "L1Ball",
    "MaxBall",
    "Nuclear",
    "NuclearBall",
    "Operator",
    "Rank",
    "RankPenalty",
    "Ridge",
    "Scaled",
    "SeparableSum",
    "Simplex",
    "Sparse",
    "Spectral",
    "SpectralBall",
    "SpectralInterval",
    "Spectraplex",
    "Stiefel",
    "Translated",
    "WarmStarted",
    "Zero",
    "combinations",
]


def combinations() -> tuple[Combination, ...]:
    """Return for every function and geometry how its anisotropic prox is computed.

    Returns
    -------
    tuple of Combination
        ``(function, geometry, how, any_kernel)``; `how` is None where there is no such prox.

    Examples
    --------
    >>> from specdesc import prox
    >>> [c.how for c in prox.combinations() if c[:2] == ("Box", "spectral")]
    [None]
    """
    examples = (
        Box(-1.0, 1.0),
        ElasticNet(1.0, 1.0),
        FrobeniusBall(1.0),
        Huber(1.0, 1.0),
        KyFanBall(1, 1.0),
        L0(1.0),
        L1(1.0),
        L1Ball(1.0),
        MCP(1.0, 3.0),
        MaxBall(1.0),
        Nuclear(1.0),
        NuclearBall(1.0),
        PSD(),
        Rank(1),
        RankPenalty(1.0),
        Ridge(1.0),
        SCAD(1.0, 3.0),
        Simplex(),
        Sparse(1),
        Spectraplex(),
        Spectral(MCP(1.0, 3.0)),
        SpectralBall(1.0),
        SpectralInterval(0.0, 1.0),
        Stiefel(),
        Zero(),
    )
    return tuple(rows(iter(examples)))
