"""The file that `sha256sum -c` accepts."""

from __future__ import annotations

import os
import secrets

from .errors import Refused, UsageError, local_fault
from .files import write_file
from .folder import open_root, refuse_special
from .paths import STATE_FOLDER
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


def check_checksums_path(path: str, output: str | None) -> None:
    """Raise `UsageError` for a file that this run writes otherwise, or that is none."""
    name = os.path.basename(path)
    if name in ("", ".", "..", "-"):
        raise UsageError(f"--checksums: {visible(path)} does not name a file")
    if output is not None and os.path.realpath(output) == os.path.realpath(path):
        raise UsageError("--checksums and --output name the same file")
    if STATE_FOLDER in os.path.realpath(path).split(os.sep):
        raise UsageError(f"--checksums: {visible(path)} is inside {STATE_FOLDER}")


def write_checksums(path: str, report: Report) -> None:
    """Write the file, atomically.

    Raises `LocalError`, `Refused` for an artifact of the report, a device or the like.
    """
    folder, name = os.path.split(path)
    place = os.path.realpath(path)
    if any(file.path and os.path.realpath(file.path) == place for file in report.files):
        raise Refused(
            f"--checksums: {visible(path)} is one of the artifacts", hint="choose another name"
        )
    refuse_special(path)
    temporary = f".{name[:200]}.{secrets.token_hex(8)}"
    try:
        with open_root(folder or ".") as directory:
            write_file(directory, name, checksum_lines(report), sync=True, temporary=temporary)
    except OSError as error:
        raise local_fault(error, path) from error
