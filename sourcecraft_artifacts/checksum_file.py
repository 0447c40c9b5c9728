"""The file that `sha256sum -c` accepts."""

from __future__ import annotations

import os

from .engine import local_fault
from .errors import UsageError
from .files import write_file
from .folder import open_root
from .results import Report
from .text import visible


def checksum_lines(report: Report) -> bytes:
    """Return a line for each file that is in place; its path is that of the report.

    A path with a backslash or a line break is escaped, and its line starts with a backslash, as
    GNU coreutils have it.
    """
    lines = []
    for result in report.files:
        if result.sha256 is None or result.path is None:
            continue
        path = os.fsencode(result.path)
        escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
        mark = b"\\" if escaped != path else b""
        lines.append(mark + result.sha256.encode() + b"  " + escaped + b"\n")
    return b"".join(lines)


def write_checksums(path: str, report: Report) -> None:
    """Write the file, atomically. Raises `LocalError`, `UsageError` for no file name."""
    folder, name = os.path.split(path)
    if name in ("", ".", ".."):
        raise UsageError(f"--checksums: {visible(path)} does not name a file")
    try:
        with open_root(folder or ".") as directory:
            write_file(directory, name, checksum_lines(report), sync=True)
    except OSError as error:
        raise local_fault(error, path) from error
