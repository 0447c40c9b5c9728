"""The journals of a state folder: files are recorded in them before they get their final names."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from .directory import Directory, sync_file
from .entry import from_json
from .files import read_file, write_file
from .runs import Run

JOURNAL = "journal.jsonl"
"""The journal of a run that has the lock; without locks each run has its own."""
_NAMES = re.compile(r"journal(?:-(?P<token>[0-9a-f_]+))?\.jsonl")

Told = tuple[str, Any]
"""A place and its value in a line."""


class Journal:
    """This run's own journal; any number of threads may add to it."""

    def __init__(self, directory: Directory, run: Run) -> None:
        self._directory = directory
        self._run = run
        self._descriptor = -1
        self._outdated: list[int] = []
        self._written = 0
        self._synced = 0
        self._syncing = threading.Lock()
        self.added = 0
        """How many bytes this run wrote since its file was read."""

    @property
    def name(self) -> str:
        """The name of its file."""
        return JOURNAL if self._run.alone else f"journal-{self._run.token}.jsonl"

    def append(self, values: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[int, int]:
        """Write a line with the values of places, and return the arguments for `sync`.

        `before` is what this run has written so far. The caller holds a lock. Raises OSError.
        """
        descriptor = self._open()
        if not os.fstat(descriptor).st_nlink:
            # Another run took this one for ended, and has read only a part of this journal.
            self._outdated.append(descriptor)
            self._descriptor = -1
            descriptor, values = self._open(), {**before, **values}
        # The line break before it ends the torn line of a killed run or a full disk.
        text = memoryview(f"\n{json.dumps(values, check_circular=False)}\n".encode())
        while text:
            count = os.write(descriptor, text)
            self.added += count
            text = text[count:]
        self._written += 1
        return descriptor, self._written

    def sync(self, descriptor: int, mine: int) -> None:
        """Sync what was written; threads that come at the same time share one sync."""
        with self._syncing:
            if self._synced < mine:
                covered = self._written
                sync_file(descriptor)
                self._synced = covered

    def close(self) -> None:
        """Close it; its file stays."""
        for descriptor in (*self._outdated, self._descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._outdated, self._descriptor = [], -1

    def _open(self) -> int:
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._descriptor = self._directory.open(self.name, flags)
            if os.fstat(self._descriptor).st_nlink != 1:
                # Its other name may be outside the folder: continue in a copy.
                os.close(self._descriptor)
                self._descriptor = -1
                text = read_file(self._directory, self.name)
                write_file(self._directory, self.name, text, sync=True)
                self._descriptor = self._directory.open(self.name, flags)
            self._directory.sync()
            self.added = 0
        return self._descriptor


class _Known:
    """The lines read from one journal, up to an offset in bytes."""

    def __init__(self, inode: int, offset: int, told: list[Told]) -> None:
        self.inode, self.offset, self.told = inode, offset, told


class Journals:
    """All journals of a state folder; each time only new lines are read."""

    def __init__(self, directory: Directory, own: Journal, run: Run) -> None:
        self._directory = directory
        self._own = own
        self._run = run
        self._known: dict[str, _Known] = {}

    def read(self) -> dict[str, list[Told]]:
        """Return the readable lines by the journals' names, the oldest journal first."""
        found = {}
        for name in self._directory.listdir():
            if _NAMES.fullmatch(name) and (seen := self._directory.lstat(name)) is not None:
                found[name] = seen
        order = sorted(found, key=lambda name: found[name].st_mtime_ns)
        self._known = {name: self._grown(name, found[name]) for name in order}
        return {name: known.told for name, known in self._known.items()}

    def is_left(self, name: str) -> bool:
        """Tell whether no other run adds to a journal any more."""
        match = _NAMES.fullmatch(name)
        if name == self._own.name or match is None or match["token"] is None:
            return True
        return self._run.is_over(match["token"], self._directory, name)

    def _grown(self, name: str, seen: os.stat_result) -> _Known:
        known = self._known.get(name)
        if known is None or known.inode != seen.st_ino or seen.st_size < known.offset:
            known = _Known(seen.st_ino, 0, [])
        if name == self._own.name:
            if known.offset + self._own.added == seen.st_size:
                known.offset = seen.st_size  # this run knows its own lines
            self._own.added = 0
        if known.offset == seen.st_size and stat.S_ISREG(seen.st_mode):
            return known
        text = b""
        with suppress(FileNotFoundError):
            text = read_file(self._directory, name)
        end = max(text.rfind(b"\n") + 1, known.offset)
        known.told += _read_lines(text[known.offset :])
        return _Known(known.inode, end, known.told)


def _read_lines(text: bytes) -> Iterator[Told]:
    for line in text.splitlines():
        with suppress(ValueError, AttributeError, RecursionError):
            for place, value in json.loads(line).items():
                with suppress(ValueError, LookupError, TypeError, AttributeError):
                    from_json(value)
                    yield place, value
