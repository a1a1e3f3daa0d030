"""Which function has a prox in which geometry, and how it is computed."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

from specdesc._linalg.magnitudes import GEOMETRIES, Geometry
from specdesc.prox.frames import Frame
from specdesc.prox.profile import Penalty, SetProfile

How = Literal["magnitudes", "Euclidean projection", "bisection"]

#: The axes of one group.
AXES: dict[Geometry, tuple[int, ...]] = {
    "elementwise": (),
    "rows": (-1,),
    "columns": (-2,),
    "global": (-2, -1),
}


class Framed(Protocol):
    """What decides the geometries of a function or a set."""

    @property
    def frame(self) -> Frame:
        """What it depends on."""
        ...

    @property
    def profile(self) -> Penalty | SetProfile:
        """The function or set of magnitudes."""
        ...

    @property
    def is_set(self) -> bool:
        """Whether it is a set."""
        ...

    @property
    def is_convex(self) -> bool:
        """Whether it is convex."""
        ...


class Combination(NamedTuple):
    """One line of the table.

    Attributes
    ----------
    function, geometry : str
        Names.
    how : str or None
        ``"magnitudes"``: the prox of a function of numbers, lifted. ``"Euclidean projection"``:
        the same for every kernel. ``"bisection"``: the Euclidean prox with a step that solves one
        equation. None: not there.
    any_kernel : bool
        The result does not depend on the kernel, so that polynomials have it, too.
    """

    function: str
    geometry: Geometry
    how: How | None
    any_kernel: bool


def how(g: Framed, geometry: Geometry, /) -> How | None:
    """Say how a prox in a geometry is computed, None where there is none.

    In its own frame a function of magnitudes reduces to numbers (von Neumann's inequality for
    singular values). Isotropic phi, of the whole or of groups over which g is a sum, projects like
    Euclid, and has the Euclidean prox with another step for convex g (derived).
    """
    if geometry in g.frame.geometries:
        return "magnitudes"
    isotropic = geometry == "global" or (
        g.profile.separable and not g.frame.unitary and geometry != "spectral"
    )
    if not isotropic:
        return None
    if g.is_set:
        return "Euclidean projection"
    return "bisection" if g.is_convex else None


def needs_kernel(g: Framed, geometry: Geometry, /) -> bool:
    """Say whether the result depends on the kernel; an isotropic projection never does."""
    return bool(g.profile.depends_on_kernel) and not (g.is_set and geometry == "global")


def missing(g: Framed, geometry: Geometry, /) -> NotImplementedError:
    """Return the exception that says what there is instead."""
    there = ", ".join(each for each in GEOMETRIES if how(g, each) is not None)
    msg = (
        f"{type(g).__name__} has no prox in the geometry {geometry!r}; it has one in: {there}. "
        "specdesc.prox.combinations() lists all"
    )
    return NotImplementedError(msg)


def rows(functions: Iterator[Framed], /) -> Iterator[Combination]:
    """Return the lines of the table."""
    for g in functions:
        for geometry in GEOMETRIES:
            way = how(g, geometry)
            free = way is not None and not needs_kernel(g, geometry)
            yield Combination(type(g).__name__, geometry, way, free)
