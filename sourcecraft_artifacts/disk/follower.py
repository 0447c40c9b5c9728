"""Hashing of a large object behind those who write it, from the page cache, in its own thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..http.checksums import Digests
from .body import Body, read_at

BLOCK = 1 << 20
"""Bytes that are hashed at once."""
_HAND_OVER = 8 << 20
"""Hashed bytes that the system is asked to put on the disk at once."""


class Follower:
    """Hashes the first `size` bytes of a body as they come to be there without a gap.

    `frontier` returns up to where, in bytes, that is; None when nobody writes any more and
    nobody will. Whoever needs the digest then hashes what is left.
    """

    def __init__(
        self, body: Body, digests: Digests, size: int, frontier: Callable[[], int | None]
    ) -> None:
        self._body = body
        self._digests = digests
        self._size = size
        self._frontier = frontier
        self._news = threading.Event()
        self._handed_over = 0
        self._thread = threading.Thread(target=self._run, daemon=True, name="hash")
        self._thread.start()

    def nudge(self) -> None:
        """Look again how far the writers have come."""
        self._news.set()

    def join(self) -> None:
        """Wait until it has hashed what it will."""
        self._news.set()
        self._thread.join()

    def start_writing(self) -> None:
        """Have the system begin to put hashed bytes on the disk: the sync at the end is short then.

        Called by neither the writers nor the hashing thread, which it would hold up.
        """
        start, end = self._handed_over, self._digests.position
        if end - start >= _HAND_OVER:
            self._handed_over = end
            self._body.start_writing(start, end - start)

    def _run(self) -> None:
        if not self._body.hold():
            return
        try:
            self._follow()
        except OSError:
            pass  # whoever asks for the digest reads again, and meets the error
        finally:
            self._body.let_go()

    def _follow(self) -> None:
        buffer = memoryview(bytearray(BLOCK))
        while not self._body.dead and self._digests.position < self._size:
            self._news.clear()
            frontier = self._frontier()
            if frontier is None:
                break
            if frontier == self._digests.position:
                self._news.wait(1.0)
            hash_up_to(self._body.descriptor, self._digests, frontier, buffer)


def hash_up_to(
    descriptor: int, digests: Digests, end: int, buffer: memoryview | None = None
) -> None:
    """Read what follows the hashed bytes, up to `end`, and hash it. Raises OSError."""
    while (left := end - digests.position) > 0:
        buffer = buffer or memoryview(bytearray(BLOCK))
        count = read_at(descriptor, buffer[: min(left, len(buffer))], digests.position)
        if not count:
            raise OSError("the partial data is shorter than what was written")
        digests.update(buffer[:count])
