"""How many connections are open at once, and how fast they may read."""

from __future__ import annotations

import time

START = 16
MOST = 96
"""How many connections to begin with, and the most that are ever opened."""
LATE = 0.004
"""Seconds to the first byte below which more connections would only wait for the processor."""
_WINDOW = 0.08
"""The shortest time, in seconds, over which connections are judged."""
_GAIN = 1.15
"""By how much the sum has to grow for a doubling to be kept."""
_STEADY = 1.1
_CROWDED = 1.6
"""How much longer than the quickest response they may take before the network counts as full."""
_REST = 5.0
_CALM = 2.0
"""Seconds without growth after it did not pay, and after trouble."""
_BUFFER = 256 << 10
_MANY = 1 << 20
_TAKEN = 28
"""Descriptors for everything besides connections and partial data: streams, folders, the API."""


def spare_descriptors() -> int:
    """Return how many files and sockets the transfer may open at once."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    except (ImportError, OSError, ValueError):  # Windows, or nobody may ask
        return _MANY
    return _MANY if limit == resource.RLIM_INFINITY else max(4, limit - _TAKEN)


class Pace:
    """The number of connections, `width`: as many as increase the total rate.

    If connections mostly wait for responses, and these are no later than at first, twice as many
    bring twice as much. If they mostly carry bytes, a doubling is tried and taken back unless the
    total rate grew by a fair part. Responses that become late mean that a queue on the way is full:
    then no more are opened. Failures halve the number.
    """

    def __init__(self, most: int | None) -> None:
        self.most = most or MOST
        self.width = min(START, self.most)
        self._quickest = float("inf")
        self._waits: list[float] = []
        self._carried = 0.0
        self._began = 0.0
        self._received = 0
        self._rate = 0.0
        self._before: tuple[int, float] | None = None
        """The width before a doubling on trial, and the total rate then, in bytes a second."""
        self._rest_until = 0.0
        self._troubled_until = 0.0
        self._cautious = False

    def answered(self, seconds: float) -> None:
        """Note a time to the first byte."""
        self._quickest = min(self._quickest, seconds)
        self._waits.append(seconds)

    def carried(self, seconds: float) -> None:
        """Note for how long a connection carried a body."""
        self._carried += seconds

    def troubled(self, busy: int, now: float) -> None:
        """Halve the connections, once for all that fail together."""
        if now < self._troubled_until:
            return
        self._troubled_until, self._rest_until = now + _CALM / 2, now + _CALM
        self._cautious, self._before = True, None
        self.width = max(1, min(self.width, busy) // 2)

    def tick(self, now: float, received: int, busy: int, *, wanted: int) -> None:
        """Adjust the number, a few times a second; `wanted` more would have something to do.

        `received` counts all bytes so far.
        """
        passed = now - self._began
        if passed < max(_WINDOW, 2 * min(self._quickest, 1.0)) and len(self._waits) < self.width:
            return
        rate, before = (received - self._received) / passed, self._rate
        waits, carried = self._waits, self._carried
        self._began, self._received, self._rate = now, received, rate
        self._waits, self._carried = [], 0.0
        if now < self._rest_until or not wanted or busy < self.width:
            self._before = None
        elif self._before is not None:
            self._judge(rate, now)
        elif waits and not self._is_crowded(waits):
            if sum(waits) > carried:
                self._grow(min(self.width, wanted), now)
            elif 0 < rate <= _STEADY * before:
                self._before = self.width, rate
                self._grow(self.width, now)

    def _is_crowded(self, waits: list[float]) -> bool:
        """Tell whether responses come later than before, or so soon that more would not help."""
        late = sum(waits) / len(waits)
        return late < LATE or late > _CROWDED * self._quickest

    def _judge(self, rate: float, now: float) -> None:
        """Keep a doubling that helped; else restore the number before it."""
        assert self._before is not None
        (width, least), self._before = self._before, None
        if rate < _GAIN * least:
            self.width, self._rest_until = width, now + _REST

    def _grow(self, more: int, now: float) -> None:
        if self._cautious:
            more, self._rest_until = 1, now + _CALM
        self.width = min(self.width + more, self.most)


class RateLimit:
    """A limit of `rate` bytes a second for all connections together; None is no limit."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._paid_until = 0.0

    def owed(self, count: int) -> float:
        """Return the seconds to wait after receiving `count` bytes."""
        if self._rate is None:
            return 0.0
        now = time.monotonic()
        self._paid_until = max(now, self._paid_until) + count / self._rate
        return self._paid_until - now

    @property
    def buffer_size(self) -> int:
        """Bytes to read at once, so that the rate is even over a tenth of a second."""
        return _BUFFER if self._rate is None else max(1, min(_BUFFER, int(self._rate / 10)))
