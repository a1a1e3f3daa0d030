"""What the training runs say: table, sentence, verdict and figure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from specdesc.verify.claim import Finding, Verdict
from specdesc.verify.training.candidates import FREE, HELD
from specdesc.verify.training.runs import Cell

#: Accuracy that may be lost.
MARGIN = 0.01
#: 97.5 % quantiles of Student's t by the number of pairs.
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}

Table = Mapping[str, Mapping[str, Any]]


def finding(runs: Mapping[str, Table], tuning: int, /) -> Finding:
    """Return the finding of the runs by task and rule.

    A run has ``step``, ``cells`` of all seeds, ``grid`` from steps to cells, and ``constrained``.
    """
    tables = {
        task: {name: _row(measured) for name, measured in table.items()}
        for task, table in runs.items()
    }
    compared = {
        (_best(table, names, "validation accuracy"), task): _compare(table, names)
        for task, table in tables.items()
        for names in HELD.values()
        if any(name in table for name in names)
    }
    feasible = all(
        row["largest excess"] == 0.0
        for table in tables.values()
        for name, row in table.items()
        if any(name in names for names in HELD.values())
    )
    numbers = {
        **{task: {n: _shown(row) for n, row in table.items()} for task, table in tables.items()},
        "accuracy gained over the best free rule, with its interval": {
            f"{name} on {task}": [each["best"], each["gain"], each["low"], each["high"]]
            for (name, task), each in compared.items()
        },
        "seeds": min(len(row["tests"]) for table in tables.values() for row in table.values()),
        "seeds of the search": tuning,
    }
    return Finding(
        _verdict(feasible, list(compared.values())),
        _sentence(feasible, compared, tables),
        numbers,
        lambda figure: _draw(figure, tables),
    )


def _row(measured: Mapping[str, Any]) -> dict[str, Any]:
    cells: Sequence[Cell] = measured["cells"]
    tests = [cell["test"] for cell in cells]
    mean, spread = _mean_and_deviation(tests)
    grid = {
        f"{step:g}": sum(cell["valid"] for cell in row) / len(row)
        for step, row in measured["grid"].items()
    }
    return {
        "step": measured["step"],
        "validation accuracy": grid[f"{measured['step']:g}"],
        "test accuracy": mean,
        "deviation": spread,
        "training loss": _mean_or_none(cells, "loss"),
        "spectral norm": _largest(cells, "spectral"),
        "Frobenius norm": _largest(cells, "frobenius"),
        "largest excess": _largest(cells, "excess"),
        "seconds": sum(cell["seconds"] for cell in cells) / len(cells),
        "processor seconds": sum(cell["processor seconds"] for cell in cells) / len(cells),
        "gradients": cells[0]["gradients"],
        "grid": grid,
        "tests": tests,
        "constrained": measured["constrained"],
    }


def _best(table: Table, names: Sequence[str], by: str) -> str:
    return max((name for name in names if name in table), key=lambda name: table[name][by])


def _compare(table: Table, names: Sequence[str]) -> dict[str, Any]:
    """Return what a rule gains over the best of the free ones, seed by seed, with 95 %.

    Radius and weight decay are chosen by validation; the best of the free rules by the test itself,
    which favours it.
    """
    name = _best(table, names, "validation accuracy")
    families = [_best(table, f, "validation accuracy") for f in FREE.values() if f[0] in table]
    best = _best(table, families, "test accuracy")
    gains = [a - b for a, b in zip(table[name]["tests"], table[best]["tests"], strict=True)]
    mean, spread = _mean_and_deviation(gains)
    half = STUDENT[len(gains)] * spread / math.sqrt(len(gains))
    return {"best": best, "gain": mean, "low": mean - half, "high": mean + half}


def _verdict(feasible: bool, compared: Sequence[Mapping[str, Any]]) -> Verdict:
    if not feasible or any(each["high"] < -MARGIN for each in compared):
        return "fails"
    return "holds" if all(each["low"] > -MARGIN for each in compared) else "undecided"


def _sentence(
    feasible: bool,
    compared: Mapping[tuple[str, str], Any],
    tables: Mapping[str, Table],
) -> str:
    parts = [
        "Every layer was in its ball after every step"
        if feasible
        else "A layer has left its ball, see the largest excess"
    ]
    for (name, task), each in compared.items():
        parts.append(
            f"{name} on {task}: {100 * each['gain']:+.1f} points "
            f"[{100 * each['low']:+.1f}, {100 * each['high']:+.1f}] against {each['best']}"
        )
    for task, table in tables.items():
        first, last = (pick(table, key=lambda n: table[n]["test accuracy"]) for pick in (max, min))
        parts.append(
            f"on {task} the most accurate is {first} ({table[first]['test accuracy']:.1%}), the "
            f"least {last} ({table[last]['test accuracy']:.1%})"
        )
    return "; ".join(parts) + "."


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("tests", "constrained")}


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def _mean_or_none(cells: Sequence[Cell], key: str) -> float | None:
    values = [cell[key] for cell in cells]
    return None if None in values else sum(values) / len(values)


def _largest(cells: Sequence[Cell], key: str) -> float | None:
    values = [cell[key] for cell in cells]
    return None if None in values else max(values)


def _draw(figure: Any, tables: Mapping[str, Table]) -> None:
    figure.set_size_inches(8.0, 7.0)
    top, bottom = figure.subplots(2, len(tables), squeeze=False, height_ratios=(3, 2))
    for axis, (task, table) in zip(top, tables.items(), strict=True):
        _draw_accuracies(axis, table)
        axis.set_title(f"{task}: test accuracy at the best step", fontsize="small")
    for axis in top[1:]:
        axis.set_yticklabels([])
    for axis, (task, table) in zip(bottom, tables.items(), strict=True):
        _draw_search(axis, table)
        axis.set_title(f"{task}: validation accuracy by step", fontsize="small")
    for axis in (*top, *bottom):
        axis.tick_params(labelsize="x-small")


def _draw_accuracies(axis: Any, table: Table) -> None:
    """Draw one line a rule; constrained ones are filled."""
    for height, row in enumerate(table.values()):
        axis.errorbar(
            row["test accuracy"],
            -height,
            xerr=row["deviation"],
            fmt="o",
            color="tab:blue" if row["constrained"] else "tab:orange",
            fillstyle="full" if row["constrained"] else "none",
            markersize=4,
        )
    axis.set_yticks([-height for height in range(len(table))], list(table))
    axis.grid(axis="x", alpha=0.3)


def _draw_search(axis: Any, table: Table) -> None:
    """Draw the grid of the best rule of each family, and of the rules without one."""
    families = [*FREE.values(), *HELD.values()]
    known = {name for names in families for name in names}
    families += [(name,) for name in table if name not in known]
    for names in families:
        if any(name in table for name in names):
            best = _best(table, names, "validation accuracy")
            steps, heights = zip(*table[best]["grid"].items(), strict=True)
            style = "-" if table[best]["constrained"] else "--"
            axis.semilogx([float(s) for s in steps], heights, style, marker=".", label=best)
    axis.legend(fontsize=5)
