"""The bodies of one object's responses, as they come: from a connection's block to the writer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..disk.partial import Partial
from ..errors import BrokenTransfer
from ..http.connection import Connection
from ..http.response import Response
from ..http.waits import Steps
from .host import Host
from .pieces import UNKNOWN_END, Piece, Pieces

if TYPE_CHECKING:
    from .attempt import Attempt

_PATIENCE = 0.3
"""A second connection's response is waited for at least this many seconds."""
_PATIENT_WAITS = 5
"""It is waited for at least this many times as long as the first one's took: the connection may
have to be opened first."""
_PAUSE = 0.005
"""Seconds between looks for that response."""


class EmptyPart(BrokenTransfer):
    """The response to a range was empty."""


class Incoming:
    """Receives bodies into the pieces of one object.

    `position` counts the bytes of the object that have arrived, written or not, and `received`
    those that came in this run, even if they were dropped later.
    """

    def __init__(self, host: Host, attempt: Attempt, pieces: Pieces, partial: Partial) -> None:
        self.position = partial.position
        self.received = 0
        self._host, self._attempt, self._pieces, self._partial = host, attempt, pieces, partial
        self.coming: dict[Piece, Connection] = {}
        """The pieces that are being received, with the connection that has the response."""
        self._several = False
        """Whether two connections have received at the same time."""

    def __bool__(self) -> bool:
        """Tell whether a body is being received."""
        return bool(self.coming)

    def receive(self, piece: Piece, answer: Response, next_size: Callable[[], int]) -> Steps[None]:
        """Receive a body into a piece, until that is filled or the body ends.

        A filled piece is extended by up to `next_size` bytes that nobody has claimed. Raises
        `BrokenTransfer` if the connection breaks or the body is too short.
        """
        net, connection, began = self._host.net, answer.connection, piece.position
        self._several = self._several or bool(self.coming)
        self.coming[piece] = connection
        count, size, piece.began = connection.high, piece.end - piece.position, time.monotonic()
        self._host.meter.receives(1, size)
        try:
            while not piece.dead:
                filled = self._is_filled(piece, connection, next_size)
                while (filled and piece.end < piece.last) and (
                    yield from self._may_go_on(piece, answer, next_size)
                ):
                    filled = self._is_filled(piece, connection, next_size)
                if not filled and connection.is_full:
                    self._take(piece, connection)
                self.received += count
                if (owed := self._host.meter.spend(count)) > 0:
                    yield owed
                    connection.rested(owed)
                if filled:
                    return
                count = yield from net.more(answer)
                if not count:
                    self._end(piece, connection, began)
                    return
        finally:
            self._take(piece, connection)
            del self.coming[piece]
            self._host.meter.receives(-1, size)

    def hand_over(self) -> None:
        """Pass all received bytes to the writer."""
        for piece, connection in self.coming.items():
            if piece.position + connection.high <= piece.end:  # or the rest may be needed yet
                self._take(piece, connection)

    def silent(self, patience: float) -> Piece | None:
        """Return a piece that was requested `patience` seconds ago and has no response yet."""
        since = time.monotonic() - patience
        for piece in self._pieces.under_way:
            if piece.began < since and piece not in self.coming:
                return piece
        return None

    def _is_filled(
        self, piece: Piece, connection: Connection, next_size: Callable[[], int]
    ) -> bool:
        """Tell whether a piece is complete; extend it into bytes that nobody has claimed."""
        there = piece.position + connection.high
        while there >= min(piece.end, piece.last):
            if piece.end >= piece.last or (connection.ended and there == piece.end):
                return True
            if not self._pieces.extend(piece, next_size()):
                return True
        return False

    def _may_go_on(
        self, piece: Piece, answer: Response, next_size: Callable[[], int]
    ) -> Steps[bool]:
        """Tell whether a filled piece has got bytes of the one after it, from the same response.

        As long as no second connection has received anything, this one is the only one that is
        known to work. If the piece after it has no response, it waits for that, and takes the piece
        over if there is none in time. Once there is one, the other connection's is not read.
        """
        connection, patience = answer.connection, max(_PATIENCE, _PATIENT_WAITS * answer.waited)
        while not (self._several or piece.dead or piece.end >= piece.last):
            if connection.ended and piece.position + connection.high == piece.end:
                return False
            other = self._pieces.unanswered_after(piece)
            if other is None:
                return self._pieces.extend(piece, next_size())
            if time.monotonic() - other.began >= patience:
                self._pieces.take_over(piece, other)
                return True
            yield _PAUSE
            connection.rested(_PAUSE)
        return False

    def _end(self, piece: Piece, connection: Connection, began: int) -> None:
        """Handle the end of a body, which determines a size that was unknown."""
        self._take(piece, connection)
        if self._pieces.version is not None and self._pieces.size is None and not piece.dead:
            size = piece.position
            self._pieces.end_here(piece)
            self._host.writer.put(lambda: self._partial.end_at(size), self._attempt)
        if began == piece.position < piece.end:
            raise EmptyPart("the storage sent none of the requested bytes")
        if piece.last != UNKNOWN_END and piece.position < min(piece.end, piece.last):
            raise BrokenTransfer("the storage sent fewer bytes than announced", code="cut")

    def _take(self, piece: Piece, connection: Connection) -> None:
        """Pass the received bytes of a piece to the writer, up to its end."""
        if connection.block is None:
            return
        count = min(connection.high, min(piece.end, piece.last) - piece.position)
        if piece.dead or count <= 0:
            connection.free()
            return
        block, at = connection.take_block(), piece.position
        data = block[:count]
        self._host.writer.put(lambda: self._partial.write(data, at), self._attempt, block)
        piece.position += count
        self.position += count
