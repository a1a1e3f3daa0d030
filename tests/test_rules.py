"""Update rules: the mathematics of each step, and the promises of a pure rule."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

import specdesc as sd
from specdesc import LinearOperator, norms, preconditioners, prox, rules, schedules
from tests import support
from tests.support import EPS, Library, adjoint, ky_fan, leaves, polar_factor, spectral_norm

SHAPE = (48, 44)

#: name -> rule; every option is used by one of them
RULES = {
    "sd": rules.SpectralDescent(0.5),
    "sd decay": rules.SpectralDescent(schedules.frank_wolfe(2.0), weight_decay=2.0),
    "sd ball": rules.SpectralDescent(schedules.geometric(0.5, 0.9), g=prox.SpectralBall(1.0)),
    "sd rank": rules.SpectralDescent(0.5, g=prox.Rank(1)),
    "tsd": rules.TruncatedSpectralDescent(1, 0.5),
    "tsd exact": rules.TruncatedSpectralDescent(1, 0.5, tol=None),
    "tsd decay": rules.TruncatedSpectralDescent(1, schedules.frank_wolfe(2.0), weight_decay=2.0),
    "tsd rank": rules.TruncatedSpectralDescent(1, 0.5, g=prox.Rank(2)),
    "tsd polyak": rules.TruncatedSpectralDescent(1, schedules.polyak(rank=1)),
    "ng": rules.NormalizedGradient(0.5),
    "ng polyak": rules.NormalizedGradient(schedules.polyak(), weight_decay=0.1),
    "ng nuclear": rules.NormalizedGradient(0.5, g=prox.Nuclear(0.1)),
    "sign": rules.SignDescent(0.5, weight_decay=0.1, g=prox.MaxBall(3.0)),
    "muon": rules.Muon(0.5, weight_decay=0.1),
    "muon cautious": rules.Muon(
        0.5, weight_decay=0.1, decay="cautious", nesterov=False, momentum="heavy_ball"
    ),
    "muon l2": rules.Muon(0.5, weight_decay=0.1, decay="l2", layout="in_out", scale="rms_to_rms"),
    "scion": rules.Scion(schedules.heavy_tailed().step, radius=2.0),
    "scion rows": rules.Scion(0.5, norm=norms.Rows(), radius=2.0, constrained=False),
    "proximal": rules.ProximalSpectral(
        0.1, preconditioner=preconditioners.Kappa(4, eps=0.5), g=prox.SpectralBall(3.0)
    ),
    "storm": rules.ProximalStorm(
        0.1,
        beta=schedules.storm(100).beta,
        preconditioner=preconditioners.SoftSign(eps=0.5, geometry="elementwise"),
        g=prox.L1(0.1),
    ),
    "storm approximate": rules.ProximalStorm(
        0.1,
        beta=schedules.storm().beta,
        preconditioner=preconditioners.Sqrt(eps=0.5, geometry="global"),
        g=prox.Zero(),
        approximate=True,
    ),
}
#: those whose map sees the scale of the gradient
SCALED = ("ng polyak", "proximal", "storm", "storm approximate", "muon l2")
EVERY = pytest.mark.parametrize("name", RULES)


def supported(name: str, library: Library) -> Any:
    needs = {"scion": "norms.Spectral", "proximal": "preconditioners[spectral]"}
    if library.backend == "dask" and (
        name.startswith("tsd")
        or name in ("sd ball", "sd rank", "ng nuclear")
        or needs.get(name) in library.leaf.capabilities.unsupported
    ):
        pytest.skip("dask has no SVD of stacks")
    if library.backend == "dask" and name in ("muon cautious", "muon l2"):
        pytest.skip("a graph of a thousand tasks, as that of muon")
    return RULES[name]


def stepped(rule: Any, x: Any, grad: Any, state: Any, value: Any) -> Any:
    """Make a step; a gradient of the same sample is the same one where nothing has moved."""
    previous = {"previous_grad": grad} if rule.needs_previous_grad else {}
    return rule.update(x, grad, state, value=value, **previous)


def value_of(library: Library, x: Any, number: float = 2.0) -> Any:
    """Return an objective of the batch shape in the real dtype."""
    return prox.Zero().value(x) + number


# --- promises of every rule ----------------------------------------------------------------------


@EVERY
def test_the_state_keeps_its_keys_shapes_and_dtypes(
    name: str, library: Library, dtype: str
) -> None:
    rule = supported(name, library)
    if library.compiles and dtype not in ("float32", "bfloat16"):
        pytest.skip("each dtype is a compilation, and the paths are the same")
    if library.backend == "dask" and name == "muon" and dtype != "float32":
        pytest.skip("the polynomial is that of sd")
    x = library.array(support.easy(2, shape=SHAPE, dtype=dtype), dtype)
    grad = library.array(support.easy(2, shape=SHAPE, dtype=dtype)[::-1].copy(), dtype)
    state = rule.init(x)

    def structure(state: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
        return {key: (library.dtype(y), tuple(y.shape)) for key, y in state.items()}

    first = structure(state)
    assert first["t"] == ("int32", ())
    for t in range(1, 4):
        x, state = stepped(rule, x, grad, state, value_of(library, x))
        assert structure(state) == first
        assert int(library.numpy(state["t"])) == t
        support.assert_array(library, x, grad, (2, *SHAPE), dtype)
        assert np.isfinite(library.numpy(x)).all()


@EVERY
def test_gradient_state_and_iterate_are_never_changed(name: str, library: Library) -> None:
    """Bit for bit; and writing over the gradient afterwards changes nothing that was returned."""
    rule = supported(name, library)
    x = library.array(support.easy(2, shape=SHAPE), "float32")
    grad = library.array(support.easy(2, shape=SHAPE)[::-1].copy(), "float32")
    x, state = stepped(rule, x, grad, rule.init(x), value_of(library, x))
    given = [x, grad, *leaves(state)]
    before = [library.numpy(y).tobytes() for y in given]
    keys = list(state)
    y, after = stepped(rule, x, grad, state, value_of(library, x))
    assert [library.numpy(z).tobytes() for z in given] == before
    assert list(state) == keys
    if library.writes:
        returned = [library.numpy(z).tobytes() for z in (y, *leaves(after))]
        grad[...] = 0.0
        x[...] = 0.0
        assert [library.numpy(z).tobytes() for z in (y, *leaves(after))] == returned


@EVERY
def test_a_zero_gradient_is_a_zero_step(name: str, library: Library) -> None:
    """Nothing but the decay and the proximal step happens, exactly."""
    rule = supported(name, library)
    host = support.easy(shape=SHAPE).astype("float32")
    x = library.array(host)
    options = {key: option for key, option in vars(rule).items() if key not in ("g", "_")}
    if hasattr(rule, "g"):
        options["g"] = prox.Zero() if hasattr(rule, "preconditioner") else None
    bare = type(rule)(**options)
    zero = library.array(0 * host)
    y, _ = stepped(bare, x, zero, bare.init(x), value_of(library, x))
    if name in ("sd decay", "tsd decay", "scion"):
        # The first Frank-Wolfe step has size 1: it forgets the start.
        assert (library.numpy(y) == 0).all()
    elif getattr(rule, "decay", None) == "l2":
        # The decay is a part of the gradient, which is not zero then.
        assert np.isfinite(library.numpy(y)).all()
    else:
        decay = np.float32(1.0) - np.float32(getattr(rule, "weight_decay", 0.0)) * np.float32(0.5)
        size = "polyak" in name or not hasattr(rule, "weight_decay")
        expected = host if size else decay * host
        np.testing.assert_allclose(library.numpy(y), expected, rtol=1e-7 if decay != 1 else 0)


@EVERY
def test_the_step_does_not_depend_on_the_scale_of_the_gradient(name: str) -> None:
    rule = RULES[name]
    x, grad = support.easy(2, shape=SHAPE)
    value = np.asarray(2.0)
    if name in SCALED:
        pytest.skip("a Polyak step, and a smooth preconditioner, see the norm of the gradient")
    base, _ = stepped(rule, x, grad, rule.init(x), value)
    for scale in (1e-300, 1e300):
        y, _ = stepped(rule, x, grad * scale, rule.init(x), value)
        np.testing.assert_allclose(y, base, atol=1e-9)


@EVERY
def test_a_stack_is_a_loop_over_its_matrices(name: str) -> None:
    """Matrices of gradients that differ by twelve decades, each with its own step."""
    rule = RULES[name]
    x = support.easy(3, shape=SHAPE)
    grad = x[::-1] * np.asarray([1.0, 1e6, 1e-6])[:, None, None]
    state = rule.init(x)
    values = np.asarray([1.0, 2.0, 3.0])
    whole, _ = stepped(rule, x, grad, state, values)
    for i in range(3):
        one, _ = stepped(rule, x[i], grad[i], rule.init(x[i]), values[i])
        np.testing.assert_allclose(whole[i], one, atol=1e-9)


@EVERY
def test_a_nan_gradient_breaks_its_own_matrix_only(name: str, library: Library) -> None:
    rule = supported(name, library)
    host = support.easy(2, shape=SHAPE).astype("float32")
    bad = host.copy()
    bad[1, 2, 3] = np.nan
    x = library.array(host)
    y, state = stepped(rule, x, library.array(bad), rule.init(x), value_of(library, x))
    out = library.numpy(y)
    assert np.isfinite(out[0]).all()
    assert np.isnan(out[1]).all()
    for key, z in state.items():
        # A buffer remembers what it was given; the starts of iterations do not.
        buffer = key in ("momentum_buffer", "previous_grad")
        assert np.isfinite(library.numpy(z)[:1] if buffer else library.numpy(z)).all()


# --- the formulas --------------------------------------------------------------------------------


def test_each_rule_is_its_formula(library: Library, dtype: str) -> None:
    if library.compiles and dtype not in ("float32", "complex64"):
        pytest.skip("each dtype is a compilation, and the paths are the same")
    host, grad = support.easy(2, shape=SHAPE, dtype=dtype)
    x, g = library.array(host, dtype), library.array(grad, dtype)
    wide, wide_grad = (library.numpy(y).astype("complex128") for y in (x, g))
    u, _, vh = np.linalg.svd(wide_grad, full_matrices=False)
    directions = {
        rules.SpectralDescent(0.5, weight_decay=0.2): u @ vh,
        rules.NormalizedGradient(0.5, weight_decay=0.2): wide_grad / np.linalg.norm(wide_grad),
    }
    if library.backend != "dask":
        truncated = rules.TruncatedSpectralDescent(2, 0.5, weight_decay=0.2, tol=None)
        directions[truncated] = u[:, :2] @ vh[:2]
    for rule, direction in directions.items():
        y, _ = rule.update(x, g, rule.init(x))
        expected = 0.9 * wide - 0.5 * direction
        limit = 400 * EPS[dtype] if library.backend != "dask" else 4000 * EPS[dtype]
        assert spectral_norm(library.numpy(y) - expected) <= limit


def test_plain_numbers_and_constant_schedules_are_the_same() -> None:
    x, grad = support.easy(2, shape=(6, 4))
    for make in (
        rules.SpectralDescent,
        rules.NormalizedGradient,
        lambda step: rules.TruncatedSpectralDescent(2, step),
    ):
        one, other = make(0.25), make(schedules.constant(0.25))
        a, b = (rule.update(x, grad, rule.init(x))[0] for rule in (one, other))
        assert (a == b).all()


def test_the_proximal_step_comes_last_with_the_size_of_the_step() -> None:
    x, grad = support.easy(2, shape=(6, 4))
    g = prox.Nuclear(0.3)
    rule, bare = rules.SpectralDescent(0.25, g=g), rules.SpectralDescent(0.25)
    y, _ = rule.update(x, grad, rule.init(x))
    z, _ = bare.update(x, grad, bare.init(x))
    np.testing.assert_allclose(y, g.prox(z, 0.25), atol=1e-14)


def test_an_iterate_with_a_ball_stays_in_it() -> None:
    g = prox.SpectralBall(1.0)
    rule = rules.SpectralDescent(0.7, g=g)
    x = np.zeros((6, 4))
    state = rule.init(x)
    for t in range(20):
        x, state = rule.update(x, support.gaussian(6, 4, seed=t), state)
        assert g.value(x) == 0


@pytest.mark.parametrize("rank", [1, 3, 20])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_weight_decay_is_frank_wolfe(rank: int, dtype: str) -> None:
    """T2 and T14: the same iterates to 1e-12, in the ball, along minimisers of the linear form."""
    decay = 2.5
    rule: Any = rules.TruncatedSpectralDescent(
        rank, schedules.frank_wolfe(decay), weight_decay=decay, tol=None
    )
    if rank == 20:
        rule = rules.SpectralDescent(schedules.frank_wolfe(decay), weight_decay=decay)
    target = support.gaussian(24, 20, seed=1, dtype=dtype)
    x = y = np.zeros_like(target)
    state = rule.init(x)
    rng = np.random.default_rng(0)
    for t in range(60):
        grad = y - target
        x, state = rule.update(x, grad, state)
        u, s, vh = np.linalg.svd(grad, full_matrices=False)
        vertex = -(u[:, :rank] @ vh[:rank]) / decay
        gamma = 2.0 / (t + 2.0)
        y = (1 - gamma) * y + gamma * vertex
        np.testing.assert_allclose(x, y, atol=1e-12)
        # The vertex is the minimiser over the ball, and its value minus the dual norm.
        lowest = np.vdot(grad, vertex).real
        assert lowest == pytest.approx(-s[:rank].sum() / decay)
        z = rng.standard_normal(grad.shape)
        zs = np.linalg.svd(z, compute_uv=False)
        z = z / (decay * max(zs[0], zs.sum() / rank))
        assert lowest <= np.vdot(grad, z).real
        # The ball is invariant.
        sx = np.linalg.svd(x, compute_uv=False)
        assert sx[0] <= (1 + 1e-12) / decay
        assert sx.sum() <= rank * (1 + 1e-12) / decay
        assert np.linalg.norm(x) <= rank**0.5 * (1 + 1e-12) / decay


# --- what the theory says ------------------------------------------------------------------------


def nuclear_distance(truth: Any) -> Any:
    """Return the objective ||X - truth||_* with its subgradient U Vᴴ."""

    def value_and_grad(x: Any) -> tuple[Any, Any]:
        u, s, vh = np.linalg.svd(x - truth, full_matrices=False)
        kept = s > 1e-13
        return s.sum(), (u * kept) @ vh

    return value_and_grad


@pytest.mark.parametrize("seed", range(3))
def test_geometric_steps_contract_at_the_proven_rate(seed: int) -> None:
    """T10: norm_F(D_t) <= R_0 q^t on f = ||X - X*||_*, whose pair has alpha = 1 and k = n."""
    n = 12
    truth = support.gaussian(n, n, seed=seed)
    x = support.gaussian(n, n, seed=seed + 50)
    radius = np.linalg.norm(x - truth)
    alpha = min(1.0, (n / 2) ** 0.5)
    q = (1 - alpha**2 / n) ** 0.5
    rule = rules.SpectralDescent(schedules.geometric(alpha / n * radius, q))
    objective, state = nuclear_distance(truth), rule.init(x)
    for t in range(300):
        assert np.linalg.norm(x - truth) <= radius * q**t * (1 + 1e-12)
        x, state = rule.update(x, objective(x)[1], state)
    assert np.linalg.norm(x - truth) <= 1e-4 * radius


@pytest.mark.parametrize("rank", [1, 3])
def test_steps_that_sum_to_less_than_the_distance_do_not_arrive(rank: int) -> None:
    """T11: the error stays above N_k(D_0) - step / (1 - ratio) in the norm of the step's ball."""
    truth = support.gaussian(10, 8)
    rule = rules.TruncatedSpectralDescent(rank, schedules.geometric(0.05, 0.9), tol=None)
    x = np.zeros_like(truth)
    state, objective = rule.init(x), nuclear_distance(truth)

    def norm(d: Any) -> float:
        s = np.linalg.svd(d, compute_uv=False)
        return float(max(s[0], s.sum() / rank))

    first = norm(x - truth)
    bound = first - 0.05 / (1 - 0.9)
    assert bound > 0
    for _ in range(200):
        x, state = rule.update(x, objective(x)[1], state)
        assert norm(x - truth) >= bound - 1e-12


@pytest.mark.parametrize("c", [0.3, 0.7, 0.95])
def test_counterexample_the_trace_never_changes(c: float) -> None:
    """T6: f = c |tr X| + ||X - (tr X / 2) I||_*; the steps cannot see the trace, for any sizes.

    A limitation that the theory predicts for a ratio of sharpness to Lipschitz constant below 1/2.
    """
    x = np.asarray([[1.0, 0.2], [0.2, 0.5]])
    rule = rules.SpectralDescent(schedules.geometric(0.5, 0.98))
    state = rule.init(x)
    eye = np.eye(2)

    def objective(x: Any) -> tuple[float, Any]:
        trace = np.trace(x)
        rest = x - trace / 2 * eye
        direction = polar_factor(rest)
        direction = direction - np.trace(direction) / 2 * eye
        return c * abs(trace) + ky_fan(rest, 2), c * np.sign(trace) * eye + direction

    # Longer, and the traceless part would be as small as its rounding errors.
    for _ in range(600):
        x, state = rule.update(x, objective(x)[1], state)
        assert np.trace(x) == pytest.approx(1.5, abs=1e-10)
    assert objective(x)[0] == pytest.approx(1.5 * c, abs=1e-3)


@pytest.mark.parametrize(
    ("c", "stuck"), [(0.25, 0.4), (0.5, 0.8), (0.9, 1.44), (1.1, 0.4), (1.5, 0.4)]
)
def test_counterexample_in_diagonal_form(c: float, stuck: float) -> None:
    """T6, second form: the objective stays where the table of the theory says."""
    x = np.diag([1.0, 0.6])
    rule = rules.SpectralDescent(schedules.geometric(0.3, 0.95))
    state = rule.init(x)

    def objective(x: Any) -> tuple[float, Any]:
        difference, total = x[0, 0] - x[1, 1], x[0, 0] + x[1, 1]
        a, b = np.sign(difference), c * np.sign(total)
        grad = np.asarray([[a + b, np.sign(x[0, 1])], [np.sign(x[1, 0]), b - a]])
        return abs(difference) + c * abs(total) + abs(x[0, 1]) + abs(x[1, 0]), grad

    lowest = objective(x)[0]
    for _ in range(400):
        x, state = rule.update(x, objective(x)[1], state)
        lowest = min(lowest, objective(x)[0])
    assert lowest >= stuck - 1e-9
    assert objective(x)[0] == pytest.approx(stuck, abs=1e-2)


def recovery(seed: int, corrupted: float) -> tuple[Any, Any]:
    """Return the mean absolute residual of Gaussian measurements with gross errors, and X*."""
    rng = np.random.default_rng(seed)
    n, rank, m = 20, 2, 2000
    u, v = (np.linalg.qr(rng.standard_normal((n, rank)))[0] for _ in range(2))
    truth = u @ v.T
    a = rng.standard_normal((m, n * n))
    wrong = rng.permutation(m)[: round(corrupted * m)]
    # No dense noise, but its numbers are drawn: these are the data of the theory's tables.
    b = a @ truth.ravel() + 0.0 * rng.standard_normal(m)
    b[wrong] += 10 * rng.standard_normal(wrong.size)

    def objective(x: Any) -> tuple[Any, Any]:
        r = a @ x.ravel() - b
        return np.abs(r).mean(), (a.T @ np.sign(r)).reshape(n, n) / m

    return objective, truth


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize(
    ("corrupted", "ratio", "rank", "first", "steps"),
    [
        (0.1, 0.9, 5, 0.3, 150),
        (0.1, 0.9, 20, 0.6, 150),
        (0.3, 0.95, 5, 0.3, 300),
        (0.3, 0.95, 20, 0.3, 300),
    ],
)
def test_robust_recovery_to_six_digits(
    seed: int, corrupted: float, ratio: float, rank: int, first: float, steps: int
) -> None:
    """T3 and T4: gross errors in a tenth and in three tenths of the measurements."""
    objective, truth = recovery(seed, corrupted)
    # The step has Frobenius norm sqrt(rank) times its size.
    schedule = schedules.geometric(first * np.linalg.norm(truth) / rank**0.5, ratio)
    rule = rules.TruncatedSpectralDescent(rank, schedule, tol=None)
    found = sd.minimize(objective, np.zeros_like(truth), rule, steps=steps)
    assert np.linalg.norm(found.x - truth) < 1e-6 * np.linalg.norm(truth)


def test_robust_recovery_in_short() -> None:
    """T3 for one seed, with the block method."""
    objective, truth = recovery(1, 0.1)
    size = np.linalg.norm(truth)
    rule = rules.TruncatedSpectralDescent(5, schedules.geometric(0.3 * size / 5**0.5, 0.9))
    found = sd.minimize(objective, np.zeros_like(truth), rule, steps=150)
    assert np.linalg.norm(found.x - truth) < 1e-6 * size


def test_conjugation_and_transposition_commute_with_a_step() -> None:
    x, grad = support.easy(2, shape=(8, 6), dtype="complex128")
    for rule in (rules.SpectralDescent(0.3), rules.TruncatedSpectralDescent(2, 0.3)):
        y, _ = rule.update(x, grad, rule.init(x))
        xt, gt = adjoint(x).copy(), adjoint(grad).copy()
        z, _ = rule.update(xt, gt, rule.init(xt))
        np.testing.assert_allclose(z, adjoint(y), atol=1e-12)


# --- thin factors --------------------------------------------------------------------------------


def low_rank_gradient(m: int, n: int) -> tuple[LinearOperator, Any, Any]:
    left, right = support.gaussian(m, 3, seed=1), support.gaussian(3, n, seed=2)
    energy = np.asarray(((left.T @ left) * (right @ right.T)).sum())
    products = (lambda b: left @ (right @ b), lambda b: right.T @ (left.T @ b))
    return LinearOperator(*products, (m, n), left, energy), left, right


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_a_truncated_step_makes_nothing_of_the_size_of_the_iterate(decay: float) -> None:
    """Beside the new point: a block, its products and a Krylov space, (m + n) times some ranks."""
    m, n, rank = 1500, 2000, 2
    grad, _, _ = low_rank_gradient(m, n)
    rule = rules.TruncatedSpectralDescent(rank, 0.1, weight_decay=decay, tol=0.01)
    x = np.ones((m, n))
    state = rule.init(x)
    y, state = rule.update(x, grad, state)
    tracemalloc.start()
    y, state = rule.update(x, grad, state)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    block = 8 * (m + n) * (rank + 10)
    assert peak <= y.nbytes + 10 * block < y.nbytes + 0.2 * x.nbytes


@pytest.mark.parametrize("name", ["numpy", "array_api_strict", "torch", "jax"])
def test_a_gradient_may_be_known_by_its_products_alone(name: str) -> None:
    library = next(way for way in support.LIBRARIES if way.name == name)
    if library.missing():
        pytest.skip(library.missing())
    with library.context():
        _, left, right = low_rank_gradient(60, 50)
        left, right = library.array(left, "float32"), library.array(right, "float32")
        operator = LinearOperator(
            lambda b: left @ (right @ b), lambda b: right.mT @ (left.mT @ b), (60, 50), left
        )
        x = library.array(support.gaussian(60, 50), "float32")
        rule = rules.TruncatedSpectralDescent(2, 0.1, weight_decay=0.1, tol=0.01)
        found, state = rule.update(x, operator, rule.init(x))
        expected, _ = rule.update(x, left @ right, rule.init(x))
        np.testing.assert_allclose(library.numpy(found), library.numpy(expected), atol=1e-3)
        assert set(state) == set(rule.init(x))


def test_an_operator_of_another_shape_or_dtype_is_refused() -> None:
    grad, _, _ = low_rank_gradient(6, 5)
    rule = rules.TruncatedSpectralDescent(1, 0.1)
    with pytest.raises(ValueError, match=r"x and grad .* \(5, 6\) and \(6, 5\)"):
        rule.update(np.ones((5, 6)), grad, {})
    with pytest.raises(TypeError, match=r"x and grad.like must have one dtype"):
        rule.update(np.ones((6, 5), "float32"), grad, {})
