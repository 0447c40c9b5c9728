"""The bytes behind an artifact: held in memory, or generated for any slice on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

Chunk = bytes | memoryview

BLOCK = 1 << 20
"""Bytes of one generated block, and the largest chunk that is handed out."""


class Content(Protocol):
    """What the storage needs to know of an object.

    `size` is in bytes. `chunks` yields the bytes from `start` up to, not including, `stop`.
    """

    @property
    def size(self) -> int: ...

    @property
    def etag(self) -> str: ...

    @property
    def sha256(self) -> bytes: ...

    def chunks(self, start: int, stop: int) -> Iterator[Chunk]: ...


@dataclass(frozen=True)
class Inline:
    """Content that is a given byte string."""

    data: bytes = b""

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def etag(self) -> str:
        return f'"{self.sha256.hex()[:32]}"'

    @cached_property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.data).digest()

    def chunks(self, start: int, stop: int) -> Iterator[Chunk]:
        """Yield the bytes from `start` up to `stop`."""
        for at in range(start, min(stop, self.size), BLOCK):
            yield self.data[at : min(at + BLOCK, stop)]


@dataclass(frozen=True)
class Generated:
    """Pseudo-random content of `size` bytes, the same for the same `seed` everywhere.

    Each block is a window of one shared tile, at an offset drawn from the seed and the block's
    number: reading is free of copies, and no two blocks can be mistaken for each other.
    """

    seed: str
    size: int

    @cached_property
    def etag(self) -> str:
        # Seed and size decide every byte, so that a huge object needs no pass over its content.
        return f'"{hashlib.sha256(f"{self.size}:{self.seed}".encode()).hexdigest()[:32]}"'

    @cached_property
    def sha256(self) -> bytes:
        digest = hashlib.sha256()
        for chunk in self.chunks(0, self.size):
            digest.update(chunk)
        return digest.digest()

    def chunks(self, start: int, stop: int) -> Iterator[Chunk]:
        """Yield the bytes from `start` up to `stop`, holding none of them."""
        at, stop = start, min(stop, self.size)
        while at < stop:
            number, inner = divmod(at, BLOCK)
            length = min(BLOCK - inner, stop - at)
            begin = self._window(number) + inner
            yield _tile()[begin : begin + length]
            at += length

    def _window(self, number: int) -> int:
        drawn = hashlib.sha256(f"{number}:{self.seed}".encode()).digest()
        return int.from_bytes(drawn[:8], "big") % BLOCK


@lru_cache(maxsize=1)
def _tile() -> memoryview:
    # SHAKE is a published function: unlike `random`, it gives the same bytes in every release.
    return memoryview(hashlib.shake_128(b"sourcecraft-artifacts sandbox").digest(2 * BLOCK))
