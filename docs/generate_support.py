"""Write support.md, and the table of the README, from the capability tables of the leaves.

Run ``python docs/generate_support.py`` after a change of a table, or with ``--check`` to only say
(exit code 1) that a committed page is not what the tables give.
"""

import argparse
import ast
import sys
import tomllib
from pathlib import Path

from specdesc._lib.text import markdown

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "support.md"
README = ROOT / "README.md"
MARKS = ("<!-- support table -->\n", "<!-- end of the support table -->\n")

HEAD = """\
# What runs where

This page is generated from the files `backends/*/capabilities.toml` by
`docs/generate_support.py`. The functions read the same tables: what they declare as unsupported
raises `NotImplementedError` with the reason given here. `specdesc info` prints the tables for the
libraries that are installed.

A library without a backend of its own that follows the Array API standard with its `linalg`
extension, such as array-api-strict, runs on the code that all libraries share.

## Libraries
"""

FUNCTIONS = """
## Functions

A name in brackets is a method of the function. "yes" means eager and traced where the library has
a tracer.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    tables = {
        path.parent.name: tomllib.loads(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "backends").glob("*/capabilities.toml"))
    }
    pages = {PAGE: render(tables), README: render_readme(tables)}
    if not parser.parse_args().check:
        for path, text in pages.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [
        path.relative_to(ROOT)
        for path, text in pages.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        sys.stderr.write(f"{path} is out of date: run python docs/generate_support.py\n")
    return 1 if stale else 0


def render_readme(tables):
    """Return the README with its table, one line a library."""
    before, rest = README.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    rows = [
        (
            name,
            "all" if not table.get("unsupported") else f"all but {len(table['unsupported'])}",
            ", ".join(table["dtypes"]),
        )
        for name, table in tables.items()
    ]
    header = ("backend", "functions", "dtypes")
    return "".join([before, MARKS[0], "\n", _table(header, rows), "\n\n", MARKS[1], after])


def render(tables):
    """Return the page."""
    return "\n".join(
        [
            HEAD,
            _libraries(tables),
            FUNCTIONS,
            _functions(tables),
            *_listed(tables, "notes", "Different from the other libraries"),
            *_reasons(tables, "unsupported", "Not supported"),
            *_reasons(tables, "untraced", "Not traced"),
            *_listed(tables, "unverified", "Written but not verified on the hardware"),
            "",
        ]
    )


def _libraries(tables):
    rows = [
        (
            name,
            f"{table['distribution']} {table['minimum']}",
            ", ".join(table["dtypes"]),
            table["branches"],
        )
        for name, table in tables.items()
    ]
    return _table(("backend", "at least", "dtypes", "reads values without waiting"), rows)


def _functions(tables):
    declared = {
        function
        for table in tables.values()
        for kind in ("unsupported", "untraced")
        for function in table.get(kind, {})
    }
    rows = [
        (f"`{function}`", *(_cell(function, table) for table in tables.values()))
        for function in sorted(_entered() | declared, key=str.lower)
    ]
    return _table(("function", *tables), rows)


def _cell(function, table):
    if function in table.get("unsupported", {}):
        return "no"
    return "eager only" if function in table.get("untraced", {}) else "yes"


def _entered():
    """Collect the names under which public functions look themselves up: ``enter("polar", x)``."""
    names = set()
    for path in (ROOT / "specdesc").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "enter"
                and isinstance(node.args[0], ast.Constant)
            ):
                names.add(node.args[0].value)
    return names | _operators()


def _operators():
    """Collect the classes that enter under their own name: functions, sets, preconditioners."""
    names = set()
    for path in (ROOT / "specdesc" / "prox").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            bases = {base.id for base in getattr(node, "bases", []) if isinstance(base, ast.Name)}
            if bases & {"Operator", "BoundedSet"} and node.name != "BoundedSet":
                names.add(f"prox.{node.name}")
    return names


def _reasons(tables, kind, title):
    listed = [
        f"- {name}, `{function}`: {reason}"
        for name, table in tables.items()
        for function, reason in table.get(kind, {}).items()
    ]
    return [f"\n## {title}\n", *listed] if listed else []


def _listed(tables, kind, title):
    listed = [f"- {name}: {what}" for name, table in tables.items() for what in table.get(kind, [])]
    return [f"\n## {title}\n", *listed] if listed else []


def _table(header, rows):
    return "\n".join(markdown(header, rows))


if __name__ == "__main__":
    sys.exit(main())
