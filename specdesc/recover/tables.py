"""Tables of text: read with their labels, and written back as they were."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy

from specdesc._lib import host
from specdesc._lib.typing import Array
from specdesc.recover.data import Data, checked
from specdesc.recover.dialects import (
    MISSING,
    SAMPLE,
    Dialect,
    Line,
    decimal_mark,
    decode,
    is_missing,
    plain_number,
    split,
)
from specdesc.recover.errors import UsageError

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".dat")

#: Letters of a field that a message shows.
SHOWN = 40

#: Names of a first column that holds growing whole numbers and is no measurement.
INDEX_NAMES = frozenset({"id", "index", "row", "nr", "no", "no.", "number", "#", "unnamed: 0"})


@dataclass(frozen=True)
class Reading:
    """What the user knows of a table; None leaves it to the reader.

    Attributes
    ----------
    missing : tuple of str
        Further marks of missing entries: numbers, or words.
    header, index : bool or None
        Whether the first row holds names of columns, and the first column names of rows.
    """

    missing: tuple[str, ...] = ()
    header: bool | None = None
    index: bool | None = None


@dataclass(frozen=True)
class Table:
    """A table of numbers between labels.

    Attributes
    ----------
    dialect : Dialect
        How it is written.
    header : tuple of tuple of str
        The rows of names.
    rows : tuple of tuple of str
        The other rows, as they were read.
    columns : tuple of int
        Which columns are numbers. The others are labels and come back out as they are.
    original : NumPy array
        The numbers that were read: what has not changed keeps its digits.
    """

    kind: ClassVar[str] = "table"
    limits: ClassVar[None] = None

    suffix: str
    dialect: Dialect
    header: tuple[tuple[str, ...], ...]
    rows: tuple[tuple[str, ...], ...]
    columns: tuple[int, ...]
    original: Array

    @property
    def notes(self) -> tuple[str, ...]:
        """Say what was taken for labels."""
        labels = [j for j in range(len(self.rows[0])) if j not in self.columns]
        said = list(self.dialect.notes)
        said.append("with a header" if self.header else "no header")
        if labels:
            names = ", ".join(self._name(j) for j in labels)
            said.append(f"labels in column{'s' * (len(labels) > 1)} {names}")
        return tuple(said)

    def _name(self, j: int) -> str:
        """Return the name of a column of the file, or its number from 1."""
        names = self.header[0] if self.header else ()
        shift = len(self.rows[0]) - len(names) if names else 0
        return (names[j - shift] if names and j >= shift else "") or str(j + 1)

    def column(self, j: int, /) -> str:
        """Return the name of a column of numbers, or its number in the file, from 1."""
        return self._name(self.columns[j])

    def row(self, i: int, /) -> str:
        """Return the first label of a row, or its number from 1."""
        labels = (f for j, f in enumerate(self.rows[i]) if j not in self.columns and f)
        return next(labels, str(i + 1))

    def write(self, path: Path, values: Array, /) -> None:
        """Write numbers with the labels; they read back the same."""
        changed = values != self.original
        self._write(path, lambda i, j, c: _text(values[i, j]) if changed[i, j] else self.rows[i][c])

    def write_difference(self, path: Path, values: Array, /) -> None:
        """Write differences with the labels."""
        self._write(path, lambda i, j, _: _text(values[i, j]))

    def write_mask(self, path: Path, mask: Array, /) -> None:
        """Write 1 where an entry is marked and 0 elsewhere."""
        self._write(path, lambda i, j, _: str(int(mask[i, j])))

    def _write(self, path: Path, field: Callable[[int, int, int], str]) -> None:
        place = {column: j for j, column in enumerate(self.columns)}
        rows = [list(names) for names in self.header]
        for i, row in enumerate(self.rows):
            rows.append(
                [
                    self._shown(field(i, place[c], c)) if c in place else label
                    for c, label in enumerate(row)
                ]
            )
        text = self.dialect.newline.join([*self.dialect.comments, *map(self._line, rows), ""])
        content = text.encode(self.dialect.encoding)
        host.write_atomically(path, lambda file: file.write_bytes(content))

    def _shown(self, number: str) -> str:
        if not number:
            return self.dialect.mark
        return number.replace(".", ",") if self.dialect.decimal == "," else number

    def _line(self, fields: Sequence[str]) -> str:
        if self.dialect.separator == " ":
            return " ".join(fields)
        line = io.StringIO()
        csv.writer(line, delimiter=self.dialect.separator, lineterminator="").writerow(fields)
        return line.getvalue()


def read(path: Path, reading: Reading | None = None, /) -> Data:
    """Read a table of numbers with what people put around them.

    Found out from the text: encoding, separator, decimal mark, header, columns of labels, marks of
    missing entries. What is ambiguous is settled as `Table.notes` says, and by `reading`.

    Raises
    ------
    UsageError
        If rows differ in length or a field is no number; it names the line of the file.
    """
    try:
        lines, dialect = split(*decode(path.read_bytes()))
    except (csv.Error, ValueError) as error:
        msg = f"{path}: cannot be read as a table ({error})"
        raise UsageError(msg) from error
    if not lines:
        msg = f"{path}: cannot be read as a table (it is empty)"
        raise UsageError(msg)
    return _Reader(path, reading or Reading(), dialect, lines).read()


class _Reader:
    """The rows of one table, on the way to numbers and labels."""

    def __init__(self, path: Path, reading: Reading, dialect: Dialect, lines: list[Line]) -> None:
        self.path = path
        self.reading = reading
        self.marks = MISSING | {mark.lower() for mark in reading.missing}
        self.width = self._check_width(lines)
        sample = [field for line in lines[:SAMPLE] for field in line.fields]
        self.decimal = decimal_mark(sample, dialect.separator)
        self.dialect = dialect
        self.lines = lines

    def read(self) -> Data:
        lines = self.lines
        numeric = [self._is_numeric(j) for j in range(self.width)]
        heads = self._header(lines, numeric)
        header, body = lines[:heads], lines[heads:]
        if not body:
            msg = f"{self.path}: cannot be read as a table (no row holds numbers)"
            raise UsageError(msg)
        numeric[0] = numeric[0] and not self._is_index(header, body)
        columns = tuple(j for j in range(self.width) if numeric[j])
        if not columns:
            field = body[0].fields[0][:SHOWN]
            msg = f"{self.path}: line {body[0].number}, column 1: {field!r} is not a number"
            raise UsageError(msg)
        values = numpy.asarray([[self._number(line, j) for j in columns] for line in body])
        for mark in self.reading.missing:
            # "-9999" and "-9999.0" are one number.
            number = _float(plain_number(mark, self.decimal))
            if number is not None:
                values[values == number] = numpy.nan
        dialect = replace(self.dialect, decimal=self.decimal, mark=self._mark(body, columns))
        form = Table(
            self.path.suffix.lower() or ".csv",
            dialect,
            tuple(line.fields for line in header),
            tuple(line.fields for line in body),
            columns,
            values,
        )
        return Data(checked(values, self.path), form)

    def _check_width(self, lines: list[Line]) -> int:
        """Return the number of fields, which all rows share but a header without the first one."""
        lengths = [len(line.fields) for line in lines]
        width = max(sorted(set(lengths), reverse=True), key=lengths.count)
        for i, line in enumerate(lines):
            length = len(line.fields)
            if length != width and not (i == 0 and length == width - 1 and len(lines) > 1):
                msg = f"{self.path}: line {line.number} has {length} fields, the others {width}"
                raise UsageError(msg)
        first = lines[0]
        if len(first.fields) != width and any(
            _float(plain_number(f, ".")) is not None for f in first.fields
        ):
            msg = f"{self.path}: line {first.number} has {width - 1} fields, the others {width}"
            raise UsageError(msg)
        return width

    def _is_numeric(self, j: int) -> bool:
        """Say whether a column holds numbers: at least half of what is not missing."""
        fields = [line.fields[j] for line in self.lines if len(line.fields) == self.width]
        if all(is_missing(field, self.marks) for field in fields[1:]):
            return len(fields) > 1 or self._is_number(fields[0])  # nothing below what may be a name
        known = [field for field in fields if not is_missing(field, self.marks)]
        return 2 * sum(map(self._is_number, known)) >= len(known)

    def _is_number(self, field: str) -> bool:
        return _float(plain_number(field, self.decimal)) is not None

    def _is_text(self, field: str) -> bool:
        return not is_missing(field, self.marks) and not self._is_number(field)

    def _header(self, lines: list[Line], numeric: list[bool]) -> int:
        """Return how many rows hold names: text over numbers, or numbers counted up by one."""
        if self.reading.header is not None:
            return int(self.reading.header)
        first = lines[0].fields
        if len(first) != self.width:
            return 1
        heads = 0
        while heads < min(3, len(lines)):  # names, units, and one line more
            over = [f for f, number in zip(lines[heads].fields, numeric, strict=True) if number]
            names = [field for field in over if field]
            if not names or 2 * sum(map(self._is_text, names)) < len(names):
                break
            heads += 1
        if heads == 0 and self.width > 2 and (not first[0] or not numeric[0]):
            counted = [_float(field) for field in first[1:]]
            start = counted[0]
            if start is not None and counted == [start + i for i in range(len(counted))]:
                return 1
        return heads

    def _is_index(self, header: list[Line], body: list[Line]) -> bool:
        """Say whether a first column of numbers names the rows."""
        if self.reading.index is not None:
            return self.reading.index
        if not header or self.width < 2:
            return False
        names = header[0].fields
        if len(names) != self.width or not names[0]:
            return True
        numbers = [_float(line.fields[0]) for line in body]
        grows = all(
            n is not None and n == int(n) and (i == 0 or n > (numbers[i - 1] or 0))
            for i, n in enumerate(numbers)
            if n is None or abs(n) < float("inf")
        )
        return grows and names[0].lower() in INDEX_NAMES

    def _number(self, line: Line, j: int) -> float:
        field = line.fields[j]
        if is_missing(field, self.marks):
            return float("nan")
        number = _float(plain_number(field, self.decimal))
        if number is None or abs(number) == float("inf"):
            hint = "infinite; mark missing ones" if number is not None else "not a number"
            msg = f"{self.path}: line {line.number}, column {j + 1}: {field[:SHOWN]!r} is {hint}"
            raise UsageError(msg if number is None else f"{msg} as NaN or by an empty field")
        return number

    def _mark(self, body: list[Line], columns: tuple[int, ...]) -> str:
        """Return the commonest mark of a missing entry."""
        counts = Counter(
            line.fields[j]
            for line in body
            for j in columns
            if is_missing(line.fields[j], self.marks)
        )
        if counts:
            return counts.most_common(1)[0][0]
        return "nan" if self.dialect.separator == " " else ""


def _float(field: str) -> float | None:
    """Return a number, or None; what only Python reads as one is none."""
    try:
        return None if "_" in field else float(field)
    except ValueError:
        return None


def _text(value: float) -> str:
    """Return digits that read back the same, and nothing for a missing entry."""
    if value != value:
        return ""
    return repr(float(value)).removesuffix(".0")
