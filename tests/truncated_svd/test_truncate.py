"""Leading singular triplets and the truncated spectral step."""

from typing import Any

import numpy as np
import pytest

from specdesc import LinearOperator, backends, initial_start, truncated_spectral_step, truncated_svd
from specdesc._lib.host import gaussian
from specdesc._linalg import basic, krylov, subspace
from specdesc._truncated_svd import subspace_iteration
from specdesc.rules import TruncatedSpectralDescent
from tests import support
from tests.support import EPS, Library, adjoint, assert_ratio, ky_fan, spectral_norm

#: (m, n, rank): the block is narrow enough for subspace iteration
SHAPE, RANK = (96, 80), 6


def spectra(n: int) -> dict[str, Any]:
    i = np.arange(n)
    return {
        "power law": 1.0 / (1 + i),
        "exponential": 0.7**i,
        "gap": np.where(i < RANK, 2.0, 0.1),
        "flat": np.ones(n) * (1 + 1e-3 * (n - i) / n),
        "ties past the cut": np.where(i < 20, 1.0, 0.01),
        "low rank": np.where(i < 3, 3.0 - i, 0.0),
        "rank one": np.where(i < 1, 5.0, 0.0),
        "zero": np.zeros(n),
    }


CASES = pytest.mark.parametrize("name", spectra(SHAPE[1]))

#: Tolerances, each with a way to meet it: small matrices are swept, larger ones spanned.
TOLERANCES = pytest.mark.parametrize(
    ("tol", "way"),
    [(None, "swept"), (0.3, "spanned"), (0.01, "swept"), (1e-6, "swept"), (1e-6, "spanned")],
    indirect=["way"],
)
WAYS = pytest.mark.parametrize("way", ["swept", "spanned"], indirect=True)


@pytest.fixture
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Treat small matrices as large ones, if the test asks for it."""
    if request.param == "spanned":
        monkeypatch.setattr(subspace_iteration, "SIDE", 0)
    return str(request.param)


def made(name: str, dtype: str = "float64", seed: int = 0) -> Any:
    return support.with_spectrum(spectra(SHAPE[1])[name], SHAPE, seed, dtype)


# --- what every answer obeys ---------------------------------------------------------------------


@CASES
@TOLERANCES
@pytest.mark.usefixtures("way")
def test_factors_are_orthonormal_and_values_right(
    name: str, tol: float | None, library: Library
) -> None:
    """Also where the rank of the matrix is below the one wanted: the factors are completed.

    No default is so small that the tolerance is missed. No zeros or garbage among
    the vectors of a zero or low-rank matrix, whichever rung serves it.
    """
    if library.compiles and tol in (0.01, 1e-6):
        pytest.skip("a fixed plan reads no tolerance")
    for dtype in ("float32", "complex64"):
        if library.compiles and dtype != "float32":
            continue
        x = library.array(made(name, dtype), dtype)
        host = library.numpy(x).astype("complex128")
        full = truncated_svd(x, RANK, tol=tol, full_output=True)
        u, s, vh = (library.numpy(part) for part in (full.U, full.S, full.Vh))
        eps, size, n = EPS[dtype], max(spectral_norm(host), 1e-30), max(SHAPE)
        assert_ratio(adjoint(u) @ u - np.eye(RANK), n, eps)
        assert_ratio(vh @ adjoint(vh) - np.eye(RANK), n, eps)
        # S is what U and V see of the matrix: descending, real, and never beyond the truth.
        assert_ratio(adjoint(u) @ host @ adjoint(vh) - np.diag(s), n * size, eps)
        assert (np.diff(s) <= n * eps * size).all()
        assert (s >= 0).all()
        assert s.dtype == np.float32
        truth = float(ky_fan(host, RANK))
        value, gap = (float(library.numpy(part)) for part in (full.value, full.gap))
        assert_ratio(value - s.sum(), RANK * size, eps)
        assert value <= truth + n * eps * size * RANK
        assert truth - value <= gap, "the certificate is below the truth"
        if tol is not None and library.branches:
            assert truth - value <= tol * truth + n * eps * size


@CASES
@TOLERANCES
@pytest.mark.usefixtures("way")
def test_the_step_is_a_partial_isometry(name: str, tol: float | None, library: Library) -> None:
    """Spectral norm 1, nuclear norm and squared Frobenius norm the number of pairs kept."""
    if library.compiles and tol in (0.01, 1e-6):
        pytest.skip("a fixed plan reads no tolerance")
    x = library.array(made(name), "float32")
    full = truncated_spectral_step(x, RANK, tol=tol, full_output=True)
    step = library.numpy(full.step).astype("float64")
    kept = int(library.numpy(full.rank))
    rank = int((spectra(SHAPE[1])[name] > 0).sum())
    assert kept == min(rank, RANK)
    s = np.linalg.svd(step, compute_uv=False)
    limit = max(SHAPE) * EPS["float32"]
    assert_ratio(s[:kept] - 1, 1, limit)
    assert_ratio(s[kept:], 1, limit)
    assert_ratio((step**2).sum() - kept, 1, limit)
    host = library.numpy(x).astype("float64")
    value = float(library.numpy(full.value))
    # The value is the inner product with the step.
    assert_ratio((step * host).sum() - value, value or 1.0, limit)


@pytest.mark.parametrize("rank", [1, 2, 5, 8])
def test_the_default_is_the_dense_truth(rank: int, library: Library, dtype: str) -> None:
    if library.compiles and (rank != 2 or dtype in support.HALF):
        pytest.skip("each rank and dtype is a compilation, and the paths are the same")
    x = library.array(support.gaussian(12, 8, seed=4, dtype=dtype), dtype)
    host = library.numpy(x).astype("complex128")
    u, s, vh = np.linalg.svd(host, full_matrices=False)
    found = truncated_svd(x, rank)
    ours = [library.numpy(part).astype("complex128") for part in found]
    assert_ratio(ours[1] - s[:rank], 12 * s[0], EPS[dtype])
    product = (ours[0] * ours[1]) @ ours[2]
    truth = (u[:, :rank] * s[:rank]) @ vh[:rank]
    assert_ratio(spectral_norm(product - truth), 12 * s[0] * 4, EPS[dtype])
    step = library.numpy(truncated_spectral_step(x, rank)).astype("complex128")
    assert_ratio(spectral_norm(step - u[:, :rank] @ vh[:rank]), 48, EPS[dtype])


# --- certificates --------------------------------------------------------------------------------


def check_certificates(rng: np.random.Generator, count: int, dtype: str, leaf: Any) -> None:
    """Run blocks of few passes on random matrices: the gap is a bound whatever they found."""
    m, n = (int(size) for size in rng.integers(4, 40, size=2))
    k = min(m, n)
    rank = int(rng.integers(1, k + 1))
    width = int(rng.integers(rank, k + 1))
    graded = [np.geomspace(1, 10.0 ** -rng.uniform(0, 6), k), rng.random(k), np.ones(k)]
    values = sorted(graded[int(rng.integers(3))], reverse=True)
    seeds = rng.integers(2**31, size=count)
    host = np.stack([support.with_spectrum(values, (m, n), int(seed), dtype) for seed in seeds])
    host = (host * 10.0 ** rng.uniform(-3, 3)).astype(dtype)
    x = leaf.from_host(host, dtype=dtype)
    products, energy = krylov.action_of(x, backend=leaf), basic.energy(x, backend=leaf)
    block = leaf.from_host(rng.standard_normal((count, n, width)), dtype=dtype)
    truth = ky_fan(host.astype("complex128"), rank)
    passes, way = int(rng.integers(1, 4)), rng.random()
    if way < 0.3:
        half = None
        for _ in range(passes):
            space = krylov.begin(products, block if half is None else half.z, backend=leaf)
            half = krylov.half_pass(products, space, backend=leaf)
        found, _, turn = krylov.half_solve(half, rank, backend=leaf)
        s, captured = krylov.half_leading(half, width, turn, backend=leaf).s, found.captured
    elif way < 0.6:
        s = subspace.iterate(products, block, rank, passes, backend=leaf).triplets.s
        captured = leaf.xp.sum(leaf.xp.astype(s, leaf.xp.float64) ** 2, axis=-1)
    else:
        space = krylov.begin(products, block, backend=leaf)
        for _ in range(passes - 1):
            if space.v.shape[-1] + width <= k:
                y = products.backward(space.w[..., -width:])
                space = krylov.extend(products, space, y, backend=leaf)
        s = krylov.leading(space, width, backend=leaf).s
        captured = krylov.ritz(space, rank, backend=leaf).captured
    s = s[..., :rank]
    gap = leaf.to_host(subspace.certificate(energy, captured, s, EPS[dtype], backend=leaf))
    missed = truth - leaf.to_host(s).astype("float64").sum(-1)
    assert (gap >= missed).all(), (m, n, rank, width, passes, float((gap - missed).min()))


@pytest.mark.parametrize("dtype", support.FULL)
def test_the_gap_is_never_below_the_truth(dtype: str) -> None:
    rng = np.random.default_rng(8)
    for _ in range(60):
        check_certificates(rng, 10, dtype, backends.load("numpy"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", support.FULL)
@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_the_gap_is_never_below_the_truth_in_a_long_sweep(name: str, dtype: str) -> None:
    """10,000 matrices for each library and dtype."""
    pytest.importorskip(name, reason=f"{name} is not installed")
    rng = np.random.default_rng(2000)
    for _ in range(1000):
        check_certificates(rng, 10, dtype, backends.load(name))


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e20])
def test_value_gap_and_estimate_are_in_the_units_of_x(scale: float, library: Library) -> None:
    x = support.gaussian(*SHAPE)
    one, other = (
        truncated_svd(library.array(y, "float32"), RANK, tol=0.2, full_output=True)
        for y in (x, x * scale)
    )
    for name in ("value", "gap", "estimate"):
        a, b = (float(library.numpy(getattr(full, name))) for full in (one, other))
        # Differences of numbers like the value: that is what their roundings are measured in.
        rounding = 100 * EPS["float32"] * float(library.numpy(one.value))
        assert b / scale == pytest.approx(a, abs=rounding)


def test_the_estimate_falls_with_what_is_missed() -> None:
    """Not a bound, but of the right size where a spectrum decays."""
    x, leaf = made("exponential"), backends.load("numpy")
    truth = float(ky_fan(x, RANK))
    block = subspace.random_block(x.shape, RANK + 10, 0, x, backend=leaf)
    products = krylov.action_of(x, backend=leaf)
    for passes in (1, 2, 3):
        found = subspace.iterate(products, block, RANK, passes, backend=leaf)
        value = found.triplets.s[:RANK].sum()
        missed = truth - value
        guess = subspace.extrapolate(*found.earlier, value, 0.0, xp=leaf.xp)
        assert 0 <= guess <= 100 * max(missed, 1e-12)


def test_more_passes_never_lower_the_value() -> None:
    """Every half pass of subspace iteration and every Krylov step only raises it."""
    leaf = backends.load("numpy")
    for name in ("power law", "flat", "exponential"):
        x = made(name)
        products = krylov.action_of(x, backend=leaf)
        block = subspace.random_block(x.shape, RANK + 4, 1, x, backend=leaf)
        values = []
        for passes in (1, 2, 3, 4):
            found = subspace.iterate(products, block, RANK, passes, backend=leaf)
            values += [*found.earlier, found.triplets.s[:RANK].sum()]
        assert (np.diff(values) >= -1e-12).all()
        space = krylov.begin(products, block, backend=leaf)
        values = [krylov.ritz(space, RANK, backend=leaf).s.sum()]
        for _ in range(4):
            y = products.backward(space.w[:, -(RANK + 4) :])
            if len(values) == 1:
                half = krylov.half_pass(products, space, backend=leaf)
                np.testing.assert_allclose(half.z @ half.r, y, atol=1e-12)
                values.append(krylov.half_ritz(half, RANK, backend=leaf).s.sum())
            space = krylov.extend(products, space, y, backend=leaf)
            values.append(krylov.ritz(space, RANK, backend=leaf).s.sum())
        assert (np.diff(values) >= -1e-12).all()
        cut = krylov.thicken(space, RANK + 4, RANK + 10, backend=leaf)
        assert_ratio(adjoint(cut.v) @ cut.v - np.eye(cut.v.shape[1]), SHAPE[1], 2**-52)
        assert krylov.ritz(cut, RANK, backend=leaf).s.sum() >= 0.99 * values[-1]


# --- warm starts ---------------------------------------------------------------------------------


def test_a_start_has_one_structure_for_ever(library: Library, dtype: str) -> None:
    """Shape and dtype from `initial_start` on, on the cheap path and on the dense one."""
    if library.compiles and dtype != "float32":
        pytest.skip("no truncated SVD, or the same for every dtype")
    x = library.array(made("power law", dtype), dtype)
    start = initial_start(x, RANK)
    for tol in (0.3, None, 1e-6):
        full = truncated_svd(x, RANK, tol=tol, start=start, full_output=True)
        assert type(full.start) is type(start)
        assert full.start.dtype == start.dtype
        assert tuple(full.start.shape) == tuple(start.shape) == (SHAPE[1], RANK + 10)
        block = library.numpy(full.start)
        assert_ratio(adjoint(block) @ block - np.eye(RANK + 10), SHAPE[1], EPS["float32"])
        start = full.start


def test_initial_start_is_the_same_on_every_library_and_for_every_seed_another(
    library: Library,
) -> None:
    x = library.array(np.zeros((3, 30, 40)), "float32")
    for seed in (0, 1):
        block = library.numpy(initial_start(x, 2, seed=seed))
        expected = gaussian((40, 12), seed) / 40**0.5
        np.testing.assert_allclose(block, np.broadcast_to(expected, (3, 40, 12)), rtol=1e-6)
    first, second = (library.numpy(initial_start(x, 2, seed=seed)) for seed in (0, 1))
    assert (first != second).any()


def counting(host: Any, energy: bool = True) -> tuple[LinearOperator, list[int]]:
    """Return a matrix behind its products, and where it notes the widths of their blocks."""
    widths: list[int] = []

    def times(matrix: Any, block: Any) -> Any:
        widths.append(block.shape[-1])
        return matrix @ block

    known = np.asarray((np.abs(host) ** 2).sum()) if energy else None
    return LinearOperator(
        lambda block: times(host, block),
        lambda block: times(adjoint(host), block),
        host.shape,
        host[:0],
        known,
    ), widths


def test_a_warm_start_needs_fewer_products() -> None:
    """Two products from the block of the last call."""
    x = made("power law")
    spent = []
    start = None
    for _ in range(3):
        operator, widths = counting(x)
        full = truncated_svd(operator, RANK, tol=1e-3, start=start, full_output=True)
        start = full.start
        spent.append(len(widths))
        assert full.value >= (1 - 1e-3) * ky_fan(x, RANK)
    assert spent[0] > 3
    assert spent[1:] == [2, 2]


def test_a_looser_tolerance_costs_less() -> None:
    spent = []
    for tol in (0.5, 1e-1, 1e-2, 1e-4):
        operator, widths = counting(made("flat") + 0.1 * support.gaussian(*SHAPE) / 10)
        truncated_svd(operator, RANK, tol=tol)
        spent.append(sum(widths))
    assert spent == sorted(spent)
    assert spent[0] < spent[-1]


def unlucky(dtype: str) -> tuple[Any, Any]:
    """Return a matrix and a start: neither it nor its fresh columns have the leading direction."""
    n, width = SHAPE[1], RANK + 10
    v = support.orthonormal(n, n, seed=1)
    fresh = subspace.drawn_columns(n, width, 0, 0, v, backend=backends.load("numpy"))[:, -2:]
    seen, _ = np.linalg.qr(np.concatenate([v[:, : width - 2], fresh], axis=1))
    hidden = v[:, -1] - seen @ (seen.T @ v[:, -1])
    basis, _ = np.linalg.qr(np.concatenate([hidden[:, None], seen, v[:, width:-1]], axis=1))
    s = np.where(np.arange(n) == 0, 3.0, np.where(np.arange(n) <= width - 2, 1.0, 0.1))
    x = (support.orthonormal(SHAPE[0], n, seed=2) * s) @ basis.T
    return x.astype(dtype), np.ascontiguousarray(v[:, :width]).astype(dtype)


def test_a_direction_that_one_draw_misses_is_found_by_another(library: Library) -> None:
    """Fresh columns are a function of seed and step, which may be a number or an array."""
    host, begin = unlucky("float32")
    x, start = library.array(host), library.array(begin)
    counter = library.xp.asarray(1, dtype=library.xp.int32, device=library.device)
    found = []
    for step in (0, 1, counter):
        full = truncated_svd(x, RANK, tol=0.5, start=start, step=step, full_output=True)
        found.append(float(library.numpy(full.value)))
        assert ky_fan(host, RANK) - found[-1] <= float(library.numpy(full.gap))
    assert found[0] < 0.8 * ky_fan(host, RANK)
    assert min(found[1:]) > 0.99 * ky_fan(host, RANK)
    assert found[1] == pytest.approx(found[2], rel=1e-5)


def test_a_rule_counts_the_draws() -> None:
    """The same gradient again and again: what the first step has missed, the second finds."""
    host, begin = unlucky("float64")
    rule = TruncatedSpectralDescent(RANK, 1.0, tol=0.5)
    state = {**rule.init(host), "start": begin}
    x, values = np.zeros_like(host), []
    for _ in range(2):
        moved, state = rule.update(x, host, state)
        values.append(float(((x - moved) * host).sum()))
        x = moved
    assert values[0] < 0.8 * ky_fan(host, RANK)
    assert values[1] > 0.99 * ky_fan(host, RANK)


def test_draws_of_fresh_columns_are_normalized_and_independent() -> None:
    leaf, like = backends.load("numpy"), np.ones(1)
    draws = np.stack(
        [subspace.drawn_columns(400, 2, 3, step, like, backend=leaf) for step in (0, 1, 2, 5, 4096)]
    )
    np.testing.assert_allclose((draws**2).sum(1), 1, atol=0.2)
    inner = np.einsum("inp,jnq->ijpq", draws, draws)
    apart = ~np.eye(5, dtype=bool)
    assert np.abs(inner[apart]).max() < 5 / 400**0.5
    again = subspace.drawn_columns(400, 2, 3, subspace.DRAWS + 2, like, backend=leaf)
    np.testing.assert_array_equal(again, draws[2])
    other = subspace.drawn_columns(400, 2, 4, 0, like, backend=leaf)
    assert np.abs(draws[0].T @ other).max() < 5 / 400**0.5


@pytest.mark.parametrize("poison", [np.nan, np.inf, 0.0])
def test_a_poisoned_start_recovers(poison: float, library: Library) -> None:
    """One NaN in a state does not stay for ever; a start of zeros is no worse than none."""
    host = np.stack([made("exponential"), made("gap")])
    x = library.array(host, "float32")
    start = library.numpy(initial_start(x, RANK)).copy()
    start[0] = poison
    full = truncated_svd(x, RANK, tol=0.1, start=library.array(start), full_output=True)
    assert np.isfinite(library.numpy(full.S)).all()
    assert np.isfinite(library.numpy(full.start)).all()
    again = truncated_svd(x, RANK, tol=0.1, start=full.start, full_output=True)
    truth = ky_fan(host, RANK)
    assert (library.numpy(again.value) >= 0.9 * truth).all()


def test_a_nan_gradient_leaves_the_start_as_it_was(library: Library) -> None:
    host = np.stack([made("exponential"), made("gap") * np.nan])
    x = library.array(host, "float32")
    start = initial_start(x, RANK, seed=3)
    full = truncated_svd(x, RANK, tol=0.1, start=start, full_output=True)
    before, after = library.numpy(start), library.numpy(full.start)
    assert (after[1] == before[1]).all()
    assert (after[0] != before[0]).any()


def test_a_new_direction_is_found_from_a_start_that_has_no_part_of_it(library: Library) -> None:
    """The leading direction appears orthogonal to the whole warm block."""
    n = SHAPE[1]
    v = support.orthonormal(n, n, seed=7)
    u = support.orthonormal(SHAPE[0], n, seed=8)
    s = 0.6 ** np.arange(n)
    s[40] = 5.0
    x = library.array((u * s) @ v.T, "float32")
    start = library.array(v[:, :16], "float32")
    truth = float(ky_fan((u * s) @ v.T, RANK))
    for _ in range(3):
        full = truncated_svd(x, RANK, tol=0.01, start=start, full_output=True)
        start = full.start
    assert float(library.numpy(full.value)) >= 0.99 * truth


def test_a_start_of_any_scale_is_as_good() -> None:
    x = made("exponential").astype("float32")
    start = initial_start(x, RANK)
    values = [
        truncated_svd(x, RANK, tol=0.05, start=start * np.float32(2.0**e), full_output=True).value
        for e in (-60, 0, 60)
    ]
    assert min(values) >= 0.95 * ky_fan(x, RANK)


def test_the_seed_decides_and_the_same_seed_gives_the_same_bytes(library: Library) -> None:
    x = library.array(made("power law"), "float32")
    runs = [
        library.numpy(truncated_svd(x, RANK, tol=0.3, seed=seed, full_output=True).start)
        for seed in (0, 0, 1)
    ]
    assert runs[0].tobytes() == runs[1].tobytes()
    assert runs[0].tobytes() != runs[2].tobytes()


# --- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tol", [None, 1e-5])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_equivariance_transposition_scale_and_diagonals(tol: float | None, dtype: str) -> None:
    """Where s_k > s_(k+1)."""
    x = made("exponential", dtype)
    q, z = (support.orthonormal(n, n, seed=n, dtype=dtype) for n in SHAPE)

    def f(y: Any, rank: int = RANK) -> Any:
        return truncated_spectral_step(np.ascontiguousarray(y), rank, tol=tol)

    # A value within tol of the best allows a step within about sqrt(tol) of the true one.
    limit = 1e-10 if tol is None else 0.05
    step = f(x)
    assert spectral_norm(f(q @ x @ adjoint(z)) - q @ step @ adjoint(z)) < limit
    assert spectral_norm(f(adjoint(x)) - adjoint(step)) < limit
    assert spectral_norm(f(-x) + step) < limit
    assert (f(4.0 * x) == step).all()
    u, _, vh = np.linalg.svd(x)
    assert spectral_norm(step - u[:, :RANK] @ vh[:RANK]) < limit


def test_the_full_rank_step_is_the_polar_factor_and_a_diagonal_gives_signs() -> None:
    x = support.gaussian(8, 8, seed=5)
    np.testing.assert_allclose(truncated_spectral_step(x, 8), support.polar_factor(x), atol=1e-12)
    d = np.diag([3.0, -2.0, 1.5, -0.5])
    np.testing.assert_allclose(
        truncated_spectral_step(d, 2), np.diag([1.0, -1.0, 0.0, 0.0]), atol=1e-12
    )


@pytest.mark.parametrize("tol", [None, 0.01])
def test_ties_at_the_cut_cost_no_value(tol: float | None) -> None:
    """Which of the tied pairs is taken is free, the value is not."""
    x = made("ties past the cut")
    full = truncated_spectral_step(x, RANK, tol=tol, full_output=True)
    assert full.value == pytest.approx(RANK, rel=0.01)
    s = np.linalg.svd(full.step, compute_uv=False)
    np.testing.assert_allclose(s[:RANK], 1, atol=1e-12)
    np.testing.assert_allclose(s[RANK:], 0, atol=1e-12)


@pytest.mark.parametrize("tol", [None, 0.05])
def test_tall_wide_and_complex(tol: float | None) -> None:
    """A transpose without a conjugate is wrong by half of every value."""
    for shape in ((400, 50), (50, 400)):
        low = support.gaussian(shape[0], 3, dtype="complex128") @ support.gaussian(
            3, shape[1], seed=1, dtype="complex128"
        )
        x = low + 0.5 * support.gaussian(*shape, seed=2, dtype="complex128")
        u, s, vh = truncated_svd(x, 2, tol=tol)
        truth = np.linalg.svd(x, compute_uv=False)[:2]
        assert (np.abs(s / truth - 1) <= 0.05).all()
        assert_ratio(np.diagonal(adjoint(u) @ x @ adjoint(vh)) - s, 400 * truth[0], 2**-52)


def test_small_singular_values_survive_single_precision() -> None:
    """No cut-off at 1e3 eps."""
    x = support.with_spectrum([1.0, 5e-3, 1e-3], (96, 80)).astype("float32")
    for tol in (None, 1e-4):
        _, s, _ = truncated_svd(x, 2, tol=tol)
        assert abs(s[1] - 5e-3) <= 1e-6


@WAYS
@pytest.mark.usefixtures("way")
def test_a_stack_takes_as_many_factorizations_as_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hidden loop over the stack."""
    calls = []
    original = np.linalg.qr
    monkeypatch.setattr(np.linalg, "qr", lambda *a, **k: calls.append(1) or original(*a, **k))
    x = support.gaussian(16, 96, 80)
    counts = []
    for stack in (x[:1], x):
        calls.clear()
        truncated_svd(stack, 2, tol=0.9)
        counts.append(len(calls))
    # Some may need a step more than the first, but not each its own.
    assert counts[1] <= 2 * counts[0]


@WAYS
@pytest.mark.usefixtures("way")
def test_a_hard_neighbour_changes_nothing() -> None:
    """Each matrix of a stack is served by the first method that is good enough for it."""
    easy, hard = made("exponential"), support.gaussian(*SHAPE)
    both = truncated_svd(np.stack([easy, hard]), RANK, tol=0.01, full_output=True)
    for i, x in enumerate((easy, hard)):
        alone = truncated_svd(x, RANK, tol=0.01, full_output=True)
        np.testing.assert_allclose(both.S[i], alone.S, rtol=1e-10)
        np.testing.assert_allclose(both.gap[i], alone.gap, rtol=1e-6)


def test_memory_does_not_grow_with_a_second_copy_of_the_input() -> None:
    """200000 by 3 takes no 200000 by 200000 Gram matrix."""
    x = np.ones((200_000, 3))
    _, s, _ = truncated_svd(x, 2)
    np.testing.assert_allclose(s, [600_000**0.5, 0], atol=1e-8)


# --- a zoo, and where others break ---------------------------------------------------------------

ZOO = {
    "gaussian": support.gaussian(72, 64, seed=1),
    **{
        f"condition 1e{e}": support.with_spectrum(np.geomspace(1, 10.0**-e, 64), (72, 64))
        for e in (1, 6, 12)
    },
    "rank one": support.with_spectrum([3.0], (72, 64)),
    "rank one and noise": support.with_spectrum([3.0], (72, 64))
    + 1e-3 * support.gaussian(72, 64, seed=2),
    "deficient": support.with_spectrum([2.0, 1.0, 0.5], (72, 64)),
    "repeated": support.with_spectrum([1.0] * 40 + [0.5] * 24, (72, 64)),
    "identity": np.eye(72, 64),
    "one huge row": support.gaussian(72, 64, seed=3)
    * np.where(np.arange(72) == 5, 1e6, 1.0)[:, None],
    "zero": np.zeros((72, 64)),
    "row": support.gaussian(1, 64, seed=4),
    "column": support.gaussian(64, 1, seed=5),
    "complex": support.gaussian(64, 72, seed=6, dtype="complex128"),
    "scale 1e-30": 1e-30 * support.gaussian(72, 64, seed=7),
    "scale 1e30": 1e30 * support.gaussian(72, 64, seed=8),
}


@pytest.mark.parametrize("name", ZOO)
def test_the_step_on_a_zoo(name: str, library: Library) -> None:
    """Ky Fan value, spectral norm and nuclear norm of U_k V_kᴴ, at every tolerance and rank."""
    if library.compiles and name not in ("deficient", "scale 1e30"):
        pytest.skip("the same compiled code for all: the longer test has them")
    check_steps(name, library, ranks={4} if library.compiles else {1, 4, min(ZOO[name].shape)})


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("precise", [False, True])
def test_the_step_on_the_whole_zoo(name: str, precise: bool, library: Library) -> None:
    """Every matrix on every library, in both precisions."""
    dtypes = ("float64", "complex128") if precise else ("float32", "complex64")
    if not set(dtypes) & set(library.dtypes):
        pytest.skip("no such precision")
    check_steps(name, library, ranks={1, 3, 4, min(ZOO[name].shape)}, precise=precise)


def check_steps(name: str, library: Library, ranks: set[int], precise: bool = False) -> None:
    host = ZOO[name]
    real, mixed = ("float64", "complex128") if precise else ("float32", "complex64")
    x = library.array(host, mixed if np.iscomplexobj(host) else real)
    host, eps = library.numpy(x).astype("complex128"), EPS[real]
    s = np.linalg.svd(host, compute_uv=False)
    for rank in {min(rank, *host.shape) for rank in ranks}:
        for tol in (None, 0.1, 1e-3):
            full = truncated_spectral_step(x, rank, tol=tol, full_output=True)
            step = library.numpy(full.step).astype("complex128")
            value, gap = (float(library.numpy(y)) for y in (full.value, full.gap))
            kept, truth = int(library.numpy(full.rank)), s[:rank].sum()
            sizes = np.linalg.svd(step, compute_uv=False)
            rounding = 200 * eps * max(truth, 1e-37)
            np.testing.assert_allclose(sizes[:kept], 1, atol=170 * eps)
            np.testing.assert_allclose(sizes[kept:], 0, atol=170 * eps)
            assert abs(np.vdot(step, host).real - value) <= rounding * rank
            assert truth - value <= gap * (1 + 1e-6)
            if tol is not None and library.branches:
                assert truth - value <= tol * truth + rounding


def test_the_smallest_and_largest_scales_of_double_precision() -> None:
    for scale in (1e-300, 1e300):
        x = scale * support.gaussian(72, 64, seed=1)
        for tol in (None, 1e-3):
            full = truncated_spectral_step(x, 4, tol=tol, full_output=True)
            truth = ky_fan(x / scale, 4)
            assert full.value / scale == pytest.approx(truth, rel=1e-3)
            assert (truth - full.value / scale) <= full.gap / scale


def test_a_nan_or_an_inf_in_one_matrix_of_a_mixed_stack(library: Library) -> None:
    """The others of the stack are as they were."""
    stack = np.stack([ZOO["gaussian"], ZOO["zero"], ZOO["deficient"], ZOO["gaussian"] * 1e-20])
    bad = np.concatenate([stack, stack[:2]])
    bad[4, 3, 3], bad[5, 0, 0] = np.nan, np.inf
    full = truncated_svd(library.array(bad, "float32"), 4, tol=0.01, full_output=True)
    assert np.isnan(library.numpy(full.U)[4:]).all()
    assert np.isnan(library.numpy(full.value)[4:]).all()
    assert np.isfinite(library.numpy(full.start)).all()
    if library.compiles:
        return
    for i in range(4):
        alone = truncated_svd(library.array(bad[i], "float32"), 4, tol=0.01, full_output=True)
        expected = library.numpy(alone.S)
        limit = 0.01 * float(expected.sum()) + 1e-37
        np.testing.assert_allclose(library.numpy(full.S)[i], expected, atol=limit)


@pytest.mark.parametrize("shape", [(64, 64), (90, 64), (64, 90)])
def test_complex_values_as_accurate_as_real_ones(shape: tuple[int, int]) -> None:
    """A compressed SVD that forgets a conjugate is wrong by half of every value."""
    x = support.gaussian(shape[0], 5, dtype="complex128") @ support.gaussian(
        5, shape[1], seed=1, dtype="complex128"
    ) + 0.5 * support.gaussian(*shape, seed=2, dtype="complex128")
    truth = np.linalg.svd(x, compute_uv=False)[:4]
    for tol in (1e-2, 1e-6):
        np.testing.assert_allclose(truncated_svd(x, 4, tol=tol)[1], truth, rtol=2e-2)


@WAYS
@pytest.mark.usefixtures("way")
def test_flat_spectra_do_not_fail_and_errors_are_said() -> None:
    """No exception at a flat spectrum, and never a wrong value that looks right."""
    for spectrum in (np.linspace(1, 0.5, 150), np.ones(150), 0.97 ** np.arange(150)):
        x = support.with_spectrum(spectrum, (200, 150))
        for tol in (0.3, 1e-2, 1e-4, 1e-8):
            full = truncated_svd(x, 8, tol=tol, full_output=True)
            missed = spectrum[:8].sum() - full.value
            assert missed <= full.gap
            assert missed <= max(tol * full.value, 1e-12)


def test_both_factors_are_orthonormal_where_columns_are_only_normalized_elsewhere() -> None:
    """Unit columns are no polar factor; the step has singular values 1, all of them."""
    x = made("power law")
    full = truncated_svd(x, RANK, tol=0.1, full_output=True)
    moved = x + 0.05 * support.gaussian(*SHAPE, seed=4) / 10
    u, _, vh = truncated_svd(moved, RANK, tol=0.1, start=full.start)
    for gram in (adjoint(u) @ u, vh @ adjoint(vh)):
        assert np.abs(gram - np.eye(RANK)).max() <= 1e-13
    left, _ = np.linalg.qr(moved @ full.start[:, :RANK])
    normalized = adjoint(left) @ moved
    normalized /= np.linalg.norm(normalized, axis=1, keepdims=True)
    # What one power pass and a column normalization give from the same start is no isometry.
    assert np.abs(normalized @ adjoint(normalized) - np.eye(RANK)).max() > 1e-6


@WAYS
@pytest.mark.usefixtures("way")
def test_a_useless_start_is_dropped() -> None:
    """An invariant subspace of trailing directions leads nowhere, whatever is spent on it."""
    n = SHAPE[1]
    u, v = support.orthonormal(SHAPE[0], n, seed=1), support.orthonormal(n, n, seed=2)
    x = (u * np.where(np.arange(n) < 20, 1.0, 0.01)) @ v.T
    start = np.ascontiguousarray(v[:, 40 : 40 + RANK + 10])
    full = truncated_svd(x, RANK, tol=0.01, start=start, full_output=True)
    assert full.value == pytest.approx(RANK, rel=0.01)


# --- matrices behind their products --------------------------------------------------------------


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (5, 7), (1, 9), (9, 1), (200, 150)])
@pytest.mark.parametrize("energy", [True, False])
def test_an_operator_gives_what_its_matrix_gives(shape: tuple[int, int], energy: bool) -> None:
    host = support.gaussian(*shape, seed=3, dtype="complex128")
    for rank in {1, min(shape) // 2 + 1, min(shape)}:
        operator, _ = counting(host, energy)
        for start in (None, initial_start(operator, rank)):
            full = truncated_svd(operator, rank, tol=1e-3, start=start, full_output=True)
            missed = ky_fan(host, rank) - full.value
            # Without a dense SVD behind them, the products may end before the tolerance.
            assert missed <= max(1e-3 * full.value, 4 * full.estimate)
            assert missed <= full.gap
            assert np.isfinite(full.gap) == energy
            assert_ratio(adjoint(full.U) @ full.U - np.eye(rank), max(shape), 2**-52)
            assert_ratio(full.Vh @ adjoint(full.Vh) - np.eye(rank), max(shape), 2**-52)
            assert full.start.shape == (shape[1], min(rank + 10, *shape))


def test_an_operator_needs_a_tolerance_and_the_right_shapes() -> None:
    operator, _ = counting(support.gaussian(6, 5))
    with pytest.raises(ValueError, match="tol must be given for a LinearOperator"):
        truncated_svd(operator, 2)
    with pytest.raises(ValueError, match=r"rank must be an integer from 1 to 5 for shape \(6, 5\)"):
        truncated_svd(operator, 6, tol=0.1)
    with pytest.raises(ValueError, match=r"start must have shape \(5, 5\)"):
        truncated_svd(operator, 2, tol=0.1, start=np.ones((4, 4)))
    wrong = LinearOperator(lambda b: b, lambda b: b, (6, 5), np.ones(1))
    with pytest.raises(ValueError, match=r"must have shape \(6, \d\), got \(5, \d\)"):
        truncated_svd(wrong, 2, tol=0.1)
    with pytest.raises(ValueError, match="shape must be"):
        LinearOperator(lambda b: b, lambda b: b, (3,), np.ones(1))  # type: ignore[arg-type]


def test_an_operator_whose_products_are_not_finite_gives_nan() -> None:
    operator = LinearOperator(lambda b: b * np.nan, lambda b: b, (8, 8), np.ones(1))
    full = truncated_svd(operator, 2, tol=0.1, full_output=True)
    assert np.isnan(full.U).all()
    assert np.isnan(full.value)


@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64", "complex128"])
@pytest.mark.parametrize("kind", ["right", "no conj", "twice", "transposed by blocks", "rounded"])
def test_an_operator_without_its_adjoint_is_not_certified(kind: str, dtype: str) -> None:
    """Products agree with the adjoint up to rounding, or estimate and gap say nothing."""
    if kind == "no conj" and not dtype.startswith("complex"):
        pytest.skip("a transpose is the adjoint of a real matrix")
    x = support.gaussian(120, 100, dtype=dtype).astype(dtype)
    turned = adjoint(x)
    wrong = {
        "right": turned,
        "no conj": np.swapaxes(x, -1, -2),
        "twice": 2 * turned,
        "transposed by blocks": np.roll(turned, 1, axis=0),
        "rounded": turned * (1 + 8 * support.EPS[dtype]),
    }[kind]
    energy = np.asarray((np.abs(x) ** 2).sum())
    for known in (energy, None):
        operator = LinearOperator(lambda b: x @ b, lambda b: wrong @ b, x.shape, x[:0], known)
        full = truncated_svd(operator, 3, tol=0.05, full_output=True)
        met = 4 * full.estimate <= 0.05 * full.value
        assert met == (kind in ("right", "rounded"))
        assert np.isinf(full.estimate) != met


# --- estimates along trajectories ----------------------------------------------------------------


def subgradients(seed: int, n: int = 100, rank: int = 3, steps: int = 60) -> list[Any]:
    """Return the subgradients of robust recovery, along exact truncated descent."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))
    data = truth + 0.01 * rng.standard_normal((n, n))
    data += np.where(rng.random((n, n)) < 0.2, 10 * rng.standard_normal((n, n)), 0.0)
    x, found, first = np.zeros((n, n)), [], 0.15 * np.linalg.norm(truth) / rank**0.5
    for t in range(steps):
        found.append(np.sign(x - data) / n**2)
        x = x - first * 0.95**t * truncated_spectral_step(found[-1], rank)
    return found


def averages(gradients: list[Any], beta: float) -> list[Any]:
    mean, found = 0.0 * gradients[0], []
    for each in gradients:
        mean = beta * mean + (1 - beta) * each
        found.append(mean)
    return found


def drifting(spectrum: Any, seed: int, steps: int = 30) -> list[Any]:
    """Return matrices of one spectrum whose singular vectors turn by about one degree a step."""
    rng = np.random.default_rng(seed)
    n = len(spectrum)
    u, v = (support.orthonormal(n, n, seed=2 * seed + i) for i in range(2))
    found = []
    for _ in range(steps):
        u, v = (np.linalg.qr(q + 0.02 / n**0.5 * rng.standard_normal((n, n)))[0] for q in (u, v))
        found.append((u * spectrum) @ v.T)
    return found


@pytest.mark.exhaustive
def test_estimates_are_right_along_trajectories() -> None:
    """Four times the estimate covers what is missed and the tolerance is met in 99 % of calls."""
    i = np.arange(100)
    count = covered = met = 0
    for seed in range(2):
        raw = subgradients(seed)
        runs = [raw, averages(raw, 0.9), averages(raw, 0.99)]
        spectra = (1 / (1 + i), 1 - 0.5 * i / 100, 0.95**i, np.where(i < 4, 1.0, 0.3))
        runs += [drifting(spectrum, seed) for spectrum in spectra]
        for run in runs:
            values = [ky_fan(x, 4) for x in run]
            for tol in (0.2, 1e-2, 1e-3, 1e-5):
                start = None
                for x, truth in zip(run, values, strict=True):
                    full = truncated_svd(x, 4, tol=tol, start=start, full_output=True)
                    start, missed = full.start, truth - full.value
                    rounding = 1e-12 * truth
                    assert missed <= full.gap + rounding
                    count += 1
                    covered += missed <= 4 * full.estimate + rounding
                    met += missed <= tol * truth + rounding
    assert count > 2000
    assert covered >= 0.99 * count
    assert met >= 0.99 * count
