"""Threads that settle complete files, so that no connection waits for the disk."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from .attempt import Attempt

_THREADS = 4
_MOST_WAITING = 24
"""The most files, each with a descriptor, that wait for a thread."""


class Settlers:
    """A few threads that call `settle` for each attempt handed to them; it must not raise."""

    def __init__(self, settle: Callable[[Attempt], None]) -> None:
        self._settle = settle
        self._waiting: deque[Attempt] = deque()
        self._work = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._closing = False

    def offer(self, attempt: Attempt) -> bool:
        """Take an attempt; False when too many wait: whoever offers it then settles it."""
        with self._work:
            if len(self._waiting) >= _MOST_WAITING:
                return False
            self._waiting.append(attempt)
            self._work.notify()
            if len(self._threads) < _THREADS:
                thread = threading.Thread(target=self._run, daemon=True, name="settler")
                self._threads.append(thread)
                thread.start()
            return True

    def close(self, deadline: float | None = None) -> None:
        """End once nothing waits; return by `deadline`, in monotonic seconds, all the same."""
        with self._work:
            self._closing = True
            self._work.notify_all()
        for thread in self._threads:
            join(thread, deadline)

    def _run(self) -> None:
        while True:
            with self._work:
                while not self._waiting:
                    if self._closing:
                        return
                    self._work.wait()
                attempt = self._waiting.popleft()
            self._settle(attempt)


def join(thread: threading.Thread, deadline: float | None) -> None:
    """Wait until a thread has ended, or until `deadline`, in monotonic seconds."""
    with suppress(RuntimeError):  # a signal came before it was started
        thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
