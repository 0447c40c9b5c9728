"""Makes single files and symlinks, and opens files that even their owner may not read."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator

from .directory import Directory, sync_file
from .members import Stored
from .second_process import CAN_SET_TIME, CREATE
from .tar import Member

_BLOCK = 1 << 20


def written(
    pieces: Iterable[bytes | memoryview], like: Member | Stored, folder: Directory, name: str
) -> Stored:
    """Make a file with the mode and time of another one, and return its record."""
    digest = hashlib.sha256()
    descriptor = folder.open(name, CREATE, like.mode)
    try:
        for piece in pieces:
            digest.update(piece)
            if piece and (count := os.write(descriptor, piece)) < len(piece):
                _write_rest(descriptor, memoryview(piece)[count:])
        if CAN_SET_TIME:
            os.utime(descriptor, ns=(like.mtime_ns, like.mtime_ns))
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    mode = stat.S_IMODE(found.st_mode)
    return Stored(found.st_size, digest.hexdigest(), mode, found.st_mtime_ns)


def linked(target: str, folder: Directory, name: str) -> Stored:
    """Make a symlink, and return its record."""
    folder.symlink(target, name)
    return Stored(target=target)


def _write_rest(descriptor: int, rest: memoryview) -> None:
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync(folder: Directory, name: str) -> None:
    """Sync one of our files. Raises OSError."""
    descriptor = open_to_read(folder, name)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def blocks(source: int, check: Callable[[], None]) -> Iterator[bytes]:
    """Yield the bytes of an open file; `check` may raise between them."""
    while block := os.read(source, _BLOCK):
        check()
        yield block


def open_to_read(folder: Directory, name: str) -> int:
    """Open one of our files, whose mode may not let its own owner read it."""
    try:
        return folder.open(name, os.O_RDONLY)
    except PermissionError:
        found = folder.lstat(name)
        if found is None:
            raise
        mode = stat.S_IMODE(found.st_mode)
        folder.chmod(name, mode | stat.S_IRUSR)
        try:
            return folder.open(name, os.O_RDONLY)
        finally:
            folder.chmod(name, mode)
