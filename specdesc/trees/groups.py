"""Groups: which parameters a rule is for."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import cast

from specdesc._lib.typing import Array
from specdesc.rules import AdamW, Layout, Rule, Scale, SignDescent
from specdesc.trees.views import Axes, Shape, View

Pattern = str | re.Pattern[str] | Callable[[str, Array], bool]


@dataclass(frozen=True)
class Group:
    """The parameters that one rule is for, and how it sees them.

    Parameters
    ----------
    match : str, compiled regular expression, callable, or a tuple of them
        A string is a glob that the whole path has to match, in which ``*`` also spans dots; a
        regular expression may match anywhere in it (``re.search``); a callable is asked with path
        and array. Of a tuple one has to agree.
    rule : Rule or None
        Any of `specdesc.rules`. None leaves the parameters as they are.
    ndim : int, optional
        Take only parameters with this number of axes.
    view : str, Axes or callable, optional
        How a parameter becomes a stack of matrices (..., m, n); outputs are m for the layout
        ``"out_in"``. None is ``"matrix"``, and ``"whole"`` for rules that look at one number at a
        time and for parameters that stay as they are.

        - ``"matrix"``: it is one; two axes.
        - ``"flatten"``: (out, rest), all other axes joined, as for a convolution; two axes or more.
        - ``"batched"``: leading axes are stacks, as for experts; two axes or more.
        - ``"heads=n"``: n matrices along the axis of the outputs, as for queries, keys and values;
          ``"heads=n,axis=1"`` names the axis. Two axes.
        - ``"vector"``: (n, 1), a matrix with n outputs; one axis.
        - ``"whole"``: one matrix whatever the axes: flatten, vector, or (1, 1).
        - ``Axes(inputs=0, outputs=(1, 2))``: which axes are which, as for the kernels of an
          attention of Flax; what it does not name are stacks.
        - a function from the shape of a parameter to a `View`.
    scale : str, callable, or None
        As in `rules.scale_factor`, of the last two axes of the view: see `route`. None is what
        `rule` has.
    layout : {"out_in", "in_out"}, optional
        Whether outputs are the first axis of a parameter (torch) or its last (JAX, Keras). None is
        that of `rule` if it has one, else ``"out_in"``.
    stack : bool, optional
        Update all parameters with one view shape in one call of the rule. None does so where it is
        known to be faster: on accelerators and under compilers always, where code may look at
        values for views of at most 64 x 64 numbers. dask, which has no SVD of stacks, needs False
        for rules that are made of one.
    sections : tuple of int, optional
        The parameter is a matrix that holds several ones, of so many outputs each: fused
        projections of unequal sizes, such as ``(32, 8, 8)`` for grouped queries, keys and values.
        Each of them gets the rule, and the scale of its own sizes. Not together with `view`.

    Notes
    -----
    Rules that look at one number at a time, `rules.SignDescent` and `rules.AdamW`, give the same
    step in every view.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import rules, trees
    >>> params = {"w": np.ones((3, 2)), "b": np.zeros(3)}
    >>> route = trees.route(params, trees.Group("w", rules.Muon(0.1)), rest=rules.AdamW(0.01))
    >>> round(route["w"].scale, 3)
    1.225
    """

    match: Pattern | tuple[Pattern, ...]
    rule: Rule | None
    ndim: int | None = None
    view: str | Axes | Callable[[Shape], View] | None = None
    scale: Scale | None = None
    layout: Layout | None = None
    stack: bool | None = None
    sections: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.sections is None:
            return
        object.__setattr__(self, "sections", tuple(self.sections))
        if self.view not in (None, "matrix"):
            msg = f"sections={self.sections} cut a matrix: leave out view={self.view!r}"
            raise ValueError(msg)

    def takes(self, path: str, x: Array, /) -> bool:
        """Say whether this group is for a parameter."""
        if self.ndim is not None and len(x.shape) != self.ndim:
            return False
        patterns = self.match if isinstance(self.match, tuple) else (self.match,)
        return any(_agrees(pattern, path, x) for pattern in patterns)

    def seen(self) -> str | Axes | Callable[[Shape], View]:
        """Return the view, that of the rule where none was chosen."""
        if self.view is not None:
            return self.view
        return "whole" if self.rule is None or is_elementwise(self.rule) else "matrix"

    def named(self) -> str:
        """Return how messages call this group."""
        patterns = self.match if isinstance(self.match, tuple) else (self.match,)
        name = " or ".join(map(_spelled, patterns))
        return name if self.ndim is None else f"{name} with ndim={self.ndim}"


def is_elementwise(rule: Rule, /) -> bool:
    """Say whether a rule gives each entry the step of that entry, so that no view matters."""
    if isinstance(rule, SignDescent):
        # What error feedback divides a step by is a mean over the matrix.
        return rule.g is None and not rule.error_feedback
    return isinstance(rule, AdamW)


def _agrees(pattern: Pattern, path: str, x: Array) -> bool:
    if isinstance(pattern, str):
        return fnmatchcase(path, pattern)
    if isinstance(pattern, re.Pattern):
        return pattern.search(path) is not None
    return bool(pattern(path, x))


def _spelled(pattern: Pattern) -> str:
    if isinstance(pattern, str):
        return repr(pattern)
    if isinstance(pattern, re.Pattern):
        return f"re {pattern.pattern!r}"
    return cast("str", getattr(pattern, "__name__", repr(pattern)))
