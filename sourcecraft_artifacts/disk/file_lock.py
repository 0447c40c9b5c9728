"""The lock of one file that the user named: a hidden file beside it during the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import Refused
from .directory import Directory
from .files import read_file
from .locks import Lock, try_lock, wait_for_lock

_TRIES = 20
"""How often in a row a lock may be taken on a file that seems to have been removed."""


class FileLock:
    """A lock by the name of a hidden file. If locking is impossible, the run continues without.

    The file names its process. The lock is ours while the file with that name has the text that we
    wrote: the owner removes the file at its end, and a lock on a removed file does not count. Inode
    numbers are not compared, because on some file systems they change.
    """

    def __init__(self, directory: Directory, name: str) -> None:
        self._directory = directory
        self._name = name
        self._text = b"%d %s\n" % (os.getpid(), os.urandom(8).hex().encode())
        self._removed = 0

    @contextmanager
    def held(self, what: str) -> Iterator[bool]:
        """Wait for another run, then keep others away; yields whether there are locks.

        Raises `Refused` for a symlink in its place.
        """
        descriptor, alone = wait_for_lock(self._take, lambda: f"waiting for {self._whom(what)}")
        try:
            yield alone
        finally:
            if descriptor >= 0:
                with suppress(OSError):  # another user's file, in a folder where that is forbidden
                    self._directory.unlink(self._name)
                os.close(descriptor)

    def _take(self) -> tuple[int, bool] | None:
        while True:
            descriptor = self._open()
            lock = try_lock(descriptor) if descriptor >= 0 else Lock.NONE
            if lock is Lock.NONE or (lock is Lock.HAD and self._is_ours(descriptor)):
                return descriptor, lock is Lock.HAD
            os.close(descriptor)
            if lock is Lock.TAKEN:
                return None

    def _open(self) -> int:
        """Open the file; return -1 if that fails. Another user's file can at most be read."""
        for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
            with suppress(OSError):
                return self._directory.open(self._name, flags)
        return -1

    def _is_ours(self, descriptor: int) -> bool:
        self._removed += 1
        if self._removed > _TRIES:
            return True
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, self._text)
        except OSError:  # it can only be read, or the disk is full
            return os.fstat(descriptor).st_nlink != 0
        with suppress(OSError, Refused):
            return read_file(self._directory, self._name) == self._text
        return False

    def _whom(self, what: str) -> str:
        """Name the other run, by its process if its file says which."""
        with suppress(OSError, Refused):
            number = read_file(self._directory, self._name).partition(b" ")[0]
            if number.isdigit():
                return f"another download to {what} to end (process {number.decode()})"
        return f"another download to {what} to end"
