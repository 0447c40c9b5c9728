"""Writing to stdout (for programs) and to stderr (for people)."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from ..errors import LocalError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


class Nowhere(io.TextIOWrapper):
    """A replacement for a stdout that was closed before the program began."""


class BlockingWriter(io.RawIOBase):
    """A descriptor whose writes wait for room, even if it is in non-blocking mode.

    Another program that shares a pipe may have set that mode.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """Tell that it can be written to."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Write some of the bytes, at least one, and return how many. Raises OSError."""
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:
                select.select([], [self._descriptor], [])


class _Unbuffered(io.BufferedWriter):
    """A writer that flushes after each write."""

    def write(self, data: Buffer, /) -> int:
        written = super().write(data)
        self.flush()
        return written


def make_blocking(stream: TextIO | None) -> TextIO | None:
    """Return a standard stream that writes every byte or raises OSError.

    Python's own stream loses the rest of a short write when it is unbuffered (`PYTHONUNBUFFERED`),
    and what does not fit into a non-blocking pipe. A replacement for a closed stream and a Windows
    console are returned unchanged.
    """
    if not isinstance(stream, io.TextIOWrapper) or isinstance(stream, Nowhere):
        return stream
    if os.name == "nt" and stream.isatty():
        return stream
    stream.flush()
    unbuffered = not isinstance(stream.buffer, io.BufferedWriter)
    kind = _Unbuffered if unbuffered else io.BufferedWriter
    return io.TextIOWrapper(
        kind(BlockingWriter(stream.fileno())),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=unbuffered,
    )


def write_bytes(data: memoryview) -> None:
    """Write all bytes to stdout. Raises `LocalError`, `BrokenPipeError`."""
    if isinstance(sys.stdout, Nowhere):
        raise LocalError("stdout is closed: there is nowhere to write to")
    stdout = BlockingWriter(1)
    with to_stdout():
        while data:
            data = data[stdout.write(data) :]


def forget_stdout() -> None:
    """Redirect stdout to the null device; buffered output is lost."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@contextmanager
def to_stdout() -> Iterator[None]:
    """Turn errors of stdout into `LocalError`; let `BrokenPipeError` pass (the reader has gone)."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        forget_stdout()
        raise LocalError(f"cannot write to stdout: {error.strerror or error}") from error


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to stdout in blocks; characters that its encoding lacks are escaped.

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


def write_line(line: str) -> None:
    """Write a line to stdout at once. Raises `LocalError`, `BrokenPipeError`."""
    _write([line])
    with to_stdout():
        sys.stdout.flush()


def _write(block: list[str]) -> None:
    with to_stdout():
        sys.stdout.write("\n".join(block) + "\n")


def flush_stdout() -> None:
    """Flush stdout; a reader that has gone is no error. Raises `LocalError`."""
    try:
        with to_stdout():
            sys.stdout.flush()
    except BrokenPipeError:
        forget_stdout()


def say(text: str) -> None:
    """Write a line to stderr, if it can be written to."""
    if not text:
        return
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass
