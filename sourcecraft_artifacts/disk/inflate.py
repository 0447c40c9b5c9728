"""Reads compressed files as a stream in limited memory; the first bytes tell the format."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

from .tar_fields import UnsafeArchive, is_header

_PIECE = 256 << 10
"""How many compressed bytes are read at once."""
_MOST_MEMORY = 256 << 20
"""The memory, in bytes, that decompressing an xz file may take: `xz -9` needs 65 MiB."""

Read = Callable[[int], bytes]
"""Returns at most as many bytes as asked for; none at the end."""


class _Decompressor(Protocol):
    """The interface of the standard library's decompressors."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the interface of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _xz() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)


def _zstd() -> _Decompressor:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise CannotRead("zstd", "Python 3.14 or newer unpacks it") from None
    made: _Decompressor = zstd.ZstdDecompressor()
    return made


class CannotRead(Exception):
    """This Python cannot decompress the file; `remedy` says what can."""

    def __init__(self, name: str, remedy: str) -> None:
        super().__init__(name)
        self.name = name
        self.remedy = remedy


_KINDS: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b\x08": _Gzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": _xz,
    b"\x28\xb5\x2f\xfd": _zstd,
}
_MAGIC = tuple(_KINDS)


def may_be_archive(start: bytes) -> bool:
    """Tell quickly, from its first 512 bytes, whether a file can be an archive, in any form."""
    return start[:1] == b"\0" or start.startswith(_MAGIC) or is_header(start)


def opened(first: bytes, read: Read) -> Read:
    """Return a function that reads a file, decompressed if it is compressed.

    `first` are its first bytes, which `read` returns too. Raises `CannotRead`; the returned
    function raises `UnsafeArchive` for a damaged or truncated file.
    """
    for magic, make in _KINDS.items():
        if first.startswith(magic):
            return _Inflated(magic, make, read).read
    return read


class _Inflated:
    """The decompressed bytes of one stream, or of several in a row."""

    def __init__(self, magic: bytes, make: Callable[[], _Decompressor], read: Read) -> None:
        self._magic = magic
        self._make = make
        self._source = read
        self._one: _Decompressor = make()
        self._pending = b""
        """Compressed bytes that were not passed to a decompressor yet."""

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes; none at the end."""
        while True:
            if self._one.eof:
                if not self._finds_another():
                    return b""
                self._one = self._make()
            data = b""
            if self._one.needs_input:
                data, self._pending = self._pending or self._source(_PIECE), b""
                if not data:
                    raise UnsafeArchive("it was cut short")
            if got := self._decompressed(data, count):
                return got

    def _decompressed(self, data: bytes, count: int) -> bytes:
        try:
            return self._one.decompress(data, count)
        except MemoryError as error:
            raise UnsafeArchive("to unpack it takes too much memory") from error
        except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as error:
            if "emory" in str(error):  # an xz file's decompressor reached its memory limit
                raise UnsafeArchive("to unpack it takes too much memory") from error
            raise UnsafeArchive("its compressed data are damaged") from error

    def _finds_another(self) -> bool:
        """Tell whether another stream follows; zeros between and after them are padding."""
        rest = self._one.unused_data.lstrip(b"\0")
        while len(rest) < len(self._magic) and (more := self._source(_PIECE)):
            rest = (rest + more).lstrip(b"\0")
        if rest and not rest.startswith(self._magic):
            raise UnsafeArchive("something else follows its compressed data")
        self._pending = rest
        return bool(rest)
