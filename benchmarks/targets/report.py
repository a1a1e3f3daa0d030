"""The table as Markdown for readers and as JSON for programs."""

import json
from dataclasses import asdict

from specdesc._lib.text import markdown

SIGNS = {"aim": "aim", "bar": "bar", "below": "**below**", "less accurate": "**less accurate**"}


def as_json(machine, settings, rows):
    """Return everything that was measured."""
    found = [{**asdict(row), "verdict": row.verdict} for row in rows]
    text = json.dumps({"machine": machine, "settings": settings, "rows": found}, indent=1)
    return text + "\n"


def as_markdown(machine, settings, rows):
    """Return a table of verdicts and one of contestants."""
    libraries = ", ".join(f"{k} {v}" for k, v in machine["libraries"].items())
    missed = sum(row.verdict not in ("aim", "bar") for row in rows)
    contestants = [_contestant(row, entry) for row in rows for entry in row.entries]
    return "\n".join(
        [
            f"Measured on {machine['processor']}, {machine['cores']} cores, threads: "
            f"{machine['threads']}; Python {machine['python']}, {libraries}. "
            f"Medians of {settings['rounds']} alternations, method "
            f"{settings['method']}.{_others(settings['others'])}",
            "",
            f"{len(rows) - missed} of {len(rows)} rows reach their bar; those that do not are "
            "**bold**.",
            "",
            _table(
                ("work", "against", "measured", "bar", "aim", "reached", "note"),
                [_verdict(row) for row in rows],
            ),
            "",
            *(_contestants(contestants) if contestants else ()),
        ]
    )


def _contestants(lines):
    header = ("work", "who", "ms", "max abs(1 - t)", "rms", "distance", "error", "status", "")
    return "Every contestant:", "", _table(header, lines), ""


def _others(share):
    if share is None:
        return ""
    return f" Other processes took {100 * share:.0f} % of the machine meanwhile."


def _verdict(row):
    missed = row.verdict not in ("aim", "bar")
    measured = f"{row.value:.2f} {row.unit}"
    return (
        row.work,
        row.against,
        f"**{measured}**" if missed else measured,
        f"{row.sense} {row.bar:.3g}",
        "" if row.aim is None else f"{row.aim:.3g}",
        SIGNS[row.verdict],
        row.note,
    )


def _contestant(row, entry):
    reached = ("", "", "") if entry.accuracy is None else map("{:.2g}".format, entry.accuracy)
    return (
        row.work,
        entry.name,
        f"{1e3 * entry.seconds:.4g}",
        *reached,
        "" if entry.error is None else f"{entry.error:.2g}",
        "" if entry.status is None else str(entry.status),
        entry.note,
    )


def _table(header, rows):
    return "\n".join(markdown(header, rows))
