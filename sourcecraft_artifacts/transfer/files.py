"""The files of one run, and which of them the next connection fetches."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter

from .attempt import Attempt
from .pacing import Pace
from .transfer import Transfer

_WORTH = 2
"""How many files or pieces there must be for each further connection."""
_LARGE = 4
"""While other files wait, large ones get this part of all connections for their pieces: the small
ones need round trips more than a part of the total rate, and the large ones can use all later."""
_LATE = 0.05
"""At the end a piece is shared if it would still take at least this many seconds."""
_WORTH_WAITS = 2
"""It must also take at least this many times as long as a response."""
_SEEN_WAITS = 3
"""A connection's speed is known after this many times as long as a response takes: at first it
grows with each round trip."""

_PATIENCE = 1.0
_PATIENT_WAITS = 10
"""A piece whose response does not come is requested once more after so many seconds, but not before
so many times the usual time have passed."""


class Files:
    """The files that wait for a connection, those that have begun, and the large ones.

    `most_aside` files that have begun may wait besides those with a connection; with `sharing` the
    last pieces are shared. It is for the loop's thread alone.
    """

    def __init__(self, pace: Pace, most_aside: int, *, sharing: bool) -> None:
        self.waiting: deque[Attempt] = deque()
        self.begun: dict[Attempt, None] = {}
        """Those that were given a connection, until they have ended."""
        self.shared: dict[Transfer, Attempt] = {}
        """Large files, each of which may have several connections."""
        self._pace, self._most_aside, self._sharing = pace, most_aside, sharing

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

    def choose(self) -> Attempt | None:
        """Choose a file for another connection, or share a piece of one; None if none is needed."""
        return self._choose_large() or self._choose_waiting() or self._share_latest()

    def _choose_large(self) -> Attempt | None:
        """Choose a large file for another connection.

        Not more than `streams` fetch them: these fill the network, and others could only crowd it.
        While other files wait, large ones get up to a quarter of all connections.
        """
        if not self.shared:
            return None
        helpers = sum(max(0, len(one.tasks) - 1) for one in self.shared.values())
        if not self._are_few or (self.waiting and helpers >= self._pace.width // _LARGE):
            return None
        needy = [one for one in self.shared.values() if one.wants_help]
        if not needy:
            return None
        chosen = max(needy, key=_need)
        with suppress(ValueError):  # or it would be started again when it is complete
            self.waiting.remove(chosen)
        return chosen

    def _choose_waiting(self) -> Attempt | None:
        """Choose the first file that waits; one that has begun is counted already."""
        if not self.waiting:
            return None
        has_room = len(self.begun) < self._pace.width + self._most_aside
        return self.waiting.popleft() if has_room or self.waiting[0] in self.begun else None

    def _share_latest(self) -> Attempt | None:
        """Share the piece that would arrive last, if an idle connection can help."""
        if self.waiting or not self.shared or not self._sharing or not self._are_few:
            return None
        response_time = max(self._pace.response_time, self._pace.recently)
        patience = max(_PATIENCE, _PATIENT_WAITS * response_time)
        for transfer, attempt in self.shared.items():
            if transfer.ask_again(patience):
                return attempt
        seen = _SEEN_WAITS * response_time
        found = [(*transfer.slowest(seen), attempt) for transfer, attempt in self.shared.items()]
        seconds, piece, attempt = max(found, key=itemgetter(0))
        if piece is None or seconds < max(_LATE, _WORTH_WAITS * response_time):
            return None
        assert attempt.transfer is not None
        attempt.transfer.share(piece, (1 + response_time / seconds) / 2)
        return attempt

    @property
    def _are_few(self) -> bool:
        """Whether another connection may fetch a file that has one already."""
        tasks = [len(one.tasks) for one in self.shared.values()]
        return max(1, sum(number for number in tasks if number > 1)) < self._pace.streams


def _need(attempt: Attempt) -> float:
    """Return how many bytes of a file are left for each of its workers."""
    assert attempt.transfer is not None
    return attempt.transfer.pieces.unclaimed / (1 + len(attempt.tasks))
