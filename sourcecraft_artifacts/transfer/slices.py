"""How the bytes of one object are divided among connections."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Protocol

from .pieces import Piece, Pieces

MIN_PIECE = 1 << 20
MAX_PIECE = 4 << 20
"""The smallest and the largest piece, in bytes, unless responses are late."""
_WORTH_SHARING = 16 << 10
"""At the end, the least bytes that are worth a request of an idle connection."""
_LATE = 0.3
"""If responses take so many seconds, connections keep what they would receive in that time."""
_LONG_WAITS = 4
"""How many times as long as its response a piece should take, if the object is large enough."""
_ARRIVED = 16 << 10
"""The bytes after which the speed of a connection is known."""
_OBSERVED = 0.1
"""The seconds after which it is known."""
_PATIENCE = 1.0
"""The seconds after which another connection is used although hardly anything has come."""


class _Receives(Protocol):
    @property
    def high(self) -> int:
        """How many bytes have come after the position of the piece."""


class _Measures(Protocol):
    @property
    def response_time(self) -> float:
        """The time from a request to its response, in seconds, recently; 0 before the first."""

    @property
    def slices(self) -> int:
        """How many connections one object may have."""


class Slices:
    """Divides an object by the speed of the connections that receive it: those in `coming`.

    It is for the loop's thread alone.
    """

    def __init__(self, pieces: Pieces, coming: Mapping[Piece, _Receives], meter: _Measures) -> None:
        self._pieces, self._coming, self._meter = pieces, coming, meter
        self._last = 0.0
        """Bytes a second of the last response that was received."""

    def received(self, piece: Piece) -> None:
        """Note how fast the bytes of a piece came, if that took long enough to tell."""
        came, passed = piece.position - piece.start, time.monotonic() - piece.began
        if came >= _ARRIVED and passed >= _OBSERVED:
            self._last = came / passed

    @property
    def want_another(self) -> bool:
        """Whether another connection would have something to do once it has a response.

        If responses are late, nobody can tell until the speed of those that receive is known.
        """
        unclaimed = self._pieces.unclaimed
        is_enough = unclaimed >= 2 * MIN_PIECE
        if not (is_enough and self._are_late):
            return is_enough
        return self._is_known and sum(more for _, more in self._more()) < unclaimed

    def reserve(self) -> None:
        """If responses are late, let connections keep what they will have received before the next.

        A response in progress can be read further, but not handed over to another connection.
        """
        for piece, more in list(self._more()) if self._are_late else ():
            self._pieces.extend(piece, more)

    def next_size(self) -> int:
        """Return the bytes of the next piece: guided self-scheduling (Polychronopoulos, 1987).

        Half of an equal share of what is left: large at first, small at the end, so that all
        connections end together. But if responses are late, a piece should take several times as
        long as its response, if there is enough for all.
        """
        unclaimed, number = self._pieces.unclaimed, max(1, self._meter.slices)
        share = unclaimed // max(1, number - len(self._pieces.under_way))
        speeds = [speed for _, speed in self._speeds()]
        usual = sum(speeds) / len(speeds) if speeds else self._last
        long = int(_LONG_WAITS * self._meter.response_time * usual)
        least = max(MIN_PIECE, min(share, long))
        return min(max(unclaimed // (2 * number), least), max(MAX_PIECE, long))

    def slowest(self, seen: float) -> tuple[float, Piece | None]:
        """Return the piece that would arrive last at its present speed, and in how many seconds.

        None if no piece is worth a second connection. A connection must have received for `seen`
        seconds to be judged.
        """
        found: tuple[float, Piece | None] = 0.0, None
        for piece, speed in self._speeds(seen):
            left = self._left(piece)
            if left >= 2 * _WORTH_SHARING:
                found = max(found, (left / speed, piece), key=itemgetter(0))
        return found

    def share(self, piece: Piece, kept: float) -> None:
        """Free a piece's missing bytes but this part of them, for another connection."""
        left = self._left(piece)
        self._pieces.cut(piece, piece.end - left + int(left * kept))

    @property
    def _are_late(self) -> bool:
        return self._meter.response_time >= _LATE and bool(self._coming)

    @property
    def _is_known(self) -> bool:
        waited = time.monotonic() - _PATIENCE
        return any(piece.began <= waited for piece in self._coming) or any(
            True for _ in self._speeds()
        )

    def _left(self, piece: Piece) -> int:
        return piece.end - piece.position - self._coming[piece].high

    def _more(self) -> Iterator[tuple[Piece, int]]:
        """Yield pieces, with the bytes after each that would come before another response does.

        A connection can only go on in its own response.
        """
        for piece, speed in self._speeds():
            expected = int(speed * self._meter.response_time) - self._left(piece)
            more = min(expected, piece.last - piece.end)
            if more > 0:
                yield piece, more

    def _speeds(self, seen: float = 0.0) -> Iterator[tuple[Piece, float]]:
        """Yield pieces that are being received, with bytes a second."""
        now = time.monotonic()
        for piece, connection in self._coming.items():
            came, passed = piece.position + connection.high - piece.start, now - piece.began
            if came >= _ARRIVED and passed >= max(_OBSERVED, seen):
                yield piece, came / passed
