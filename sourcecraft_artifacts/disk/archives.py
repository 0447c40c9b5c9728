"""Recognises archives from their bytes and names, and reads what is in them, up to a limit."""

from __future__ import annotations

import os
from collections.abc import Callable

from .inflate import Read, may_be_archive, opened
from .members import Contents, Form, Name, arranged, most_bytes
from .records import Stored
from .tar import Kind, TarReader
from .tar_fields import BLOCK, UnsafeArchive, is_header

PIECE = 1 << 20
"""The most bytes that are read at once."""
_LARGEST_EMPTY = 1 << 20
_SIZES_OF_EMPTY = (2 * BLOCK, 20 * BLOCK)
"""The sizes, in bytes, of an empty archive: two blocks, which many programs pad to twenty."""

Check = Callable[[], None]
"""Raises `Cancelled` if the download was cancelled."""


def reader_of(descriptor: int, size: int, check: Check = lambda: None) -> Read:
    """Return a function that reads an archive's decompressed bytes, up to a limit.

    Raises `CannotRead`; the function raises `UnsafeArchive` beyond the limit, and OSError.
    """
    at = 0
    most, came = most_bytes(size), 0

    def stored(count: int) -> bytes:
        nonlocal at
        data = _pread(descriptor, count, at)
        at += len(data)
        return data

    read = opened(stored(BLOCK), stored)
    at = 0

    def bounded(count: int) -> bytes:
        nonlocal came
        check()
        data = read(min(count, PIECE))
        came += len(data)
        if came > 2 * most:
            raise UnsafeArchive("it becomes too large")
        return data

    return bounded


def _pread(descriptor: int, count: int, at: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, at)
    os.lseek(descriptor, at, os.SEEK_SET)
    return os.read(descriptor, count)


def is_archive(descriptor: int, size: int, name: Name) -> bool:
    """Tell from its first bytes whether a file is a tar archive, compressed or not.

    An empty archive is all zeros. Such a file counts as one if its name can only be a folder's, or
    if the name may be a folder's and the file has a usual size of empty archives. Raises
    `CannotRead` if the file cannot be decompressed, and OSError.
    """
    if not may_be_archive(_pread(descriptor, BLOCK, 0)):
        return False
    try:
        read, first = reader_of(descriptor, size), b""
        while len(first) < BLOCK and (more := read(BLOCK - len(first))):
            first += more
        if is_header(first):
            return True
        if name.form is not Form.FOLDER or first != bytes(BLOCK):
            return False
        rest = 0
        while more := read(PIECE):
            rest += len(more)
            if rest > _LARGEST_EMPTY or more.strip(b"\0"):
                return False
        if name.is_explicit:
            return rest >= BLOCK and rest % BLOCK == 0
        return BLOCK + rest in _SIZES_OF_EMPTY
    except UnsafeArchive:
        return False


def is_folder(descriptor: int, size: int, name: Name, check: Check) -> bool:
    """Tell from the names in an archive whether an artifact of this name is to be unpacked."""
    if name.form is Form.FOLDER:
        return True
    found = Contents()
    prefixes = ("/".join(name.base), "/".join(name.base[-1:]))
    try:
        for member in TarReader(reader_of(descriptor, size, check)):
            path = found.name_of(member)
            if member.kind is not Kind.FOLDER:
                found.files[path] = Stored()
                lies = any(path == one or path.startswith(f"{one}/") for one in prefixes)
                if not (lies or name.glob):
                    return False
        return arranged(found, name) is not None
    except UnsafeArchive:
        return False
