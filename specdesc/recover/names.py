"""Where results go: a folder that can be written to, and names that are nobody else's."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from specdesc.recover.errors import UsageError

#: The ends of the names of files, before their suffix.
PARTS = (
    "recovered",
    "low-rank",
    "sparse",
    "background",
    "foreground",
    "mask",
    "outliers",
    "report",
)


@dataclass(frozen=True)
class Names:
    """The names of the results for one source.

    Attributes
    ----------
    folder : Path
    stem : str
        What they begin with: the stem of the source, with a number where that is taken.
    """

    folder: Path
    stem: str

    def path(self, part: str, suffix: str, /) -> Path:
        """Return the path of a result."""
        return self.folder / f"{self.stem}-{part}{suffix}"


def prepare(folder: Path, source: Path, /) -> Names:
    """Make the folder, see that it can be written to, and choose the stem.

    Results of an earlier run on the same source are replaced, other files never.

    Raises
    ------
    UsageError
        If the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".specdesc-"):
            pass
        there = {path.stem if path.suffix else path.name for path in folder.iterdir()}
    except OSError as error:
        msg = f"--out {folder}: cannot be written to ({error.strerror or error})"
        raise UsageError(msg) from error
    plain = source.resolve().name if source.is_dir() else source.stem
    number, stem = 1, plain
    while not _is_free(folder, stem, there, source):
        number += 1
        stem = f"{plain}-{number}"
    return Names(folder, stem)


def identity(source: Path, /) -> str:
    """Return what a report calls its source."""
    return source.resolve().as_posix()


def _is_free(folder: Path, stem: str, there: set[str], source: Path) -> bool:
    if not any(_is_result(name, stem) for name in there):
        return True
    try:
        report = json.loads((folder / f"{stem}-report.json").read_text(encoding="utf-8"))
        return bool(report["source"] == identity(source))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_result(name: str, stem: str) -> bool:
    return any(name == f"{stem}-{part}" for part in PARTS)
