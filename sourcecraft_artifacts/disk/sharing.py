"""Makes the small files of an archive in batches, of which a second process makes some."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from .directory import Directory
from .members import Stored
from .second_process import CREATE, MOST_FOLDERS, File, SecondProcess, write
from .tar import Member

SMALL = 64 << 10
"""Up to this many bytes a file may be in a batch."""
_MOST_BYTES = 256 << 10
_MOST_FILES = 64
_MANY = 500
"""After this many files, it is worth while to start the second process."""


class _Waiting(NamedTuple):
    path: str
    folder: Directory
    name: str
    content: memoryview
    member: Member


class Sharing:
    """Files that wait to be made. Their records are put into `records` when they are there.

    `failed` turns the error for a path into the one to be raised.
    """

    def __init__(
        self, records: dict[str, Stored], failed: Callable[[str, OSError], Exception]
    ) -> None:
        self._records, self._failed = records, failed
        self._batch: list[_Waiting] = []
        self._given: list[_Waiting] = []
        """The files that the second process makes."""
        self._folders: list[Directory] = []
        self._bytes = self._count = 0
        self._second: SecondProcess | None = None

    def add(
        self, path: str, folder: Directory, name: str, content: memoryview, member: Member
    ) -> None:
        """Make a file, now or later. Raises what `failed` returns, perhaps for an earlier one."""
        if not self._folders or folder is not self._folders[-1]:
            if len(self._folders) == MOST_FOLDERS:
                self._flush()
            self._folders.append(folder)
        self._records[path] = Stored()
        self._batch.append(_Waiting(path, folder, name, content, member))
        self._bytes += len(content)
        if len(self._batch) == _MOST_FILES or self._bytes >= _MOST_BYTES:
            self._flush()

    def finish(self) -> None:
        """Make all that wait."""
        self._make(self._next_batch())
        self._take()

    def close(self) -> None:
        """End the second process, whatever waits."""
        if self._second is not None:
            self._second.close()
            self._second = None

    def _next_batch(self) -> list[_Waiting]:
        batch, self._batch, self._folders, self._bytes = self._batch, [], [], 0
        return batch

    def _flush(self) -> None:
        """Have the batch made by the second process, or make it here while that is busy."""
        before, self._count = self._count, self._count + len(self._batch)
        if before < _MANY <= self._count and self._folders[0].descriptor is not None:
            self._second = SecondProcess.start()
        if self._second is not None and self._second.busy and self._second.is_done():
            self._take()
        if self._second is None or self._second.busy:
            self._make(self._next_batch())
        else:
            self._give(self._second)

    def _give(self, second: SecondProcess) -> None:
        folders = self._folders
        self._given = self._next_batch()
        files: list[File] = []
        at = 0
        for one in self._given:
            at += one.folder is not folders[at]
            like = one.member
            files.append((at, os.fsencode(one.name), like.mode, like.mtime_ns, len(one.content)))
        numbers = [folder.descriptor or 0 for folder in folders]
        try:
            second.give(numbers, files, b"".join(one.content for one in self._given))
        except OSError:
            self._make_again()

    def _take(self) -> None:
        """Note what the second process made."""
        given, second = self._given, self._second
        if not given or second is None:
            return
        try:
            told = second.take()
        except OSError:
            self._make_again()
            return
        self._given = []
        for one, made in zip(given, told, strict=False):
            if isinstance(made, int):
                raise self._failed(one.path, OSError(made, os.strerror(made), one.name))
            self._records[one.path] = Stored(*made)

    def _make_again(self) -> None:
        """Make files without the second process, which has ended and may have made some."""
        self.close()
        given, self._given = self._given, []
        for one in given:
            one.folder.unlink(one.name)
        self._make(given)

    def _make(self, batch: list[_Waiting]) -> None:
        for path, folder, name, content, member in batch:
            try:
                descriptor = folder.open(name, CREATE, member.mode)
                made = write(descriptor, content, member.mtime_ns)
            except OSError as error:
                raise self._failed(path, error) from error
            self._records[path] = Stored(*made)
