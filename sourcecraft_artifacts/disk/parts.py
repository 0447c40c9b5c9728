"""The parts that earlier runs left in a folder, by artifact."""

from __future__ import annotations

import threading
from contextlib import suppress

from ..errors import ArtifactsError
from .checkpoint import Checkpoint
from .directory import Directory
from .files import read_file, write_file
from .leftovers import SUFFIX, remove_folder
from .partial import Partial
from .runs import Run

_UNUSABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArtifactsError)
_SUFFIXES = ("part", "json", "json.new")
"""The suffixes of a part's files; the last one is left when a write is killed."""


class PartialStore:
    """The parts in one folder. Their names start with `prefix`; other files are never touched.

    Each name contains the run's token; parts of another active run are left alone.
    """

    def __init__(self, directory: Directory, prefix: str = "", run: Run | None = None) -> None:
        self.run = run or Run()
        self._directory = directory
        self._prefix = prefix
        self._lock = threading.Lock()
        self._found: dict[str, list[str]] | None = None

    def look(self) -> None:
        """Find the parts in the folder, once. Raises OSError."""
        self._stems()

    def fresh(self, key: str) -> Partial | None:
        """Return an empty part for `key` without touching the disk; None if some may be there."""
        if self._found is None or key in self._found:
            return None
        return Partial(self._directory, f"{self._prefix}{key}-{self.run.token}", None)

    def open(self, key: str) -> Partial:
        """Return the part for `key`, resumed if an earlier run left one that can be trusted.

        Other parts that earlier runs left for it are removed.
        """
        stem = f"{self._prefix}{key}-{self.run.token}"
        found: Partial | None = None
        left = [old for old in self._stems().pop(key, []) if self._is_left(old)]
        for old in left:
            if found is None:
                with suppress(*_UNUSABLE):
                    found = self._adopt(old, stem)
            self._remove(old)
        if left and found is None:
            self._remove(stem)
        return found or Partial(self._directory, stem, None)

    def _adopt(self, old: str, stem: str) -> Partial:
        """Rename an old part to a stem of this run; the rename is atomic: only one run gets it."""
        text = read_file(self._directory, f"{old}.json")
        checkpoint = Checkpoint.from_bytes(text)
        write_file(self._directory, f"{stem}.json", text, sync=False)
        self._directory.replace(f"{old}.part", self._directory, f"{stem}.part")
        return Partial(self._directory, stem, checkpoint)

    def clear(self) -> None:
        """Remove every part that was not opened and does not belong to an active run."""
        for stems in self._stems().values():
            for stem in filter(self._is_left, stems):
                self._remove(stem)
        self._stems().clear()

    def _stems(self) -> dict[str, list[str]]:
        with self._lock:
            if self._found is None:
                self._found = {}
                for name in self._directory.listdir():
                    self._note(name, self._found)
            return self._found

    def _note(self, name: str, found: dict[str, list[str]]) -> None:
        stem, _, suffix = name.removeprefix(self._prefix).partition(".")
        key, _, token = stem.rpartition("-")
        if not (name.startswith(self._prefix) and key and suffix in (*_SUFFIXES, SUFFIX)):
            return
        if token != self.run.token and self._prefix + stem not in found.setdefault(key, []):
            found[key].append(self._prefix + stem)

    def _is_left(self, stem: str) -> bool:
        names = [f"{stem}.{suffix}" for suffix in _SUFFIXES]
        return self.run.is_over(stem.rpartition("-")[2], self._directory, *names)

    def _remove(self, stem: str) -> None:
        for suffix in _SUFFIXES:
            with suppress(OSError):
                self._directory.unlink(f"{stem}.{suffix}")
        remove_folder(self._directory, f"{stem}.{SUFFIX}")
