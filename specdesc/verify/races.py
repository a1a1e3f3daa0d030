"""Recoveries side by side: the methods, their steps, and what they reach."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from specdesc._lib.typing import Array
from specdesc.problems import RobustRecovery
from specdesc.prox import Rank
from specdesc.rules import NormalizedGradient, Rule, SpectralDescent, TruncatedSpectralDescent
from specdesc.schedules import Schedule
from specdesc.verify.curves import follow
from specdesc.verify.trial import Trial

#: What counts as recovered.
GOAL = 1e-6

SPECTRAL = "SD"
SUBGRADIENT = "subgradient"


def truncated(k: int, /) -> str:
    """Return the name of truncated descent with k pairs."""
    return f"TSD k={k}"


@dataclass(frozen=True)
class Geometric:
    """Steps c ||X*||_F / sqrt(k) q^t, k being the rank of a step: 1 for a subgradient."""

    q: float
    c: float


def method(name: str, steps: Schedule, /, *, rank: int | None = None) -> Rule:
    """Return the rule of this name; with a rank the iterate is projected onto it at each step."""
    g = None if rank is None else Rank(rank)
    if name == SPECTRAL:
        return SpectralDescent(steps, g=g)
    if name == SUBGRADIENT:
        return NormalizedGradient(steps, g=g)
    return TruncatedSpectralDescent(pairs(name, 0), steps, g=g, tol=None)


def pairs(name: str, n: int, /) -> int:
    """Return the rank of a step of this method on n by n matrices."""
    if name == SPECTRAL:
        return n
    return 1 if name == SUBGRADIENT else int(name.removeprefix("TSD k="))


def steps_of(name: str, setting: Geometric, problem: RobustRecovery, /) -> Schedule:
    """Return the steps of a method; they use the norm of the truth, the same for all methods."""
    start = problem.start()
    size = size_of_truth(problem)
    first = setting.c / pairs(name, start.shape[-1]) ** 0.5 * size

    def schedule(t: float | Array, **_: object) -> Array:
        return first * setting.q**t

    return schedule


def size_of_truth(problem: RobustRecovery, /) -> Array:
    """Return the Frobenius norm of the truth of each matrix."""
    xp = problem.backend.xp
    return xp.sqrt(xp.sum(xp.asarray(problem.truth) ** 2, axis=(-2, -1)))


def errors(
    trial: Trial,
    problem: RobustRecovery,
    name: str,
    setting: Geometric,
    steps: int,
    /,
    *,
    rank: int | None = None,
) -> Array:
    """Return the relative error at every step, a host array (steps + 1, ...)."""
    rule = method(name, steps_of(name, setting, problem), rank=rank)
    return follow(
        problem.value_and_grad,
        problem.start(),
        rule,
        steps,
        lambda x, _: problem.error(x),
        trial.backend,
    )


def first_below(curve: Sequence[float], goal: float = GOAL, /) -> int | None:
    """Return the first step whose height is below the goal, None if there is none."""
    return next((t for t, height in enumerate(curve) if height < goal), None)


def score(curve: Sequence[float], /) -> float:
    """Return how late a run arrives, for a choice of steps; less is better."""
    arrival = first_below(curve)
    # A late arrival beats none; an error beyond 1 is no worse than 1.
    missed = len(curve) * (2.0 + min(float(curve[-1]), 1.0))
    return missed if arrival is None else float(arrival)


def joined(trial: Trial, each: Sequence[RobustRecovery], /) -> RobustRecovery:
    """Return recoveries that differ in their outliers and noise alone as one stack."""
    observed = trial.backend.xp.stack([problem.observed for problem in each])
    matrices = each[0].observation.matrices  # type: ignore[attr-defined]
    return RobustRecovery.from_measurements(matrices, observed, truth=each[0].truth)


def summary(arrivals: Mapping[str, Sequence[int | None]], /) -> dict[str, list[int | None]]:
    """Return for each method the least and the largest arrival; None if one run never arrives."""
    return {
        name: [
            min((a for a in each if a is not None), default=None),
            None if None in each else max(a for a in each if a is not None),
        ]
        for name, each in arrivals.items()
    }
