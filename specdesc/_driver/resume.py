"""When a run may go on from a file: only if it is the same run."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from specdesc._driver import fingerprint
from specdesc._driver.checkpoint import Snapshot
from specdesc._driver.packing import unpack
from specdesc._lib.dtypes import eps
from specdesc._lib.typing import Array
from specdesc.backends import Backend


def place(checkpoint: str | os.PathLike[str], /) -> Path:
    """Return the path of a checkpoint, or raise before any work is done."""
    path = Path(checkpoint)
    if path.is_dir() or not path.parent.is_dir():
        msg = f"checkpoint must be a file in a folder that exists, got {str(path)!r}"
        raise ValueError(msg)
    return path


def names(
    x0: Array,
    rule: Any,
    state: dict[str, Array],
    options: Mapping[str, object],
    /,
    *,
    backend: Backend,
) -> dict[str, str]:
    """Return what tells one run from another, in words."""
    return {
        "backend": backend.name,
        "x0": fingerprint.of_array(x0, backend=backend),
        "rule": fingerprint.of_object(rule, x0, backend=backend),
        "state": ", ".join(f"{key} {tuple(y.shape)} {y.dtype}" for key, y in state.items()),
        **{name: str(option) for name, option in options.items()},
    }


def check(
    path: Path,
    here: Snapshot,
    steps: int,
    value_at: Callable[[Array, int], Array],
    /,
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
