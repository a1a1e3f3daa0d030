"""Values, projections, linear minimisation and bad input of all functions and sets."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from specdesc import preconditioners, prox
from tests import oracles, support
from tests.oracles import FUNCTIONS
from tests.support import Library

SHAPE = (4, 3)
SETS = {name: g for name, g in FUNCTIONS.items() if g.is_set}
BOUNDED = {name: g for name, g in SETS.items() if hasattr(g, "lmo")}
VECTORS = {name: g for name, g in FUNCTIONS.items() if not g.frame.unitary}
EVERY = pytest.mark.parametrize("name", FUNCTIONS)
EVERY_SET = pytest.mark.parametrize("name", SETS)
EVERY_BOUNDED = pytest.mark.parametrize("name", BOUNDED)


def gaussian(name: str, *batch: int, seed: int = 0, dtype: str = "float64") -> Any:
    shape = (3, 3) if name in oracles.HERMITIAN else SHAPE
    x = support.gaussian(*batch, *shape, seed=seed, dtype=dtype)
    return (x + support.adjoint(x)) / 2 if name in oracles.HERMITIAN else x


def vdot(x: Any, y: Any) -> float:
    return float(np.vdot(x, y).real)


@EVERY
def test_values_by_definition(name: str, library: Library, dtype: str) -> None:
    """Also on complex matrices, and 0 or inf for sets."""
    g = FUNCTIONS[name]
    if (name in oracles.REAL and dtype in support.COMPLEX) or library.backend == "dask":
        pytest.skip("real sets; dask is tried elsewhere")
    if library.name != "torch" and dtype not in ("float64", "complex64"):
        pytest.skip("one library tries all dtypes")
    if name == "Rank" and dtype == "bfloat16":
        pytest.skip("8 max(m, n) eps is a quarter")
    x = library.array(gaussian(name, 3, dtype=dtype), dtype)
    host = library.numpy(x).astype("complex128" if dtype in support.COMPLEX else "float64")
    found = library.numpy(g.value(x))
    np.testing.assert_allclose(found, oracles.value(g, host), rtol=300 * support.EPS[dtype])
    inside = g.prox(x, 0.5)
    if g.is_set:
        assert (library.numpy(g.value(inside)) == 0).all()
        assert (library.numpy(g.violation(inside)) <= 1e3 * support.EPS[dtype]).all()
        assert (library.numpy(g.violation(x)) > 0.01).all()
    else:
        assert (library.numpy(g.violation(x)) == 0).all()


@EVERY
def test_proximal_points_beat_competitors(name: str, rng: Any) -> None:
    """The Euclidean definition, by its own conjugate where there is one."""
    g = FUNCTIONS[name]
    for trial in range(12):
        y = 1.5 * gaussian(name, seed=trial)
        step = 10.0 ** rng.uniform(-1.5, 0.7)
        x = g.prox(y, step)
        cost = oracles.value(g, x) + np.linalg.norm(x - y) ** 2 / (2 * step)
        near = x + 10.0 ** rng.uniform(-5, 0, (30, 1, 1)) * gaussian(name, 30, seed=trial + 50)
        z = g.prox(near, 1e-9) if g.is_set else near
        others = oracles.value(g, z) + np.linalg.norm(z - y, axis=(-2, -1)) ** 2 / (2 * step)
        assert cost <= others.min() + 1e-11 * (1 + abs(cost))
        if g.is_convex:
            v = (y - x) / step
            gap = oracles.value(g, x) + oracles.conjugate(g, v, 1e-9) - vdot(x, v)
            assert abs(gap) <= 1e-9 * (1 + abs(vdot(x, v)))


@pytest.mark.parametrize("name", [name for name, g in FUNCTIONS.items() if g.is_convex])
def test_firm_nonexpansiveness(name: str) -> None:
    """Far apart and very near."""
    g = FUNCTIONS[name]
    for distance in (3.0, 1e-2, 1e-4, 1e-6):
        for trial in range(6):
            x = 2.0 * gaussian(name, seed=trial)
            y = x + distance * gaussian(name, seed=trial + 99)
            d = g.prox(x, 0.6) - g.prox(y, 0.6)
            assert vdot(d, d) <= vdot(d, x - y) + 1e-13 * max(distance, 1e-2)


@EVERY_SET
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "float16"])
def test_projections_are_feasible_over_the_corpus(name: str, dtype: str) -> None:
    """And idempotent bit for bit, at every scale."""
    if name in oracles.REAL and dtype in support.COMPLEX:
        pytest.skip("a real set")
    g = FUNCTIONS[name]
    shape = (5, 5) if name in oracles.HERMITIAN else (6, 4)
    for case, host in support.corpus(shape, dtype).items():
        x = host / max(1.0, np.abs(host).max() / 1e3) if dtype == "float16" else host
        if name in oracles.HERMITIAN:
            x = x / 2 + support.adjoint(x) / 2
        p = g.prox(x.astype(dtype))
        if dtype == "float16" and name in ("Rank", *oracles.HERMITIAN) and g.value(p) != 0:
            continue  # half precision has no digits left below its smallest numbers
        assert g.value(p) == 0, case
        assert g.prox(p).tobytes() == p.tobytes(), case


@EVERY_BOUNDED
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_linear_minimisation(name: str, dtype: str) -> None:
    """Feasible, below every point of the set, and equal to minus the support function."""
    if name in oracles.REAL and dtype in support.COMPLEX:
        pytest.skip("a real set")
    g = BOUNDED[name]
    for trial in range(8):
        c = gaussian(name, seed=trial, dtype=dtype)
        s = g.lmo(c)
        assert oracles.value(g, s) == 0
        for z in g.prox(3.0 * gaussian(name, 10, seed=trial + 9, dtype=dtype)):
            assert vdot(c, s) <= vdot(c, z) + 1e-12
        if g.is_convex:
            assert vdot(c, s) == pytest.approx(-oracles.conjugate(g, -c), rel=1e-12)
    zero = g.lmo(0.0 * gaussian(name, dtype=dtype))
    assert np.isfinite(zero).all()
    assert oracles.value(g, zero) == 0


@pytest.mark.parametrize("name", VECTORS)
def test_the_last_axis_as_one_point(name: str, library: Library) -> None:
    g = type(VECTORS[name])
    fields = {k: v for k, v in vars(VECTORS[name]).items() if k != "axes"}
    vector = g(**fields, axes=(-1,))
    if library.compiles and name != "L1Ball":
        pytest.skip("each is a compilation")
    x = support.gaussian(2, 3, 7)
    steps = np.asarray([[0.2, 0.5, 1.0], [0.3, 2.0, 0.1]])
    matrix = VECTORS[name].prox(x[..., None, :], steps)[..., 0, :]
    a, t = library.array(x, "float32"), library.array(steps, "float32")
    y = vector.prox(a, t)
    assert tuple(y.shape) == x.shape
    np.testing.assert_allclose(library.numpy(y), matrix, atol=2e-6)
    assert tuple(vector.value(a).shape) == (2, 3)
    assert tuple(vector.value(a[0, 0, :]).shape) == ()
    if hasattr(vector, "lmo"):
        assert tuple(vector.lmo(a).shape) == x.shape


@EVERY
def test_empty_arrays(name: str) -> None:
    g = FUNCTIONS[name]
    for shape in ((0, 3, 3), (2, 0, 0)):
        x = np.zeros(shape)
        if shape[-1] == 0 and name == "Rank":
            continue
        assert g.prox(x).shape == shape
        assert g.value(x).shape == shape[:1]
        assert g.violation(x).shape == shape[:1]


@EVERY
def test_inputs_are_not_written_to_nor_shared(name: str) -> None:
    g = FUNCTIONS[name]
    for host in (gaussian(name, 2), 0.01 * gaussian(name, 2), np.zeros((2, 3, 3))):
        x = host.copy()
        y = g.prox(x, 0.5)
        assert (x == host).all()
        before = y.tobytes()
        x[...] = 7.0
        assert y.tobytes() == before


# --- exactness of the sort-based projections -----------------------------------------------------


def simplex_by_bisection(x: Any, total: float) -> Any:
    low, high = x.min() - total, x.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(x - middle, 0).sum() > total else (low, middle)
    return np.maximum(x - low, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_simplex_and_l1_ball_are_exact(dtype: str, rng: Any) -> None:
    """Dtype, sum, uniform shift, interior and boundary points."""
    unit = support.EPS[dtype]
    simplex, ball = prox.Simplex(axes=(-1,)), prox.L1Ball(1.0, axes=(-1,))
    for n in (1, 2, 5, 1000):
        for trial in range(10):
            x = (10.0 ** rng.uniform(-3, 3) * rng.standard_normal(n)).astype(dtype)
            if trial == 0:
                x = np.ones(n, dtype=dtype)
            p, q = simplex.prox(x), ball.prox(x)
            assert p.dtype == q.dtype == x.dtype
            assert abs(p.astype("float64").sum() - 1) <= 8 * max(n, 4) * unit
            assert (p >= 0).all()
            scale = np.abs(x).max()
            exact = simplex_by_bisection(x.astype("float64"), 1.0)
            np.testing.assert_allclose(p, exact, atol=4 * unit * max(scale, 1))
            assert np.ptp((np.abs(x) - np.abs(q))[q != 0]) <= 8 * unit * max(scale, 1)
            assert np.abs(q).sum() <= 1 + 8 * n * unit
    small = np.asarray([0.1, -0.2, 0.05, 0.0], dtype=dtype)
    assert (ball.prox(small) == small).all()
    assert abs(float(simplex.prox(np.abs(small)).sum()) - 1) <= 8 * unit
    for edge in ([0.0, 1.0, 0.0], [1.0, 0.0, 0.0]):
        e = np.asarray(edge, dtype=dtype)
        assert (ball.prox(e) == e).all()
        assert (simplex.prox(e) == e).all()
    offset = np.asarray([1e8, 1e8 + 1, 1e8 - 3.0])
    np.testing.assert_allclose(prox.Simplex(axes=(-1,)).prox(offset), [0, 1, 0], atol=1e-7)


def test_sparse_keeps_exactly_as_many_at_ties() -> None:
    g = prox.Sparse(2, axes=(-1,))
    np.testing.assert_array_equal(g.prox(np.asarray([1.0, -1.0, 1.0, 0.5])), [1, -1, 0, 0])
    assert g.value(np.asarray([1.0, 1e-30, 1e-30])) == math.inf


def test_ky_fan_ball_is_the_intersection() -> None:
    """Against alternating projections, and as the ball dual to the sum of the k largest."""
    g = prox.KyFanBall(2, 0.6)
    for trial in range(2):
        y = support.gaussian(*SHAPE, seed=trial)
        x, p, q = y, 0 * y, 0 * y
        for _ in range(500):  # Dykstra
            a = prox.SpectralBall(0.6).prox(x + p)
            p = x + p - a
            x = prox.NuclearBall(1.2).prox(a + q)
            q = a + q - x
        np.testing.assert_allclose(g.prox(y), x, atol=1e-4)


def test_relative_rank_and_exact_counts() -> None:
    """No absolute threshold in a rank; an entry is 0 or not."""
    low = support.with_spectrum([2.0, 1.0], SHAPE)
    for scale in (1e-150, 1.0, 1e150):
        assert prox.RankPenalty(0.5).value(scale * low) == 1.0
        assert prox.L0(0.5).value(scale * low) == 6.0


def test_lmo_has_no_drift_from_small_singular_values() -> None:
    x = support.gaussian(5, 4)
    g = prox.NuclearBall(1.0)
    assert abs(np.vdot(x, g.lmo(x)) + oracles.singular_values(x)[0]) <= 1e-12
    np.testing.assert_allclose(g.lmo(1e-30 * x), g.lmo(x), atol=1e-10)
    low = support.with_spectrum([2.0, 1.0], (30, 20))
    step = prox.SpectralBall(3.0).lmo(low)
    np.testing.assert_allclose(oracles.singular_values(step)[:3], [3, 3, 0], atol=1e-10)
    simplex = prox.Simplex(axes=(-1,))
    for c in ([-3.0, -1.0, -2.0], [3.0, 1.0, 2.0], [0.0, 0.0, 0.0]):
        s = simplex.lmo(np.asarray(c))
        assert s.min() >= 0
        assert s.sum() == 1
        assert np.vdot(c, s) == min(c)


def test_a_copy_of_a_ridge_convention_is_told_apart() -> None:
    """Weight / 2 times the square, in value and prox alike."""
    x = support.gaussian(*SHAPE)
    assert prox.Ridge(2.0).value(x) == pytest.approx(np.linalg.norm(x) ** 2)
    np.testing.assert_allclose(prox.Ridge(2.0).prox(x, 0.5), x / 2)


# --- bad input -----------------------------------------------------------------------------------

OPTIONS: list[tuple[str, Any]] = [
    *[
        (rf"{option} must be .* got {value}", lambda make=make, value=value: make(value))
        for make, option in (
            (prox.SpectralBall, "radius"),
            (prox.NuclearBall, "radius"),
            (lambda r: prox.KyFanBall(1, r), "radius"),
            (prox.FrobeniusBall, "radius"),
            (prox.MaxBall, "radius"),
            (prox.L1Ball, "radius"),
            (prox.Simplex, "total"),
            (prox.L1, "weight"),
            (prox.L0, "weight"),
            (prox.Nuclear, "weight"),
            (prox.RankPenalty, "weight"),
            (prox.Ridge, "weight"),
            (lambda w: prox.ElasticNet(w, 1.0), "linear"),
            (lambda w: prox.ElasticNet(1.0, w), "square"),
            (lambda w: prox.MCP(w, 1.0), "weight"),
            (lambda w: prox.SCAD(w, 3.0), "weight"),
            (lambda w: prox.Huber(w, 1.0), "weight"),
            (lambda w: prox.Huber(1.0, w), "delta"),
            (lambda low: prox.SpectralInterval(low, 1.0), "low"),
        )
        for value in (-1.0, math.nan, math.inf)
    ],
    ("low must be at most high=1.0, got 2.0: the set is empty", lambda: prox.Box(2.0, 1.0)),
    ("low must be at most .* got nan", lambda: prox.Box(math.nan, 1.0)),
    ("low must be at most .* got inf", lambda: prox.Box(math.inf, math.inf)),
    ("low must be at most high=1.0, got 2.0", lambda: prox.SpectralInterval(2.0, 1.0)),
    ("count must be .* got 0", lambda: prox.Sparse(0)),
    ("k must be .* got 0", lambda: prox.KyFanBall(0, 1.0)),
    ("a must be .* above 0.0, got 0.0", lambda: prox.MCP(1.0, 0.0)),
    ("a must be .* above 2.0, got 2.0", lambda: prox.SCAD(1.0, 2.0)),
    (r"axes must be .* got \(0,\)", lambda: prox.L1(1.0, axes=(0,))),
    ("g must be a penalty on magnitudes, got Box", lambda: prox.Spectral(prox.Box(0.0, 1.0))),
    ("RankPenalty counts", lambda: prox.Spectral(prox.L0(1.0))),
    ("rank must be an integer from 1 to 3", lambda: prox.Rank(4).prox(np.ones(SHAPE))),
    (r"square matrices for PSD, got shape \(4, 3\)", lambda: prox.PSD().prox(np.ones(SHAPE))),
    *[
        ("step must be .* got -1.0", lambda g=g: g.prox(np.ones((3, 3)), -1.0))
        for g in FUNCTIONS.values()
    ],
]


@pytest.mark.parametrize(("message", "call"), OPTIONS)
def test_bad_options(message: str, call: Any) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_real_sets_refuse_complex_points() -> None:
    for g in (prox.Box(0.0, 1.0), prox.Simplex()):
        for call in (g.value, g.prox, g.lmo):
            with pytest.raises(TypeError, match="must be real for"):
                call(np.ones(SHAPE, dtype=complex))


@EVERY
def test_a_nan_stays_in_its_own_matrix(name: str) -> None:
    g = FUNCTIONS[name]
    x = gaussian(name, 3)
    x[1, 0, 0] = math.nan
    for y in (g.value(x), g.violation(x), g.prox(x, 0.5), *([g.lmo(x)] if name in BOUNDED else [])):
        assert np.isnan(y[1]).all()
        assert not np.isnan(y[[0, 2]]).any()


@pytest.mark.parametrize("total", [0.5, 3.0])
def test_the_vertex_of_a_simplex_has_its_total(total: float) -> None:
    g = gaussian("Simplex")
    vertex = prox.Simplex(total).lmo(g)
    assert vertex.sum() == total
    assert vdot(g, vertex) == total * g.min()


@pytest.mark.parametrize("kernel", [preconditioners.Kappa(3, eps=0.5), preconditioners.Tanh()])
def test_an_elastic_net_without_squares_is_the_norm(kernel: Any) -> None:
    """In both proxes: the soft threshold, and that of a kernel."""
    kernel = replace(kernel, geometry="elementwise")
    y, net, norm = 3.0 * gaussian("L1"), prox.ElasticNet(0.7, 0.0), prox.L1(0.7)
    np.testing.assert_allclose(net.prox(y, 0.5), norm.prox(y, 0.5), rtol=1e-14)
    ours, theirs = (g.anisotropic_prox(y, 0.5, kernel) for g in (net, norm))
    np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    assert np.abs(theirs).sum() < np.abs(y).sum()
