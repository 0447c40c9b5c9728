"""The files of one run, and which of them the next connection fetches."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter

from .attempt import Attempt
from .transfer import Transfer

_WORTH = 2
"""How many files or pieces there must be for each further connection."""
_LATE = 0.1
_WORTH_WAITS = 6
"""At the end a piece is shared if it would still take so many seconds, and so many times as long as
a response."""
_SEEN_WAITS = 3
"""A connection's speed is known after so many times as long as a response takes: at first it grows
with each round trip."""


class Files:
    """The files that wait for a connection, those that have begun, and the large ones.

    `most_aside` files that have begun may wait besides those with a connection. It is for the
    loop's thread alone.
    """

    def __init__(self, most_aside: int) -> None:
        self.waiting: deque[Attempt] = deque()
        self.begun: dict[Attempt, None] = {}
        """Those that were given a connection, until they have ended."""
        self.shared: dict[Transfer, Attempt] = {}
        """Large files, each of which may have several connections."""
        self._most_aside = most_aside

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Add files; they are fetched in this order."""
        self.waiting.extend(attempts)

    def put_back(self, attempt: Attempt) -> None:
        """Let a file that has begun wait for a connection again, before the others."""
        if attempt not in self.waiting:
            self.waiting.appendleft(attempt)

    def leave(self, attempt: Attempt) -> None:
        """Give a file no more connections."""
        if attempt.transfer is not None:
            self.shared.pop(attempt.transfer, None)
        with suppress(ValueError):
            self.waiting.remove(attempt)

    def take_unbegun(self) -> list[Attempt]:
        """Take out all files that wait, and return those that have not begun."""
        unbegun = [one for one in self.waiting if one.transfer is None]
        self.waiting.clear()
        return unbegun

    @property
    def wanted(self) -> int:
        """How many more connections would have enough to do."""
        pieces = sum(one.pieces_left for one in self.shared.values())
        return (len(self.waiting) + pieces) // _WORTH

    def choose(self, width: int) -> Attempt | None:
        """Choose a file for another of `width` connections: large files get up to half of them."""
        if self.shared:
            helped = sum(max(0, len(one.tasks) - 1) for one in self.shared.values())
            if not self.waiting or helped < width // 2:
                needy = [one for one in self.shared.values() if one.wants_help]
                if needy:
                    chosen = max(needy, key=_need)
                    with suppress(ValueError):  # or it would be started again when it is complete
                        self.waiting.remove(chosen)
                    return chosen
        if self.waiting and len(self.begun) < width + self._most_aside:
            return self.waiting.popleft()
        return None

    def share_latest(self, response_time: float) -> Attempt | None:
        """Share the piece that would arrive last, if an idle connection can help; return its file.

        `response_time` is how many seconds a response takes at least.
        """
        if self.waiting or not self.shared:
            return None
        seen = _SEEN_WAITS * response_time
        found = [(*transfer.slowest(seen), attempt) for transfer, attempt in self.shared.items()]
        seconds, piece, attempt = max(found, key=itemgetter(0))
        if piece is None or seconds < max(_LATE, _WORTH_WAITS * response_time):
            return None
        assert attempt.transfer is not None
        attempt.transfer.share(piece)
        return attempt


def _need(attempt: Attempt) -> float:
    """Return how many bytes of a file are left for each of its workers."""
    assert attempt.transfer is not None
    return attempt.transfer.pieces.unclaimed / (1 + len(attempt.tasks))
