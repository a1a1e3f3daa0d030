"""How a table of text is written: its encoding, separator, decimal mark and marks for missing."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

#: Marks of missing entries, in lower case; spreadsheets write their errors into fields as well.
MISSING = frozenset(
    mark
    for group in (
        ("", "na", "n/a", "#n/a", "#na", "n.a.", "nan", "-nan", "null", "none", "nil", "<na>"),
        ("-", "--", "—", ".", "?", "*", "missing", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
        ("#null!", "#div/0!", "#value!", "#ref!", "#num!", "#name?"),
    )
    for mark in group
)

#: Rarest in other uses first: a comma may be a decimal mark, and a space belong to a label.
SEPARATORS = ("\t", ";", "|", ",", " ")

NAMES = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas", " ": "spaces"}

#: Longest first, since UTF-32 begins like UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)

#: Lines that are looked at to find the separator.
SAMPLE = 200

_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?")
_POINT_GROUPS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_COMMA_GROUPS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?")


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Attributes
    ----------
    encoding : str
        With its byte order mark, where there was one.
    separator : str
        A space stands for any run of spaces.
    decimal : str
        ``"."`` or ``","``.
    mark : str
        What is written where an entry is missing: the commonest mark of the file.
    trailing : bool
        Whether lines ended with a separator; they are written without.
    newline : str
        The end of lines.
    comments : tuple of str
        Lines before the table that begin with ``#``, or the hint ``sep=``.
    """

    encoding: str = "utf-8"
    separator: str = ","
    decimal: str = "."
    mark: str = ""
    trailing: bool = False
    newline: str = "\n"
    comments: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what is not as in plain CSV."""
        said = []
        if self.encoding != "utf-8":
            said.append(self.encoding)
        if self.separator != ",":
            said.append(NAMES[self.separator])
        if self.decimal == ",":
            said.append("decimal commas")
        if self.trailing:
            said.append("a separator at the end of lines")
        return tuple(said)


@dataclass(frozen=True)
class Line:
    """The fields of one row and the line of the file that it starts on."""

    number: int
    fields: tuple[str, ...]


def decode(content: bytes, /) -> tuple[str, str]:
    """Return a text and its encoding, by its byte order mark or by what decodes.

    UTF-16 without a mark is known by its zero bytes. What is no UTF-8 is taken for the code page
    of Windows, in which every byte means something.
    """
    for mark, name in MARKS:
        if content.startswith(mark):
            return content.decode(name), name
    for place, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = content[place:2000:2].count(0)
        if len(content) >= 4 and zeros > 0.4 * len(content[place:2000:2]):
            return content.decode(name), name
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace"), "cp1252"


def split(text: str, encoding: str, /) -> tuple[list[Line], Dialect]:
    """Split a text into rows of stripped fields and say how it is written; no blank rows.

    Raises
    ------
    ValueError
        If it is no text.
    """
    if any(ord(letter) < 32 and letter not in "\t\n\r\f" for letter in text):
        msg = "it is no text"
        raise ValueError(msg)
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first, comments = 0, []
    while first < len(lines) and (not lines[first].strip() or lines[first].startswith("#")):
        # "#N/A" is an entry, "# time, speed" or "#time" is a comment.
        if lines[first].lower().startswith(("#n/a", "#na,", "#na;", "#na\t")):
            break
        comments += [lines[first]] if lines[first].strip() else []
        first += 1
    separator = None
    if first < len(lines) and re.fullmatch(r'"?sep=(.)"?', lines[first].strip("\n ")):
        comments.append(lines[first])
        separator = lines[first].strip().strip('"')[4:] or "\t"
        first += 1
    lines = lines[first:]
    if separator not in SEPARATORS:
        separator = _separator([line for line in lines if line.strip()][:SAMPLE])
    rows = _rows(lines, separator, first)
    dialect = Dialect(encoding, separator, newline=newline, comments=tuple(comments))
    rows, trailing = _without_trailing(rows)
    return rows, replace(dialect, trailing=trailing)


def _rows(lines: list[str], separator: str, before: int) -> list[Line]:
    if separator == " ":
        return [
            Line(before + i, tuple(line.split())) for i, line in enumerate(lines, 1) if line.strip()
        ]
    reader = csv.reader((line + "\n" for line in lines), delimiter=separator)
    rows, number = [], before + 1
    for fields in reader:
        if any(field.strip() for field in fields):
            rows.append(Line(number, tuple(field.strip() for field in fields)))
        elif len(fields) > 1:
            rows.append(Line(number, ("",) * len(fields)))
        number = before + reader.line_num + 1
    return rows


def _separator(lines: Sequence[str]) -> str:
    """Return the separator that gives most lines the same number of fields, of at least two."""
    for separator in SEPARATORS:
        counts = Counter(_count(line, separator) for line in lines)
        if not counts:
            break
        fields, times = counts.most_common(1)[0]
        if fields > 1 and 2 * times > len(lines):
            return separator
    return ","


def _count(line: str, separator: str) -> int:
    if separator == " ":
        return len(line.split())
    return len(next(csv.reader([line], delimiter=separator), []))


def _without_trailing(rows: list[Line]) -> tuple[list[Line], bool]:
    """Drop what comes after a separator at the end of every line, or of lines one field too long.

    A header may name the columns without one. A last column that has a name is a column.
    """
    if not rows:
        return rows, False
    lengths = [len(row.fields) for row in rows]
    width = max(sorted(set(lengths), reverse=True), key=lengths.count)
    ended = all(not row.fields[-1] for row in rows if len(row.fields) == width)
    named = len(rows[0].fields) == width and rows[0].fields[-1]
    if width > 1 and ended and not named:
        width -= 1
        return [_shortened(row, width) for row in rows], True
    return [_shortened(row, width) for row in rows], False


def _shortened(row: Line, width: int) -> Line:
    extra = row.fields[width:]
    return Line(row.number, row.fields[:width]) if extra == ("",) else row


def is_missing(field: str, marks: frozenset[str], /) -> bool:
    """Say whether a field marks a missing entry."""
    return field.lower() in marks


def decimal_mark(fields: Sequence[str], separator: str, /) -> str:
    """Return the decimal mark of fields that are numbers: a comma where points cannot be."""
    commas = [field for field in fields if "," in field]
    if not commas:
        return "."
    points = sum(bool(_POINT_GROUPS.fullmatch(field)) for field in commas)
    decimal = sum(
        bool(_COMMA.fullmatch(field) or _COMMA_GROUPS.fullmatch(field)) for field in commas
    )
    # "1,234" is both: a comma, unless a point elsewhere is no mark of thousands.
    plain = any(
        "." in field and _POINT.fullmatch(field) and not _COMMA_GROUPS.fullmatch(field)
        for field in fields
    )
    if separator == "," and points == len(commas):
        return "."
    return "," if decimal and not plain else "."


def plain_number(field: str, decimal: str, /) -> str:
    """Return a field with a point for the decimal mark and without marks of thousands."""
    if decimal == ",":
        if _COMMA_GROUPS.fullmatch(field):
            field = field.replace(".", "")
        return field.replace(",", ".") if _COMMA.fullmatch(field) else field
    return field.replace(",", "") if _POINT_GROUPS.fullmatch(field) else field
