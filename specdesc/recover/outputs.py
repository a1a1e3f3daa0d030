"""The files of a recovery: the data, their parts, what was taken for an outlier, and a report."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from specdesc._lib import extras, host
from specdesc._lib.typing import Array
from specdesc.recover import outliers, report
from specdesc.recover.centring import Centre
from specdesc.recover.data import Data
from specdesc.recover.methods import BASELINES, Outcome
from specdesc.recover.names import Names, identity

#: Those whose result is of no low rank.
FILTERS = (BASELINES["median"],)

#: Rows of the list of outliers; a report of millions is of no use to anybody.
MOST_LISTED = 100_000


@dataclass(frozen=True)
class Results:
    """What there is to write.

    Attributes
    ----------
    source : Path
    names : Names
    destroyed, clean : Data
        What the methods saw, and the truth if it is known.
    centre : Centre
        Of the fits.
    replace : str
        One of `outliers.REPLACE`.
    outcomes : list of Outcome
        All of them, the one to be written at `best`.
    best : int
    all : bool
        Whether every method's result is written.
    facts : dict
        For the report.
    """

    source: Path
    names: Names
    destroyed: Data
    clean: Data | None
    centre: Centre
    replace: str
    outcomes: list[Outcome]
    best: int
    all: bool
    facts: dict[str, Any]


def write(results: Results, say: Callable[[str], None], /) -> None:
    """Write all files and say what they are."""
    data, names, form = results.destroyed, results.names, results.destroyed.form
    chosen = results.outcomes[results.best]
    unknown = outliers.unknown(data.values)
    fit = _without(chosen.values, unknown)
    found = outliers.find(data.values, fit, results.centre)
    files: dict[str, str] = {}

    def put(part: str, label: str, write: Callable[[Path, Array], None], values: Array) -> None:
        path = names.path(part, form.suffix)
        write(path, values)
        files[label] = path.name
        say(f"{label}: {path}")

    new = outliers.replaced(data.values, fit, found.mask, results.replace)
    put("recovered", "recovered", form.write, new)
    _say_unknown(unknown, data, say)
    if data.kind == "frames":
        put("background", "background", form.write, fit)
        put("foreground", "foreground", form.write_difference, data.values - fit)
    else:
        if chosen.method not in FILTERS:
            put("low-rank", "low-rank part", form.write, fit)
        put("sparse", "sparse part", form.write_difference, data.values - fit)
    put("mask", "outliers", form.write_mask, found.mask)
    if data.kind in ("table", "matrix") and data.values.ndim == 2:
        path = names.path("outliers", ".csv")
        _write_list(path, data, fit, found.mask)
        files["list of outliers"] = path.name
        say(f"list of outliers: {path}")
    if results.all:
        _write_others(results, files, unknown, say)
    _write_figure(results, files, say)
    path = names.path("report", ".json")
    facts = {
        "source": identity(results.source),
        **results.facts,
        "outliers": int(found.mask.sum()),
        "outlier_thresholds": found.thresholds.reshape(-1).tolist(),
        "files": files,
    }
    text = json.dumps(_finite(facts), indent=2, ensure_ascii=False, allow_nan=False)
    host.write_atomically(path, lambda file: file.write_text(text + "\n", encoding="utf-8"))
    say(f"report: {path}")


def _without(values: Array, unknown: Array) -> Array:
    """Return a fit without what would be invented."""
    return numpy.where(unknown, numpy.nan, values) if unknown.any() else values


def _say_unknown(unknown: Array, data: Data, say: Callable[[str], None]) -> None:
    if not unknown.any() or data.kind == "picture":  # transparent there, and still
        return
    missing = data.missing
    rows = int(missing.all(axis=-1).sum())
    columns = int(missing.all(axis=-2).sum())
    say(
        f"nothing is known of {rows} rows and {columns} columns, all of whose entries are missing: "
        "they are missing in the result, too"
    )


def _write_others(
    results: Results, files: dict[str, str], unknown: Array, say: Callable[[str], None]
) -> None:
    form, data = results.destroyed.form, results.destroyed
    several = len({outcome.backend for outcome in results.outcomes}) > 1
    for i, outcome in enumerate(results.outcomes):
        if i == results.best:
            continue
        fit = _without(outcome.values, unknown)
        mask = outliers.find(data.values, fit, results.centre).mask
        key = f"{outcome.key}-{outcome.backend}" if several else outcome.key
        path = results.names.path(f"recovered-{key}", form.suffix)
        form.write(path, outliers.replaced(data.values, fit, mask, results.replace))
        files[f"recovered by {outcome.method}, {outcome.backend}"] = path.name
        say(f"recovered by {outcome.method}, {outcome.backend}: {path}")


def _write_list(path: Path, data: Data, fit: Array, mask: Array) -> None:
    """Write row, column, value and expected value of each outlier, the worst first."""
    row = getattr(data.form, "row", str)
    column = getattr(data.form, "column", str)
    places = numpy.argwhere(mask)
    distance = abs(data.values - fit)[mask]
    order = numpy.argsort(-distance, kind="stable")[:MOST_LISTED]

    def fill(file: Path) -> None:
        with file.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened, lineterminator="\n")
            writer.writerow(["row", "column", "value", "expected"])
            for i, j in places[order]:
                value, expected = data.values[i, j], fit[i, j]
                writer.writerow([row(int(i)), column(int(j)), value.item(), expected.item()])

    host.write_atomically(path, fill)


def _write_figure(results: Results, files: dict[str, str], say: Callable[[str], None]) -> None:
    if not extras.installed("matplotlib"):
        say("no figure: that needs matplotlib: pip install 'specdesc[demo]'")
        return
    sheet = results.names.path("report", ".png")
    report.figure(sheet, results.outcomes, results.destroyed, results.clean)
    files["figure"] = sheet.name
    say(f"figure: {sheet}")


def _finite(value: Any) -> Any:
    """Return facts in which null stands for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
