"""Ends connections that stall, and all of them when the download is called off."""

from __future__ import annotations

import threading
import time

from ..errors import BrokenTransfer, Cancelled
from .connection import Connection

_LOOK_EVERY = 0.5
_EARNED_AT_ONCE = 1 << 20
"""Bytes that a head counts for: from its end on the body has the whole timeout."""


class Watchdog:
    """Watches connections in use; safe to use from many threads.

    `stall_timeout` is in seconds: a connection that moves less than 1 byte a second for so long
    is ended, and so is one whose headers are not all there by then. Its reader, blocked or not,
    then meets the end of the stream, and `check` tells it why.
    """

    def __init__(self, stall_timeout: float) -> None:
        self.stall_timeout = stall_timeout
        self._watched: set[Connection] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._cancelled = False
        self._started = False

    def watch(self, connection: Connection) -> None:
        """Begin to watch a connection. Raises Cancelled when all was called off."""
        connection.stalled = connection.shut = False
        connection.moved = 0
        connection.deadline = time.monotonic() + self.stall_timeout
        with self._lock:
            if self._cancelled:
                raise Cancelled
            self._watched.add(connection)
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, daemon=True, name="stalls").start()

    def release(self, connection: Connection) -> None:
        """Stop watching a connection."""
        with self._lock:
            self._watched.discard(connection)

    def moved(self, connection: Connection, count: int = _EARNED_AT_ONCE) -> None:
        """Note progress; the deadline moves on once it was earned at 1 byte a second."""
        connection.moved += count
        if connection.moved >= self.stall_timeout:
            connection.moved = 0
            connection.deadline = time.monotonic() + self.stall_timeout

    def check(self, connection: Connection) -> None:
        """Raise what ended the connection, where it did not end by itself."""
        if self._cancelled:
            raise Cancelled
        if connection.stalled:
            raise BrokenTransfer(
                f"the connection stalled for {self.stall_timeout:g} s", code="stalled"
            )

    def cancel(self) -> None:
        """Call everything off: blocked reads end at once, and `check` raises Cancelled."""
        self._cancelled = True
        with self._lock:
            for connection in self._watched:
                connection.end()

    def close(self) -> None:
        """End the watch."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(min(_LOOK_EVERY, self.stall_timeout / 4)):
            now = time.monotonic()
            with self._lock:
                for connection in self._watched:
                    if connection.deadline < now and not connection.shut:
                        connection.stalled = True
                        connection.end()
