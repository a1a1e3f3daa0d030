"""What the claims about stochastic rates share: runs, the stationarity measure, and slopes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy

from specdesc._lib import host
from specdesc._lib.typing import Array
from specdesc.diagnostics import step_stationarity
from specdesc.preconditioners import Sqrt
from specdesc.problems import NoisyQuadratic, random_quadratic
from specdesc.prox import SpectralBall
from specdesc.rules import ProximalSpectral, ProximalStorm
from specdesc.verify.claim import Verdict
from specdesc.verify.curves import draw_band, fitted_power
from specdesc.verify.trial import Trial

#: The set-up, the same for every rate.
ROWS, COLUMNS = 8, 6
RADIUS = 1.0
PRECONDITIONER = Sqrt(eps=0.1)
NOISE = 0.3

#: At how many equally spaced steps of a run the measure is taken.
POINTS = 250

#: A claimed exponent may be missed by this much.
SLACK = 0.05

RESAMPLES = 2000

#: What several statements together come to, the first that occurs.
ORDER: tuple[Verdict, ...] = ("fails", "undecided", "holds")


def problem(trial: Trial, seeds: Sequence[int], tail: float, relative: float, /) -> NoisyQuadratic:
    """Return one quadratic a seed, as a stack."""
    return random_quadratic(
        ROWS,
        COLUMNS,
        seeds=tuple(seeds),
        tail=tail,
        noise=NOISE,
        relative=relative,
        backend=trial.backend.name,
    )


def mean_stationarity(
    given: NoisyQuadratic, rule: ProximalSpectral | ProximalStorm, steps: int, /
) -> list[float]:
    """Run a rule from 0 and return the mean of the stationarity measure, one number a seed."""
    x = before = given.start()
    state = rule.init(x)
    stride = max(1, steps // POINTS)
    found = []
    for t in range(steps):
        sample = given.sample(t)
        grad = given.value_and_grad(x, sample)[1]
        previous = given.value_and_grad(before, sample)[1] if rule.needs_previous_grad else None
        after, state = rule.update(x, grad, state, previous_grad=previous)
        if t % stride == stride - 1:
            exact = given.value_and_grad(after)[1]
            length = float(rule.step(t)) if callable(rule.step) else rule.step
            measure = step_stationarity(
                x,
                state["momentum_buffer"],
                length,
                after,
                exact,
                preconditioner=rule.preconditioner,
            )
            found.append(given.backend.to_host(measure))
        before, x = x, after
    means: list[float] = numpy.stack(found).mean(axis=0).tolist()
    return means


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


def verdict(found: dict[str, Any], exponent: float, /) -> Verdict:
    """Say "holds" if the whole interval is below exponent + slack, "fails" if it is above."""
    low, high = found["interval"]
    if high <= exponent + SLACK:
        return "holds"
    return "fails" if low > exponent + SLACK else "undecided"


def worst(verdicts: Iterable[Verdict], /) -> Verdict:
    """Return the verdict on several statements together."""
    given = set(verdicts)
    return next(each for each in ORDER if each in given)


def told(found: dict[str, Any], /) -> str:
    """Return a slope with its interval."""
    low, high = found["interval"]
    return f"{found['slope']:.3f} ({low:.3f} to {high:.3f})"


def tightness(found: dict[str, Any], exponent: float, /) -> str:
    """Say whether the exponent of a bound is what was measured."""
    low, high = found["interval"]
    if high < exponent - SLACK:
        return "The bound is beaten here: it is not tight for this problem."
    if low > exponent:
        return "The measured slope lies above the exponent, within the tolerance or beyond it."
    return "The exponent is about what is measured: the bound is nearly tight here."


def lengths(trial: Trial, /) -> tuple[int, ...]:
    """Return the lengths of the runs."""
    return trial.pick((250, 1000), (250, 500, 1000, 2000, 4000, 8000))


def seeds(trial: Trial, /) -> range:
    """Return the seeds: they run as a stack, so that many cost little."""
    return range(1, 1 + trial.pick(10, 20))


def draw(
    axis: Any,
    lengths: Sequence[int],
    found: dict[str, dict[str, Any]],
    promised: Mapping[str, float],
    /,
) -> None:
    """Draw the mean stationarity over the length of a run, with the lines of the exponents."""
    axis.set_xscale("log")
    axis.set_yscale("log")
    for i, (name, each) in enumerate(found.items()):
        rows = list(zip(*each["rows"], strict=True))
        label = f"{name}: slope {each['slope']:.3f}"
        draw_band(axis, lengths, rows, label, color=f"C{i}", marker=".")
        if name in promised:
            first = each["means"][0]
            line = [first * (k / lengths[0]) ** promised[name] for k in lengths]
            axis.plot(lengths, line, ":", color=f"C{i}", linewidth=1)
    axis.set_ylabel("mean stationarity; dotted: exponents")
    axis.legend(fontsize="small")


def _slope(lengths: Array, rows: Array) -> float:
    return fitted_power(lengths, rows.mean(axis=1))[0]


def ball() -> SpectralBall:
    """Return the constraint of the set-up."""
    return SpectralBall(RADIUS)
