"""The rational way to the polar factor: weights, schedules, the contract, and its kernel."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdesc import minimax, orthogonalize
from specdesc._polar_factor import plan
from specdesc._polar_factor.method import Method
from specdesc.backends.entry import enter
from specdesc.backends.primitives import Primitives
from tests import support
from tests.polar_factor.test_orthogonalize import diagonal
from tests.support import EPS, Library, assert_ratio, spectral_norm

FLOORS = st.floats(-14.0, -0.01).map(lambda e: 10.0**e)


# --- weights -------------------------------------------------------------------------------------


@given(FLOORS)
def test_the_weights_solve_the_equations_that_define_them(lower: float) -> None:
    """The best step has equal minima: f(lower) is its value at the inner minimum sqrt(a / c)."""
    step = minimax.halley(lower)
    assert step.b == pytest.approx((step.a - 1) ** 2 / 4, rel=1e-12)
    assert step.c == pytest.approx(step.a + step.b - 1, rel=1e-12)
    assert step(math.sqrt(step.a / step.c)) == pytest.approx(step(lower), rel=1e-6)
    assert step(1.0) == pytest.approx(1.0, abs=1e-15)
    assert step(2 / (step.a - 1)) == pytest.approx(1.0, abs=1e-14)


@given(FLOORS, st.floats(1.0, 12.0))
def test_image_of_an_interval_by_dense_sampling(lower: float, exponent: float) -> None:
    step = minimax.halley(lower, most=10.0**exponent)
    assert step.c <= 10.0**exponent * (1 + 1e-12)
    x = np.geomspace(lower, 1.0, 20001)
    y = x * (step.a + step.b * x**2) / (1 + step.c * x**2)
    low, high = minimax.halley_image(step, lower, 1.0)
    assert low <= y.min() * (1 + 1e-14)
    assert low >= y.min() * (1 - 1e-3)
    assert 1 - 1e-3 <= high <= 1 + 1e-15
    # No step of the library ever exceeds 1, and what it raises it raises in order.
    assert y.max() <= 1 + 1e-14
    assert low == pytest.approx(step(lower), rel=1e-9)
    np.testing.assert_allclose([step.gap(float(t)) for t in x[::500]], 1 - y[::500], atol=1e-14)


@given(FLOORS)
def test_no_neighbour_of_the_best_step_is_better(lower: float) -> None:
    best = minimax.halley(lower)
    for factor in (0.999, 1.001):
        a = 1 + (best.a - 1) * factor
        b = (a - 1) ** 2 / 4
        other = minimax.Halley(a, b, a + b - 1)
        assert minimax.halley_image(other, lower, 1.0)[0] <= best(lower) * (1 + 1e-9)


def test_the_steps_of_the_literature() -> None:
    """Largest gaps after 1, 2 and 3 steps from 1e-3 and from 1e-8, computed with many digits."""
    for lower, gaps in ((1e-3, (0.752, 3.7e-2, 8.4e-7)), (1e-8, (0.995, 0.578, 9.5e-3, 1.4e-8))):
        x = lower
        for expected in gaps:
            step = minimax.halley(x)
            gap, x = step.gap(x), step(x)
            assert gap == pytest.approx(expected, rel=2e-2)


@pytest.mark.parametrize(("lower", "most"), [(0.0, 9.0), (1.1, 9.0), (0.5, 2.0), (math.nan, 9.0)])
def test_bad_parameters(lower: float, most: float) -> None:
    with pytest.raises(ValueError, match=r"must (lie in|be at least)"):
        minimax.halley(lower, most=most)


@pytest.mark.parametrize("unit", [2.0**-23, 2.0**-52])
@pytest.mark.parametrize("goal", [0.1, 1e-3, 1e-6])
@pytest.mark.parametrize("lower", [0.3, 1e-2, 1e-4, 1e-7])
def test_the_bound_of_a_run_holds_by_dense_sampling(lower: float, goal: float, unit: float) -> None:
    run = plan.on_interval(plan.Kind((64, 96), unit, rational=True), goal, lower)
    x = np.geomspace(lower, 1.0, 40001)
    y, low = x, np.geomspace(lower * 1e-9, lower, 2001)
    start = 1 / run.gain
    lifted = np.geomspace(start * 1e-6, start, 2001)
    for step in run.halleys:
        y, low, lifted = (
            t * (step.a + step.b * t**2) / (1 + step.c * t**2) for t in (y, low, lifted)
        )
    for odd in (step for segment in run.segments for step in segment):
        p = [float(c) for c in minimax.step_polynomial(odd)]
        y, low, lifted = (t * np.polyval(p[::-1], t**2) for t in (y, low, lifted))
    assert np.abs(1 - y).max() <= run.bound + 1e-13
    assert np.abs(1 - y).max() >= run.bound * 0.9 - 1e-12
    assert (low >= 0).all()
    assert (low <= 1 + run.bound + 1e-14).all()
    assert lifted.max() <= 0.7 + 1e-12
    if lower > 2 * unit:  # lower ones are hidden by rounding, and are not planned for
        assert run.bound <= max(goal, unit)


# --- the contract --------------------------------------------------------------------------------


def zoo(shape: tuple[int, int], dtype: str) -> dict[str, Any]:
    """Return matrices by name, on top of the common ones."""
    k = min(shape)
    x = support.gaussian(*shape, seed=5, dtype=dtype)
    tiny = {"float32": 1e-30, "complex64": 1e-30}.get(dtype, 1e-290)
    tiny = 0.25 if dtype in support.HALF else tiny
    row = 10.0 if dtype in support.HALF else 1e6
    graded = {
        f"condition 1e{e}": support.with_spectrum(np.geomspace(1, 10.0**-e, k), shape, e, dtype)
        for e in (1, 2, 4, 6, 8, 10, 12)
    }
    return {
        **graded,
        "gaussian": x,
        "rank one and noise": support.with_spectrum([1.0], shape, 3, dtype) + 1e-4 * x,
        "deficient": support.with_spectrum([1.0] * (k // 2), shape, 4, dtype),
        "pairs": support.with_spectrum([1.0, 0.1] * (k // 2), shape, 5, dtype),
        "one huge row": x * np.where(np.arange(shape[0]) == 1, row, 1.0)[:, None],
        "tiny": tiny * x,
        "huge": x / tiny,
        "zero": 0 * x,
    }


def check(
    library: Library,
    stack: Any,
    dtype: str,
    tol: float | None,
    floor: float | None,
    method: Method = "rational",
) -> Any:
    """Hold a stack to the contract by an SVD in double precision, and return the full output."""
    x = library.array(stack, dtype)
    full = orthogonalize(x, method=method, tol=tol, floor=floor, full_output=True)
    host = library.numpy(x).astype("complex128")
    size = np.max(np.abs(host), axis=(-2, -1), keepdims=True)
    t, s = diagonal(
        library.numpy(full.factor).astype("complex128"), host / np.where(size > 0, size, 1)
    )
    error = library.numpy(full.error)
    rounding = 2 * max(stack.shape[-2:]) ** 0.5 * EPS[dtype]
    kept = s >= (floor if floor is not None else max(stack.shape[-2:]) * EPS[dtype])
    worst = np.max(np.where(kept, np.abs(1 - t), 0), axis=-1)
    sure = np.isfinite(error)
    assert (worst[sure] <= error[sure]).all(), (worst, error)
    slack = rounding * 4 / (floor or math.sqrt(EPS[dtype]))
    tame = library.numpy(full.status) == 0
    assert (t[tame] >= -slack).all()
    # Nothing is blown up, whether it is certified or not.
    values = np.linalg.svd(library.numpy(full.factor).astype("complex128"), compute_uv=False)
    assert (values <= 1 + (tol or 0) + 60 * EPS[dtype] * max(stack.shape[-2:])).all()
    return full


@pytest.mark.parametrize("method", ["rational", "polynomial"])
@pytest.mark.parametrize("tol", [None, 1e-1, 1e-4])
def test_the_zoo_where_the_floor_is_measured(
    tol: float | None, method: Method, dtype: str, library: Library
) -> None:
    if not library.branches or dtype in support.HALF:
        pytest.skip("fixed plans are tried with a floor")
    matrices = zoo((24, 40), dtype)
    full = check(library, np.stack(list(matrices.values())), dtype, tol, None, method)
    status = dict(zip(matrices, library.numpy(full.status).tolist(), strict=True))
    rank = dict(zip(matrices, library.numpy(full.rank).tolist(), strict=True))
    assert status["zero"] == 3
    assert status["condition 1e1"] == status["pairs"] == status["tiny"] == status["huge"] == 0
    assert rank["zero"] == 0
    assert rank["deficient"] == 12
    if tol is None and dtype in ("float64", "complex128"):
        assert all(status[f"condition 1e{e}"] == 0 for e in (1, 2, 4, 6, 8, 10))


@pytest.mark.parametrize("method", ["rational", "polynomial"])
def test_the_zoo_with_a_floor(method: Method, library: Library, dtype: str) -> None:
    if method == "rational" and dtype in support.HALF:
        pytest.skip("no factorization")
    if library.compiles and dtype != "float32":
        pytest.skip("one compilation is enough")
    for floor in (1e-3,) if library.compiles else (0.3, 1e-3, 1e-6):
        matrices = zoo((24, 40), dtype)
        full = check(library, np.stack(list(matrices.values())), dtype, 1e-2, floor, method)
        if 5 * EPS[dtype] / floor < 1e-3:
            assert (library.numpy(full.error) <= 1e-2).all()


@pytest.mark.exhaustive
@pytest.mark.parametrize("method", ["rational", "polynomial"])
def test_the_zoo_in_every_dtype_of_a_compiler(method: Method, library: Library) -> None:
    """What the default suite tries in one dtype, since each is a compilation."""
    if not library.compiles:
        pytest.skip("every dtype is in the default suite")
    for dtype in library.dtypes:
        if method == "polynomial" or dtype not in support.HALF:
            stack = np.stack(list(zoo((24, 40), dtype).values()))
            check(library, stack, dtype, 1e-2, 1e-3, method)
            check(library, stack, dtype, 1e-1, None, method)


def test_double_precision_is_as_accurate_as_an_svd() -> None:
    """On spectra whose factor is known exactly: Hadamard matrices and few bits."""
    n = 64
    h = np.ones((1, 1))
    while len(h) < n:
        h = np.block([[h, h], [h, -h]])
    rng = np.random.default_rng(2)
    left, right = (h[rng.permutation(n)] * rng.choice([-1, 1], n)[:, None] for _ in range(2))
    truth = left @ right.T / n
    for condition in (1e1, 1e3, 1e5, 1e7, 1e9):
        s = np.round(np.geomspace(1, 1 / condition, n) * 2.0**40) / 2.0**40
        x = (left * s) @ right.T / n
        exact = spectral_norm(orthogonalize(x, method="svd") - truth)
        for floor in (None, 0.9 / condition):
            full = orthogonalize(x, method="rational", floor=floor, full_output=True)
            true = spectral_norm(full.factor - truth)
            assert true <= full.error
            assert true <= 5 * exact + 30 * EPS["float64"]
            assert_ratio(spectral_norm(full.factor @ full.factor.T - np.eye(n)), 1, EPS["float64"])


@pytest.mark.parametrize("dtype", support.FULL)
def test_certificates_are_never_below_the_truth(dtype: str) -> None:
    rng = np.random.default_rng(17)
    numpy = support.LIBRARIES[0]
    for _ in range(40):
        m, n = (int(size) for size in rng.integers(1, 30, size=2))
        k = min(m, n)
        spectra = [
            np.geomspace(1, 10.0 ** -rng.uniform(0, 8), k),
            rng.random(k),
            np.where(np.arange(k) < rng.integers(1, k + 1), 1.0, 10.0 ** -rng.uniform(1, 9)),
        ]
        stack = np.stack(
            [support.with_spectrum(s, (m, n), int(rng.integers(2**31)), dtype) for s in spectra]
        )
        tol = float(10.0 ** -rng.uniform(0.5, 6.0))
        floor = float(10.0 ** -rng.uniform(0.1, 5.0)) if rng.random() < 0.6 else None
        check(numpy, stack, dtype, tol, floor)


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", support.FULL)
@pytest.mark.parametrize("n", [65, 200, 400])
def test_directions_turn_by_no_more_than_the_rounding_term(dtype: str, n: int) -> None:
    """Spectra with everything at the floor, or spread down to it: the errors of I + c R."""
    numpy = support.LIBRARIES[0]
    for seed, floor in enumerate((1e-1, 1e-2, 1e-3, 1e-4)):
        flat = [1.0] + [floor] * (n - 1)
        half = [1.0] * (n // 2) + [floor] * (n - n // 2)
        spread = np.geomspace(1, floor, n)
        stack = np.stack(
            [support.with_spectrum(s, (n, n), seed, dtype) for s in (flat, half, spread)]
        )
        for tol in (None, 1e-1, 1e-3):
            check(numpy, stack, dtype, tol, floor * (1 - 1e-3))
            check(numpy, stack, dtype, tol, None)


def test_a_hard_neighbour_changes_nothing(library: Library) -> None:
    easy = support.easy(shape=(20, 12))
    hard = support.with_spectrum(np.geomspace(1, 1e-5, 12), (20, 12))
    stack = np.stack([hard, easy, np.nan * easy, easy + np.inf, 0 * easy])
    dtype = "float32"
    full = orthogonalize(library.array(stack, dtype), method="rational", tol=1e-2, full_output=True)
    alone = orthogonalize(library.array(easy, dtype), method="rational", tol=1e-2, full_output=True)
    factor = library.numpy(full.factor)
    np.testing.assert_allclose(factor[1], library.numpy(alone.factor), atol=1e-5)
    assert library.numpy(full.status).tolist()[1:] == [0, 2, 2, 3]
    assert np.isnan(factor[2:4]).all()
    assert (factor[4] == 0).all()


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1), (0, 5), (5, 0), (2, 0, 3), (3, 1, 4)])
def test_thin_and_empty_shapes(shape: tuple[int, ...], library: Library) -> None:
    if library.compiles and 0 not in shape and len(shape) < 3:
        pytest.skip("one compilation is enough")
    x = library.array(support.gaussian(*shape), "float32")
    full = orthogonalize(x, method="rational", full_output=True)
    support.assert_array(library, full.factor, x, shape, "float32")
    if 0 not in shape:
        truth = support.polar_factor(library.numpy(x))
        assert (spectral_norm(library.numpy(full.factor) - truth) < 1e-5).all()


def test_laws_of_the_factor(library: Library, dtype: str) -> None:
    """F(Xᴴ) = F(X)ᴴ, F(-X) = -F(X), F(2 X) = F(X), and the inner product is the nuclear norm."""
    if dtype in support.HALF or library.compiles:
        pytest.skip("tried on the libraries that need no compiler")
    host = support.easy(2, shape=(12, 8), dtype=dtype)

    def f(values: Any) -> Any:
        x = library.array(np.ascontiguousarray(values), dtype)
        return library.numpy(orthogonalize(x, method="rational"))

    base = f(host)
    limit = 300 * EPS[dtype]
    np.testing.assert_allclose(f(support.adjoint(host)), support.adjoint(base), atol=limit)
    np.testing.assert_allclose(f(-host), -base, atol=limit)
    assert f(2.0 * host).tobytes() == base.tobytes()
    inner = np.real(np.sum(host * np.conj(base), axis=(-2, -1)))
    np.testing.assert_allclose(inner, support.ky_fan(host, 8), rtol=limit)


# --- the kernel ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 7), (5, 30), (150, 160)])
def test_solutions_of_a_leaf_equal_the_agnostic_ones(
    shape: tuple[int, int], library: Library, dtype: str
) -> None:
    if dtype in support.HALF or (library.compiles and shape[0] > 5):
        pytest.skip("nothing factorizes half precision")
    for batch in ((), (2, 3)) if shape[0] < 100 else ((),):
        x = support.gaussian(*batch, *shape, seed=1, dtype=dtype)
        gram = x @ support.adjoint(x)
        z = np.eye(shape[0]) + 50 * gram / np.linalg.norm(gram, 2, axis=(-2, -1))[..., None, None]
        given_x, given_z = library.array(x, dtype), library.array(z, dtype)
        before = library.numpy(given_x).tobytes(), library.numpy(given_z).tobytes()
        backend = enter("orthogonalize", given_x)
        found = backend.primitives.add_solve(0.5, given_x, 2.0, given_z)
        support.assert_array(library, found, given_x, (*batch, *shape), dtype)
        agnostic = Primitives(backend.xp, backend.placement).add_solve(0.5, given_x, 2.0, given_z)
        scale = np.abs(x).max() * 60 * EPS[dtype]
        np.testing.assert_allclose(
            library.numpy(found), library.numpy(agnostic), rtol=0, atol=20 * scale
        )
        expected = 0.5 * x + 2.0 * np.linalg.solve(z, x)
        np.testing.assert_allclose(library.numpy(found), expected, rtol=0, atol=20 * scale)
        after = library.numpy(given_x).tobytes(), library.numpy(given_z).tobytes()
        assert before == after
