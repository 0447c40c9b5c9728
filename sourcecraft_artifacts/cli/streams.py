"""Writing to stdout (for programs) and to stderr (for people)."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from ..errors import LocalError, UsageError
from ..text import visible

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

    from ..results import Report


class Nowhere(io.TextIOWrapper):
    """A replacement for a stdout that was closed before the program began."""


class Patient(io.RawIOBase):
    """A descriptor whose writes block, even if it is set not to block.

    Another program may have set a shared pipe not to block; a full one is then waited for.
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
    """Writes everything at once."""

    def write(self, data: Buffer, /) -> int:
        written = super().write(data)
        self.flush()
        return written


def make_patient(stream: TextIO | None) -> TextIO | None:
    """Return a standard stream that writes every byte or raises OSError.

    Python's own stream loses the rest of a short write when it is unbuffered (`PYTHONUNBUFFERED`),
    and what does not fit into a pipe that does not block. A replacement for a closed stream and a
    Windows console are kept as they are.
    """
    if not isinstance(stream, io.TextIOWrapper) or isinstance(stream, Nowhere):
        return stream
    if os.name == "nt" and stream.isatty():
        return stream
    stream.flush()
    unbuffered = not isinstance(stream.buffer, io.BufferedWriter)
    kind = _Unbuffered if unbuffered else io.BufferedWriter
    return io.TextIOWrapper(
        kind(Patient(stream.fileno())),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=unbuffered,
    )


def write_bytes(data: memoryview) -> None:
    """Write all bytes to stdout. Raises `LocalError`, `BrokenPipeError`."""
    if isinstance(sys.stdout, Nowhere):
        raise LocalError("stdout is closed: there is nowhere to write to")
    stdout = Patient(1)
    with to_stdout():
        while data:
            data = data[stdout.write(data) :]


def forget_stdout() -> None:
    """Redirect stdout to nowhere; buffered output is lost."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@contextmanager
def to_stdout() -> Iterator[None]:
    """Turn errors of stdout into `LocalError`, or `BrokenPipeError` if its reader has gone."""
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


def _write(block: list[str]) -> None:
    with to_stdout():
        sys.stdout.write("\n".join(block) + "\n")


def flush_stdout() -> None:
    """Write what is still buffered; ignore that a reader has gone. Raises `LocalError`."""
    try:
        with to_stdout():
            sys.stdout.flush()
    except BrokenPipeError:
        forget_stdout()


def check_output(output: str | None, *, dry_run: bool) -> None:
    """Refuse an `--output` that cannot be written, and say what to use. Raises `UsageError`.

    That is an empty name, a folder, and stdout at a terminal.
    """
    if output == "":
        raise UsageError("--output: an empty name is no file")
    if output == "-" and not dry_run and sys.stdout.isatty():
        raise UsageError(
            "--output -: stdout is a terminal, and an artifact is no text",
            hint="send it on with > FILE or | COMMAND, or name a file: --output FILE",
        )
    if output and (os.path.isdir(output) or not os.path.basename(output)):
        folder = visible(output)
        raise UsageError(
            f"--output: {folder} is a folder",
            hint=f"--dir {folder} downloads into it; --output"
            f" {visible(os.path.join(output, 'NAME'))} writes one artifact to a file in it",
        )


def write_paths(report: Report) -> None:
    """Write the path of each file that is in place, byte for byte."""
    from ..results import Outcome

    there = (Outcome.DOWNLOADED, Outcome.UNCHANGED)
    paths: list[str] = []
    for result in report.files:
        if result.outcome in there and result.members is not None:
            paths += [member.path for member in result.members]
        elif result.outcome in there and result.path:
            paths.append(result.path)
    if sys.stdout.isatty():
        write_lines(visible(path) for path in paths)
        return
    with to_stdout():
        sys.stdout.flush()
        sys.stdout.buffer.write(b"".join(os.fsencode(path) + b"\n" for path in paths))


def say(text: str) -> None:
    """Write to stderr; ignore that it is closed."""
    if not text:
        return
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass
