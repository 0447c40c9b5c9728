"""The checkpoint file of one part, and what it may say: checksums of bytes that are on disk."""

from __future__ import annotations

from contextlib import suppress

from ..http.ranges import Version
from .checkpoint import Checkpoint
from .directory import Directory
from .files import write_file
from .hashing import Hashing
from .spans import Span
from .sums import Read, Sum, Sums


class CheckpointFile:
    """Knows the checksums of a part's bytes, and writes them to the file `name`.

    The first call is `begin`, for each version.
    """

    _version: Version
    _hashing: Hashing
    _sums: Sums
    _synced: list[Sum]
    """The checksums of synced bytes."""
    _written: list[Sum]
    """The checksums in the file."""

    def __init__(self, directory: Directory, name: str) -> None:
        self._directory, self._name = directory, name
        self._may_exist = False

    def begin(self, version: Version, hashing: Hashing, found: Sums | None = None) -> None:
        """Begin a version; an earlier run left a file, of which the checksums `found` match."""
        self._version, self._hashing = version, hashing
        self._sums = Sums(version.size or 0) if found is None else found
        self._synced, self._written = [], list(self._sums)
        self._may_exist = found is not None

    def note(self, data: memoryview, at: int) -> None:
        """Compute the checksums of bytes that have just been written at an offset."""
        self._sums.add(data, at)

    def learn(self, read: Read, done: list[Span], most: int) -> None:
        """Compute missing checksums of the spans that are `done`; read at most `most` bytes.

        Raises OSError.
        """
        self._sums.learn(read, done, most)

    def save(self) -> None:
        """Write the file if there are new checksums. Raises OSError; an older file then stays."""
        if list(self._sums) != self._written:
            self._write(sync=False)

    def save_synced(self) -> None:
        """Write and sync the file, after all bytes that have a checksum were synced.

        Raises OSError.
        """
        self._synced = list(self._sums)
        self._write(sync=True)

    def retract(self) -> bool:
        """Write what was synced before a sync failed; tell whether there was something.

        Later bytes may be in the system's memory alone, although they can be read.
        """
        self._sums = Sums(self._version.size or 0, self._synced)
        if self._synced:
            with suppress(OSError):
                self._write(sync=False)
                return True
        self.remove()
        return False

    def remove(self) -> None:
        """Remove the file, if there is one; errors are ignored."""
        if self._may_exist:
            self._may_exist = False
            with suppress(OSError):
                self._directory.unlink(self._name)

    def _write(self, *, sync: bool) -> None:
        sums = list(self._sums)
        if sums:
            saved = Checkpoint(self._version, self._hashing.expected, sums)
            self._may_exist = True
            write_file(self._directory, self._name, saved.to_bytes(), sync=sync)
            self._written = sums
