"""Partial data: the received bytes of one object, which a later run can resume.

A part is two files with one stem: `STEM.part` has bytes at their final offsets, `STEM.json` (the
checkpoint) has their checksums and the version of the object. Each run renames a part to a stem of
its own; the rename is atomic, so only one of two runs gets it. A part never changes its version: a
restart makes a new file. So even without locks two runs cannot mix their bytes.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from ..errors import LocalError
from ..http.checksums import Digests, agreed
from ..http.ranges import Version
from .body import Body, read_at, start_writing, write_at
from .checkpoint import Checkpoint
from .directory import Directory
from .files import write_file
from .spans import Span, added, gaps
from .sums import Read, Sum, Sums

LARGE = 8 << 20
"""An object of at least this many bytes takes long to hash and to sync."""
BLOCK = 1 << 20
"""How many bytes are read back at a time to be hashed."""
FIRST_CHECKPOINT = 1 << 20
"""The first checkpoint is written after this many bytes, the next ones after a quarter more."""
_START = 512
"""How many of the first bytes are kept in memory."""
_HAND_OVER = 8 << 20
"""After this many more hashed bytes, the system is asked to write them to the disk."""
_MOST_AT_ONCE = 128 << 20
_MOST_AT_THE_END = 512 << 20
"""The most bytes that a checkpoint reads for checksums; after a kill the rest is fetched again."""


class Partial:
    """The received bytes of one object; for one thread at a time, but any may read `position`.

    After any method, a later run either can resume what is on disk or does not trust it.
    """

    keeps = True
    """Whether bytes can be dropped and fetched again."""

    def __init__(self, directory: Directory, stem: str, checkpoint: Checkpoint | None) -> None:
        self.directory = directory
        self.stem = stem
        self.version: Version | None = None
        self.position = 0
        """Bytes on disk so far."""
        self._body: Body | None = None
        self._done: list[Span] = []
        self._digests: Digests | None = None
        self._late: dict[str, bytes] = {}
        """Digests that the storage sent after the first bytes had been hashed without them."""
        self._start = b""
        """The first bytes, kept so that they need not be read again."""
        self._handed_over = 0
        self._sums = Sums(0)
        self._synced: list[Sum] = []
        """The checksums of synced bytes."""
        self._saved = False
        """Whether a checkpoint file exists."""
        self._next_checkpoint = FIRST_CHECKPOINT
        """The position, in bytes, at which `write` makes the next checkpoint."""
        self._sealed = False
        if checkpoint is not None:
            self._resume(checkpoint)

    @property
    def part_name(self) -> str:
        """The name of the part file in its folder."""
        return f"{self.stem}.part"

    @property
    def descriptor(self) -> int:
        """The open part file."""
        assert self._body is not None, "no byte was ever expected"
        return self._body.descriptor

    @property
    def start(self) -> bytes:
        """The first bytes of the object, at least 512 unless it is smaller. Raises OSError."""
        if len(self._start) >= min(_START, self.position):
            return self._start
        buffer = memoryview(bytearray(_START))
        return bytes(buffer[: read_at(self.descriptor, buffer, 0)])

    @property
    def size(self) -> int | None:
        """The object's size in bytes, or None if it is not known."""
        return self.version.size if self.version else None

    @property
    def is_large(self) -> bool:
        """Whether it takes long to hash and to sync."""
        return (self.size or 0) >= LARGE

    @property
    def lacks(self) -> list[Span]:
        """The missing spans of an object of known size."""
        return gaps(self._done, self.size or 0)

    @property
    def complete(self) -> bool:
        """Whether every byte is here."""
        return self.version is not None and self.position == self.size

    def restart(self, version: Version, expected: dict[str, bytes]) -> None:
        """Begin a version of the object, and drop the bytes of another version.

        `expected` are the digests that the storage sent for it. Raises OSError.
        """
        if self.version is not None:
            self.forget()
        self._body = Body(self.directory.open(self.part_name, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        self._set_version(version, expected)

    def write(self, data: memoryview, at: int) -> None:
        """Write bytes at their offset, and hash them if they are next in order. Raises OSError."""
        written = write_at(self.descriptor, data, at)
        while written < len(data):
            written += write_at(self.descriptor, data[written:], at + written)
        if not at:
            self._start = bytes(data[:_START])
        self.position += len(data)
        self._done = added(self._done, (at, at + len(data)))
        if self._digests is not None and at == self._digests.position:
            self._digests.update(data)
        if self.position >= self._next_checkpoint:
            self._next_checkpoint = self.position + self.position // 4
            with suppress(OSError):
                self.checkpoint()

    def expect(self, version: Version, digests: dict[str, bytes]) -> None:
        """Add digests of a later response to those that are checked, if it is of this version.

        If bytes were hashed already without them, `digest` reads the whole object once more.
        """
        if digests and self._digests is not None and version == self.version:
            self._late = agreed(self._late, self._digests.expect(digests))

    def end_at(self, size: int) -> None:
        """Set the size of an object for which the storage sent no size."""
        if self.version is not None:
            self.version = Version(self.version.validator, size)

    def catch_up(self, buffer: memoryview) -> bool:
        """Read and hash a buffer of bytes that are next in order; return whether there are more.

        Raises OSError.
        """
        there = self._done[0][1] if self._done and self._done[0][0] == 0 else 0
        if self._body is None or self._digests is None or self._digests.position >= there:
            return False
        self._hash(self._digests, buffer[: there - self._digests.position])
        return self._digests.position < there

    def digest(self) -> str:
        """Return the SHA-256 of the complete object, and check the storage's digests.

        Raises `TransferError` if a digest differs, and OSError.
        """
        assert self._digests is not None, "there is nothing to hash"
        buffer = memoryview(bytearray(0))
        if self._digests.position < self.position or self._late:
            buffer = memoryview(bytearray(BLOCK))
        while self.catch_up(buffer):
            pass
        self._digests.check()
        if self._late:
            late = Digests(self._late)
            while left := self.position - late.position:
                self._hash(late, buffer[:left])
            late.check()
        return self._digests.sha256

    def _hash(self, digests: Digests, buffer: memoryview) -> None:
        count = read_at(self.descriptor, buffer, digests.position)
        if not count:
            raise OSError("the partial data is shorter than what was written")
        digests.update(buffer[:count])

    def checkpoint(self, *, most: int = _MOST_AT_ONCE) -> None:
        """Write a checkpoint: which bytes are here, with their checksums.

        At most `most` bytes are read for checksums. A later run trusts bytes whose checksums still
        match. Raises OSError; an older checkpoint then stays.
        """
        version = self.version
        if version is None or not version.resumable or not (self._body or self._sealed):
            return
        if self._body is not None and self._body.is_lost:
            return
        if self._learn(most) and self._sums:
            self._save(version, sync=False)

    def _learn(self, most: int) -> bool:
        if self._body is not None:
            return self._sums.learn(_reader(self._body.descriptor), self._done, most)
        descriptor = self.directory.open(self.part_name, os.O_RDONLY)
        try:
            return self._sums.learn(_reader(descriptor), self._done, most)
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Sync the bytes, and write a checkpoint of them.

        Raises OSError; from then on the checkpoint has only what was synced before.
        """
        if self.version is not None and self.version.resumable and self._body is not None:
            self._learn(_MOST_AT_ONCE)
            try:
                self._body.sync()
            except OSError:
                self._retract()
                raise
            self._synced = list(self._sums)
            if self._sums:
                self._save(self.version, sync=True)

    def start_writing(self) -> None:
        """Ask the system to begin writing hashed bytes of a large object to the disk.

        The sync at the end is then short.
        """
        if self._body is not None and self._digests is not None and self.is_large:
            start, end = self._handed_over, self._digests.position
            if end - start >= _HAND_OVER:
                self._handed_over = end
                start_writing(self._body.descriptor, start, end - start)

    def start_sync(self) -> None:
        """Ask the system to begin writing all bytes to the disk, so that syncing many is quick."""
        if self._body is not None:
            start_writing(self._body.descriptor)

    def suspend(self) -> None:
        """Leave the part for a later run; a part that cannot be resumed is removed."""
        if self._body is not None and self._body.is_lost:
            self._fall_back()
        elif self.version is not None and self.version.resumable and self.position:
            with suppress(OSError):
                self.checkpoint(most=_MOST_AT_THE_END)
            self._close()
        else:
            self.forget()

    def forget(self) -> None:
        """Drop all bytes and remove the files."""
        if self._body is not None:
            self._close()
            self._remove(f"{self.stem}.json")
            self._remove(self.part_name)
        self.version = None
        self.position = self._handed_over = 0
        self._digests, self._late, self._start = None, {}, b""
        self._done, self._sums, self._synced, self._saved = [], Sums(0), [], False

    def seal(self, *, sync: bool = True) -> os.stat_result:
        """Sync the complete part and close it, ready to be moved; return its `stat`.

        Without `sync` it is only closed: the files that are unpacked from it are synced instead.
        Raises `LocalError` if its size is not the object's, and OSError.
        """
        assert self._body is not None, "there is nothing to seal"
        try:
            if sync:
                self._body.sync()
        except OSError:
            self._fall_back()
            raise
        found = os.fstat(self._body.descriptor)
        if found.st_size != self.size:
            raise LocalError(f"{self.part_name} was changed by another program")
        self._close()
        self._sealed = True
        return found

    def placed(self) -> None:
        """Remove the checkpoint of a part that was moved to its final name; errors are ignored."""
        self._sealed = False
        if self._saved:
            self._remove(f"{self.stem}.json")

    def _fall_back(self) -> None:
        """After a sync that failed, keep what was synced before."""
        if self._retract():
            self._close()
        else:
            self.forget()

    def _retract(self) -> bool:
        """Write a checkpoint of what was synced before a sync failed; tell whether there is one.

        Later bytes may be in the system's memory alone, although they can be read.
        """
        self._sums = Sums(self.size or 0, self._synced)
        with suppress(OSError):
            if self._synced and self.version is not None:
                self._save(self.version, sync=False)
                return True
        self._remove(f"{self.stem}.json")
        return False

    def _resume(self, checkpoint: Checkpoint) -> None:
        self._body = Body(self.directory.open(self.part_name, os.O_RDWR))
        found = os.fstat(self._body.descriptor)
        size = checkpoint.version.size or 0
        if found.st_size > size or not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            self._close()
            raise ValueError("it is longer than the object, not a plain file, or has other names")
        sums = Sums(size, checkpoint.sums).verified(_reader(self._body.descriptor))
        if not sums:
            self._close()
            raise ValueError("none of its checksums match")
        self._set_version(checkpoint.version, checkpoint.digests)
        self._sums, self._saved, self._done = sums, True, sums.spans
        if self._done == [(0, size)]:
            # The last byte is fetched again, so that the storage confirms the version.
            self._done = [(0, size - 1)] if size > 1 else []
        self.position = sum(end - start for start, end in self._done)
        self._next_checkpoint = self.position + FIRST_CHECKPOINT

    def _set_version(self, version: Version, expected: dict[str, bytes]) -> None:
        self.version = version
        self._digests, self._late = Digests(expected), {}
        self._sums, self._synced = Sums(version.size or 0), []
        self._next_checkpoint = FIRST_CHECKPOINT

    def _save(self, version: Version, *, sync: bool) -> None:
        assert self._digests is not None, "a part with a version has digests"
        expected = {**self._digests.expected, **self._late}
        saved = Checkpoint(version, expected, list(self._sums))
        write_file(self.directory, f"{self.stem}.json", saved.to_bytes(), sync=sync)
        self._saved = True

    def _close(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            self.directory.unlink(name)


def _reader(descriptor: int) -> Read:
    return lambda buffer, offset: read_at(descriptor, buffer, offset)
