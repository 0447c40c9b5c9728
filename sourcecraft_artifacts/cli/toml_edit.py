"""Adds or removes one token in the text of the config file; all other text is unchanged.

The standard library reads TOML but does not write it. The caller parses the result and compares it
with the wanted settings before it writes the file.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

_BOM = "\ufeff"
_TEXT = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*')"""
_ENTRY = rf"([ \t]*)(?:{_TEXT}|[A-Za-z0-9_-]+)[ \t]*=[ \t]*{_TEXT}([ \t]*(?:#.*)?\r?\n)"


def parse(text: str) -> dict[str, Any]:
    """Read TOML, with or without a byte order mark. Raises ValueError."""
    text = text.removeprefix(_BOM)
    if not text:
        return {}
    import tomllib  # slow to import, and most people have no config file

    # Floats are kept as text, so that two parses compare equal even with a NaN.
    return tomllib.loads(text, parse_float=str)


def with_token(text: str, host: str, token: str | None) -> str:
    """Edit the lines of the `[tokens]` table; add the table if there is none."""
    newline = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith("\n"):
        text += newline
    entry = "" if token is None else f"{json.dumps(host)} = {json.dumps(token)}"
    statements = _statements(text)
    headers = [i for i, statement in enumerate(statements) if _is_header(statement)]
    start = next((i for i in headers if parse(statements[i]) == {"tokens": {}}), None)
    if start is None:
        return text + f"{newline if text else ''}[tokens]{newline}{entry}{newline}"
    end = next((i for i in headers if i > start), len(statements))
    place = start
    for i in range(start + 1, end):
        key = next(iter(parse(statements[i])), None)
        if key is not None:
            place = i
        if key is not None and key.lower() == host:
            # A key in another case is the same host: the first is replaced, the others are removed.
            statements[i] = _with_entry(statements[i], entry, newline)
            entry = ""
    statements[place] += entry and entry + newline
    return "".join(statements)


def _statements(text: str) -> list[str]:
    """Split TOML into statements: the fewest whole lines that are valid TOML by themselves."""
    statements, open_ = [], ""
    for line in re.findall(r"[^\n]*\n", text):
        open_ += line
        with suppress(ValueError):
            parse(open_)
            statements.append(open_)
            open_ = ""
    return [*statements, open_]


def _is_header(statement: str) -> bool:
    return statement.removeprefix(_BOM).lstrip().startswith("[")


def _with_entry(statement: str, entry: str, newline: str) -> str:
    """Replace or remove an entry; keep its indentation and its comment."""
    match = re.fullmatch(_ENTRY, statement)
    if not entry:
        return ""
    return f"{match[1]}{entry}{match[2]}" if match else entry + newline
