"""Decides whether a stream gets colours, and colours text that rich does not print."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TextIO

Paint = Callable[[str, str], str]
"""Takes a text and a colour; returns the text in that colour, or unchanged."""

# A terminal's other colours are unreadable on light or on dark backgrounds.
_CODES = {"bold": "1", "red": "31", "green": "32", "magenta": "35"}
_STATUSES = {
    "success": "green",
    **dict.fromkeys(("failed", "missing", "timeout", "canceled", "rejected"), "red"),
}


def colour_of(status: str) -> str:
    """Return the colour of a status: green for success, red for failure, else magenta."""
    return _STATUSES.get(status, "magenta")


def are_wanted(stream: TextIO) -> bool:
    """Tell whether text for a stream gets colours.

    `NO_COLOR` forbids them and `CLICOLOR_FORCE` demands them; else a terminal gets them, unless
    `TERM` names one without colours.
    """
    if os.environ.get("NO_COLOR"):
        return False
    return are_forced() or (stream.isatty() and is_capable_term())


def are_forced() -> bool:
    """Tell whether `CLICOLOR_FORCE` demands colours, also in a pipe; `NO_COLOR` beats it."""
    forced = os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0")
    return forced and not os.environ.get("NO_COLOR")


def is_capable_term() -> bool:
    """Tell whether `TERM` names a terminal that can move its cursor and has colours."""
    return os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}


def painter(stream: TextIO | None) -> Paint:
    """Return the function that colours texts for a stream."""
    return painted if stream is not None and are_wanted(stream) else unpainted


def painted(text: str, colour: str) -> str:
    """Return a text in a colour; what follows it is not coloured."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if text else text


def unpainted(text: str, colour: str) -> str:
    """Return a text as it is."""
    return text
