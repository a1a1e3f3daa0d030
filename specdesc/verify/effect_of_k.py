"""What the number of singular pairs of a step buys, and what it costs."""

import math
from functools import partial
from typing import Any

import numpy

from specdesc._lib import host
from specdesc._lib.typing import Array
from specdesc.problems import random_recovery
from specdesc.verify import races
from specdesc.verify.claim import Claim, Finding
from specdesc.verify.races import GOAL, SPECTRAL, SUBGRADIENT, Geometric, truncated
from specdesc.verify.trial import Trial

SIZE, QUICK_SIZE, RANK = 20, 12, 2
STEPS = 450
METHODS = (truncated(1), truncated(2), truncated(5), truncated(10), SPECTRAL, SUBGRADIENT)

#: measurements / n², outlier share
CASES = ((5.0, 0.1), (5.0, 0.3), (10.0, 0.3))
QUICK_CASES = ((5.0, 0.3),)

#: Of these the best is chosen for each method; 0.9 and 0.3 is out of reach for a full step.
GRID = (Geometric(0.9, 0.3), Geometric(0.9, 0.6), Geometric(0.95, 0.3), Geometric(0.97, 0.3))
QUICK_GRID = (Geometric(0.95, 0.3),)

#: Seeds on which steps are chosen: others than those that are reported.
TUNING = (101, 102)

#: Random pairs of a subgradient and an error for the inequalities, and their shapes.
PAIRS = 2000
SHAPE = (6, 9)

#: Truncation "helps" where the median arrival is earlier by more than this share.
MARGIN = 0.1


def run(trial: Trial, /) -> Finding:
    """Check the alignment bounds on random pairs, and race k against k on recovery."""
    slack = trial.cell("bounds", partial(_bounds, trial.pick(300, PAIRS)))
    cases = trial.pick(QUICK_CASES, CASES)
    seeds = trial.seeds[: trial.pick(1, 5)]
    chosen = {
        case: {
            name: trial.cell(f"tuning {case} {name}", partial(_tuned, trial, case, name))
            for name in METHODS
        }
        for case in cases
    }
    arrivals = {
        case: {
            name: [
                trial.cell(
                    f"{case} {name} seed={seed} {chosen[case][name]}",
                    partial(_arrival, trial, case, name, chosen[case][name], seed),
                )
                for seed in seeds
            ]
            for name in METHODS
        }
        for case in cases
    }
    medians = {
        _title(case): {name: _median(each) for name, each in arrivals[case].items()}
        for case in cases
    }
    helped = [
        f"{name} on {title}"
        for title, row in medians.items()
        for name in METHODS
        if name.startswith("TSD") and _ahead(row[name], row[SPECTRAL])
    ]
    lost = [
        f"{name} on {title}"
        for title, row in medians.items()
        for name in METHODS
        if name.startswith("TSD") and _ahead(row[SPECTRAL], row[name])
    ]
    plain = sum(
        row[SUBGRADIENT] is not None and _late(row[SUBGRADIENT]) <= min(map(_late, row.values()))
        for row in medians.values()
    )
    violated = min(slack.values()) < -1e-9
    sentence = (
        f"The alignment bounds hold on {trial.pick(300, PAIRS)} random pairs for every k. On "
        f"recovery truncated descent is earlier than spectral descent by more than {MARGIN:.0%} in "
        f"{len(helped)} of {len(medians) * 4} comparisons"
        + (f" ({', '.join(helped)})" if helped else "")
        + f" and later, or not within {STEPS} steps, in {len(lost)}"
        + (f" ({', '.join(lost)})" if lost else "")
        + f". Plain subgradient steps are as early as the best of them, or earlier, in {plain} of "
        f"{len(medians)} cases."
    )
    numbers = {
        "n, rank": [trial.pick(QUICK_SIZE, SIZE), RANK],
        "seeds": len(seeds),
        "least slack of the bounds, nuclear and Frobenius pair, cosine": slack,
        "median first step below 1e-6": medians,
        "all seeds": {_title(case): arrivals[case] for case in cases},
        "steps [q, c], chosen on other seeds": {_title(case): chosen[case] for case in cases},
    }
    return Finding(
        "fails" if violated or helped == [] else "holds",
        sentence,
        numbers,
        partial(_draw, arrivals),
    )


CLAIM = Claim(
    "effect-of-k",
    "On well-sampled recovery a truncated step of the right k needs fewer iterations than the full "
    "spectral step.",
    "that truncated descent converges linearly as well is arXiv:2605.26977 (abstract); which k "
    "helps it does not say, and the comparison and the alignment bounds are ours (derived)",
    run,
)


def _bounds(pairs: int) -> dict[str, float]:
    """Return the least slack of the inequalities of 6.3, 6.4 over random pairs and every k."""
    random = host.generator(7)
    least = {"nuclear": float("inf"), "Frobenius": float("inf"), "cosine": float("inf")}
    n = min(SHAPE)
    for _ in range(pairs):
        d = random.standard_normal(SHAPE)
        grad = _aligned(random, d)
        u, s, vh = numpy.linalg.svd(grad, full_matrices=False)
        nuclear = numpy.linalg.svd(d, compute_uv=False).sum()
        frobenius = float((d * d).sum()) ** 0.5
        size = float((s * s).sum()) ** 0.5
        inner = float((grad * d).sum())
        for k in range(1, n + 1):
            gained = float(((u[:, :k] @ vh[:k]) * d).sum())
            cosine = float(s[:k].sum()) / (k**0.5 * size)
            floor = min(k**-0.5, (k / n) ** 0.5)
            least["cosine"] = min(least["cosine"], cosine - floor)
            turn = math.acos(inner / (size * frobenius)) + math.acos(min(cosine, 1.0))
            frobenius_bound = k**0.5 * math.cos(turn) * frobenius
            if turn < math.pi / 2:
                least["Frobenius"] = min(least["Frobenius"], gained - frobenius_bound)
            sharp, tail = inner / nuclear, float(s[k]) if k < n else 0.0
            if tail < sharp:
                first = (sharp - tail) / (s[0] - tail) if s[0] > tail else 1.0
                second = (2 * sharp + s[k - 1] - s[0]) / (s[0] + s[k - 1])
                bound = float(min(first, second)) * float(nuclear)
                least["nuclear"] = min(least["nuclear"], (gained - bound) / float(nuclear))
    return least


def _aligned(random: Any, d: Array) -> Array:
    """Return a random subgradient with a positive inner product with `d`, more or less aligned."""
    u, s, vh = numpy.linalg.svd(d, full_matrices=False)
    base = (u * s ** float(random.uniform(0.0, 2.0))) @ vh
    grad = base / base.std() + float(random.uniform(0.0, 2.0)) * random.standard_normal(d.shape)
    return grad if float((grad * d).sum()) > 0 else -grad


def _race(
    trial: Trial, case: tuple[float, float], name: str, setting: Geometric, seed: int
) -> list[float]:
    n = trial.pick(QUICK_SIZE, SIZE)
    problem = random_recovery(
        n,
        RANK,
        measurements=round(case[0] * n * n),
        outliers=case[1],
        seed=seed,
        backend=trial.backend.name,
    )
    curve: list[float] = races.errors(trial, problem, name, setting, STEPS).tolist()
    return curve


def _tuned(trial: Trial, case: tuple[float, float], name: str) -> list[float]:
    """Return q and c of a method: earliest in the mean over the tuning seeds."""
    grid = trial.pick(QUICK_GRID, GRID)
    if len(grid) == 1:
        return [grid[0].q, grid[0].c]
    scores = [
        sum(races.score(_race(trial, case, name, setting, seed)) for seed in TUNING)
        for setting in grid
    ]
    best = grid[min(range(len(grid)), key=scores.__getitem__)]
    return [best.q, best.c]


def _arrival(
    trial: Trial, case: tuple[float, float], name: str, setting: list[float], seed: int
) -> int | None:
    return races.first_below(_race(trial, case, name, Geometric(*setting), seed))


def _title(case: tuple[float, float]) -> str:
    return f"m = {case[0]:g} n², p = {case[1]:g}"


def _median(arrivals: list[int | None]) -> float | None:
    """Return the median; one that never arrives is later than all that do."""
    ordered = sorted(STEPS + 1 if each is None else each for each in arrivals)
    middle = float(numpy.median(ordered))
    return None if middle > STEPS else middle


def _late(median: float | None) -> float:
    return STEPS + 1.0 if median is None else median


def _ahead(first: float | None, second: float | None) -> bool:
    return first is not None and first < (1.0 - MARGIN) * _late(second)


def _draw(arrivals: dict[tuple[float, float], dict[str, list[int | None]]], figure: Any) -> None:
    axis = figure.subplots()
    for i, (case, row) in enumerate(arrivals.items()):
        for j, name in enumerate(METHODS):
            heights = [STEPS if each is None else each for each in row[name]]
            places = [j + 0.2 * (i - 1)] * len(heights)
            label = _title(case) if j == 0 else None
            axis.plot(places, heights, ".", color=f"C{i}", label=label)
    axis.axhline(STEPS, color="grey", linestyle=":", linewidth=1)
    axis.text(0, STEPS, "not within the budget", fontsize="small", va="bottom", color="grey")
    axis.set_xticks(range(len(METHODS)), METHODS)
    axis.set_ylim(0, 1.08 * STEPS)
    axis.set_ylabel(f"first step below {GOAL:g}, one dot a seed")
    axis.legend(fontsize="small")
