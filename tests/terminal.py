"""What a terminal shows."""

from __future__ import annotations

import re


def screen(written: str) -> list[str]:
    """Interpret output on a small terminal, and return the rows that are not empty."""
    rows, row, column = [""], 0, 0
    for code, text in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)|([^\x1b\r\n]+)", written):
        if code == "\n":
            row, column = row + 1, 0
            rows.extend([""] * (row + 1 - len(rows)))
        elif code == "\r":
            column = 0
        elif code.endswith("A"):
            row -= int(code[2:-1])
        elif code == "\x1b[2K":
            rows[row] = ""
        elif text:
            rows[row] = rows[row][:column] + text + rows[row][column + len(text) :]
            column += len(text)
    return [line for line in rows if line]
