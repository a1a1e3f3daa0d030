"""The problems: robust regressions, and two where spectral steps are the worse choice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy

from specdesc._lib.typing import Array
from specdesc.backends import Backend
from specdesc.problems import (
    geometric_covariance,
    random_recovery,
    random_robust_regression,
    spiked_covariance,
)
from specdesc.verify.trial import Trial

CONDITION = 100.0
OUTLIERS = 0.1

#: name -> covariance of n inputs
COVARIATES: dict[str, Callable[[int], Array | None]] = {
    "condition 100": lambda n: geometric_covariance(n, CONDITION),
    "one direction 100 times the rest": lambda n: spiked_covariance(n, CONDITION),
    "isotropic": lambda _: None,
}

STRUCTURED = "outliers that agree on another matrix"
FACTORS = "over-parametrised factorization"


@dataclass(frozen=True)
class Task:
    """One problem: an objective, where to begin, and how far the solution is.

    Attributes
    ----------
    value_and_grad : callable
        Takes a point or a stack of them.
    start : array, shape (m, n), or (2, m, n) for two factors
        Where to begin.
    error : callable
        Returns the relative error of each point.
    size : float
        The Frobenius norm of a matrix of the solution, in which steps are measured.
    least : float
        The value at the solution.
    backend : Backend
        That of the arrays.
    truth : array or None
        The solution, where a point is compared with it directly.
    stable_rank : float or None
        (||A||_F / ||A||_2)² of the inputs.
    """

    value_and_grad: Callable[[Array], tuple[Array, Array]]
    start: Array
    error: Callable[[Array], Array]
    size: float
    least: float
    backend: Backend
    truth: Array | None = None
    stable_rank: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Return the shape of a matrix."""
        return self.start.shape[-2], self.start.shape[-1]

    def array(self, values: Sequence[float], /) -> Array:
        """Copy numbers to the backend of the task."""
        return self.backend.from_host(numpy.asarray(values), dtype="float64")

    def starts(self, count: int, /) -> Array:
        """Return a stack of equal points."""
        xp = self.backend.xp
        return xp.broadcast_to(self.start, (count, *self.start.shape)) + xp.zeros_like(self.start)


def regression(trial: Trial, covariates: str, seed: int, /) -> Task:
    """Return a robust regression with inputs of this covariance."""
    n, count = trial.pick((8, 120), (20, 400))
    problem = random_robust_regression(
        n,
        n,
        count=count,
        outliers=OUTLIERS,
        covariance=COVARIATES[covariates](n),
        seed=seed,
        backend=trial.backend.name,
    )
    s = numpy.linalg.svd(trial.backend.to_host(problem.inputs), compute_uv=False)
    return Task(
        problem.value_and_grad,
        problem.start(),
        problem.error,
        _size(problem.truth, trial),
        float(problem.value_and_grad(problem.truth)[0]),
        trial.backend,
        truth=problem.truth,
        stable_rank=float((s**2).sum() / s[0] ** 2),
    )


def structured(trial: Trial, seed: int, /) -> Task:
    """Return Gaussian measurements, three tenths of which are those of another rank-2 matrix."""
    n = 20
    problem = random_recovery(
        n,
        2,
        measurements=5 * n * n,
        outliers=0.3,
        kind="structured",
        seed=seed,
        backend=trial.backend.name,
    )
    least = float(problem.value_and_grad(problem.truth)[0])
    return Task(
        problem.value_and_grad,
        problem.start(),
        problem.error,
        _size(problem.truth, trial),
        least,
        trial.backend,
        truth=problem.truth,
    )


def factorization(trial: Trial, seed: int, /) -> Task:
    """Return f(U, V) = mean abs(U Vᵀ - Y) with twice as many columns as the rank of the truth.

    The truth is 40 by 40 of rank 4 and condition 30, a tenth of the entries of Y is wrong by
    10 N(0, 1) times their root mean square, and the factors start small.
    """
    n, rank, columns = 40, 4, 8
    random = numpy.random.default_rng(seed)
    left, right = (numpy.linalg.qr(random.standard_normal((n, rank)))[0] for _ in range(2))
    truth = (left * numpy.geomspace(1.0, 1.0 / 30.0, rank)) @ right.T
    wrong = random.random((n, n)) < OUTLIERS
    spread = numpy.linalg.norm(truth) / n
    noisy = trial.array(truth + 10.0 * spread * wrong * random.standard_normal((n, n)))
    start = trial.array(1e-3 * random.standard_normal((2, n, columns)))
    solution, xp = trial.array(truth), trial.backend.xp
    norm = float(numpy.linalg.norm(truth))

    def parts(x: Array) -> tuple[Array, Array]:
        return x[..., 0, :, :], x[..., 1, :, :]

    def value_and_grad(x: Array) -> tuple[Array, Array]:
        u, v = parts(x)
        residual = xp.matmul(u, xp.matrix_transpose(v)) - noisy
        signs = xp.sign(residual) / (n * n)
        grads = (xp.matmul(signs, v), xp.matmul(xp.matrix_transpose(signs), u))
        value = xp.mean(xp.abs(residual), axis=(-2, -1))
        # One value a matrix: a rule looks at each factor by itself.
        return xp.stack([value, value], axis=-1), xp.stack(list(grads), axis=-3)

    def error(x: Array) -> Array:
        u, v = parts(x)
        rest = xp.matmul(u, xp.matrix_transpose(v)) - solution
        return xp.sqrt(xp.sum(rest * rest, axis=(-2, -1))) / norm

    least = float(xp.mean(xp.abs(solution - noisy)))
    return Task(value_and_grad, start, error, norm**0.5, least, trial.backend)


def _size(truth: Array | None, trial: Trial) -> float:
    return float(numpy.linalg.norm(trial.backend.to_host(truth)))
