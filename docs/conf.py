"""Configuration of the documentation: ``sphinx-build -E -W docs docs/_build/html``."""

import re
import sys
import tomllib
from importlib.metadata import version as installed_version
from pathlib import Path

project = "specdesc"
author = "The specdesc developers"
project_copyright = "The specdesc developers"
version = release = installed_version("specdesc")

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "myst_parser",
    "numpydoc",
    "mathml",
    "names",
    "pictures",
]
exclude_patterns = ["_build", "data"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"specdesc {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["specdesc.css"]

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

# A name in a docstring is a link where it is documented, and code where it is not.
default_role = "obj"
add_module_names = False
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False

# "all" with the checks that are left out. The list in pyproject.toml is for `numpydoc lint`; a
# rendered page leaves out more: methods whose one line says all (PR01, RT01), arguments that are
# described at another function (PR04), texts that begin with a formula (PR08, SS02), and comments
# behind "#:", which have no quotes to close (GL02).
_pyproject = Path(__file__).parent.parent / "pyproject.toml"
_tools = tomllib.loads(_pyproject.read_text(encoding="utf-8"))["tool"]
numpydoc_validation_checks = {
    *_tools["numpydoc_validation"]["checks"],
    *("GL02", "PR01", "PR04", "PR08", "RT01", "SS02"),
}


def _escape_bars(app, what, name, obj, options, lines):
    """Docstrings write |x| and ||x|| for norms, which reStructuredText reads as substitutions."""
    formula = False
    for number, line in enumerate(lines):
        if line.strip():
            # A formula goes on as long as its lines are indented.
            formula = line.startswith(".. math::") or (formula and line.startswith(" "))
        if not formula and not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(``[^`]*``|:math:`[^`]*`)", line)
            lines[number] = "".join(
                part if part.startswith(("``", ":math:")) else part.replace("|", r"\|")
                for part in parts
            )


def setup(app):
    # After numpydoc, which parses the docstring as it was written.
    app.connect("autodoc-process-docstring", _escape_bars, priority=900)
