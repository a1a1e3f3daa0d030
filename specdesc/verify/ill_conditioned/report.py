"""What was found, as a verdict, in words, as numbers and as a figure."""

from collections.abc import Mapping
from typing import Any

import numpy

from specdesc.verify.claim import Verdict
from specdesc.verify.curves import draw_band
from specdesc.verify.ill_conditioned.methods import BASELINES, SPECTRAL
from specdesc.verify.ill_conditioned.runs import mean_error, ratio
from specdesc.verify.trial import Trial

#: method -> what was chosen for it and what its runs showed
Found = Mapping[str, Mapping[str, Any]]


def compared(
    found: Mapping[str, Found], /
) -> tuple[Verdict, dict[str, dict[str, tuple[str, list[float]]]]]:
    """Return the verdict and, by problem and spectral method, its closest rival.

    The rival comes with the quotient of the errors and the 95 % interval of that. The statement
    holds if every quotient with every rival is below 1 with its interval, and fails if one is above
    it with its interval.
    """
    rivals: dict[str, dict[str, tuple[str, list[float]]]] = {}
    verdicts: set[Verdict] = set()
    for name, methods in found.items():
        rivals[name] = {}
        for spectral in SPECTRAL:
            quotients = {
                other: ratio(last(methods[spectral]), last(methods[other]))
                for other in methods
                if other in BASELINES
            }
            for _, low, high in quotients.values():
                verdicts.add("holds" if high < 1.0 else "fails" if low > 1.0 else "undecided")
            closest = max(quotients, key=lambda other: quotients[other][2])
            rivals[name][spectral] = closest, list(quotients[closest])
    order: tuple[Verdict, ...] = ("fails", "undecided", "holds")
    return next(each for each in order if each in verdicts), rivals


def last(method: Mapping[str, Any], /) -> list[float]:
    """Return the error at the end of each run."""
    return [each["last"] for each in method["runs"]]


def alignment(method: Mapping[str, Any], /) -> float:
    """Return the median cosine of a step and of what is missing, along all runs."""
    return float(numpy.median([each["cosines"] for each in method["runs"]]))


def lemma(cosine: float, /) -> float:
    """Return the factor of the error in the best step of this alignment: the master lemma."""
    return float(max(0.0, 1.0 - cosine**2) ** 0.5)


def measured_rate(method: Mapping[str, Any], /) -> float:
    """Return the mean factor of the error in a step."""
    return float(mean_error(last(method)) ** (1.0 / method["runs"][0]["points"][-1]))


def sentence(
    trial: Trial,
    found: Mapping[str, Found],
    rivals: Mapping[str, Mapping[str, tuple[str, list[float]]]],
    /,
) -> str:
    """Say who ends where, and why."""
    parts = [f"Geometric means of the relative error over {len(trial.seeds)} seeds."]
    for name, methods in found.items():
        ordered = sorted(methods, key=lambda each: mean_error(last(methods[each])))
        ends = ", ".join(f"{each} {mean_error(last(methods[each])):.0e}" for each in ordered)
        parts.append(f"{name[0].upper()}{name[1:]}: {ends}.")
        for spectral, (other, (middle, low, high)) in rivals.get(name, {}).items():
            parts.append(
                f"{spectral} ends at {middle:.1e} [{low:.0e}, {high:.0e}] times the error of its "
                f"closest rival, {other}."
            )
    for name in rivals:
        full, plain = (found[name][each] for each in ("SD", "subgradient"))
        cosines = alignment(full), alignment(plain)
        parts.append(
            f"{name[0].upper()}{name[1:]}: the median cosine of step and error is {cosines[0]:.3f} "
            f"for SD and {cosines[1]:.3f} for the subgradient, so that no steps along them "
            f"contract by more than {lemma(cosines[0]):.4f} and {lemma(cosines[1]):.4f} a step "
            f"there (master lemma); measured {measured_rate(full):.4f} and "
            f"{measured_rate(plain):.4f}."
        )
    edge = [
        f"{method} ({name})"
        for name, methods in found.items()
        for method, each in methods.items()
        if not each["chosen"]["inside"]
    ]
    parts.append(
        "Steps and decays were tuned on other seeds until all neighbours of the best were worse"
        + (f", but for {', '.join(edge)}." if edge else ".")
    )
    return " ".join(parts)


def numbers(
    trial: Trial,
    found: Mapping[str, Found],
    rivals: Mapping[str, Mapping[str, tuple[str, list[float]]]],
    /,
) -> dict[str, Any]:
    """Return what was measured."""
    return {
        "seeds": len(trial.seeds),
        "relative error, geometric mean": _each(found, lambda each: mean_error(last(each))),
        "relative error, least and largest": _each(
            found, lambda each: [min(last(each)), max(last(each))]
        ),
        "closest rival, quotient of errors and 95 % interval": {
            name: {method: [other, *of] for method, (other, of) in each.items()}
            for name, each in rivals.items()
        },
        "median cosine of step and error": _each(
            {name: found[name] for name in found if _has_cosines(found[name])}, alignment
        ),
        "median nuclear rank of the gradient": _each(
            {name: found[name] for name in found if _has_cosines(found[name])},
            lambda each: float(numpy.median([one["nuclear ranks"] for one in each["runs"]])),
        ),
        "stable rank of the inputs, median": {
            name: float(numpy.median([one["stable rank"] for one in methods["SD"]["runs"]]))
            for name, methods in found.items()
            if methods["SD"]["runs"][0]["stable rank"] is not None
        },
        "mean factor of the error in a step": _each(found, measured_rate),
        "chosen": _each(found, lambda each: each["chosen"]),
    }


def draw(found: Mapping[str, Found], figure: Any, /) -> None:
    """Draw errors and alignments along the runs."""
    axes = figure.subplots(1, 1 + len(found))
    shown = ("Muon", "SD", "AdamW", "sign", "subgradient", "subgradient, momentum")
    for axis, (name, methods) in zip(axes, found.items(), strict=False):
        axis.set_yscale("log")
        for i, method in enumerate(shown):
            if method in methods:
                each = methods[method]["runs"]
                rows = [one["errors"] for one in each]
                draw_band(axis, each[0]["points"], rows, method, color=f"C{i}")
        axis.set_title(name, fontsize="medium")
        axis.set_xlabel("step")
        axis.tick_params(labelsize="small")
    axes[0].set_ylabel("relative error")
    axes[0].legend(fontsize="small", loc="lower left")
    name, methods = list(found.items())[-1]
    for i, method in enumerate(shown[:5]):
        if method in methods:
            each = methods[method]["runs"]
            middle = numpy.median([one["cosines"] for one in each], axis=0)
            axes[-1].plot(each[0]["looks"], middle, color=f"C{i}", label=method)
    axes[-1].set_title(f"cos(step, error)\n{name}", fontsize="medium")
    axes[-1].set_xlabel("step")
    axes[-1].tick_params(labelsize="small")


def _each(found: Mapping[str, Found], take: Any) -> dict[str, dict[str, Any]]:
    return {
        name: {method: take(each) for method, each in methods.items()}
        for name, methods in found.items()
    }


def _has_cosines(methods: Found) -> bool:
    return all(each["runs"][0]["cosines"] for each in methods.values())
