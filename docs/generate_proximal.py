"""Write the table of proximal.md from `specdesc.prox.combinations()`; ``--check`` only compares."""

import argparse
import sys
from pathlib import Path

from specdesc import prox
from specdesc._lib.text import markdown

PAGE = Path(__file__).resolve().parent / "proximal.md"
MARKS = ("<!-- combinations -->\n", "<!-- end of combinations -->\n")
GEOMETRIES = ("spectral", "elementwise", "global", "rows", "columns")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    new = "".join([before, MARKS[0], "\n", table(), "\n\n", MARKS[1], after])
    if parser.parse_args().check:
        if new != text:
            sys.stderr.write("docs/proximal.md: run python docs/generate_proximal.py\n")
        return int(new != text)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def table():
    """Return one line a function, one column a geometry."""
    cells = {}
    for function, geometry, how, any_kernel in prox.combinations():
        word = {
            None: "",
            "magnitudes": "closed" if any_kernel else "kernel",
            "Euclidean projection": "Euclid",
            "bisection": "bisection",
        }[how]
        cells.setdefault(function, {})[geometry] = word
    header = ("function", *GEOMETRIES)
    rows = [(f"`{name}`", *(row[each] for each in GEOMETRIES)) for name, row in cells.items()]
    return "\n".join(markdown(header, rows))


if __name__ == "__main__":
    sys.exit(main())
