"""The property tests for users pass everything of the package, in every precision."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from specdesc import (
    LinearOperator,
    norms,
    preconditioners,
    problems,
    prox,
    rules,
    schedules,
    testing,
)
from tests import oracles, support

NORMS = {
    "Spectral": norms.Spectral(),
    "Spectral, by products": norms.Spectral(tol=1e-12, floor=1e-9),
    "Nuclear": norms.Nuclear(),
    "Frobenius": norms.Frobenius(),
    "Max": norms.Max(),
    "Columns": norms.Columns(),
    "Rows": norms.Rows(),
    "KyFan": norms.KyFan(2),
    "KyFanDual": norms.KyFanDual(2),
}
SMOOTH = preconditioners.Sqrt(eps=0.3)
RULES = {
    "SpectralDescent": rules.SpectralDescent(0.5, weight_decay=0.1),
    "SpectralDescent, schedule": rules.SpectralDescent(schedules.geometric(0.5, 0.9)),
    "SpectralDescent, value": rules.SpectralDescent(schedules.polyak()),
    "SpectralDescent, momentum": rules.SpectralDescent(0.5, beta=0.9, error_feedback=True),
    "SpectralDescent, ball": rules.SpectralDescent(0.5, g=prox.SpectralBall(1.0)),
    "TruncatedSpectralDescent": rules.TruncatedSpectralDescent(2, 0.5),
    "TruncatedSpectralDescent, rank": rules.TruncatedSpectralDescent(2, 0.5, g=prox.Rank(2)),
    "Muon": rules.Muon(0.1),
    "Muon, decay": rules.Muon(0.1, weight_decay=0.1, nesterov=False),
    "Muon, feedback": rules.Muon(0.1, error_feedback=True),
    "Scion": rules.Scion(0.1),
    "Scion, columns": rules.Scion(0.1, norm=norms.Columns(), constrained=False),
    "AdamW": rules.AdamW(0.1),
    "SignDescent": rules.SignDescent(0.1),
    "NormalizedGradient": rules.NormalizedGradient(0.1),
    "ProximalSpectral": rules.ProximalSpectral(
        0.1, preconditioner=SMOOTH, g=prox.SpectralBall(1.0)
    ),
    "ProximalStorm": rules.ProximalStorm(0.1, preconditioner=SMOOTH, g=prox.Nuclear(0.1)),
}

Check = Callable[..., testing.Report]


def checks() -> dict[str, Check]:
    """Return every object behind its check, which takes dtype, backend and seed."""
    found: dict[str, Check] = {}
    for name, g in oracles.FUNCTIONS.items():
        shape = (3, 3) if name in oracles.HERMITIAN else (4, 3)
        found[f"prox {name}"] = lambda g=g, shape=shape, **o: testing.check_prox(
            g, shape=shape, **o
        )
    scaled = prox.Scaled(prox.Huber(0.8, 0.5), 2.0, -0.5)
    found["prox Scaled"] = lambda **o: testing.check_prox(scaled, **o)
    for name, norm in NORMS.items():
        found[f"norm {name}"] = lambda norm=norm, **o: testing.check_norm(norm, **o)
    for i, (name, kernel) in enumerate(oracles.KERNELS.items()):
        others = ("elementwise", "global", "rows", "columns")
        for geometry in ("spectral", others[i % 4]):
            p = kernel(eps=0.5, geometry=geometry)
            found[f"{name} {geometry}"] = lambda p=p, **o: testing.check_preconditioner(p, **o)
    for name, rule in RULES.items():
        found[f"rule {name}"] = lambda rule=rule, **o: testing.check_rule(rule, **o)
    return found


CHECKS = checks()
#: What costs little where every operation is compiled.
FEW = ("prox L1", "norm Max")


def hold(name: str, dtype: str | None, backend: str = "numpy") -> None:
    if (dtype or "").startswith("complex") and name.rsplit(maxsplit=1)[-1] in oracles.REAL:
        return
    report = CHECKS[name](dtype=dtype, backend=backend, seed=1)
    assert report.passed, (dtype, report)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64"])
@pytest.mark.parametrize("name", CHECKS)
def test_in_low_precision(name: str, dtype: str) -> None:
    hold(name, dtype)


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", CHECKS)
def test_in_double_precision(name: str, dtype: str) -> None:
    hold(name, dtype)


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "complex128"])
@pytest.mark.parametrize("name", CHECKS)
def test_on_torch(name: str, dtype: str) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    hold(name, dtype, "torch")


@pytest.mark.thorough
@pytest.mark.parametrize("backend", ["jax"])
@pytest.mark.parametrize(
    "name",
    [name if name in FEW else pytest.param(name, marks=pytest.mark.exhaustive) for name in CHECKS],
)
def test_without_double_precision(name: str, backend: str) -> None:
    """JAX makes no float64 unless it is told to: the default dtype is float32 then."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    with jax.enable_x64(False):
        hold(name, None, backend)


def test_a_function_of_one_shape() -> None:
    weights = np.abs(support.gaussian(4, 3))

    def apply(y: Any, t: float) -> Any:
        return (np.sign(y) * np.maximum(np.abs(y) - t * weights, 0)).astype(y.dtype)

    def value(x: Any) -> Any:
        return (weights * np.abs(x)).sum((-2, -1))

    assert testing.check_prox(apply, value, is_convex=True, transposed=False).passed
    assert not testing.check_prox(apply, value, is_convex=True).passed


# --- operators and problems ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("shape", [(6, 5), (5, 6), (1, 4)], ids=str)
def test_operators(shape: tuple[int, int], dtype: str) -> None:
    x = support.gaussian(*shape, dtype=dtype).astype(dtype)
    energy = np.asarray((np.abs(x) ** 2).sum())
    operator = LinearOperator(lambda b: x @ b, lambda b: x.conj().T @ b, shape, x[:0], energy)
    report = testing.check_operator(operator)
    assert report.passed, report


PROBLEMS: dict[str, Callable[..., Any]] = {
    "regression": lambda **o: problems.random_regression(4, 3, rank=2, count=20, **o),
    "recovery": lambda **o: problems.random_recovery(6, 1, measurements=50, outliers=0.1, **o),
    "completion": lambda **o: problems.random_completion(6, 1, observed=0.6, outliers=0.1, **o),
    "quadratic": lambda **o: problems.random_quadratic(4, 3, seeds=(1, 2), **o),
}


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_problems(name: str, dtype: str, backend: str) -> None:
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    problem = PROBLEMS[name](backend=backend, dtype=dtype)
    report = testing.check_problem(problem, is_convex=name != "quadratic")
    assert report.passed, report


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_problems_of_arrays(dtype: str) -> None:
    truth = support.gaussian(4, 4, seed=1).astype(dtype)
    inputs = support.gaussian(40, 5, seed=4).astype(dtype)
    labels = np.eye(3, dtype=dtype)[np.argmax(inputs[:, :3], axis=1)]
    leaf = problems.random_quadratic(1, 1).backend
    classes = problems.MultinomialRegression(inputs, labels, 0.1, 8, 5, leaf)
    net = problems.Perceptron(inputs, labels, 8, 5, leaf)
    x = support.gaussian(2, 2).astype(dtype)
    for report in (
        testing.check_problem(problems.NuclearDistance(truth, 0.5), is_convex=True),
        testing.check_problem(problems.TraceLocked(0.7, centre=0.5), x, is_convex=True),
        testing.check_problem(problems.TraceLocked(0.7, 0.5, form="entrywise"), x, is_convex=True),
        testing.check_problem(classes, is_convex=True),
        testing.check_problem(net, net.start((4,), seed=0)),
    ):
        assert report.passed, report
