"""Threads for blocking work; if the system gives none, the caller does the work itself."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Crew(Generic[T]):
    """Up to `most` threads that pass the things that are `put` to `work`.

    If that raises, the thread ends, and `fail` gets the error: memory is short, or it is a bug.
    Each takes up to `batch` things in order, once there are `batch` or `linger` seconds have
    passed. A thread is started when there is something to do; if that fails, `put` does the work.
    """

    def __init__(
        self,
        name: str,
        most: int,
        work: Callable[[Sequence[T]], None],
        fail: Callable[[BaseException], None],
        *,
        batch: int = 1,
        linger: float = 0.0,
    ) -> None:
        self._name, self._most, self._work, self._fail = name, most, work, fail
        self._batch, self._linger = batch, linger
        self._things: deque[T] = deque()
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._urgent = False
        self._closing = False

    def put(self, things: Sequence[T], *, more: bool = False) -> None:
        """Add things to do; `more` tells that others follow soon."""
        with self._lock:
            self._things.extend(things)
            self._urgent = not more
            if self._is_due or len(self._things) == len(things):
                self._news.notify(len(things))
            hire = self._idle < len(self._things) and len(self._threads) < self._most
        if hire:
            self._hire()
        if not self._threads:
            self._work_off()

    @property
    def waiting(self) -> int:
        """How many things are waiting in the queue."""
        return len(self._things)

    def close(self, deadline: float | None = None) -> None:
        """Finish the queue and end; return by `deadline`, in monotonic seconds, in any case."""
        with self._lock:
            self._closing = True
            self._news.notify_all()
        for thread in self._threads:
            join(thread, deadline)

    @property
    def _is_due(self) -> bool:
        """Whether the queue should be worked off now; the caller has the lock."""
        return self._urgent or self._closing or len(self._things) >= self._batch

    def _hire(self) -> None:
        thread = threading.Thread(target=self._run, daemon=True, name=self._name)
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # the system allows no more of them
            self._most = len(self._threads)
        else:
            self._threads.append(thread)

    def _run(self) -> None:
        try:
            while things := self._next():
                self._work(things)
        except BaseException as error:
            self._fail(error)

    def _work_off(self) -> None:
        """Work the whole queue off in the caller's thread."""
        while self._things:
            with self._lock:
                things = self._take()
            self._work(things)

    def _next(self) -> Sequence[T]:
        with self._lock:
            while not self._things:
                if self._closing:
                    return ()
                self._idle += 1
                self._news.wait()
                self._idle -= 1
            if self._linger and not self._is_due:
                self._news.wait(self._linger)
            return self._take()

    def _take(self) -> Sequence[T]:
        if self._batch == 1:
            return [self._things.popleft()]
        things, self._things = self._things, deque()
        return things


def join(thread: threading.Thread, deadline: float | None) -> None:
    """Wait until a thread has ended, or until `deadline`, in monotonic seconds."""
    with suppress(RuntimeError):  # a signal came before it was started
        thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
