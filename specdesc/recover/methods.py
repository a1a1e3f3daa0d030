"""The methods of the report: ours and the baselines, each with its clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy

from specdesc import rules, schedules
from specdesc._lib.typing import Array
from specdesc._minimize import minimize
from specdesc.backends import Backend
from specdesc.problems import RobustRecovery, principal_component_pursuit
from specdesc.problems.observation import Entries
from specdesc.problems.robust_recovery import LAST_STEP
from specdesc.prox import Rank
from specdesc.recover import filters

DESCENTS = {
    "truncated": "truncated spectral descent",
    "spectral": "spectral descent",
    "subgradient": "projected subgradient",
}

BASELINES = {
    "median": "median filter",
    "time": "median over time",
    "svd": "truncated SVD",
    "pursuit": "principal component pursuit",
}

#: What ``--keep`` calls the methods.
NAMES = {**DESCENTS, **BASELINES}

#: The gap at which pursuit stops: on photographs smaller ones change nothing that can be seen.
PURSUIT_TOL = 1e-4

#: The share of the default steps for a descent from a start that is near.
CLOSE = 0.1

#: Entries whose median is taken for that of all.
SORTED = 1 << 20

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
    held_out : float
        The mean absolute error on entries that the method did not see; NaN where none was kept.
    held_out_errors : NumPy array or None
        The single ones.
    """

    method: str
    backend: str
    device: str
    values: Array
    seconds: float
    losses: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    held_out: float = float("nan")
    held_out_errors: Array | None = None

    @property
    def key(self) -> str:
        """Return what ``--keep`` calls the method."""
        return next((key for key, name in NAMES.items() if name == self.method), self.method)


def run(
    key: str,
    problem: RobustRecovery,
    rank: int,
    steps: int,
    progress: bool,
    start: Array | None = None,
    /,
) -> Outcome:
    """Run the method that a key of `NAMES` stands for; a descent from a start on the host."""
    if key == "pursuit":
        return pursuit(problem)
    if key == "svd":
        return truncated_svd(problem, rank)
    if key in ("median", "time"):
        return median(key, problem)
    return descend(key, problem, rank, steps, progress=progress, start=start)


def joined(outcomes: list[Outcome], /) -> Outcome:
    """Return the outcomes on the matrices of a stack, run one after another, as one."""
    if len(outcomes) == 1:
        return outcomes[0]
    return replace(
        outcomes[0],
        values=numpy.stack([outcome.values for outcome in outcomes]),
        seconds=sum(outcome.seconds for outcome in outcomes),
        losses=_averaged([outcome.losses for outcome in outcomes]),
        errors=_averaged([outcome.errors for outcome in outcomes]),
    )


def _averaged(curves: list[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(sum(heights) / len(heights) for heights in zip(*curves, strict=False))


def descend(
    method: str,
    problem: RobustRecovery,
    rank: int,
    steps: int,
    /,
    *,
    progress: bool = False,
    start: Array | None = None,
) -> Outcome:
    """Run one of `DESCENTS` with the projection onto the matrices of this rank.

    From the median everywhere, or with a tenth of the steps from a start on the host.
    """
    rule = _rule(method, problem, rank, steps, 1.0 if start is None else CLOSE)
    losses: list[Array] = []
    errors: list[Array] = []

    def note(t: int, x: Array, value: Array) -> None:
        losses.append(value)
        if problem.truth is not None and t % ERROR_EVERY == 0:
            errors.append(problem.error(x))

    def solve() -> Array:
        return minimize(
            problem.value_and_grad,
            _start(problem) if start is None else _on(problem, start),
            rule,
            steps=steps,
            callback=note,
            progress=progress,
        ).x

    outcome = _timed(DESCENTS[method], solve, problem)
    return replace(outcome, losses=_means(losses, problem), errors=_means(errors, problem))


def _means(rows: list[Array], problem: RobustRecovery) -> tuple[float, ...]:
    return tuple(float(problem.backend.to_host(row).mean()) for row in rows)


def truncated_svd(problem: RobustRecovery, rank: int, /) -> Outcome:
    """Keep the leading triplets of the data as they are; missing entries become the median."""

    def solve() -> Array:
        xp = problem.backend.xp
        return Rank(rank).prox(xp.where(_seen(problem), problem.observed, problem.start()))

    return _timed(BASELINES["svd"], solve, problem)


def pursuit(problem: RobustRecovery, /) -> Outcome:
    """Run principal component pursuit, which needs no rank."""

    def solve() -> Array:
        seen = _seen(problem)
        return principal_component_pursuit(problem.observed, mask=seen, tol=PURSUIT_TOL)[0]

    return _timed(BASELINES["pursuit"], solve, problem)


def median(key: str, problem: RobustRecovery, /) -> Outcome:
    """Take medians of neighbours in a picture, or of frames over time, on the host."""
    to_host = problem.backend.to_host
    values = to_host(problem.observed)
    values[~to_host(_seen(problem))] = float("nan")
    function = filters.median_over_time if key == "time" else filters.median_filter
    begin = time.perf_counter()
    found = function(values)
    seconds = time.perf_counter() - begin
    return Outcome(BASELINES[key], problem.backend.name, "host", found, seconds)


def _seen(problem: RobustRecovery) -> Array:
    xp = problem.backend.xp
    return problem.observation.apply(xp.ones_like(problem.observed)) == 1


def _rule(
    method: str, problem: RobustRecovery, rank: int, steps: int, share: float = 1.0
) -> rules.Rule:
    g = Rank(rank)
    if method == "truncated":
        return rules.TruncatedSpectralDescent(rank, _sizes(problem, rank, steps, share), g=g)
    if method == "spectral":
        full = min(problem.observed.shape[-2:])
        return rules.SpectralDescent(_sizes(problem, full, steps, share), g=g)
    # A normalized gradient has Frobenius norm 1, the norm of a spectral step of rank one.
    return rules.NormalizedGradient(_sizes(problem, 1, steps, share), g=g)


def _on(problem: RobustRecovery, values: Array) -> Array:
    """Return values of the host next to the data of a problem."""
    backend, like = problem.backend, problem.observed
    x = backend.from_host(values, dtype=str(like.dtype).rsplit(".", 1)[-1])
    return backend.xp.asarray(x, device=backend.device(like))


def _thinned(problem: RobustRecovery) -> RobustRecovery:
    """Return the problem, or evenly spaced rows and columns of a large one.

    Medians of these stand for those of all: to sort all entries takes longer than some steps.
    """
    m, n = problem.observed.shape[-2:]
    thin = max(1, round((m * n / SORTED) ** 0.5))
    if thin == 1 or not isinstance(problem.observation, Entries):
        return problem
    part = (..., slice(None, None, thin), slice(None, None, thin))
    mask = problem.observation.mask
    return RobustRecovery.from_entries(
        problem.observed[part], mask=None if mask is None else mask[part]
    )


def _start(problem: RobustRecovery) -> Array:
    """Return the median of each matrix everywhere, as a view of one number."""
    centre = _thinned(problem).start()[..., :1, :1]
    return problem.backend.xp.broadcast_to(centre, tuple(problem.observed.shape))


def _sizes(
    problem: RobustRecovery, rank: int, steps: int, share: float = 1.0
) -> schedules.Schedule:
    """Return a share of the default step sizes, which are ``sqrt(m n)`` times a median."""
    part = _thinned(problem)
    (m, n), (a, b) = problem.observed.shape[-2:], part.observed.shape[-2:]
    first = part.geometric_steps(rank, steps)(0) * (share * (m * n / (a * b)) ** 0.5)
    return schedules.geometric(first, LAST_STEP ** (1.0 / max(1, steps)))


def _timed(name: str, solve: Callable[[], Array], problem: RobustRecovery) -> Outcome:
    backend: Backend = problem.backend
    backend.synchronize()
    begin = time.perf_counter()
    x = solve()
    backend.synchronize()
    seconds = time.perf_counter() - begin
    device = str(backend.device(problem.observed) or backend.devices()[0])
    return Outcome(name, backend.name, device, backend.to_host(x), seconds)
