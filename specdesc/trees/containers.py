"""Trees of arrays: their paths, and new trees of the same form."""

from collections.abc import Mapping
from copy import copy
from typing import Any

from specdesc._lib.typing import Array
from specdesc.backends.entry import owner
from specdesc.backends.loader import opened
from specdesc.backends.protocol import Opened


def leaves(tree: Any, /) -> dict[str, Array]:
    """Return the arrays of a tree by path.

    Parameters
    ----------
    tree : tree of arrays
        Anything with a ``shape`` counts as an array, so that shapes alone can be routed.

    Returns
    -------
    dict of str to array
        In the order of the tree. A path joins the keys, positions and field names on the way by
        dots; a lone array has the path ``""``.

    Raises
    ------
    TypeError
        For an object that is neither a container nor an array; the message has its path.
    ValueError
        If two arrays have one path, as in ``{"a": {"b": x}, "a.b": y}``.

    Examples
    --------
    >>> import numpy as np
    >>> import specdesc as sd
    >>> list(sd.trees.leaves({"layers": [{"weight": np.eye(2)}], "bias": np.ones(2)}))
    ['layers.0.weight', 'bias']
    """
    found: dict[str, Array] = {}
    _collect(tree, "", found)
    return found


def rebuild(tree: Any, leaves: Mapping[str, Array], /) -> Any:
    """Return a tree of the same form as `tree` with the arrays of `leaves`, by path.

    Raises
    ------
    KeyError
        If an array of `tree` has no counterpart.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import rules, trees
    >>> params = {"w": np.ones((3, 2)), "b": np.zeros(3)}
    >>> trees.rebuild(params, {"w": 1, "b": 2})
    {'w': 1, 'b': 2}
    """
    return _replace(tree, "", leaves)


def _collect(node: Any, path: str, found: dict[str, Array]) -> None:
    inside = _open(node, path)
    if inside is None:
        if path in found:
            msg = f"two arrays have the path {path!r}; rename one of the keys on the way"
            raise ValueError(msg)
        found[path] = node
        return
    for name, child in inside[0]:
        _collect(child, _join(path, name), found)


def _replace(node: Any, path: str, leaves: Mapping[str, Array]) -> Any:
    inside = _open(node, path)
    if inside is None:
        return leaves[path]
    children, close = inside
    return close([_replace(child, _join(path, name), leaves) for name, child in children])


def _join(path: str, name: str) -> str:
    """Return the path of a child; what is inside a box has no name of its own."""
    return f"{path}.{name}" if path and name else path or name


def _open(node: Any, path: str) -> Opened | None:
    """Return what is inside a container, None for an array."""
    if node is None:
        return [], lambda _: None
    if isinstance(node, dict):
        return [(str(key), child) for key, child in node.items()], lambda new: _refill(node, new)
    if isinstance(node, (list, tuple)):
        return _open_sequence(node)
    if owner(node) is not None:
        return None
    inside = opened(node)
    if inside is None and not hasattr(node, "shape"):
        msg = f"{path or 'the tree'} is neither an array nor a container of them, got {type(node)}"
        raise TypeError(msg)
    return inside


def _refill(node: dict[Any, Any], children: list[Any]) -> dict[Any, Any]:
    """Return a dictionary of the same kind: a default factory and an order stay what they are."""
    if type(node) is dict:
        return dict(zip(node, children, strict=True))
    new = copy(node)  # compilers do not follow it, so that plain ones are made above
    new.update(zip(node, children, strict=True))
    return new


def _open_sequence(node: Any) -> Opened:
    kind = type(node)
    fields = getattr(node, "_fields", None)
    if fields is not None:
        return list(zip(fields, node, strict=True)), lambda new: kind(*new)
    return [(str(i), child) for i, child in enumerate(node)], kind
