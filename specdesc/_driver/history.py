"""The record of a run, on a budget."""

from typing import NamedTuple

import numpy

from specdesc._driver.packing import Packed, in_axes, pack
from specdesc._lib.typing import Array
from specdesc.backends import Backend


class Point(NamedTuple):
    """What was seen at one step: numbers of the batch shape, on the device or on the host."""

    step: int
    value: Array | Packed
    certificate: Array | Packed | None


class Records(NamedTuple):
    """Points as three columns."""

    steps: tuple[int, ...]
    values: Packed
    certificates: Packed | None

    def points(self) -> list[Point]:
        """Return the rows."""
        certificates = self.certificates
        return [
            Point(
                step, _row(self.values, i), None if certificates is None else _row(certificates, i)
            )
            for i, step in enumerate(self.steps)
        ]


class Recorder:
    """The points at all multiples of a stride, and the last one.

    The stride is the least power of two for which they fit into the budget, so what is kept is a
    function of the last step and the budget alone: the same in a run that was interrupted.

    Parameters
    ----------
    budget : int
        The largest number of points, at least 2.
    backend : Backend
        That of the numbers.
    points : list of Point
        What an earlier run recorded.
    """

    def __init__(self, budget: int, backend: Backend, points: list[Point], /) -> None:
        self._room = budget - 1  # one is for the last point
        self._backend = backend
        self._stride = 1
        self._kept = points
        self._last = points[-1] if points else None

    def add(self, point: Point, /) -> None:
        """Record the next point."""
        self._last = point
        while point.step // self._stride >= self._room:
            self._stride *= 2
            self._kept = [each for each in self._kept if each.step % self._stride == 0]
        if point.step % self._stride == 0:
            self._kept.append(point)

    def before(self, step: int, /) -> Records | None:
        """Return what a run needs that goes on at this step."""
        self._kept = [self._settled(point) for point in self._kept]
        points = [point for point in self._kept if point.step < step]
        return _columns(points) if points else None

    def all(self) -> Records:
        """Return all points, the last one included; there must be one."""
        self._kept = [self._settled(point) for point in self._kept]
        if self._last is None or self._kept[-1].step == self._last.step:
            return _columns(self._kept)
        return _columns([*self._kept, self._settled(self._last)])

    def _settled(self, point: Point) -> Point:
        """Move the numbers to the host, once; the device holds few, and none is compiled for."""
        return Point(
            point.step,
            self._packed(point.value),
            None if point.certificate is None else self._packed(point.certificate),
        )

    def _packed(self, numbers: Array | Packed) -> Packed:
        return numbers if isinstance(numbers, Packed) else pack(numbers, backend=self._backend)


def _columns(points: list[Point]) -> Records:
    certificates = [point.certificate for point in points]
    found = next((each for each in certificates if each is not None), None)
    # A point whose value is not finite may have none: it gets a NaN.
    nan = None if found is None else found._replace(values=numpy.full_like(found.values, numpy.nan))
    return Records(
        tuple(point.step for point in points),
        _column([point.value for point in points]),
        None if nan is None else _column([each or nan for each in certificates]),
    )


def _column(rows: list[Packed]) -> Packed:
    values = numpy.stack([in_axes(row) for row in rows])
    return Packed(values, rows[0].dtype, tuple(range(values.ndim)))


def _row(column: Packed, index: int) -> Packed:
    values = column.values[index]
    return Packed(values, column.dtype, tuple(range(values.ndim)))
