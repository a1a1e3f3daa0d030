"""No mutable global state: the same call from many threads gives what one thread gives."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from specdesc import backends
from specdesc.backends import entry
from tests import support
from tests.support import OPERATIONS, Library, leaves

THREADS = 8


def together(call: Callable[[], Any]) -> list[Any]:
    barrier = Barrier(THREADS)

    def wait_and_call(_: int) -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(wait_and_call, range(THREADS)))


def test_eight_threads_equal_one(library: Library) -> None:
    if library.name not in ("numpy", "torch", "array_api_strict"):
        pytest.skip(f"the settings of {library.name} belong to one thread")
    x = library.array(support.easy(2, shape=(48, 44)), "float64")

    def run() -> list[bytes]:
        return [
            library.numpy(y).tobytes()
            for operation in OPERATIONS
            for y in leaves(operation.call(x))
        ]

    alone = run()
    assert all(found == alone for found in together(run))


def test_the_first_look_at_a_type_may_come_from_many_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(entry, "_OWNERS", {})
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        found = together(lambda: entry.owner(np.ones((2, 2))))
    finally:
        sys.setswitchinterval(interval)
    assert all(leaf is backends.load("numpy") for leaf in found)
