"""The property tests for users: right operators pass, every wrong one is caught."""

from typing import Any

import numpy as np
import pytest

from specdesc import minimax, preconditioners, prox, testing
from tests import oracles

EVERY_KERNEL = pytest.mark.parametrize("kernel", oracles.KERNELS)


# --- what is right passes ------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("name", oracles.FUNCTIONS)
def test_every_function_and_set_passes(name: str) -> None:
    shape = (3, 3) if name in oracles.HERMITIAN else (4, 3)
    report = testing.check_prox(oracles.FUNCTIONS[name], shape=shape)
    assert report.passed, report


@pytest.mark.parametrize("name", ["Nuclear", "SCAD"])
def test_complex_numbers_and_other_libraries_pass(name: str) -> None:
    g = oracles.FUNCTIONS[name]
    report = testing.check_prox(g, dtype="complex128", seed=1)
    assert report.passed, report
    pytest.importorskip("torch", reason="torch is not installed")
    report = testing.check_prox(g, backend="torch", seed=2)
    assert report.passed, report


@EVERY_KERNEL
def test_every_preconditioner_passes(kernel: str) -> None:
    for geometry in ("columns", "spectral")[len(kernel) % 2 :]:
        p = oracles.KERNELS[kernel](eps=0.5, geometry=geometry)
        report = testing.check_preconditioner(p)
        assert report.passed, report


class Norm:
    """The largest entry and the sum of entries, as a user may write them."""

    def value(self, x: Any) -> Any:
        return np.abs(x).max((-2, -1))

    def dual(self, x: Any) -> Any:
        return np.abs(x).sum((-2, -1))

    def lmo(self, g: Any, radius: float = 1.0) -> Any:
        return -radius * np.sign(g)

    def direction(self, g: Any) -> Any:
        return -self.lmo(g)

    def sharp(self, g: Any) -> Any:
        return self.dual(g)[..., None, None] * self.direction(g)


def test_a_norm_passes() -> None:
    report = testing.check_norm(Norm())
    assert report.passed, report


# --- what is wrong fails -------------------------------------------------------------------------


def soft(y: Any, t: Any) -> Any:
    return np.sign(y) * np.maximum(np.abs(y) - t, 0)


def absolute(x: Any) -> Any:
    return np.abs(x).sum((-2, -1))


def nuclear(x: Any) -> Any:
    return np.linalg.svd(x, compute_uv=False).sum(-1)


def shrink(y: Any, t: Any) -> Any:
    u, s, vh = np.linalg.svd(y, full_matrices=False)
    return (u * np.maximum(s - t, 0)[..., None, :]) @ vh


def box(x: Any) -> Any:
    return np.where(np.abs(x).max((-2, -1)) <= 1 + 1e-12, 0.0, np.inf)


def by_bisection(y: Any, step: float) -> Any:
    """Project on the simplex like a peer: stop when the sum is within 1e-5."""
    low, high = float(y.min()) - 1.0, float(y.max())
    while True:
        middle = (low + high) / 2
        total = np.maximum(y - middle, 0).sum()
        if abs(total - 1) < 1e-5:
            return np.maximum(y - middle, 0)
        low, high = (middle, high) if total > 1 else (low, middle)


def writes(y: Any, step: float) -> Any:
    y *= 1.0 / (1.0 + step)
    return y.copy()


PROX: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "the map 3x + 7": (lambda y, t: 3 * y + 7, lambda x: 0.0, {}),
    "identity for l1": (lambda y, t: y.copy(), absolute, {}),
    "twice the threshold": (lambda y, t: soft(y, 2 * t), absolute, {}),
    "the step is ignored": (lambda y, t: soft(y, 1.0), absolute, {}),
    "the step is squared": (lambda y, t: soft(y, t * t), absolute, {}),
    "hard for soft": (lambda y, t: np.where(np.abs(y) > t, y, 0), absolute, {}),
    "firm at the wrong end": (lambda y, t: soft(y, t) * 1.001, absolute, {}),
    "clip for soft": (lambda y, t: np.clip(y, -t, t), absolute, {}),
    "ridge without the half": (
        lambda y, t: y / (1 + t),
        lambda x: (np.abs(x) ** 2).sum((-2, -1)),
        {},
    ),
    "a Gram matrix without conj": (
        shrink,
        lambda x: np.sqrt(
            np.abs(np.linalg.eigvals(np.swapaxes(x, -1, -2) @ x)),
        ).sum(-1),
        {"dtype": "complex128"},
    ),
    "no conj in the factors": (
        lambda y, t: np.conj(shrink(y, t)),
        nuclear,
        {"dtype": "complex128"},
    ),
    "inside goes to the sphere": (
        lambda y, t: y / np.linalg.norm(y, axis=(-2, -1), keepdims=True),
        lambda x: np.where(np.linalg.norm(x, axis=(-2, -1)) <= 1 + 1e-12, 0.0, np.inf),
        {},
    ),
    "a ball a little too small": (lambda y, t: np.clip(y, -0.999, 0.999), box, {}),
    "a ball a little too large": (lambda y, t: np.clip(y, -1.001, 1.001), box, {}),
    "clip from one side": (lambda y, t: np.minimum(y, 1.0), box, {}),
    "scaled for clipped": (
        lambda y, t: y / np.maximum(np.abs(y).max((-2, -1), keepdims=True), 1.0),
        box,
        {},
    ),
    "double for single": (lambda y, t: soft(y.astype("float64"), t), absolute, {}),
    "a loose simplex": (
        by_bisection,
        lambda x: np.where(
            (x.min((-2, -1)) >= 0) & (np.abs(x.sum((-2, -1)) - 1) <= 1e-9), 0.0, np.inf
        ),
        {},
    ),
    "the rank is one too large": (
        lambda y, t: prox.Rank(2).prox(y, t),
        prox.Rank(1).value,
        {},
    ),
    "a stack is one matrix": (
        lambda y, t: soft(y, t * np.abs(y).max() / np.abs(y).max((-2, -1), keepdims=True).min()),
        absolute,
        {},
    ),
    "the value of a stack is summed": (soft, lambda x: np.abs(x).sum() + 0 * absolute(x), {}),
    "it writes to its input": (
        writes,
        lambda x: (np.abs(x) ** 2).sum((-2, -1)) / 2,
        {},
    ),
    "a list": (lambda y, t: soft(y, t).tolist(), absolute, {}),
    "the transpose": (
        lambda y, t: np.swapaxes(soft(y, t), -1, -2),
        absolute,
        {"shape": (3, 3)},
    ),
    "a weight that the value does not have": (
        lambda y, t: soft(y, 0.5 * t),
        absolute,
        {},
    ),
    "a penalty that is not convex": (
        lambda y, t: prox.MCP(1.0, 2.0).prox(y, t),
        prox.MCP(1.0, 2.0).value,
        {"is_convex": True},
    ),
    "an error": (lambda y, t: y @ y, absolute, {}),
}


@pytest.mark.parametrize("name", PROX)
def test_wrong_proximal_operators_are_caught(name: str) -> None:
    apply, value, options = PROX[name]
    report = testing.check_prox(apply, value, **{"is_convex": "rank" not in name, **options})
    assert not report.passed
    assert report.failures


def test_the_same_formulas_pass_when_they_are_right() -> None:
    """So that the mutants fail for what is wrong with them."""
    for apply, value in (
        (soft, absolute),
        (shrink, nuclear),
        (lambda y, t: np.clip(y, -1.0, 1.0), box),
        (lambda y, t: y / (1 + 2 * t), lambda x: (np.abs(x) ** 2).sum((-2, -1))),
    ):
        report = testing.check_prox(apply, value, is_convex=True)
        assert report.passed, report


class WrongLmo(prox.Simplex):
    """The sign of the largest entry, as a peer does it."""

    def lmo(self, g: Any, /) -> Any:
        s = np.zeros_like(g)
        index = np.unravel_index(np.argmax(np.abs(g)), g.shape)
        s[index] = -np.sign(g[index])
        return s


class Uphill(prox.NuclearBall):
    def lmo(self, g: Any, /) -> Any:
        return -super().lmo(g)


class HalfViolation(prox.SpectralBall):
    def violation(self, x: Any, /) -> Any:
        return 0.0 * super().violation(x)


class EuclideanPenalty(prox.L1):
    def anisotropic_prox(self, y: Any, step: Any, p: Any, /, **_: Any) -> Any:
        return self.prox(y, step)


class EuclideanBallScaled(prox.FrobeniusBall):
    def anisotropic_prox(self, y: Any, step: Any, p: Any, /, **_: Any) -> Any:
        return self.prox(y, step)


@pytest.mark.parametrize(
    "g",
    [WrongLmo(), Uphill(1.0), HalfViolation(0.5), EuclideanPenalty(0.4), EuclideanBallScaled(1.0)],
    ids=lambda g: type(g).__name__,
)
def test_wrong_methods_of_an_operator_are_caught(g: Any) -> None:
    assert not testing.check_prox(g).passed


NORMS: dict[str, dict[str, Any]] = {
    "squared": {"value": lambda self, x: np.abs(x).max((-2, -1)) ** 2},
    "self-dual": {"dual": lambda self, x: np.abs(x).max((-2, -1))},
    "dual too large": {"dual": lambda self, x: 1.5 * np.abs(x).sum((-2, -1))},
    "uphill": {"lmo": lambda self, g, radius=1.0: radius * np.sign(g)},
    "no radius": {"lmo": lambda self, g, radius=1.0: -np.sign(g)},
    "outside": {"lmo": lambda self, g, radius=1.0: -radius * np.sign(g) * 1.01},
    "not a number at zero": {"lmo": lambda self, g, radius=1.0: -radius * g / np.abs(g)},
    "sharp without the dual": {"sharp": lambda self, g: np.sign(g)},
    "direction downhill": {"direction": lambda self, g: -np.sign(g)},
    "a stack as one": {"value": lambda self, x: np.abs(x).max() + 0 * np.abs(x).max((-2, -1))},
    "signed": {"value": lambda self, x: x.max((-2, -1))},
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_wrong_norms_are_caught(name: str) -> None:
    wrong = type("Wrong", (Norm,), NORMS[name])()
    assert not testing.check_norm(wrong).passed


class Wrong:
    """A right preconditioner with one part replaced."""

    def __init__(self, **parts: Any) -> None:
        right = preconditioners.Kappa(3, eps=0.5)
        self.lipschitz = parts.get("lipschitz", right.lipschitz)
        self.map = parts.get("map", right)
        self.conjugate = parts.get("conjugate", right.conjugate)
        self.reference = parts.get("reference", right.reference)

    def __call__(self, x: Any) -> Any:
        return self.map(x)


RIGHT = preconditioners.Kappa(3, eps=0.5)
PRECONDITIONERS: dict[str, dict[str, Any]] = {
    "scale times, not over": {"map": lambda x: RIGHT(0.25 * x)},
    "another kappa": {"map": preconditioners.Kappa(4, eps=0.5)},
    "another geometry": {"map": preconditioners.Kappa(3, eps=0.5, geometry="columns")},
    "conjugate without eps": {"conjugate": lambda x: 2.0 * RIGHT.conjugate(x)},
    "reference without eps": {"reference": lambda x: 2.0 * RIGHT.reference(x)},
    "not odd": {"map": lambda x: RIGHT(x) + 1e-3},
    "abs": {"map": lambda x: np.abs(RIGHT(x))},
    "Lipschitz constant too small": {"lipschitz": 1.0},
    "uphill": {"map": lambda x: -RIGHT(x)},
    "normalized": {"map": preconditioners.Kappa(3, eps=0.5, normalize=True)},
    "polynomial": {"map": preconditioners.Polynomial(minimax.NEWTON_SCHULZ, normalize=True)},
    "single precision": {"map": lambda x: RIGHT(x.astype("float32"))},
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", PRECONDITIONERS)
def test_wrong_preconditioners_are_caught(name: str) -> None:
    assert testing.check_preconditioner(Wrong()).passed
    assert not testing.check_preconditioner(Wrong(**PRECONDITIONERS[name])).passed


def test_a_report_names_the_law_and_the_numbers() -> None:
    report = testing.check_prox(lambda y, t: soft(y, 2 * t), absolute)
    assert any("definition: a competitor is better" in line for line in report.failures)
    with pytest.raises(NotImplementedError, match="fit_kappa"):
        testing.check_preconditioner(preconditioners.Polynomial(minimax.NEWTON_SCHULZ))
