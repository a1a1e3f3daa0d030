"""What a user sees while nothing is printed: only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from specdesc._lib import extras


def wanted() -> bool:
    """Say whether standard error is a terminal and tqdm is there."""
    return extras.installed("tqdm") and sys.stderr.isatty()


@contextmanager
def doing(what: str, /) -> Iterator[None]:
    """Show what is being done, where the end cannot be told, and take it away afterwards."""
    if not wanted():
        yield
        return
    tqdm = extras.require("tqdm", "demo").tqdm
    with tqdm(total=0, desc=what, bar_format="{desc} ...", leave=False):
        yield
