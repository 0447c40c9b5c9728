"""Tables for a terminal; whatever its width, no important text is cut off.

If a table is too wide, the widest columns are folded onto more lines, down to their least width;
then the least important columns are left out; then the path moves to a line of its own. A path that
is wider than its column has a line of its own too: a path in one piece can be copied.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple, TextIO

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.text import Text

from ..text import visible
from .colours import colour_of

GAP = "  "
INDENT = "  "
ROWS_AT_ONCE = 200
_STATUS_WIDTH = 12
_MOST_DIGITS = 5
_SIGNS = {"green": ("✓", "+"), "red": ("✗", "x"), "magenta": ("•", "-")}
"""The sign for the statuses of a colour, and another where the encoding lacks that."""
_LEAST = 2
"""No column is narrower: a character may take two cells."""


class Column(NamedTuple):
    """A column of texts, and what may be done if the table is too wide.

    `least` is the width in cells below which it is hard to read. Of the columns with a `rank`,
    the one with the highest is left out first. `alone` allows it a line of its own, and its texts
    are never folded.
    """

    name: str
    cells: Sequence[str]
    least: int = 12
    rank: int = 0
    alone: bool = False


def make_console(file: TextIO | None = None, *, force_terminal: bool | None = None) -> Console:
    """Return rich's console for a stream, stdout by default; it handles colours and widths.

    A `COLUMNS` or `LINES` that is not a size is ignored: the terminal itself is asked.
    """
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in ("COLUMNS", "LINES") or _is_size(value)
    }
    return Console(file=file, force_terminal=force_terminal, highlight=False, _environ=environ)


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) > 0


def encodes(text: str, encoding: str) -> bool:
    """Tell whether an encoding has all the characters of a text."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def print_table(
    console: Console, statuses: Sequence[str], columns: Sequence[Column], title: str = ""
) -> None:
    """Print a table: the statuses with their signs and colours, then the other columns.

    It is written in batches of rows, so that a long table appears at once.
    """
    encoding = console.encoding
    marked = [_marked(status, encoding) for status in statuses]
    shown = [
        column._replace(cells=[_shown(cell, encoding) for cell in column.cells])
        for column in columns
    ]
    layout = arranged([Column("Status", marked, _STATUS_WIDTH), *shown], console.width)
    if title:
        console.print(Text(_shown(title, encoding), style="bold"))
    names = layout.lines([column.name for column in layout.columns])
    text = Text("".join(line + "\n" for line, _ in names), style="bold")
    width = layout.widths[0]
    for number, (status, *row) in enumerate(
        zip(statuses, *(column.cells for column in layout.columns), strict=True)
    ):
        if number % ROWS_AT_ONCE == 0:
            _print(console, text)
            text = Text()
        for line, is_coloured in layout.lines(row):
            at = width if is_coloured else 0
            text.append(line[:at], style=colour_of(status)).append(line[at:] + "\n")
    _print(console, text)


def _print(console: Console, text: Text) -> None:
    console.print(text, end="", no_wrap=True, overflow="ignore", crop=False)


def _marked(status: str, encoding: str) -> str:
    sign, plain_sign = _SIGNS[colour_of(status)]
    return f"{sign if encodes(sign, encoding) else plain_sign} {_shown(status, encoding)}"


def _shown(text: str, encoding: str) -> str:
    return visible(text).encode(encoding, "backslashreplace").decode(encoding)


class Layout(NamedTuple):
    """The columns that are shown, and the widths of those side by side, in cells."""

    columns: Sequence[Column]
    widths: Sequence[int]

    def lines(self, cells: Sequence[str]) -> list[tuple[str, bool]]:
        """Return the lines of a row; each tells whether it begins with the status."""
        last = len(cells) - 1
        beside = len(self.widths)
        if beside > last and self.columns[last].alone and cell_len(cells[last]) > self.widths[last]:
            beside = last
        return [(line, True) for line in _row(cells[:beside], self.widths[:beside])] + [
            (INDENT + cell, False) for cell in cells[beside:]
        ]


def arranged(columns: Sequence[Column], width: int) -> Layout:
    """Choose the columns that fit into a width, and how wide each of them is, in cells."""
    natural = {column.name: _natural(column) for column in columns}
    least = {column.name: min(natural[column.name], column.least) for column in columns}
    kept = list(columns)

    def too_narrow() -> bool:
        return _room(kept, width) < sum(least[column.name] for column in kept)

    while too_narrow() and any(column.rank for column in kept):
        kept.remove(max(kept, key=lambda column: column.rank))
    beside = kept[:-1] if kept[-1].alone and too_narrow() else kept
    names = [column.name for column in beside]
    room = _room(beside, width)
    widths = fitting([natural[name] for name in names], [least[name] for name in names], room)
    return Layout(kept, widths)


def _room(columns: Sequence[Column], width: int) -> int:
    return width - len(GAP) * (len(columns) - 1)


def _natural(column: Column) -> int:
    return max(map(cell_len, [column.name, *column.cells]))


def fitting(widths: Sequence[int], leasts: Sequence[int], room: int) -> list[int]:
    """Narrow the widest columns until all fit, below their least widths only if they must."""
    for floors in (leasts, [_LEAST] * len(widths)):
        most = max(widths)
        fitted = list(widths)
        while sum(fitted) > room and most > min(floors):
            most -= 1
            fitted = [
                min(width, max(most, floor)) for width, floor in zip(widths, floors, strict=True)
            ]
        widths = fitted
    return list(widths)


def _row(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    parts = [folded(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return [
        GAP.join(map(set_cell_size, line, widths)).rstrip()
        for line in zip_longest(*parts, fillvalue="")
    ]


def folded(text: str, width: int) -> list[str]:
    """Fold a text into lines of `width` cells, if possible after a `/` in their second half."""
    lines = []
    while cell_len(text) > width:
        line = chop_cells(text, max(width, _LEAST))[0]
        at = line.rfind("/") + 1
        if at * 2 > len(line):
            line = line[:at]
        lines.append(line)
        text = text[len(line) :]
    return [*lines, text]
