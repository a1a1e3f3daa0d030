"""The rate of the proximal spectral method with momentum, under light and heavy tails."""

from functools import partial
from typing import Any

from specdesc.rules import ProximalSpectral
from specdesc.schedules import constant, heavy_tailed
from specdesc.verify import rates
from specdesc.verify.claim import Claim, Finding
from specdesc.verify.trial import Trial

#: name -> degrees of freedom, the p that the schedule is told, and whether there is momentum
RUNS = {
    "p = 2": (50.0, 2.0, True),
    "p = 1.5": (1.6, 1.5, True),
    "p = 1.5, steps of p = 2": (1.6, 2.0, True),
    "p = 2, no momentum": (50.0, 2.0, False),
}
PROMISED = {"p = 2": -1 / 4, "p = 1.5": -(1.5 - 1) / (3 * 1.5 - 2)}


def run(trial: Trial, /) -> Finding:
    """Measure slopes over run lengths, and what happens with other steps and without momentum."""
    lengths = rates.lengths(trial)
    seeds = rates.seeds(trial)
    found = {
        name: rates.slopes(
            lengths,
            [
                trial.cell(f"{name} K={length}", partial(_means, trial, name, length))
                for length in lengths
            ],
        )
        for name in RUNS
    }
    light, heavy, other, plain = (found[name] for name in RUNS)
    sentence = (
        f"Slopes over {len(lengths)} run lengths and {len(seeds)} seeds: {rates.told(light)} "
        f"(promised -0.25) with finite variance and {rates.told(heavy)} (promised -0.2) with "
        f"Student noise of 1.6 degrees of freedom. {rates.tightness(light, -0.25)} On the heavy "
        f"tails the steps for p = 2 give {rates.told(other)}, a promise that no theorem makes. "
        f"Without momentum the slope is {rates.told(plain)}: the noise is not averaged."
    )
    numbers = {
        "lengths": list(lengths),
        "seeds": len(seeds),
        "slope": {name: each["slope"] for name, each in found.items()},
        "95 % interval": {name: each["interval"] for name, each in found.items()},
        "promised exponent": PROMISED,
        "mean stationarity": {name: each["means"] for name, each in found.items()},
    }
    return Finding(
        rates.worst(rates.verdict(found[name], exponent) for name, exponent in PROMISED.items()),
        sentence,
        numbers,
        partial(_draw, lengths, found),
    )


CLAIM = Claim(
    "heavy-tailed-rate",
    "With the steps and the momentum of the theorem, the mean stationarity of the proximal "
    "spectral method falls as K^(-1/4) under noise of finite variance, and as "
    "K^(-(p - 1)/(3p - 2)) under noise with p-th moments, or faster (measured slope at most 0.05 "
    "above the exponent).",
    "K^(-1/4) is arXiv:2605.11850 by a text about it (secondary); heavy tails are in its abstract; "
    "measure, exponent for p < 2 and set-up are our reconstruction (derived)",
    run,
)


def _means(trial: Trial, name: str, length: int) -> list[float]:
    tail, p, momentum = RUNS[name]
    step, beta = heavy_tailed(length, p)
    rule = ProximalSpectral(
        step,
        beta=beta if momentum else constant(0.0),
        preconditioner=rates.PRECONDITIONER,
        g=rates.ball(),
    )
    given = rates.problem(trial, rates.seeds(trial), tail, 0.0)
    return rates.mean_stationarity(given, rule, length)


def _draw(lengths: tuple[int, ...], found: dict[str, dict[str, Any]], figure: Any) -> None:
    axis = figure.subplots()
    rates.draw(axis, lengths, found, PROMISED)
    axis.set_xlabel("steps K (one gradient each)")
    axis.set_title("proximal spectral method with momentum: mean over a run, range of seeds")
