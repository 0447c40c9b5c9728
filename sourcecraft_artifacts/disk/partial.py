"""Partial data: the received bytes of one object, resumable after whatever ends the program.

A part is two files with one stem: `STEM.part` holds bytes at their final offsets, `STEM.json`
(the checkpoint) has checksums of them, and says of which version of the object they are. Each
run gives a part a stem of its own, by an atomic rename that only one of two runs can win, and a
part never changes its version: a restart makes a new file. So two runs that a lock failed to keep
apart cannot mix their bytes.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress

from ..errors import LocalError
from ..http.checksums import Digests, agreed
from ..http.ranges import Version
from .body import Body, read_at, write_at
from .checkpoint import Checkpoint
from .directory import Directory
from .files import write_file
from .follower import BLOCK, Follower, hash_up_to
from .spans import FreeSpans, Span, gaps
from .sums import Read, Sums

UNKNOWN_END = 1 << 63
"""The end, in bytes, of an object whose size the storage did not tell."""
LARGE = 8 << 20
"""Bytes from which an object is hashed by a thread of its own, behind the writers."""
FIRST_CHECKPOINT = 1 << 20
"""Bytes after which a first checkpoint is written at once; then with each quarter more."""
_MOST_AT_ONCE = 128 << 20
_MOST_AT_THE_END = 512 << 20
"""Bytes whose checksums one checkpoint takes: what lacks them is fetched again after a kill."""


class Superseded(Exception):
    """The piece belongs to a version of the object that was given up meanwhile."""


class Piece:
    """A span of the object that one connection fetches: bytes from `position` up to `end`."""

    __slots__ = ("body", "end", "position", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.position = start
        self.end = end
        self.body: Body | None = None


class Partial:
    """The bytes of one object as they gather, written by any number of threads.

    Every method may be called from any thread. What is on disk after any of them is either a
    part that a later run resumes, or nothing that it would trust.
    """

    def __init__(self, directory: Directory, stem: str, checkpoint: Checkpoint | None) -> None:
        self.directory = directory
        self.stem = stem
        self.version: Version | None = None
        self.position = 0
        """Bytes on disk so far."""
        self._lock = threading.RLock()
        self._saving = threading.Lock()
        """Guards the files' names; taken before `_lock`, never after it."""
        self._body: Body | None = None
        self._free = FreeSpans([(0, UNKNOWN_END)])
        self._pieces: set[Piece] = set()
        self._digests: Digests | None = None
        self._late: dict[str, bytes] = {}
        """Digests that came when the first bytes had been hashed without them."""
        self._follower: Follower | None = None
        self._sums = Sums(0)
        self._saved = False
        """Whether there is a checkpoint on the disk."""
        self._next_checkpoint = FIRST_CHECKPOINT
        """The position, in bytes, at which the next checkpoint is due whatever the time."""
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
    def size(self) -> int | None:
        """The object's size in bytes, where it is known."""
        return self.version.size if self.version else None

    @property
    def is_large(self) -> bool:
        """Whether it is so large that hashing and syncing it take long."""
        return (self.size or 0) >= LARGE

    @property
    def unclaimed(self) -> int:
        """Bytes that nobody is fetching."""
        with self._lock:
            return self._free.total

    @property
    def pieces(self) -> int:
        """How many pieces are being fetched."""
        return len(self._pieces)

    @property
    def complete(self) -> bool:
        """Whether every byte is here."""
        return self.version is not None and not self._free and not self._pieces

    def restart(
        self, piece: Piece, version: Version, expected: dict[str, bytes], most: int
    ) -> None:
        """Begin a version of the object, dropping the bytes of another one.

        `piece` becomes its first span, of up to `most` bytes where the size is known; `expected`
        are the digests that the storage sent for it. Raises `Superseded` where another piece did
        so meanwhile, and OSError.
        """
        with self._saving, self._lock:
            if piece not in self._pieces:
                raise Superseded
            self._drop(piece)
            self._forget()
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            self._body = Body(self.directory.open(self.part_name, flags))
            self._set_version(version, expected)
            end = UNKNOWN_END if version.size is None else version.size
            piece.start = piece.position = 0
            piece.end = min(end, most) if version.size is not None else end
            self._free = FreeSpans([(piece.end, end)] if piece.end < end else [])
            self._hold(piece)

    def forget(self) -> None:
        """Drop all bytes: pieces under way end with `Superseded`, and the files are removed."""
        with self._saving, self._lock:
            self._forget()

    def claim(self, most: int) -> Piece | None:
        """Take the first span that nobody fetches, of `most` bytes, or None when all are taken."""
        with self._lock:
            span = self._free.take_first(UNKNOWN_END if self.version is None else most)
            if span is None:
                return None
            piece = Piece(*span)
            self._hold(piece)
            return piece

    def expect(self, version: Version, digests: dict[str, bytes]) -> None:
        """Have the whole checked for digests that a later answer named, if it is of that version.

        Where the first bytes were hashed without them, `digest` reads all of it once more.
        """
        with self._lock:
            if digests and self._digests is not None and version == self.version:
                self._late = agreed(self._late, self._digests.expect(digests))

    def extend(self, piece: Piece, most: int) -> bool:
        """Let a piece go on into the free span behind it, by up to `most` bytes."""
        with self._lock:
            more = self._free.take_from(piece.end, most)
            if more is not None:
                piece.end = more[1]
            return more is not None

    def reaches_end(self, piece: Piece) -> bool:
        """Tell whether nobody else has claimed anything behind a piece."""
        with self._lock:
            return all(other is piece or other.end <= piece.start for other in self._pieces) and (
                piece.end == self.size
                or any(start == piece.end and end == self.size for start, end in self._free)
            )

    def release(self, piece: Piece) -> None:
        """Give back what a piece still lacks. Safe to call for a piece of a version given up."""
        with self._lock:
            self._drop(piece)
            if piece in self._pieces:
                self._pieces.discard(piece)
                if piece.position < piece.end:
                    self._free.give_back((piece.position, piece.end))
            if self._follower is not None:
                self._follower.nudge()

    def write(self, piece: Piece, data: memoryview) -> None:
        """Write the next bytes of a piece. Raises `Superseded`, and OSError as it comes."""
        body = piece.body
        if body is None or body.dead:
            raise Superseded
        at, left = piece.position, data
        while left:
            written = write_at(body.descriptor, left, at + len(data) - len(left))
            left = left[written:]
        digests, follower = self._digests, self._follower
        if follower is None and digests and at == digests.position and body is self._body:
            digests.update(data)
        with self._lock:
            if body.dead:
                raise Superseded
            piece.position += len(data)
            self.position += len(data)
            is_due = self.position >= self._next_checkpoint
            if is_due:
                self._next_checkpoint = self.position + self.position // 4
        if is_due:
            with suppress(OSError):
                self.checkpoint(sync=False)
        if follower is not None and at // BLOCK != piece.position // BLOCK:
            follower.nudge()

    def end_here(self, piece: Piece) -> None:
        """Settle the size of an object that the storage told none of, at a piece's position."""
        with self._lock:
            if self.version is not None and self.version.size is None:
                piece.end = piece.position
                self.version = Version(self.version.validator, piece.position)

    def digest(self) -> str:
        """Return the SHA-256 of the complete object, its other digests checked.

        Raises TransferError where one differs from what the storage sent, and OSError.
        """
        if self._follower is not None:
            self._follower.join()
        assert self._digests is not None, "there is nothing to hash"
        if self._digests.position < (self.size or 0):
            hash_up_to(self.descriptor, self._digests, self.size or 0)
        self._digests.check()
        if self._late:
            late = Digests(self._late)
            hash_up_to(self.descriptor, late, self.size or 0)
            late.check()
        return self._digests.sha256

    def checkpoint(self, *, sync: bool, most: int = _MOST_AT_ONCE) -> None:
        """Write down which bytes are here; with `sync` they are put on the disk before.

        A new run trusts them no further than their checksums hold; those of `most` bytes are
        taken. Raises OSError; an older checkpoint then stays.
        """
        with self._saving:
            with self._lock:
                version, body = self.version, self._body
                if version is None or not version.resumable or not (body or self._sealed):
                    return
                lacking = self._lacking()
            news = self._learn(body, gaps(lacking, version.size or 0), most)
            if not self._sums or not (news or sync):
                return
            if sync and body is not None:
                body.sync()
            self._save(version, sync=sync)

    def _learn(self, body: Body | None, done: list[Span], most: int) -> bool:
        if body is not None:
            return self._sums.learn(_reader(body.descriptor), done, most)
        descriptor = self.directory.open(self.part_name, os.O_RDONLY)
        try:
            return self._sums.learn(_reader(descriptor), done, most)
        finally:
            os.close(descriptor)

    def start_writing(self) -> None:
        """Have the system begin to put hashed bytes of a large object on the disk."""
        follower = self._follower
        if follower is not None:
            follower.start_writing()

    def start_sync(self) -> None:
        """Have the system begin to put all bytes on the disk: syncing many is quick then."""
        body = self._body
        if body is not None:
            body.start_writing()

    def suspend(self) -> None:
        """Leave the part for a later run; without a validator it is of no use and removed."""
        usable = self.version is not None and self.version.resumable and self.position
        if usable:
            with suppress(OSError):
                self.checkpoint(sync=False, most=_MOST_AT_THE_END)
        with self._saving, self._lock:
            if usable:
                self._retire()
            else:
                self._forget()

    def seal(self, *, sync: bool = True) -> os.stat_result:
        """Put the complete bytes on the disk and close them, ready to be moved.

        Without `sync` they are only closed: what is made of them is put on the disk instead.

        Raises LocalError where they are not as many as the object's, and OSError.
        """
        with self._saving, self._lock:
            assert self._body is not None, "there is nothing to seal"
            try:
                if sync:
                    self._body.sync()
            except OSError:
                self._forget()
                raise
            found = os.fstat(self._body.descriptor)
            if found.st_size != self.size:
                raise LocalError(f"{self.part_name} was changed by others")
            self._retire()
            self._sealed = True
            return found

    def placed(self) -> None:
        """Remove the checkpoint of a part that was moved to its final name."""
        with self._saving:
            self._sealed = False
            if self._saved:
                self._remove(f"{self.stem}.json")

    # How it works inside.

    def _resume(self, checkpoint: Checkpoint) -> None:
        self._body = Body(self.directory.open(self.part_name, os.O_RDWR))
        found = os.fstat(self._body.descriptor)
        size = checkpoint.version.size or 0
        if found.st_size > size or not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            self._retire()
            raise ValueError("it is longer than the object, or it has another name elsewhere")
        sums = Sums(size, checkpoint.sums).verified(_reader(self._body.descriptor))
        if not sums:
            self._retire()
            raise ValueError("nothing of it is as it was written")
        self._set_version(checkpoint.version, checkpoint.digests)
        self._sums, self._saved = sums, True
        done = sums.spans
        if done == [(0, size)]:
            # Without the last byte, so that the storage has to confirm the version.
            done = [(0, size - 1)] if size > 1 else []
        self._free = FreeSpans(gaps(done, size))
        self.position = sum(end - start for start, end in done)
        self._next_checkpoint = self.position + FIRST_CHECKPOINT

    def _set_version(self, version: Version, expected: dict[str, bytes]) -> None:
        assert self._body is not None, "its file was opened before"
        self.version = version
        self._digests, self._late = Digests(expected), {}
        self._sums = Sums(version.size or 0)
        self._next_checkpoint = FIRST_CHECKPOINT
        if self.is_large:
            size = version.size or 0
            self._follower = Follower(self._body, self._digests, size, self._frontier)

    def _forget(self) -> None:
        self._pieces.clear()
        if self._body is not None:
            self._retire()
            self._remove(f"{self.stem}.json")
            self._remove(self.part_name)
        self.version = None
        self.position = 0
        self._free = FreeSpans([(0, UNKNOWN_END)])
        self._digests, self._sums, self._saved = None, Sums(0), False

    def _hold(self, piece: Piece) -> None:
        self._pieces.add(piece)
        if self._body is not None and self._body.hold():
            piece.body = self._body

    def _drop(self, piece: Piece) -> None:
        body, piece.body = piece.body, None
        if body is not None:
            body.let_go()

    def _retire(self) -> None:
        body, self._body = self._body, None
        follower, self._follower = self._follower, None
        if body is not None:
            body.retire()
        if follower is not None:
            follower.nudge()

    def _lacking(self) -> list[Span]:
        """Return what is not here yet, in order."""
        pieces = ((p.position, p.end) for p in self._pieces if p.position < p.end)
        return sorted([*self._free, *pieces])

    def _frontier(self) -> int | None:
        """Return up to where, in bytes, the object is here without a gap; None when whole."""
        with self._lock:
            lacking = [p.position for p in self._pieces if p.position < p.end]
            lacking += [start for start, _ in self._free]
            is_over = not self._free and not self._pieces
            return None if is_over else min(lacking, default=self.size or 0)

    def _save(self, version: Version, *, sync: bool) -> None:
        assert self._digests is not None, "what has a version is hashed"
        expected = {**self._digests.expected, **self._late}
        saved = Checkpoint(version, expected, list(self._sums))
        write_file(self.directory, f"{self.stem}.json", saved.to_bytes(), sync=sync)
        self._saved = True

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            self.directory.unlink(name)


def _reader(descriptor: int) -> Read:
    return lambda buffer, offset: read_at(descriptor, buffer, offset)
