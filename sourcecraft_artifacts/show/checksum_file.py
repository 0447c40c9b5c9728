"""The file that `sha256sum -c` accepts."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..disk.directory import open_root, refuse_special
from ..disk.files import write_file
from ..disk.paths import refuse_state_folder
from ..errors import ArtifactsError, Refused, UsageError, named_file_fault
from ..results import Report
from ..text import visible


def checksum_lines(report: Report) -> bytes:
    """Return a line for each file that is in place, with its path as in the report.

    A path with a backslash or a line break is escaped, and its line starts with a backslash, as
    GNU coreutils do it.
    """
    files = (file for result in report.files for file in result.files)
    return b"".join(_line(file.path, file.sha256) for file in files if file.sha256)


def _line(shown: str, sha256: str) -> bytes:
    path = os.fsencode(shown)
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"\\" if escaped != path else b""
    return mark + sha256.encode() + b"  " + escaped + b"\n"


def check_checksums_path(path: str, *, directory: str, output: str | None) -> None:
    """Check the path before any transfer; nothing is written.

    Raises `UsageError` for an empty name or a file that this run writes for another purpose,
    `Refused` for a folder, a device or the like, and `LocalError` if its folder is missing or not
    writable. The output folder may be missing, as the download creates it.
    """
    folder, name = os.path.split(path)
    if name in ("", ".", "..", "-"):
        what = f"{visible(path)} does not name a file" if path else "the name of the file is empty"
        raise UsageError(f"--checksums: {what}")
    if output is not None and os.path.realpath(output) == os.path.realpath(path):
        raise UsageError("--checksums and --output name the same file")
    refuse_state_folder("--checksums", path)
    _refuse_special(path)
    folder = folder or "."
    if output is None and not os.path.lexists(folder) and _leads_to(folder, directory):
        return
    try:
        with open_root(folder) as opened:
            opened.lstat(name)
        _check_writable(folder)
    except OSError as error:
        raise named_file_fault(error, path) from error


def _refuse_special(path: str) -> None:
    try:
        refuse_special(path)
    except Refused as refusal:
        raise Refused(f"--checksums: {refusal.message}", hint="choose another name") from None


def _leads_to(folder: str, directory: str) -> bool:
    """Tell whether a folder is the output folder or a parent of it."""
    return f"{os.path.realpath(directory)}{os.sep}".startswith(
        os.path.join(os.path.realpath(folder), "")
    )


def _check_writable(folder: str) -> None:
    """Raise OSError if no file can be created in a folder."""
    if os.access(folder, os.W_OK | os.X_OK):
        return
    read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
    reason = errno.EROFS if read_only else errno.EACCES
    raise OSError(reason, os.strerror(reason), folder)


@contextmanager
def checksums_beside(path: str | None, report: Report) -> Iterator[None]:
    """Write the checksum file, if one is wanted; the context writes the report.

    Errors of the file are raised after the context, so that the report is not lost.
    """
    fault: ArtifactsError | None = None
    try:
        if path is not None:
            write_checksums(path, report)
    except ArtifactsError as error:
        fault = error
    try:
        yield
    except (ArtifactsError, OSError):  # of two errors only the file's is shown
        if fault is None:
            raise
    if fault is not None:
        raise fault


def write_checksums(path: str, report: Report) -> None:
    """Write the file atomically.

    Raises `LocalError`, or `Refused` if the path is one of the artifacts, a device or the like.
    An older file is then unchanged.
    """
    folder, name = os.path.split(path)
    place = os.path.realpath(path)
    files = (file for result in report.files for file in result.files)
    if any(os.path.realpath(file.path) == place for file in files):
        raise Refused(
            f"--checksums: {visible(path)} is one of the artifacts", hint="choose another name"
        )
    _refuse_special(path)
    temporary = f".{name[:50]}.{os.urandom(8).hex()}"  # a name has room for 255 bytes
    try:
        with open_root(folder or ".") as directory:
            write_file(directory, name, checksum_lines(report), sync=True, temporary=temporary)
    except OSError as error:
        raise named_file_fault(error, path) from error
