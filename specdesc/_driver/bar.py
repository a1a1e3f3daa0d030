"""The progress bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from specdesc._lib import extras
from specdesc._lib.typing import Array
from specdesc.backends import Backend

#: Seconds between two values on the bar: each one is a look at the device.
PERIOD = 0.2


@contextmanager
def progress_bar(
    first: int, steps: int, wanted: bool, /, *, backend: Backend
) -> Iterator[Callable[[Array], None]]:
    """Give a function to call with the value of every point: one more than the steps between."""
    if not wanted:
        yield lambda _: None
        return
    tqdm = extras.require("tqdm", "demo").tqdm
    with tqdm(total=steps + 1, initial=first, unit="step", leave=False) as bar:
        shown = -PERIOD

        def show(value: Array) -> None:
            nonlocal shown
            if monotonic() - shown >= PERIOD:
                shown = monotonic()
                bar.set_postfix_str(f"value {float(backend.xp.max(value)):.4g}", refresh=False)
            bar.update()

        yield show
