"""How many connections are open at once, and how fast they may read."""

from __future__ import annotations

import threading
import time

NEAR = 2
START = 64
MOST = 96
"""Connections to begin with, those once storage proves late, and the most that are ever opened."""
LATE = 0.004
"""Seconds a file from which on a connection mostly waits. Where it does not, more threads only
wake each other: a thousand small files then take a third longer."""
FAST = 200e6
"""Bytes a second of one connection that is not capped: a second one would only share with it."""
_BUFFER = 256 << 10
"""Bytes read at once: enough for few calls, and few enough to stay in a processor's cache."""
_SMOOTHING = 0.2
_CALM = 2.0
"""Seconds without growth after trouble, and between two steps of growth from then on."""


class Pace:
    """The number of connections: more while each stays as good as the best, fewer on trouble.

    `files` is how many connections may be busy, `slices` how many of them may share one large
    file. Both rest on Little's law: when another connection only makes the others slower (in time
    to the first byte, or in bytes a second), something else is the limit. Safe from any thread.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most or MOST
        self.files = min(NEAR, self._most)
        self.slices = 1
        self._lock = threading.Lock()
        self._quickest = float("inf")
        self._latency = 0.0
        self._near = True
        self._ended = 0
        self._received = 0
        self._at = 0.0
        self._best = 0.0
        self._calm_until = 0.0
        self._cautious = False

    @property
    def width(self) -> int:
        """The most connections that may be busy now."""
        return max(self.files, self.slices)

    def opened(self, seconds: float) -> None:
        """Note a time to the first byte."""
        with self._lock:
            self._quickest = min(self._quickest, seconds)
            before = self._latency or seconds
            self._latency = before + _SMOOTHING * (seconds - before)

    def troubled(self, busy: int, now: float) -> None:
        """Halve the connections, once for all that fail together."""
        with self._lock:
            if now < self._calm_until - _CALM / 2:
                return
            self._calm_until = now + _CALM
            self._cautious, self._near = True, False
            self.files = max(1, min(self.files, busy) // 2)
            self.slices = max(1, min(self.slices, busy) // 2)

    def tick(
        self, now: float, received: int, ended: int, busy: int, *, queued: bool, shared: bool
    ) -> None:
        """Adjust the numbers, a few times a second, and once as soon as files can have ended.

        `received` counts all bytes so far and `ended` all files; `queued` tells that files wait
        for a connection, and `shared` that a large file does.
        """
        with self._lock:
            passed = now - self._at if self._at else LATE
            rate = (received - self._received) / max(passed, 1e-6) if self._at else 0.0
            steady = self._received > 0
            lately, self._ended = ended - self._ended, ended
            self._at, self._received = now, received
            if now < self._calm_until or not busy:
                return
            if queued and busy >= self.files:
                if self._near:
                    if not lately or passed * busy / lately > LATE:
                        self._near = False
                        self.files = min(START, self._most)
                elif self._latency <= 2 * self._quickest:
                    self.files = self._grown(self.files, 2, now)
            each = rate / busy
            self._best = max(self._best, each)
            if shared and steady and 0 < each < FAST and each >= self._best / 2:
                self.slices = self._grown(self.slices, 4, now)

    def _grown(self, number: int, factor: int, now: float) -> int:
        if self._cautious:
            self._calm_until = now + _CALM
            return min(number + 1, self._most)
        return min(number * factor, self._most)


class RateLimit:
    """A limit of `rate` bytes a second over all threads; None is no limit."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._paid_until = 0.0

    def owed(self, count: int) -> float:
        """Return the seconds to wait after receiving `count` bytes."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._paid_until = max(now, self._paid_until) + count / self._rate
            return self._paid_until - now

    @property
    def buffer_size(self) -> int:
        """Bytes to read at once, so that the rate is even over a tenth of a second."""
        return _BUFFER if self._rate is None else max(1, min(_BUFFER, int(self._rate / 10)))
