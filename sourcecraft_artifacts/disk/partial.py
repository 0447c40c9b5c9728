"""Partial data: the received bytes of one object, which a later run can resume.

A part is two files with one stem: `STEM.part` has bytes at their final offsets, `STEM.json` (the
checkpoint) has their checksums and the version of the object. Each run renames a part to a stem of
its own; the rename is atomic, so only one of two runs gets it. A part never changes its version: a
restart makes a new file. So even without locks two runs cannot mix their bytes.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from ..errors import LocalError
from ..http.ranges import Version
from .body import Body, read_at, start_writing
from .checkpoint import Checkpoint, CheckpointFile
from .directory import Directory
from .hashing import Hashing
from .spans import Span, added, gaps
from .sums import Sums

LARGE = 8 << 20
"""An object of at least this many bytes takes long to hash and to sync."""
FIRST_CHECKPOINT = 1 << 20
"""The first checkpoint is written after this many bytes, the next ones after a quarter more."""
_START = 512
"""How many of the first bytes are kept in memory."""
_ROOM = 64 << 10
"""Bytes that are enough for a checkpoint."""
_MOST_AT_ONCE = 128 << 20
_MOST_AT_THE_END = 512 << 20
"""The most bytes that a checkpoint reads for checksums; after a kill the rest is fetched again."""


class Partial:
    """The received bytes of one object; for one thread at a time.

    Any thread may read `position`, and use `hashing`. After any method, a later run either can
    resume what is on disk or does not trust it.
    """

    keeps = True
    """Whether bytes can be dropped and fetched again."""

    def __init__(self, directory: Directory, stem: str, checkpoint: Checkpoint | None) -> None:
        self.directory = directory
        self.stem = stem
        self.version: Version | None = None
        self.position = 0
        """Bytes on disk so far."""
        self.hashing: Hashing | None = None
        """The digests of the version."""
        self.is_large = False
        """Whether it takes long to hash and to sync; then another thread may hash it meanwhile."""
        self._body: Body | None = None
        self._done: list[Span] = []
        self._start = b""
        """The first bytes, kept so that they need not be read again."""
        self._checkpoint = CheckpointFile(directory, f"{stem}.json")
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
        body = Body(self.directory.open(self.part_name, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        self._begin(body, version, expected)

    def write(self, data: memoryview, at: int) -> Hashing | None:
        """Write bytes at their offset. Raises OSError.

        If it is large, they are left to be hashed by another thread, from what is returned, else
        they are hashed if they are next in order.
        """
        assert self._body is not None, "restart was called first"
        assert self.hashing is not None, "restart was called first"
        self._body.write(data, at)
        if not at:
            self._start = bytes(data[:_START])
        self.position += len(data)
        self._done = added(self._done, (at, at + len(data)))
        if self.is_large:
            self._checkpoint.note(data, at)
            self.hashing.there = self._in_order
        elif at == self.hashing.position:
            self.hashing.update(data)
        if self.position >= self._next_checkpoint:
            self._next_checkpoint = self.position + self.position // 4
            with suppress(OSError):
                self.checkpoint()
        return self.hashing if self.is_large else None

    def expect(self, version: Version, digests: dict[str, bytes]) -> None:
        """Add digests of a later response to those that are checked, if it is of this version."""
        if digests and self.hashing is not None and version == self.version:
            self.hashing.expect(digests)

    def end_at(self, size: int) -> None:
        """Set the size of an object for which the storage sent no size."""
        if self.version is not None:
            self.version = Version(self.version.validator, size)
            self.is_large = size >= LARGE

    def digest(self) -> str:
        """Return the SHA-256 of the complete object, and check the storage's digests.

        Raises `TransferError` if a digest differs, and OSError.
        """
        assert self.hashing is not None, "there is nothing to hash"
        return self.hashing.finish(self.position)

    def checkpoint(self, *, most: int = _MOST_AT_ONCE) -> None:
        """Write a checkpoint: which bytes are here, with their checksums.

        At most `most` bytes are read for checksums. A later run trusts bytes whose checksums still
        match. Raises OSError; an older checkpoint then stays.
        """
        if self.version is None or not self.version.resumable:
            return
        if self._sealed:
            self._learn_sealed(most)
        elif self._body is None or self._body.is_lost:
            return
        else:
            self._checkpoint.learn(self._body.read, self._done, most)
        self._checkpoint.save()

    def _learn_sealed(self, most: int) -> None:
        body = Body(self.directory.open(self.part_name, os.O_RDONLY))
        try:
            self._checkpoint.learn(body.read, self._done, most)
        finally:
            body.close()

    def sync(self) -> None:
        """Sync the bytes, and write a checkpoint of them.

        Raises OSError; from then on the checkpoint has only what was synced before.
        """
        if self.version is not None and self.version.resumable and self._body is not None:
            self._checkpoint.learn(self._body.read, self._done, _MOST_AT_ONCE)
            try:
                self._body.sync()
            except OSError:
                self._checkpoint.retract()
                raise
            self._checkpoint.save_synced()

    def start_sync(self) -> None:
        """Ask the system to begin writing all bytes to the disk, so that syncing many is quick."""
        if self._body is not None:
            start_writing(self._body.descriptor)

    def suspend(self) -> None:
        """Leave the part for a later run; a part that cannot be resumed is removed."""
        if self.hashing is not None:
            self.hashing.stop()
        if self._body is not None and self._body.is_lost:
            self._fall_back()
        elif self.version is not None and self.version.resumable and self.position:
            try:
                self.checkpoint(most=_MOST_AT_THE_END)
            except OSError as error:
                self._checkpoint_without_room(error)
            self._close()
        else:
            self.forget()

    def _checkpoint_without_room(self, error: OSError) -> None:
        """On a full disk, drop the last bytes for a checkpoint, without which all would be lost."""
        if self._body is None or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return
        end = max(0, self._done[-1][1] - _ROOM)
        with suppress(OSError):
            os.ftruncate(self.descriptor, end)
            self._done = [(start, min(stop, end)) for start, stop in self._done if start < end]
            self.position = sum(stop - start for start, stop in self._done)
            self._checkpoint.cut(end)
            self.checkpoint(most=_MOST_AT_THE_END)

    def forget(self) -> None:
        """Drop all bytes and remove the files."""
        if self._body is not None:
            self._close()
            self._checkpoint.remove()
            with suppress(OSError):
                self.directory.unlink(self.part_name)
        self.version = self.hashing = None
        self.is_large, self.position = False, 0
        self._done, self._start = [], b""

    def seal(self) -> os.stat_result:
        """Sync the complete part and close it, ready to be moved; return its `stat`.

        Raises `LocalError` if its size is not the object's, and OSError.
        """
        assert self._body is not None, "there is nothing to seal"
        try:
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
        self._checkpoint.remove()

    def _fall_back(self) -> None:
        """After a sync that failed, keep what was synced before."""
        if self._checkpoint.retract():
            self._close()
        else:
            self.forget()

    def _resume(self, checkpoint: Checkpoint) -> None:
        body = Body(self.directory.open(self.part_name, os.O_RDWR))
        try:
            found = checkpoint.matching(body)
        except (ValueError, OSError):
            body.close()
            raise
        self._begin(body, checkpoint.version, checkpoint.digests, found)
        self._done, size = found.spans, checkpoint.version.size or 0
        if self._done == [(0, size)]:
            # The last byte is fetched again, so that the storage confirms the version.
            self._done = [(0, size - 1)] if size > 1 else []
        self.position = sum(end - start for start, end in self._done)
        self._next_checkpoint = self.position + FIRST_CHECKPOINT

    def _begin(
        self, body: Body, version: Version, expected: dict[str, bytes], found: Sums | None = None
    ) -> None:
        self._body, self.version = body, version
        self.hashing = Hashing(expected, body.descriptor)
        self.is_large = (version.size or 0) >= LARGE
        self._checkpoint.begin(version, self.hashing, found)
        self._next_checkpoint = FIRST_CHECKPOINT

    @property
    def _in_order(self) -> int:
        """How many bytes are here without a gap from the start on."""
        return self._done[0][1] if self._done and self._done[0][0] == 0 else 0

    def _close(self) -> None:
        body, self._body = self._body, None
        if self.hashing is not None:
            self.hashing.stop()
        if body is not None:
            body.close()
