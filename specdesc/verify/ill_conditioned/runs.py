"""Runs: scores for the search of steps, and what a run of the chosen ones shows."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy

from specdesc._lib.typing import Array
from specdesc._minimize import minimize
from specdesc.verify.curves import thinned
from specdesc.verify.ill_conditioned.methods import (
    COARSE,
    COARSE_POLYAK,
    allowed,
    choices,
    is_polyak,
    rule,
)
from specdesc.verify.ill_conditioned.tasks import Task
from specdesc.verify.tuning import Best, Point, tuned

#: Errors below it are rounding; those above `LOST` are lost, whatever they are.
LEAST, LOST = 1e-14, 1e3

#: At how many points of a run the direction of the step and the gradient are looked at.
LOOKS = 60


def tune(name: str, tasks: Sequence[Task], steps: int, /) -> dict[str, Any]:
    """Return the best momentum and steps of a method, by the geometric mean of the last errors."""
    found: list[tuple[Best, tuple[float, ...]]] = []
    coarse = COARSE_POLYAK if is_polyak(name) else COARSE
    for momentum in choices(name):
        score = partial(_scores, name, momentum, tasks, steps)
        found.append((tuned(score, coarse, partial(allowed, name)), momentum))
    best, momentum = min(found, key=lambda each: each[0].score)
    return {
        "momentum": list(momentum),
        "scale": best.point.first,
        "decay": best.point.second,
        "tried": sum(each[0].tried for each in found),
        "inside": best.inside,
        "error in tuning": 10.0**best.score,
    }


def _scores(
    name: str,
    momentum: tuple[float, ...],
    tasks: Sequence[Task],
    steps: int,
    settings: Sequence[Point],
) -> list[float]:
    """Return the mean logarithm of the last errors of each setting."""
    total = numpy.zeros(len(settings))
    for task in tasks:
        used = rule(name, momentum, settings, task, steps)
        end = minimize(task.value_and_grad, task.starts(len(settings)), used, steps=steps).x
        total += numpy.log10(_bounded(task.backend.to_host(task.error(end))))
    return [float(each) for each in total / len(tasks)]


def follow(name: str, chosen: dict[str, Any], task: Task, steps: int, /) -> dict[str, Any]:
    """Run the chosen setting and return errors, alignments and the nuclear rank of the gradient.

    The alignment is the cosine of the step, momentum included, and of what is missing.
    """
    setting = Point(chosen["scale"], chosen["decay"])
    used = rule(name, chosen["momentum"], [setting], task, steps)
    x = task.starts(1)
    state = used.init(x)
    errors, cosines, ranks = [_number(task.error(x), task)], [], []
    stride = max(1, steps // LOOKS)
    for t in range(steps):
        value, grad = task.value_and_grad(x)
        after, state = used.update(x, grad, state, value=value)
        if task.truth is not None and t % stride == 0:
            rest, moved = (task.backend.to_host(each)[0] for each in (x - task.truth, x - after))
            cosines.append(_cosine(moved, rest))
            ranks.append(_nuclear_rank(task.backend.to_host(grad)[0]))
        x = after
        errors.append(_number(task.error(x), task))
    points, heights = thinned(errors)
    return {
        "points": points,
        "errors": heights,
        "last": errors[-1],
        "looks": list(range(0, steps, stride)),
        "cosines": cosines,
        "nuclear ranks": ranks,
        "stable rank": task.stable_rank,
    }


def ratio(rows: Sequence[float], others: Sequence[float], /) -> tuple[float, float, float]:
    """Return the geometric mean of the quotients of paired errors, and its 95 % interval.

    The interval is Student's, of the mean logarithm over the seeds.
    """
    logs = numpy.log10(numpy.asarray(rows)) - numpy.log10(numpy.asarray(others))
    count = len(logs)
    half = (
        _quantile(count - 1) * float(logs.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf
    )
    middle = float(logs.mean())
    return 10.0**middle, 10.0 ** (middle - half), 10.0 ** min(middle + half, 300.0)


def mean_error(rows: Sequence[float], /) -> float:
    """Return the geometric mean of errors."""
    return float(10.0 ** numpy.log10(numpy.asarray(rows)).mean())


#: Student's t, 97.5 %, by degrees of freedom.
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def _quantile(degrees: int) -> float:
    return _T[degrees]


def _bounded(errors: Array) -> Array:
    return numpy.clip(numpy.nan_to_num(errors, nan=LOST, posinf=LOST), LEAST, LOST)


def _number(errors: Array, task: Task) -> float:
    return float(_bounded(task.backend.to_host(errors)).reshape(-1)[0])


def _cosine(step: Array, rest: Array) -> float:
    lengths = float(numpy.linalg.norm(step) * numpy.linalg.norm(rest))
    return float((step * rest).sum()) / lengths if lengths > 0.0 else 0.0


def _nuclear_rank(grad: Array) -> float:
    s = numpy.linalg.svd(grad, compute_uv=False)
    return float(s.sum() ** 2 / (s**2).sum()) if s[0] > 0.0 else 0.0
