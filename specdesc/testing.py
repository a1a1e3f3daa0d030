"""Property tests for operators of your own: proximal operators, norms, preconditioners.

Each check takes an object, tries it on random matrices drawn from a seed, and returns a `Report`.
The laws are those of the definition, so a wrong operator fails them whatever its formula is::

    report = testing.check_prox(MyFunction())
    assert report.passed, report
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from specdesc._lib import host
from specdesc._lib.typing import Array
from specdesc.backends import Backend, load
from specdesc.preconditioners import Kappa, Log

__all__ = ["Report", "check_norm", "check_preconditioner", "check_prox"]

#: Room for rounding, relative to the numbers that are compared.
ROOM = 1e-9

#: Trials of each law.
TRIALS = 3


class Report(NamedTuple):
    """What a check found.

    Attributes
    ----------
    passed : bool
        Whether all laws held.
    failures : tuple of str
        One line for each law that did not, with numbers.
    """

    passed: bool
    failures: tuple[str, ...]


class _Trial:
    """Random numbers and the laws that failed."""

    def __init__(self, seed: int, shape: tuple[int, int], dtype: str, backend: str) -> None:
        self.rng = host.generator(seed)
        self.shape = shape
        self.dtype = dtype
        self.backend: Backend = load(backend)
        self.failures: dict[str, str] = {}

    def draw(self, *batch: int, size: float = 1.0) -> Array:
        """Return a random stack of the library under test."""
        x = size * self.rng.standard_normal((*batch, *self.shape))
        if self.dtype.startswith("complex"):
            x = x + 1j * size * self.rng.standard_normal((*batch, *self.shape))
        return self.backend.from_host(x, dtype=self.dtype)

    def host(self, x: Array) -> Array:
        """Return an array or a number on the host."""
        return x if isinstance(x, (int, float)) else self.backend.to_host(x)

    def number(self, x: Array) -> float:
        """Return one number."""
        return float(self.host(x))

    def inner(self, x: Array, y: Array) -> float:
        """Return Re <x, y>."""
        return float((self.host(x).conj() * self.host(y)).sum().real)

    def size(self, x: Array) -> float:
        """Return the Frobenius norm."""
        return math.sqrt(max(self.inner(x, x), 0.0))

    def hold(self, law: str, left: float, right: float, room: float = ROOM) -> None:
        """Note a law left <= right that does not hold."""
        scale = 1.0 + (abs(right) if math.isfinite(right) else 0.0)
        if not left <= right + room * scale:
            self.failures.setdefault(law, f"{law}: {left:.9g} > {right:.9g}")

    def equal(self, law: str, left: float, right: float, room: float = ROOM) -> None:
        """Note two numbers that differ."""
        if math.isinf(left) and left == right:
            return
        self.hold(law, abs(left - right), 0.0, room * (1.0 + abs(right)))

    def report(self) -> Report:
        """Return what was found."""
        return Report(not self.failures, tuple(self.failures.values()))

    def like(self, law: str, x: Array, y: Array, before: bytes) -> bool:
        """Hold an output to type, dtype and shape of the input, and the input to what it was."""
        if type(y) is not type(x) or y.dtype != x.dtype or tuple(y.shape) != tuple(x.shape):
            found = f"{type(y).__name__} {getattr(y, 'dtype', '')} {getattr(y, 'shape', '')}"
            self.failures.setdefault(law, f"{law}: not the kind of array that came in, but {found}")
            return False
        if self.host(x).tobytes() != before:
            self.failures.setdefault("input", "input: it was written to")
        return True


def check_prox(
    g: Any,
    value: Callable[[Array], Array] | None = None,
    /,
    *,
    sample: Callable[[Array], Array] | None = None,
    is_convex: bool | None = None,
    shape: tuple[int, int] = (4, 3),
    dtype: str = "float64",
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
    shape, dtype, backend, seed
        Of the matrices that are tried; a backend by name, such as ``"torch"``.

    Returns
    -------
    Report
        ``(passed, failures)``.

    Notes
    -----
    The laws: kind of array and input untouched; a stack is a loop; the point beats competitors far
    and near, at distances over five decades; for convex functions the three-point inequality, firm
    nonexpansiveness and convexity of the value; for sets idempotence and feasibility; a linear
    minimiser is feasible and below other points.

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
    trial = _Trial(seed, shape, dtype, backend)
    apply = g.prox if value is None else g
    function = g.value if value is None else value
    convex = getattr(g, "is_convex", False) if is_convex is None else is_convex
    feasible = sample or (lambda x: apply(x, 1e-9))
    try:
        _check_prox(trial, apply, function, bool(convex), feasible)
        if value is None:
            _check_extras(trial, g, feasible)
    except NotImplementedError:
        raise
    except Exception as error:
        trial.failures["error"] = f"error: {type(error).__name__}: {error}"
    return trial.report()


def _check_prox(
    trial: _Trial,
    apply: Callable[[Array, Any], Array],
    function: Callable[[Array], Array],
    convex: bool,
    feasible: Callable[[Array], Array],
) -> None:
    for size in (0.01, 0.3, 1.0, 3.0):
        for index in range(TRIALS):
            y, step = trial.draw(size=size), (0.03, 0.3, 1.0, 4.0)[index % 4]
            before = trial.host(y).tobytes()
            p = apply(y, step)
            if not trial.like("prox", y, p, before):
                return
            _check_definition(trial, apply, function, feasible, y, p, step)
            if convex:
                _check_convex(trial, apply, function, feasible, y, p, step)
            if trial.number(function(p)) == 0.0 == trial.number(function(feasible(y))):
                again = apply(p, step)
                if all(trial.number(function(feasible(trial.draw()))) == 0.0 for _ in range(3)):
                    moved = trial.size(again - p)
                    trial.hold("idempotence", moved, 0.0, 1e-12 * (1 + trial.size(p)))
    _check_stack(trial, "prox", lambda x: apply(x, 0.5))
    _check_stack(trial, "value", function)
    _check_single(trial, apply)


def _check_definition(
    trial: _Trial,
    apply: Callable[[Array, Any], Array],
    function: Callable[[Array], Array],
    feasible: Callable[[Array], Array],
    y: Array,
    p: Array,
    step: float,
) -> None:
    def cost(x: Array) -> float:
        return trial.number(function(x)) + trial.size(x - y) ** 2 / (2 * step)

    ours = cost(p)
    if not math.isfinite(ours):
        trial.failures.setdefault("feasibility", f"feasibility: the value at the prox is {ours}")
    others = [feasible(trial.draw(size=2.0)), feasible(y), 0.5 * p, 0.99 * p]
    for exponent in (-5, -4, -3, -2, -1, 0):
        noise = trial.draw(size=10.0**exponent)
        others += [feasible(p + noise), p + noise]
        # Towards y: what a prox that shrinks too much has left behind.
        others.append(p + min(10.0**exponent, 1.0) * (y - p))
    for z in others:
        trial.hold("definition: a competitor is better", ours, cost(z), 1e-11)


def _check_convex(
    trial: _Trial,
    apply: Callable[[Array, Any], Array],
    function: Callable[[Array], Array],
    feasible: Callable[[Array], Array],
    y: Array,
    p: Array,
    step: float,
) -> None:
    u = feasible(trial.draw())
    left = 2 * step * (trial.number(function(p)) - trial.number(function(u)))
    right = trial.size(u - y) ** 2 - trial.size(u - p) ** 2 - trial.size(p - y) ** 2
    trial.hold("three-point inequality", left, right)
    for distance in (1e-4, 1e-2, 1.0):
        z = y + trial.draw(size=distance)
        d = apply(z, step) - p
        trial.hold(
            "firm nonexpansiveness", trial.size(d) ** 2, trial.inner(d, z - y), 1e-12 * distance
        )
    middle = trial.number(function(0.5 * (u + p)))
    ends = 0.5 * (trial.number(function(u)) + trial.number(function(p)))
    trial.hold("convexity of the value", middle, ends)


def _check_stack(trial: _Trial, law: str, call: Callable[[Array], Array]) -> None:
    """Hold a stack to the loop over it, at scales that differ."""
    x = trial.draw(3) * trial.backend.from_host(
        numpy.asarray((1.0, 10.0, 0.1))[:, None, None], dtype=trial.dtype
    )
    whole = call(x)
    if isinstance(whole, (int, float)):
        return
    for i in range(3):
        one = call(x[i, ...])
        here, there = trial.host(whole)[i], trial.host(one)
        same = (here == there) | (
            abs(here - numpy.where(numpy.isfinite(there), there, 0.0)) <= 1e-10 * (1 + abs(there))
        )
        if not same.all():
            trial.failures.setdefault(law, f"{law}: a matrix of a stack differs from it alone")


def _check_single(trial: _Trial, apply: Callable[[Array, Any], Array]) -> None:
    """Hold single precision to itself."""
    name = {"float64": "float32", "complex128": "complex64"}.get(trial.dtype)
    if name is None:
        return
    y = trial.backend.from_host(trial.host(trial.draw()), dtype=name)
    trial.like("prox in single precision", y, apply(y, 0.5), trial.host(y).tobytes())


def _check_extras(trial: _Trial, g: Any, feasible: Callable[[Array], Array]) -> None:
    if hasattr(g, "violation"):
        for _ in range(TRIALS):
            x = trial.draw()
            for z in (x, feasible(x)):
                inside = trial.number(g.value(z)) < math.inf
                violation = trial.number(g.violation(z))
                trial.hold("violation where the value is finite", violation * inside, 0.0)
                if not inside and violation <= 0.0:
                    trial.failures["violation"] = "violation: 0 where the value is inf"
    if hasattr(g, "lmo"):
        for _ in range(TRIALS):
            c = trial.draw()
            s = g.lmo(c)
            if not trial.like("lmo", c, s, trial.host(c).tobytes()):
                return
            trial.equal("lmo: value at the minimiser", trial.number(g.value(s)), 0.0)
            for z in (feasible(trial.draw(size=5.0)), feasible(-1e3 * c), feasible(0 * c)):
                trial.hold("lmo: another point is lower", trial.inner(c, s), trial.inner(c, z))
    if hasattr(g, "anisotropic_prox"):
        _check_anisotropic(trial, g, feasible)


def _check_anisotropic(trial: _Trial, g: Any, feasible: Callable[[Array], Array]) -> None:
    for p in (
        make(eps=0.5, geometry=geometry)
        for make in (Kappa, Log)
        for geometry in ("spectral", "elementwise", "global")
    ):
        for step in (0.3, 1.0):
            start = feasible(trial.draw())
            y = start - step * p(0.6 * trial.draw())
            try:
                x = _with_status(g, y, step, p)
            except NotImplementedError:
                continue
            if x is None:
                continue

            def cost(z: Array, p: Any = p, y: Array = y, step: float = step) -> float:
                shrunk = (1.0 - 1e-12) * (z - y) / step  # rounding beyond the domain of phi
                return trial.number(g.value(z)) + step * trial.number(p.reference(shrunk))

            ours = cost(x)
            others = [start, feasible(trial.draw()), 0.5 * x, 0.999 * x]
            for exponent in (-4, -3, -2, -1):
                noise = trial.draw(size=10.0**exponent)
                others += [feasible(x + noise), x + noise, x + 10.0**exponent * (y - x)]
            for z in others:
                trial.hold("anisotropic prox: a competitor is better", ours, cost(z), 1e-9)


def _with_status(g: Any, y: Array, step: float, p: Any) -> Array | None:
    """Return the point, None where the operator itself says that it is not optimal."""
    try:
        x, status = g.anisotropic_prox(y, step, p, full_output=True)
    except TypeError:
        return g.anisotropic_prox(y, step, p)
    return x if int(status) == 0 else None


def check_norm(
    n: Any,
    /,
    *,
    shape: tuple[int, int] = (4, 3),
    dtype: str = "float64",
    backend: str = "numpy",
    seed: int = 0,
) -> Report:
    """Hold a norm, its dual and its linear minimiser to their definitions.

    Parameters
    ----------
    n : object
        With ``value(x)``, ``dual(x)``, ``lmo(g, radius=1.0)``, ``direction(g)`` = -lmo(g, 1) and
        ``sharp(g)`` = dual(g) direction(g).
    shape, dtype, backend, seed
        Of the matrices that are tried.

    Returns
    -------
    Report
        ``(passed, failures)``.

    Notes
    -----
    Both norms: homogeneous, positive, below the sum for a sum. Hölder's inequality, with equality
    at the minimiser, which lies in the ball. Zero has finite answers. A stack is a loop.
    """
    trial = _Trial(seed, shape, dtype, backend)
    try:
        _check_norm(trial, n)
    except NotImplementedError:
        raise
    except Exception as error:
        trial.failures["error"] = f"error: {type(error).__name__}: {error}"
    return trial.report()


def _check_norm(trial: _Trial, n: Any) -> None:
    for _ in range(3 * TRIALS):
        x, y = trial.draw(), trial.draw()
        for law, size in (("norm", n.value), ("dual norm", n.dual)):
            here, there = trial.number(size(x)), trial.number(size(y))
            trial.hold(f"{law}: positive", 1e-300, here, 0.0)
            trial.equal(f"{law}: homogeneous", trial.number(size(-2.5 * x)), 2.5 * here)
            trial.hold(f"{law}: triangle inequality", trial.number(size(x + y)), here + there)
            trial.equal(f"{law}: zero", trial.number(size(0 * x)), 0.0)
        dual = trial.number(n.dual(y))
        trial.hold("Hölder", trial.inner(x, y), trial.number(n.value(x)) * dual)
        before = trial.host(y).tobytes()
        s = n.lmo(y, 2.0)
        if not trial.like("lmo", y, s, before):
            return
        trial.hold("lmo: in the ball", trial.number(n.value(s)), 2.0)
        trial.equal("lmo: attains the dual norm", trial.inner(y, s), -2.0 * dual)
        direction, sharp = n.direction(y), n.sharp(y)
        trial.hold("direction", trial.size(direction + n.lmo(y)), 0.0)
        trial.hold("sharp", trial.size(sharp - dual * direction), 0.0)
        zero = trial.number(n.value(n.lmo(0 * y)))
        trial.hold("lmo: finite at zero", zero, 1.0)
    for law, call in (("value", n.value), ("dual", n.dual), ("lmo", n.lmo)):
        _check_stack(trial, law, call)


def check_preconditioner(
    p: Any,
    /,
    *,
    shape: tuple[int, int] = (4, 3),
    dtype: str = "float64",
    backend: str = "numpy",
    seed: int = 0,
) -> Report:
    """Hold a preconditioner to be the gradient of the conjugate of its reference function.

    Parameters
    ----------
    p : object
        Callable on matrices, with ``conjugate(x)`` and ``reference(x)``, and ``lipschitz`` if it
        has such a constant.
    shape, dtype, backend, seed
        Of the matrices that are tried.

    Returns
    -------
    Report
        ``(passed, failures)``.

    Notes
    -----
    Odd, monotone, Lipschitz as it says; phi(u) + phi*(d) = <u, d> at u = p(d) and at least that
    elsewhere; the gradient of phi* by differences. A stack is a loop.
    """
    trial = _Trial(seed, shape, dtype, backend)
    try:
        _check_preconditioner(trial, p)
    except NotImplementedError:
        raise
    except Exception as error:
        trial.failures["error"] = f"error: {type(error).__name__}: {error}"
    return trial.report()


def _check_preconditioner(trial: _Trial, p: Any) -> None:
    lipschitz = getattr(p, "lipschitz", math.inf)
    for size in (1e-3, 0.03, 0.3, 1.0, 10.0):
        for _ in range(TRIALS):
            x, y = trial.draw(size=size), trial.draw(size=size)
            before = trial.host(x).tobytes()
            u, v = p(x), p(y)
            if not trial.like("map", x, u, before):
                return
            trial.hold("odd", trial.size(p(-x) + u), 0.0)
            trial.hold("zero", trial.size(p(0 * x)), 0.0)
            trial.hold("monotone", 0.0, trial.inner(u - v, x - y), 1e-12)
            for near in (y, x + 1e-3 * y, x + 1e-3 * x, 1e-6 * y):
                moved = trial.size(p(near) - u)
                trial.hold("Lipschitz", moved, lipschitz * trial.size(near - x), 1e-8)
            inside = (1.0 - 1e-12) * u
            both = trial.number(p.reference(inside)) + trial.number(p.conjugate(x))
            product = trial.inner(u, x)
            room = 1e-6 * (1 + abs(product))
            trial.hold("Fenchel and Young: equality at the map", abs(both - product), 0.0, room)
            for z in (v, 0.5 * u, 0.9 * u, 0.9 * v, 0 * u):
                lower = trial.number(p.reference((1.0 - 1e-12) * z)) + trial.number(p.conjugate(x))
                trial.hold("Fenchel and Young", trial.inner(z, x), lower, 1e-7)
            _check_gradient(trial, p, x, u, y)
    _check_stack(trial, "map", p)
    _check_stack(trial, "conjugate", p.conjugate)


def _check_gradient(trial: _Trial, p: Any, x: Array, u: Array, way: Array) -> None:
    """Hold the map to differences of phi*, which is convex, from both sides."""
    here = trial.number(p.conjugate(x))
    for sign in (1.0, -1.0):
        step = sign * 0.1 * way
        rise = trial.number(p.conjugate(x + step)) - here
        trial.hold("gradient of the conjugate", trial.inner(u, step), rise, 1e-9)
