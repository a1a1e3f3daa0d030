"""Names in code are links: in docstrings by the default role, in pages where they are public."""

import re

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

import specdesc

_NAME = re.compile(r"(?:specdesc\.|sd\.)?([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\(\))?")


def public_name(text: str) -> str | None:
    """Return the full name of the public object that a piece of code is, if it is one."""
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    first, *rest = match[1].split(".")
    found = getattr(specdesc, first, None)
    if found is None or (not rest and not callable(found)):
        return None
    return f"specdesc.{match[1]}"


def link_literals(app: Sphinx, doctree: nodes.document) -> None:
    """Wrap inline code that is a public name; what has no entry stays code."""
    page = app.env.current_document.docname
    for literal in list(doctree.findall(nodes.literal)):
        inside = isinstance(literal.parent, nodes.reference | pending_xref | nodes.title)
        name = None if inside else public_name(literal.astext())
        if name is not None:
            link = pending_xref(
                "", refdomain="py", reftype="obj", reftarget=name, refdoc=page, refwarn=False
            )
            literal.replace_self(link)
            link += literal


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.reference | None:
    """Find names that are written as after ``from specdesc import rules``."""
    if node.get("refdomain") != "py":
        return None
    match = _NAME.fullmatch(node["reftarget"])
    entry = match and env.domains.python_domain.objects.get(f"specdesc.{match[1]}")
    if not entry:
        return None
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("doctree-read", link_literals)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
