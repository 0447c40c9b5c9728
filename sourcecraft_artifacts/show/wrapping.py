"""Wraps sentences for a terminal, between words; a path stays in one piece, so it can be copied."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import TextIO

_INDENT = "  "
_GLUE = "\0"
_NUMBER = r"(?<=[0-9]) (?=[A-Za-z])"


def terminal_width(stream: TextIO | None) -> int | None:
    """Return the width of a stream's terminal in cells; None if it is not a terminal."""
    try:
        if stream is None or not stream.isatty():
            return None
        told = os.environ.get("COLUMNS", "")
        if told.isascii() and told.isdigit() and int(told[:9]) > 0:
            return int(told[:9])
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def wrapped(text: str, whole: str, width: int | None) -> list[str]:
    """Wrap a sentence to lines of `width` cells; None leaves it in one line.

    `whole` is a part that is kept in one piece, such as a path, and so is a number with its noun.
    What is longer than a line is left to the terminal, which wraps it without a line break.
    """
    if width is None or 2 * len(text) <= width:
        return [text]
    text = text.replace(whole, whole.replace(" ", _GLUE)) if whole else text
    lines: list[str] = []
    for part in re.sub(_NUMBER, _GLUE, text).split(" "):
        word = part.replace(_GLUE, " ")
        if lines and _cells(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{_INDENT}{word}" if lines else word)
    return lines


def _cells(text: str) -> int:
    """Return about how many cells a text takes, without the start-up time of rich."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)
