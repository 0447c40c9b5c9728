"""Checksums of a part's bytes, by which a later run verifies them block by block.

They detect what a disk, a crash or another program did to partial data; damaged blocks are fetched
again. They are CRC-32, which costs almost nothing: no digest beside a file could keep anybody from
changing that file on purpose.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from .spans import Span, gaps

Sum = tuple[int, int, int]
"""A start and an end, in bytes, and the CRC-32 of the bytes between them."""
Read = Callable[[memoryview, int], int]
"""Reads from an offset into a buffer; returns how many bytes. Raises OSError."""

_BLOCK = 1 << 20
_MOST_BLOCKS = 1024
_BUFFER = 256 << 10


class Sums:
    """The checksums of an object of `size` bytes: a block each, less where bytes are missing."""

    def __init__(self, size: int, known: Iterable[Sum] = ()) -> None:
        self._size = size
        self._block = max(_BLOCK, -(-size // _MOST_BLOCKS))
        self._by_end = {end: (start, crc) for start, end, crc in known}

    def __bool__(self) -> bool:
        return bool(self._by_end)

    def __iter__(self) -> Iterator[Sum]:
        return iter(sorted((start, end, crc) for end, (start, crc) in self._by_end.items()))

    @property
    def spans(self) -> list[Span]:
        """The spans that have a checksum."""
        lacking = gaps(((start, end) for start, end, _ in self), self._size)
        return gaps(lacking, self._size)

    def add(self, data: memoryview, at: int) -> None:
        """Compute the checksums of bytes in memory that are at this offset of the object."""
        end = at + len(data)
        while at < end:
            stop = min(end, self._block_end(at))
            first, crc = self._before(at)
            self._put(first, at, stop, zlib.crc32(data[: stop - at], crc))
            data, at = data[stop - at :], stop

    def learn(self, read: Read, done: Iterable[Span], most: int) -> None:
        """Compute the missing checksums of the spans that are `done`, for at most `most` bytes.

        Raises OSError.
        """
        lacking = gaps(done, self._size)
        for start, end in gaps(sorted([*lacking, *self.spans]), self._size):
            while start < end and most > 0:
                stop = min(end, start + most, self._block_end(start))
                first, crc = self._before(start)
                self._put(first, start, stop, _crc32(read, start, stop, crc))
                most -= stop - start
                start = stop

    def cut(self, end: int) -> None:
        """Forget the checksums that are of bytes from an offset on too."""
        self._by_end = {stop: pair for stop, pair in self._by_end.items() if stop <= end}

    def _block_end(self, at: int) -> int:
        return (at // self._block + 1) * self._block

    def _before(self, at: int) -> tuple[int, int]:
        """Return the start and the checksum of the bytes that lie before in the same block."""
        return self._by_end.get(at, (at, 0)) if at % self._block else (at, 0)

    def _put(self, first: int, start: int, end: int, crc: int) -> None:
        """Put one checksum from `first` to `end` in the place of that from `first` to `start`."""
        if first < start:
            del self._by_end[start]
        self._by_end[end] = first, crc

    def verified(self, read: Read) -> Sums:
        """Return the checksums that still match; unreadable bytes do not."""
        kept = []
        for start, end, crc in self:
            with suppress(OSError):
                if _crc32(read, start, end, 0) == crc:
                    kept.append((start, end, crc))
        return Sums(self._size, kept)


def _crc32(read: Read, start: int, end: int, crc: int) -> int:
    buffer = memoryview(bytearray(min(_BUFFER, end - start)))
    while start < end:
        count = read(buffer[: end - start], start)
        if not count:
            raise OSError("the partial data is shorter than what was written")
        crc = zlib.crc32(buffer[:count], crc)
        start += count
    return crc
