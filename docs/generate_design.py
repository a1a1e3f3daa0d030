"""Write the list of floors in docs/design.md from the contract in pyproject.toml.

Run from anywhere; with ``--check`` nothing is written and the exit code says whether it would be.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "design.md"
BEGIN, END = "<!-- floors: begin -->\n", "<!-- floors: end -->\n"


def floors() -> str:
    """Return the layers of the import contract, bottom to top, as a list."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each["id"] == "floors")
    lines = []
    for number, layer in enumerate(reversed(layers), start=1):
        names = re.split(r"\s*[|:]\s*", layer)
        lines.append(f"{number}. " + ", ".join(f"`{name}`" for name in names) + "\n")
    return "".join(lines)


def page() -> str:
    """Return the page with the list as it should be."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + floors() + END + after


if __name__ == "__main__":
    wanted = page()
    if "--check" in sys.argv[1:]:
        sys.exit(wanted != PAGE.read_text(encoding="utf-8") and f"{PAGE} is not up to date")
    PAGE.write_text(wanted, encoding="utf-8")
