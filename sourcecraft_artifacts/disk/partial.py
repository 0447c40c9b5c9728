"""Partial data: the received bytes of one object, resumable after whatever ends the program.

A part is two files with one stem: `STEM.part` holds bytes at their final offsets, `STEM.json`
(the checkpoint) says which of them to trust, and of which version of the object they are. Each
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
from ..http.checksums import Digests
from ..http.ranges import Version
from .body import Body, write_at
from .checkpoint import Checkpoint, boot_id
from .directory import Directory
from .files import write_file
from .follower import BLOCK, Follower, hash_up_to
from .spans import FreeSpans, Span, gaps

UNKNOWN_END = 1 << 63
"""The end, in bytes, of an object whose size the storage did not tell."""
LARGE = 8 << 20
"""Bytes from which an object is hashed by a thread of its own, behind the writers."""


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
        self._expected: dict[str, bytes] = {}
        self._follower: Follower | None = None
        self._synced: list[Span] = []
        self._saved: Checkpoint | None = None
        self._in_order = True
        self._promised = False
        """Whether a checkpoint on the disk says that it is in order, or is about to."""
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
            if span[0] != self.position or self._pieces:
                self._in_order = False
            piece = Piece(*span)
            self._hold(piece)
            broken = self._promised and not self._in_order
        if broken:
            # From now on the part's length says nothing: take that back before a byte is written.
            try:
                self.checkpoint(sync=False)
            except OSError:
                self._remove(f"{self.stem}.json")
        return piece

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
        return self._digests.sha256

    def checkpoint(self, *, sync: bool) -> None:
        """Write down which bytes are here; with `sync`, also safe from a loss of power.

        Raises OSError; an older checkpoint then stays.
        """
        with self._saving:
            with self._lock:
                version, body = self.version, self._body
                if version is None or not version.resumable or not (body or self._sealed):
                    return
                done, in_order = self._done(), self._in_order
                self._promised = self._promised or in_order
                if not sync and self._saved and (done, in_order) == self._saved.told:
                    return
            if sync and body is not None:
                body.sync()
            if sync or self._sealed:
                self._synced = done
            self._save(version, done, in_order)

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
                self.checkpoint(sync=boot_id() is None)
        with self._saving, self._lock:
            if usable:
                self._retire()
            else:
                self._forget()

    def seal(self) -> os.stat_result:
        """Put the complete bytes on the disk and close them, ready to be moved.

        Raises LocalError where they are not as many as the object's, and OSError.
        """
        with self._saving, self._lock:
            assert self._body is not None, "there is nothing to seal"
            try:
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
            if self._saved is not None:
                self._remove(f"{self.stem}.json")

    # How it works inside.

    def _resume(self, checkpoint: Checkpoint) -> None:
        self._body = Body(self.directory.open(self.part_name, os.O_RDWR))
        found = os.fstat(self._body.descriptor)
        size, on_disk = checkpoint.version.size or 0, found.st_size
        if on_disk > size or not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            self._retire()
            raise ValueError("it is longer than the object, or it has another name elsewhere")
        done = checkpoint.trusted(on_disk)
        if done == [(0, size)]:
            # Without the last byte, so that the storage has to confirm the version.
            done = [(0, size - 1)] if size > 1 else []
        self._set_version(checkpoint.version, checkpoint.digests)
        self._synced = [span for span in checkpoint.synced if span[1] <= on_disk]
        self._free = FreeSpans(gaps(done, size))
        self.position = sum(end - start for start, end in done)
        self._saved, self._promised = checkpoint, checkpoint.in_order
        self._in_order = done == [(0, on_disk)]

    def _set_version(self, version: Version, expected: dict[str, bytes]) -> None:
        assert self._body is not None, "its file was opened before"
        self.version = version
        self._expected = expected
        self._digests = Digests(expected)
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
        self._digests, self._expected = None, {}
        self._synced, self._saved, self._in_order, self._promised = [], None, True, False

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

    def _done(self) -> list[Span]:
        """Return what is here."""
        lacking = [*self._free, *((p.position, p.end) for p in self._pieces if p.position < p.end)]
        return gaps(sorted(lacking), self.size or 0)

    def _frontier(self) -> int | None:
        """Return up to where, in bytes, the object is here without a gap; None when whole."""
        with self._lock:
            lacking = [p.position for p in self._pieces if p.position < p.end]
            lacking += [start for start, _ in self._free]
            is_over = not self._free and not self._pieces
            return None if is_over else min(lacking, default=self.size or 0)

    def _save(self, version: Version, done: list[Span], in_order: bool) -> None:
        saved = Checkpoint(version, self._expected, done, self._synced, in_order)
        write_file(self.directory, f"{self.stem}.json", saved.to_bytes(), sync=False)
        self._saved, self._promised = saved, in_order

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            self.directory.unlink(name)
