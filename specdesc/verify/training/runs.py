"""One training run, and the search for its step size."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from specdesc import trees
from specdesc.norms import Frobenius, Spectral
from specdesc.prox import Operator
from specdesc.schedules import Schedule
from specdesc.verify.training.candidates import Candidate
from specdesc.verify.training.tasks import Task

#: Ratio of neighbours of the grid, and how far it may grow.
RATIO, LONGEST = 2.0, 12

Cell = dict[str, Any]


def train(task: Task, candidate: Candidate, step: float, seed: int, backend: str, /) -> Cell:
    """Train once, from a start and on samples that depend on the seed alone, and measure.

    The step falls to 0 along a line. Rules with two gradients a step make half as many steps.
    """
    train, valid, test = task.parts(backend)
    problem = replace(train, seed=seed)
    steps = task.steps // candidate.gradients
    params = _inside(problem.start(task.hidden, seed=seed), candidate.constraint)
    route = trees.route(params, trees.Group("layers.*", candidate.rule(linear(step, steps))))
    state, before = trees.init(params, route), params
    worst, seconds, processor = _excess(params, candidate.constraint), 0.0, 0.0
    for t in range(steps):
        begin, began = time.perf_counter(), time.process_time()
        sample = problem.sample(t)
        value, grads = problem.value_and_grad(params, sample)
        old = problem.value_and_grad(before, sample)[1] if route.needs_previous_grad else None
        before = params
        params, state = trees.update(params, grads, state, route, value=value, previous_grads=old)
        seconds += time.perf_counter() - begin
        processor += time.process_time() - began
        # Looking is not part of the seconds.
        worst = max(worst, _excess(params, candidate.constraint))
    layers = params["layers"]
    return {
        "valid": float(valid.accuracy(params)),
        "valid loss": _number(valid.value(params)),
        "test": float(test.accuracy(params)),
        "loss": _number(train.value(params)),
        "spectral": _number(max(float(Spectral().value(w)) for w in layers)),
        "frobenius": _number(max(float(Frobenius().value(w)) for w in layers)),
        "excess": _number(worst),
        "seconds": seconds,
        "processor seconds": processor,
        "gradients": steps * candidate.gradients,
    }


def linear(first: float, steps: int, /) -> Schedule:
    """Return the schedule that falls from `first` to 0 in so many steps."""
    return lambda t, **_: first * (1.0 - t / steps)


def tune(run: Callable[[float], Sequence[Cell]], first: float, /) -> tuple[float, dict[float, Any]]:
    """Return the best step size, and the runs of all that were tried.

    The grid has the ratio 2, starts with three points, and grows until its best point lies inside:
    by accuracy on the validation rows, averaged over seeds, and by their loss among equals.
    """
    grid = {first * RATIO**i: run(first * RATIO**i) for i in (-1, 0, 1)}
    while len(grid) < LONGEST:
        best = max(grid, key=lambda step: _rank(grid[step]))
        if best == min(grid):
            grid[best / RATIO] = run(best / RATIO)
        elif best == max(grid):
            grid[best * RATIO] = run(best * RATIO)
        else:
            return best, dict(sorted(grid.items()))
    msg = f"no step size of {sorted(grid)} is best inside the grid"
    raise RuntimeError(msg)


def _rank(cells: Sequence[Cell]) -> tuple[float, float]:
    count = len(cells)
    losses = [math.inf if cell["valid loss"] is None else cell["valid loss"] for cell in cells]
    return sum(cell["valid"] for cell in cells) / count, -sum(losses) / count


def _inside(params: Any, constraint: Operator | None) -> Any:
    """Return the layers moved into the constraint; those inside come back bit for bit."""
    if constraint is None:
        return params
    return {"layers": [constraint.prox(layer, 1.0) for layer in params["layers"]]}


def _excess(params: Any, constraint: Operator | None) -> float:
    """Return how far any layer is outside, beyond what counts as inside: 0 for a feasible one."""
    if constraint is None:
        return 0.0
    return max(
        0.0 if float(constraint.value(w)) == 0.0 else float(constraint.violation(w))
        for w in params["layers"]
    )


def _number(value: Any) -> float | None:
    """Return a finite number, or None: a diverged run has no others."""
    number = float(value)
    return number if math.isfinite(number) else None
