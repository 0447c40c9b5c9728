"""Calls in threads: with a deadline, or several at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

A = TypeVar("A")
T = TypeVar("T")

_LONGEST_WAIT = 0.5
"""The longest wait for a lock, in seconds: on Windows, Ctrl-C does not interrupt one."""


class DeadlinePassed(Exception):
    """The call did not end in time."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what `call` returns, or raise what it raises, if that takes `seconds` at most.

    It runs in a daemon thread, so that neither slow data nor a silent name server can hold up the
    caller, and a signal ends the wait at once. Raises `DeadlinePassed`; the thread then ends by
    itself.
    """
    box: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            box.put((call(), None))
        except BaseException as error:
            box.put((None, error))

    try:
        threading.Thread(target=run, daemon=True, name="exchange").start()
    except (RuntimeError, MemoryError):  # without a thread there is no deadline
        run()
    result, error = _await(box, time.monotonic() + seconds)
    if error is None:
        return cast("T", result)
    try:
        raise error
    finally:
        del error  # The exception refers to this frame: break the reference cycle.


def in_threads(ask: Callable[[A], T], things: Iterable[A], at_once: int) -> Generator[T]:
    """Yield what `ask` returns for each thing, in order, or raise what it raises.

    Up to `at_once` calls run at the same time; if no thread can be started, they run one by one.
    """
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(at_once)
    coming: list[Callable[[], T]] = []
    try:
        for thing in things:
            try:
                coming.append(pool.submit(ask, thing).result)
            except RuntimeError:  # without a thread it runs here, in its turn
                coming.append(partial(ask, thing))
        for result in coming:
            yield result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _await(box: SimpleQueue[T], end: float) -> T:
    while True:
        left = end - time.monotonic()
        try:
            return box.get(timeout=min(max(left, 0.0), _LONGEST_WAIT))
        except Empty:
            if left <= 0:
                raise DeadlinePassed from None
