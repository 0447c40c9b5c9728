"""What is measured while bytes come, for the pace and for the limit of the rate."""

from __future__ import annotations

from .pacing import Pace, RateLimit, Use

SHORT = 64 << 10
"""A body of at most this many bytes takes round trips rather than a part of the total rate."""


class Meter:
    """Counts received bytes and the connections that receive, for the loop's thread alone.

    A connection that receives a short body counts as one that waits: what it needs is time, and
    more connections bring more.
    """

    def __init__(self, pace: Pace, limit: RateLimit) -> None:
        self.received = 0
        """The bytes of all bodies in this run."""
        self.busy = 0
        """How many connections have something to fetch."""
        self._pace, self._limit = pace, limit
        self._short = self._long = 0
        """How many connections receive short bodies, and long ones."""

    @property
    def slices(self) -> int:
        """How many connections one file may have by now."""
        return self._pace.streams

    @property
    def response_time(self) -> float:
        """The time from a request to its response, in seconds, recently; 0 before the first."""
        return self._pace.recently

    def answered(self, seconds: float) -> None:
        """Note the time from a request to its response on an open connection."""
        self._pace.answered(seconds)

    @property
    def has_too_many(self) -> bool:
        """Whether more connections are in use than the pace allows by now."""
        return self.busy > self._pace.width

    def receives(self, change: int, size: int) -> None:
        """Note that `change` more connections (or fewer) receive a body of `size` bytes."""
        if size <= SHORT:
            self._short += change
        else:
            self._long += change

    def spend(self, count: int) -> float:
        """Note received bytes; return the seconds that the rate limit asks to wait."""
        self.received += count
        return self._limit.owed(count)

    def tick(self, now: float, *, asking: int, wanted: int) -> None:
        """Let the pace adjust the number; `asking` connections wait for a response."""
        use = Use(self.busy, asking + self._short, self._long)
        self._pace.tick(now, self.received, use, wanted=wanted)
