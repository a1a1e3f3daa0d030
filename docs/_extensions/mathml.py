"""Formulas as MathML, written when the pages are built: no script and no other host."""

from typing import Literal

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

#: What latex2mathml leaves of braces behind \big.
_BRACES = {r">\{<": ">{<", r">\}<": ">}<"}


def mathml(latex: str, display: Literal["inline", "block"]) -> str:
    """Return one formula; a command that is not known is an error of the build."""
    found = convert(latex.strip(), display=display)
    for left, brace in _BRACES.items():
        found = found.replace(left, brace)
    if "\\" in found:
        msg = f"not understood as a formula: {latex!r}"
        raise ValueError(msg)
    return found


def visit_math(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_math_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    body = mathml(node.astext(), "block")
    translator.body.append(f'<div class="formula" tabindex="0">{body}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
