"""What a check found, and how a law that does not hold gets there."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


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


class Laws:
    """The laws that failed, each with the numbers of its first failure."""

    def __init__(self) -> None:
        self._failures: dict[str, str] = {}

    def fail(self, law: str, found: str) -> None:
        """Note a law that does not hold."""
        self._failures.setdefault(law, f"{law}: {found}")

    def hold(self, law: str, left: float, right: float, room: float) -> None:
        """Note a law left <= right that does not hold, up to `room`; NaN holds no law."""
        if not left <= right + room:
            self.fail(law, f"{left:.9g} > {right:.9g}")

    def equal(self, law: str, left: float, right: float, room: float) -> None:
        """Note two numbers that differ by more than `room`."""
        if not (math.isinf(left) and left == right) and not abs(left - right) <= room:
            self.fail(law, f"{left:.9g} is not {right:.9g}")

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Note what is raised; `NotImplementedError` says that there is nothing to check."""
        try:
            yield
        except NotImplementedError:
            raise
        except Exception as error:
            self.fail("error", f"{type(error).__name__}: {error}")

    def report(self) -> Report:
        """Return what was found."""
        return Report(not self._failures, tuple(self._failures.values()))
