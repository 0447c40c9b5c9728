"""Reads and writes this tool's own small files as a whole, and moves other files."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from ..errors import MOVE_AWAY, Refused
from ..text import visible
from .directory import Directory, open_root, sync_file

LARGEST = 256 << 20
"""The largest file that is read as a whole, in bytes: a larger one is not ours."""
_BLOCK = 1 << 20


def read_file(directory: Directory, name: str) -> bytes:
    """Return the bytes of one of our files.

    Raises OSError, and `Refused` for what cannot be ours: a symlink, a folder, a FIFO, a device,
    or more than `LARGEST` bytes. Never blocks.
    """
    path = os.path.join(directory.path, name)
    try:
        return _read_plain(directory.open(name, os.O_RDONLY), LARGEST)
    except NotPlain as flaw:
        raise Refused(f"{visible(path)} is {flaw}", hint=MOVE_AWAY) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def read_plain(path: str, most: int) -> bytes:
    """Return the bytes of a user's file, up to a limit; follow a symlink to it.

    Raises OSError, and `NotPlain` for a FIFO, a device or a larger file. Never blocks.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return _read_plain(os.open(path, flags), most)


class NotPlain(Exception):
    """A file cannot be read as a whole; the text says why, as in "not a plain file"."""


def _read_plain(descriptor: int, most: int) -> bytes:
    try:
        found, data = os.fstat(descriptor), b""
        if not stat.S_ISREG(found.st_mode):
            raise NotPlain("not a plain file")
        if found.st_size <= most:
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(most + 1)  # files in /proc are larger than their size says
    finally:
        os.close(descriptor)
    if max(found.st_size, len(data)) > most:
        raise NotPlain(f"larger than {most:,} bytes")
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
    """Write a file atomically; with `sync` its data is on disk before it gets its name.

    Until then its name is `temporary`, or `NAME.new`, which replaces the one of a killed run.
    Raises OSError; an older file of the name is then kept, and no temporary file is left.
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
                sync_file(descriptor)
        directory.replace(temporary, directory, name)
    except BaseException:
        with suppress(OSError):
            directory.unlink(temporary)
        raise


def write_private(folder: str, name: str, data: bytes, *, sync: bool) -> None:
    """Write a user's file atomically, readable only by its owner from the first byte on.

    If several write it at the same time, the last one counts. Raises as `write_file` does.
    """
    with open_root(folder) as directory:
        temporary = f".{name}.{os.urandom(6).hex()}"
        write_file(directory, name, data, sync=sync, temporary=temporary, mode=0o600)
        if sync:
            directory.sync()


def fit_in(source: Directory, name: str, target: Directory, before: os.stat_result | None) -> None:
    """Give a file the mode and group that its new place needs, as far as the system allows.

    These are the mode of the plain file that it will replace, and the group of a folder with the
    set-group-ID bit.
    """
    group = target.group_for_new_files
    mode = None if before is None or not stat.S_ISREG(before.st_mode) else before.st_mode & 0o777
    if group is None and mode is None:
        return
    with suppress(OSError):
        found = source.lstat(name)
        if found is None:
            return
        if group is not None and group != found.st_gid:
            source.chgrp(name, group)
        if mode is not None and mode != stat.S_IMODE(found.st_mode):
            source.chmod(name, mode)


def move_file(source: Directory, name: str, target: Directory, target_name: str) -> None:
    """Rename a synced file; across file systems, by way of a synced copy beside the target.

    Raises OSError; then both the file and the target are unchanged.
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
        sync_file(writer)
