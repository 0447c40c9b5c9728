"""Shows the log on stderr, as lines for people or as JSON events."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from ..errors import ArtifactsError
from ..logs import PACKAGE, get_logger, redaction
from ..show.colours import painter
from ..text import to_json, visible
from .streams import say

_log = get_logger(__name__)


class StderrHandler(logging.Handler):
    """Writes records to stderr, and ignores that stderr is closed.

    It has no lock: the program's end must not wait for a thread that a blocked terminal holds up.
    """

    def __init__(self, *, events: bool) -> None:
        super().__init__()
        self._events = events
        self.above: Callable[[str], bool] = lambda text: False
        """Shows a message above the progress bars; returns whether it did."""

    def createLock(self) -> None:
        """Do without a lock."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as lines, or as one event."""
        error: ArtifactsError | None = getattr(record, "fault", None)
        if error is not None:
            shown = _error_event(error) if self._events else _error_lines(error)
            say(redaction.redacted(shown))
        elif self._events:
            say(to_json(_event(record)))
        elif not self.above(shown := _lines(record)):
            say(shown)


def _event(record: logging.LogRecord) -> dict[str, str | None]:
    text = record.getMessage()
    if record.levelno == logging.CRITICAL:
        code, hint = text.partition(":")[0], getattr(record, "hint", None)
        return {"event": "error", "message": text, "code": code, "hint": hint}
    return {"event": "debug" if record.levelno == logging.DEBUG else "notice", "message": text}


def _lines(record: logging.LogRecord) -> str:
    text, hint = record.getMessage(), getattr(record, "hint", None)
    if record.levelno == logging.DEBUG:
        return f"debug: {text}"
    return f"{text}\n  hint: {hint}" if hint else text


def _error_event(error: ArtifactsError) -> str:
    fields = {"message": error.message, "code": error.code, "hint": error.hint}
    return to_json({"event": "error", **fields})


def _error_lines(error: ArtifactsError) -> str:
    first, *more = [visible(line) for line in error.message.split("\n")]
    hint = [f"  hint: {visible(error.hint)}"] if error.hint else []
    return "\n".join([f"{painter(sys.stderr)('error:', 'red')} {first}", *more, *hint])


def listen(*, debug: bool = False, quiet: bool = False, events: bool = False) -> None:
    """Show the package's log on stderr: all of it with `debug`, no notices with `quiet`."""
    package = logging.getLogger(PACKAGE)
    package.handlers = [StderrHandler(events=events)]
    package.setLevel(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)


def show_above(above: Callable[[str], bool]) -> None:
    """Show messages with `above`, which returns whether it showed one, instead of on stderr."""
    for handler in logging.getLogger(PACKAGE).handlers:
        if isinstance(handler, StderrHandler):
            handler.above = above


def show_error(error: ArtifactsError) -> None:
    """Show what went wrong and what to do about it."""
    _listening().error("%s", error.message, extra={"fault": error})


def show_end(text: str, hint: str | None = None) -> None:
    """Show why the program ends early, also with `--quiet`; the first word is its code."""
    _listening().critical(text, extra={"hint": hint})


def _listening() -> logging.Logger:
    """Return the log; it shows messages even if no command has begun."""
    if not any(isinstance(h, StderrHandler) for h in logging.getLogger(PACKAGE).handlers):
        listen()
    return _log
