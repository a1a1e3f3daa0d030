"""One run of a claim: how much to compute, where, and what is already known."""

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from specdesc._lib import host
from specdesc._lib.typing import Array
from specdesc.backends import Backend

QUICK_SEEDS = 3
FULL_SEEDS = 10

T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """What a claim gets when it is run.

    Attributes
    ----------
    quick : bool
        Seconds instead of minutes: fewer seeds, fewer settings, shorter runs.
    backend : Backend
        Where the arrays live.
    folder : Path
        Of the finished cells; made when the first one is written.
    tell : callable
        Is told the key of every cell that is finished.
    """

    quick: bool
    backend: Backend
    folder: Path
    tell: Callable[[str], object]

    @property
    def seeds(self) -> range:
        """Return the seeds to use: 3 when quick, 10 otherwise, always the same."""
        return range(1, 1 + self.pick(QUICK_SEEDS, FULL_SEEDS))

    def pick(self, quick: T, full: T, /) -> T:
        """Return the first when quick, the second otherwise."""
        return quick if self.quick else full

    def array(self, values: Array, /) -> Array:
        """Copy host numbers to the backend, in double precision."""
        return self.backend.from_host(values, dtype="float64")

    def cell(self, key: str, compute: Callable[[], Any], /) -> Any:
        """Return what `compute` returns, from disk if an earlier run had finished it.

        Parameters
        ----------
        key : str
            Names the cell within the claim. The folder already tells quick from full, backends,
            and versions of the claim's file; of the library's version it knows nothing.
        compute : callable
            Returns JSON values. Tuples come back as lists.
        """
        path = self.folder / _file_name(key)
        text = _read(path)
        if text is None:
            begin = time.perf_counter()
            value = compute()
            seconds = time.perf_counter() - begin
            text = json.dumps({"key": key, "seconds": seconds, "value": value})
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_text(path, text)
        self.tell(key)
        return json.loads(text)["value"]

    def seconds(self, key: str, /) -> float:
        """Return how long a finished cell took to compute, in this run or an earlier one."""
        return float(
            json.loads(_read(self.folder / _file_name(key)) or '{"seconds": 0}')["seconds"]
        )


def _file_name(key: str) -> str:
    """Return a readable name that differs wherever keys differ."""
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9.=-]+', '_', key)[:80]}-{digest}.json"


def _read(path: Path) -> str | None:
    """Return the text of a finished cell; what is no JSON was not finished."""
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except (FileNotFoundError, ValueError):
        return None
    return text


def _write_text(path: Path, text: str) -> None:
    host.write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
