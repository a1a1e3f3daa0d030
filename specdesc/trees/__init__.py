"""A rule over a tree of arrays: which parameter gets which rule, view and scale.

A tree is an array, or a dictionary, list, tuple or NamedTuple of trees; ``None`` is an empty one.
With JAX every registered pytree is a tree too. Each array in it has a path such as
``"layers.0.weight"``.
"""

from specdesc.trees.containers import leaves, rebuild
from specdesc.trees.groups import Group
from specdesc.trees.routes import Entry, Route, route
from specdesc.trees.steps import init, update
from specdesc.trees.views import Axes, View

__all__ = [
    "Axes",
    "Entry",
    "Group",
    "Route",
    "View",
    "init",
    "leaves",
    "rebuild",
    "route",
    "update",
]
