"""Routes: which parameter gets which rule, view and scale."""

from dataclasses import dataclass, fields, is_dataclass, replace
from math import prod
from typing import Any, cast

from specdesc._lib.text import aligned
from specdesc._lib.typing import Array
from specdesc.rules import Layout, Rule, Scale, scale_factor
from specdesc.rules.rule import State
from specdesc.trees.containers import leaves
from specdesc.trees.groups import Group
from specdesc.trees.lengths import lengthened
from specdesc.trees.sections import Sections, output_axis, section_shapes
from specdesc.trees.views import Shape, View, view_of


@dataclass(frozen=True, eq=False)
class Entry:
    """What one parameter gets.

    Attributes
    ----------
    path : str
        Where it is in the tree.
    shape : tuple of int
        Its shape.
    view : View
        The matrices that the rule sees.
    rule : Rule or None
        With the scale in it. None leaves the parameter as it is.
    scale : float or tuple of float
        What the step of the rule is multiplied by for the sizes of the view, or of each section.
    group : int
        Which of the groups took it, -1 for the rest.
    stack : bool or None
        Whether it is updated together with others, as in `Group`.
    sections : tuple of int or None
        The outputs of the matrices that it holds, as in `Group`.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import rules, trees
    >>> params = {"w": np.ones((3, 2)), "b": np.zeros(3)}
    >>> route = trees.route(params, trees.Group("w", rules.Muon(0.1)), rest=rules.AdamW(0.01))
    >>> route["b"].path, route["b"].shape
    ('b', (3,))
    """

    path: str
    shape: Shape
    view: View
    rule: Rule | None
    scale: float | tuple[float, ...]
    group: int
    stack: bool | None
    sections: tuple[int, ...] | None = None

    def update(
        self,
        x: Array,
        grad: Array,
        state: State,
        value: Array | None,
        previous_grad: Array | None,
        /,
    ) -> tuple[Array, State]:
        """Apply the rule to matrices of this view, or leave them."""
        if self.rule is None:
            return x, state
        return self.rule.update(x, grad, state, value=value, previous_grad=previous_grad)


@dataclass(frozen=True, eq=False)
class Route:
    """Which parameter gets what; ``print(route)`` shows it, ``route[path]`` is one entry.

    Attributes
    ----------
    entries : tuple of Entry
        In the order of the tree.
    groups : tuple of str
        Names of the groups, that of the rest last.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import rules, trees
    >>> params = {"w": np.ones((3, 2)), "b": np.zeros(3)}
    >>> route = trees.route(params, trees.Group("w", rules.Muon(0.1)), rest=rules.AdamW(0.01))
    >>> route.groups, list(route.entries[0].shape)
    (("'w'", 'rest'), [3, 2])
    """

    entries: tuple[Entry, ...]
    groups: tuple[str, ...]

    @property
    def needs_previous_grad(self) -> bool:
        """Whether any rule needs the gradients of the same sample at the previous point."""
        return any(e.rule is not None and e.rule.needs_previous_grad for e in self.entries)

    def __getitem__(self, path: str) -> Entry:
        return {entry.path: entry for entry in self.entries}[path]

    def counts(self) -> dict[str, int]:
        """Return how many numbers each group holds, by its name."""
        return {
            name: sum(prod(e.shape) for e in self.entries if self.groups[e.group] == name)
            for name in self.groups
        }

    def __str__(self) -> str:
        head = ("parameter", "shape", "view", "rule", "scale", "numbers")
        rows = [head, *map(_row, self.entries)]
        lines = aligned(rows)
        total = max(1, sum(prod(entry.shape) for entry in self.entries))
        lines += [""]
        for name, count in self.counts().items():
            arrays = sum(self.groups[entry.group] == name for entry in self.entries)
            lines.append(f"{name}: {arrays} arrays, {count:,} numbers ({count / total:.1%})")
        return "\n".join(lines)


def route(params: Any, /, *groups: Group, rest: Rule | Group | None = None) -> Route:
    """Decide which parameter gets which rule, view and scale.

    Parameters
    ----------
    params : tree of arrays
        Only paths and shapes are read.
    *groups : Group
        Each parameter goes to the first group that takes it.
    rest : Rule or Group, optional
        For what no group takes. A bare rule sees each parameter as one matrix, view ``"whole"``.
        None: there must be no rest.

    Returns
    -------
    Route
        ``print(route)`` shows one line a parameter and the count of each group.

    Raises
    ------
    ValueError
        A group that takes no parameter, a parameter that no group takes, a view that does not fit
        the shape, or a rule and a group of different layouts; the message names group or path.

    See Also
    --------
    Group : What it takes.
    init : The first state.
    update : The step.

    Notes
    -----
    Sizes for the scale are those of the view, never those of the parameter: the kernel of a
    convolution counts as (out, in kh kw). A rule with a `scale` of its own is given that of its
    group, if it has one; of `rules.Scion` the radius is multiplied, of any other rule the step,
    and decoupled weight decay with it.

    Examples
    --------
    >>> import numpy as np
    >>> from specdesc import rules, trees
    >>> params = {"conv": np.ones((8, 3, 3, 3)), "head": np.ones((10, 8)), "bias": np.ones(10)}
    >>> print(
    ...     trees.route(
    ...         params,
    ...         trees.Group("conv*", rules.Muon(0.02), view="flatten", scale="rms_to_rms"),
    ...         rest=rules.AdamW(1e-3),
    ...     )
    ... )
    parameter  shape         view     rule   scale   numbers
    conv       (8, 3, 3, 3)  (8, 27)  Muon   0.5443  216
    head       (10, 8)       (10, 8)  AdamW  1       80
    bias       (10,)         (10, 1)  AdamW  1       10
    <BLANKLINE>
    'conv*': 1 arrays, 216 numbers (70.6%)
    rest: 2 arrays, 90 numbers (29.4%)
    """
    last = rest if isinstance(rest, Group) or rest is None else Group("*", rest, view="whole")
    entries = []
    for path, x in leaves(params).items():
        index = next((i for i, group in enumerate(groups) if group.takes(path, x)), -1)
        group = groups[index] if index >= 0 else last
        if group is None or (index < 0 and not group.takes(path, x)):
            msg = f"no group takes {path!r} of shape {tuple(x.shape)}, and no rest= does"
            raise ValueError(msg)
        entries.append(entry_of(path, tuple(x.shape), group, index))
    taken = {entry.group for entry in entries}
    for i, group in enumerate(groups):
        if i not in taken:
            msg = f"the group {group.named()} takes no parameter; paths: {_listed(entries)}"
            raise ValueError(msg)
    return Route(tuple(entries), (*_names(groups), "rest"))


def entry_of(path: str, shape: Shape, group: Group, index: int, /) -> Entry:
    """Return what a parameter of this path and shape gets from the group that takes it.

    Raises
    ------
    ValueError
        If the view or the sections do not fit the shape, or rule and group differ in layout.
    """
    layout = _layout(group)
    try:
        view = view_of(group.seen(), shape, layout)
        parts = section_shapes(group.sections, shape, layout) if group.sections else []
    except ValueError as error:
        msg = f"{path!r}, taken by {group.named()}: {error}"
        raise ValueError(msg) from error
    rule, scale = _scaled(group, view.shape, layout)
    if not parts or group.sections is None or rule is None:
        return Entry(path, shape, view, rule, scale, index, group.stack)
    pairs = [_scaled(group, part, layout) for part in parts]
    rules = tuple(own for own, _ in pairs if own is not None)
    scales = tuple(scale for _, scale in pairs)
    sectioned = Sections(rules, group.sections, output_axis(layout))
    # Sections of different parameters have no shape in common with a stack of them.
    return Entry(path, shape, view, sectioned, scales, index, False, group.sections)


def _layout(group: Group) -> Layout:
    own = cast("Layout | None", getattr(group.rule, "layout", None))
    if group.layout is not None and own is not None and group.layout != own:
        msg = f"the group {group.named()} has layout {group.layout!r}, its rule {own!r}"
        raise ValueError(msg)
    return group.layout or own or "out_in"


def _scaled(group: Group, shape: Shape, layout: Layout) -> tuple[Rule | None, float]:
    """Return the rule with the scale of its group, and the factor for matrices of this shape."""
    rule: Any = group.rule
    names = {field.name for field in fields(rule)} if is_dataclass(rule) else set()
    if group.scale is None or rule is None:
        own: Scale = getattr(rule, "scale", "none")
        return rule, scale_factor(own, shape, layout)
    factor = scale_factor(group.scale, shape, layout)
    if "scale" in names:
        return replace(rule, scale=group.scale), factor
    if "radius" in names:
        return replace(rule, radius=factor * rule.radius), factor
    return lengthened(rule, factor), factor


def _names(groups: tuple[Group, ...]) -> tuple[str, ...]:
    """Name the groups apart: two may have one pattern and different numbers of axes."""
    names = [group.named() for group in groups]
    return tuple(
        name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)
    )


def _row(entry: Entry) -> tuple[str, ...]:
    rule: object = entry.rule
    views, scales = str(entry.view.shape), entry.scale
    if isinstance(rule, Sections):
        layout: Layout = "out_in" if rule.axis == 0 else "in_out"
        views = " ".join(map(str, section_shapes(rule.sizes, entry.shape, layout)))
        rule = rule.rules[0]
    numbers = scales if isinstance(scales, tuple) else (scales,)
    return (
        entry.path or "(the array)",
        str(entry.shape),
        views,
        "-" if rule is None else type(rule).__name__,
        "-" if rule is None else " ".join(f"{number:.4g}" for number in numbers),
        f"{prod(entry.shape):,}",
    )


def _listed(entries: list[Entry]) -> str:
    shown = [entry.path for entry in entries[:20]]
    return ", ".join(shown + ["..."] * (len(entries) > len(shown))) or "none"
