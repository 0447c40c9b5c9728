"""Checks values from callers of the library as strictly as options; raises `UsageError`."""

import math
import os
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

from .errors import UsageError
from .text import visible

Choice = TypeVar("Choice", bound=StrEnum)


def refused(name: str, what: str, value: object) -> UsageError:
    """Return the error for a value that must be `what`; it shows only the value's beginning."""
    shown = visible(value)[:60] if isinstance(value, str) else type(value).__name__
    if isinstance(value, int | float):
        shown = f"{value}"[:60]
    return UsageError(f"{name} must be {what}, not {shown or 'empty'}")


def instance(name: str, value: Any, kind: type) -> None:
    """Refuse a value that is not an instance of a class."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise refused(name, f"{article} {kind.__name__}", value)


def text(name: str, value: Any) -> str:
    """Return a string, which must not be empty."""
    if not isinstance(value, str) or not value:
        raise refused(name, "a string that is not empty", value)
    return value


def path(name: str, value: Any) -> str:
    """Return a path, which may be a `Path`, as a string."""
    given = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(given, str) or not given:
        raise refused(name, "the path of a file or folder", value)
    return given


def choice(name: str, value: Any, kind: type[Choice]) -> Choice:
    """Return one of the values of an option, which may be given as a string."""
    try:
        return kind(value)
    except ValueError:
        raise refused(name, f"one of {', '.join(kind)}", value) from None


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Return strings as a tuple; a single one may be given as it is."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise refused(name, "a string, or several", value)
    found = tuple(value)
    for one in found:
        if not isinstance(one, str):
            raise refused(name, "a string, or several", one)
    return found


def globs(name: str, value: Any) -> tuple[str, ...]:
    """Return globs as a tuple; none may be empty, as a script's unset variable would make it."""
    found = texts(name, value)
    if "" in found:
        raise UsageError(f"{name} has an empty glob")
    return found


def flag(name: str, value: Any) -> None:
    """Refuse a value other than True and False."""
    if not isinstance(value, bool):
        raise refused(name, "True or False", value)


def whole(name: str, value: Any, least: int) -> None:
    """Refuse a value that is not a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise refused(name, f"a whole number of at least {least}", value)


def number(name: str, value: Any, least: float, *, above: bool = False) -> None:
    """Refuse a value that is not a number of at least `least`, or with `above` more than that."""
    ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not ok or value < least or (above and value == least):
        raise refused(name, f"a number {'above' if above else 'of at least'} {least:g}", value)
