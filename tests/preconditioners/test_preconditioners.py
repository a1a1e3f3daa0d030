"""Kernels against high precision, maps against singular values, laws of the theory."""

import math
from typing import Any

import array_api_compat.numpy as xp
import mpmath
import numpy as np
import pytest

from specdesc import backends, minimax, plan_orthogonalization, preconditioners
from specdesc.preconditioners import inverse_root, kernels
from tests import support
from tests.support import Library

SHAPE = (5, 4)

NAMED: dict[str, Any] = {
    "Sign": preconditioners.Sign,
    "SoftSign": preconditioners.SoftSign,
    "Sqrt": preconditioners.Sqrt,
    "Kappa 1.5": lambda **o: preconditioners.Kappa(1.5, **o),
    "Kappa 3": lambda **o: preconditioners.Kappa(3, **o),
    "Kappa 4": lambda **o: preconditioners.Kappa(4, **o),
    "Kappa 8": lambda **o: preconditioners.Kappa(8, **o),
    "Tanh": preconditioners.Tanh,
    "Arctan": preconditioners.Arctan,
    "Arcsinh": preconditioners.Arcsinh,
    "Log": preconditioners.Log,
    "Clip": preconditioners.Clip,
    "Quadratic": preconditioners.Quadratic,
}
KERNELS = {name: make().kernel for name, make in NAMED.items()}
SMOOTH = {name: k for name, k in KERNELS.items() if name not in ("Sign", "Clip", "Quadratic")}
EVERY_KERNEL = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
EVERY_SMOOTH = pytest.mark.parametrize("kernel", SMOOTH.values(), ids=SMOOTH.keys())
GEOMETRIES = ("spectral", "elementwise", "global", "rows", "columns")
EVERY_GEOMETRY = pytest.mark.parametrize("geometry", GEOMETRIES)

T = np.concatenate([np.logspace(-9, 8, 80), [0.125, 0.3, 0.5, 1.0]])
R = np.concatenate([np.logspace(-9, -0.01, 50), 1 - np.logspace(-14, -1, 25), [0.5]])


def exact(kernel: Any) -> tuple[Any, Any]:
    """Return h and h* in high precision, by their definitions."""
    m = mpmath.mp
    if isinstance(kernel, kernels.Kappa):
        k = m.mpf(kernel.kappa)
        return (
            lambda r: r**2 / 2 * m.hyp2f1(1 / k, 2 / k, 1 + 2 / k, r**k),
            lambda t: t**2 / 2 * m.hyp2f1(1 / k, 2 / k, 1 + 2 / k, -(t**k)),
        )
    return {
        kernels.Tanh: (
            lambda r: r * m.atanh(r) + m.log(1 - r * r) / 2,
            lambda t: m.log(m.cosh(t)),
        ),
        kernels.Arctan: (
            lambda r: -4 / m.pi**2 * m.log(m.cos(m.pi * r / 2)),
            lambda t: (
                2 * t / m.pi * m.atan(m.pi * t / 2) - 2 / m.pi**2 * m.log(1 + (m.pi * t / 2) ** 2)
            ),
        ),
        kernels.Arcsinh: (
            lambda r: m.cosh(r) - 1,
            lambda t: t * m.asinh(t) - m.sqrt(1 + t * t) + 1,
        ),
        kernels.Log: (
            lambda r: m.exp(r) - r - 1,
            lambda t: (1 + t) * m.log(1 + t) - t,
        ),
    }[type(kernel)]


# --- scalar kernels ------------------------------------------------------------------------------


@EVERY_SMOOTH
def test_kernel_and_conjugate_in_high_precision(kernel: Any) -> None:
    """To full relative accuracy, also for tiny arguments and next to the limit."""
    h, conjugate = exact(kernel)
    with mpmath.workdps(50):
        for x, ours, theirs in (
            (T, kernel.conjugate(T, xp=xp), conjugate),
            (R, kernel.reference(R, xp=xp), h),
        ):
            expected = [float(theirs(mpmath.mpf(value))) for value in x]
            np.testing.assert_allclose(ours, expected, rtol=1e-14)


@EVERY_KERNEL
def test_fenchel_and_young(kernel: Any, rng: Any) -> None:
    """K1: h(r) + h*(t) >= r t, with equality where r = pre(t)."""
    t, r = 10 ** rng.uniform(-4, 4, 400), rng.uniform(0, 1, 400)
    gap = kernel.reference(r, xp=xp) + kernel.conjugate(t, xp=xp) - r * t
    assert (gap >= -1e-13 * (1 + r * t)).all()
    r = kernel.pre(t, xp=xp)
    small = t < 100.0  # next to the limit, h sees the rounding of r times its slope
    both = kernel.reference(r, xp=xp) + kernel.conjugate(t, xp=xp)
    np.testing.assert_allclose(both[small], (r * t)[small], rtol=1e-12)


@EVERY_KERNEL
def test_inverses_and_derivatives(kernel: Any) -> None:
    """K2, away from kinks."""
    t = np.asarray([0.01, 0.2, 0.7, 1.3, 3.0])
    pre = kernel.pre(t, xp=xp)
    if kernel.convexity and not isinstance(kernel, kernels.Clip):
        np.testing.assert_allclose(kernel.inverse(pre, xp=xp), t, rtol=1e-10)
        if not isinstance(kernel, kernels.Quadratic):
            q = np.asarray([1e-6, 0.01, 0.4, 0.9, 1.0])
            found = kernel.slope(kernel.inverse_slope(q, xp=xp), xp=xp)
            np.testing.assert_allclose(found, q, rtol=1e-9)
    step = 1e-6

    def central(f: Any) -> Any:
        return (f(t + step, xp=xp) - f(t - step, xp=xp)) / (2 * step)

    np.testing.assert_allclose(central(kernel.conjugate), pre, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(central(kernel.pre), kernel.slope(t, xp=xp), rtol=1e-6, atol=1e-9)
    r = np.asarray([0.05, 0.3, 0.8])
    difference = kernel.reference(r + step, xp=xp) - kernel.reference(r - step, xp=xp)
    np.testing.assert_allclose(difference / (2 * step), kernel.inverse(r, xp=xp), rtol=1e-7)


@EVERY_KERNEL
def test_maps_are_increasing_concave_and_below_their_bounds(kernel: Any) -> None:
    """K3."""
    t = np.linspace(0, 20, 2001)
    pre = kernel.pre(t, xp=xp)
    assert pre[0] == 0
    assert (np.diff(pre) >= 0).all()
    assert (np.diff(pre[1:], 2) <= 1e-14).all()
    if kernel.convexity:
        assert (pre <= np.minimum(t, kernel.limit) * (1 + 1e-15)).all()
        assert kernel.slope(np.zeros(1), xp=xp) == 1
    assert kernel.reference(np.asarray(1.5), xp=xp) < np.inf or kernel.limit == 1


def test_the_family_grows_with_kappa_and_saturates() -> None:
    """0 <= t - t pre(t) <= c eps, with constants that were derived."""
    t = np.logspace(-6, 6, 4001)
    constants = {1: 1.0, 2: 0.3002831, 3: 0.2630115, 4: 0.2543844, 6: 0.2506735, 8: 0.2501233}
    before = np.zeros_like(t)
    for kappa, constant in constants.items():
        pre = kernels.Kappa(kappa).pre(t, xp=xp)
        assert (pre >= before - 1e-15).all()
        assert (t - t * pre).max() <= constant * (1 + 1e-6)
        if kappa > 1:
            assert (t - t * pre).max() == pytest.approx(constant, rel=1e-4)
        before = pre
    tops = {2: 1.0, 3: 0.6844634, 4: 0.5990701, 6: 0.5432590, 8: 0.5243808}
    for kappa, top in tops.items():
        assert kernels.Kappa(kappa).reference(np.ones(1), xp=xp)[0] == pytest.approx(top, abs=1e-7)


@EVERY_KERNEL
def test_extreme_arguments_give_numbers(kernel: Any) -> None:
    """K5, in float32: no overflow, no underflow to a wrong sign."""
    t = np.asarray([0.0, 1e-30, 1e-3, 1.0, 1e30, 1.7e38], dtype=np.float32)
    for f in (kernel.pre, kernel.slope):
        y = f(t, xp=xp)
        assert y.dtype == np.float32
        assert np.isfinite(y).all()
        assert (y >= 0).all()
    with np.errstate(over="ignore"):  # the square of the Euclidean geometry is beyond float32
        assert not np.isnan(kernel.conjugate(t[:5], xp=xp)).any()
    r = np.asarray([0.0, 1e-18, 0.5, 1.0, 1.5], dtype=np.float32)
    h = kernel.reference(r, xp=xp)
    assert h.dtype == np.float32
    assert not np.isnan(h).any()
    assert h[0] == 0
    assert h[1] > 0 or not kernel.convexity


# --- maps of matrices ----------------------------------------------------------------------------


def by_numpy(kernel: Any, x: Any, eps: float, geometry: str) -> tuple[Any, Any]:
    """Return the map and phi* by their definitions."""

    def scaled(size: Any, axis: Any) -> tuple[Any, Any]:
        norms = np.sqrt((np.abs(x) ** 2).sum(axis, keepdims=True)) if axis != () else np.abs(x)
        size = kernel.pre(norms / eps, xp=xp)
        return x / norms * size, eps * kernel.conjugate(norms / eps, xp=xp).sum()

    if geometry == "spectral":
        u, s, vh = np.linalg.svd(x, full_matrices=False)
        conjugate = eps * kernel.conjugate(s / eps, xp=xp).sum()
        return (u * kernel.pre(s / eps, xp=xp)) @ vh, conjugate
    axes = {"elementwise": (), "rows": -1, "columns": -2, "global": (-2, -1)}
    return scaled(x, axes[geometry])


@pytest.mark.parametrize("name", NAMED)
@EVERY_GEOMETRY
def test_maps_and_conjugates_against_numpy(name: str, geometry: str) -> None:
    for dtype in ("float64", "complex128"):
        x = support.gaussian(3, *SHAPE, seed=4, dtype=dtype)
        p = NAMED[name](eps=0.7, geometry=geometry)
        y, conjugate = p(x), p.conjugate(x)
        for i in range(3):
            expected, number = by_numpy(p.kernel, x[i], 0.7, geometry)
            np.testing.assert_allclose(y[i], expected, atol=1e-13)
            assert conjugate[i] == pytest.approx(number, rel=1e-12)


@pytest.mark.parametrize("name", NAMED)
@EVERY_GEOMETRY
def test_fenchel_and_young_for_matrices(name: str, geometry: str) -> None:
    """phi(u) + phi*(d) = <u, d> at u = grad phi*(d), and at least that elsewhere."""
    p = NAMED[name](eps=0.7, geometry=geometry)
    x = support.gaussian(*SHAPE, seed=5)
    y = p(x)
    assert p.reference(y) + p.conjugate(x) == pytest.approx(np.vdot(y, x), rel=1e-9)
    for seed in range(6):
        z = 0.2 * support.gaussian(*SHAPE, seed=seed)
        assert p.reference(z) + p.conjugate(x) >= np.vdot(z, x) - 1e-12


@pytest.mark.parametrize("name", ["Sign", "Clip"])
@EVERY_GEOMETRY
def test_phi_is_finite_at_images_and_infinite_outside(name: str, geometry: str) -> None:
    """Rounding takes images beyond the border of the domain, in every dtype; 1 % is no rounding."""
    p = NAMED[name](eps=1e-3, geometry=geometry)
    for dtype in ("float16", "float32", "float64", "complex64"):
        for seed in range(20):
            y = p(support.gaussian(*SHAPE, seed=seed, dtype=dtype))
            assert np.isfinite(p.reference(y))
            assert p.reference(1.01 * y) == np.inf


@pytest.mark.parametrize("name", [name for name in NAMED if name != "Sign"])
@EVERY_GEOMETRY
def test_maps_are_lipschitz(name: str, geometry: str, rng: Any) -> None:
    """K6."""
    p = NAMED[name](eps=0.3, geometry=geometry)
    assert p.lipschitz == pytest.approx(1 / 0.3)
    for seed in range(8):
        x = support.gaussian(*SHAPE, seed=seed)
        y = x + 10 ** rng.uniform(-5, 0) * support.gaussian(*SHAPE, seed=seed + 50)
        assert np.linalg.norm(p(x) - p(y)) <= p.lipschitz * np.linalg.norm(x - y) * (1 + 1e-9)


@EVERY_GEOMETRY
def test_extreme_scales_of_matrices(geometry: str, library: Library) -> None:
    if library.compiles and geometry != "rows":
        pytest.skip("each geometry is a compilation")
    p = preconditioners.Kappa(4, geometry=geometry)
    x = support.gaussian(*SHAPE)
    for scale in (1e-30, 1e30):
        y = library.numpy(p(library.array(scale * x, "float32")))
        assert np.isfinite(y).all()
        if scale > 1:
            sign = library.numpy(
                preconditioners.Sign(geometry=geometry)(library.array(x, "float32"))
            )
            np.testing.assert_allclose(y, sign, atol=1e-5)
        else:
            np.testing.assert_allclose(y, scale * x / 1e-3, rtol=1e-4)


def test_sign_drops_the_singular_values_of_rounding() -> None:
    x = support.with_spectrum([2.0, 1.0], (30, 20))
    p = preconditioners.Sign()
    np.testing.assert_allclose(np.linalg.svd(p(x))[1][:3], [1, 1, 0], atol=1e-12)
    assert (p(0 * x) == 0).all()


@pytest.mark.parametrize("kappa", [2, 4])
def test_matrix_forms(kappa: int) -> None:
    """D (eps² I + DᴴD)^(-1/2) and D (eps⁴ I + (DᴴD)²)^(-1/4)."""
    for dtype in ("float64", "complex128"):
        d = support.gaussian(*SHAPE, dtype=dtype)
        w, v = np.linalg.eigh(support.adjoint(d) @ d)
        root = (v * (0.4**kappa + w ** (kappa / 2)) ** (-1 / kappa)) @ support.adjoint(v)
        np.testing.assert_allclose(preconditioners.Kappa(kappa, eps=0.4)(d), d @ root, atol=1e-13)


# --- kappa 2 and 4 without an SVD ----------------------------------------------------------------


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Any:
    """NumPy as if it were one: plans are fixed, products fast, and an SVD an error."""
    leaf = backends.load("numpy")
    monkeypatch.setattr(type(leaf), "may_branch", lambda self, x: False)
    monkeypatch.setattr(type(leaf), "multiplies", lambda self, x: True)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(leaf.xp.linalg, "svd", refuse)
    return leaf


def exactly(x: Any, kappa: int, eps: float) -> Any:
    """Return the map in float64, through an SVD that is not patched."""
    u, s, vh = np.linalg.svd(x.astype(np.result_type(x, np.float64)), full_matrices=False)
    return (u * kernels.Kappa(kappa).pre(s / eps, xp=xp)[..., None, :]) @ vh


@pytest.mark.parametrize("kappa", [2, 4])
@pytest.mark.parametrize("dtype", support.FULL)
def test_products_are_equal_to_an_svd_up_to_rounding(
    kappa: int, dtype: str, accelerator: Any
) -> None:
    """Also for ill-conditioned matrices, where a Gram matrix loses (s_1 / eps)^kappa eps."""
    for shape in ((24, 40), (30, 30), (40, 24)):
        for values in (np.geomspace(1, 1e-9, 24), [1.0] * 24, [0.3, 0.3]):
            x = support.with_spectrum(values, shape, dtype=dtype).astype(dtype)
            for eps in (10.0, 0.5, 1e-2, 1e-4):
                kernel = kernels.Kappa(kappa)
                assert inverse_root.resolved(x, eps, accelerator)
                y = inverse_root.apply(x, kernel, eps, backend=accelerator)
                assert y.dtype == x.dtype
                error = support.spectral_norm(y - exactly(x, kappa, eps))
                assert error <= 20 * support.EPS[dtype] * (1 + 1 / eps)
    assert not inverse_root.resolved(x, max(64 * support.EPS[dtype], 1e-12), accelerator)


def test_accelerators_take_products_where_a_bound_is_known(accelerator: Any) -> None:
    x = support.gaussian(2, *SHAPE, seed=3).astype("float32")
    x[1, 0, 0] = np.nan
    unit = x[0] / np.linalg.norm(x[0])
    for kappa in (2, 4):
        y = preconditioners.Kappa(kappa, eps=0.01, normalize=True)(x)
        np.testing.assert_allclose(y[0], exactly(unit, kappa, 0.01), atol=1e-4)
        assert np.isnan(y[1]).all()
    assert (preconditioners.Sqrt(normalize=True)(0 * x[0]) == 0).all()
    for p in (preconditioners.Kappa(3, normalize=True), preconditioners.Kappa(4)):
        with pytest.raises(AssertionError):
            p(x)


def test_normalization_is_a_division_by_the_frobenius_norm(library: Library) -> None:
    x = support.gaussian(2, *SHAPE)
    unit = x / np.linalg.norm(x, axis=(-2, -1), keepdims=True)
    for make in (preconditioners.Kappa, preconditioners.Sign):
        p = make(eps=0.1, geometry="rows", normalize=True)
        plain = make(eps=0.1, geometry="rows")
        y = library.numpy(p(library.array(x, "float32")))
        np.testing.assert_allclose(y, plain(unit), atol=1e-5)
        if library.compiles:
            break


def test_inequalities_of_the_practical_model(rng: Any) -> None:
    """Theorem D: how much of the gradient a normalized step keeps."""
    constants = {1: 1.0, 2: 0.3002831, 3: 0.2630115, 4: 0.2543844}
    for trial in range(60):
        kappa, eps = 1 + trial % 4, 10 ** rng.uniform(-4, 0)
        d = support.gaussian(*SHAPE, seed=trial) * 10 ** rng.uniform(-3, 3)
        s = np.linalg.svd(d, compute_uv=False)
        y = preconditioners.Kappa(kappa, eps=eps, normalize=True)(d)
        size = np.linalg.norm(d)
        assert np.vdot(d, y) >= size / (1 + eps**kappa) ** (1 / kappa) * (1 - 1e-12)
        loss = constants[kappa] * eps * s.size * size
        assert np.vdot(d, y) >= (s.sum() - loss) * (1 - 1e-6)
        assert np.linalg.norm(y) <= math.sqrt(s.size) * (1 + 1e-12)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.9, 2.0, 2.2])
def test_scalar_dynamics_of_kappa_four(ratio: float) -> None:
    """K7: x - step pre(a x) on a quadratic is stable up to step a = 2 eps, and not beyond."""
    eps, a = 0.1, 3.0
    p, step = preconditioners.Kappa(4, eps=eps), ratio * 0.1 / 3.0

    def advance(x: float, count: int) -> float:
        for _ in range(count):
            x -= step * float(p(np.asarray([[a * x]]))[0, 0])
        return a * x / eps

    small = 0.02 * eps / a
    if ratio == 1.0:
        assert advance(5 * small, 1) == pytest.approx(0.1**5 / 4, rel=1e-3)
    elif ratio < 2:
        assert abs(advance(small, 1) / 0.02) == pytest.approx(abs(1 - ratio), rel=1e-5)
    elif ratio == 2:
        assert abs(advance(0.8 * eps / a, 4000)) == pytest.approx(8000 ** (-1 / 4), rel=2e-2)
    else:
        cycle = ((ratio / 2) ** 4 - 1) ** 0.25
        assert abs(advance(small, 400)) == pytest.approx(cycle, rel=1e-6)


# --- polynomials ---------------------------------------------------------------------------------


def polar_express(steps: int) -> list[Any]:
    """Return the published run: the input is divided by 1.01, too, and the last step repeats."""
    table = [minimax.damped(q, minimax.SAFETY) for q in minimax.POLAR_EXPRESS]
    run = [*table, (1.875, -1.25, 0.375)][:steps]
    return [minimax.damped(run[0], minimax.SAFETY), *run[1:]]


@EVERY_GEOMETRY
def test_polynomials_act_on_magnitudes(geometry: str) -> None:
    plan = plan_orthogonalization(SHAPE, "float64", tol=1e-2, floor=1e-2)
    for schedule in (minimax.NEWTON_SCHULZ, plan, polar_express(6)):
        p = preconditioners.Polynomial(schedule, geometry=geometry, normalize=True)
        for x in (support.gaussian(*SHAPE), support.gaussian(*SHAPE[::-1], dtype="complex128")):
            unit = x / np.linalg.norm(x)

            def respond(s: Any, p: Any = p) -> Any:
                for step in p.schedule:
                    s = sum(c * s ** (2 * i + 1) for i, c in enumerate(step))
                return s

            class Response:
                pre = staticmethod(lambda s, xp: respond(s))
                conjugate = staticmethod(lambda s, xp: s)

            expected, _ = by_numpy(Response, unit, 1.0, geometry)
            np.testing.assert_allclose(p(x), expected, atol=1e-11)


#: schedule, slope, eps of kappa 4, errors of kappa 1, 2, 3, 4, 6, inf, largest error of kappa 4
TABLE: list[tuple[Any, float, float, list[float], float]] = [
    (polar_express(5), 966.6, 1.01e-3, [0.110, 0.080, 0.072, 0.069, 0.067, 0.067], 0.142),
    (polar_express(6), 1810.0, 5.80e-4, [0.074, 0.027, 0.0104, 0.0055, 0.0105, 0.021], 0.020),
    (polar_express(8), 6300.4, 1.70e-4, [0.069, 0.023, 0.0070, 0.0061, 0.0135, 0.025], 0.020),
    ([(1.5, -0.5)] * 10, 57.7, 1.86e-2, [0.070, 0.023, 0.0067, 0.0064, 0.0139, 0.025], 0.021),
    (minimax.NEWTON_SCHULZ, 484.9, 1.98e-3, [0.160, 0.145, 0.140, 0.138, 0.137, 0.137], 0.318),
]


#: error and largest error of the sign, and where the plateau of the polynomial lies
SIGN: list[tuple[float, float, tuple[float, float]]] = [
    (0.530, 0.990, (0.870, 1.124)),
    (0.475, 0.982, (0.997, 1.001)),
    (0.354, 0.937, (0.988, 1.0)),
    (0.723, 0.999, (0.986, 1.0)),
    (0.595, 0.995, (0.682, 1.202)),
]


@pytest.mark.parametrize(("row", "sign"), [*zip(TABLE, SIGN, strict=True)])
def test_the_sign_is_far_and_ripple_is_what_no_kappa_has(row: Any, sign: Any) -> None:
    """The other columns of that table; its lower ends of ripple lie on the rise, these do not."""
    p, (error, largest, ripple) = preconditioners.Polynomial(row[0]), sign
    s = np.logspace(-5, 0, 20001)
    response = by_numpy_response(p, s)
    assert np.sqrt(np.mean((response - 1) ** 2)) == pytest.approx(error, abs=5.1e-4)
    assert np.abs(response - 1).max() == pytest.approx(largest, abs=5.1e-4)
    assert p.ripple() == pytest.approx(ripple, abs=6e-4)
    plateau = response[s >= 2 / p.slope]
    assert p.ripple() == pytest.approx((plateau.min(), plateau.max()), abs=2e-4)


@pytest.mark.parametrize("row", TABLE, ids=["pe5", "pe6", "pe8", "cubic", "ns5"])
def test_kappa_four_models_polar_express_as_the_theory_page_says(row: Any) -> None:
    schedule, slope, eps, errors, largest = row
    p = preconditioners.Polynomial(schedule)
    assert p.slope == pytest.approx(slope, abs=0.06)
    for kappa, error in zip((1, 2, 3, 4, 6, math.inf), errors, strict=True):
        digits = 5.1e-4 if error > 0.02 else 5.1e-5  # the page gives three digits, or four
        assert p.fit_kappa(kappa).error == pytest.approx(error, abs=digits)
    four = p.fit_kappa(4)
    assert four.eps == pytest.approx(eps, rel=5e-3)
    assert four.largest == pytest.approx(largest, abs=6e-4)


def test_the_best_kappa_is_found_and_beats_the_sign() -> None:
    p = preconditioners.Polynomial(polar_express(6))
    best = p.fit_kappa()
    assert best.kappa == pytest.approx(4.0, abs=0.1)
    assert best.error <= p.fit_kappa(4).error
    s = np.logspace(-5, 0, 20001)
    wanted = by_numpy_response(p, s)
    assert np.sqrt(np.mean((wanted - 1) ** 2)) == pytest.approx(0.475, abs=6e-4)
    model = preconditioners.Kappa(best.kappa, eps=best.eps, geometry="elementwise")
    error = np.sqrt(np.mean((model(s[None, :])[0] - wanted) ** 2))
    assert error == pytest.approx(best.error, rel=1e-6)


def by_numpy_response(p: Any, s: Any) -> Any:
    for step in p.schedule:
        s = sum(c * s ** (2 * i + 1) for i, c in enumerate(step))
    return s


def test_a_polynomial_has_no_phi_and_says_what_to_do() -> None:
    p = preconditioners.Polynomial([(1.5, -0.5)] * 3)
    for call in (lambda: p.kernel, lambda: p.conjugate(np.eye(2)), lambda: p.reference(np.eye(2))):
        with pytest.raises(NotImplementedError, match="fit_kappa"):
            call()
    assert p.reach == 1.0
    assert p.ripple(0.5)[1] == 1.0
    low, high = preconditioners.Polynomial(minimax.NEWTON_SCHULZ).ripple()
    assert low < 0.7 < 1.1 < high


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("eps must be .* got 0.0", lambda: preconditioners.Tanh(eps=0.0)),
        ("eps must be .* got nan", lambda: preconditioners.Sign(eps=math.nan)),
        (
            "geometry must be one of spectral, .* got 'l2'",
            lambda: preconditioners.Log(geometry="l2"),
        ),
        ("kappa must be .* got 0.5", lambda: preconditioners.Kappa(0.5)),
        ("kappa must be .* got inf", lambda: preconditioners.Kappa(math.inf)),
        ("schedule must have at least one", lambda: preconditioners.Polynomial([])),
        ("entries, got 1", lambda: preconditioners.Polynomial([(1.0,)])),
    ],
)
def test_bad_options(message: str, call: Any) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "p",
    [
        preconditioners.Arctan(eps=0.5, geometry="rows", normalize=True),
        preconditioners.Polynomial(minimax.NEWTON_SCHULZ, normalize=True),
        preconditioners.Kappa(3, eps=0.5, geometry="elementwise"),
    ],
    ids=["rows", "polynomial", "elementwise"],
)
def test_stacks_dtypes_and_nan(p: Any, library: Library, dtype: str) -> None:
    """A stack is a loop, dtypes stay, a NaN stays in its matrix, an empty array is empty."""
    if library.backend in ("jax", "dask") and dtype != "float32":
        pytest.skip("each dtype is a compilation, or a graph")
    if library.name in ("numpy:readonly", "array_api_strict:strictest"):
        pytest.skip("the same code as on numpy and array_api_strict")
    host = support.gaussian(3, *SHAPE, dtype=dtype)
    host[1, 2, 1] = np.nan
    x = library.array(host, dtype)
    y = p(x)
    assert type(y) is type(x)
    assert y.dtype == x.dtype
    found = library.numpy(y)
    of_entries = library.backend == "dask" and p.geometry == "elementwise"
    assert (np.isnan(found[1]) | of_entries & np.isfinite(host[1])).all()
    for i in (0, 2):
        one = library.numpy(p(library.array(host[i], dtype)))
        np.testing.assert_allclose(found[i], one, atol=100 * support.EPS[dtype])
    empty = p(library.array(np.zeros((2, 0, 3)), dtype))
    assert tuple(empty.shape) == (2, 0, 3)
