"""The polar factor: contract, certificates, laws; `polar` and `spectral_map` beside it."""

from typing import Any

import numpy as np
import pytest
import scipy.linalg

import specdesc
from specdesc import minimax, orthogonalize, polar, spectral_map
from tests import support
from tests.support import EPS, Library, adjoint, assert_ratio, spectral_norm

METHODS = ("svd", "polynomial")


def diagonal(q: Any, x: Any) -> tuple[Any, Any]:
    """Return t_i = Re(u_iᴴ Q v_i), and the relative singular values s_i / s_1."""
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    t = np.real(np.einsum("...mi,...mn,...in->...i", u.conj(), q, vh.conj()))
    return t, s / np.where(s[..., :1] > 0, s[..., :1], 1.0)


# --- against NumPy in float64 --------------------------------------------------------------------


def test_the_default_is_the_polar_factor_to_working_accuracy(library: Library, dtype: str) -> None:
    eps = EPS[dtype]
    for shape in ((40, 36),) if library.compiles else ((6, 4), (4, 6), (40, 36)):
        x = library.array(support.easy(shape=shape, dtype=dtype), dtype)
        expected = support.polar_factor(library.numpy(x).astype("complex128"))
        error = library.numpy(orthogonalize(x)) - expected
        assert_ratio(spectral_norm(error), max(shape), eps, 30)


@pytest.mark.parametrize("method", METHODS)
def test_full_output_of_easy_matrices(method: str, library: Library, dtype: str) -> None:
    if method not in METHODS:
        pytest.skip(f"{library.name} has no SVD")
    x = library.array(support.easy(2, shape=(40, 36), dtype=dtype), dtype)
    full = orthogonalize(x, method=method, tol=0.1, floor=0.2, full_output=True)
    expected = support.polar_factor(library.numpy(x).astype("complex128"))
    true = spectral_norm(library.numpy(full.factor) - expected)
    assert (true <= library.numpy(full.error)).all()
    assert (library.numpy(full.error) <= 0.1).all()
    assert (library.numpy(full.status) == 0).all()
    assert (library.numpy(full.rank) == 36).all()
    assert (library.numpy(full.products) == 0).all() == (method == "svd")


def test_status_says_what_a_value_cannot(library: Library) -> None:
    """0 certified, 1 not, 2 non-finite, 3 zero; the stack goes on around each."""
    easy = support.easy(shape=(12, 8))
    hard = support.with_spectrum(np.geomspace(1, 1e-9, 8), (12, 8))
    x = library.array(np.stack([easy, hard, easy * np.nan, 0 * easy]), "float32")
    full = orthogonalize(x, tol=0.05, method="polynomial", full_output=True)
    assert library.numpy(full.status).tolist() == [*specdesc.Status]
    error = library.numpy(full.error)
    assert error[0] <= 0.05
    assert error[1] > 0.05
    assert np.isnan(error[2])
    assert (library.numpy(full.factor)[3] == 0).all()
    assert library.numpy(full.rank).tolist()[3] == 0


def test_a_matrix_that_no_polynomial_certifies_gets_an_svd_where_code_may_look(
    library: Library,
) -> None:
    double = "float64" in library.dtypes
    hard = support.with_spectrum(np.geomspace(1, 1e-5 if double else 1e-3, 36), (40, 36))
    x = library.array(hard, "float64" if double else "float32")
    full = orthogonalize(x, tol=1e-2, full_output=True)
    if library.branches or library.backend == "dask":  # whose chunks are NumPy's
        assert int(library.numpy(full.status)) == 0
        assert_ratio(
            spectral_norm(library.numpy(full.factor) - support.polar_factor(hard)), 1, 1e-2
        )
    else:
        assert int(library.numpy(full.products)) > 0


@pytest.mark.parametrize("method", METHODS)
def test_rank_counts_the_kept_directions(method: str, library: Library) -> None:
    if method not in METHODS:
        pytest.skip(f"{library.name} has no SVD")
    for rank in (1, 3, 8):
        x = library.array(support.with_spectrum(np.linspace(2, 1, rank), (12, 8)), "float32")
        full = orthogonalize(x, method=method, floor=0.1, full_output=True)
        assert int(library.numpy(full.rank)) == rank


# --- the contract over many matrices -------------------------------------------------------------


def spectra(rng: np.random.Generator, k: int) -> Any:
    """Draw one spectrum of many kinds: graded, clustered, with zeros, with a cliff."""
    kind = rng.integers(5)
    s = [
        rng.random(k),
        np.geomspace(1, 10.0 ** -rng.uniform(0, 8), k),
        np.ones(k),
        np.where(np.arange(k) < rng.integers(1, k + 1), 1.0, 0.0),
        np.where(np.arange(k) < rng.integers(1, k + 1), 1.0, 10.0 ** -rng.uniform(1, 9)),
    ][kind]
    return s * 10.0 ** rng.uniform(-3, 3)


def check_contract(rng: np.random.Generator, count: int, dtype: str) -> None:
    """Hold one shape of many random matrices to the contract of `orthogonalize`."""
    m, n = (int(size) for size in rng.integers(1, 24, size=2))
    k = min(m, n)
    rows = [
        support.with_spectrum(spectra(rng, k), (m, n), int(rng.integers(2**31)), dtype)
        for _ in range(count)
    ]
    x = np.stack(rows).astype(dtype)
    wide = x.astype("complex128" if dtype in support.COMPLEX else "float64")
    tol = float(10.0 ** -rng.uniform(0.5, 5.0))
    floor = float(10.0 ** -rng.uniform(0.1, 5.0)) if rng.random() < 0.7 else None
    rounding = 2 * max(m, n) ** 0.5 * EPS[dtype]
    for method in ("svd", "polynomial", "rational", "polar-express", "newton-schulz"):
        full = orthogonalize(x, tol=tol, floor=floor, method=method, full_output=True)
        t, s = diagonal(full.factor.astype(wide.dtype), wide)
        kept = s >= (floor if floor is not None else 0.0)
        certified = np.isfinite(full.error)
        # `error` is an upper bound on every |1 - t_i| that counts, and so is never below it.
        worst = np.max(np.where(kept, np.abs(1 - t), 0.0), axis=-1)
        dropped = method == "svd" or floor is None
        if not dropped:
            assert (worst[certified] <= full.error[certified]).all(), (method, tol, floor, m, n)
        else:
            counted = s > max(floor or 0.0, max(m, n) * EPS[dtype])
            worst = np.max(np.where(counted, np.abs(1 - t), 0.0), axis=-1)
            near = np.abs(s / max(floor or 0.0, max(m, n) * EPS[dtype]) - 1) < 1e-3
            safe = certified & ~near.any(-1)
            assert (worst[safe] <= full.error[safe]).all(), (method, tol, floor, m, n)
        assert (full.status[full.error <= tol] == 0).all()
        assert (full.status[full.error > tol] == 1).all()
        # Below the floor nothing turns negative and nothing exceeds 1 + tol, up to roundings; where
        # the floor is measured, that is said of the matrices that pass.
        slack = 16 * EPS[dtype] * max(m, n)
        if method in ("polynomial", "rational"):
            slack = rounding * 2 * k**0.125 / (floor or EPS[dtype])
        if method in METHODS:
            held = full.status == 0 if floor is None else full.status < 2
            assert (t[held] >= -slack).all(), (method, tol, floor, m, n, t[held].min())
            assert (t[held] <= 1 + tol + slack).all(), (method, tol, floor, m, n, t[held].max())


@pytest.mark.parametrize("dtype", support.FULL)
def test_certificates_are_never_below_the_truth(dtype: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(25):
        check_contract(rng, 8, dtype)


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", support.FULL)
@pytest.mark.parametrize("seed", range(10))
def test_certificates_are_never_below_the_truth_in_a_long_sweep(dtype: str, seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    for _ in range(100):
        check_contract(rng, 20, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_spectral_distance_is_bounded_too(dtype: str) -> None:
    """On matrices without small singular values `error` bounds ||Q - U Vᴴ||."""
    rng = np.random.default_rng(6)
    for _ in range(60):
        k = int(rng.integers(1, 20))
        x = support.with_spectrum(rng.uniform(0.05, 1, k), (24, k), int(rng.integers(2**31)))
        x = x.astype(dtype)
        truth = support.polar_factor(x.astype("float64"))
        for method in METHODS:
            full = orthogonalize(x, tol=1e-3, method=method, full_output=True)
            assert spectral_norm(full.factor - truth) <= full.error


# --- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_equivariance_transposition_and_signs(method: str, library: Library, dtype: str) -> None:
    """F(Q X P) = Q F(X) P, F(Xᴴ) = F(X)ᴴ, F(-X) = -F(X), F(2 X) = F(X)."""
    if method not in METHODS or dtype in support.HALF:
        pytest.skip("no SVD, or products of orthogonal matrices round too much in half precision")
    host = support.easy(shape=(12, 8), dtype=dtype)
    q, p = (support.orthonormal(n, n, seed=n, dtype=dtype) for n in (12, 8))

    def f(values: Any) -> Any:
        x = library.array(np.ascontiguousarray(values), dtype)
        return library.numpy(orthogonalize(x, method=method))

    base = f(host)
    limit = 12 * EPS[dtype] * (4 if method == "svd" else 20)
    assert_ratio(spectral_norm(f(q @ host @ p) - q @ base @ p), 1, limit)
    assert_ratio(spectral_norm(f(adjoint(host)) - adjoint(base)), 1, limit)
    np.testing.assert_allclose(f(-host), -base, atol=limit)
    assert f(2.0 * host).tobytes() == base.tobytes()


@pytest.mark.parametrize("method", [*METHODS, "newton-schulz", "polar-express"])
def test_wide_and_tall_cost_the_same(method: str) -> None:
    x = support.easy(shape=(40, 8))
    tall, wide = (orthogonalize(y, method=method, full_output=True) for y in (x, x.T))
    assert tall.products == wide.products
    np.testing.assert_allclose(tall.factor, wide.factor.T, atol=1e-12)


def test_the_inner_product_with_the_factor_is_the_nuclear_norm(library: Library) -> None:
    x = library.array(support.easy(shape=(12, 8)), "float32")
    q = library.numpy(orthogonalize(x)).astype("float64")
    host = library.numpy(x).astype("float64")
    nuclear = support.ky_fan(host, 8)
    assert_ratio((host * q).sum() - nuclear, 12 * nuclear, EPS["float32"])


def test_a_stack_of_scales_equals_a_loop() -> None:
    """One norm for a whole stack would lose the small matrices."""
    x = support.easy(3, shape=(12, 8)) * np.asarray([1.0, 1e6, 1e-6])[:, None, None]
    whole = orthogonalize(x, tol=1e-6, method="polynomial")
    for i in range(3):
        one = orthogonalize(x[i], tol=1e-6, method="polynomial")
        np.testing.assert_allclose(whole[i], one, atol=1e-5)


def test_a_hard_neighbour_changes_nothing() -> None:
    """Neither the factor nor the certificate, whether a polynomial goes on or an SVD helps out."""
    easy = support.easy(shape=(40, 36))
    hard = support.with_spectrum(np.geomspace(1, 1e-9, 36), (40, 36))
    for method in ("auto", "polynomial"):
        both = orthogonalize(np.stack([easy, hard]), tol=0.01, method=method, full_output=True)
        alone = orthogonalize(easy, tol=0.01, method=method, full_output=True)
        np.testing.assert_allclose(both.factor[0], alone.factor, atol=1e-13)
        np.testing.assert_allclose(both.error[0], alone.error, rtol=1e-6)
        assert both.status[0] == alone.status == 0


# --- hazards -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["polynomial", "newton-schulz", "polar-express"])
@pytest.mark.parametrize("excess", [-1e-6, 0.0, 1e-6, 1e-3, 1e-2])
def test_rank_one_never_blows_up_and_keeps_its_sign(
    method: str, excess: float, library: Library, dtype: str
) -> None:
    """The norm of a rank-one matrix is its singular value: iterations start at exactly 1."""
    if library.compiles and (dtype not in ("float32", "bfloat16") or excess):
        pytest.skip("each dtype is a compilation, and the paths are the same")
    ones = np.ones((16, 16)) / 16.0
    unit = np.eye(16) * (np.arange(16) == 3)
    spread = support.with_spectrum([1.0], (16, 16), dtype=dtype)
    host = np.stack([ones, unit, spread]) * (1.0 + excess)
    x = library.array(host, dtype)
    full = orthogonalize(x, method=method, floor=0.5, full_output=True)
    q = library.numpy(full.factor).astype("complex128")
    values = np.linalg.svd(q, compute_uv=False)
    # Newton-Schulz oscillates between 0.68 and 1.13 by design; the others converge.
    width = max(0.01, 4 * EPS[dtype])  # what half precision asks for
    low, high = (0.6, 1.3) if method == "newton-schulz" else (1 - width, 1 + width)
    assert (values[:, 0] <= high).all()
    assert (values[:, 0] >= low).all()
    # Rounded to half precision, only the first two are still of rank one.
    assert (values[:2, 1:] <= 0.01).all()
    inner = np.real(np.sum(np.conj(library.numpy(x)) * q, axis=(-2, -1)))
    assert (inner > 0.5).all(), "the sign flipped"


@pytest.mark.parametrize("method", ["polynomial", "polar-express"])
def test_singular_values_within_rounding_of_one_never_leave(method: str) -> None:
    """Many steps in a row: what a step lifts above 1 has to come back."""
    x = np.eye(64, dtype=np.float32) * np.float32(1 + 2**-23)
    for _ in range(20):
        x = orthogonalize(x, method=method)
        assert np.abs(np.diag(x) - 1).max() < 1e-2
        assert np.abs(x - np.diag(np.diag(x))).max() < 1e-2


def test_nothing_turns_negative_below_the_floor() -> None:
    """Gram matrices in single precision have spurious negative eigenvalues below 1e-3."""
    for seed in range(20):
        s = np.concatenate([np.ones(16), np.geomspace(1e-3, 1e-7, 16)])
        x = support.with_spectrum(s, (40, 32), seed).astype("float32")
        q = orthogonalize(x, tol=1e-2, floor=1e-2, method="polynomial")
        t, _ = diagonal(q.astype("float64"), x.astype("float64"))
        assert t.min() >= -1e-4
        assert t.max() <= 1.01 + 1e-5


def test_tolerance_beyond_the_dtype_is_not_claimed(library: Library) -> None:
    x = library.array(support.easy(shape=(12, 8)), "float32")
    full = orthogonalize(x, tol=1e-12, method="svd", full_output=True)
    assert float(library.numpy(full.error)) > 1e-12
    assert int(library.numpy(full.status)) == 1
    truth = support.polar_factor(library.numpy(x).astype("float64"))
    assert_ratio(spectral_norm(library.numpy(full.factor) - truth), 12, EPS["float32"])


def test_floor_drops_directions_in_the_svd() -> None:
    x = support.with_spectrum([4.0, 2.0, 0.1, 0.01], (6, 4))
    full = orthogonalize(x, method="svd", floor=0.1, full_output=True)
    assert full.rank == 2
    np.testing.assert_allclose(
        np.linalg.svd(full.factor, compute_uv=False), [1, 1, 0, 0], atol=1e-12
    )


def test_equal_and_tied_singular_values_give_the_exact_factor(library: Library) -> None:
    """Ties leave the singular vectors free, and the polar factor is unique all the same."""
    values = [1.0] * 4 + [0.5] * 4
    x = library.array(support.with_spectrum(values, (12, 8), dtype="complex128"), "complex64")
    truth = support.polar_factor(library.numpy(x).astype("complex128"))
    for method in METHODS:
        q = library.numpy(orthogonalize(x, method=method))
        assert_ratio(spectral_norm(q - truth), 12, EPS["float32"], 60)


# --- published iterations ------------------------------------------------------------------------


def test_published_coefficients_are_the_published_ones() -> None:
    a, b, c = minimax.NEWTON_SCHULZ[0]
    assert len(set(minimax.NEWTON_SCHULZ)) == 1
    assert len(minimax.NEWTON_SCHULZ) == 5
    assert (a, b, c) == (3.4445, -4.7750, 2.0315)
    assert len(minimax.POLAR_EXPRESS) == 7
    first, last = minimax.POLAR_EXPRESS[0], minimax.POLAR_EXPRESS[-1]
    assert first == pytest.approx((8.28721201814563, -23.595886519098837, 17.300387312530933))
    assert last == pytest.approx((15 / 8, -10 / 8, 3 / 8), abs=3e-6)


@pytest.mark.parametrize("method", ["newton-schulz", "polar-express"])
def test_published_iterations_in_plain_numpy(method: str) -> None:
    """The same numbers as the iteration written out, from the normalized matrix."""
    steps = {
        "newton-schulz": minimax.NEWTON_SCHULZ,
        "polar-express": minimax.damped_polar_express(),
    }[method]
    x = support.gaussian(20, 30)
    y = x / np.linalg.norm(x)
    for a, b, c in steps:
        gram = y @ y.T
        y = a * y + (b * gram + c * gram @ gram) @ y
    full = orthogonalize(x, method=method, full_output=True)
    np.testing.assert_allclose(full.factor, y, atol=1e-13)
    assert full.products == 3 * len(steps) + 1


# --- polar ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)], ids=str)
def test_polar_is_a_polar_decomposition(
    side: str, shape: tuple[int, int], library: Library, dtype: str
) -> None:
    """LAPACK's ratios for x = U H: the residual, the isometry, the symmetry, the sign."""
    if library.compiles and dtype in support.HALF:
        pytest.skip("the same as in single precision")
    x = library.array(support.gaussian(*shape, seed=9, dtype=dtype), dtype)
    host = library.numpy(x)
    u, h = (library.numpy(part).astype("complex128") for part in polar(x, side=side))
    n, eps, size = max(shape), EPS[dtype], spectral_norm(host)
    product = u @ h if side == "right" else h @ u
    assert_ratio(spectral_norm(product - host), n * size, eps)
    k = min(shape)
    gram = adjoint(u) @ u if shape[0] >= shape[1] else u @ adjoint(u)
    assert_ratio(gram - np.eye(k), n, eps)
    assert (h == adjoint(h)).all()
    assert np.linalg.eigvalsh(h).min() >= -n * eps * size


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)], ids=str)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_polar_agrees_with_scipy(side: str, shape: tuple[int, int], dtype: str) -> None:
    x = support.gaussian(*shape, seed=2, dtype=dtype)
    for ours, theirs in zip(polar(x, side=side), scipy.linalg.polar(x, side=side), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("values", [[2.0, 1.0, 0.0, 0.0], [3.0, 0, 0, 0], [0.0] * 4])
def test_polar_is_an_isometry_also_for_a_deficient_matrix(
    values: list[float], library: Library
) -> None:
    for shape in ((6, 4), (4, 6)):
        x = library.array(support.with_spectrum(values, shape), "float32")
        u = np.linalg.svd(library.numpy(polar(x).unitary), compute_uv=False)
        np.testing.assert_allclose(u, np.ones(4), atol=1e-5)


def test_polar_of_any_scale() -> None:
    x = support.gaussian(6, 4)
    for scale in (1e-300, 1e300):
        u, h = polar(x * scale)
        np.testing.assert_allclose(u, support.polar_factor(x), atol=1e-13)
        np.testing.assert_allclose(u @ (h / scale), x, atol=1e-12)


# --- spectral maps -------------------------------------------------------------------------------


def test_spectral_map_is_the_map_on_singular_values(library: Library, dtype: str) -> None:
    if library.compiles and dtype in support.HALF:
        pytest.skip("the same as in single precision")
    x = library.array(support.gaussian(2, 6, 4, seed=3, dtype=dtype), dtype)
    host = library.numpy(x).astype("complex128")
    u, s, vh = np.linalg.svd(host, full_matrices=False)
    maps = {
        "x": (lambda t: t, s),
        "x**2": (lambda t: t * t, s * s),
        "one": (lambda t: t * 0 + 1, np.ones_like(s)),
        "half of the largest": (lambda t: t - t[..., :1] / 2, s - s[..., :1] / 2),
    }
    for fun, mapped in maps.values():
        y = library.numpy(spectral_map(x, fun))
        expected = (u * mapped[..., None, :]) @ vh
        assert_ratio(np.abs(y - expected), 6 * s.max() * max(1, s.max()), EPS[dtype])


def test_spectral_map_hands_over_real_descending_values_in_the_units_of_x(
    library: Library,
) -> None:
    seen = []
    x = library.array(
        support.with_spectrum([1.0, 9.0, 3.0], (5, 3), dtype="complex64"), "complex64"
    )
    y = spectral_map(x, lambda s: seen.append(s) or s)
    library.numpy(y)  # where nothing was computed before, now it is, on what chunks are made of
    assert library.dtype(seen[0]) == "float32"
    host = np.asarray(seen[0]) if library.backend == "dask" else library.numpy(seen[0])
    np.testing.assert_allclose(host, [9, 3, 1], rtol=1e-5)


def test_the_maps_agree_with_each_other() -> None:
    x = support.gaussian(7, 5)
    one = spectral_map(x, lambda s: 0 * s + 1)
    np.testing.assert_allclose(one, orthogonalize(x), atol=1e-13)
    np.testing.assert_allclose(one, polar(x).unitary, atol=1e-13)
    np.testing.assert_allclose(one, specdesc.truncated_spectral_step(x, 5), atol=1e-13)
