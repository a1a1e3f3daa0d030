"""Problems: values, gradients by differences, and samples that are functions of the step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Protocol

import numpy

from specdesc._lib import host
from specdesc._lib.dtypes import eps
from specdesc._lib.typing import Array
from specdesc.backends import Backend
from specdesc.backends.entry import enter
from specdesc.testing.report import Laws, Report

#: A point: an array, or a dictionary, list or tuple of points.
Point = Array | Mapping[str, "Point"] | Sequence["Point"]

#: Points and directions that are tried.
POINTS, WAYS = 3, 2

#: Roundings of a sum over the data, relative to the value.
ROUNDINGS = 256.0


class Problem(Protocol):
    """What is checked, and perhaps ``start()``, ``sample(t)``, ``truth`` and ``error(x)``."""

    def value_and_grad(self, x: Point, *sample: Array) -> tuple[Array, Point]:
        """Return the value and a gradient, or a subgradient."""
        ...


def check_problem(
    problem: Problem,
    x: Point | None = None,
    /,
    *,
    smooth: bool = True,
    is_convex: bool = False,
    seed: int = 0,
) -> Report:
    """Hold a problem to its own values.

    Parameters
    ----------
    problem : object
        With ``value_and_grad(x)``, or ``value_and_grad(x, sample)`` where it has ``sample(t)``.
        What else it has is tried, too: ``start()``, ``truth``, ``error(x)``.
    x : array, or dictionary, list or tuple of such, optional
        A point. None is what ``start()`` returns.
    smooth : bool
        Hold gradients to differences. False is for functions with corners everywhere.
    is_convex : bool
        Hold (sub)gradients to the inequality f(y) >= f(x) + Re <g(x), y - x>, at the start and at
        the truth, too.
    seed : int
        Of the points around it and of the directions.

    Returns
    -------
    Report
        ``(passed, failures)``.

    Raises
    ------
    TypeError
        Neither a point nor ``start()``.

    Notes
    -----
    Value and gradient are finite at the start, around it and at the truth, which has the error 0;
    the gradient has the form of the point, whose arrays are left alone; a sample is a function of
    the step; Re <gradient, e> is the difference quotient of the value along random e, at points
    around the start, as far as two quotients agree.

    Examples
    --------
    >>> from specdesc import problems, testing
    >>> testing.check_problem(problems.random_regression(4, 3, rank=2, count=20)).passed
    True
    """
    start = getattr(problem, "start", None)
    if x is None and start is None:
        msg = "x must be a point, as the problem has no start()"
        raise TypeError(msg)
    laws = Laws()
    with laws.caught():
        point = start() if x is None and start is not None else x
        _Check(laws, problem, point, seed).run(smooth, is_convex)
    return laws.report()


class _Check:
    """One problem around one point."""

    def __init__(self, laws: Laws, problem: Problem, x: Point, seed: int) -> None:
        self.laws, self.problem, self.x = laws, problem, x
        self.random = host.generator(seed)
        first = next(_leaves(x))
        self.backend: Backend = enter("problems", first, ndim=0)
        self.unit = eps(self.backend.xp, first.dtype)
        self.samples: list[Array] = []

    def run(self, smooth: bool, is_convex: bool) -> None:
        """Check all laws."""
        self._check_samples()
        points = [self.x, *(self._around(1.0) for _ in range(POINTS))]
        for point in points:
            if not self._check_kind(point):
                return
        truth = getattr(self.problem, "truth", None)
        if truth is not None:
            self._check_truth(truth)
            points.insert(0, truth)
        for x, y in permutations(points, 2) if is_convex else ():
            self._check_subgradient(x, y)
        for point in points[-POINTS:] if smooth else []:
            for _ in range(WAYS):
                self._check_gradient(point)

    def _check_samples(self) -> None:
        sample: Callable[[int], Array] | None = getattr(self.problem, "sample", None)
        if sample is None:
            return
        for t in (0, 1):
            first, second = (list(_leaves(sample(t))) for _ in range(2))
            same = all(
                numpy.array_equal(self._host(a), self._host(b))
                for a, b in zip(first, second, strict=True)
            )
            if not same:
                self.laws.fail("sample", f"two calls for step {t} differ")
        self.samples = [sample(0)]

    def _check_kind(self, x: Point) -> bool:
        before = [self._host(leaf) for leaf in _leaves(x)]
        value, gradient = self._call(x)
        for kept, leaf in zip(before, _leaves(x), strict=True):
            if not numpy.array_equal(kept, self._host(leaf)):
                self.laws.fail("input", "it was written to")
        forms = [
            [(type(leaf), str(leaf.dtype), tuple(leaf.shape)) for leaf in _leaves(part)]
            for part in (x, gradient)
        ]
        if forms[0] != forms[1]:
            self.laws.fail("gradient", f"not of the form of the point: {forms[1]}")
            return False
        finite = all(numpy.isfinite(self._host(leaf)).all() for leaf in (value, *_leaves(gradient)))
        if not finite:
            self.laws.fail("finite", "a value or a gradient is not")
        return finite

    def _check_truth(self, truth: Array) -> None:
        if not self._check_kind(truth):
            return
        error = getattr(self.problem, "error", None)
        if error is not None:
            largest = float(numpy.abs(self._host(error(truth))).max())
            self.laws.hold("error of the truth", largest, 0.0, ROUNDINGS * self.unit)

    def _check_subgradient(self, x: Point, y: Point) -> None:
        (here, gradient), (there, _) = self._call(x), self._call(y)
        parts = zip(_leaves(gradient), _leaves(x), _leaves(y), strict=True)
        along = 0.0
        for g, a, b in parts:
            along += float((self._host(g).conj() * (self._host(b) - self._host(a))).sum().real)
        low, high = float(self._host(here).sum()) + along, float(self._host(there).sum())
        size = abs(float(self._host(here).sum())) + abs(along) + abs(high)
        self.laws.hold("subgradient inequality", low, high, ROUNDINGS * self.unit * size)

    def _check_gradient(self, x: Point) -> None:
        way = _map(lambda leaf: self._like(leaf, self._gaussian(leaf)), x)
        value, gradient = self._call(x)
        pairs = zip(_leaves(gradient), _leaves(way), strict=True)
        along = sum(float((self._host(g).conj() * self._host(e)).sum().real) for g, e in pairs)
        step = self.unit ** (1.0 / 3.0)
        near, far = self._quotient(x, way, step), self._quotient(x, way, 2.0 * step)
        size = float(numpy.abs(self._host(value)).sum())
        # A corner between two points shows in two quotients that differ.
        room = 4.0 * abs(near - far) + ROUNDINGS * self.unit * size / step
        room += 1e-3 * self.unit**0.25 * abs(along)
        self.laws.equal("gradient by differences", along, near, room)

    def _quotient(self, x: Point, way: Point, step: float) -> float:
        ends, lengths = [], []
        for sign in (1.0, -1.0):
            end = _map(lambda a, e, s=sign: a + (s * step) * e, x, way)
            ends.append(float(self._host(self._call(end)[0]).sum()))
            lengths.append(sign * step)
        return (ends[0] - ends[1]) / (lengths[0] - lengths[1])

    def _call(self, x: Point) -> tuple[Array, Point]:
        return self.problem.value_and_grad(x, *self.samples)

    def _around(self, size: float) -> Point:
        def moved(leaf: Array) -> Array:
            values = self._host(leaf)
            typical = float(numpy.abs(values).mean()) if values.size else 0.0
            return leaf + self._like(leaf, size * (typical or 1.0) * self._gaussian(leaf))

        return _map(moved, self.x)

    def _gaussian(self, leaf: Array) -> Array:
        shape = tuple(leaf.shape)
        values = self.random.standard_normal(shape)
        if "complex" in str(leaf.dtype):
            values = values + 1j * self.random.standard_normal(shape)
        return values

    def _like(self, leaf: Array, values: Array) -> Array:
        return self.backend.from_host(values, dtype=str(leaf.dtype).rsplit(".", 1)[-1])

    def _host(self, x: Array) -> Array:
        return numpy.asarray(x) if isinstance(x, (int, float)) else self.backend.to_host(x)


def _leaves(x: Point) -> Iterator[Array]:
    """Return the arrays of a point in order."""
    if isinstance(x, Mapping):
        for name in sorted(x):
            yield from _leaves(x[name])
    elif isinstance(x, (list, tuple)):
        for part in x:
            yield from _leaves(part)
    else:
        yield x


def _map(call: Callable[..., Array], x: Point, *others: Array) -> Point:
    """Apply a function to the arrays of points of one form."""
    if isinstance(x, Mapping):
        return {name: _map(call, x[name], *(other[name] for other in others)) for name in x}
    if isinstance(x, (list, tuple)):
        return [_map(call, *parts) for parts in zip(x, *others, strict=True)]
    return call(x, *others)
