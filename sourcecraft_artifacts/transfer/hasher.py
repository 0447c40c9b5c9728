"""The thread that hashes large files while they are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from ..disk.hashing import BLOCK, Hashing
from .crew import Crew

_LAG = 1 << 20
"""How many bytes are worth waking a thread for."""


class Hasher:
    """Reads back what was written and hashes it, in a thread of its own.

    So hardly anything is left to hash when the last byte arrives. Without such a thread, the
    caller's hashes it.
    """

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        self._crew: Crew[Hashing] = Crew("hasher", 1, self._work, fail)
        self._queued: set[Hashing] = set()
        self._buffer = memoryview(bytearray(0))

    def follow(self, hashing: Hashing) -> None:
        """Note that there are more bytes to hash; for one thread."""
        if hashing in self._queued:
            return
        if hashing.there - hashing.position >= _LAG:
            self._queued.add(hashing)
            self._crew.put([hashing])

    def close(self, deadline: float | None) -> None:
        """Finish and end; return by `deadline`, in monotonic seconds, in any case."""
        self._crew.close(deadline)

    def _work(self, queued: Sequence[Hashing]) -> None:
        self._buffer = self._buffer or memoryview(bytearray(BLOCK))
        for hashing in queued:
            self._queued.discard(hashing)
            with suppress(OSError):  # `finish` reads again, and gets the error
                while hashing.catch_up(self._buffer):
                    pass
