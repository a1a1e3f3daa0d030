"""The table, the file and the picture of a benchmark, and the comparison with an older file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from specdesc._lib import extras, host
from specdesc._lib.text import aligned
from specdesc.recover.errors import UsageError

#: What a file of another shape says of itself.
FORMAT = 1

HEAD = (
    *("kernel", "shape", "dtype", "who", "ms", "ratio"),
    *("error", "products", "rate", "floor", "MiB"),
)


def table(rows: Sequence[Mapping[str, Any]], /) -> str:
    """Return the rows as text. A ratio above 1 says that we are faster."""
    cells = [HEAD]
    cells += [
        (
            row["kernel"],
            "x".join(map(str, row["shape"])) or "-",
            row["dtype"],
            row["who"],
            f"{row['ms']:.3g}",
            _ratio(row),
            _number(row["error"], ".1e"),
            _number(row["products"], ".3g"),
            _number(row["share of the rate"], ".0%"),
            _number(row["over the floor"], ".1f"),
            _number(row["peak MiB"], ".1f"),
        )
        for row in rows
    ]
    head, *lines = aligned(cells, left=4)
    return "\n".join([head, "-" * len(head), *lines])


def _ratio(row: Mapping[str, Any]) -> str:
    if row["ratio"] is None:
        return row["no ratio"] or "-"
    median, low, high = row["ratio"]
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def rates(found: Mapping[str, Mapping[str, float]], /) -> str:
    """Return what the machine can do, a line a backend, device and dtype."""
    cells = [("backend, device, dtype", "GFLOP/s", "GB/s")]
    cells += [
        (name, f"{each['flops'] / 1e9:.4g}", f"{each['bandwidth'] / 1e9:.3g}")
        for name, each in found.items()
    ]
    return "\n".join(aligned(cells, left=1))


def write(folder: Path, record: Mapping[str, Any], /) -> list[Path]:
    """Write ``bench.json``, and ``bench.png`` where matplotlib is; return what was written."""
    text = json.dumps({"format": FORMAT, **record}, indent=1, allow_nan=False) + "\n"
    written = [folder / "bench.json"]
    host.write_atomically(written[0], lambda file: file.write_text(text, encoding="utf-8"))
    if extras.installed("matplotlib") and record["rows"]:
        written.append(folder / "bench.png")
        host.write_atomically(written[1], lambda file: _draw(record["rows"], file))
    return written


def _draw(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw the time of every row over the least that the machine needs, where that is known."""
    matplotlib = extras.require("matplotlib.figure", "demo")
    labels = [f"{r['kernel']} {'x'.join(map(str, r['shape']))} {r['who']}" for r in rows]
    sheet = matplotlib.Figure(figsize=(9.0, 1.2 + 0.28 * len(rows)), layout="constrained")
    axis = sheet.subplots()
    places = list(range(len(rows)))[::-1]
    axis.barh(places, [row["ms"] for row in rows], color="tab:blue", label="measured")
    floors = [(place, row["floor ms"]) for place, row in zip(places, rows, strict=True)]
    known = [(place, floor) for place, floor in floors if floor is not None]
    if known:
        axis.plot(*zip(*[(f, p) for p, f in known], strict=True), "k|", ms=9, label="floor")
    axis.set_yticks(places, labels, fontsize="x-small")
    axis.set_xscale("log")
    axis.set_xlabel("ms a call; the floor is what products and bytes need at the measured rates")
    axis.legend(fontsize="small")
    sheet.savefig(file, format="png", dpi=110)


def read(path: Path, /) -> dict[str, Any]:
    """Return an older record.

    Raises
    ------
    UsageError
        If it is none, or of another format.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows, form = record["rows"], record["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path} is no file of specdesc bench: {error}"
        raise UsageError(msg) from error
    if form != FORMAT or not isinstance(rows, list):
        msg = f"{path} has the format {form}, this version reads {FORMAT}"
        raise UsageError(msg)
    return record


def comparison(old: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], /) -> str:
    """Return the times of an older file beside the new ones, and whether the ratios agree."""
    before = {_key(row): row for row in old["rows"]}
    cells = [("kernel", "shape", "dtype", "who", "ms before", "ms now", "now / before", "ratio")]
    inside = []
    for row in rows:
        was = before.get(_key(row))
        if was is None:
            continue
        agreement = "-"
        if row["ratio"] and was["ratio"]:
            inside.append(was["ratio"][1] <= row["ratio"][0] <= was["ratio"][2])
            agreement = "as before" if inside[-1] else "outside of its spread"
        cells.append(
            (
                *_key(row),
                f"{was['ms']:.3g}",
                f"{row['ms']:.3g}",
                f"{row['ms'] / was['ms']:.2f}",
                agreement,
            )
        )
    if len(cells) == 1:
        return "the two files have no row in common"
    lines = aligned(cells, left=4)
    if inside:
        lines.append(
            f"{sum(inside)} of {len(inside)} ratios lie where 95 % of the rounds lay before"
        )
    return "\n".join(lines)


def _key(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return row["kernel"], "x".join(map(str, row["shape"])), row["dtype"], row["who"]
