"""Names in messages: those that are there, the most like the wanted one first."""

from __future__ import annotations

from collections.abc import Iterable

from ..text import visible


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Return what there is, fit to be shown, the names most like `name` first."""
    from difflib import SequenceMatcher

    def likeness(other: str) -> float:
        return -SequenceMatcher(None, name.lower(), other.lower()).ratio()

    return [visible(other) for other in sorted(dict.fromkeys(names), key=likeness)]


def one_of(names: Iterable[str]) -> str:
    """Write alternatives, fit to be shown: `push`, `push or manual`, `a, b or c`."""
    *most, last = map(visible, names)
    return f"{', '.join(most)} or {last}" if most else last
