"""Gradients of what is made of singular values and norms, also at equal ones and at 0.

The oracle is a central difference of the same function on NumPy in double precision, at points
where differences say that there is a derivative: they do not depend on the side, and are linear in
the direction.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import array_api_compat.numpy as numpy_namespace
import numpy as np
import pytest

from specdesc import (
    minimax,
    norms,
    orthogonalize,
    polar,
    preconditioners,
    prox,
    spectral_clip,
    spectral_map,
)
from tests import oracles, support

JAX = next(way for way in support.LIBRARIES if way.name == "jax")
FORWARD = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")
TRACED = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

#: The step of the differences, and what they may miss.
STEP, ROOM = 2e-6, 2e-5

NORMS = {
    "Spectral": norms.Spectral(),
    "Nuclear": norms.Nuclear(),
    "Frobenius": norms.Frobenius(),
    "Max": norms.Max(),
    "Columns": norms.Columns(),
    "Rows": norms.Rows(),
    "KyFan": norms.KyFan(2),
    "KyFanDual": norms.KyFanDual(2),
}

#: Smooth functions of the singular values: of each alone, and of all of them together.
MAPS: dict[str, Callable[[Any, Any], Any]] = {
    "tanh": lambda s, xp: xp.tanh(s),
    "exp": lambda s, xp: xp.exp(s),
    "cube": lambda s, xp: s**3 - s,
    "sinh, with rounding at 0": lambda s, xp: (xp.exp(s) - xp.exp(-s)) / 2,
    "of all": lambda s, xp: s / (1 + xp.sum(s * s, axis=-1)[..., None]),
}


def operations() -> dict[str, Callable[[Any], Any]]:
    found: dict[str, Callable[[Any], Any]] = {"clip": lambda x: spectral_clip(x, 1.3)}
    for name, g in oracles.FUNCTIONS.items():
        found[f"prox {name}"] = lambda x, g=g: g.prox(x, 0.7)
        if not g.is_set:
            found[f"value {name}"] = g.value
    for name, norm in NORMS.items():
        for part in ("value", "dual", "direction", "sharp"):
            found[f"norm {name} {part}"] = getattr(norm, part)
        found[f"norm {name} lmo"] = lambda x, norm=norm: norm.lmo(x, 0.7)
    for name, kernel in oracles.KERNELS.items():
        for geometry in ("spectral", "elementwise", "global", "rows", "columns"):
            found[f"{name} {geometry}"] = kernel(eps=0.7, geometry=geometry)
        found[f"{name} normalized"] = kernel(eps=0.7, normalize=True)
    for geometry in ("spectral", "rows"):
        polynomial = preconditioners.Polynomial(
            minimax.NEWTON_SCHULZ, normalize=True, geometry=geometry
        )
        found[f"polynomial {geometry}"] = polynomial
    for name, fun in MAPS.items():
        found[f"map {name}"] = lambda x, fun=fun: spectral_map(x, lambda s: fun(s, namespace(s)))
    return found


def anisotropic() -> dict[str, Callable[[Any], Any]]:
    found: dict[str, Callable[[Any], Any]] = {}
    for name in ("Nuclear", "L1", "Huber", "FrobeniusBall", "Ridge", "MCP", "KyFanBall", "Simplex"):
        g = oracles.FUNCTIONS[name]
        for kernel in ("Sqrt", "Clip", "Kappa 3"):
            for geometry in ("spectral", "elementwise", "global", "rows"):
                if prox.geometries.how(g, geometry) is not None:
                    p = oracles.KERNELS[kernel](eps=0.7, geometry=geometry)
                    found[f"{name} {kernel} {geometry}"] = lambda x, g=g, p=p: g.anisotropic_prox(
                        x, 0.6, p
                    )
    return found


OPERATIONS, ANISOTROPIC = operations(), anisotropic()


def namespace(s: Any) -> Any:
    module = type(s).__module__
    if module.startswith("torch"):
        return pytest.importorskip("torch")
    if module.startswith("jax"):
        return pytest.importorskip("jax").numpy
    return numpy_namespace


def points(shape: tuple[int, int], dtype: str) -> dict[str, Any]:
    """Return matrices where formulas divide by 0, and some where they do not."""
    k = min(shape)
    spectrum = {
        "tied": [2.1, 2.1, 1.1],
        "nearly tied": [2.1, 2.1 - 1e-9, 1.1],
        "deficient": [2.2, 0.5, 0.0],
        "rank one": [2.2, 0.0, 0.0],
    }
    found = {
        name: support.with_spectrum(s[:k], shape, 4, dtype=dtype) for name, s in spectrum.items()
    }
    gaussian, small = (support.gaussian(*shape, seed=seed, dtype=dtype) for seed in (1, 7))
    small = 0.3 * small
    small[0] = 0.0
    with_zeros = gaussian.copy()
    with_zeros[:, 0] = with_zeros[0, 1] = 0.0
    return {
        **found,
        "gaussian": gaussian,
        "all equal": (1.9 * np.eye(*shape)).astype(dtype),
        "zero": np.zeros(shape, dtype),
        "with zeros": with_zeros,
        "small": small,
    }


class Case(NamedTuple):
    """A point, a direction, weights of the result, and the difference quotient."""

    name: str
    x: Any
    along: Any
    weights: Any
    quotient: float
    smooth: bool


def inner(a: Any, b: Any) -> float:
    return float(np.sum(np.real(np.conj(a) * b)))


def cases(name: str, call: Callable[[Any], Any], shape: tuple[int, int], dtype: str) -> list[Case]:
    if dtype == "complex128" and any(real in name for real in oracles.REAL):
        return []
    hermitian = any(kind in name for kind in oracles.HERMITIAN)
    if hermitian and shape[0] != shape[1]:
        return []
    found = []
    for point, given in points(shape, dtype).items():
        # A Hermitian point lies in the domain of PSD where it is positive.
        x = given + np.conj(given.T) if hermitian else given
        one, *others = (support.gaussian(*shape, seed=seed, dtype=dtype) for seed in (8, 18, 28))
        with np.errstate(all="ignore"):
            here = np.asarray(call(x))
            kind = dtype if here.ndim else "float64"
            weights = np.asarray(support.gaussian(*here.shape, seed=9, dtype=kind) * 1.0)
            difference = _difference(call, x, weights)
            quotient, room, linear = difference(one, 1.0), 0.0, True
            for other in others:
                second = difference(other, 1.0)
                room = ROOM * (1 + abs(quotient) + abs(second))
                both = quotient + second, difference(one + other, 1.0)
                linear = linear and abs(both[0] - both[1]) < room
            steady = abs(quotient - difference(one, 2.0)) < room
            sides = difference(one, 1.0, side=1.0) - difference(one, 1.0, side=-1.0)
        smooth = linear and steady and abs(sides) < 10 * room
        found.append(Case(point, x, one, weights, quotient, bool(smooth)))
    return found


def _difference(call: Callable[[Any], Any], x: Any, weights: Any) -> Callable[..., float]:
    def difference(way: Any, size: float, side: float = 0.0) -> float:
        step = STEP * size
        right, left = (1.0, -1.0) if side == 0.0 else (max(side, 0.0), min(side, 0.0))
        moved = call(x + step * right * way) - call(x + step * left * way)
        return inner(weights, moved) / (step * (right - left))

    return difference


def hold(found: Any, case: Case) -> None:
    assert np.isfinite(found).all(), case.name
    if case.smooth:
        moved = inner(found, case.along)
        assert abs(moved - case.quotient) <= ROOM * (1 + abs(case.quotient)), case.name


SHAPES = (((4, 3), "float64"), ((3, 4), "float64"), ((3, 3), "complex128"), ((3, 3), "float64"))


def of_torch(torch: Any, call: Callable[[Any], Any], case: Case) -> Any:
    x = torch.tensor(case.x, requires_grad=True)
    weighted = torch.conj(torch.tensor(case.weights)) * call(x)
    total = torch.sum(torch.real(weighted))
    if not total.requires_grad:  # a constant, piece by piece
        return np.zeros(case.x.shape)
    total.backward()
    return np.zeros(case.x.shape) if x.grad is None else x.grad.resolve_conj().numpy()


def of_jax(jax: Any, call: Callable[[Any], Any]) -> Callable[[Case], Any]:
    xp = jax.numpy

    def loss(x: Any, weights: Any) -> Any:
        return xp.sum(xp.real(xp.conj(weights) * call(x)))

    gradient = jax.jit(jax.grad(loss))

    def run(case: Case) -> Any:
        # The gradient of JAX is the conjugate of that of torch: it pairs without conj.
        return np.conj(np.asarray(gradient(xp.asarray(case.x), xp.asarray(case.weights))))

    return run


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(params=["jax"])
def jax() -> Iterator[Any]:
    module = pytest.importorskip("jax", reason="jax is not installed")
    with JAX.context():
        yield module


# --- against differences -------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_of_torch(name: str, torch: Any) -> None:
    call, smooth = OPERATIONS[name], 0
    for shape, dtype in SHAPES:
        for case in cases(name, call, shape, dtype):
            hold(of_torch(torch, call, case), case)
            smooth += case.smooth
    assert smooth >= 3  # or the differences say nothing


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ANISOTROPIC)
def test_gradients_of_anisotropic_proxes_on_torch(name: str, torch: Any) -> None:
    for case in cases(name, ANISOTROPIC[name], (4, 3), "float64"):
        hold(of_torch(torch, ANISOTROPIC[name], case), case)


FEW = ("prox Nuclear", "prox FrobeniusBall", "prox Ridge", "Sqrt spectral", "map of all")


@pytest.mark.parametrize(
    "name",
    [
        name if name in FEW else pytest.param(name, marks=pytest.mark.exhaustive)
        for name in OPERATIONS
    ],
)
def test_gradients_of_jax(name: str, jax: Any) -> None:
    call = OPERATIONS[name]
    run = of_jax(jax, call)
    for shape, dtype in SHAPES[:1] if name in FEW else SHAPES:
        for case in cases(name, call, shape, dtype):
            hold(run(case), case)


@pytest.mark.parametrize("name", ["L1 Sqrt rows", "Nuclear Kappa 3 global"])
def test_where_a_step_is_found_by_bisection(name: str, torch: Any) -> None:
    for case in cases(name, ANISOTROPIC[name], (3, 3), "float64"):
        if case.name in ("gaussian", "zero"):
            hold(of_torch(torch, ANISOTROPIC[name], case), case)


# --- in the other arguments ----------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["Nuclear", "Ridge", "Huber", "MCP", "Spectral Huber"])
def test_gradients_in_the_step(name: str, torch: Any, jax: Any) -> None:
    g = oracles.FUNCTIONS[name]
    x, weights = support.gaussian(4, 3), support.gaussian(4, 3, seed=1)

    def value(step: float) -> float:
        return inner(weights, g.prox(x, step))

    expected = (value(0.3 + STEP) - value(0.3 - STEP)) / (2 * STEP)
    step = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    torch.sum(torch.tensor(weights) * g.prox(torch.tensor(x), step)).backward()
    assert float(step.grad) == pytest.approx(expected, abs=1e-5)
    found = jax.grad(lambda t: jax.numpy.sum(weights * g.prox(jax.numpy.asarray(x), t)))(0.3)
    assert float(found) == pytest.approx(expected, abs=1e-5)


# --- second derivatives --------------------------------------------------------------------------

ONCE = {
    "prox": lambda x: prox.Nuclear(0.5).prox(x, 1.0),
    "map": preconditioners.Sqrt(eps=1.0),
    "rows": preconditioners.Sqrt(eps=1.0, geometry="rows"),
    "polynomial": preconditioners.Polynomial(minimax.NEWTON_SCHULZ, normalize=True),
    "direction": norms.Nuclear().direction,
    "value": lambda x: prox.Spectral(prox.Huber(1.0, 2.0)).value(x) + 0 * x,
}


@FORWARD
@pytest.mark.parametrize("name", ONCE)
def test_second_derivatives_of_torch_are_refused(name: str, torch: Any) -> None:
    x = torch.tensor(support.gaussian(4, 3), requires_grad=True)

    def loss(y: Any) -> Any:
        return torch.sum(ONCE[name](y) ** 2)

    (first,) = torch.autograd.grad(loss(x), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivatives"):
        torch.autograd.grad(first.sum(), x)
    for outer in (torch.func.jacrev, torch.func.jacfwd):
        with pytest.raises(NotImplementedError, match="second derivatives"):
            outer(torch.func.grad(loss))(x.detach())


@pytest.mark.parametrize("name", ["prox", "rows"])
def test_second_derivatives_of_jax_are_refused(name: str, jax: Any) -> None:
    x = jax.numpy.asarray(support.gaussian(4, 3))

    def loss(y: Any) -> Any:
        return jax.numpy.sum(ONCE[name](y) ** 2)

    for outer in (jax.jacrev, jax.jacfwd):
        with pytest.raises(NotImplementedError, match="second derivatives"):
            outer(jax.grad(loss))(x)


THREE = {
    "orthogonalize": lambda x: orthogonalize(x, method="svd"),
    "polar": lambda x: polar(x).hermitian,
    "clip": lambda x: spectral_clip(x, 1.3),
}


@pytest.mark.thorough
@FORWARD
@pytest.mark.parametrize("name", THREE)
def test_second_derivatives_need_singular_values_that_differ(
    name: str, torch: Any, jax: Any
) -> None:
    call = THREE[name]
    weights = support.gaussian(3, 3, seed=3)
    generic = support.gaussian(3, 3, seed=1)
    xp = jax.numpy
    hessians = {
        torch.tensor: torch.func.hessian(lambda x: torch.sum(torch.tensor(weights) * call(x) ** 2)),
        xp.asarray: jax.hessian(lambda x: xp.sum(weights * call(x) ** 2)),
    }
    for make, hessian in hessians.items():
        assert np.isfinite(np.asarray(hessian(make(generic)))).all()
        for tied in (2.0 * np.eye(3), np.diag([2.0, 2.0, 1.0]), np.diag([2.0, 1.0, 0.0])):
            with pytest.raises(NotImplementedError, match="second derivatives"):
                hessian(make(tied))
    found = [np.asarray(hessian(make(generic))) for make, hessian in hessians.items()]
    np.testing.assert_allclose(*found, atol=1e-8)


@pytest.mark.parametrize("name", ["SpectralBall", "NuclearBall", "FrobeniusBall", "MaxBall"])
def test_gradients_in_the_radius_of_a_set(name: str, torch: Any, jax: Any) -> None:
    x, weights = support.gaussian(4, 3), support.gaussian(4, 3, seed=1)
    make = getattr(prox, name)

    def value(radius: float) -> float:
        return inner(weights, make(radius).prox(x))

    expected = (value(0.6 + STEP) - value(0.6 - STEP)) / (2 * STEP)
    radius = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    torch.sum(torch.tensor(weights) * make(radius).prox(torch.tensor(x))).backward()
    assert float(radius.grad) == pytest.approx(expected, abs=1e-5)
    found = jax.grad(lambda r: jax.numpy.sum(weights * make(r).prox(jax.numpy.asarray(x))))(0.6)
    assert float(found) == pytest.approx(expected, abs=1e-5)


def test_second_derivatives_that_are_polynomials_are_right(torch: Any) -> None:
    for x in (torch.zeros(3, 2, dtype=torch.float64), torch.tensor(support.gaussian(3, 2))):
        hessian = torch.autograd.functional.hessian(prox.Ridge(0.8).value, x).reshape(6, 6)
        torch.testing.assert_close(hessian, 0.8 * torch.eye(6, dtype=torch.float64))


# --- with transformations ------------------------------------------------------------------------


@FORWARD
@pytest.mark.parametrize("name", ["prox Nuclear", "prox PSD", "Tanh rows", "map of all"])
def test_transforms_of_torch_compose(name: str, torch: Any) -> None:
    call = OPERATIONS[name]
    x = torch.tensor(support.gaussian(2, 3, 3, seed=1))
    weights = torch.tensor(support.gaussian(3, 3, seed=2))

    def loss(y: Any) -> Any:
        return torch.sum(weights * call(y))

    grad, vmap = torch.func.grad, torch.func.vmap
    expected = torch.stack([grad(loss)(y) for y in x])
    torch.testing.assert_close(vmap(grad(loss))(x), expected)
    torch.testing.assert_close(grad(lambda y: vmap(loss)(y).sum())(x), expected)
    torch.testing.assert_close(grad(lambda y: torch.sum(weights * call(y)))(x), expected)
    forward, reverse = (jac(call)(x[0]) for jac in (torch.func.jacfwd, torch.func.jacrev))
    torch.testing.assert_close(forward, reverse)


@pytest.mark.slow
def test_transforms_of_jax_compose(jax: Any) -> None:
    x = jax.numpy.asarray(support.gaussian(2, 3, 3, seed=1))
    g = prox.Nuclear(0.5)
    each = jax.grad(lambda y: jax.numpy.sum(g.prox(y, 0.3) ** 2))
    expected = np.stack([np.asarray(each(y)) for y in x])
    np.testing.assert_allclose(np.asarray(jax.jit(jax.vmap(each))(x)), expected, atol=1e-10)
    forward, reverse = (jac(lambda y: g.prox(y, 0.3))(x[0]) for jac in (jax.jacfwd, jax.jacrev))
    np.testing.assert_allclose(np.asarray(forward), np.asarray(reverse), atol=1e-12)


@pytest.mark.exhaustive
@TRACED
@pytest.mark.parametrize("name", ["prox Nuclear", "Sqrt spectral", "prox FrobeniusBall"])
def test_compiled_gradients_of_torch_equal_eager_ones(name: str, torch: Any) -> None:
    torch.compiler.reset()
    call, gradients = OPERATIONS[name], []
    weights = torch.tensor(support.gaussian(5, 4))
    for run in (call, torch.compile(call, fullgraph=True, backend="aot_eager")):
        x = torch.tensor(support.gaussian(5, 4, seed=1), requires_grad=True)
        torch.sum(run(x) * weights).backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


def test_a_stack_keeps_its_matrices_apart_and_half_precision_its_dtype(torch: Any) -> None:
    x = support.gaussian(3, 4, 3)
    x[1] = np.nan
    stack = torch.tensor(x, requires_grad=True)
    torch.sum(prox.Nuclear(0.5).prox(stack, 0.5)[:, 0, 1]).backward()
    assert torch.isnan(stack.grad[1]).all()
    assert torch.isfinite(stack.grad[[0, 2]]).all()
    half = torch.tensor(x[0], dtype=torch.bfloat16, requires_grad=True)
    prox.Nuclear(0.5).prox(half, 0.5)[0, 1].backward()
    assert half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(half.grad.double(), stack.grad[0], atol=0.02, rtol=0.02)
