"""Tables for a person at a terminal: what does not fit is folded onto more lines, never cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.text import Text

from .text import visible

GAP = "  "
LEAST_WIDTH = 8
ROWS_AT_ONCE = 200


class Mark(NamedTuple):
    """A status's sign, the sign where the encoding lacks that, and its colour."""

    sign: str
    plain_sign: str
    colour: str


# These colours can be read on dark and on light backgrounds; yellow and cyan cannot.
_BAD, _OPEN = Mark("✗", "x", "red"), Mark("•", "-", "magenta")
_MARKS = {
    "success": Mark("✓", "+", "green"),
    **dict.fromkeys(("failed", "missing", "timeout", "canceled"), _BAD),
}


def encodes(text: str, encoding: str) -> bool:
    """Tell whether an encoding has all the characters of a text."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def print_table(
    console: Console,
    statuses: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    title: str = "",
) -> None:
    """Print a table of statuses, with sign and colour, and of other columns by their headings.

    It is written bit by bit, so that a long one begins at once.
    """
    encoding = console.encoding
    names = ["Status", *columns]
    cells = [[_marked(status, encoding) for status in statuses]]
    cells += [[_shown(cell, encoding) for cell in column] for column in columns.values()]
    natural = [
        max(map(cell_len, [name, *column])) for name, column in zip(names, cells, strict=True)
    ]
    widths = fitting(natural, console.width - len(GAP) * len(columns))
    if title:
        console.print(Text(_shown(title, encoding), style="bold"))
    text = Text("\n".join(_row(names, widths)) + "\n", style="bold")
    for number, (status, *row) in enumerate(zip(statuses, *cells, strict=True)):
        if number % ROWS_AT_ONCE == 0:
            _print(console, text)
            text = Text()
        colour = _MARKS.get(status, _OPEN).colour
        for line in _row(row, widths):
            text.append(line[: widths[0]], style=colour).append(line[widths[0] :] + "\n")
    _print(console, text)


def _print(console: Console, text: Text) -> None:
    console.print(text, end="", no_wrap=True, overflow="ignore", crop=False)


def _marked(status: str, encoding: str) -> str:
    mark = _MARKS.get(status, _OPEN)
    sign = mark.sign if encodes(mark.sign, encoding) else mark.plain_sign
    return f"{sign} {_shown(status, encoding)}"


def _shown(text: str, encoding: str) -> str:
    return visible(text).encode(encoding, "backslashreplace").decode(encoding)


def fitting(widths: Sequence[int], room: int) -> list[int]:
    """Narrow the widest columns until all fit, or until none can give more; in cells."""
    most = max(room, LEAST_WIDTH)
    while most > LEAST_WIDTH and sum(min(width, most) for width in widths) > room:
        most -= 1
    return [min(width, most) for width in widths]


def _row(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    folded = [
        chop_cells(cell, width) if cell_len(cell) > width else [cell]
        for cell, width in zip(cells, widths, strict=True)
    ]
    return [
        GAP.join(map(set_cell_size, line, widths)).rstrip()
        for line in zip_longest(*folded, fillvalue="")
    ]
