"""Parsers for the values of options; each raises a `UsageError` that names the option."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import typer

from ..errors import UsageError
from ..text import visible

# Compiled when they are first used, because few commands are given a rate or a duration.
_RATE = r"(?i)([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?(?:/s)?"
_DURATION = (
    r"(?i)(?:([0-9]+(?:\.[0-9]+)?)h)?(?:([0-9]+(?:\.[0-9]+)?)m)?(?:([0-9]+(?:\.[0-9]+)?)s?)?"
)


def for_typer(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Pass a parser's errors to typer, which adds the option and the command."""

    def parse(value: str) -> Any:
        try:
            return read(value)
        except UsageError as error:
            raise typer.BadParameter(error.message) from error

    return parse


def number(option: str, kind: type[int] | type[float], what: str, least: int) -> Any:
    """Return a parser for a number; it raises a `UsageError` that names the option."""

    def read(value: str | float) -> float:
        try:
            number = kind(value)
        except ValueError:
            number = kind(least - 1)
        if number < least:
            raise UsageError(f"{option} must be {what}, not {visible(str(value)) or 'empty'}")
        return number

    return read


def run_value(option: str, what: str, example: str) -> Any:
    """Return a parser for a run filter's value; it raises `UsageError` for an empty one."""

    def read(value: str) -> str:
        if not value.strip():
            raise UsageError(f"{option}: the {what} is empty", hint=f"write {example}")
        return value.strip()

    return read


def read_stall_timeout(text: str | float) -> float:
    """Parse the seconds that a connection may stall. Raises `UsageError`."""
    what = "a number of seconds, more than 0"
    seconds: float = number("--stall-timeout", float, what, 0)(text)
    if not 0 < seconds <= 1e6:
        raise UsageError("--stall-timeout must be more than 0 and at most 1,000,000 seconds")
    return seconds


def read_rate(text: str) -> float:
    """Read a rate such as `500K` or `10M`, in powers of 1024 as curl does, as bytes a second.

    Raises `UsageError`.
    """
    match = re.fullmatch(_RATE, text.strip())
    rate = float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " ") if match else 0.0
    if rate < 1:
        raise UsageError(
            f"--limit-rate: {visible(text)} is not a rate",
            hint="write 500K or 10M (bytes a second)",
        )
    return rate


def duration(text: str) -> str:
    """Check a duration for `read_duration` and return its text. Raises `UsageError`."""
    read_duration(text)
    return text


def read_duration(text: str) -> float:
    """Read a duration such as `90s`, `30m`, `2h` or `1h30m` as seconds. Raises `UsageError`."""
    match = re.fullmatch(_DURATION, text.strip())
    if match is None or not any(match.groups()):
        raise UsageError(
            f"--wait-timeout: {visible(text)} is not a duration",
            hint="write 90 (seconds), 30m or 2h",
        )
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
