"""Derivatives of `orthogonalize` and `polar`: the rule itself on NumPy, then torch and JAX.

The oracle is a central difference of a polar factor by NumPy's SVD in double precision.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from specdesc import backends, orthogonalize, polar, spectral_clip
from specdesc._linalg import derivative
from tests import support
from tests.support import Library, adjoint, polar_factor

NUMPY = backends.load("numpy")
JAX = next(way for way in support.LIBRARIES if way.name == "jax")
TORCH = next(way for way in support.LIBRARIES if way.name == "torch")

SHAPES = pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (2, 4, 3)], ids=str)
KINDS = pytest.mark.parametrize("dtype", ["float64", "complex128"])
#: What torch compiles for itself when forward mode is first used.
FORWARD = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")
#: Dynamo makes an instance of every autograd function that it traces.
TRACED = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
METHODS = ("svd", "polynomial", "newton-schulz", "polar-express")


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(params=["jax"])
def jax() -> Any:
    module = pytest.importorskip("jax", reason="jax is not installed")
    with JAX.context():
        yield module


def inner(a: Any, b: Any) -> Any:
    return np.sum(np.real(np.conj(a) * b))


def polar_parts(x: Any, side: str = "right") -> tuple[Any, Any]:
    q = polar_factor(x)
    return q, adjoint(q) @ x if side == "right" else x @ adjoint(q)


def difference(function: Callable[[Any], Any], x: Any, dx: Any, step: float = 1e-6) -> Any:
    return (function(x + step * dx) - function(x - step * dx)) / (2 * step)


def matrices(shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    """Return points of full rank, those included where singular vectors are not unique."""
    m, n = shape[-2:]
    tied = [2.0] * (min(m, n) - 1) + [1.0]
    repeated = {
        "all equal": np.broadcast_to(3.0 * np.eye(m, n), shape).copy(),
        "orthogonal": np.broadcast_to(
            support.with_spectrum(np.ones(min(m, n)), (m, n), dtype=dtype), shape
        ).copy(),
        "tied": np.broadcast_to(support.with_spectrum(tied, (m, n), 4, dtype=dtype), shape).copy(),
    }
    points = {"gaussian": support.gaussian(*shape, seed=1, dtype=dtype), **repeated}
    return {name: x.astype(dtype) for name, x in points.items()}


# --- the rule ------------------------------------------------------------------------------------


@KINDS
@SHAPES
def test_tangents_are_those_of_finite_differences(shape: tuple[int, ...], dtype: str) -> None:
    rule = derivative.of_factor(0.0, backend=NUMPY)
    dx = support.gaussian(*shape, seed=2, dtype=dtype)
    for name, x in matrices(shape, dtype).items():
        (found,) = rule.tangent((x,), (dx,))
        expected = difference(polar_factor, x, dx)
        np.testing.assert_allclose(found, expected, atol=1e-8, err_msg=name)


@KINDS
@SHAPES
@pytest.mark.parametrize("side", ["right", "left"])
def test_tangents_of_both_polar_parts(side: str, shape: tuple[int, ...], dtype: str) -> None:
    rule = derivative.of_polar(side, backend=NUMPY)
    dx = support.gaussian(*shape, seed=2, dtype=dtype)
    for name, x in matrices(shape, dtype).items():
        for i, found in enumerate(rule.tangent((x,), (dx,))):
            expected = difference(lambda y, i=i: polar_parts(y, side)[i], x, dx)
            np.testing.assert_allclose(found, expected, atol=2e-8, err_msg=name)


@KINDS
@SHAPES
def test_cotangents_are_adjoint_to_tangents(shape: tuple[int, ...], dtype: str) -> None:
    """Also for matrices without full rank, where no difference quotient says anything."""
    *batch, m, n = shape
    deficient = support.with_spectrum([2.0, 1.0], (m, n), 4, dtype=dtype)
    points = [*matrices(shape, dtype).values(), np.broadcast_to(deficient, shape), np.zeros(shape)]
    dx, g = (support.gaussian(*shape, seed=i, dtype=dtype) for i in (2, 3))
    sizes = {"right": n, "left": m}
    for x in (point.astype(dtype) for point in points):
        rule = derivative.of_factor(0.0, backend=NUMPY)
        left, right = (
            inner(g, rule.tangent((x,), (dx,))[0]),
            inner(rule.cotangent((x,), (g,))[0], dx),
        )
        assert abs(left - right) <= 1e-12 * max(1.0, abs(left))
        for side, k in sizes.items():
            both = derivative.of_polar(side, backend=NUMPY)
            given = (g, support.gaussian(*batch, k, k, seed=5, dtype=dtype))
            left = sum(inner(a, b) for a, b in zip(given, both.tangent((x,), (dx,)), strict=True))
            right = inner(both.cotangent((x,), given)[0], dx)
            assert abs(left - right) <= 1e-12 * max(1.0, abs(left))


@KINDS
@pytest.mark.parametrize("shape", [(5, 4), (4, 5), (4, 4)], ids=str)
def test_of_a_deficient_matrix_along_matrices_of_its_rank(
    shape: tuple[int, int], dtype: str
) -> None:
    """The derivative of U_r V_rᴴ where it has one, and zero in the directions that leave it."""
    m, n = shape
    a, b, da, db = (
        support.gaussian(rows, columns, seed=i, dtype=dtype)
        for i, (rows, columns) in enumerate([(m, 2), (2, n), (m, 2), (2, n)])
    )

    def factor(t: float) -> Any:
        u, _, vh = np.linalg.svd((a + t * da) @ (b + t * db), full_matrices=False)
        return u[:, :2] @ vh[:2]

    x, dx = a @ b, da @ b + a @ db
    rule = derivative.of_factor(0.0, backend=NUMPY)
    expected = (factor(1e-6) - factor(-1e-6)) / 2e-6
    np.testing.assert_allclose(rule.tangent((x,), (dx,))[0], expected, atol=1e-7)
    u, _, vh = np.linalg.svd(x)
    away = u[:, 2:] @ support.gaussian(m - 2, n - 2, dtype=dtype) @ vh[2:]
    np.testing.assert_allclose(rule.tangent((x,), (away,))[0], 0.0, atol=1e-13)
    # What lies at or below a floor counts as zero, so nothing is divided by it.
    near = x + 1e-4 * away
    given = derivative.of_factor(1e-2, backend=NUMPY).tangent((near,), (dx,))[0]
    np.testing.assert_allclose(given, expected, atol=1e-3)


@KINDS
def test_a_scale_divides_the_derivative_and_a_nan_stays_in_its_matrix(dtype: str) -> None:
    rule = derivative.of_factor(0.0, backend=NUMPY)
    x, dx = (support.gaussian(3, 4, 3, seed=i, dtype=dtype) for i in (1, 2))
    (first,) = rule.tangent((x,), (dx,))
    for scale in (1e-200, 1e200):
        np.testing.assert_allclose(rule.tangent((x * scale,), (dx,))[0] * scale, first, rtol=1e-10)
    broken = x.copy()
    broken[1, 0, 0] = np.nan
    found = rule.tangent((broken,), (dx,))[0]
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2]], first[[0, 2]], rtol=1e-12)


# --- torch ---------------------------------------------------------------------------------------


def torch_gradient(torch: Any, call: Callable[[Any], Any], x: Any, weights: Any) -> Any:
    """Return the gradient of Re <weights, call(x)>."""
    point = torch.tensor(x, requires_grad=True)
    torch.sum(torch.real(torch.conj(torch.tensor(weights)) * call(point))).backward()
    return point.grad.resolve_conj().numpy()


@KINDS
@SHAPES
def test_gradients_of_torch_are_those_of_finite_differences(
    shape: tuple[int, ...], dtype: str, torch: Any
) -> None:
    weights, dx = (support.gaussian(*shape, seed=i, dtype=dtype) for i in (2, 3))
    for name, x in matrices(shape, dtype).items():
        expected = inner(weights, difference(polar_factor, x, dx))
        for call in (orthogonalize, lambda y: polar(y).unitary):
            found = inner(torch_gradient(torch, call, x, weights), dx)
            assert found == pytest.approx(expected, abs=1e-7), name


@FORWARD
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((3, 3), "float64"),
        ((3, 3), "complex128"),
        ((2, 3, 2), "complex128"),
        ((2, 3), "complex128"),
    ],
    ids=str,
)
def test_gradcheck_of_torch_both_ways(shape: tuple[int, ...], dtype: str, torch: Any) -> None:
    x = torch.tensor(support.gaussian(*shape, seed=1, dtype=dtype), requires_grad=True)
    for call in (
        lambda y: orthogonalize(y, method="svd"),
        lambda y: orthogonalize(y, method="polynomial"),
        lambda y: tuple(polar(y)),
        lambda y: tuple(polar(y, side="left")),
    ):
        assert torch.autograd.gradcheck(call, (x,), check_forward_ad=True)


def test_second_derivatives_of_torch_where_singular_values_differ(torch: Any) -> None:
    x = torch.tensor(support.gaussian(3, 4), requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda y: orthogonalize(y, method="svd"), (x,))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_the_derivative_of_the_factor(method: str, torch: Any) -> None:
    """The steps are not recorded: buffers may be reused in them."""
    x, weights = support.easy(shape=(8, 6)), support.gaussian(8, 6)
    expected = torch_gradient(torch, orthogonalize, x, weights)
    found = torch_gradient(torch, lambda y: orthogonalize(y, method=method), x, weights)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_only_the_factor_of_the_full_output_has_a_gradient(torch: Any) -> None:
    x = torch.tensor(support.easy(shape=(8, 6)), requires_grad=True)
    for method in METHODS:
        full = orthogonalize(x, method=method, full_output=True)
        fields = [name for name in full._fields if name != "start"]
        asks = {name: getattr(full, name).requires_grad for name in fields}
        assert asks == {name: name == "factor" for name in fields}


def test_nothing_is_recorded_where_nothing_asks(torch: Any) -> None:
    x = torch.tensor(support.easy(shape=(8, 6)))
    assert orthogonalize(x).grad_fn is None
    x.requires_grad_()
    with torch.no_grad():
        assert orthogonalize(x).grad_fn is None
    assert orthogonalize(x).grad_fn is not None


def test_zero_deficient_and_broken_matrices_have_a_gradient_in_torch(torch: Any) -> None:
    rank_two = support.with_spectrum([2.0, 1.0], (5, 4))
    stack = np.stack([np.zeros((5, 4)), rank_two, rank_two * np.nan, support.gaussian(5, 4)])
    weights = support.gaussian(4, 5, 4)
    for call in (orthogonalize, lambda y: polar(y).unitary):
        found = torch_gradient(torch, call, stack, weights)
        assert (found[0] == 0).all()
        assert np.isfinite(found[[1, 3]]).all()
        assert np.abs(found[1]).max() < 100
        assert np.isnan(found[2]).all()


def test_half_precision_gradients_come_in_half_precision(torch: Any) -> None:
    x = TORCH.array(support.easy(shape=(8, 6)), "bfloat16").requires_grad_()
    orthogonalize(x)[0, 0].backward()
    assert x.grad.dtype == torch.bfloat16
    exact = torch.tensor(TORCH.numpy(x.detach()), dtype=torch.float64, requires_grad=True)
    orthogonalize(exact)[0, 0].backward()
    np.testing.assert_allclose(TORCH.numpy(x.grad), exact.grad.numpy(), atol=0.01)


@FORWARD
def test_transforms_of_torch_compose(torch: Any) -> None:
    """Of the functorch kind: grad under vmap, vmap under grad, jvp and jacobians."""
    x = torch.tensor(support.gaussian(3, 4, 3, seed=1))
    weights = torch.tensor(support.gaussian(4, 3, seed=2))

    def loss(y: Any) -> Any:
        return torch.sum(weights * orthogonalize(y))

    grad, vmap = torch.func.grad, torch.func.vmap
    expected = torch.stack([grad(loss)(y) for y in x])
    torch.testing.assert_close(vmap(grad(loss))(x), expected)
    torch.testing.assert_close(grad(lambda y: vmap(loss)(y).sum())(x), expected)
    _, along = torch.func.jvp(orthogonalize, (x,), (x,))
    torch.testing.assert_close(along, torch.zeros_like(x))
    forward, reverse = (jac(orthogonalize)(x[0]) for jac in (torch.func.jacfwd, torch.func.jacrev))
    torch.testing.assert_close(forward, reverse)


@pytest.mark.slow
@TRACED
def test_compiled_gradients_of_torch_equal_eager_ones(torch: Any) -> None:
    torch.compiler.reset()
    weights = torch.tensor(support.gaussian(40, 36), dtype=torch.float32)
    for call in (
        lambda y: orthogonalize(y, tol=1e-3, full_output=True).factor,
        lambda y: polar(y).unitary @ polar(y).hermitian,
    ):
        gradients = []
        for run in (call, torch.compile(call, fullgraph=True, backend="aot_eager")):
            x = torch.tensor(support.easy(shape=(40, 36)), dtype=torch.float32, requires_grad=True)
            torch.sum(run(x) * weights).backward()
            gradients.append(x.grad)
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


# --- jax -----------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 5)], ids=str)
def test_gradients_of_jax_are_those_of_finite_differences(
    shape: tuple[int, ...], dtype: str, jax: Any
) -> None:
    """JAX's gradient of a real function is the conjugate of torch's: it pairs without conj."""
    weights, dx = (support.gaussian(*shape, seed=i, dtype=dtype) for i in (2, 3))

    def loss(y: Any) -> Any:
        return jax.numpy.sum(jax.numpy.real(jax.numpy.conj(weights) * orthogonalize(y)))

    gradient = jax.jit(jax.grad(loss))
    tangent = jax.jit(lambda y: jax.jvp(orthogonalize, (y,), (jax.numpy.asarray(dx),))[1])
    for name, x in matrices(shape, dtype).items():
        expected = difference(polar_factor, x, dx)
        found = np.conj(JAX.numpy(gradient(jax.numpy.asarray(x))))
        assert inner(found, dx) == pytest.approx(inner(weights, expected), abs=1e-7), name
        moved = JAX.numpy(tangent(jax.numpy.asarray(x)))
        np.testing.assert_allclose(moved, expected, atol=1e-7, err_msg=name)


def test_gradients_of_polar_on_jax(jax: Any) -> None:
    shape, side = (5, 3), "left"
    x, dx = (support.gaussian(*shape, seed=i, dtype="complex128") for i in (1, 2))
    weights = [
        support.gaussian(*part.shape, seed=9, dtype="complex128") for part in polar_parts(x, side)
    ]

    def loss(y: Any) -> Any:
        return sum(
            jax.numpy.sum(jax.numpy.real(jax.numpy.conj(w) * part))
            for w, part in zip(weights, polar(y, side=side), strict=True)
        )

    expected = sum(
        inner(w, difference(lambda y, i=i: polar_parts(y, side)[i], x, dx))
        for i, w in enumerate(weights)
    )
    found = np.conj(JAX.numpy(jax.jit(jax.grad(loss))(jax.numpy.asarray(x))))
    assert inner(found, dx) == pytest.approx(expected, abs=1e-7)


def test_transforms_of_jax_compose(jax: Any) -> None:
    x = JAX.array(support.gaussian(3, 4, 3, seed=1), "float32")
    weights = JAX.array(support.gaussian(4, 3, seed=2), "float32")

    def loss(y: Any) -> Any:
        return jax.numpy.sum(weights * orthogonalize(y, full_output=True).factor)

    each = jax.jit(jax.grad(loss))
    expected = np.stack([JAX.numpy(each(y)) for y in x])
    np.testing.assert_allclose(JAX.numpy(jax.jit(jax.vmap(each))(x)), expected, atol=1e-5)
    total = jax.grad(lambda y: jax.numpy.sum(jax.vmap(loss)(y)))
    np.testing.assert_allclose(JAX.numpy(jax.jit(total)(x)), expected, atol=1e-5)


def test_what_has_no_derivative_on_jax_has_none(jax: Any) -> None:
    """The bound gives zeros, zero and deficient matrices finite numbers, a NaN stays at home."""
    rank_two = support.with_spectrum([2.0, 1.0], (5, 4))
    stack = np.stack([np.zeros((5, 4)), rank_two, rank_two * np.nan, support.gaussian(5, 4)])
    x = jax.numpy.asarray(stack)

    def outputs(y: Any) -> Any:
        full = orthogonalize(y, full_output=True)
        return jax.numpy.sum(full.error), jax.numpy.sum(full.factor[..., 0, 0])

    error, found = (JAX.numpy(jax.jit(jax.grad(lambda y, i=i: outputs(y)[i]))(x)) for i in range(2))
    assert (error == 0).all()
    assert (found[0] == 0).all()
    assert np.isfinite(found[[1, 3]]).all()
    assert np.isnan(found[2]).all()


# --- libraries that do not differentiate ---------------------------------------------------------


def test_a_library_without_gradients_runs_the_function_itself(library: Library) -> None:
    leaf = NUMPY if library.backend == "array_api_strict" else library.leaf
    if leaf.name in ("jax", "torch"):
        pytest.skip(f"{library.name} differentiates")

    def function(y: Any) -> tuple[Any]:
        return (y,)

    assert leaf.differentiable(function, derivative.of_factor(0.0, backend=leaf)) is function


@pytest.mark.thorough
@pytest.mark.parametrize("shape", [(5, 3), (3, 3), (2, 3, 4)])
def test_gradient_of_the_clip_in_its_radius_on_jax(shape):
    jax = pytest.importorskip("jax", reason="jax is not installed")
    x = jax.numpy.asarray(np.random.default_rng(0).standard_normal(shape), jax.numpy.float32)
    weights = jax.numpy.asarray(np.random.default_rng(1).standard_normal(shape), "float32")

    def total(radius):
        return jax.numpy.sum(weights * spectral_clip(x, radius))

    found = jax.grad(total)(jax.numpy.asarray(1.0))
    assert float(found) == pytest.approx(float(total(1.01) - total(0.99)) / 0.02, rel=2e-3)
    found = jax.grad(total)(jax.numpy.asarray(100.0))  # nothing is clipped
    assert float(found) == 0.0
