"""stdout for programs and stderr for people: how each is written to."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import ArtifactsError, LocalError
from ..text import to_json, visible

if TYPE_CHECKING:
    from ..results import Report


class Nowhere(io.TextIOWrapper):
    """What stands for a stdout that was closed before the program began."""


def forget_stdout() -> None:
    """Let nothing more go where stdout led: what is still buffered for it is lost."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@contextmanager
def to_stdout() -> Iterator[None]:
    """Raise `LocalError` where stdout takes nothing, `BrokenPipeError` where its reader left."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        forget_stdout()
        raise LocalError(f"cannot write to stdout: {error.strerror or error}") from error


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to stdout, in blocks; what its encoding lacks is escaped.

    Raises `LocalError` where they cannot be written, and `BrokenPipeError`.
    """
    block: list[str] = []
    for line in lines:
        block.append(line)
        if len(block) >= 500:
            _write(block)
            block.clear()
    if block:
        _write(block)


def _write(block: list[str]) -> None:
    with to_stdout():
        sys.stdout.write("\n".join(block) + "\n")


def flush_stdout() -> None:
    """Write what is still buffered; a reader that has gone is no fault. Raises `LocalError`."""
    try:
        with to_stdout():
            sys.stdout.flush()
    except BrokenPipeError:
        forget_stdout()


def write_paths(report: Report) -> None:
    """Write the path of each file that is in place: for programs its exact bytes."""
    from ..results import Outcome

    there = (Outcome.DOWNLOADED, Outcome.UNCHANGED)
    paths = [result.path for result in report.files if result.outcome in there and result.path]
    if sys.stdout.isatty():
        write_lines(visible(path) for path in paths)
        return
    with to_stdout():
        sys.stdout.flush()
        sys.stdout.buffer.write(b"".join(os.fsencode(path) + b"\n" for path in paths))


class Voice:
    """How stderr is spoken to: in lines for people, or with `--progress json` in events."""

    as_events = False


def say(text: str, *, event: str = "notice", **fields: str | None) -> None:
    """Write to stderr; one that is gone is no reason to fail."""
    if not text:
        return
    if Voice.as_events:
        text = to_json({"event": event, "message": text, **fields})
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


def show_error(error: ArtifactsError) -> None:
    """Say what went wrong, and what to do about it."""
    if Voice.as_events:
        say(error.message, event="error", code=error.code, hint=error.hint)
        return
    lines = [visible(line) for line in error.message.split("\n")]
    say("\n".join([f"error: {lines[0]}", *lines[1:]]))
    if error.hint:
        say(f"  hint: {visible(error.hint)}")
