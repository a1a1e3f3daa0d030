"""Wrong operators of the kinds that people write: every one is refused, in low precision, too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from specdesc import LinearOperator, norms, preconditioners, rules, testing
from tests import support
from tests.testing import test_wrong_formulas as formulas

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

REAL = pytest.mark.parametrize("dtype", ["float64", "float32"])
COMPLEX = pytest.mark.parametrize("dtype", ["complex128", "complex64"])


def adjoint(x: Any) -> Any:
    return np.conj(np.swapaxes(x, -1, -2))


def length(x: Any) -> Any:
    return np.sqrt((np.abs(x) ** 2).sum((-2, -1)))


def nuclear(x: Any) -> Any:
    return np.linalg.svd(x, compute_uv=False).sum(-1)


def absolute(x: Any) -> Any:
    return np.abs(x).sum((-2, -1))


# --- proxes --------------------------------------------------------------------------------------


def group(y: Any, t: float) -> Any:
    return y * np.maximum(1 - t / length(y)[..., None, None], 0)


def guarded_group(y: Any, t: float) -> Any:
    size = length(y)[..., None, None]
    return y * np.maximum(1 - t / np.where(size > 0, size, 1), 0)


def through_gram(y: Any, t: float) -> Any:
    """Shrink by the eigenvectors of YᴴY: of the short side alone where y is tall."""
    values, v = np.linalg.eigh(adjoint(y) @ y)
    s = np.sqrt(np.maximum(values, 0))
    return (y @ (v * (np.maximum(s - t, 0) / s)[..., None, :])) @ adjoint(v)


def short(y: Any, t: float) -> Any:
    """Shrink by a diagonal of as many numbers as there are columns."""
    u, s, vh = np.linalg.svd(y, full_matrices=True)
    diagonal = np.zeros(y.shape)
    for i in range(min(3, y.shape[-1], y.shape[-2])):
        diagonal[..., i, i] = np.maximum(s[..., i] - t, 0)
    return (u @ diagonal @ vh).astype(y.dtype)


def no_conjugate(y: Any, t: float) -> Any:
    u, s, vh = np.linalg.svd(y, full_matrices=False)
    v = adjoint(vh)
    return (u * np.maximum(s - t, 0)[..., None, :]) @ np.swapaxes(v, -1, -2)


def by_clipping(y: Any, t: float) -> Any:
    return y - t * np.clip(y / t, -1, 1)


def at_least(y: Any, t: float) -> Any:
    """Keep the four largest entries, and those that tie with the last of them."""
    flat = np.sort(np.abs(y).reshape(*y.shape[:-2], -1), axis=-1)
    return np.where(np.abs(y) >= flat[..., -4, None, None], y, 0)


def sparse(x: Any) -> Any:
    return np.where((np.abs(x) > 0).sum((-2, -1)) <= 4, 0.0, np.inf)


def simplex(y: Any, t: float) -> Any:
    rows = y.reshape(-1, y.shape[-1] * y.shape[-2])
    found = []
    for row in rows:
        u = np.unique(row)[::-1]  # what ties is lost
        c = np.cumsum(u) - 1
        k = np.nonzero(u - c / np.arange(1, len(u) + 1) > 0)[0][-1]
        found.append(np.maximum(row - c[k] / (k + 1), 0))
    return np.reshape(found, y.shape).astype(y.dtype)


def on_simplex(x: Any) -> Any:
    inside = (x.min((-2, -1)) >= -1e-6) & (np.abs(x.sum((-2, -1)) - 1) < 1e-5)
    return np.where(inside, 0.0, np.inf)


def phase(y: Any, t: float) -> Any:
    return y / np.abs(y) * np.maximum(np.abs(y) - t, 0)


PROXES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "NaN at zero": (group, length),
    "NaN at entries of zero": (phase, absolute),
    "wrong where entries tie": (simplex, on_simplex),
    "one too many where entries tie": (at_least, sparse),
    "for tall matrices": (through_gram, nuclear),
    "for at most three columns": (short, lambda x: nuclear(x) * 1.0),
    "broken at step 0": (by_clipping, absolute),
    "a step of 0 is taken for 1": (
        lambda y, t: formulas.soft(y, t or 1.0),
        absolute,
    ),
    "always zero at step 0": (lambda y, t: y * (t > 0) / (1 + t), lambda x: length(x) ** 2 / 2),
    "less than half of the threshold": (lambda y, t: formulas.soft(y, 0.4 * t), absolute),
    "the square of a length": (guarded_group, lambda x: length(x) ** 2),
    "not a number for wide matrices": (
        lambda y, t: formulas.soft(y, t) if y.shape[-2] >= y.shape[-1] else y * np.nan,
        absolute,
    ),
}


@REAL
@pytest.mark.parametrize("name", [name for name in PROXES if name != "for at most three columns"])
def test_wrong_proxes(name: str, dtype: str) -> None:
    assert not testing.check_prox(*PROXES[name], dtype=dtype, is_convex=name[:3] != "one").passed


def test_the_shape_may_have_to_be_larger() -> None:
    apply, value = PROXES["for at most three columns"]
    assert testing.check_prox(apply, value, is_convex=True).passed
    assert not testing.check_prox(apply, value, shape=(6, 5), is_convex=True).passed


@REAL
def test_the_same_kinds_pass_when_they_are_right(dtype: str) -> None:
    for apply, value in (
        (guarded_group, length),
        (formulas.shrink, nuclear),
        (formulas.soft, absolute),
    ):
        report = testing.check_prox(
            lambda y, t, apply=apply: apply(y, t).astype(y.dtype),
            value,
            dtype=dtype,
            is_convex=True,
        )
        assert report.passed, report


@COMPLEX
def test_proxes_without_a_conjugate(dtype: str) -> None:
    for apply in (no_conjugate, lambda y, t: np.conj(formulas.shrink(y, t))):
        assert not testing.check_prox(apply, nuclear, dtype=dtype, is_convex=True).passed
    assert testing.check_prox(formulas.shrink, nuclear, dtype=dtype, is_convex=True).passed


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, (*_, options) in formulas.PROX.items()
        if "dtype" not in options and "single" not in name and "loose" not in name
    ],
)
def test_wrong_formulas_in_low_precision(name: str, dtype: str) -> None:
    apply, value, options = formulas.PROX[name]
    if dtype == "float16" and ("1.001" in name or "a little" in name or "wrong end" in name):
        pytest.skip("as far off as one rounding")
    if dtype == "float16" and "rank" in name:
        pytest.skip("NumPy factorizes no half precision")
    options = {"is_convex": "rank" not in name, **options, "dtype": dtype}
    assert not testing.check_prox(apply, value, **options).passed


def test_what_has_no_value_is_told_so() -> None:
    for g in (lambda y, step: y, object()):
        with pytest.raises(TypeError, match="value"):
            testing.check_prox(g)


# --- norms ---------------------------------------------------------------------------------------


class _Wrong:
    """A norm of ours with one method replaced."""

    def __init__(self, right: Any, **parts: Callable[..., Any]) -> None:
        self.right, self.parts = right, parts

    def __getattr__(self, name: str) -> Any:
        return self.parts.get(name) or getattr(self.right, name)


def all_of_the_largest(g: Any, radius: float = 1.0) -> Any:
    """Sum the pairs that tie for the largest singular value."""
    u, s, vh = np.linalg.svd(g, full_matrices=False)
    return -radius * (u * (s >= s[..., :1] * (1 - 1e-5))[..., None, :]) @ vh


def unguarded(g: Any, radius: float = 1.0) -> Any:
    return -radius * g / length(g)[..., None, None]


NORMS: dict[str, Any] = {
    "NaN at zero": _Wrong(norms.Frobenius(), lmo=unguarded),
    "outside where singular values tie": _Wrong(norms.Nuclear(), lmo=all_of_the_largest),
    "columns of tall matrices, rows of wide ones": _Wrong(
        norms.Columns(),
        value=lambda x: (norms.Columns() if x.shape[-2] > x.shape[-1] else norms.Rows()).value(x),
    ),
    "sharp is NaN at zero": _Wrong(norms.Frobenius(), sharp=lambda g: g * (length(g) / length(g))),
    "a direction without its sign": _Wrong(norms.Max(), direction=norms.Max().lmo),
    "the largest column for the sum": _Wrong(norms.Columns(), dual=norms.Columns().value),
}


@REAL
@pytest.mark.parametrize("name", NORMS)
def test_wrong_norms(name: str, dtype: str) -> None:
    assert not testing.check_norm(NORMS[name], dtype=dtype).passed


@COMPLEX
def test_norms_without_a_conjugate(dtype: str) -> None:
    for right in (norms.Spectral(), norms.Max(), norms.Frobenius()):
        wrong = _Wrong(right, lmo=lambda g, radius=1.0, right=right: np.conj(right.lmo(g, radius)))
        assert not testing.check_norm(wrong, dtype=dtype).passed


# --- preconditioners -----------------------------------------------------------------------------

RIGHT = preconditioners.Sqrt(eps=0.5)


def root(x: Any) -> Any:
    """Return x (eps² I + XᴴX)^(-1/2) by eigenvalues."""
    values, v = np.linalg.eigh(adjoint(x) @ x)
    return (x @ ((v * (np.maximum(values, 0) + 0.25)[..., None, :] ** -0.5) @ adjoint(v))).astype(
        x.dtype
    )


def transposed(x: Any) -> Any:
    """Do so for XᵀX."""
    values, v = np.linalg.eig(np.swapaxes(x, -1, -2) @ x)
    scaled = v * (values + 0.25)[..., None, :] ** -0.5
    return (x @ (scaled @ np.linalg.inv(v))).astype(x.dtype)


class Bare:
    """A map alone."""

    def __call__(self, x: Any) -> Any:
        return RIGHT(x)

    reference = staticmethod(RIGHT.reference)


class Map(formulas.Wrong):
    """A right preconditioner with one part replaced."""

    def __init__(self, **parts: Any) -> None:
        self.lipschitz = RIGHT.lipschitz
        self.map = parts.get("map", RIGHT)
        self.conjugate = parts.get("conjugate", RIGHT.conjugate)
        self.reference = parts.get("reference", RIGHT.reference)


def divided(x: Any) -> Any:
    s = np.linalg.svd(x, compute_uv=False)
    return RIGHT(x) * (s.sum(-1) / s.sum(-1))[..., None, None]


PRECONDITIONERS: dict[str, Any] = {
    "without a conjugate": Bare(),
    "NaN at zero": Map(map=divided),
    "for tall matrices": Map(map=lambda x: RIGHT(x) if x.shape[-2] >= x.shape[-1] else 0.5 * x),
    "another eps for the conjugate": Map(conjugate=preconditioners.Sqrt(eps=0.4).conjugate),
    "elementwise": Map(map=preconditioners.Sqrt(eps=0.5, geometry="elementwise")),
}


@REAL
@pytest.mark.parametrize("name", PRECONDITIONERS)
def test_wrong_preconditioners(name: str, dtype: str) -> None:
    assert testing.check_preconditioner(Map(map=root), dtype=dtype).passed
    assert not testing.check_preconditioner(PRECONDITIONERS[name], dtype=dtype).passed


@COMPLEX
def test_preconditioners_without_a_conjugate(dtype: str) -> None:
    assert testing.check_preconditioner(Map(map=root), dtype=dtype).passed
    assert not testing.check_preconditioner(Map(map=transposed), dtype=dtype).passed


# --- operators -----------------------------------------------------------------------------------


def operator(dtype: str, **parts: Any) -> LinearOperator:
    x = support.gaussian(6, 5, dtype=dtype).astype(dtype)
    given = {
        "matmul": lambda b: x @ b,
        "rmatmul": lambda b: adjoint(x) @ b,
        "energy": np.asarray((np.abs(x) ** 2).sum()),
    }
    given |= {name: part(x) for name, part in parts.items()}
    return LinearOperator(given["matmul"], given["rmatmul"], (6, 5), x[:0], given["energy"])


def writing(x: Any) -> Callable[[Any], Any]:
    def product(b: Any) -> Any:
        y = x @ b
        b *= 2.0
        return y

    return product


OPERATORS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "twice the adjoint": {"rmatmul": lambda x: lambda b: 2 * (adjoint(x) @ b)},
    "minus the adjoint": {"rmatmul": lambda x: lambda b: -(adjoint(x) @ b)},
    "the inverse": {"rmatmul": lambda x: lambda b: np.linalg.pinv(x) @ b},
    "an adjoint of other rows": {"rmatmul": lambda x: lambda b: adjoint(x)[::-1] @ b},
    "affine": {"matmul": lambda x: lambda b: x @ b + x.dtype.type(1)},
    "columns are mixed": {"matmul": lambda x: lambda b: x @ np.cumsum(b, axis=-1)},
    "the wrong shape": {"matmul": lambda x: lambda b: (x @ b)[:-1]},
    "another dtype": {"matmul": lambda x: lambda b: (x @ b).astype("complex256")},
    "the root of the energy": {"energy": lambda x: np.sqrt((np.abs(x) ** 2).sum())},
    "it writes to its block": {"matmul": writing},
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("name", OPERATORS)
def test_wrong_operators(name: str, dtype: str) -> None:
    assert testing.check_operator(operator(dtype)).passed
    assert not testing.check_operator(operator(dtype, **OPERATORS[name])).passed


@COMPLEX
def test_operators_without_a_conjugate(dtype: str) -> None:
    wrong = operator(dtype, rmatmul=lambda x: lambda b: np.swapaxes(x, -1, -2) @ b)
    report = testing.check_operator(wrong)
    assert any("adjoint" in line for line in report.failures)


# --- rules ---------------------------------------------------------------------------------------


class Rule:
    """Gradient descent with momentum, and a fault."""

    def __init__(self, fault: str) -> None:
        self.fault, self.calls = fault, 0

    def init(self, x: Any) -> Any:
        if self.fault == "a list for a state":
            return [0 * x]
        return {"buffer": 0 * x, "t": np.zeros((), "int32")}

    def update(self, x: Any, grad: Any, state: Any, *, value: Any = None) -> Any:
        fault, self.calls = self.fault, self.calls + 1
        buffer = 0.9 * state["buffer"] + grad
        t, size = state["t"] + 1, x.dtype.type(0.1)
        match fault:
            case "broken at step 0":
                size = size / x.dtype.type(state["t"])
            case "NaN at a zero gradient":
                size = size * length(grad)[..., None, None] / length(grad)[..., None, None]
            case "uphill":
                size = -size
            case "it writes to the point":
                x -= size * buffer
                return x.copy(), {"buffer": buffer, "t": t}
            case "it writes to the state":
                state["buffer"] *= 0
            case "another dtype in the state":
                t = t.astype("float64")
            case "another key in the state":
                return x - size * buffer, {"buffer": buffer, "t": t, "first": grad}
            case "a stack is one matrix":
                size = size / x.dtype.type(1 + np.abs(buffer).max())
            case "not pure":
                size = size * x.dtype.type(self.calls)
            case "for tall matrices":
                size = size if x.shape[-2] >= x.shape[-1] else -size
            case "double precision":
                size = np.asarray(0.1)
        return x - size * buffer, {"buffer": buffer, "t": t}


RULES = (
    "broken at step 0",
    "NaN at a zero gradient",
    "uphill",
    "it writes to the point",
    "it writes to the state",
    "another dtype in the state",
    "another key in the state",
    "a stack is one matrix",
    "not pure",
    "for tall matrices",
    "double precision",
    "a list for a state",
)


@pytest.mark.parametrize("fault", RULES)
def test_wrong_rules(fault: str) -> None:
    assert testing.check_rule(Rule(""), dtype="float32").passed
    assert not testing.check_rule(Rule(fault), dtype="float32").passed


def test_a_rule_that_is_right_but_for_a_schedule_that_starts_late() -> None:
    late = rules.SpectralDescent(lambda t, **_: 1.0 / t)
    report = testing.check_rule(late)
    assert any(line.startswith(("step 0", "error")) for line in report.failures)


# --- problems ------------------------------------------------------------------------------------


class Distance:
    """The nuclear norm of x - truth plus half its square, and a fault."""

    def __init__(self, fault: str) -> None:
        self.fault, self.calls = fault, 0
        self.truth = support.gaussian(4, 3, seed=5)

    def start(self) -> Any:
        return 0 * self.truth

    def sample(self, t: int) -> Any:
        self.calls += self.fault == "samples of a generator"
        return support.gaussian(1, seed=t + self.calls)

    def error(self, x: Any) -> Any:
        return length(x - self.truth) + (self.fault == "an error of the truth")

    def value_and_grad(self, x: Any, sample: Any) -> Any:
        z = x - self.truth
        u, s, vh = np.linalg.svd(z, full_matrices=False)
        value, grad = s.sum() + 0.5 * length(z) ** 2, u @ vh + z
        match self.fault:
            case "minus the gradient":
                grad = -grad
            case "a gradient without a part":
                grad = grad - z
            case "half of the gradient":
                grad = 0.5 * grad
            case "NaN at the truth":
                grad = grad * (s.sum() / s.sum())
            case "a gradient of another shape":
                grad = np.swapaxes(grad, -1, -2)
            case "it writes to the point":
                x += 1.0
            case "single precision":
                grad = grad.astype("float32")
        return value, grad


PROBLEMS = (
    "samples of a generator",
    "an error of the truth",
    "minus the gradient",
    "a gradient without a part",
    "half of the gradient",
    "NaN at the truth",
    "a gradient of another shape",
    "it writes to the point",
    "single precision",
)


@pytest.mark.parametrize("fault", PROBLEMS)
def test_wrong_problems(fault: str) -> None:
    assert testing.check_problem(Distance(""), is_convex=True).passed
    assert not testing.check_problem(Distance(fault)).passed


def test_subgradients_that_are_none() -> None:
    """At a corner differences say nothing; the inequality does."""

    class Corner(Distance):
        def value_and_grad(self, x: Any, sample: Any) -> Any:
            value, grad = super().value_and_grad(x, sample)
            return value, grad + 50.0 * (x == self.truth).all()

    assert testing.check_problem(Corner("")).passed
    assert not testing.check_problem(Corner(""), is_convex=True).passed


def test_a_problem_needs_a_point() -> None:
    with pytest.raises(TypeError, match="start"):
        testing.check_problem(problem_without_start())


def problem_without_start() -> Any:
    class Bare:
        def value_and_grad(self, x: Any) -> Any:
            return (x**2).sum() / 2, x

    return Bare()
