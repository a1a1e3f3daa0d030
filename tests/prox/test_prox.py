"""Proximal operators against their definition, and against code that shares nothing with them."""

from typing import Any

import numpy as np
import pytest

from specdesc import backends, preconditioners, prox
from tests import support
from tests.support import EPS, Library, adjoint, assert_ratio, spectral_norm

SHAPE = (5, 4)

Function = Any

#: name -> function, its value in NumPy, a random point where the value is finite
CONVEX = {
    "Zero": prox.Zero(),
    "SpectralBall": prox.SpectralBall(1.5),
    "Nuclear": prox.Nuclear(0.7),
    "Nuclear 0": prox.Nuclear(0.0),
    "SpectralBall 0": prox.SpectralBall(0.0),
}
SETS = {"SpectralBall": prox.SpectralBall(1.5), "Rank": prox.Rank(2)}
ALL = {**CONVEX, "Rank": prox.Rank(2), "Rank full": prox.Rank(4)}

EVERY = pytest.mark.parametrize("g", ALL.values(), ids=ALL.keys())
EVERY_CONVEX = pytest.mark.parametrize("g", CONVEX.values(), ids=CONVEX.keys())
EVERY_SET = pytest.mark.parametrize("g", SETS.values(), ids=SETS.keys())
COMPLEX = pytest.mark.parametrize("dtype", ["float64", "complex128"])


def value(g: Function, x: Any) -> Any:
    """Return the value of g by its definition, in NumPy, with room for the last digits."""
    s = np.linalg.svd(x, compute_uv=False)
    if isinstance(g, prox.Zero):
        return 0.0
    if isinstance(g, prox.Nuclear):
        return g.weight * s.sum()
    if isinstance(g, prox.SpectralBall):
        return 0.0 if s[0] <= g.radius + 1e-12 else np.inf
    return 0.0 if s[g.rank :].sum() <= 1e-12 * s[0] else np.inf


def feasible(g: Function, rng: np.random.Generator, dtype: str, near: Any = None) -> Any:
    """Draw a point where g is finite: anywhere, or at a small distance of a feasible one."""
    size = 3.0 if near is None else 10.0 ** rng.uniform(-4, -0.5)
    noise = rng.standard_normal(SHAPE) + (1j * rng.standard_normal(SHAPE) if "c" in dtype else 0)
    x = (0 if near is None else near) + size * noise
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    if isinstance(g, prox.SpectralBall):
        s = np.minimum(s, g.radius)
    if isinstance(g, prox.Rank):
        s = np.where(np.arange(s.size) < g.rank, s, 0.0)
    return (u * s) @ vh


# --- the definition ------------------------------------------------------------------------------


@EVERY
@COMPLEX
def test_no_competitor_is_better(g: Function, dtype: str, rng: Any) -> None:
    """Far ones and near ones, whose distances are drawn over four decades."""
    for trial in range(40):
        y = 2.0 * support.gaussian(*SHAPE, seed=trial, dtype=dtype)
        step = 10.0 ** rng.uniform(-2, 1)
        p = g.prox(y, step)
        ours = value(g, p) + np.linalg.norm(p - y) ** 2 / (2 * step)
        assert np.isfinite(ours)
        for near in (None, p, p, p):
            z = feasible(g, rng, dtype, near)
            theirs = value(g, z) + np.linalg.norm(z - y) ** 2 / (2 * step)
            assert ours <= theirs * (1 + 1e-12) + 1e-12


@EVERY_CONVEX
@COMPLEX
def test_three_point_inequality(g: Function, dtype: str, rng: Any) -> None:
    """2 t (g(p) - g(u)) <= ||u - y||² - ||u - p||² - ||p - y||² for convex g."""
    for trial in range(60):
        y = 2.0 * support.gaussian(*SHAPE, seed=trial, dtype=dtype)
        step = 10.0 ** rng.uniform(-2, 1)
        p = g.prox(y, step)
        u = feasible(g, rng, dtype, p if trial % 2 else None)
        left = 2 * step * (value(g, p) - value(g, u))
        right = np.linalg.norm(u - y) ** 2 - np.linalg.norm(u - p) ** 2 - np.linalg.norm(p - y) ** 2
        assert left <= right + 1e-10


@EVERY_CONVEX
@COMPLEX
def test_firm_nonexpansiveness(g: Function, dtype: str, rng: Any) -> None:
    """||Tx - Ty||² <= Re <Tx - Ty, x - y>, far apart and very near."""
    for distance in (3.0, 1e-2, 1e-4, 1e-6):
        for trial in range(15):
            x = 2.0 * support.gaussian(*SHAPE, seed=trial, dtype=dtype)
            y = x + distance * support.gaussian(*SHAPE, seed=trial + 99, dtype=dtype)
            d = g.prox(x, 0.6) - g.prox(y, 0.6)
            assert np.vdot(d, d).real <= np.vdot(d, x - y).real + 1e-13 * max(distance, 1e-2)


@COMPLEX
def test_nuclear_norm_and_spectral_ball_are_dual(dtype: str) -> None:
    """Moreau with code of its own: y = prox_(t f)(y) + t P(y / t), and Fenchel and Young."""
    for trial in range(20):
        y = 2.0 * support.gaussian(*SHAPE, seed=trial, dtype=dtype)
        for step, weight in ((0.7, 1.0), (3.0, 0.4), (0.05, 2.0)):
            p = prox.Nuclear(weight).prox(y, step)
            q = (y - p) / step
            np.testing.assert_allclose(
                prox.SpectralBall(weight).prox(y / step), q, atol=1e-12 / step
            )
            # q is a subgradient at p: <p, q> is the norm of p, and the dual norm of q is `weight`.
            s = np.linalg.svd(p, compute_uv=False)
            assert np.vdot(p, q).real == pytest.approx(weight * s.sum(), abs=1e-11)
            assert spectral_norm(q) <= weight * (1 + 1e-12) + 1e-12


def test_a_wrong_operator_fails_these_laws() -> None:
    """Moreau's identity alone holds for anything; the definition does not."""

    def broken(y: Any, step: float) -> Any:
        u, s, vh = np.linalg.svd(y, full_matrices=False)
        return (u * np.maximum(s - 2 * step * 0.7, 0)) @ vh

    y = 2.0 * support.gaussian(*SHAPE)
    g, p = prox.Nuclear(0.7), broken(y, 0.5)
    best = g.prox(y, 0.5)
    costs = [value(g, z) + np.linalg.norm(z - y) ** 2 for z in (best, p)]
    assert costs[0] < costs[1]


# --- feasibility ---------------------------------------------------------------------------------


@EVERY_SET
def test_a_feasible_point_comes_back_bit_for_bit(g: Function, library: Library, dtype: str) -> None:
    """Inside, and on the boundary as the projection itself left it."""
    if library.compiles and dtype in support.HALF:
        pytest.skip("the same as in single precision")
    inside = support.with_spectrum([1.0, 0.5], SHAPE, dtype=dtype)
    for host in (inside, 0 * inside, 1e-20 * inside):
        if dtype == "float16" and 0 < np.abs(host).max() < 1e-8:
            continue
        x = library.array(host, dtype)
        feasible_one = np.isfinite(library.numpy(g.value(x)))
        y = g.prox(x)
        assert feasible_one == (library.numpy(y).tobytes() == library.numpy(x).tobytes())
        assert feasible_one or (dtype in support.HALF and isinstance(g, prox.Rank))
    outside = library.array(3.0 * support.gaussian(*SHAPE, dtype=dtype), dtype)
    assert np.isinf(library.numpy(g.value(outside)))
    once = g.prox(outside)
    assert library.numpy(g.prox(once)).tobytes() == library.numpy(once).tobytes()


@EVERY_SET
def test_what_prox_returns_is_feasible(g: Function, library: Library, dtype: str) -> None:
    """By its own value, over the corpus and over many scales."""
    if library.compiles and dtype != "float32":
        pytest.skip("the same for every dtype")
    for host in support.corpus((6, 4), dtype).values():
        scaled = host / max(1.0, np.abs(host).max() / 1e3) if dtype in support.HALF else host
        p = g.prox(library.array(scaled, dtype))
        assert float(library.numpy(g.value(p))) == 0.0


@EVERY_SET
def test_feasible_and_infeasible_matrices_in_one_stack(g: Function) -> None:
    inside = support.with_spectrum([1.0, 0.5], SHAPE)
    outside = 3.0 * support.gaussian(*SHAPE)
    x = np.stack([inside, outside, inside * np.nan])
    np.testing.assert_array_equal(g.value(x), [0.0, np.inf, np.nan])
    y = g.prox(x)
    assert (y[0] == inside).all()
    np.testing.assert_allclose(y[1], g.prox(outside), atol=1e-12)
    assert np.isnan(y[2]).all()


def test_membership_has_no_absolute_threshold() -> None:
    """The rank of a matrix does not depend on its units."""
    low = support.with_spectrum([2.0, 1.0], SHAPE)
    full = support.gaussian(*SHAPE)
    for scale in (1e-9, 1e-150, 1e150):
        assert prox.Rank(2).value(scale * low) == 0
        assert prox.Rank(2).value(scale * full) == np.inf


# --- values --------------------------------------------------------------------------------------


@EVERY
def test_values_against_numpy(g: Function, library: Library, dtype: str) -> None:
    """The value on complex matrices is that of their singular values."""
    if library.compiles and dtype in support.HALF:
        pytest.skip("the same as in single precision")
    x = library.array(support.gaussian(3, *SHAPE, dtype=dtype), dtype)
    host = library.numpy(x).astype("complex128")
    expected = [value(g, y) for y in host]
    np.testing.assert_allclose(library.numpy(g.value(x)), expected, rtol=100 * EPS[dtype])


def test_nuclear_norm_sees_small_singular_values() -> None:
    """A Gram matrix squares the condition number."""
    x = support.with_spectrum([1.0, 1e-9], SHAPE)
    assert abs(prox.Nuclear(1.0).value(x) - 1 - 1e-9) <= 1e-14


@COMPLEX
def test_proximal_points_against_numpy(dtype: str) -> None:
    """With steps per matrix."""
    y = 2.0 * support.gaussian(3, *SHAPE, dtype=dtype)
    u, s, vh = np.linalg.svd(y, full_matrices=False)
    steps = np.asarray([0.5, 1.0, 2.0])
    shrunk = np.maximum(s - 0.7 * steps[:, None], 0)
    cases = [
        (prox.Nuclear(0.7), shrunk),
        (prox.SpectralBall(1.5), np.minimum(s, 1.5)),
        (prox.Rank(2), np.where(np.arange(4) < 2, s, 0)),
        (prox.Zero(), s),
    ]
    for g, values in cases:
        expected = (u * values[:, None, :]) @ vh
        np.testing.assert_allclose(g.prox(y, steps), expected, atol=1e-13)


def test_a_step_may_be_a_number_an_array_or_zero() -> None:
    y = 2.0 * support.gaussian(*SHAPE)
    g = prox.Nuclear(0.7)
    np.testing.assert_array_equal(g.prox(y, 1), g.prox(y, np.asarray(1.0)))
    np.testing.assert_allclose(g.prox(y, 0.0), y, atol=1e-14)
    np.testing.assert_array_equal(g.prox(y), g.prox(y, 1.0))


# --- laws ----------------------------------------------------------------------------------------


@EVERY
@COMPLEX
def test_unitary_equivariance_and_transposition(g: Function, dtype: str) -> None:
    y = 2.0 * support.gaussian(*SHAPE, dtype=dtype)
    q, r = (support.orthonormal(n, n, seed=n, dtype=dtype) for n in SHAPE)
    p = g.prox(y, 0.6)
    np.testing.assert_allclose(g.prox(q @ y @ r, 0.6), q @ p @ r, atol=1e-12)
    np.testing.assert_allclose(g.prox(adjoint(y).copy(), 0.6), adjoint(p), atol=1e-12)
    np.testing.assert_allclose(g.prox(-y, 0.6), -p, atol=1e-12)
    assert g.value(q @ p @ r) == pytest.approx(float(g.value(p)), abs=1e-12)


def test_scaling_laws() -> None:
    y = 2.0 * support.gaussian(*SHAPE)
    for c in (1e-200, 3.0, 1e200):
        np.testing.assert_allclose(
            prox.Nuclear(c).prox(c * y, 0.6) / c, prox.Nuclear(1.0).prox(y, 0.6), atol=1e-13
        )
        np.testing.assert_allclose(
            prox.SpectralBall(c).prox(c * y) / c, prox.SpectralBall(1.0).prox(y), atol=1e-13
        )
        np.testing.assert_allclose(prox.Rank(2).prox(c * y) / c, prox.Rank(2).prox(y), atol=1e-13)


@pytest.mark.parametrize("shape", [(5, 4), (4, 5), (1, 3), (3, 1), (1, 1)], ids=str)
def test_every_shape(shape: tuple[int, int]) -> None:
    for g in (prox.Zero(), prox.SpectralBall(0.5), prox.Nuclear(0.5), prox.Rank(1)):
        assert g.prox(np.ones(shape), 0.5).shape == shape
        assert np.shape(g.value(np.ones(shape))) == ()


@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0, 2.0], [3.0, 1.0, 1.0, 1.0]])
def test_a_tie_at_the_cut_gives_one_of_the_nearest_matrices(values: list[float]) -> None:
    y = support.with_spectrum(values, SHAPE)
    p = prox.Rank(2).prox(y)
    assert np.linalg.norm(p - y) == pytest.approx(np.linalg.norm(values[2:]))
    assert np.linalg.matrix_rank(p, tol=1e-10) == 2


def test_is_convex_says_what_it_says() -> None:
    assert all(g.is_convex for g in CONVEX.values())
    assert not prox.Rank(2).is_convex
    assert isinstance(prox.Rank(2), prox.WarmStarted)
    assert not any(isinstance(g, prox.WarmStarted) for g in CONVEX.values())


# --- the warm projection -------------------------------------------------------------------------


def test_the_warm_projection_is_near_the_cold_one_and_of_the_rank(library: Library) -> None:
    s = np.where(np.arange(80) < 3, [5.0, 4.0, 3.0] + [0.0] * 77, 0.01)
    y = library.array(support.with_spectrum(s, (96, 80)), "float32")
    g = prox.Rank(3)
    start = g.initial_start(y)
    for _ in range(2):
        p, start = g.prox_from(y, 1.0, start, tol=1e-2)
        difference = library.numpy(p) - library.numpy(g.prox(y))
        assert spectral_norm(difference) <= 0.05
        tail = np.linalg.svd(library.numpy(p), compute_uv=False)[3:]
        assert_ratio(tail, 96 * 5, EPS["float32"])
        assert tuple(start.shape) == (80, 13)


# --- clips without an SVD ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", support.FULL)
def test_clips_in_spectral_geometries_take_no_svd(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where values show that none is needed, and with the result of one."""
    x = np.stack(
        [support.with_spectrum(np.geomspace(3.0, low, 70), (80, 70), dtype=dtype) for low in (1, 2)]
    ).astype(dtype)
    below = x - 0.7 * support.with_spectrum([1.0], (80, 70), seed=9, dtype=dtype).astype(dtype)
    p = preconditioners.Kappa(4)
    cases = [
        (g, y) for g in (prox.SpectralBall(2.0), prox.SpectralInterval(0, 2)) for y in (x, below)
    ]
    cases += [(prox.SpectralInterval(0.9, 2.5), x)]
    expected = [oracle_clip(g, y) for g, y in cases]
    seen = backends.load("numpy").xp.linalg

    svd = seen.svd

    def only_small(y: Any, **options: Any) -> Any:
        assert min(y.shape[-2:]) < 33
        return svd(y, **options)

    with monkeypatch.context() as patch:
        patch.setattr(seen, "svd", only_small)
        for (g, y), z in zip(cases, expected, strict=True):
            found = g.anisotropic_prox(y, 2.0, p)
            np.testing.assert_allclose(found, z, atol=2000 * support.EPS[dtype])
            assert found.tobytes() == g.prox(y).tobytes()
    for g, y in cases:
        found, status = g.anisotropic_prox(y, 2.0, p, full_output=True)
        assert (status == 0).all()
        assert (g.value(found) == 0).all()
        assert (g.anisotropic_prox(y, 0.1, p, full_output=True).status == 1).all()
    # What a proof does not cover is left to the SVD.
    g = prox.SpectralInterval(0.9, 2.5)
    for y in (below, 0 * x, np.where(np.arange(70) == 3, np.nan, x)):
        z = g.prox(y)
        if np.isfinite(y).all():
            assert (g.value(z) == 0).all()
        else:
            assert np.isnan(z).all()
    np.testing.assert_allclose(g.prox(below), oracle_clip(g, below), atol=2000 * support.EPS[dtype])


def oracle_clip(g: Any, y: Any) -> Any:
    u, s, vh = np.linalg.svd(y, full_matrices=False)
    s = np.clip(s, getattr(g, "low", 0.0), getattr(g, "high", getattr(g, "radius", None)))
    return (u * s[..., None, :]) @ vh
