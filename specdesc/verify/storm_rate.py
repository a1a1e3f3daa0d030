"""The rate of the variance-reduced proximal spectral method, at equal gradients."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from specdesc.rules import ProximalSpectral, ProximalStorm
from specdesc.schedules import heavy_tailed, storm
from specdesc.verify import rates
from specdesc.verify.claim import Claim, Finding, Verdict
from specdesc.verify.rates import Lane
from specdesc.verify.trial import Trial

STORM, MOMENTUM, CHEAP = "STORM", "momentum", "STORM, one gradient"

#: name -> gradients a step
RUNS = {STORM: 2, MOMENTUM: 1, CHEAP: 1}
EXPONENT = -1 / 3

#: name -> scale of what is added to gradients, and of the factor that grows with the gradient.
NOISES = {
    "relative 0.3": (0.0, 0.3),
    "relative 0.3, added 0.3": (0.3, 0.3),
    "relative 0.3, added 3": (3.0, 0.3),
}

QUICK_NOISES = ("relative 0.3, added 0.3",)

#: Degrees of freedom: nearly normal.
TAIL = 50.0


def run(trial: Trial, /) -> Finding:
    """Tune each method at one budget, then compare at equal gradients, with and without noise."""
    budgets, seeds = rates.lengths(trial), rates.seeds(trial)
    noises = trial.pick(QUICK_NOISES, tuple(NOISES))
    factors = {
        name: {
            noise: trial.cell(f"factors of {name}, {noise}", partial(_factors, trial, name, noise))
            for noise in noises
        }
        for name in RUNS
    }
    runs = {
        name: [
            trial.cell(
                f"{name} gradients={budget}", partial(_rows, trial, name, budget, factors[name])
            )
            for budget in budgets
        ]
        for name in RUNS
    }
    found: dict[str, dict[str, dict[str, Any]]] = {
        noise: {name: _slopes(budgets, runs[name], noise) for name in RUNS} for noise in noises
    }
    against = {
        noise: rates.quotient(each[STORM]["rows"][-1], each[MOMENTUM]["rows"][-1])
        for noise, each in found.items()
    }
    verdicts = {noise: _verdict(found[noise][STORM], against[noise]) for noise in noises}
    numbers = {
        "gradients": list(budgets),
        "seeds": len(seeds),
        "slope": _each(found, "slope"),
        "95 % interval": _each(found, "interval"),
        "promised exponent": EXPONENT,
        "stationarity, last half": _each(found, "means"),
        "the same without noise": _each(found, "control"),
        "slope without noise": _each(found, "control slope"),
        "STORM / momentum at the last budget, interval": against,
        "factors": factors,
        "verdict by noise": verdicts,
    }
    return Finding(
        rates.worst(verdicts.values()),
        _sentence(trial, found, against, factors),
        numbers,
        partial(_draw, budgets, found),
    )


CLAIM = Claim(
    "storm-rate",
    "With the steps of the theorem, their factors tuned once, the stationarity measure over the "
    "last half of the variance-reduced proximal spectral method falls as K^(-1/3) in the number of "
    "gradients, two a step, or faster (slope at most 0.05 above the exponent), wherever noise "
    "dominates it; and at equal gradients it then ends below momentum whose factors are tuned "
    "likewise.",
    "K^(-1/3) and faster convergence by variance reduction are arXiv:2605.11850 (secondary, "
    "abstract); measure, constants and set-up are our reconstruction (derived)",
    run,
)

#: What the key of a run without noise ends with.
CONTROL = ", silent"


def _lane(name: str, steps: int, noise: str, step: float, alpha: float) -> Lane:
    schedule = heavy_tailed if name == MOMENTUM else storm
    size, beta = schedule(steps, step=step, alpha=alpha)
    added, relative = NOISES[noise]
    return Lane(added, relative, float(size(0)), float(beta(0)))


def _rule(name: str) -> Callable[..., ProximalSpectral | ProximalStorm]:
    if name == MOMENTUM:
        return ProximalSpectral
    return partial(ProximalStorm, approximate=name == CHEAP)


def _factors(trial: Trial, name: str, noise: str) -> dict[str, Any]:
    steps = rates.tuning_length(trial) // RUNS[name]
    return rates.tune(trial, partial(_lane, name, steps, noise), steps, TAIL, _rule(name))


def _rows(
    trial: Trial, name: str, budget: int, factors: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[float]]:
    """Return the measures of one method at one budget, with and without each noise."""
    steps = budget // RUNS[name]
    lanes: dict[str, Lane] = {}
    for noise in factors:
        lane = _lane(name, steps, noise, factors[noise]["step"], factors[noise]["alpha"])
        lanes[noise] = lane
        lanes[f"{noise}{CONTROL}"] = Lane(0.0, 0.0, lane.step, lane.beta)
    seeds = rates.seeds(trial)
    rows = rates.measured(trial, list(lanes.values()), steps, seeds, TAIL, _rule(name))
    return dict(zip(lanes, rows, strict=True))


def _slopes(
    budgets: Sequence[int], runs: Sequence[Mapping[str, list[float]]], noise: str
) -> dict[str, Any]:
    without = rates.slopes(budgets, [each[f"{noise}{CONTROL}"] for each in runs])
    return rates.slopes(budgets, [each[noise] for each in runs]) | {
        "control": without["means"],
        "control slope": without["slope"],
    }


def _verdict(each: Mapping[str, Any], against: Sequence[float]) -> Verdict:
    """Return the verdict for one noise; undecided where the noise does not dominate."""
    if not rates.dominated(each):
        return "undecided"
    _, low, high = against
    ahead: Verdict = "holds" if high < 1.0 else "fails" if low > 1.0 else "undecided"
    return rates.worst((rates.verdict(each, EXPONENT), ahead))


def _sentence(
    trial: Trial,
    found: Mapping[str, Mapping[str, Mapping[str, Any]]],
    against: Mapping[str, Sequence[float]],
    factors: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> str:
    budgets = rates.lengths(trial)
    parts = [
        f"Slopes over {len(budgets)} budgets to {budgets[-1]} gradients and "
        f"{len(rates.seeds(trial))} seeds, factors of every method tuned on other seeds at the "
        "smallest budget, for each noise."
    ]
    for noise, each in found.items():
        exact, (middle, low, high) = each[STORM], against[noise]
        parts.append(
            f"{noise[0].upper()}{noise[1:]}: {rates.told(exact)}, promised {EXPONENT:.2f}; "
            f"without noise {exact['control slope']:.2f}, and the last measure "
            f"{exact['control'][-1] / exact['means'][-1]:.1g} times that with it"
            + ("" if rates.dominated(exact) else " (noise does not dominate: it says nothing)")
            + f"; STORM ends at {middle:.2f} [{low:.2f}, {high:.2f}] times the measure of "
            f"momentum, whose slope is {each[MOMENTUM]['slope']:.2f}, and its form with one "
            f"gradient a step at {each[CHEAP]['means'][-1] / each[MOMENTUM]['means'][-1]:.2f} "
            "times."
        )
    edge = [
        f"{name}, {noise}"
        for name, each in factors.items()
        for noise, one in each.items()
        if not one["inside"]
    ]
    if edge:
        parts.append(f"The search of factors did not end for {'; '.join(edge)}.")
    return " ".join(parts)


def _each(
    found: Mapping[str, Mapping[str, Mapping[str, Any]]], part: str
) -> dict[str, dict[str, Any]]:
    return {noise: {name: one[part] for name, one in each.items()} for noise, each in found.items()}


def _draw(
    budgets: tuple[int, ...], found: Mapping[str, dict[str, dict[str, Any]]], figure: Any
) -> None:
    axes = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axis, (noise, each) in zip(axes, found.items(), strict=True):
        rates.draw(axis, budgets, each, EXPONENT)
        axis.set_xlabel("gradients")
        axis.set_title(noise, fontsize="medium")
    axes[0].set_ylabel("stationarity, last half\ndashed: without noise, dotted: exponent")
