"""How many connections are open at once, and how fast they may read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

START = 16
MOST = 96
"""How many connections to begin with, and the most that are ever opened."""
LATE = 0.004
"""If the first byte comes in fewer seconds, more connections would only wait for the CPU."""
_WINDOW = 0.08
"""The shortest time, in seconds, over which connections are judged."""
_GAIN = 1.15
"""The factor by which more connections must raise the total rate to be kept."""
_STEADY = 1.1
_PUNCTUAL = 1.25
_LATE = 2.0
_CROWDED = 1.35
"""How many times longer than the quickest one responses take if nothing queues, and if a queue in
the network is full: while connections mostly wait for responses, and while they mostly receive."""
_FILES_EACH = 12
"""Connections that mostly wait are opened until each has only this many pairs of files to fetch."""
_REST = 5.0
_CALM = 2.0
"""Seconds without another trial after one that did not help, and without growth after failures."""
_BUFFER = 256 << 10
_MANY = 1 << 20
_TAKEN = 28
"""Descriptors for everything besides connections and partial data: streams, folders, the API."""


def spare_descriptors() -> int:
    """Return how many files and sockets the transfer may open at once."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    except (ImportError, OSError, ValueError):  # Windows, or a confined program
        return _MANY
    return _MANY if limit == resource.RLIM_INFINITY else max(4, limit - _TAKEN)


class Use(NamedTuple):
    """How many connections are in use, and how many of them wait for a response or receive one."""

    busy: int
    waiting: int
    receiving: int

    @property
    def opening(self) -> int:
        """How many are not open yet."""
        return self.busy - self.waiting - self.receiving


class Pace:
    """The number of connections, `width`: as many as increase the total rate.

    If connections mostly wait for responses, and these are not later than at first, twice as many
    connections bring twice as much; the later they are, the fewer are added. If very many files
    wait, more are opened at once. Connections are judged once most of them are open. If they
    mostly receive bodies, at a steady rate, half as many more are tried, and closed again unless
    the total rate grows enough. Up to `streams` of them fetch large files: the number at the start,
    and more if that was worth it, since those that were added to wait would only crowd the network.

    If responses become late, a queue in the network is full, and no more are opened; a quarter of
    them is closed, down to the number at the start. Failures halve the number.
    """

    def __init__(self, most: int | None) -> None:
        self.most = most or MOST
        self.width = min(START, self.most)
        self._proved = START
        """How many connections that receive were worth it."""
        self.quickest = float("inf")
        """The shortest time from a request to its response so far, in seconds."""
        self._waits: list[float] = []
        self._balance = 0.0
        """Connection-seconds of waiting for responses, less those of receiving bodies."""
        self._ticked = 0.0
        self._began = 0.0
        self._received = 0
        self._rate = 0.0
        self._before: tuple[int, int, float] | None = None
        """`width` and `_proved` before a trial of more, and the rate then, in bytes a second."""
        self._rest_until = 0.0
        self._next_trial = 0.0
        self._troubled_until = 0.0
        self._cautious = False

    @property
    def streams(self) -> int:
        """How many of the connections may fetch large files."""
        return min(self.width, self._proved)

    def answered(self, seconds: float) -> None:
        """Note the time from a request to its response on an open connection."""
        self.quickest = min(self.quickest, seconds)
        self._waits.append(seconds)

    def troubled(self, busy: int, now: float) -> None:
        """Halve the number of connections, once for all failures that come together."""
        if now < self._troubled_until:
            return
        self._troubled_until, self._rest_until = now + _CALM / 2, now + _CALM
        self._cautious, self._before = True, None
        self.width = max(1, min(self.width, busy) // 2)

    def tick(self, now: float, received: int, use: Use, *, wanted: int) -> None:
        """Adjust the number, a few times a second; `wanted` more connections would have work.

        `received` counts all bytes so far.
        """
        waited = now - self._ticked if self._ticked else 0.0
        self._balance += (use.waiting - use.receiving) * waited
        self._ticked, passed = now, now - self._began
        if use.opening > self.width // 4:
            self._look_again(now, received)  # what has come says nothing about the new ones
            return
        if not self._is_seen(passed):
            return
        rate, before = (received - self._received) / passed, self._rate
        waits, balance, self._rate = self._waits, self._balance, rate
        self._look_again(now, received)
        if self._before is not None:
            self._judge(rate, now, is_fair=bool(wanted) and use.busy >= self.width)
        elif balance < 0 and self.width > START and waits and self._lateness(waits) > _LATE:
            self.width = max(START, self.width - self.width // 4)
        elif balance < 0 and use.busy < self.width:
            self.width = max(use.busy, self.streams)
        elif now < self._rest_until or not wanted or use.busy < self.width:
            return
        elif balance > 0 and use.receiving <= use.waiting:
            more = self._worth_waiting(waits, wanted)
            if more > 0:
                self._grow(min(more, wanted), now)
        elif (
            now >= self._next_trial
            and 0 < before <= _STEADY * rate <= _STEADY**2 * before
            and wanted >= self.width
            and not (waits and self._lateness(waits) > _CROWDED)
        ):
            self._before = self.width, self._proved, rate
            self._grow(max(1, self.width // 2), now)
            self._proved = max(START, self.width)

    def _look_again(self, now: float, received: int) -> None:
        """Begin to look anew at what the connections do."""
        self._began, self._received = now, received
        self._waits, self._balance = [], 0.0

    def _worth_waiting(self, waits: Sequence[float], wanted: int) -> int:
        """Return how many more connections are worth it while they mostly wait for responses.

        If the network is full, more connections make responses later in proportion: up to `_LATE`.
        """
        lateness = self._lateness(waits) if waits else _LATE
        more = min(self.width, round(self.width * (_LATE / lateness - 1)))
        if lateness <= _PUNCTUAL:
            more = max(more, wanted // _FILES_EACH - self.width)
        return more

    def _is_seen(self, passed: float) -> bool:
        """Tell whether enough has been seen in `passed` seconds to judge the connections.

        While they mostly wait, half of them must have answered: the first response alone, while
        all others are still under way, does not tell how late they are.
        """
        answers = len(self._waits)
        if answers >= self.width:
            return True
        is_long = passed >= max(_WINDOW, 2 * min(self.quickest, 1.0))
        return is_long and (self._balance <= 0 or answers >= self.width // 2)

    def _lateness(self, waits: Sequence[float]) -> float:
        """Return how late responses are, as a multiple of the quickest one.

        It is infinite if they come so soon that more connections would only wait for the CPU.
        """
        late = sum(waits) / len(waits)
        return late / self.quickest if late >= LATE else float("inf")

    def _judge(self, rate: float, now: float, *, is_fair: bool) -> None:
        """Keep connections that helped; else restore the number before the trial."""
        assert self._before is not None
        (width, proved, least), self._before = self._before, None
        if not is_fair or rate < _GAIN * least:
            self.width, self._proved = min(width, self.width), proved
            self._next_trial = now + _REST

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
