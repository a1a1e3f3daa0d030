"""A run in one file, from which it goes on as if it had never stopped."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from specdesc._driver import fingerprint
from specdesc._driver.history import Records
from specdesc._driver.packing import Packed, pack, unpack
from specdesc._lib import host
from specdesc._lib.typing import Array
from specdesc.backends import Backend

#: Raised when the layout of the file changes.
FORMAT = 1

_NOTE = "note"


class Snapshot(NamedTuple):
    """A run before it looks at the point of one step."""

    step: int
    x: Array
    state: dict[str, Array]
    previous: tuple[Array, Array] | None  # the last point that was looked at, and its value
    records: Records | None


def write(
    path: Path,
    snapshot: Snapshot,
    run: dict[str, str],
    status: str,
    /,
    *,
    backend: Backend,
) -> None:
    """Write a run in one step; `run` is what tells it from another."""
    packed = {"x": pack(snapshot.x, backend=backend)}
    packed |= {f"state/{key}": pack(y, backend=backend) for key, y in snapshot.state.items()}
    if snapshot.previous is not None:
        packed["previous/x"] = pack(snapshot.previous[0], backend=backend)
        packed["previous/value"] = pack(snapshot.previous[1], backend=backend)
    steps: tuple[int, ...] = ()
    if snapshot.records is not None:
        steps = snapshot.records.steps
        packed["history/value"] = snapshot.records.values
        if snapshot.records.certificates is not None:
            packed["history/certificate"] = snapshot.records.certificates
    note = {
        "format": FORMAT,
        "run": run,
        "status": status,
        "step": snapshot.step,
        "history": steps,
        "arrays": {name: each[1:] for name, each in packed.items()},
    }
    arrays = {name: each.values for name, each in packed.items()}
    host.write_npz(path, {_NOTE: numpy.asarray(json.dumps(note)), **arrays})


def read(path: Path, run: dict[str, str], like: Array, /, *, backend: Backend) -> Snapshot:
    """Return the run of a file, or raise `ValueError` that says why it cannot go on."""
    arrays = host.read_npz(path)
    note = _note(path, arrays)
    other = fingerprint.difference(note["run"], run)
    if other is not None:
        msg = f"{path} is the checkpoint of another run: {other}"
        raise ValueError(msg)
    packed = {
        name: Packed(arrays[name], dtype, tuple(order), scalar)
        for name, (dtype, order, scalar) in note["arrays"].items()
    }
    moved = {
        name: unpack(each, like, backend=backend)
        for name, each in packed.items()
        if not name.startswith("history/")
    }
    state = {
        name.removeprefix("state/"): y for name, y in moved.items() if name.startswith("state/")
    }
    previous = (moved["previous/x"], moved["previous/value"]) if "previous/x" in moved else None
    records = None
    if note["history"]:
        certificates = packed.get("history/certificate")
        records = Records(tuple(note["history"]), packed["history/value"], certificates)
    return Snapshot(note["step"], moved["x"], state, previous, records)


def _note(path: Path, arrays: dict[str, Array]) -> dict[str, Any]:
    if _NOTE not in arrays:
        msg = f"{path} is not a checkpoint of minimize"
        raise ValueError(msg)
    note: dict[str, Any] = json.loads(str(arrays[_NOTE]))
    if note["format"] != FORMAT:
        msg = f"{path} is a checkpoint of format {note['format']}, this version reads {FORMAT}"
        raise ValueError(msg)
    return note
