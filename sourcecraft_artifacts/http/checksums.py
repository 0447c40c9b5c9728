"""The checksums that a storage sends for a whole object, and how they are checked.

`Content-MD5` (RFC 1864), `Digest` (RFC 3230), `Repr-Digest` (RFC 9530), `x-amz-checksum-*`
(not the composite ones of multipart objects) and `x-goog-hash`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Protocol

from ..errors import TransferError

Headers = Mapping[str, str]
"""The headers of an answer, by lower-case names."""

_NAMES = {"md5": "md5", "sha": "sha1", "sha1": "sha1", "sha-1": "sha1"}
_NAMES |= {"sha256": "sha256", "sha-256": "sha256", "sha512": "sha512", "sha-512": "sha512"}
_NAMES |= {"adler32": "adler32", "crc32": "crc32", "crc32c": "crc32c", "crc64nvme": "crc64nvme"}
ALGORITHMS = frozenset(_NAMES.values())
_AMAZON = ("crc32", "crc32c", "crc64nvme", "md5", "sha1", "sha256", "sha512")
_FIELDS = {"content-md5", "x-goog-hash", "digest", "repr-digest"}
_FIELDS |= {f"x-amz-checksum-{name}" for name in _AMAZON}
_SLOW = frozenset({"crc32c", "crc64nvme"})
_SLOW_LIMIT = 16 << 20
"""Bytes above which a checksum with no fast code gives way to a stronger one of the same answer."""


class Hash(Protocol):
    """What is needed of a hash."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc:
    """A reflected cyclic redundancy check of `bits` bits, as a hash."""

    def __init__(self, polynomial: int, bits: int) -> None:
        self._table = _table(polynomial)
        self._ones = (1 << bits) - 1
        self._bits = bits
        self._value = self._ones

    def update(self, data: bytes | memoryview, /) -> None:
        value, table = self._value, self._table
        for byte in data:
            value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
        self._value = value

    def digest(self) -> bytes:
        return (self._value ^ self._ones).to_bytes(self._bits // 8, "big")


class _Zlib:
    """A checksum of zlib, as a hash."""

    def __init__(self, checksum: Callable[[bytes | memoryview, int], int], value: int) -> None:
        self._checksum = checksum
        self._value = value

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = self._checksum(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


@lru_cache
def _table(polynomial: int) -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        table.append(value)
    return tuple(table)


def new_hash(name: str) -> Hash:
    """Return a fresh hash by its name in this module."""
    if name == "crc32":
        return _Zlib(zlib.crc32, 0)
    if name == "adler32":
        return _Zlib(zlib.adler32, 1)
    if name == "crc32c":
        return _Crc(0x82F63B78, 32)
    if name == "crc64nvme":
        return _Crc(0x9A6C9329AC4BC9B5, 64)
    return hashlib.new(name, usedforsecurity=False)


def expected_digests(status: int, headers: Headers, size: int | None) -> dict[str, bytes]:
    """Return the digests of the whole object that an answer names, by algorithm.

    On a 206, `Content-MD5` and Amazon's headers may speak of the part: only those that always
    speak of the whole count then. What is misshapen is no checksum and is passed over.
    """
    found: dict[str, bytes] = {}
    if _FIELDS.isdisjoint(headers):
        return found
    for name, text in _named(status, headers):
        algorithm = _NAMES.get(name.strip().lower())
        value = _from_hex(text) if algorithm == "adler32" else _decoded(text)
        if algorithm and value is not None and len(value) == len(new_hash(algorithm).digest()):
            # Of two that contradict each other at least one is wrong: no bytes may pass then.
            found[algorithm] = value if found.get(algorithm, value) == value else b""
    strong = found.keys() - _SLOW
    if strong and (size or 0) > _SLOW_LIMIT:
        return {name: found[name] for name in strong}
    return found


def _named(status: int, headers: Headers) -> Iterator[tuple[str, str]]:
    if status == 200:
        yield "md5", headers.get("content-md5", "")
        if headers.get("x-amz-checksum-type", "").upper() != "COMPOSITE":
            for name in _AMAZON:
                yield name, headers.get(f"x-amz-checksum-{name}", "")
    for field in ("x-goog-hash", "digest"):
        for item in headers.get(field, "").split(","):
            name, _, value = item.partition("=")
            yield name, value
    for name, value in re.findall(r"([a-z0-9-]+)=:([^:]*):", headers.get("repr-digest", "")):
        yield name, value


def _decoded(text: str) -> bytes | None:
    try:
        # A composite checksum (`…-3`) fails here, as it should.
        return base64.b64decode(text.strip(), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _from_hex(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


class Digests:
    """The SHA-256 of a growing object, with the other digests that are expected of it."""

    def __init__(self, expected: dict[str, bytes] | None = None) -> None:
        self.position = 0
        """Bytes hashed so far, from the start of the object."""
        self._expected = expected or {}
        self._hashes: dict[str, Hash] = {
            name: new_hash(name) for name in self._expected.keys() | {"sha256"}
        }

    def update(self, data: bytes | memoryview) -> None:
        """Hash the bytes that follow."""
        for one in self._hashes.values():
            one.update(data)
        self.position += len(data)

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was hashed, in hexadecimal."""
        return self._hashes["sha256"].digest().hex()

    def check(self) -> None:
        """Raise TransferError where a digest differs from what the storage sent."""
        for name, value in self._expected.items():
            if self._hashes[name].digest() != value:
                raise TransferError(
                    f"the {name} of the received bytes is not the one that the storage sent",
                    code="checksum",
                )
