"""Files inside open folders: small ones of ours read and written whole, others moved."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from .directory import Directory, open_root

LARGEST = 256 << 20
"""Bytes of the largest file that is read whole: what is larger is not ours."""
_BLOCK = 1 << 20


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
    directory: Directory,
    name: str,
    data: bytes,
    *,
    sync: bool,
    temporary: str | None = None,
    mode: int = 0o666,
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
        descriptor = directory.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(descriptor)
        directory.replace(temporary, directory, name)
    except BaseException:
        with suppress(OSError):
            directory.unlink(temporary)
        raise


def write_private(folder: str, name: str, data: bytes, *, sync: bool) -> None:
    """Write a file of the user's own atomically, from its first byte on readable by its owner.

    Others may write it at the same time: the last of them counts. Raises as `write_file` does.
    """
    with open_root(folder) as directory:
        temporary = f".{name}.{os.urandom(6).hex()}"
        write_file(directory, name, data, sync=sync, temporary=temporary, mode=0o600)
        if sync:
            directory.sync()


def move_file(source: Directory, name: str, target: Directory, target_name: str) -> None:
    """Rename a synced file; across file systems, by way of a synced copy beside the target.

    Raises OSError; the file is then where it was, and the target as it was.
    """
    try:
        source.replace(name, target, target_name)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = f".{name}"
        try:
            _copy(source, name, target, copy)
            target.replace(copy, target, target_name)
        except OSError:
            target.unlink(copy)
            raise
        source.unlink(name)


def _copy(source: Directory, name: str, target: Directory, target_name: str) -> None:
    reader = source.open(name, os.O_RDONLY)
    writer = target.open(target_name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with os.fdopen(reader, "rb") as old, os.fdopen(writer, "wb") as new:
        while block := old.read(_BLOCK):
            new.write(block)
        new.flush()
        os.fsync(writer)
