"""Small files of ours inside an open folder, read and written whole."""

from __future__ import annotations

import os
from contextlib import suppress

from .folder import Directory

LARGEST = 256 << 20
"""Bytes of the largest file that is read whole: what is larger is not ours."""


def read_file(directory: Directory, name: str) -> bytes:
    """Return a file's bytes. Raises OSError, and `Refused` for a symlink."""
    try:
        with os.fdopen(directory.open(name, os.O_RDONLY), "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        path = os.path.join(directory.path, name)
        raise OSError(error.errno, error.strerror, path) from error
    if len(data) > LARGEST:
        raise OSError(f"{name} is larger than {LARGEST:,} bytes")
    return data


def write_file(
    directory: Directory, name: str, data: bytes, *, sync: bool, temporary: str | None = None
) -> None:
    """Write a file atomically; with `sync` it is on the disk before it gets its name.

    Until then its name is `temporary`, or `NAME.new`, where one that a killed run left is
    replaced. Raises OSError; an older file of the name then stays, and nothing else is left.
    """
    may_be_left = temporary is None
    temporary = temporary or f"{name}.new"
    try:
        if may_be_left:
            directory.unlink(temporary)
        descriptor = directory.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(descriptor)
        directory.replace(temporary, directory, name)
    except OSError:
        with suppress(OSError):
            directory.unlink(temporary)
        raise
