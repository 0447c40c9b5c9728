"""The blocks of memory that bytes come in and go out to the disk with: no more than so many.

When all of them are under way, who would read waits: so a slow disk slows the network down, and
memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable

from .waits import Gate, Steps

SIZE = 256 * 1024
"""Bytes of one block."""


class Blocks:
    """At most `most` blocks. They are taken in the loop's thread, and given back from any.

    `post` has the loop's thread run a function.
    """

    def __init__(self, most: int, post: Callable[[Callable[[], None]], None]) -> None:
        self.most = most
        self._post = post
        self._free: list[memoryview] = []
        self._made = 0
        self._gate = Gate()
        self._hungry = False

    def take(self) -> Steps[memoryview]:
        """Take a block, waiting for one if need be."""
        while True:
            # Said before the look: whoever gives one back after it will tell.
            self._hungry = bool(self._gate.waiting) or self._made >= self.most
            try:
                return self._free.pop()
            except IndexError:
                if self._made < self.most:
                    self._made += 1
                    return memoryview(bytearray(SIZE))
            yield self._gate

    def give(self, block: memoryview) -> None:
        """Give a block back."""
        self._free.append(block)
        if self._hungry:
            self._post(self._feed)

    def _feed(self) -> None:
        self._hungry = False
        while self._free and self._gate.waiting:
            self._gate.waiting.popleft()()
        self._hungry = bool(self._gate.waiting)
