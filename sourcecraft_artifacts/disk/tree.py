"""The output folder and all below it, entered one component at a time, by many threads at once."""

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from ..errors import LocalError
from ..text import visible
from .directory import Directory, open_root
from .paths import SafePath

MAX_CACHED = 64  # folders, each with a descriptor

_PATH_MAX = 4096  # bytes with the final NUL, as on Linux


class _Entry:
    """An open folder of the cache, with its number of users; evicted, the last one closes it."""

    __slots__ = ("cached", "directory", "users")

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.users = 1
        self.cached = True


class Tree:
    """The output folder and what lies below it, for any number of threads.

    Keeps the folders used last open. Should one of them be moved meanwhile, what is under way
    goes on in that very folder, which was below the output folder when it was entered; no
    symlink put at its old place can lead anywhere else.
    """

    def __init__(self, path: str) -> None:
        self.root = open_root(path)
        self._root_entry = _Entry(self.root)
        self._entries: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: str, create: bool) -> Self:
        """Open the output folder, made when absent with `create`. Raises `LocalError`."""
        try:
            if create:
                os.makedirs(path, exist_ok=True)
            return cls(path)
        except OSError as error:
            reason = f"cannot open the folder {visible(path)}: {error.strerror}"
            if os.path.lexists(path) and not os.path.isdir(path):
                reason = f"{visible(path)} is not a folder"
            raise LocalError(reason, hint="choose another output folder") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every folder, those in use as soon as they no longer are."""
        with self._lock:
            while self._entries:
                self._evict()
            self._root_entry.cached = False
        self._release(self._root_entry)

    def lstat(self, place: SafePath) -> os.stat_result | None:
        """Look at a place without following it; None when it or a folder above it is absent.

        Raises `Refused` when something else than a folder is above it.
        """
        try:
            entry = self._acquire(place.parts[:-1], create=False)
        except FileNotFoundError:
            return None
        try:
            return entry.directory.lstat(place.name)
        finally:
            self._release(entry)

    @contextmanager
    def parent(self, place: SafePath, *, create: bool) -> Iterator[Directory]:
        """Hold the folder of a place open, made when absent with `create`.

        Raises `Refused` when something else than a folder is in the way, `FileNotFoundError`
        without `create`, and `OSError`; folders made until then are left.
        """
        entry = self._acquire(place.parts[:-1], create=create)
        try:
            yield entry.directory
        finally:
            self._release(entry)

    def forget(self, parts: tuple[str, ...]) -> None:
        """Keep a folder, and those below it, open no longer: it was removed."""
        with self._lock:
            for key in [key for key in self._entries if key[: len(parts)] == parts]:
                entry = self._entries.pop(key)
                entry.cached = False
                if not entry.users:
                    entry.directory.close()

    def _acquire(self, parts: tuple[str, ...], create: bool) -> _Entry:
        """Find or open a folder, from the nearest one that is open, and count us as a user."""
        start = len(parts)
        while (entry := self._hold(parts[:start])) is None:
            if start == len(parts):
                self._refuse_too_long(parts)
            start -= 1
        for depth in range(start, len(parts)):
            entry = self._step(entry, parts[: depth + 1], create)
        return entry

    def _refuse_too_long(self, parts: tuple[str, ...]) -> None:
        """Fail as the system does; step by step it would make what no program could name."""
        path = os.path.join(self.root.path, *parts)
        if len(os.fsencode(path)) >= _PATH_MAX:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)

    def _step(self, above: _Entry, parts: tuple[str, ...], create: bool) -> _Entry:
        """Open a folder in the one that we hold, and let go of that."""
        try:
            return self._add(parts, above.directory.child(parts[-1], create=create))
        finally:
            self._release(above)

    def _hold(self, parts: tuple[str, ...]) -> _Entry | None:
        with self._lock:
            if not parts:
                self._root_entry.users += 1
                return self._root_entry
            entry = self._entries.get(parts)
            if entry is not None:
                entry.users += 1
                self._entries.move_to_end(parts)
            return entry

    def _add(self, parts: tuple[str, ...], directory: Directory) -> _Entry:
        """Put a folder in the cache, or yield to the thread that did so first."""
        with self._lock:
            entry = self._entries.get(parts)
            if entry is not None:
                directory.close()
                entry.users += 1
                return entry
            entry = self._entries[parts] = _Entry(directory)
            if len(self._entries) > MAX_CACHED:
                self._evict()
            return entry

    def _release(self, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            if not entry.users and not entry.cached:
                entry.directory.close()

    def _evict(self) -> None:
        _, entry = self._entries.popitem(last=False)
        entry.cached = False
        if not entry.users:
            entry.directory.close()
