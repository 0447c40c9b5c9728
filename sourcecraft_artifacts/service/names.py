"""Names in messages: existing names, those most like the wanted one first."""

from __future__ import annotations

from collections.abc import Iterable

from ..text import visible


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Return the existing names, safe to show, those most like `name` first."""
    from difflib import SequenceMatcher

    def likeness(other: str) -> float:
        return -SequenceMatcher(None, name.lower(), other.lower()).ratio()

    return [visible(other) for other in sorted(dict.fromkeys(names), key=likeness)]


def near(name: str, names: Iterable[str]) -> str:
    """Return the existing name most like `name`, safe to show; empty if none is similar."""
    from difflib import get_close_matches

    there = {other.lower(): other for other in names}
    return visible("".join(there[like] for like in get_close_matches(name.lower(), there, n=1)))


def one_of(names: Iterable[str]) -> str:
    """Join alternatives, safe to show: `push`, `push or manual`, `a, b or c`."""
    *most, last = map(visible, names)
    return f"{', '.join(most)} or {last}" if most else last
