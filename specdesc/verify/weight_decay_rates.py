"""Weight decay as Frank-Wolfe: the sublinear rate, the linear one, and the edge where they end."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy

from specdesc import schedules
from specdesc._lib import host
from specdesc._lib.typing import Array
from specdesc.problems import NuclearDistance, random_recovery
from specdesc.rules import Rule, SpectralDescent, TruncatedSpectralDescent
from specdesc.verify import races
from specdesc.verify.claim import Claim, Finding
from specdesc.verify.curves import draw_band, fitted_power, follow
from specdesc.verify.races import SPECTRAL, truncated
from specdesc.verify.trial import Trial

#: Nuclear distance to an N by N matrix: alignment 1.
N = 8
DECAYS = (0.1, 0.5, 0.9)
SLACK = 1e-9

#: The l1 loss of robust recovery.
SIZE, RANK = 20, 2
MEASUREMENTS = 5 * SIZE * SIZE
CONDITION = 2.0
METHODS = (SPECTRAL, truncated(1), truncated(2))
SHARES = (0.0, 0.2)

#: The radius of the ball, in units of the least one that holds the solution: well inside, and edge.
INSIDE, EDGE = 1.5, 1.0

#: t (f - f*) stays below this.
CEILING = {SPECTRAL: 10.0, truncated(1): 10.0, truncated(2): 4.0}


def run(trial: Trial, /) -> Finding:
    """Hold runs on a sharp function to the bounds, and measure slopes on the l1 loss."""
    bounded = {
        f"{kind}, decay {share}": trial.cell(
            f"{kind} decay={share}", partial(_bounded, trial, kind, share)
        )
        for kind in ("sublinear", "linear")
        for share in DECAYS
    }
    seeds = trial.seeds[: trial.pick(1, 3)]
    cells = {
        (name, radius): [
            trial.cell(f"{name} radius={radius} seed={s}", partial(_losses, trial, name, radius, s))
            for s in seeds
        ]
        for name in METHODS
        for radius in (INSIDE, EDGE)
    }
    worst = max(bounded.values())
    highest = {
        name: max(
            t * gap
            for cell in cells[name, INSIDE]
            for row in cell["gaps"]
            for t, gap in zip(cell["points"], row, strict=True)
            if t >= 30
        )
        for name in METHODS
    }
    gain = highest[SPECTRAL] / highest[truncated(RANK)]
    slopes = {
        f"{name}, radius {radius}": [_slope(cell) for cell in each]
        for (name, radius), each in cells.items()
    }
    holds = worst <= 1.0 + SLACK and all(highest[name] < CEILING[name] for name in METHODS)
    inside = [s for name in METHODS for s in slopes[f"{name}, radius {INSIDE}"]]
    edge = [s for name in METHODS for s in slopes[f"{name}, radius {EDGE}"]]
    sentence = (
        f"On a sharp function the largest quotient of error and bound is {worst:.3f}, for the "
        "sublinear and the linear form. On the l1 loss without smoothing t (f - f*) stays below "
        + ", ".join(f"{value:.1f} ({name})" for name, value in highest.items())
        + f", slopes {min(inside):.2f} to {max(inside):.2f}. With the solution at the edge of the "
        f"ball the rate is lost: slopes {min(edge):.2f} to {max(edge):.2f}. Truncation to the rank "
        f"of the truth lowers the constant, by a factor of {gain:.1f}, and not the exponent."
    )
    numbers = {
        "seeds": {"sharp function": len(trial.seeds), "l1 loss": len(seeds)},
        "largest error / bound": bounded,
        "largest t (f - f*)": highest,
        "slope of f - f*, per seed": slopes,
        "radius": "in units of the least ball that holds the solution",
    }
    return Finding("holds" if holds else "fails", sentence, numbers, partial(_draw, cells))


CLAIM = Claim(
    "weight-decay-rates",
    "With decoupled weight decay and the Frank-Wolfe steps 2 / (decay (t + 2)), spectral and "
    "truncated descent come down as 1 / t on sharp functions without smoothing, if the solution "
    "lies inside the ball; with geometric steps linearly.",
    "sublinear rates through Frank-Wolfe are arXiv:2605.26977 (abstract); that they hold without "
    "smoothing under alignment, and all constants, are our reconstruction (derived)",
    run,
)


def _bounded(trial: Trial, kind: str, share: float) -> float:
    """Return the largest quotient of error and bound on ||x - truth||_*, over seeds and steps.

    Truths of Frobenius norm 1: the method and the bounds scale with it, and all share one decay.
    """
    truths = [host.generator(seed).standard_normal((N, N)) for seed in trial.seeds]
    problem = NuclearDistance(
        trial.array(numpy.stack([each / (each * each).sum() ** 0.5 for each in truths]))
    )
    slack = 1.0 - share  # alignment 1, less decay times the norm of the solution
    if kind == "sublinear":
        top = max(8.0 * N**0.5 / share, 4.0 * N / (share * slack))
        steps, bound = schedules.frank_wolfe(share), partial(_harmonic, top)
    else:
        q = math.sqrt(1.0 - slack**2 / (4.0 * N))
        steps, bound = schedules.geometric(slack / (4.0 * N), q), partial(_power, 1.0, q)
    count = trial.pick(200, 2000)
    errors = follow(
        problem.value_and_grad,
        problem.start(),
        SpectralDescent(steps, weight_decay=share),
        count,
        lambda x, _: problem.error(x),
        trial.backend,
    ).max(axis=1)
    # The first error of the linear form is its bound.
    return max(float(errors[t]) / bound(t) for t in range(1, count + 1) if bound(t) > 1e-10)


def _harmonic(top: float, t: int) -> float:
    return top / (t + 2.0)


def _power(first: float, q: float, t: int) -> float:
    return float(first * q**t)


def _losses(trial: Trial, name: str, radius: float, seed: int) -> dict[str, Any]:
    """Run on the l1 loss with each share of outliers, and return f - f* at some steps."""
    each = [
        random_recovery(
            SIZE,
            RANK,
            measurements=MEASUREMENTS,
            outliers=share,
            condition=CONDITION,
            seed=seed,
            backend=trial.backend.name,
        )
        for share in SHARES
    ]
    problem = races.joined(trial, each)
    k = races.pairs(name, SIZE)
    least = max(1.0, (1.0 + 1.0 / CONDITION) / k)  # spectral norm, nuclear norm / k
    decay = 1.0 / (radius * least)
    best = problem.value_and_grad(problem.start() + problem.truth)[0]
    count = trial.pick(150, 3000)
    gaps = follow(
        problem.value_and_grad,
        problem.start(),
        _rule(name, decay),
        count,
        lambda _, value: value - best,
        trial.backend,
    )
    points = sorted({round(10 ** (i / 10)) for i in range(math.floor(10 * math.log10(count)) + 1)})
    return {"points": points, "gaps": gaps[points].T.tolist()}


def _rule(name: str, decay: float) -> Rule:
    steps = schedules.frank_wolfe(decay)
    make: Callable[..., Rule] = SpectralDescent
    if name != SPECTRAL:
        make = partial(TruncatedSpectralDescent, races.pairs(name, SIZE), tol=None)
    return make(steps, weight_decay=decay)


def _slope(cell: dict[str, Any]) -> float:
    """Return the exponent from step 30 on, over the mean of the shares."""
    late = [i for i, t in enumerate(cell["points"]) if t >= 30]
    means = [sum(row[i] for row in cell["gaps"]) / len(cell["gaps"]) for i in late]
    return fitted_power(numpy.asarray([cell["points"][i] for i in late]), means)[0]


def _draw(cells: dict[tuple[str, float], list[dict[str, Any]]], figure: Any) -> None:
    for axis, radius in zip(figure.subplots(1, 2, sharey=True), (INSIDE, EDGE), strict=True):
        axis.set_xscale("log")
        axis.set_yscale("log")
        for name in METHODS:
            each = cells[name, radius]
            rows: list[Array] = [row for cell in each for row in cell["gaps"]]
            draw_band(axis, each[0]["points"], rows, name)
        points = each[0]["points"]
        axis.plot(points, [10.0 / t for t in points], ":", color="grey", label="10 / t")
        axis.set_title(f"radius {radius} times the least")
        axis.set_xlabel("step t")
        axis.legend(fontsize="small")
    figure.axes[0].set_ylabel("f - f*, range of seeds and outlier shares")
