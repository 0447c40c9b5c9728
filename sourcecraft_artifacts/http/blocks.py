"""A limited number of memory blocks, which carry bytes from the network to the disk.

When all are in use, readers wait: a slow disk slows the network down, and memory is limited.
"""

from __future__ import annotations

from collections.abc import Callable

from .waits import Gate, Steps

SIZE = 256 * 1024
"""The size of one block, in bytes."""


class Blocks:
    """At most `most` blocks, taken in the loop's thread and given back from any thread.

    `post` makes the loop's thread call a function.
    """

    def __init__(self, most: int, post: Callable[[Callable[[], None]], None]) -> None:
        self.most = most
        self._post = post
        self._free: list[memoryview] = []
        self._made = 0
        self._gate = Gate()
        self._hungry = False

    def spare(self) -> memoryview | None:
        """Take a block; return None if none is free."""
        if not self._free:
            if self._made < self.most:
                self._made += 1
                return memoryview(bytearray(SIZE))
            # Set before the next look, so that a block that is given back after it is noticed.
            self._hungry = True
        return self._free.pop() if self._free else None

    def take(self) -> Steps[memoryview]:
        """Take a block; wait for one if necessary."""
        while (block := self.spare()) is None:
            yield self._gate
        return block

    def give(self, block: memoryview) -> None:
        """Give a block back."""
        self._free.append(block)
        if self._hungry:
            self._post(self._feed)

    def _feed(self) -> None:
        while self._free and self._gate.waiting:
            self._gate.waiting.popleft()()
        self._hungry = bool(self._gate.waiting)
