"""Planned polynomials: what a plan says, and that what it promises holds."""

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest

from specdesc import orthogonalize, plan_orthogonalization
from specdesc._polar_factor import newton_schulz
from specdesc._polar_factor.plan import Bounds, Kind, fitted
from specdesc.backends import load
from specdesc.minimax import composed_image
from tests import support
from tests.support import EPS, spectral_norm

SHAPES = [(1, 1), (8, 8), (33, 65), (64, 16), (96, 96)]


def spectrum(kind: str, k: int, floor: float, rng: np.random.Generator) -> Any:
    """Return relative singular values in [floor, 1] that are hard to certify."""
    s = {
        "halves": np.where(np.arange(k) < (k + 1) // 2, 1.0, floor),
        "one above": np.where(np.arange(k) < 1, 1.0, floor),
        "one below": np.where(np.arange(k) < max(k - 1, 1), 1.0, floor),
        "graded": np.geomspace(1.0, floor, k),
        "equal": np.ones(k),
        "random": np.sort(floor + (1 - floor) * rng.random(k))[::-1],
    }[kind]
    return s / s.max() * 10.0 ** rng.uniform(-3, 3)


KINDS = ("halves", "one above", "one below", "graded", "equal", "random")


def stack(shape: tuple[int, int], floor: float, dtype: str, rng: np.random.Generator) -> Any:
    rows = [
        support.with_spectrum(
            spectrum(kind, min(shape), floor * 1.001, rng), shape, int(rng.integers(2**31)), dtype
        )
        for kind in KINDS
    ]
    return np.stack(rows).astype(dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_error_is_a_bound_for_hard_spectra(dtype: str, shape: tuple[int, int]) -> None:
    """2160 matrices: the distance to the true factor, whether the floor is given or measured."""
    rng = np.random.default_rng(7)
    floors = (0.3, 1e-1, 1e-2, 1e-3, 3e-4 if dtype != "float64" else 1e-6, 0.05)
    for floor, tol in itertools.product(floors, (0.3, 1e-2, 1e-4, 1e-6)):
        x = stack(shape, floor, dtype, rng)
        wide = x.astype("complex128" if dtype == "complex64" else "float64")
        truth = support.polar_factor(wide)
        u, _, vh = np.linalg.svd(wide, full_matrices=False)
        for given in (floor, None):
            full = orthogonalize(x, tol=tol, floor=given, method="polynomial", full_output=True)
            q = full.factor.astype(wide.dtype)
            t = np.real(np.einsum("...mi,...mn,...in->...i", u.conj(), q, vh.conj()))
            case = (dtype, shape, floor, tol, given)
            assert (spectral_norm(q - truth) <= full.error).all(), case
            assert (np.abs(1 - t).max(-1) <= full.error).all(), case
            if given is not None:
                plan = plan_orthogonalization(shape, dtype, tol=tol, floor=given)
                # Where code may look at the spectrum, the plan is another.
                assert (full.error <= max(plan.bound, tol) * (1 + 1e-6)).all(), case


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_error_is_a_bound_for_a_constant_matrix_and_noise(dtype: str) -> None:
    """Entries of one sign: rounding errors of the products do not cancel."""
    rng = np.random.default_rng(3)
    for size, noise in itertools.product((16, 64, 256), (1e-1, 1e-2, 1e-3)):
        x = (1.0 + noise * size**0.5 * rng.standard_normal((2, size, size))).astype(dtype)
        truth = support.polar_factor(x.astype("float64"))
        full = orthogonalize(x, tol=1e-3, method="polynomial", full_output=True)
        assert (spectral_norm(full.factor - truth) <= full.error).all(), (size, noise)
        kept = orthogonalize(np.ones((size, size), dtype), tol=1e-3, floor=0.5, full_output=True)
        assert spectral_norm(kept.factor - 1 / size) <= kept.error
        assert kept.rank == 1


def test_the_norm_is_a_bound_and_within_its_reach() -> None:
    backend = load("numpy")
    for dtype, size in itertools.product(("float32", "float64"), (1, 5, 64, 200)):
        for host in (
            np.ones((size, size)),
            support.gaussian(size, 2 * size),
            support.with_spectrum(np.ones(size), (size, size)),
        ):
            x = host.astype(dtype)
            matrix, scale, gram, square, _ = newton_schulz.scale_by_schatten(x, backend=backend)
            unit = matrix / scale
            s = np.linalg.svd(unit.astype("float64"), compute_uv=False)[0]
            assert s <= 1.0
            assert s >= newton_schulz.reach(size) * (
                1 - 4 * newton_schulz.slack(x.shape, EPS[dtype])
            )
            np.testing.assert_allclose(gram, unit @ unit.T, atol=1e2 * size * EPS[dtype])
            np.testing.assert_allclose(square, gram @ gram, atol=1e2 * size * EPS[dtype])
    assert (newton_schulz.scale_by_schatten(np.zeros((3, 4)), backend=backend).matrix == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("exponent", [-19, 0, 19])
def test_no_square_overflows(dtype: str, exponent: int) -> None:
    x = (np.ones((300, 500)) * 2.0**exponent).astype(dtype)
    q = orthogonalize(x, tol=1e-3, floor=0.5, method="polynomial")
    np.testing.assert_allclose(q, 1 / 150000**0.5, rtol=2e-3)


def test_a_plan_is_what_it_says() -> None:
    plan = plan_orthogonalization((3, 128, 512), "float64", tol=1e-3, floor=1e-2)
    low, high = composed_image(plan.coefficients, 1e-2 * 128**-0.125, 1.0)
    assert 1 - 1e-3 <= low <= high <= 1 + 1e-3
    assert [2 * len(c) - 1 for c in plan.coefficients] == list(plan.degrees)
    assert plan.bound <= 1e-3
    # Two for the ends of a segment, three between its steps.
    squares = sum({3: 0, 5: 1, 9: 2, 17: 3}[d] for d in plan.degrees)
    steps = len(plan.degrees)
    assert squares + 3 * steps <= plan.products <= squares + 3 * (steps - 1) + 2 * steps + 1
    tall = plan_orthogonalization((3, 512, 128), "float64", tol=1e-3, floor=1e-2)
    assert tall == plan


def test_a_plan_knows_its_memory() -> None:
    for shape in ((200, 200), (100, 600)):
        x = support.gaussian(*shape)
        plan = plan_orthogonalization(shape, "float64", tol=1e-3, floor=1e-2)
        orthogonalize(x, tol=1e-3, floor=1e-2, method="polynomial")
        tracemalloc.start()
        orthogonalize(x, tol=1e-3, floor=1e-2, method="polynomial")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert 0.5 * plan.memory <= peak <= plan.memory


def test_large_matrices_cost_four_times_their_memory() -> None:
    """Two squares and the iterate, and one more in a step of degree 17, besides panels."""
    x = support.gaussian(512, 512)
    bounds = Bounds(1.0, newton_schulz.reach(512), 0.0)
    run = fitted(Kind((512, 512), EPS["float64"]), 1e-3, 1e-2, bounds)
    assert {5, 9, 17} <= {step.degree for segment in run.segments for step in segment}
    orthogonalize(x, tol=1e-3, floor=1e-2, method="polynomial")
    tracemalloc.start()
    orthogonalize(x, tol=1e-3, floor=1e-2, method="polynomial")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 4.3 * x.nbytes


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex128"])
def test_defaults_have_a_plan(dtype: str) -> None:
    plan = plan_orthogonalization((8, 16), dtype, tol=None, floor=None)
    assert plan.degrees[0] >= 5
    assert plan.memory > 0


def test_a_looser_plan_costs_less() -> None:
    def products(tol: float, floor: float) -> int:
        return plan_orthogonalization((64, 64), "float64", tol=tol, floor=floor).products

    assert products(0.1, 1e-1) < products(1e-3, 1e-1) < products(1e-3, 1e-4)


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "words"),
    [
        ((4,), "float32", {}, "shape"),
        ((4, 0), "float32", {}, "shape"),
        ((4, 4), "int32", {}, "int32"),
        ((4, 4), "float32", {"tol": 0.0}, "tol"),
        ((4, 4), "float32", {"floor": 1.0}, "floor"),
    ],
)
def test_a_plan_refuses(shape: Any, dtype: str, options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plan_orthogonalization(shape, dtype, **{"tol": 0.1, "floor": 0.1} | options)


def test_neighbours_do_not_matter_where_the_plan_adapts() -> None:
    """Bit for bit, whatever the neighbours need."""
    spectra = [np.ones(12), np.linspace(1, 0.3, 12), np.geomspace(1, 1e-5, 12), np.zeros(12)]
    x = np.stack([support.with_spectrum(s, (12, 30), i) for i, s in enumerate(spectra)])
    whole = orthogonalize(x, tol=1e-4, method="polynomial", full_output=True)
    assert whole.status.tolist() == [0, 0, 0, 3]
    assert len(set(whole.products.tolist()[:3])) == 3
    for i in range(4):
        alone = orthogonalize(x[i], tol=1e-4, method="polynomial", full_output=True)
        assert whole.products[i] == alone.products
        np.testing.assert_allclose(whole.factor[i], alone.factor, atol=1e-13)


@pytest.mark.parametrize("options", [{}, {"floor": 1e-2}, {"method": "polar-express"}], ids=str)
def test_plans_are_constants_for_a_compiler(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    options = {"tol": 1e-2, "floor": 1e-1, "method": "polynomial", "full_output": True} | options
    torch._dynamo.reset()
    run = torch.compile(lambda x: orthogonalize(x, **options), backend="eager", fullgraph=True)
    x = torch.asarray(support.easy(shape=(12, 8)))
    compiled, eager = run(x), orthogonalize(x, **options)
    # Eager code may look at the spectrum: each has its plan, and both keep the promise.
    for full in (compiled, eager):
        truth = support.polar_factor(x.numpy())
        assert spectral_norm(full.factor.numpy() - truth) <= min(float(full.error), 1e-2)
    if "floor" in options:
        plan = plan_orthogonalization((12, 8), "float64", tol=1e-2, floor=options["floor"])
        assert options["method"] != "polynomial" or compiled.products == plan.products
