"""A thread that commits complete files together, so that no connection waits for the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from .attempt import Attempt

_BATCH = 8
_LINGER = 0.005
"""How many files are committed together, where so many come within so many seconds."""
_MOST_WAITING = 24
"""The most files, each with a descriptor, that wait for the thread."""


class Committer:
    """A thread that calls `commit`, which must not raise, for all that waits by then.

    One is enough: what waits costs hardly more than one file does (`OutputFolder.commit`).
    """

    def __init__(self, commit: Callable[[Sequence[Attempt]], None]) -> None:
        self._commit = commit
        self._waiting: list[Attempt] = []
        self._work = threading.Condition()
        self._thread: threading.Thread | None = None
        self._urgent = False
        self._closing = False

    def offer(self, attempt: Attempt, *, more: bool) -> list[Attempt]:
        """Take an attempt; `more` tells that others are to come soon.

        Returns what the caller is to commit itself: all that waits, when too many do, since the
        disk is slow.
        """
        with self._work:
            self._waiting.append(attempt)
            self._urgent = not more
            if len(self._waiting) > _MOST_WAITING:
                overdue, self._waiting = self._waiting, []
                return overdue
            if self._is_due or len(self._waiting) == 1:
                self._work.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="committer")
                self._thread.start()
            return []

    @property
    def _is_due(self) -> bool:
        """Whether what waits is not to wait for others any more; asked under the lock."""
        return self._urgent or self._closing or len(self._waiting) >= _BATCH

    def close(self, deadline: float | None = None) -> None:
        """End once nothing waits; return by `deadline`, in monotonic seconds, all the same."""
        with self._work:
            self._closing = True
            self._work.notify_all()
        if self._thread is not None:
            join(self._thread, deadline)

    def _run(self) -> None:
        while True:
            with self._work:
                while not self._waiting:
                    if self._closing:
                        return
                    self._work.wait()
                if not self._is_due:
                    self._work.wait(_LINGER)
                batch, self._waiting = self._waiting, []
            if batch:  # else who offered too much was quicker
                self._commit(batch)


def join(thread: threading.Thread, deadline: float | None) -> None:
    """Wait until a thread has ended, or until `deadline`, in monotonic seconds."""
    with suppress(RuntimeError):  # a signal came before it was started
        thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
