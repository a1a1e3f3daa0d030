"""Preconditioners against what makes them one: the gradient of the conjugate of a function."""

import math
from typing import Protocol

from specdesc._lib.typing import Array
from specdesc.testing.report import Report
from specdesc.testing.stack import check_stack
from specdesc.testing.trial import DRAWS, Trial

SIZES = (1e-3, 0.03, 0.3, 1.0, 10.0)


class Map(Protocol):
    """What is checked."""

    def __call__(self, x: Array, /) -> Array:
        """Return grad phi*(x)."""
        ...

    def conjugate(self, x: Array, /) -> Array:
        """Return phi*(x)."""
        ...

    def reference(self, x: Array, /) -> Array:
        """Return phi(x)."""
        ...


def check_preconditioner(
    p: Map,
    /,
    *,
    shape: tuple[int, int] = (4, 3),
    transposed: bool = True,
    dtype: str | None = None,
    backend: str = "numpy",
    seed: int = 0,
) -> Report:
    """Hold a preconditioner to be the gradient of the conjugate of its reference function.

    Parameters
    ----------
    p : callable
        On matrices, with ``conjugate(x)`` and ``reference(x)``, and ``lipschitz`` if it has such a
        constant.
    shape, transposed, dtype, backend, seed
        Of the matrices that are tried, as in `check_prox`.

    Returns
    -------
    Report
        ``(passed, failures)``.

    Raises
    ------
    NotImplementedError
        What `p` raises.

    Notes
    -----
    Odd, 0 at zero, monotone, Lipschitz as it says; phi(u) + phi*(d) = <u, d> at u = p(d) and at
    least that elsewhere; the gradient of phi* by differences: at random matrices, at zero, and
    where entries or singular values tie. A stack is a loop. How well phi is known at u, near the
    end of its domain, is measured, and what is not known is not held against it.

    Examples
    --------
    >>> from specdesc import preconditioners, testing
    >>> testing.check_preconditioner(preconditioners.Tanh(eps=0.5), dtype="float32").passed
    True
    """
    trial = Trial(seed, shape, dtype, backend)
    with trial.caught():
        for turn in range(1 + (transposed and shape[0] != shape[1])):
            if turn:
                trial.turned()
            _check(trial, p)
    return trial.report()


def _check(trial: Trial, p: Map) -> None:
    points = [(size, trial.draw(size=size)) for size in SIZES for _ in range(DRAWS)]
    for size, x in [*points, *((1.0, x) for x in trial.special().values())]:
        y = trial.draw(size=size)
        u, v = p(x), p(y)
        if not trial.alike("map", x, u, trial.host(x)):
            return
        trial.near("odd", trial.size(p(-x) + u), 0.0, trial.size(u))
        trial.near("zero", trial.size(p(0 * x)), 0.0, 0.0)
        scale = (trial.size(u) + trial.size(v)) * trial.apart(x, y)
        trial.near("monotone", 0.0, trial.inner(u - v, x - y), scale)
        _check_lipschitz(trial, p, x, y, u)
        _check_fenchel(trial, p, x, u, v)
        _check_gradient(trial, p, x, u, y)
    check_stack(trial, "map of a stack", p)
    check_stack(trial, "conjugate of a stack", p.conjugate)


def _check_lipschitz(trial: Trial, p: Map, x: Array, y: Array, u: Array) -> None:
    constant = float(getattr(p, "lipschitz", math.inf))
    if constant == math.inf:
        return
    for near in (y, x + 1e-3 * y, x + 1e-3 * x, 1e-6 * y):
        moved, length = trial.apart(p(near), u), trial.apart(near, x)
        scale = trial.size(u) + constant * (length + trial.size(x))
        trial.near("Lipschitz", moved, constant * length, scale)


def _check_fenchel(trial: Trial, p: Map, x: Array, u: Array, v: Array) -> None:
    def price(z: Array, shrunk: float) -> float:
        return trial.number(p.reference((1.0 - shrunk) * z))

    conjugate = trial.number(p.conjugate(x))
    # Rounding may take u to the end of the domain, where phi is steep.
    unit = trial.rounding
    here, further = price(u, unit), price(u, 2.0 * unit)
    product = trial.inner(u, x)
    size = abs(here) + abs(conjugate) + trial.size(u) * trial.size(x)
    room = 4.0 * abs(here - further) + 2.0 * unit * size
    trial.equal("Fenchel and Young: equality at the map", here + conjugate, product, room)
    for z in (v, 0.5 * u, 0.9 * u, 0.9 * v, 0 * u):
        lower, product = price(z, unit) + conjugate, trial.inner(z, x)
        size = abs(conjugate) + trial.size(z) * trial.size(x)
        room = 4.0 * abs(price(z, unit) - price(z, 2.0 * unit)) if math.isfinite(lower) else 0.0
        trial.hold("Fenchel and Young", product, lower, room + 2.0 * unit * size)


def _check_gradient(trial: Trial, p: Map, x: Array, u: Array, way: Array) -> None:
    """Hold the map to differences of phi*, which is convex, from both sides."""
    here = trial.number(p.conjugate(x))
    for sign in (1.0, -1.0):
        end = x + sign * 0.1 * way
        there = trial.number(p.conjugate(end))
        moved = trial.inner(u, trial.array(trial.host(end) - trial.host(x)))
        scale = abs(here) + abs(there) + trial.size(u) * (trial.size(x) + trial.size(way))
        trial.near("gradient of the conjugate", moved, there - here, scale)
