"""Proximal operators against their definition."""

import math
from collections.abc import Callable
from typing import NamedTuple, cast

from specdesc._lib.typing import Array
from specdesc.prox import Function
from specdesc.testing.anisotropic import check_anisotropic
from specdesc.testing.report import Report
from specdesc.testing.stack import check_stack
from specdesc.testing.trial import DRAWS, Trial

#: The steps of the draws, and the sizes of the matrices.
STEPS, SIZES = (0.03, 0.3, 1.0), (0.01, 0.3, 1.0, 3.0)

Prox = Callable[[Array, float], Array]


class _Candidate(NamedTuple):
    """What is under test: a prox, a function, and a map into the domain of that."""

    prox: Prox
    value: Callable[[Array], Array]
    is_convex: bool
    feasible: Callable[[Array], Array]


def check_prox(
    g: Function | Prox,
    value: Callable[[Array], Array] | None = None,
    /,
    *,
    sample: Callable[[Array], Array] | None = None,
    is_convex: bool | None = None,
    shape: tuple[int, int] = (4, 3),
    transposed: bool = True,
    dtype: str | None = None,
    backend: str = "numpy",
    seed: int = 0,
) -> Report:
    """Hold a proximal operator to its definition.

    Parameters
    ----------
    g : object or callable
        Something with ``value(x)`` and ``prox(y, step)`` as in `specdesc.prox`, or ``prox`` alone.
        What else it has is tried, too: ``is_convex``, ``violation``, ``lmo``, and
        ``anisotropic_prox`` where it does not raise `NotImplementedError`.
    value : callable, optional
        The function, where `g` is a callable.
    sample : callable, optional
        Takes a random matrix and returns a point where the function is finite. None takes
        ``prox(x, 1e-9)``, which is enough unless the operator misses a part of its set.
    is_convex : bool, optional
        Where `g` does not say.
    shape : tuple of int
        Of the matrices that are tried.
    transposed : bool
        Try matrices of the transposed shape, too. False is for what knows one shape alone.
    dtype, backend : str
        Of the matrices, by name, such as ``"torch"``. None is float64, and float32 where the
        library makes no float64.
    seed : int
        Of the matrices.

    Returns
    -------
    Report
        ``(passed, failures)``.

    Raises
    ------
    TypeError
        `g` has no `prox`, or is a callable without `value`.
    NotImplementedError
        What `g` raises.

    Notes
    -----
    The laws: kind of array, finite, and input untouched; a stack is a loop; the point beats
    competitors far and near, at distances over five decades, at random points, at zero, and where
    entries or singular values tie; a step of 0 moves no point where the function is finite (a
    `ValueError` will do); for convex functions the three-point inequality, firm nonexpansiveness
    and convexity of the value; for sets idempotence and feasibility; a linear minimiser is feasible
    and below other points. Real dtypes say nothing of complex matrices: check both.

    Moreau's identity is not among them: with a dual that is made from the prox it holds for
    anything.

    Examples
    --------
    >>> from specdesc import prox, testing
    >>> testing.check_prox(prox.Nuclear(0.5)).passed
    True
    >>> testing.check_prox(lambda y, step: 3 * y + 7, lambda x: 0.0).passed
    False
    """
    candidate = _candidate(g, value, sample, is_convex)
    trial = Trial(seed, shape, dtype, backend)
    with trial.caught():
        for turn in range(1 + (transposed and shape[0] != shape[1])):
            if turn:
                trial.turned()
            _check(trial, candidate)
            if value is None:
                _check_violation(trial, g, candidate)
                _check_lmo(trial, g, candidate)
                check_anisotropic(trial, g, candidate.feasible)
    return trial.report()


def _candidate(
    g: Function | Prox,
    value: Callable[[Array], Array] | None,
    sample: Callable[[Array], Array] | None,
    is_convex: bool | None,
) -> _Candidate:
    apply = g if value is not None else getattr(g, "prox", None)
    function = value if value is not None else getattr(g, "value", None)
    if not callable(apply) or not callable(function):
        msg = (
            "g must have prox(y, step) and value(x), or be the prox with its value as the second "
            f"argument, check_prox(prox, value); got {type(g).__name__} alone"
        )
        raise TypeError(msg)
    move = cast("Prox", apply)
    convex = bool(getattr(g, "is_convex", False) if is_convex is None else is_convex)
    return _Candidate(move, function, convex, sample or (lambda x: move(x, 1e-9)))


def _check(trial: Trial, g: _Candidate) -> None:
    points = [trial.draw(size=size) for size in SIZES for _ in range(DRAWS)]
    for index, y in enumerate([*points, *trial.special().values()]):
        step = STEPS[index % len(STEPS)]
        p = g.prox(y, step)
        if not trial.alike("prox", y, p, trial.host(y)):
            return
        _check_definition(trial, g, y, p, step)
        _check_no_step(trial, g, y)
        if g.is_convex:
            _check_convex(trial, g, y, p, step)
        if _is_set(trial, g):
            moved = trial.apart(g.prox(p, step), p)
            trial.near("idempotence", moved, 0.0, trial.size(p))
    check_stack(trial, "prox of a stack", lambda x: g.prox(x, 0.5))
    check_stack(trial, "value of a stack", g.value)
    _check_single(trial, g)


def _is_set(trial: Trial, g: _Candidate) -> bool:
    """Say whether the function is 0 wherever it is finite, as far as draws tell."""
    return all(trial.number(g.value(g.feasible(trial.draw()))) == 0.0 for _ in range(3))


def _check_definition(trial: Trial, g: _Candidate, y: Array, p: Array, step: float) -> None:
    def cost(x: Array) -> float:
        return trial.number(g.value(x)) + trial.apart(x, y) ** 2 / (2 * step)

    ours = cost(p)
    if not math.isfinite(ours):
        trial.fail("feasibility", f"the value at the prox is {ours}")
        return
    others = [g.feasible(trial.draw(size=2.0)), g.feasible(y), 0.5 * p, 0.99 * p]
    for exponent in (-5, -4, -3, -2, -1, 0):
        noise = trial.draw(size=10.0**exponent)
        others += [g.feasible(p + noise), p + noise]
        # Towards y: what a prox that shrinks too much has left behind.
        others.append(p + min(10.0**exponent, 1.0) * (y - p))
    # A rounding of p moves the cost by this much of it; sets are as wide as rounding, too.
    unit = (trial.size(y) + trial.size(p)) * (trial.apart(p, y) + trial.rounding * trial.size(y))
    for z in others:
        theirs = cost(z)
        scale = abs(ours) + unit / step
        trial.near("definition: a competitor is better", ours, theirs, scale)


def _check_no_step(trial: Trial, g: _Candidate, y: Array) -> None:
    """Hold a step of 0 to what it means: the nearest point where the function is finite."""
    try:
        p = g.prox(y, 0.0)
    except ValueError:  # there is none for a conjugate
        return
    law = "a step of 0"
    if not trial.alike(law, y, p, trial.host(y)):
        return
    if math.isfinite(trial.number(g.value(y))):
        trial.near(f"{law}: it moves a point", trial.apart(p, y), 0.0, 1.0 + trial.size(y))
    elif not math.isfinite(trial.number(g.value(p))):
        trial.fail(law, "the value is not finite there")


def _check_convex(trial: Trial, g: _Candidate, y: Array, p: Array, step: float) -> None:
    u = g.feasible(trial.draw())
    here, there = trial.number(g.value(p)), trial.number(g.value(u))
    size = trial.size(u) + trial.size(y)
    right = trial.apart(u, y) ** 2 - trial.apart(u, p) ** 2 - trial.apart(p, y) ** 2
    scale = size**2 + step * (abs(here) + abs(there))
    trial.near("three-point inequality", 2 * step * (here - there), right, scale)
    for distance in (1e-4, 1e-2, 1.0):
        z = y + trial.draw(size=distance)
        moved, length = g.prox(z, step) - p, trial.apart(z, y)
        left, right = trial.size(moved) ** 2, trial.inner(moved, z - y)
        scale = size * (length + trial.rounding * size)
        trial.near("firm nonexpansiveness", left, right, scale)
    middle = trial.number(g.value(0.5 * (u + p)))
    trial.near("convexity of the value", middle, 0.5 * (here + there), abs(here) + abs(there))


def _check_single(trial: Trial, g: _Candidate) -> None:
    """Hold single precision to itself."""
    name = {"float64": "float32", "complex128": "complex64"}.get(trial.dtype)
    if name is not None:
        y = trial.backend.from_host(trial.host(trial.draw()), dtype=name)
        trial.alike("prox in single precision", y, g.prox(y, 0.5), trial.host(y))


def _check_violation(trial: Trial, g: object, candidate: _Candidate) -> None:
    violation = getattr(g, "violation", None)
    if violation is None:
        return
    for _ in range(DRAWS):
        x = trial.draw()
        for z in (x, candidate.feasible(x)):
            excess = trial.number(violation(z))
            if trial.number(candidate.value(z)) < math.inf:
                trial.near("violation where the value is finite", excess, 0.0, trial.size(z))
            elif excess <= 0.0:
                trial.fail("violation", "0 where the value is inf")


def _check_lmo(trial: Trial, g: object, candidate: _Candidate) -> None:
    lmo = getattr(g, "lmo", None)
    if lmo is None:
        return
    for c in [*(trial.draw() for _ in range(DRAWS)), *trial.special().values()]:
        s = lmo(c)
        if not trial.alike("lmo", c, s, trial.host(c)):
            return
        trial.same("lmo: value at the minimiser", trial.number(candidate.value(s)), 0.0, 1.0)
        for z in (trial.draw(size=5.0), -1e3 * c, 0 * c):
            other = candidate.feasible(z)
            scale = trial.size(c) * (trial.size(s) + trial.size(other))
            left, right = trial.inner(c, s), trial.inner(c, other)
            trial.near("lmo: another point is lower", left, right, scale)
