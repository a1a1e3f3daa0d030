"""What a user sees while a job runs: a bar of tqdm on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from specdesc._lib import extras

#: Seconds between two notes on a bar: a note may be a look at a device.
PERIOD = 0.2


def wanted() -> bool:
    """Say whether standard error is a terminal and tqdm is there: no bar ends in a log file."""
    return extras.installed("tqdm") and sys.stderr.isatty()


@contextmanager
def bar(
    label: str | None = None,
    /,
    *,
    shown: bool,
    total: int | None = None,
    first: int = 0,
    unit: str = "step",
) -> Iterator[Callable[[Callable[[], str]], None]]:
    """Give a function to call once a unit, with what to note beside the bar.

    Raises `MissingExtra` where a bar is to be shown and tqdm is not there.
    """
    if not shown:
        yield lambda _: None
        return
    tqdm = extras.require("tqdm", "demo").tqdm
    with tqdm(desc=label, total=total, initial=first, unit=unit, leave=False) as line:
        noted = -PERIOD

        def advance(note: Callable[[], str]) -> None:
            nonlocal noted
            if monotonic() - noted >= PERIOD:
                noted = monotonic()
                line.set_postfix_str(note(), refresh=False)
            line.update()

        yield advance


@contextmanager
def doing(label: str, /) -> Iterator[None]:
    """Show what is being done, where the end cannot be told, and take it away afterwards."""
    if not wanted():
        yield
        return
    tqdm = extras.require("tqdm", "demo").tqdm
    with tqdm(total=0, desc=label, bar_format="{desc} ...", leave=False):
        yield
