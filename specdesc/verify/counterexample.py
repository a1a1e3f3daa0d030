"""A documented limit: descent that cannot move the trace."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy

from specdesc._lib import host
from specdesc._lib.typing import Array
from specdesc.problems import TraceLocked
from specdesc.rules import NormalizedGradient, Rule, SpectralDescent
from specdesc.schedules import frank_wolfe, geometric
from specdesc.verify.claim import Claim, Finding
from specdesc.verify.curves import LEAST, draw_band, follow, thinned
from specdesc.verify.trial import Trial

RATIOS = (0.3, 0.7, 0.95)
SYMMETRIC = ((1.0, 0.2), (0.2, 0.5))
STEPS = 1500
DECAYS = (0.2, 0.4)

#: How much of the trace may move by rounding: the step is noise where the rest comes near 0.
DRIFT = 1e-6


def run(trial: Trial, /) -> Finding:
    """Descend from symmetric and from random starts, and with weight decay."""
    steps = trial.pick(400, STEPS)
    locked = [trial.cell(f"locked c={c}", partial(_locked, trial, c, steps)) for c in RATIOS]
    random = [trial.cell(f"random c={c}", partial(_random, trial, c, steps)) for c in RATIOS]
    decays = [trial.cell(f"weight decay={w}", partial(_decayed, trial, w)) for w in DECAYS]
    moved = max(abs(cell["trace"] - 1.0) for cell in locked)
    stuck = min(cell["spectral"][-1] / cell["spectral"][0] for cell in locked)
    plain = max(cell["plain"][-1] / cell["plain"][0] for cell in locked)
    converged = [sum(row[-1] < 1e-2 * row[0] for row in cell["values"]) for cell in random]
    fails = moved < DRIFT and stuck > 0.1
    sentence = (
        f"From a symmetric start the trace moves by {moved:.0e} of itself, by rounding, and the "
        f"objective keeps at least {stuck:.0%} of its first value; plain subgradient steps "
        f"leave {plain:.0e} of it. With weight decay the trace goes to 0 and not to the solution. "
        "The set of bad starts is thin: random starts come down by a factor of 100 in "
        f"{sum(converged)} of {len(RATIOS) * len(trial.seeds)} runs. All three functions have a "
        "ratio of sharpness to Lipschitz constant below 1/2; above it, see linear-convergence."
    )
    numbers = {
        "c": list(RATIOS),
        "spectral descent: last / first value": [
            c["spectral"][-1] / c["spectral"][0] for c in locked
        ],
        "subgradient: last / first value": [c["plain"][-1] / c["plain"][0] for c in locked],
        "spectral descent: last / first trace": [c["trace"] for c in locked],
        "random starts that come down by 100": converged,
        "weight decay": list(DECAYS),
        "with weight decay: last value (0 at the solution)": [cell["value"] for cell in decays],
        "with weight decay: last trace (2 at the solution)": [cell["trace"] for cell in decays],
        "seeds": len(trial.seeds),
        "steps": steps,
    }
    return Finding(
        "fails" if fails else "undecided",
        sentence,
        numbers,
        lambda figure: _draw(figure, locked[1], random[1]),
    )


CLAIM = Claim(
    "counterexample",
    "Spectral descent with geometric steps converges on every convex, Lipschitz, sharp function "
    "from every start.",
    "our counterexample (derived); that Muon need not converge on convex Lipschitz functions is "
    "arXiv:2605.08980 (abstract)",
    run,
)


def _locked(trial: Trial, c: float, steps: int) -> dict[str, Any]:
    start = trial.array(numpy.asarray(SYMMETRIC))
    problem = TraceLocked(c)
    schedule = geometric(0.5, 0.98)

    def descend(rule: Rule) -> Array:
        return follow(
            problem.value_and_grad, start, rule, steps, _value_and_trace(trial), trial.backend
        )

    spectral, plain = descend(SpectralDescent(schedule)), descend(NormalizedGradient(schedule))
    points, values = thinned(spectral[:, 0])
    return {
        "points": points,
        "spectral": values,
        "plain": thinned(plain[:, 0])[1],
        "trace": float(spectral[-1, 1] / spectral[0, 1]),
    }


def _random(trial: Trial, c: float, steps: int) -> dict[str, Any]:
    draws = [host.generator(seed).standard_normal((2, 2)) for seed in trial.seeds]
    curves = follow(
        TraceLocked(c).value_and_grad,
        trial.array(numpy.stack(draws)),
        SpectralDescent(geometric(0.5, 0.98)),
        steps,
        lambda _, value: value,
        trial.backend,
    )
    points = thinned(curves[:, 0])[0]
    return {"points": points, "values": [thinned(row)[1] for row in curves.T]}


def _decayed(trial: Trial, decay: float) -> dict[str, float]:
    rule = SpectralDescent(frank_wolfe(decay), weight_decay=decay)
    start = trial.array(numpy.asarray(((1.0, 0.0), (0.0, 0.6))))
    problem = TraceLocked(0.5, centre=1.0, form="entrywise")
    steps = trial.pick(1000, 20000)
    curve = follow(
        problem.value_and_grad, start, rule, steps, _value_and_trace(trial), trial.backend
    )
    return {"value": float(curve[-1, 0]), "trace": float(curve[-1, 1])}


def _value_and_trace(trial: Trial) -> Callable[[Array, Array], Array]:
    xp = trial.backend.xp
    return lambda x, value: xp.stack([value, x[0, 0] + x[1, 1]])


def _draw(figure: Any, locked: dict[str, Any], random: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    for label, name in (("spectral descent", "spectral"), ("subgradient", "plain")):
        left.semilogy(locked["points"], [max(y, LEAST) for y in locked[name]], label=label)
    left.set_title(f"symmetric start, c = {RATIOS[1]}")
    left.set_ylabel("objective")
    right.set_yscale("log")
    draw_band(right, random["points"], random["values"], "spectral descent, random starts")
    right.set_title(f"random starts, c = {RATIOS[1]}: median and range")
    for axis in (left, right):
        axis.set_xlabel("step")
        axis.legend(fontsize="small")
