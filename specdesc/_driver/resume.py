"""When a run may go on from a file: only if it is the same run."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specdesc._driver import checkpoint as files
from specdesc._driver import fingerprint
from specdesc._driver.checkpoint import Snapshot
from specdesc._driver.packing import unpack
from specdesc._lib.dtypes import eps
from specdesc._lib.typing import Array
from specdesc.backends import Backend


@dataclass(frozen=True)
class RunFile:
    """The file that one run is written to, or none."""

    path: Path | None
    run: dict[str, str]  # what tells it from another
    backend: Backend

    def restored(
        self, start: Snapshot, steps: int, value_at: Callable[[Array, int], Array], /
    ) -> Snapshot:
        """Return where the run goes on: at `start` if there is no file yet."""
        if self.path is None or not self.path.exists():
            return start
        here = files.read(self.path, self.run, start.x, backend=self.backend)
        _check(self.path, here, steps, value_at, backend=self.backend)
        return here

    def save(self, here: Snapshot, status: str, /) -> None:
        """Write where the run is."""
        if self.path is not None:
            files.write(self.path, here, self.run, status, backend=self.backend)


def run_file(
    checkpoint: str | os.PathLike[str] | None,
    start: Snapshot,
    rule: Any,
    options: Mapping[str, object],
    /,
    *,
    backend: Backend,
) -> RunFile:
    """Return the file of a run from `start`; raise before any work is done if it has no place."""
    if checkpoint is None:
        return RunFile(None, {}, backend)
    return RunFile(_place(checkpoint), _names(start, rule, options, backend=backend), backend)


def _place(checkpoint: str | os.PathLike[str]) -> Path:
    path = Path(checkpoint)
    if path.is_dir() or not path.parent.is_dir():
        msg = f"checkpoint must be a file in a folder that exists, got {str(path)!r}"
        raise ValueError(msg)
    return path


def _names(
    start: Snapshot, rule: Any, options: Mapping[str, object], *, backend: Backend
) -> dict[str, str]:
    """Return what tells one run from another, in words."""
    x0, state = start.x, start.state
    return {
        "backend": backend.name,
        "x0": fingerprint.of_array(x0, backend=backend),
        "rule": fingerprint.of_object(rule, x0, backend=backend),
        "state": ", ".join(f"{key} {tuple(y.shape)} {y.dtype}" for key, y in state.items()),
        **{name: str(option) for name, option in options.items()},
    }


def _check(
    path: Path,
    here: Snapshot,
    steps: int,
    value_at: Callable[[Array, int], Array],
    *,
    backend: Backend,
) -> None:
    """Raise `ValueError` if the run is already beyond `steps`, or its objective is another one."""
    if here.step > steps:
        msg = f"{path} is the checkpoint of step {here.step}, beyond steps={steps}"
        raise ValueError(msg)
    if here.previous is None or here.records is None:
        return
    xp = backend.xp
    point, then = here.previous
    start = unpack(here.records.points()[0].value, point, backend=backend)
    now = value_at(point, here.step - 1)
    # Equal to the last bit, unless a library adds up in no fixed order.
    scale = xp.maximum(xp.maximum(xp.abs(start), xp.abs(then)), xp.abs(now))
    if not bool(xp.all(xp.abs(now - then) <= eps(xp, then.dtype) ** 0.5 * scale)):
        msg = (
            f"{path} is the checkpoint of another objective, or value_and_grad is no pure "
            f"function: at the point of step {here.step - 1} it was {then}, and is {now}"
        )
        raise ValueError(msg)
