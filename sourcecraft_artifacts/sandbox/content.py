"""The bytes behind an artifact: held in memory, or generated for any slice on demand."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property, lru_cache

Chunk = bytes | memoryview

BLOCK = 1 << 20
"""The size of one generated block and of the largest chunk, in bytes."""


class Content(ABC):
    """The content of an object in the storage.

    `size` is in bytes; objects with the same `identity` have the same bytes.
    """

    def __init__(self, size: int, identity: bytes) -> None:
        self.size = size
        self._identity = identity

    @abstractmethod
    def chunks(self, start: int, stop: int) -> Iterator[Chunk]:
        """Yield the bytes from `start` up to, not including, `stop`."""

    @cached_property
    def etag(self) -> str:
        """A strong validator (RFC 9110, 8.8.3), made without reading the content."""
        return f'"{hashlib.sha256(self._identity).hexdigest()[:32]}"'

    @cached_property
    def sha256(self) -> bytes:
        """The digest of the whole content."""
        digest = hashlib.sha256()
        for chunk in self.chunks(0, self.size):
            digest.update(chunk)
        return digest.digest()


class Inline(Content):
    """Content that is a given byte string."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(len(data), data)
        self._data = memoryview(data)

    def chunks(self, start: int, stop: int) -> Iterator[Chunk]:
        for at in range(start, stop, BLOCK):
            yield self._data[at : min(at + BLOCK, stop)]


class Generated(Content):
    """Pseudo-random content of `size` bytes, the same for the same `seed` everywhere.

    Each block is a slice of one shared buffer, at an offset that depends on the seed and the
    block's number, so that reading copies nothing and blocks differ.
    """

    def __init__(self, seed: str, size: int) -> None:
        super().__init__(size, f"{size}:{seed}".encode())
        self._seed = seed

    def chunks(self, start: int, stop: int) -> Iterator[Chunk]:
        while start < stop:
            number, inner = divmod(start, BLOCK)
            length = min(BLOCK - inner, stop - start)
            begin = self._window(number) + inner
            yield _tile()[begin : begin + length]
            start += length

    def _window(self, number: int) -> int:
        drawn = hashlib.sha256(f"{number}:{self._seed}".encode()).digest()
        return int.from_bytes(drawn[:8], "big") % BLOCK


@lru_cache(maxsize=1)
def _tile() -> memoryview:
    # SHAKE is a published function: unlike `random`, it gives the same bytes in every release.
    return memoryview(hashlib.shake_128(b"sourcecraft-artifacts sandbox").digest(2 * BLOCK))
