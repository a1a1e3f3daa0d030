"""Write the table of device times from committed results: ``python docs/generate_device.py``."""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "benchmarks" / "results" / "nvidia-h200" / "device.json"
TARGET = ROOT / "docs" / "data" / "benchmarks-device.md"

WHO = ("specdesc", "torch.optim.Muon", "specdesc, graph", "torch.optim.Muon, graph")


def table() -> str:
    """Return the table of factors and of whole steps, rows as they were measured."""
    rows = json.loads(SOURCE.read_text(encoding="utf-8"))["rows"]
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if "ms" in row:
            found.setdefault(row["what"], {})[row["who"]] = row
    lines = ["| matrix | " + " | ".join(WHO) + " | rms, ours | rms, theirs |"]
    lines.append("|---|" + "---:|" * 6)
    for what, by in found.items():
        if all(who in by for who in WHO):
            times = [f"{by[who]['ms']:.3g}" for who in WHO]
            errors = [f"{by[who]['rms']:.2g}" if "rms" in by[who] else "" for who in WHO[:2]]
            lines.append(
                f"| {what.removesuffix(', bfloat16')} | " + " | ".join(times + errors) + " |"
            )
    lines += ["", "| what | who | ms | extra memory, MiB |", "|---|---|---:|---:|"]
    for what, by in found.items():
        if not any(who in by for who in WHO[2:]) and "x x^T" not in what:
            for who, row in by.items():
                extra = f"{row['extra_mib']:.0f}" if "extra_mib" in row else ""
                lines.append(f"| {what} | {who} | {row['ms']:.3g} | {extra} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text(encoding="utf-8") != table() and f"{TARGET} is out of date")
    TARGET.write_text(table(), encoding="utf-8")
