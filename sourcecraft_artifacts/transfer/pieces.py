"""Which bytes of an object are being fetched, and which are free."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ..disk.spans import FreeSpans, Span
from ..http.ranges import Version

UNKNOWN_END = 1 << 63
"""The end, in bytes, of an object of unknown size."""


class Piece:
    """A span that one connection fetches: bytes from `position` up to `end`.

    Its response has no bytes after `last`. It was claimed, and later its response `began`, in
    monotonic seconds. It is `dead` once its version was given up, or another connection fetches it.
    """

    __slots__ = ("began", "dead", "end", "last", "position", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.position = start
        self.end = end
        self.last = UNKNOWN_END
        self.dead = False
        self.began = 0.0


class Pieces:
    """The pieces of one object, for the loop's thread alone.

    `version` is None until the first response.
    """

    def __init__(self, version: Version | None, lacks: Iterable[Span]) -> None:
        self.version = version
        self.under_way: set[Piece] = set()
        self._free = FreeSpans(lacks if version else [(0, UNKNOWN_END)])

    @property
    def size(self) -> int | None:
        """The object's size in bytes, or None if it is not known."""
        return self.version.size if self.version else None

    @property
    def unclaimed(self) -> int:
        """How many bytes no connection is fetching."""
        return self._free.total

    @property
    def complete(self) -> bool:
        """Whether all bytes have been fetched."""
        return self.version is not None and not self._free and not self.under_way

    def claim(self, most: int) -> Piece | None:
        """Take the first free span of up to `most` bytes; None if there is none."""
        span = self._free.take_first(UNKNOWN_END if self.version is None else most)
        if span is None:
            return None
        piece = Piece(*span)
        piece.began = time.monotonic()
        self.under_way.add(piece)
        return piece

    def extend(self, piece: Piece, most: int) -> bool:
        """Extend a piece into the free span after it, by up to `most` bytes."""
        more = self._free.take_from(piece.end, most)
        if more is not None:
            piece.end = more[1]
        return more is not None

    def unanswered_after(self, piece: Piece) -> Piece | None:
        """Return the piece under way after a piece, if nothing of it has come."""
        for other in self.under_way:
            if other.start == other.position == piece.end < other.end:
                return other
        return None

    def take_over(self, piece: Piece, other: Piece) -> None:
        """Extend a piece over the one after it, which is dead then."""
        self.under_way.discard(other)
        other.dead, piece.end = True, other.end

    def cut(self, piece: Piece, end: int) -> None:
        """Free the bytes of a piece from `end` on, for another connection."""
        self._free.give_back((end, piece.end))
        piece.end = end

    def release(self, piece: Piece) -> None:
        """Free the bytes that a piece still lacks."""
        if piece in self.under_way:
            self.under_way.discard(piece)
            if piece.position < piece.end:
                self._free.give_back((piece.position, piece.end))

    def reaches_end(self, piece: Piece) -> bool:
        """Tell whether no byte after a piece is claimed."""
        return piece.end == self.size or (piece.end, self.size) in list(self._free)

    def restart(self, piece: Piece, version: Version, most: int) -> None:
        """Begin another version: `piece` becomes its first span, all other pieces are dead.

        If the size is known, the piece has up to `most` bytes. Its response has all of the object.
        """
        for one in self.under_way:
            one.dead = one is not piece
        end = UNKNOWN_END if version.size is None else version.size
        piece.start = piece.position = 0
        piece.end, piece.last = end if version.size is None else min(end, most), end
        self.version = version
        self.under_way = {piece}
        self._free = FreeSpans([(piece.end, end)] if piece.end < end else [])

    def end_here(self, piece: Piece) -> None:
        """Set the size of an object of unknown size to a piece's position."""
        if self.version is not None and self.version.size is None:
            piece.end = piece.position
            self.version = Version(self.version.validator, piece.position)

    def forget(self) -> None:
        """Give up all pieces; the next one is the whole object."""
        for piece in self.under_way:
            piece.dead = True
        self.under_way = set()
        self.version = None
        self._free = FreeSpans([(0, UNKNOWN_END)])
