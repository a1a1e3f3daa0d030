"""What the claims about stochastic rates share: runs, the stationarity measure, and slopes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from specdesc._lib import host
from specdesc._lib.typing import Array
from specdesc.diagnostics import step_stationarity
from specdesc.preconditioners import Sqrt
from specdesc.problems import NoisyQuadratic, random_quadratic
from specdesc.prox import SpectralBall
from specdesc.rules import ProximalSpectral, ProximalStorm
from specdesc.schedules import constant
from specdesc.verify.claim import Verdict
from specdesc.verify.curves import draw_band, fitted_power
from specdesc.verify.trial import Trial
from specdesc.verify.tuning import Point, tuned

#: The set-up, the same for every rate.
ROWS, COLUMNS = 8, 6
RADIUS = 1.0
PRECONDITIONER = Sqrt(eps=0.1)

#: At how many equally spaced steps of the last half of a run the measure is taken.
POINTS = 100

#: Noise dominates a run whose measure is at least so many times that of the same run without it.
DOMINATES = 4.0

#: Seeds for the choice of factors, none of which is measured on.
TUNING = range(101, 106)

#: The largest power of 2 that a factor may be.
WIDEST = 8

#: A claimed exponent may be missed by this much.
SLACK = 0.05

RESAMPLES = 2000

#: What several statements together come to, the first that occurs.
ORDER: tuple[Verdict, ...] = ("fails", "undecided", "holds")


@dataclass(frozen=True)
class Lane:
    """One of several runs side by side, with the same problems and the same draws of noise.

    Attributes
    ----------
    noise : float
        The scale of the noise that is added to gradients.
    relative : float
        The standard deviation of the factor of the objective.
    step, beta : float
        Both constant.
    """

    noise: float
    relative: float
    step: float
    beta: float


def measured(
    trial: Trial,
    lanes: Sequence[Lane],
    steps: int,
    seeds: Sequence[int],
    tail: float,
    make: Callable[..., ProximalSpectral | ProximalStorm] = ProximalSpectral,
    /,
) -> list[list[float]]:
    """Return the mean stationarity of each lane, one number a seed.

    `make` is the rule, without its options.
    """
    given = random_quadratic(
        ROWS,
        COLUMNS,
        seeds=tuple(seeds),
        tail=tail,
        noise=1.0,
        relative=1.0,
        backend=trial.backend.name,
    )

    def table(name: str) -> Array:
        column = numpy.asarray([[float(getattr(lane, name))] for lane in lanes])
        return trial.array(numpy.repeat(column, len(seeds), axis=1))

    rule = make(
        constant(table("step")),
        beta=constant(table("beta")),
        preconditioner=PRECONDITIONER,
        g=ball(),
    )
    levels = table("noise"), table("relative")
    rows: list[list[float]] = mean_stationarity(given, rule, steps, levels).tolist()
    return rows


def mean_stationarity(
    given: NoisyQuadratic,
    rule: ProximalSpectral | ProximalStorm,
    steps: int,
    levels: tuple[Array, Array] | None = None,
    /,
) -> Array:
    """Run a rule from 0 and return the mean of the stationarity measure over the last half.

    The first half is left out, since what it measures is the way from the start. With levels of
    shape (lanes, seeds), factors on the two kinds of noise, each lane is a run of its own; a host
    array of their shape is returned, one number a seed without them.
    """
    start, xp = given.start(), given.backend.xp
    if levels is not None:
        start = xp.zeros_like(levels[0])[..., None, None] + start
    x = before = start
    state = rule.init(x)
    half = steps // 2
    stride = max(1, half // POINTS)
    found = []
    for t in range(steps):
        sample = _scaled(given.sample(t), levels)
        grad = given.value_and_grad(x, sample)[1]
        previous = given.value_and_grad(before, sample)[1] if rule.needs_previous_grad else None
        after, state = rule.update(x, grad, state, previous_grad=previous)
        if t >= half and (t - half) % stride == stride - 1:
            exact = given.value_and_grad(after)[1]
            measure = step_stationarity(
                x,
                state["momentum_buffer"],
                rule.step(t) if callable(rule.step) else rule.step,
                after,
                exact,
                preconditioner=rule.preconditioner,
            )
            found.append(given.backend.to_host(measure))
        before, x = x, after
    return numpy.stack(found).mean(axis=0)


def _scaled(sample: tuple[Array, Array], levels: tuple[Array, Array] | None) -> tuple[Array, Array]:
    if levels is None:
        return sample
    additive, factor = sample
    noise, relative = levels
    return noise[..., None, None] * additive, 1.0 + relative * (factor - 1.0)


def tune(
    trial: Trial,
    make_lane: Callable[[float, float], Lane],
    steps: int,
    tail: float,
    make: Callable[..., ProximalSpectral | ProximalStorm] = ProximalSpectral,
    /,
) -> dict[str, Any]:
    """Return the factors of step and alpha of the least measure, on seeds of their own.

    Powers of 2, from a coarse grid on, until no neighbour is better by more than a rounding to two
    digits. A factor at the end of its range counts as one that is not inside.
    """

    def score(points: Sequence[Point]) -> list[float]:
        lanes = [make_lane(2.0**each.first, 2.0**each.second) for each in points]
        seeds = TUNING[: trial.pick(2, 5)]
        rows = numpy.asarray(measured(trial, lanes, steps, seeds, tail, make))
        # Without the rounding a plateau would be walked along for gains of no size.
        return [float(f"{each:.2g}") for each in rows.mean(axis=1)]

    coarse = [Point(i, j) for i in (-2, 0, 2, 4) for j in (-2, 0, 2)]
    best = tuned(score, coarse, lambda each: max(map(abs, each)) <= WIDEST)
    return {
        "step": 2.0**best.point.first,
        "alpha": 2.0**best.point.second,
        "inside": best.inside and max(map(abs, best.point)) < WIDEST,
    }


def quotient(rows: Sequence[float], others: Sequence[float], /) -> list[float]:
    """Return the quotient of two means over the same seeds, and its 95 % bootstrap interval."""
    pairs = numpy.asarray([rows, others])
    count = pairs.shape[1]
    random = host.generator(0)
    drawn = []
    for _ in range(RESAMPLES):
        means = pairs[:, random.integers(0, count, count)].mean(axis=1)
        drawn.append(means[0] / means[1])
    low, high = numpy.quantile(drawn, (0.025, 0.975))
    means = pairs.mean(axis=1)
    return [float(means[0] / means[1]), float(low), float(high)]


def slopes(lengths: Sequence[int], means: Sequence[Sequence[float]], /) -> dict[str, Any]:
    """Fit log(mean over seeds) on log(length), with a bootstrap over the seeds.

    Parameters
    ----------
    lengths : sequence of int
        Of the runs.
    means : sequence of sequences of float
        One row a length, one number a seed; the same seeds in each row.
    """
    sizes = numpy.asarray([float(length) for length in lengths])
    rows = numpy.asarray(means)
    count = rows.shape[1]
    random = host.generator(0)
    drawn = [_slope(sizes, rows[:, random.integers(0, count, count)]) for _ in range(RESAMPLES)]
    low, high = numpy.quantile(drawn, (0.025, 0.975), axis=0)
    return {
        "slope": _slope(sizes, rows),
        "interval": [float(low), float(high)],
        "means": rows.mean(axis=1).tolist(),
        "rows": rows.tolist(),
    }


def verdict(found: Mapping[str, Any], exponent: float, /) -> Verdict:
    """Say "holds" if the whole interval is below exponent + slack, "fails" if it is above."""
    low, high = found["interval"]
    if high <= exponent + SLACK:
        return "holds"
    return "fails" if low > exponent + SLACK else "undecided"


def worst(verdicts: Iterable[Verdict], /) -> Verdict:
    """Return the verdict on several statements together."""
    given = set(verdicts)
    return next(each for each in ORDER if each in given)


def dominated(each: Mapping[str, Any], /) -> bool:
    """Say whether the measure at the longest run is that of the noise."""
    return bool(each["means"][-1] >= DOMINATES * each["control"][-1])


def told(found: Mapping[str, Any], /) -> str:
    """Return a slope with its interval."""
    low, high = found["interval"]
    return f"{found['slope']:.3f} ({low:.3f} to {high:.3f})"


def lengths(trial: Trial, /) -> tuple[int, ...]:
    """Return the lengths of the runs."""
    return trial.pick((250, 1000), (500, 1000, 2000, 4000))


def tuning_length(trial: Trial, /) -> int:
    """Return the gradients of a run for the choice of factors."""
    return trial.pick(100, 500)


def seeds(trial: Trial, /) -> range:
    """Return the seeds: they run as a stack, so that many cost little."""
    return range(1, 1 + trial.pick(5, 10))


def draw(
    axis: Any,
    lengths: Sequence[int],
    found: dict[str, dict[str, Any]],
    exponent: float,
    /,
) -> None:
    """Draw measures over the length of a run, and a line of the exponent; controls are dashed."""
    axis.set_xscale("log")
    axis.set_yscale("log")
    for i, (name, each) in enumerate(found.items()):
        color = f"C{i}"
        draw_band(
            axis,
            lengths,
            list(zip(*each["rows"], strict=True)),
            f"{name}: slope {each['slope']:.2f}",
            color=color,
            marker=".",
        )
        if "control" in each:
            axis.plot(lengths, each["control"], "--", color=color, linewidth=1)
        first = each["means"][0]
        line = [first * (k / lengths[0]) ** exponent for k in lengths]
        axis.plot(lengths, line, ":", color=color, linewidth=1)
    axis.tick_params(labelsize="small")
    axis.legend(fontsize="x-small")


def _slope(lengths: Array, rows: Array) -> float:
    return fitted_power(lengths, rows.mean(axis=1))[0]


def ball() -> SpectralBall:
    """Return the constraint of the set-up."""
    return SpectralBall(RADIUS)
