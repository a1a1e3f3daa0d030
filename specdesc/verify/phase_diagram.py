"""Where recovery succeeds: outlier share by measurements, for every method side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy

from specdesc._lib.typing import Array
from specdesc.problems import (
    RobustRecovery,
    principal_component_pursuit,
    random_completion,
    random_recovery,
)
from specdesc.verify import races
from specdesc.verify.claim import Claim, Finding
from specdesc.verify.races import SPECTRAL, SUBGRADIENT, Geometric, truncated
from specdesc.verify.trial import Trial

RANK = 2
PURSUIT = "pursuit"
DESCENTS = (truncated(RANK), SPECTRAL, SUBGRADIENT)

#: The same steps for every method, problem and cell.
SETTING = Geometric(0.98, 0.6)
STEPS = 400

#: Relative error that counts as success.
SUCCESS = 1e-3

#: Where the claim speaks: measurements / n², the largest share of outliers.
FEW, MILD = 0.6, 0.1


@dataclass(frozen=True)
class Plane:
    """A grid of problems: how many measurements, in units of n², and which share is destroyed."""

    kind: str
    size: int
    counts: tuple[float, ...]
    shares: tuple[float, ...]


GAUSSIAN = Plane("Gaussian", 20, (0.3, 0.6, 1.0, 1.5, 2.0, 3.0, 5.0), (0.0, 0.1, 0.2, 0.3, 0.4))
ENTRIES = Plane("entries", 30, (0.2, 0.4, 0.6, 0.8, 1.0), (0.0, 0.1, 0.2, 0.3, 0.4))
QUICK = (
    Plane("Gaussian", 20, (0.6, 2.0), (0.0, 0.1)),
    Plane("entries", 16, (0.6, 1.0), (0.0, 0.1)),
)


def run(trial: Trial, /) -> Finding:
    """Fill both planes, with and without a projection onto the rank."""
    seeds = trial.seeds[: trial.pick(1, 5)]
    planes = trial.pick(QUICK, (GAUSSIAN, ENTRIES))
    maps = {
        plane.kind: {
            name: _mean(
                [
                    trial.cell(
                        f"{plane.kind} {name} seed={s}", partial(_plane, trial, plane, name, s)
                    )
                    for s in seeds
                ]
            )
            for name in _columns(plane)
        }
        for plane in planes
    }
    plain = _claimed(maps["Gaussian"], planes[0], DESCENTS)
    projected = _claimed(maps["Gaussian"], planes[0], tuple(map(_projected, DESCENTS)))
    areas = {
        kind: {name: _area(rows) for name, rows in each.items()} for kind, each in maps.items()
    }
    holds = max(plain.values()) <= 0.05 and min(projected.values()) >= 0.8
    names = (*DESCENTS, *map(_projected, DESCENTS))
    sentence = (
        f"There the plain methods succeed in {max(plain.values()):.0%} of the runs at most; of the "
        f"others, with one choice of steps for all, {_told(projected, tuple(projected))}. "
        f"Successes over the whole Gaussian plane: {_told(areas['Gaussian'], names)}. On observed "
        "entries, where the l1 loss alone cannot tell an outlier and only the projection makes it "
        "a recovery: "
        f"{_told(areas['entries'], (*names, PURSUIT))}; principal component pursuit is not told "
        "the rank."
    )
    numbers = {
        "seeds": len(seeds),
        "rank": RANK,
        "success": f"relative error at most {SUCCESS:g} after {STEPS} steps",
        "steps [q, c]": [SETTING.q, SETTING.c],
        "size": {plane.kind: plane.size for plane in planes},
        "measurements / n²": {plane.kind: list(plane.counts) for plane in planes},
        "outlier shares": {plane.kind: list(plane.shares) for plane in planes},
        "share of the plane that succeeds": areas,
        "success where the claim speaks": {**plain, **projected},
        "success by measurements and share": maps,
    }
    return Finding("holds" if holds else "fails", sentence, numbers, partial(_draw, planes, maps))


CLAIM = Claim(
    "phase-diagram",
    f"From {FEW:g} n² Gaussian measurements with at most {MILD:.0%} of outliers no plain descent "
    "on the l1 loss, truncated or not, recovers a matrix of rank 2; with a projection of the "
    "iterate onto the rank spectral, truncated and subgradient descent all do.",
    "robust recovery is the application of arXiv:2605.26977 (abstract); the diagram and the "
    "restriction to n² measurements without a projection are ours (derived)",
    run,
)


def _columns(plane: Plane) -> tuple[str, ...]:
    names = (*DESCENTS, *map(_projected, DESCENTS))
    return (*names, PURSUIT) if plane.kind == "entries" else names


def _projected(name: str) -> str:
    return f"{name}, projected"


def _plane(trial: Trial, plane: Plane, name: str, seed: int) -> list[list[float]]:
    """Return the relative error of one method, a row for each number of measurements."""
    return [
        [float(error) for error in trial.backend.to_host(_solved(trial, problem, name))]
        for problem in (_row(trial, plane, count, seed) for count in plane.counts)
    ]


def _row(trial: Trial, plane: Plane, count: float, seed: int) -> RobustRecovery:
    """Return a stack of problems, one for each share of outliers."""
    n = plane.size
    if plane.kind == "Gaussian":
        return races.joined(
            trial,
            [
                random_recovery(
                    n,
                    RANK,
                    measurements=round(count * n * n),
                    outliers=share,
                    seed=seed,
                    backend=trial.backend.name,
                )
                for share in plane.shares
            ],
        )
    each = [
        random_completion(
            n, RANK, observed=count, outliers=share, seed=seed, backend=trial.backend.name
        )
        for share in plane.shares
    ]
    xp = trial.backend.xp
    seen = [problem.observation.apply(xp.ones_like(problem.observed)) == 1 for problem in each]
    return RobustRecovery.from_entries(
        xp.stack([problem.observed for problem in each]),
        mask=xp.stack(seen),
        truth=xp.stack([problem.truth for problem in each]),
    )


def _solved(trial: Trial, problem: RobustRecovery, name: str) -> Array:
    if name == PURSUIT:
        xp = trial.backend.xp
        seen = problem.observation.apply(xp.ones_like(problem.observed)) == 1
        return problem.error(principal_component_pursuit(problem.observed, mask=seen)[0])
    plain = name.removesuffix(", projected")
    rank = None if plain == name else RANK
    return trial.array(races.errors(trial, problem, plain, SETTING, STEPS, rank=rank)[-1])


def _mean(errors: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """Return the share of the seeds that succeed in each cell."""
    good = numpy.asarray(errors) <= SUCCESS
    shares: list[list[float]] = good.mean(axis=0).tolist()
    return shares


def _area(rows: Sequence[Sequence[float]]) -> float:
    return float(numpy.asarray(rows).mean())


def _claimed(
    maps: dict[str, list[list[float]]], plane: Plane, names: Sequence[str]
) -> dict[str, float]:
    """Return the share of successes of each method where the claim speaks."""
    row = plane.counts.index(FEW)
    mild = [j for j, share in enumerate(plane.shares) if share <= MILD]
    return {name: _area([[maps[name][row][j] for j in mild]]) for name in names}


def _told(areas: dict[str, float], names: Sequence[str]) -> str:
    return ", ".join(f"{_spoken(name)} {areas[name]:.0%}" for name in names)


def _spoken(name: str) -> str:
    plain = name.removesuffix(", projected")
    return name if plain == name else f"projected {plain}"


def _draw(
    planes: Sequence[Plane], maps: dict[str, dict[str, list[list[float]]]], figure: Any
) -> None:
    columns = max(len(each) for each in maps.values())
    figure.set_size_inches(1.55 * columns, 5.0)
    grid = figure.subplots(len(planes), columns, squeeze=False)
    for row, plane in zip(grid, planes, strict=True):
        for axis in row[len(maps[plane.kind]) :]:
            axis.set_axis_off()
        for axis, (name, shares) in zip(row, maps[plane.kind].items(), strict=False):
            axis.imshow(
                numpy.asarray(shares).T, origin="lower", vmin=0, vmax=1, cmap="gray", aspect="auto"
            )
            axis.set_title(name.replace(", ", ",\n"), fontsize="small")
            axis.set_xticks(range(len(plane.counts)), map("{:g}".format, plane.counts), fontsize=6)
            axis.set_yticks(range(len(plane.shares)), map("{:g}".format, plane.shares), fontsize=6)
        row[0].set_ylabel(f"{plane.kind}, n = {plane.size}\noutlier share", fontsize="small")
        row[0].set_xlabel("measurements / n²", fontsize="small")
    figure.suptitle(f"share of seeds with relative error below {SUCCESS:g} (white: all)")
