"""Every set and every rule in half precision, at sides from 16 to 1024.

max(m, n) eps of bfloat16 exceeds 1 from a side of 128 on: what counts as rounding, or as feasible,
is decided by the precision that was computed in.
"""

from typing import Any

import pytest

from specdesc import preconditioners, prox, rules

torch = pytest.importorskip("torch", reason="torch is not installed")

SIDES = [
    16,
    64,
    pytest.param(256, marks=pytest.mark.slow),
    pytest.param(1024, marks=pytest.mark.exhaustive),
]
DTYPES = pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
SIDE = pytest.mark.parametrize("side", SIDES)


def matrix(side: int, dtype: str, seed: int = 0) -> Any:
    """Return a matrix of spectral norm about 2 that is twice as wide as high."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(side, 2 * side, generator=generator) / side**0.5 * 0.8
    return x.to(getattr(torch, dtype))


def sets(side: int) -> dict[str, Any]:
    root = side**0.5
    return {
        "SpectralBall": prox.SpectralBall(0.5),
        "SpectralInterval": prox.SpectralInterval(0.4, 0.8),
        "Stiefel": prox.Stiefel(),
        "NuclearBall": prox.NuclearBall(0.2 * side),
        "KyFanBall": prox.KyFanBall(4, 0.5),
        "FrobeniusBall": prox.FrobeniusBall(0.3 * root),
        "MaxBall": prox.MaxBall(0.5 / root),
        "L1Ball": prox.L1Ball(root),
        "Rank": prox.Rank(4),
        "Sparse": prox.Sparse(side),
        "Box": prox.Box(-0.5 / root, 0.3 / root),
        "Simplex": prox.Simplex(),
    }


@pytest.mark.parametrize("name", sets(16))
@SIDE
@DTYPES
def test_a_projection_is_that_of_double_precision_and_stays(
    dtype: str, side: int, name: str
) -> None:
    g, x = sets(side)[name], matrix(side, dtype)
    y = g.prox(x)
    assert y.dtype == x.dtype
    assert not torch.equal(x, y), "an infeasible point came back as it was"
    exact = g.prox(x.double())
    unit = torch.finfo(x.dtype).eps
    off = torch.linalg.matrix_norm(y.double() - exact)
    assert off <= 2 * unit * torch.linalg.matrix_norm(exact)
    # What was rounded once is feasible up to that rounding, and comes back.
    again = torch.linalg.matrix_norm(g.prox(y).double() - y.double())
    assert again <= 2 * unit * torch.linalg.matrix_norm(y.double())
    if name == "Rank":
        s = torch.linalg.svdvals(y.double())
        assert s[4] <= 2 * unit * side**0.5 * s[0]


RULES = {
    "Muon": rules.Muon(0.1, weight_decay=0.1),
    "Scion": rules.Scion(0.1),
    "SpectralDescent": rules.SpectralDescent(0.1),
    "TruncatedSpectralDescent": rules.TruncatedSpectralDescent(4, 0.1),
    "SignDescent": rules.SignDescent(0.01),
    "NormalizedGradient": rules.NormalizedGradient(0.5),
    "AdamW": rules.AdamW(0.01, weight_decay=0.1),
    "ProximalSpectral": rules.ProximalSpectral(
        0.1, preconditioner=preconditioners.Kappa(3, eps=0.5), g=prox.SpectralBall(0.5)
    ),
}


@pytest.mark.parametrize("name", RULES)
@SIDE
@DTYPES
def test_two_steps_are_those_of_double_precision(dtype: str, side: int, name: str) -> None:
    rule, x = RULES[name], matrix(side, dtype)
    y, state, wide, wide_state = x, rule.init(x), x.double(), rule.init(x.double())
    for seed in (1, 2):
        grad = matrix(side, dtype, seed)
        y, state = rule.update(y, grad, state)
        wide, wide_state = rule.update(wide, grad.double(), wide_state)
    moved = torch.linalg.matrix_norm(wide - x.double())
    assert moved > 0
    rounding = torch.finfo(x.dtype).eps * torch.linalg.matrix_norm(wide)
    off = torch.linalg.matrix_norm(y.double() - wide)
    # A block method may leave its tolerance of 0.2 at either precision.
    allowed = 0.5 * moved if name == "TruncatedSpectralDescent" else 0.02 * moved
    assert off <= allowed + 2 * rounding
