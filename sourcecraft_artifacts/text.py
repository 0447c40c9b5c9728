"""Makes text from outside safe to show, and writes numbers, lists and names for people."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

# Control (C0, DEL, C1), format (bidi, zero width), lone surrogates, line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    r"""Replace characters that control a terminal or hide text by escapes such as `\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _HIDDEN else c for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def to_json(value: Any) -> str:
    """Return JSON in printable ASCII, which every locale can write."""
    return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")


_QUERY = r"(?i)(https?://)([^\s/?#'\"@<>]*@)?([^\s?#'\"<>]*)(\?[^\s'\"<>]*)?"


def without_secrets(text: str, secrets: Sequence[str] = ()) -> str:
    """Redact known secrets, and the user info and the query (with its signature) of each URL."""
    for secret in secrets:
        if secret:
            text = re.sub(re.escape(secret), "[redacted]", text, flags=re.IGNORECASE)
    return re.sub(
        _QUERY,
        lambda m: m[1] + ("[redacted]@" if m[2] else "") + m[3] + ("?[redacted]" if m[4] else ""),
        text,
    )


def human_size(size: float) -> str:
    """Return a number of bytes for people, in powers of 1024: `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def human_seconds(seconds: float) -> str:
    """Return a duration in seconds for people: `1.5 s`, `2 min 05 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def some_of(names: Iterable[str], most: int = 10) -> str:
    """Join the first names, and say how many more there are: `a, b and 3 more`.

    A name is cut after 200 characters.
    """
    found = list(names)
    left = len(found) - most
    shown = [name if len(name) <= 200 else f"{name[:200]}..." for name in found[:most]]
    return ", ".join(shown) + (f" and {left:,} more" if left > 0 else "")


def count(number: int, noun: str) -> str:
    """Return a number and its noun: `1 artifact`, `2 artifacts`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


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
