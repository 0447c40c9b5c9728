"""What is measured while bytes come, for the pace and for the limit of the rate."""

from __future__ import annotations

from .pacing import Pace, RateLimit, Use


class Meter:
    """Counts received bytes and the connections that receive, for the loop's thread alone."""

    def __init__(self, pace: Pace, limit: RateLimit) -> None:
        self.received = 0
        """The bytes of all bodies in this run."""
        self._pace, self._limit = pace, limit
        self._receiving = 0

    @property
    def width(self) -> int:
        """How many connections one file may have by now."""
        return self._pace.width

    def answered(self, seconds: float) -> None:
        """Note the time from a request to its response on an open connection."""
        self._pace.answered(seconds)

    def receiving(self, change: int) -> None:
        """Note that so many more connections, or fewer, receive a body."""
        self._receiving += change

    def spend(self, count: int) -> float:
        """Note received bytes; return the seconds that the rate limit asks to wait."""
        self.received += count
        return self._limit.owed(count)

    def tick(self, now: float, *, busy: int, asking: int, wanted: int) -> None:
        """Let the pace adjust the number of connections."""
        use = Use(busy, asking, self._receiving)
        self._pace.tick(now, self.received, use, wanted=wanted)
