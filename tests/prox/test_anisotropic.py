"""Every combination of function, geometry and kernel that the table claims, by its definition."""

import math
from typing import Any

import numpy as np
import pytest

import specdesc
from specdesc import minimax, preconditioners, prox
from tests import oracles, support
from tests.oracles import FUNCTIONS, KERNELS
from tests.support import Library

SHAPE = (4, 3)

#: The lines of the table that claim something.
THERE = [
    (name, line.geometry)
    for name, g in FUNCTIONS.items()
    for line in prox.combinations()
    if line.function == type(g).__name__ and line.how is not None
]
# The table has a Spectral that is not convex; one that is has the isotropic prox, too.
THERE.append(("Spectral Huber", "global"))
EVERY = pytest.mark.parametrize(("name", "geometry"), THERE, ids=["-".join(t) for t in THERE])
CONVEX = [(name, geometry) for name, geometry in THERE if FUNCTIONS[name].is_convex]
EVERY_CONVEX = pytest.mark.parametrize(
    ("name", "geometry"), CONVEX, ids=["-".join(t) for t in CONVEX]
)


def shape_of(name: str) -> tuple[int, int]:
    return (3, 3) if name in oracles.HERMITIAN else SHAPE


def gaussian(name: str, *batch: int, seed: int, dtype: str = "float64") -> Any:
    """Draw matrices of the kind that a function is for."""
    x = support.gaussian(*batch, *shape_of(name), seed=seed, dtype=dtype)
    return (x + support.adjoint(x)) / 2 if name in oracles.HERMITIAN else x


def problem(name: str, p: Any, seed: int, count: int = 4, dtype: str = "float64") -> Any:
    """Return points that a step of the method leads to: within reach of the set."""
    start = FUNCTIONS[name].prox(gaussian(name, count, seed=seed, dtype=dtype), 0.5)
    steps = np.asarray([0.3, 0.7, 1.0, 2.0])[:count]
    d = 0.6 * gaussian(name, count, seed=seed + 1, dtype=dtype)
    y = start - steps[:, None, None] * p(d)
    return ((y + support.adjoint(y)) / 2 if name in oracles.HERMITIAN else y), steps


def competitors(g: Any, name: str, x: Any, rng: Any, dtype: str) -> Any:
    """Return feasible points far from x and near to it, at distances over six decades."""
    found = [g.prox(2.0 * gaussian(name, 6, seed=int(rng.integers(1 << 30)), dtype=dtype), 0.5)]
    distances = 10.0 ** rng.uniform(-6, 0, (12, 1, 1))
    near = x + distances * gaussian(name, 12, seed=int(rng.integers(1 << 30)), dtype=dtype)
    found.append(g.prox(near, 1e-9) if g.is_set else near)
    # Along a ray, and with magnitudes dropped: where penalties have their other minima.
    found.append(g.prox(x * np.asarray([0.0, 0.5, 0.999, 1.001, 1.5])[:, None, None], 1e-9))
    found.append(np.where(np.abs(x) > np.median(np.abs(x)), x, 0.0)[None])
    return np.concatenate(found)


def check_optimal(name: str, p: Any, dtype: str, rng: Any) -> None:
    g = FUNCTIONS[name]
    y, steps = problem(name, p, seed=int(rng.integers(1000)), dtype=dtype)
    x, status = g.anisotropic_prox(y, steps, p, full_output=True)
    assert (status == 0).all()
    for i, step in enumerate(steps):
        ours = oracles.objective(g, p, x[i], y[i], step)
        assert np.isfinite(ours)
        z = competitors(g, name, x[i], rng, dtype)
        theirs = oracles.objective(g, p, z, y[i], step).min()
        assert ours <= theirs + 1e-10 * (1 + abs(theirs)), (type(p).__name__, step)


@EVERY
def test_no_competitor_is_better(name: str, geometry: str, rng: Any) -> None:
    """The definition, for all kernels; holds for what is not convex, too."""
    for make in KERNELS.values():
        check_optimal(name, make(eps=0.5, geometry=geometry), "float64", rng)
    if name not in oracles.REAL:
        for kernel in ("Kappa 4", "Arcsinh"):
            p = KERNELS[kernel](eps=0.2, geometry=geometry)
            check_optimal(name, p, "complex128", rng)


@pytest.mark.exhaustive
@EVERY
@pytest.mark.parametrize("eps", [1e-3, 0.1, 5.0])
def test_no_competitor_is_better_at_other_scales(
    name: str, geometry: str, eps: float, rng: Any
) -> None:
    for make in KERNELS.values():
        for _ in range(3):
            check_optimal(name, make(eps=eps, geometry=geometry), "float64", rng)


@EVERY_CONVEX
def test_fenchel_and_young_certify_the_minimum(name: str, geometry: str) -> None:
    """No gap to the dual problem, with conjugates that share no code with the prox."""
    g, checked = FUNCTIONS[name], 0
    for kernel, make in KERNELS.items():
        if kernel in ("Sign", "Clip"):
            continue  # the slope of h at the displacement is not unique
        p = make(eps=0.5, geometry=geometry)
        y, steps = problem(name, p, seed=7)
        x = g.anisotropic_prox(y, steps, p)
        for i, step in enumerate(steps):
            w = (y[i] - x[i]) / step
            if oracles.magnitudes(w, geometry).max() > 0.98 * p.reach:
                continue  # next to its limit the slope of h amplifies rounding
            v = oracles.inverse(p, w)
            primal = oracles.value(g, x[i]) + step * oracles.reference(p, w)
            dual = np.vdot(y[i], v) - oracles.conjugate(g, v) - step * p.conjugate(v)
            assert primal == pytest.approx(dual, abs=1e-6 * (1 + abs(primal)))
            checked += 1
    assert checked > 10


@EVERY
def test_sets_are_met_and_feasible_points_stay_bit_for_bit(name: str, geometry: str) -> None:
    g = FUNCTIONS[name]
    if not g.is_set:
        pytest.skip("a function has no points to stay at")
    for kernel in ("Kappa 4", "Log"):
        p = KERNELS[kernel](eps=0.5, geometry=geometry)
        for dtype in ("float64", "float32"):
            y, steps = problem(name, p, seed=3)
            y, steps = y.astype(dtype), steps.astype(dtype)
            x = g.anisotropic_prox(y, steps, p)
            assert x.dtype == dtype
            assert (g.value(x) == 0).all()
            again = g.anisotropic_prox(x, steps, p)
            assert again.tobytes() == x.tobytes()
            # The successor of a feasible point is within reach.
            longest = oracles.magnitudes((x - y).astype("float64"), geometry).max(-1)
            assert (longest <= p.reach * steps * (1 + 1e-5)).all()


@EVERY
def test_a_stack_is_a_loop_and_float32_is_float64_rounded(name: str, geometry: str) -> None:
    g = FUNCTIONS[name]
    for kernel in ("Sqrt", "Tanh", "Log"):
        p = KERNELS[kernel](eps=0.5, geometry=geometry)
        y, steps = problem(name, p, seed=11)
        x = g.anisotropic_prox(y, steps, p)
        for i, step in enumerate(steps):
            one = g.anisotropic_prox(y[i], float(step), p)
            np.testing.assert_allclose(one, x[i], atol=1e-12)
        if g.is_convex:
            single = g.anisotropic_prox(y.astype("float32"), steps.astype("float32"), p)
            np.testing.assert_allclose(single, x, atol=2e-5)
        broken = y.copy()
        broken[1, 0, 0] = np.nan
        x, status = g.anisotropic_prox(broken, steps, p, full_output=True)
        assert np.isnan(x[1]).all()
        assert np.isfinite(x[[0, 2, 3]]).all()
        np.testing.assert_array_equal(status, [0, 2, 0, 0])


@EVERY
def test_invariance(name: str, geometry: str) -> None:
    """L1: what phi and g do not see, the prox does not see."""
    g, p = FUNCTIONS[name], KERNELS["Kappa 3"](eps=0.5, geometry=geometry)
    y, steps = problem(name, p, seed=5)
    m, n = shape_of(name)
    u, v = support.orthonormal(m, m, seed=1), support.orthonormal(n, n, seed=2)
    if name in oracles.HERMITIAN:
        v = u.T
    if not (g.frame.unitary or g.frame.name == "norm") or geometry in (
        "elementwise",
        "rows",
        "columns",
    ):
        u = np.eye(m)[np.random.default_rng(0).permutation(m)]
        v = np.eye(n)[np.random.default_rng(1).permutation(n)]
        if not g.frame.signed:
            u = u * np.asarray([1.0, -1.0, -1.0, 1.0])[:m]
    x = g.anisotropic_prox(y, steps, p)
    turned = g.anisotropic_prox(u @ y @ v, steps, p)
    np.testing.assert_allclose(turned, u @ x @ v, atol=1e-11)


@EVERY
def test_scale_laws(name: str, geometry: str) -> None:
    """The quadratic kernel is the Euclidean prox of step / eps; a step of 0 stays."""
    g, p = FUNCTIONS[name], preconditioners.Quadratic(eps=0.4, geometry=geometry)
    y = gaussian(name, seed=2)
    euclidean = g.prox(y, 0.3 / 0.4)
    np.testing.assert_allclose(g.anisotropic_prox(y, 0.3, p), euclidean, atol=1e-10)
    if not g.is_set:
        np.testing.assert_allclose(g.anisotropic_prox(y, 0.0, p), y, atol=1e-13)
        assert (g.prox(y, 0.0) == y).all() or np.allclose(g.prox(y, 0.0), y, atol=1e-14)


@EVERY
def test_every_library_computes_the_same(name: str, geometry: str, library: Library) -> None:
    if library.name not in ("torch", "array_api_strict:no_float64", "dask"):
        pytest.skip("the same code as on numpy and the strictest library")
    g = FUNCTIONS[name]
    dtype = "float32" if "float64" not in library.dtypes else "float64"
    p = KERNELS["Kappa 4"](eps=0.5, geometry=geometry)
    y, steps = problem(name, p, seed=13, count=2)
    expected = g.anisotropic_prox(y, steps, p)
    found = g.anisotropic_prox(library.array(y, dtype), library.array(steps, dtype), p)
    assert library.dtype(found) == dtype
    np.testing.assert_allclose(library.numpy(found), expected, atol=300 * support.EPS[dtype])


@pytest.mark.exhaustive
@EVERY
def test_every_combination_under_jit(name: str, geometry: str) -> None:
    jax = pytest.importorskip("jax", reason="jax is not installed")
    way = next(each for each in support.LIBRARIES if each.name == "jax")
    with way.context():
        g, p = FUNCTIONS[name], KERNELS["Kappa 3"](eps=0.5, geometry=geometry)
        y, steps = problem(name, p, seed=13, count=2)
        call = jax.jit(lambda y, steps: g.anisotropic_prox(y, steps, p))
        found = way.numpy(call(way.array(y, "float64"), way.array(steps, "float64")))
        np.testing.assert_allclose(found, g.anisotropic_prox(y, steps, p), atol=1e-9)


@pytest.mark.exhaustive
# array-api-compat finds the namespace of every running sum through a cache, of which Dynamo warns.
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
@EVERY
def test_every_combination_compiles_in_one_graph(name: str, geometry: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.compiler.reset()
    g, p = FUNCTIONS[name], KERNELS["SoftSign"](eps=0.5, geometry=geometry)
    y, _ = problem(name, p, seed=13, count=2)
    x = torch.asarray(y)

    def call(x: Any) -> Any:
        return g.anisotropic_prox(x, 0.7, p)

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    np.testing.assert_allclose(compiled(x).numpy(), call(x).numpy(), atol=1e-10)


# --- what the table says is not there ------------------------------------------------------------


def test_the_table_names_every_function_and_geometry() -> None:
    lines = prox.combinations()
    assert {line.function for line in lines} == {type(g).__name__ for g in FUNCTIONS.values()}
    assert len(lines) == len({(line.function, line.geometry) for line in lines})
    exported = {
        name
        for name in prox.__all__
        if isinstance(getattr(prox, name), type) and issubclass(getattr(prox, name), prox.Operator)
    }
    assert exported - {"Operator"} == {line.function for line in lines}


def test_combinations_that_are_not_there_say_what_is() -> None:
    absent = [
        (name, line.geometry)
        for name, g in FUNCTIONS.items()
        for line in prox.combinations()
        if line.function == type(g).__name__ and line.how is None and name != "Spectral Huber"
    ]
    assert ("Box", "spectral") in absent
    assert ("L1", "spectral") in absent
    for name, geometry in absent:
        with pytest.raises(NotImplementedError, match=f"has no prox in the geometry '{geometry}'"):
            FUNCTIONS[name].anisotropic_prox(
                gaussian(name, seed=0), 1.0, preconditioners.Tanh(geometry=geometry)
            )


def test_polynomials_have_the_forms_that_do_not_depend_on_a_kernel() -> None:
    for line in prox.combinations():
        if line.how is None:
            continue
        g = next(g for g in FUNCTIONS.values() if type(g).__name__ == line.function)
        p = preconditioners.Polynomial(minimax.NEWTON_SCHULZ, geometry=line.geometry)
        y = 0.3 * gaussian(line.function, seed=1)
        if line.any_kernel:
            np.testing.assert_allclose(g.anisotropic_prox(y, 1.0, p), g.prox(y), atol=1e-14)
        else:
            with pytest.raises(NotImplementedError, match="fit_kappa"):
                g.anisotropic_prox(y, 1.0, p)


def test_status_tells_of_sets_out_of_reach() -> None:
    """Closed forms stay, and the Frobenius ball gives its Euclidean projection."""
    y = 50.0 * support.gaussian(2, *SHAPE)
    for name, geometry in THERE:
        g = FUNCTIONS[name]
        if not g.is_set or name in (*oracles.HERMITIAN, "Rank", "Sparse"):
            continue
        p = preconditioners.Kappa(4, geometry=geometry)
        x, status = g.anisotropic_prox(y, 0.1, p, full_output=True)
        assert (status == 1).all(), (name, geometry)
        np.testing.assert_allclose(x, g.prox(y), atol=1e-11)
        far = preconditioners.Arcsinh(geometry=geometry)
        assert (g.anisotropic_prox(y, 0.1, far, full_output=True).status == 0).all()


def test_psd_says_that_a_point_was_not_hermitian() -> None:
    y = support.gaussian(3, 3)
    p = preconditioners.Log()
    point, status = prox.PSD().anisotropic_prox(y, 9.0, p, full_output=True)
    assert status == 1
    assert prox.PSD().value(point) == 0
    assert prox.PSD().violation(y) > 0.1


# --- the scalar solver ---------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [name for name in KERNELS if name not in ("Sign", "Clip")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backward_error_of_the_scalar_equation(kernel: str, dtype: str, rng: Any) -> None:
    """F1 for ridge and elastic net: 4000 problems over 16 decades, half of them at saturation."""
    count = 4000
    s = 10.0 ** rng.uniform(-6, 6, count)
    s[::2] = 1.0 + 10.0 ** rng.uniform(-6, -1, count // 2) * rng.choice([-1, 1], count // 2)
    y = s.astype(dtype)[None, :]
    for square in (1e-4, 1.0, 1e4):
        g = prox.ElasticNet(0.1, square)
        p = KERNELS[kernel](eps=0.5, geometry="elementwise")
        x = g.anisotropic_prox(y, 1.0, p)[0].astype("float64")
        slope = (0.1 + square * x) / 0.5
        back = x + p.kernel.pre(slope, xp=oracles.xp)
        moved = x > 0
        error = np.abs(back - y[0])[moved] / y[0][moved]
        assert error.max() <= 12 * support.EPS[dtype]
        kept = p.kernel.pre(np.asarray([0.2]), xp=oracles.xp)[0]
        assert (y[0][~moved] <= kept * (1 + 1e-6)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["L0", "L1", "Ridge", "ElasticNet", "Huber", "MCP", "SCAD"])
def test_many_numbers_are_as_good_as_few(name: str, dtype: str, rng: Any) -> None:
    """What large arrays share (jumps, pieces) changes no value by more than rounding."""
    g = FUNCTIONS[name]
    y = np.concatenate([rng.uniform(-3, 3, 19800), 10.0 ** rng.uniform(-4, 1, 200)])
    y = y.astype(dtype)[None, :]
    for kernel, make in KERNELS.items():
        for eps, step in ((0.5, 0.7), (0.05, 1.5), (5.0, 0.2)):
            p = make(eps=eps, geometry="elementwise")
            many = g.anisotropic_prox(y, step, p)
            few = np.stack([g.anisotropic_prox(y[:, i : i + 2000], step, p) for i in (0, 18000)])
            different = many[:, [*range(2000), *range(18000, 20000)]] - np.concatenate(few, -1)
            jumps = np.abs(different) > 100 * support.EPS[dtype] * (1 + np.abs(y.max()))
            # A jump may lie a rounding to either side, and roots at a fold are sensitive.
            assert jumps.sum() <= (2 if g.is_convex is False else 0), (kernel, eps, step)
            if dtype == "float64" and eps == 0.5:
                x, z = many[0, ::20, None, None], y[0, ::20, None, None]
                ours = oracles.objective(g, p, x, z, step)
                for factor in (0.0, 0.5, 0.99, 0.9999, 1.0001, 1.01, 2.0):
                    theirs = oracles.objective(g, p, x * factor, z, step)
                    assert (ours <= theirs + 1e-10 * (1 + np.abs(ours))).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_frobenius_ball_meets_its_multiplier(kernel: str, rng: Any) -> None:
    """7.4: s = x + step pre(mu x) with one mu, and the norm to a few eps; the limit case, too."""
    p = KERNELS[kernel](eps=0.3)
    g = prox.FrobeniusBall(2.0)
    for trial in range(40):
        inside = support.gaussian(*SHAPE, seed=trial)
        inside *= 2.0 / np.linalg.norm(inside)
        step = 10.0 ** rng.uniform(-2, 1)
        y = inside - step * p(
            10.0 ** rng.uniform(-2, 3) * support.gaussian(*SHAPE, seed=trial + 99)
        )
        x, status = g.anisotropic_prox(y, step, p, full_output=True)
        assert status == 0
        if np.linalg.norm(y) <= 2.0:
            assert (x == y).all()
            continue
        assert np.linalg.norm(x) == pytest.approx(2.0, rel=1e-13)
        if kernel in ("Sign", "Clip"):
            continue
        s, t = oracles.singular_values(y), oracles.singular_values(x)
        r = (s - t) / step
        if r.max() < 0.99 * p.reach and r.min() > 1e-8 and r.max() < 20:
            mu = p.kernel.inverse(r, xp=oracles.xp) / t
            np.testing.assert_allclose(mu, mu.mean(), rtol=1e-6)
    back = g.anisotropic_prox(inside + 0.5 * preconditioners.Sign()(inside), 0.5, p)
    assert np.linalg.norm(back) <= 2.0 * (1 + 1e-13)
    if p.reach == 1:  # fully saturated: the one point within reach is where the step began
        np.testing.assert_allclose(back, inside, atol=1e-7)


# --- the step ------------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", ["spectral", "elementwise", "global", "rows"])
@pytest.mark.parametrize("kernel", ["Kappa 4", "Tanh", "Log", "Quadratic"])
def test_fixed_points_are_the_stationary_points(geometry: str, kernel: str) -> None:
    """A1: x stays where -grad f lies in the subdifferential of g, and nowhere else."""
    p = KERNELS[kernel](eps=0.5, geometry=geometry)
    weight, x = 0.8, support.gaussian(*SHAPE)
    g = prox.Ridge(weight)
    still = specdesc.proximal_step(x, -weight * x, 0.3, preconditioner=p, g=g)
    np.testing.assert_allclose(still, x, atol=1e-12)
    moved = specdesc.proximal_step(x, -weight * x + 0.01, 0.3, preconditioner=p, g=g)
    assert np.abs(moved - x).max() > 1e-5
    ball = prox.FrobeniusBall(1.0)
    edge = x / np.linalg.norm(x)
    for size in (0.1, 3.0):
        still = specdesc.proximal_step(edge, -size * edge, 0.3, preconditioner=p, g=ball)
        np.testing.assert_allclose(still, edge, atol=1e-9)
    tilted = -edge + 0.1 * support.gaussian(*SHAPE, seed=3)
    moved = specdesc.proximal_step(edge, tilted, 0.3, preconditioner=p, g=ball)
    assert np.abs(moved - edge).max() > 1e-3


@pytest.mark.parametrize("geometry", ["spectral", "elementwise", "global", "columns"])
@pytest.mark.parametrize("kernel", ["Sqrt", "Kappa 3", "Arctan", "Arcsinh"])
def test_the_implicit_form_of_the_step(geometry: str, kernel: str) -> None:
    """x_next = x - step (grad phi*(d) + grad phi*(v)), v the gradient of g at x_next."""
    p = KERNELS[kernel](eps=0.5, geometry=geometry)
    x, d = support.gaussian(2, *SHAPE), support.gaussian(2, *SHAPE, seed=8)
    following = specdesc.proximal_step(x, d, 0.4, preconditioner=p, g=prox.Ridge(0.8))
    implicit = x - 0.4 * (p(d) + p(0.8 * following))
    np.testing.assert_allclose(following, implicit, atol=1e-12)


@pytest.mark.parametrize("name", ["Zero", "L1", "L0", "MCP", "SpectralBall", "Rank", "Nuclear"])
def test_a_safe_step_never_increases_the_objective(name: str) -> None:
    """Theorem C: step eps / L, and at least the decrease that it promises."""
    g = FUNCTIONS[name]
    geometry = "elementwise" if g.frame.name == "magnitudes" else "spectral"
    hessian = support.gaussian(4, 4)
    hessian = (hessian + hessian.T) / 2
    lipschitz = np.abs(np.linalg.eigvalsh(hessian)).max()
    b = 0.5 * support.gaussian(*SHAPE, seed=9)

    def f(x: Any) -> float:
        return float(0.5 * np.vdot(x, hessian @ x) + np.vdot(b, x) + 0.05 * np.vdot(x, x) * 0)

    for kernel in ("SoftSign", "Kappa 4", "Tanh"):
        p = KERNELS[kernel](eps=0.4, geometry=geometry)
        step = p.convexity / lipschitz
        x = g.prox(support.gaussian(*SHAPE, seed=4), 0.1)
        for _ in range(25):
            d = hessian @ x + b
            y = x - step * p(d)
            z = specdesc.proximal_step(x, d, step, preconditioner=p, g=g)
            promised = oracles.objective(g, p, x, y, step) - oracles.objective(g, p, z, y, step)
            assert promised >= -1e-12
            decrease = f(x) + oracles.value(g, x) - f(z) - oracles.value(g, z)
            assert decrease >= promised - 1e-10
            x = z


def test_a_step_per_matrix_and_bad_input() -> None:
    x, d = support.gaussian(2, *SHAPE), support.gaussian(2, *SHAPE, seed=1)
    p, g = preconditioners.Tanh(eps=0.5), prox.SpectralBall(1.0)
    steps = np.asarray([0.1, 1.0])
    both = specdesc.proximal_step(x, d, steps, preconditioner=p, g=g)
    for i in range(2):
        one = specdesc.proximal_step(x[i], d[i], float(steps[i]), preconditioner=p, g=g)
        np.testing.assert_allclose(both[i], one, atol=1e-13)
    with pytest.raises(ValueError, match=r"step must be .* got -1\.0"):
        specdesc.proximal_step(x, d, -1.0, preconditioner=p, g=g)
    with pytest.raises(ValueError, match=r"x and d must have one shape"):
        specdesc.proximal_step(x, d[0], 1.0, preconditioner=p, g=g)
    broken = d.copy()
    broken[0, 0, 0] = math.inf
    y = specdesc.proximal_step(x, broken, 0.1, preconditioner=p, g=g)
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()
