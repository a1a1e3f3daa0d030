"""Norms by what defines them: duality, minimisers, sharp steps; and against a convex solver."""

from typing import Any

import numpy as np
import pytest

from specdesc import norms, truncated_spectral_step
from specdesc._linalg import ky_fan
from tests import support
from tests.support import EPS, Library, adjoint

KINDS = {
    "spectral": norms.Spectral(),
    "nuclear": norms.Nuclear(),
    "frobenius": norms.Frobenius(),
    "max": norms.Max(),
    "columns": norms.Columns(),
    "rows": norms.Rows(),
    "ky fan 1": norms.KyFan(1),
    "ky fan 3": norms.KyFan(3),
    "ky fan 5": norms.KyFan(5),
    "ky fan dual 1": norms.KyFanDual(1),
    "ky fan dual 3": norms.KyFanDual(3),
    "ky fan dual 5": norms.KyFanDual(5),
}
#: norm and dual norm by their definitions on a host matrix
ORACLES = {
    "spectral": (lambda x: s(x)[0], lambda x: s(x).sum()),
    "nuclear": (lambda x: s(x).sum(), lambda x: s(x)[0]),
    "frobenius": (np.linalg.norm, np.linalg.norm),
    "max": (lambda x: np.abs(x).max(), lambda x: np.abs(x).sum()),
    "columns": (lambda x: lengths(x, 0).max(), lambda x: lengths(x, 0).sum()),
    "rows": (lambda x: lengths(x, 1).max(), lambda x: lengths(x, 1).sum()),
    **{f"ky fan {k}": (lambda x, k=k: fan(x, k), lambda x, k=k: dual(x, k)) for k in (1, 3, 5)},
    **{
        f"ky fan dual {k}": (lambda x, k=k: dual(x, k), lambda x, k=k: fan(x, k)) for k in (1, 3, 5)
    },
}
NORMS = pytest.mark.parametrize("name", KINDS)


def s(x: Any) -> Any:
    return np.linalg.svd(x, compute_uv=False)


def lengths(x: Any, axis: int) -> Any:
    return np.linalg.norm(x, axis=axis)


def fan(x: Any, k: int) -> Any:
    return s(x)[:k].sum()


def dual(x: Any, k: int) -> Any:
    return max(s(x)[0], s(x).sum() / k)


def inner(x: Any, y: Any) -> float:
    return float(np.vdot(x, y).real)


def matrices(dtype: str = "float64") -> dict[str, Any]:
    wide = support.gaussian(5, 8, seed=3, dtype=dtype)
    return {
        "tall": support.gaussian(7, 5, seed=1, dtype=dtype),
        "wide": wide,
        "rank one": support.with_spectrum([2.0], (7, 5), dtype=dtype),
        "ties": support.with_spectrum([1.0] * 5, (7, 5), dtype=dtype),
        "one pair leads": support.with_spectrum([50.0, 1, 1, 1, 1], (5, 8), dtype=dtype),
        "a zero row": wide * np.asarray([1.0, 0, 1, 1, 1])[:, None],
        "zero": 0 * wide,
        "tiny": 1e-30 * wide,
        "huge": 1e30 * wide,
    }


@NORMS
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_values_and_duals_by_definition(name: str, dtype: str, library: Library) -> None:
    if library.compiles and dtype != "float32":
        pytest.skip("each dtype is a compilation")
    if dtype not in library.dtypes:
        pytest.skip("no such dtype here")
    norm, oracles = KINDS[name], ORACLES[name]
    for kind, host in matrices(dtype).items():
        if library.compiles and kind not in ("wide", "zero", "huge"):
            continue
        x = library.array(host, dtype)
        rounded = library.numpy(x).astype("complex128")
        for found, oracle in zip((norm.value(x), norm.dual(x)), oracles, strict=True):
            assert tuple(found.shape) == ()
            expected = oracle(rounded)
            assert float(library.numpy(found)) == pytest.approx(expected, rel=100 * EPS[dtype])


@NORMS
@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_minimisers_lie_in_the_ball_and_reach_the_dual(name: str, dtype: str) -> None:
    norm, (value, dual_of) = KINDS[name], ORACLES[name]
    for kind, host in matrices(dtype).items():
        g = host.astype(dtype)
        size, limit = dual_of(g.astype("complex128")), 200 * EPS[dtype]
        for radius in (1.0, 2.5, 0.0):
            atom = norm.lmo(g, radius)
            assert atom.dtype == g.dtype
            assert np.isfinite(atom).all()
            assert value(atom.astype("complex128")) <= radius * (1 + limit), kind
            least = np.vdot(g.astype("complex128"), atom.astype("complex128")).real
            assert least == pytest.approx(-radius * size, rel=limit)
        uphill = norm.direction(g)
        np.testing.assert_array_equal(-1.0 * norm.lmo(g), uphill)
        sharp = norm.sharp(g).astype("complex128")
        # The maximiser of <g, s> - value(s)² / 2 has the value dual(g)² / 2.
        best = inner(g.astype("complex128"), sharp) - value(sharp) ** 2 / 2
        assert best == pytest.approx(size**2 / 2, rel=2 * limit)
        if kind == "zero":
            assert (uphill == 0).all()


@NORMS
def test_no_point_of_the_ball_is_lower(name: str, rng: Any) -> None:
    """The definition of the dual norm, tried from inside: on random points and on neighbours."""
    norm, (value, _) = KINDS[name], ORACLES[name]
    for host in matrices().values():
        best = inner(host, norm.lmo(host))
        for scale in (0.0, 1e-3, 0.1, 1.0):
            for _ in range(20):
                z = norm.lmo(host) * (scale < 1) + scale * rng.standard_normal(host.shape)
                z = z / max(value(z), 1.0)
                assert inner(host, z) >= best - 1e-12 * abs(best)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_two_ky_fan_norms_are_dual_to_each_other(k: int, rng: Any) -> None:
    one, other = norms.KyFan(k), norms.KyFanDual(k)
    for _ in range(100):
        x, y = rng.standard_normal((2, 6, 4))
        assert inner(x, y) <= one.value(x) * other.value(y) * (1 + 1e-12)
        assert one.dual(x) == pytest.approx(other.value(x), rel=1e-14)
        assert other.dual(x) == pytest.approx(one.value(x), rel=1e-14)
        np.testing.assert_allclose(other.direction(x), truncated_spectral_step(x, k), atol=1e-13)


@NORMS
def test_laws_of_a_norm(name: str, rng: Any) -> None:
    norm = KINDS[name]
    x, y = rng.standard_normal((2, 5, 6)) + 1j * rng.standard_normal((2, 5, 6))
    assert norm.value(x + y) <= (norm.value(x) + norm.value(y)) * (1 + 1e-12)
    assert norm.value(-3j * x) == pytest.approx(3 * norm.value(x), rel=1e-12)
    stack = np.stack([x, np.full_like(x, np.nan), y])
    values, atoms = norm.value(stack), norm.lmo(stack)
    assert np.isnan(values[1])
    assert np.isnan(atoms[1]).all()
    for i, each in ((0, x), (2, y)):
        assert values[i] == pytest.approx(norm.value(each), rel=1e-13)
        np.testing.assert_allclose(atoms[i], norm.lmo(each), atol=1e-12)


def test_parameters_out_of_range() -> None:
    x = np.ones((3, 4))
    for k in (0, -1, 1.0, True):
        with pytest.raises(ValueError, match="k must be an integer of at least 1"):
            norms.KyFan(k)
    with pytest.raises(ValueError, match=r"k must be an integer from 1 to 3 for shape \(3, 4\)"):
        norms.KyFanDual(4).lmo(x)
    with pytest.raises(ValueError, match="axis must be"):
        norms.MaxVectorNorm(0)
    with pytest.raises(ValueError, match="radius must be"):
        norms.Spectral().lmo(x, -1.0)


# --- the kernel that projects --------------------------------------------------------------------


def projections(rng: Any, count: int) -> Any:
    """Yield singular values, some of them tied, with a bound on each and one on their sum."""
    for i in range(count):
        n = int(rng.integers(1, 10))
        values = 3 * rng.random(n) if i % 3 else np.round(4 * rng.random(n))
        yield (
            np.sort(values)[::-1].copy(),
            float(rng.choice([0, 0.3, 1, 2])),
            float(rng.choice([0, 0.5, 1, 3, 7])),
        )


def test_the_projection_is_the_nearest_point(rng: Any) -> None:
    """Feasible, and no feasible point makes an acute angle with what was cut off."""
    import array_api_compat.numpy as xp

    for values, largest, total in projections(rng, 300):
        p = ky_fan.project(values, largest, total, xp=xp)
        assert (p >= 0).all()
        assert (p <= largest).all()
        assert p.sum() <= total * (1 + 1e-14)
        for _ in range(20):
            z = largest * rng.random(p.size)
            z *= min(1.0, total / max(z.sum(), 1e-300))
            assert (values - p) @ (z - p) <= 1e-13
        # A feasible point is its own projection, bit for bit.
        np.testing.assert_allclose(ky_fan.project(p, largest, total, xp=xp), p, atol=1e-15)


# --- against a convex solver ---------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3), (3, 5)])
def test_against_cvxpy(shape: tuple[int, int], rng: Any) -> None:
    """Dual norms and the projection onto the ball of the dual Ky Fan norm, as convex programs."""
    cp = pytest.importorskip("cvxpy", reason="cvxpy is not installed")
    import array_api_compat.numpy as xp

    g = rng.standard_normal(shape)
    z = cp.Variable(shape)
    k, radius = 2, 0.7
    balls = {
        norms.Spectral(): cp.sigma_max(z) <= 1,
        norms.Nuclear(): cp.normNuc(z) <= 1,
        norms.Frobenius(): cp.norm(z, "fro") <= 1,
        norms.Max(): cp.max(cp.abs(z)) <= 1,
        norms.Rows(): cp.max(cp.norm(z, 2, axis=1)) <= 1,
        norms.Columns(): cp.max(cp.norm(z, 2, axis=0)) <= 1,
    }
    for norm, ball in balls.items():
        problem = cp.Problem(cp.Minimize(cp.sum(cp.multiply(g, z))), [ball])
        problem.solve(solver=cp.CLARABEL)
        assert problem.value == pytest.approx(inner(g, norm.lmo(g)), abs=1e-5)
    limits = [cp.sigma_max(z) <= radius, cp.normNuc(z) <= k * radius]
    problem = cp.Problem(cp.Minimize(cp.sum(cp.multiply(g, z))), limits)
    problem.solve(solver=cp.CLARABEL)
    assert problem.value == pytest.approx(inner(g, norms.KyFanDual(k).lmo(g, radius)), abs=1e-5)
    # The Ky Fan norm as the support function of that ball, so its own ball needs no other oracle.
    assert problem.value == pytest.approx(-radius * norms.KyFan(k).value(g), abs=1e-5)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(z - g)), limits)
    problem.solve(solver=cp.CLARABEL)
    u, values, vh = np.linalg.svd(g, full_matrices=False)
    projected = (u * ky_fan.project(values, radius, k * radius, xp=xp)) @ vh
    np.testing.assert_allclose(z.value, projected, atol=1e-4)
    assert norms.KyFanDual(k).value(projected) <= radius * (1 + 1e-13)


def test_adjoint_is_the_transposed_case() -> None:
    x = support.gaussian(4, 6, dtype="complex128")
    for norm in (norms.KyFan(2), norms.KyFanDual(3), norms.Nuclear()):
        np.testing.assert_allclose(norm.lmo(adjoint(x)), adjoint(norm.lmo(x)), atol=1e-12)
    np.testing.assert_allclose(norms.Rows().lmo(x), adjoint(norms.Columns().lmo(adjoint(x))))
