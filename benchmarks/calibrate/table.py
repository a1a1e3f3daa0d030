"""The decisions as the data file of the package."""

from . import grid

PRECISIONS = {
    "bfloat16": "half",
    "float32": "real32",
    "float64": "real64",
    "complex64": "complex64",
    "complex128": "complex128",
}

HEAD = """\
# Which method `orthogonalize` takes by itself, measured: made by `python -m benchmarks.calibrate`.
# A list reads: a method, the largest short side that it is the fastest for, the next method, ...
# The keys: library, precision; floor or none, aspect ratio, one matrix or a stack; tolerance.
"""


def render(machine, decisions):
    """Return ``{row of a cell: decision}`` as TOML."""
    lines = [HEAD, "[machine]", f"processor = {_string(machine['processor'])}"]
    lines += [f"cores = {machine['cores']}", f"threads = {_string(machine['threads'])}"]
    lines += [f"{name} = {_string(v)}" for name, v in machine["libraries"].items()]
    lines += ["", "[tolerances]"]
    lines += [f'"{name}" = {value}' for name, value in grid.TOLERANCES.items() if value is not None]
    heads = dict.fromkeys(row[:2] for row in decisions)
    for library, dtype in heads:
        lines += ["", f"[methods.{library}.{PRECISIONS[dtype]}]"]
        kinds = dict.fromkeys(row[2:5] for row in decisions if row[:2] == (library, dtype))
        for kind in kinds:
            found = {
                tol: decisions[library, dtype, *kind, tol]
                for tol in grid.TOLERANCES
                if (library, dtype, *kind, tol) in decisions
            }
            inside = ", ".join(f'"{tol}" = {_list(decision)}' for tol, decision in found.items())
            lines.append(f'"{", ".join(kind)}" = {{ {inside} }}')
    return "\n".join(lines) + "\n"


def _list(decision):
    return f"[{', '.join(_string(x) if isinstance(x, str) else str(x) for x in decision)}]"


def _string(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
