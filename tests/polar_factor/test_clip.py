"""Clipped singular values against an SVD in double precision, on every way through the code."""

from typing import Any

import numpy as np
import pytest

from specdesc import _clip, backends, prox, spectral_clip
from specdesc._linalg import derivative, excess
from tests import support
from tests.support import EPS, Library, adjoint, assert_ratio, spectral_norm

NUMPY = backends.load("numpy")

#: Small matrices take the SVD, the others every other way.
SHAPES = ((6, 4), (4, 6), (1, 5), (96, 80), (80, 96), (128, 128))


def oracle(x: Any, radius: Any) -> Any:
    u, s, vh = np.linalg.svd(np.asarray(x, dtype="complex128"), full_matrices=False)
    return (u * np.minimum(s, np.asarray(radius)[..., None])[..., None, :]) @ vh


def spectra(k: int) -> dict[str, Any]:
    """Return spectra for a radius of 1, by what of them lies outside."""
    return {
        "half outside": np.linspace(2, 0, k),
        "a few, with a gap": np.r_[3.0, np.linspace(0.9, 0, k - 1)],
        "a few, without a gap": np.r_[1.01, np.linspace(0.99, 0, k - 1)],
        "one, the others on the radius": np.r_[1.2, np.ones(k - 1)],
        "one huge": np.r_[1e3, np.linspace(2, 0, k - 1)],
        "all": np.linspace(20, 10, k),
        "none": np.linspace(0.999, 0, k),
        "on the radius": np.ones(k),
        "about the radius": 1 + np.linspace(1e-3, -1e-3, k),
        "graded": np.geomspace(100, 1e-4, k),
        "rank one": np.r_[5.0, np.zeros(k - 1)],
    }


def errors(found: Any, x: Any, radius: Any) -> Any:
    """Return spectral errors relative to s_1."""
    size = np.maximum(spectral_norm(np.asarray(x, dtype="complex128")), 1e-300)
    return spectral_norm(np.asarray(found, dtype="complex128") - oracle(x, radius)) / size


@pytest.mark.parametrize("dtype", support.FULL)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_an_svd_in_double_precision(shape: tuple[int, int], dtype: str) -> None:
    for name, s in spectra(min(shape)).items():
        x = support.with_spectrum(s[: min(shape)], shape, 7, dtype).astype(dtype)
        y = spectral_clip(x, 1.0)
        assert y.dtype == x.dtype, name
        # What lies outside by less than 8 max(m, n) eps is left alone.
        assert_ratio(errors(y, x, 1.0), max(shape), EPS[dtype], 10)
        # Feasible in the sense of the set, and so left alone the next time.
        assert spectral_norm(y) <= 1 + 8 * max(shape) * EPS[dtype], name
        assert spectral_clip(y, 1.0).tobytes() == y.tobytes(), name


def test_every_library_and_dtype(library: Library, dtype: str) -> None:
    shapes = ((6, 4),) if library.compiles else ((6, 4), (80, 72))
    for shape in shapes:
        host = support.with_spectrum(np.linspace(4, 0.1, min(shape)), shape, dtype=dtype)
        x = library.array(np.stack([host, 0.1 * host, 0 * host]), dtype)
        y = spectral_clip(x, 1.0)
        support.assert_array(library, y, x, (3, *shape), dtype)
        found, given = library.numpy(y), library.numpy(x)
        assert_ratio(errors(found, given, np.ones(3))[:2], max(shape), EPS[dtype], 30)
        assert (found[2] == 0).all()
        if library.branches:
            assert found[1].tobytes() == given[1].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64"])
@pytest.mark.parametrize("shape", [(80, 96), (72, 72)], ids=str)
def test_the_fixed_plan_keeps_its_promise(shape: tuple[int, int], dtype: str) -> None:
    """On NumPy, where any part of the code can be run."""
    unit = max(EPS[dtype], _clip.LEAST_FLOOR / max(shape))
    for name, s in spectra(min(shape)).items():
        x = support.with_spectrum(s, shape, 7, dtype).astype(dtype)
        radius = np.ones((1, 1), dtype=support.REAL_PART.get(dtype, dtype))
        y, unchanged = _clip._by_polynomials(x, radius, NUMPY)
        if unchanged.all():
            assert s.max() <= 1.0, name
        else:
            scale = max(shape) * max(1.0, min(s.max(), EPS[dtype] ** -0.5))
            assert_ratio(errors(y, x, 1.0), scale, unit, 30)


def mixed() -> Any:
    shape = (80, 72)
    outside, inside = (
        support.with_spectrum(np.linspace(top, 0.1, 72), shape) for top in (4.0, 0.5)
    )
    return np.stack([outside, inside, np.full(shape, np.nan), 0 * inside]).astype("float32")


def check_mixed(y: Any, x: Any) -> None:
    assert_ratio(errors(y[:2], x[:2], np.ones(2)), 4 * 80, EPS["float32"])
    assert np.isnan(y[2]).all()
    assert (y[3] == 0).all()


def test_traced_on_jax() -> None:
    jax = pytest.importorskip("jax", reason="jax is not installed")
    x = mixed()
    check_mixed(np.asarray(jax.jit(lambda y: spectral_clip(y, 1.0))(jax.numpy.asarray(x))), x)


@pytest.mark.slow
def test_traced_on_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.compiler.reset()
    call = torch.compile(lambda y: spectral_clip(y, 1.0), fullgraph=True, backend="aot_eager")
    x = mixed()
    check_mixed(call(torch.tensor(x)).numpy(), x)


# --- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", [(12, 8), (96, 80)], ids=str)
def test_laws_of_a_projection(shape: tuple[int, int], dtype: str) -> None:
    x, z = (3.0 * support.gaussian(2, *shape, seed=i, dtype=dtype) for i in (1, 2))
    radius = np.asarray([4.0, 30.0])
    p, q = (spectral_clip(y, radius) for y in (x, z))
    apart, before = (np.linalg.norm(d, axis=(-2, -1)) for d in (p - q, x - z))
    assert (apart <= before * (1 + 1e-13)).all(), "expansive"
    u, v = (support.orthonormal(k, k, seed=k, dtype=dtype) for k in shape)
    turned = spectral_clip(np.ascontiguousarray(u @ x @ v), radius)
    np.testing.assert_allclose(turned, u @ p @ v, atol=1e-11)
    np.testing.assert_allclose(spectral_clip(adjoint(x), radius), adjoint(p), atol=1e-11)
    np.testing.assert_allclose(spectral_clip(-x, radius), -p, atol=1e-11)
    np.testing.assert_allclose(spectral_clip(2 * x, 2 * radius), 2 * p, atol=1e-11)
    # Two clips in a row are the tighter one.
    np.testing.assert_allclose(
        spectral_clip(p, radius / 2), spectral_clip(x, radius / 2), atol=1e-11
    )


@pytest.mark.parametrize("shape", [(6, 4), (96, 80)], ids=str)
def test_scales_zeros_and_radius_zero(shape: tuple[int, int]) -> None:
    x = support.with_spectrum(np.linspace(2, 0, min(shape)), shape)
    base = spectral_clip(x, 1.0)
    for scale in (1e-300, 1e300):
        np.testing.assert_allclose(spectral_clip(x * scale, scale) / scale, base, atol=1e-13)
    assert (spectral_clip(x, 0.0) == 0).all()
    assert (spectral_clip(0 * x, 0.0) == 0).all()
    assert spectral_clip(x, 1e300).tobytes() == x.tobytes()
    assert spectral_clip(np.zeros((0, 3)), 1.0).shape == (0, 3)


@pytest.mark.parametrize("shape", [(6, 4), (96, 80)], ids=str)
def test_matrices_and_radii_of_a_stack_keep_apart(shape: tuple[int, int]) -> None:
    one = support.with_spectrum(np.linspace(2, 0, min(shape)), shape)
    x = np.stack([one, one * np.nan, one, one, one])
    before = x.tobytes()
    radius = np.asarray([1.0, 1.0, -1.0, np.nan, 3.0])
    y = spectral_clip(x, radius)
    assert x.tobytes() == before
    assert not np.shares_memory(x, y)
    np.testing.assert_allclose(y[0], spectral_clip(one, 1.0), atol=1e-14)
    assert np.isnan(y[1:4]).all()
    assert y[4].tobytes() == one.tobytes()


@pytest.mark.parametrize("radius", [-1.0, float("nan"), float("inf")])
def test_a_radius_that_is_none_is_a_value_error(radius: float) -> None:
    with pytest.raises(ValueError, match=f"radius must be .* got {radius}"):
        spectral_clip(np.eye(3), radius)


def test_a_radius_of_another_shape_or_library_is_refused() -> None:
    with pytest.raises(ValueError, match=r"radius must have the batch shape \(2,\), got \(3,\)"):
        spectral_clip(np.ones((2, 3, 3)), np.ones(3))
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(TypeError, match="radius must be a number or an array of numpy"):
        spectral_clip(np.ones((2, 3, 3)), torch.ones(2))


def test_the_set_projects_by_the_same_numbers() -> None:
    x = support.with_spectrum(np.linspace(2, 0, 80), (96, 80))
    ball = prox.SpectralBall(1.0)
    y = ball.prox(x)
    assert y.tobytes() == spectral_clip(x, 1.0).tobytes()
    assert float(ball.value(y)) == 0.0


# --- ways ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "decompositions"),
    [("a few, with a gap", 0), ("a few, without a gap", 0), ("none", 0), ("half outside", 1)],
)
def test_only_where_much_is_outside_are_all_eigenvectors_computed(
    kind: str, decompositions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = support.with_spectrum(spectra(256)[kind], (300, 256))
    sizes = []
    for name in ("eigh", "svd"):
        whole = getattr(np.linalg, name)

        def count(a: Any, *args: Any, whole: Any = whole, **options: Any) -> Any:
            sizes.append(min(a.shape))
            return whole(a, *args, **options)

        monkeypatch.setattr(NUMPY.xp.linalg, name, count)
    spectral_clip(x, 1.0)
    assert sizes.count(256) == decompositions


def test_the_proof_that_nothing_is_outside() -> None:
    """It fails where one value is, however little the block of the search has seen of it."""
    s = np.linspace(0.99, 0.5, 80)
    for top, proven in ((0.999, True), (1.001, False), (50.0, False)):
        x = support.with_spectrum(np.r_[top, s[1:]], (80, 96))
        assert excess.inside(x @ x.T, 1.0, backend=NUMPY) == proven


@pytest.mark.parametrize("dtype", support.FULL)
def test_values_of_many_scales_outside_are_settled_one_after_another(dtype: str) -> None:
    """Beside the largest, those near the radius would grow too slowly to be found."""
    x = support.with_spectrum(1 / np.arange(1, 257), (256, 320), 7, dtype).astype(dtype)
    radius = 1 / 20.5
    gram = x @ np.conj(x.T)
    found = excess.beyond(x, gram, radius, radius * (1 + 1e-3), backend=NUMPY)
    assert found is not None
    np.testing.assert_allclose(np.sort(found.s)[::-1], 1 / np.arange(1, 21), rtol=320 * EPS[dtype])
    assert found.residual <= 320 * EPS[dtype]


# --- derivatives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)], ids=str)
def test_the_derivative_is_that_of_finite_differences(shape: tuple[int, int], dtype: str) -> None:
    rule = derivative.of_clip(backend=NUMPY)
    radius = np.ones((1, 1))
    k = min(shape)
    dx, g = (support.gaussian(*shape, seed=i, dtype=dtype) for i in (2, 3))
    for s in (
        np.linspace(2, 0.5, k) + 0.1,
        np.full(k, 2.0),
        np.full(k, 0.5),
        [1.5] * (k - 1) + [0],
    ):
        x = support.with_spectrum(s, shape, 5, dtype)
        (found,) = rule.tangent((x, radius), (dx, 0.3 * radius))
        difference = oracle(x + 1e-6 * dx, 1.0 + 3e-7) - oracle(x - 1e-6 * dx, 1.0 - 3e-7)
        np.testing.assert_allclose(found, difference / 2e-6, atol=1e-7)
        pulled, grown = rule.cotangent((x, radius), (g,))
        left = np.sum(np.real(np.conj(g) * found))
        right = np.sum(np.real(np.conj(pulled) * dx)) + 0.3 * grown[0, 0]
        assert abs(left - right) <= 1e-12


def test_gradients_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = torch.tensor(support.gaussian(2, 4, 3), requires_grad=True)
    radius = torch.tensor([0.7, 1.5])
    assert torch.autograd.gradcheck(lambda y: spectral_clip(y, radius), (x,))
    moving = radius.double().requires_grad_()
    assert torch.autograd.gradcheck(spectral_clip, (x, moving))
    assert torch.autograd.gradcheck(spectral_clip, (x.detach(), moving))
    each = torch.func.vmap(lambda y, r: spectral_clip(y, r).sum())
    found = torch.func.grad(lambda y: each(y, radius).sum())(x.detach())
    spectral_clip(x, radius).sum().backward()
    torch.testing.assert_close(found, x.grad)


def test_gradients_of_jax() -> None:
    jax = pytest.importorskip("jax", reason="jax is not installed")
    with jax.enable_x64(True):
        x = jax.numpy.asarray(support.gaussian(4, 3, dtype="complex128"))
        dx = jax.numpy.asarray(support.gaussian(4, 3, seed=1, dtype="complex128"))
        moved = jax.jit(lambda y: jax.jvp(lambda z: spectral_clip(z, 1.0), (y,), (dx,))[1])(x)
        real = jax.numpy.diag(jax.numpy.asarray([3.0, 0.5]))
        in_radius = jax.grad(lambda r: spectral_clip(real, r)[0, 0])(jax.numpy.asarray(1.0))
    assert float(in_radius) == pytest.approx(1.0)
    x, dx = np.asarray(x), np.asarray(dx)
    expected = (oracle(x + 1e-6 * dx, 1.0) - oracle(x - 1e-6 * dx, 1.0)) / 2e-6
    np.testing.assert_allclose(np.asarray(moved), expected, atol=1e-7)
