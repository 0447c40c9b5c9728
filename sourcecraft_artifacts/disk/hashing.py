"""The digests of one object, computed in order beside the thread that writes its bytes."""

from __future__ import annotations

import threading

from ..http.checksums import Digests, agreed
from .body import read_at, start_writing

BLOCK = 256 << 10
"""How many bytes are read back at a time to be hashed."""
_HAND_OVER = 8 << 20
"""After this many more hashed bytes, the system is asked to write them to the disk."""


class Hashing:
    """Hashes one version of an object: bytes in memory, or read back from its part file.

    It has one owner, but another thread may call `catch_up` at any time.
    """

    def __init__(self, expected: dict[str, bytes], descriptor: int = -1) -> None:
        self.there = 0
        """How many bytes, from the start of the object, are in the part file."""
        self._descriptor = descriptor
        self._handed_over = 0
        self._digests = Digests(expected)
        self._late: dict[str, bytes] = {}
        """Digests that the storage sent after the first bytes had been hashed without them."""
        self._reading = threading.Lock()

    @property
    def position(self) -> int:
        """How many bytes have been hashed, from the start of the object."""
        return self._digests.position

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes hashed so far, in hexadecimal."""
        return self._digests.sha256

    @property
    def expected(self) -> dict[str, bytes]:
        """The digests that the storage sent, by algorithm."""
        return {**self._digests.expected, **self._late}

    def expect(self, digests: dict[str, bytes]) -> None:
        """Add digests of a later response.

        If bytes were hashed already without them, `finish` reads the whole object once more.
        """
        self._late = agreed(self._late, self._digests.expect(digests))

    def update(self, data: memoryview) -> None:
        """Hash the bytes that follow, if no other thread does."""
        self._digests.update(data)

    def catch_up(self, buffer: memoryview) -> bool:
        """Read and hash a buffer of bytes that are next in order; return whether there are more.

        Asks the system to begin writing hashed bytes to the disk, so that the sync at the end is
        short. Raises OSError.
        """
        with self._reading:
            left, descriptor = self.there - self._digests.position, self._descriptor
            if left <= 0 or descriptor < 0:
                return False
            _read(descriptor, self._digests, buffer[:left])
            self._hand_over(descriptor)
            return self._digests.position < self.there

    def finish(self, size: int) -> str:
        """Hash what is left of `size` bytes; return their SHA-256, and check all digests.

        Raises `TransferError` if a digest differs, and OSError.
        """
        self.there = size
        if self._digests.position < size or self._late:
            buffer = memoryview(bytearray(BLOCK))
            while self.catch_up(buffer):
                pass
            self._check_late(size, buffer)
        self._digests.check()
        return self._digests.sha256

    def stop(self) -> None:
        """Let nobody read from the part file any more, so that it can be closed."""
        self._descriptor = -1
        with self._reading:  # the block that another thread is reading ends first
            pass

    def _hand_over(self, descriptor: int) -> None:
        start, end = self._handed_over, self._digests.position
        if end - start >= _HAND_OVER:
            self._handed_over = end
            start_writing(descriptor, start, end - start)

    def _check_late(self, size: int, buffer: memoryview) -> None:
        late = Digests(self._late)
        while self._late and (left := size - late.position):
            _read(self._descriptor, late, buffer[:left])
        late.check()


def _read(descriptor: int, digests: Digests, buffer: memoryview) -> None:
    count = read_at(descriptor, buffer, digests.position)
    if not count:
        raise OSError("the partial data is shorter than what was written")
    digests.update(buffer[:count])
