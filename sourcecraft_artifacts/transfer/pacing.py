"""How many connections are open at once, and how fast they may read."""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

START = 16
MOST = 96
"""How many connections to begin with, and the most that are ever opened."""
SOON = 0.004
"""If the first byte comes in fewer seconds, more connections would only wait for the CPU."""
_WINDOW = 0.08
"""The shortest time, in seconds, over which connections are judged."""
_GAIN = 1.15
"""The factor by which more connections must raise the total rate to be kept."""
_STEADY = 1.1
_TOO_MANY = 2.0
"""If responses come this many times later than usual, there are too many connections."""
_CROWDED = 1.35
"""If they come this many times later while bodies are received, more connections are not tried."""
_PUNCTUAL = 1.2
"""If they come at most this many times later, connections that wait do not queue for anything."""
_QUEUED = 1.5
"""How many times later they may come because connections are added that wait."""
_OPENING = 0.005
"""What opening a connection costs, in seconds: mostly CPU time for TLS, here and at the storage."""
_REST = 5.0
"""Seconds without another trial after one that did not help."""
_CALM = 2.0
"""Seconds without growth after failures, and between the steps that follow."""
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

    If connections mostly wait for responses, more of them bring more: once they have answered, as
    many are opened as are worth their opening, and fewer if responses are late. Connections are
    judged once most of them are open. If they mostly receive bodies, at a steady rate, half as many
    more are tried, and closed again unless the total rate grows enough. Up to `streams` of them
    fetch large files: the number at the start, and more only after a trial that helped. Others,
    which were opened for many small files, would only crowd the network.

    If responses become late, a queue is full, in the network or at the storage: a quarter of the
    connections is closed, down to the number at the start. Failures halve the number.
    """

    def __init__(self, most: int | None) -> None:
        self.most = most or MOST
        self.width = min(START, self.most)
        self._proved = START
        """How many connections that receive were worth it."""
        self.response_time = float("inf")
        """The usual time from a request to its response, in seconds: the shortest mean so far."""
        self.recently = 0.0
        """The time that responses took recently, in seconds; the last one counts for half."""
        self._is_known = False
        """Whether enough responses have come to tell what is usual."""
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
        self._waits.append(seconds)
        self.recently = (self.recently + seconds) / 2 if self.recently else seconds
        if not self._is_known:
            self.response_time = _mean(self._waits)

    def troubled(self, busy: int, now: float) -> None:
        """Halve the number of connections, once for all failures that come together."""
        if now < self._troubled_until:
            return
        self._troubled_until, self._rest_until = now + _CALM / 2, now + _CALM
        self._cautious, self._before = True, None
        self.width = max(1, min(self.width, busy) // 2)

    def tick(self, now: float, received: int, use: Use, *, wanted: int) -> None:
        """Adjust the number, many times a second; `wanted` more connections would have work.

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
        lateness, balance, self._rate = self._lateness(), self._balance, rate
        self._look_again(now, received)
        if self._before is not None:
            self._judge(rate, now, is_fair=bool(wanted) and use.busy >= self.width)
        elif lateness > _TOO_MANY and self.width > START:
            self.width = max(START, self.width - self.width // 4)
        elif balance < 0 and use.busy < self.width:
            self.width = max(use.busy, self.streams)
        elif now < self._rest_until or not wanted or use.busy < self.width:
            return
        elif balance > 0 and use.receiving <= use.waiting:
            more = self._worth_waiting(lateness, wanted)
            if more > 0:
                self._grow(min(more, wanted), now)
        elif (
            now >= self._next_trial
            and 0 < before <= _STEADY * rate <= _STEADY**2 * before
            and wanted >= self.width
            and lateness <= _CROWDED
        ):
            self._before = self.width, self._proved, rate
            self._grow(max(1, self.width // 2), now)
            self._proved = max(START, self.width)

    def _look_again(self, now: float, received: int) -> None:
        """Begin to look anew at what the connections do."""
        self._began, self._received = now, received
        self._waits, self._balance = [], 0.0

    def _worth_waiting(self, lateness: float, wanted: int) -> int:
        """Return how many more connections are worth it while they mostly wait for responses.

        Once they queue, responses are late in proportion to the number of connections. Opening all
        must not take longer than the waiting that they share.
        """
        bearable = MOST if lateness <= _PUNCTUAL else self.width * _QUEUED / lateness
        worth = math.sqrt(2 * wanted * self.response_time / _OPENING) if wanted else 0
        return int(min(bearable, worth, MOST)) - self.width

    def _is_seen(self, passed: float) -> bool:
        """Tell whether enough has been seen in `passed` seconds to judge the connections.

        While they mostly wait, half of them must have answered: the first response alone, while
        all others are still under way, does not tell how late they are.
        """
        answers = len(self._waits)
        if answers >= self.width:
            return True
        is_long = passed >= max(_WINDOW, 2 * min(self.response_time, 1.0))
        return is_long and (self._balance <= 0 or answers >= self.width // 2)

    def _lateness(self) -> float:
        """Return how late the responses were that have just come, as a multiple of what is usual.

        It is infinite if they come so soon that more connections would only wait for the CPU.
        """
        if not self._waits:
            return 1.0
        mean = _mean(self._waits)
        if len(self._waits) >= START // 2 or not self._is_known:
            self.response_time, self._is_known = min(self.response_time, mean), True
        return mean / self.response_time if mean >= SOON else float("inf")

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


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


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
