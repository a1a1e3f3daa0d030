"""Tables of text."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], /, *, left: int | None = None) -> list[str]:
    """Return rows as lines of columns: the first `left` (all by default) begin at one place.

    The others end at one place, as numbers do.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    count = len(widths) if left is None else left
    return [
        "  ".join(
            cell.ljust(width) if i < count else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]], /) -> list[str]:
    """Return the lines of a table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]
