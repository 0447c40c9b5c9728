"""The parts that earlier runs left in a folder, by the artifact that they are of."""

from __future__ import annotations

import secrets
import threading
from contextlib import suppress

from .checkpoint import Checkpoint
from .errors import ArtifactsError
from .files import read_file, write_file
from .folder import Directory
from .partial import Partial

_UNUSABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArtifactsError)


class PartialStore:
    """The parts in one folder. Names start with `prefix`, and nothing else is ever touched."""

    def __init__(self, directory: Directory, prefix: str = "") -> None:
        self._directory = directory
        self._prefix = prefix
        self._token = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._found: dict[str, list[str]] | None = None

    def open(self, key: str) -> Partial:
        """Return the part for `key`, resumed where an earlier run left one that can be trusted."""
        stem = f"{self._prefix}{key}-{self._token}"
        for old in self._stems().pop(key, []):
            with suppress(*_UNUSABLE):
                return self._adopt(old, stem)
            self._remove(f"{old}.part", f"{old}.json", f"{stem}.part", f"{stem}.json")
        return Partial(self._directory, stem, None)

    def _adopt(self, old: str, stem: str) -> Partial:
        """Give an old part a stem of this run: whoever renames it has it, killed at any moment."""
        text = read_file(self._directory, f"{old}.json")
        checkpoint = Checkpoint.from_bytes(text)
        write_file(self._directory, f"{stem}.json", text, sync=False)
        self._directory.replace(f"{old}.part", self._directory, f"{stem}.part")
        self._remove(f"{old}.json")
        return Partial(self._directory, stem, checkpoint)

    def clear(self) -> None:
        """Remove every part that no one opened."""
        for stems in self._stems().values():
            for stem in stems:
                self._remove(f"{stem}.part", f"{stem}.json")
        self._stems().clear()

    def _stems(self) -> dict[str, list[str]]:
        with self._lock:
            if self._found is None:
                self._found = {}
                for name in self._directory.listdir():
                    self._note(name, self._found)
            return self._found

    def _note(self, name: str, found: dict[str, list[str]]) -> None:
        stem, dot, suffix = name.rpartition(".")
        key, dash, token = stem.removeprefix(self._prefix).rpartition("-")
        if not (stem.startswith(self._prefix) and dot and dash and suffix in ("part", "json")):
            return
        if token != self._token and stem not in found.setdefault(key, []):
            found[key].append(stem)

    def _remove(self, *names: str) -> None:
        for name in names:
            with suppress(OSError):
                self._directory.unlink(name)
