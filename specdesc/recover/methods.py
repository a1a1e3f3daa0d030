"""The methods of the report: ours and the baselines, each with its clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from specdesc import rules
from specdesc._lib import extras
from specdesc._lib.typing import Array
from specdesc._minimize import minimize
from specdesc.backends import Backend
from specdesc.problems import RobustRecovery, principal_component_pursuit
from specdesc.prox import Rank

DESCENTS = {
    "truncated": "truncated spectral descent",
    "spectral": "spectral descent",
    "subgradient": "projected subgradient",
}


#: The gap at which pursuit stops: on photographs smaller ones change nothing that can be seen.
PURSUIT_TOL = 1e-4

#: Steps between two errors: measuring them is part of the seconds that the table shows.
ERROR_EVERY = 10


@dataclass(frozen=True)
class Outcome:
    """What one method made of the data.

    Attributes
    ----------
    method : str
        Its name in the report.
    backend, device : str
        Where it ran.
    values : NumPy array
        The recovered matrix or stack.
    seconds : float
        Wall time, the device synchronised.
    losses : tuple of float
        The mean absolute residual at every step, averaged over a stack; empty for baselines.
    errors : tuple of float
        The relative error at every tenth step, empty also where the truth is not known.
    """

    method: str
    backend: str
    device: str
    values: Array
    seconds: float
    losses: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()


def descend(method: str, problem: RobustRecovery, rank: int, steps: int, /) -> Outcome:
    """Run one of `DESCENTS` with the projection onto the matrices of this rank."""
    rule = _rule(method, problem, rank, steps)
    losses: list[Array] = []
    errors: list[Array] = []

    def note(t: int, x: Array, value: Array) -> None:
        losses.append(value)
        if problem.truth is not None and t % ERROR_EVERY == 0:
            errors.append(problem.error(x))

    def solve() -> Array:
        return minimize(
            problem.value_and_grad,
            problem.start(),
            rule,
            steps=steps,
            callback=note,
            progress=extras.installed("tqdm"),
        ).x

    outcome = _timed(DESCENTS[method], solve, problem)
    return replace(outcome, losses=_means(losses, problem), errors=_means(errors, problem))


def _means(rows: list[Array], problem: RobustRecovery) -> tuple[float, ...]:
    return tuple(float(problem.backend.to_host(row).mean()) for row in rows)


def truncated_svd(problem: RobustRecovery, rank: int, /) -> Outcome:
    """Keep the leading triplets of the data as they are; missing entries become the median."""

    def solve() -> Array:
        xp = problem.backend.xp
        seen = problem.observation.apply(xp.ones_like(problem.observed)) == 1
        return Rank(rank).prox(xp.where(seen, problem.observed, problem.start()))

    return _timed("truncated SVD", solve, problem)


def pursuit(problem: RobustRecovery, /) -> Outcome:
    """Run principal component pursuit, which needs no rank."""

    def solve() -> Array:
        xp = problem.backend.xp
        seen = problem.observation.apply(xp.ones_like(problem.observed)) == 1
        return principal_component_pursuit(problem.observed, mask=seen, tol=PURSUIT_TOL)[0]

    return _timed("principal component pursuit", solve, problem)


def _rule(method: str, problem: RobustRecovery, rank: int, steps: int) -> rules.Rule:
    g = Rank(rank)
    if method == "truncated":
        return rules.TruncatedSpectralDescent(rank, problem.geometric_steps(rank, steps), g=g)
    if method == "spectral":
        full = min(problem.observed.shape[-2:])
        return rules.SpectralDescent(problem.geometric_steps(full, steps), g=g)
    # A normalized gradient has Frobenius norm 1, the norm of a spectral step of rank one.
    return rules.NormalizedGradient(problem.geometric_steps(1, steps), g=g)


def _timed(name: str, solve: Callable[[], Array], problem: RobustRecovery) -> Outcome:
    backend: Backend = problem.backend
    backend.synchronize()
    begin = time.perf_counter()
    x = solve()
    backend.synchronize()
    seconds = time.perf_counter() - begin
    device = str(backend.device(problem.observed) or backend.devices()[0])
    return Outcome(name, backend.name, device, backend.to_host(x), seconds)
