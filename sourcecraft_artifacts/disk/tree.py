"""The output folder and all folders below it, entered one component at a time by many threads."""

import errno
import os
import threading
from collections import OrderedDict
from contextlib import AbstractContextManager, suppress
from typing import Self

from ..errors import LocalError
from ..text import visible
from .directory import Directory, open_root
from .paths import SafePath

MAX_CACHED = 64  # folders, each with a descriptor
_NEAR = 4  # folders of a path that are kept open, from its end

_PATH_MAX = 4096  # bytes with the final NUL, as on Linux


def refuse_too_long(path: str) -> None:
    """Raise OSError for a path too long for the system; created step by step it would succeed."""
    if len(path) > _PATH_MAX // 4 - 1 and len(os.fsencode(path)) >= _PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)


def most_cached() -> int:
    """Return how many folders may be kept open: an eighth of the limit of open files."""
    with suppress(ImportError, OSError, ValueError):  # Windows, or a confined program
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY:
            return max(1, min(MAX_CACHED, soft // 8))
    return MAX_CACHED


class _Entry:
    """An open folder of the cache and its number of users; if evicted, the last one closes it.

    It counts the user that made it or got it, until that leaves the context.
    """

    __slots__ = ("cached", "directory", "lock", "users")

    def __init__(self, directory: Directory, lock: threading.Lock, *, cached: bool = True) -> None:
        self.directory = directory
        self.lock = lock
        """The lock of the whole cache."""
        self.users = 1
        self.cached = cached

    def __enter__(self) -> Directory:
        return self.directory

    def __exit__(self, *exc_info: object) -> None:
        with self.lock:
            self.users -= 1
            if not self.users and not self.cached:
                self.directory.close()


class Tree:
    """The output folder and what is below it, for any number of threads.

    Recently used folders stay open. If one of them is moved, work continues in that very folder,
    which was below the output folder when it was entered; no symlink at its old place can lead
    anywhere else.
    """

    def __init__(self, path: str) -> None:
        self.root = open_root(path)
        self._lock = threading.Lock()
        self._root_entry = _Entry(self.root, self._lock)
        self._entries: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()
        self._most = most_cached()

    @classmethod
    def open(cls, path: str, create: bool) -> Self:
        """Open the output folder; with `create`, create it if absent. Raises `LocalError`."""
        verb = "create" if create and not os.path.lexists(path) else "open"
        try:
            if create:
                os.makedirs(path, exist_ok=True)
            return cls(path)
        except OSError as error:
            reason = f"cannot {verb} the folder {visible(path)}: {error.strerror}"
            hint = "choose another output folder"
            if error.errno == errno.EACCES and not create:
                hint = "check the permissions of the folder"
            if os.path.lexists(path) and not os.path.isdir(path):
                reason = f"{visible(path)} is not a folder"
            raise LocalError(reason, hint=hint) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every folder; those in use are closed when they no longer are."""
        with self._lock:
            while self._entries:
                self._evict()
            self._root_entry.cached = False
        with self._root_entry:
            pass

    def lstat(
        self, place: SafePath, absent: set[tuple[str, ...]] | None = None
    ) -> os.stat_result | None:
        """Return the `lstat` of a place; None if it or a folder above it is absent.

        `absent` collects folders that were not there; they are not looked for again.

        Raises `Refused` if something other than a folder is above it.
        """
        above = place.parts[:-1]
        if absent and above in absent:
            return None
        try:
            entry = self._acquire(above, create=False)
        except FileNotFoundError:
            if absent is not None:
                absent.add(above)
            return None
        with entry as directory:
            return directory.lstat(place.name)

    def parent(self, place: SafePath, *, create: bool) -> AbstractContextManager[Directory]:
        """Keep the folder of a place open; create it if it is absent and `create` is set.

        Raises `Refused` if something other than a folder is in the way, `FileNotFoundError` without
        `create`, and `OSError`; folders that were created until then are kept.
        """
        return self._acquire(place.parts[:-1], create=create)

    def forget(self, parts: tuple[str, ...]) -> None:
        """Stop keeping a folder and those below it open: it was removed."""
        with self._lock:
            for key in [key for key in self._entries if key[: len(parts)] == parts]:
                entry = self._entries.pop(key)
                entry.cached = False
                if not entry.users:
                    entry.directory.close()

    def _acquire(self, parts: tuple[str, ...], create: bool) -> _Entry:
        """Find or open a folder, starting at the nearest open one, and count this user."""
        entry = self._hold(parts)
        if entry is not None:
            return entry
        refuse_too_long(os.path.join(self.root.path, *parts))
        start = len(parts)
        while entry is None:
            # From far below it is quicker to begin at the root: there may be thousands of folders.
            start = start - 1 if len(parts) - start < _NEAR else 0
            entry = self._hold(parts[:start])
        for depth in range(start, len(parts)):
            entry = self._step(entry, parts, depth, create)
        return entry

    def _step(self, above: _Entry, parts: tuple[str, ...], depth: int, create: bool) -> _Entry:
        """Open a folder in the current one, and release that.

        Only the folders at the end of a path are kept open.
        """
        with above as folder:
            directory = self._child(folder, parts[depth], create)
        if len(parts) - depth > _NEAR:
            return _Entry(directory, self._lock, cached=False)
        return self._add(parts[: depth + 1], directory)

    def _child(self, above: Directory, name: str, create: bool) -> Directory:
        try:
            return above.child(name, create=create)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        with self._lock:
            while self._entries:
                self._evict()
        return above.child(name, create=create)

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
        """Add a folder to the cache, unless another thread did so first."""
        with self._lock:
            entry = self._entries.get(parts)
            if entry is not None:
                directory.close()
                entry.users += 1
                return entry
            entry = self._entries[parts] = _Entry(directory, self._lock)
            if len(self._entries) > self._most:
                self._evict()
            return entry

    def _evict(self) -> None:
        _, entry = self._entries.popitem(last=False)
        entry.cached = False
        if not entry.users:
            entry.directory.close()
