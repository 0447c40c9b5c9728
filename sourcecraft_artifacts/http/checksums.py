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
from typing import Protocol

from ..errors import TransferError
from .crc import Crc
from .ranges import holds_all

Headers = Mapping[str, str]
"""The headers of a response, by lower-case names."""

_NAMES = {"md5": "md5", "sha": "sha1", "sha1": "sha1", "sha-1": "sha1"}
_NAMES |= {"sha256": "sha256", "sha-256": "sha256", "sha512": "sha512", "sha-512": "sha512"}
_NAMES |= {"adler32": "adler32", "crc32": "crc32", "crc32c": "crc32c", "crc64nvme": "crc64nvme"}
ALGORITHMS = frozenset(_NAMES.values())
_AMAZON = ("crc32", "crc32c", "crc64nvme", "md5", "sha1", "sha256", "sha512")
_FIELDS = {"content-md5", "x-goog-hash", "digest", "repr-digest"}
_DICTIONARY = r"(?i)([a-z0-9-]+)[ \t]*=[ \t]*:([^:]*):"
_FIELDS |= {f"x-amz-checksum-{name}" for name in _AMAZON}


class Hash(Protocol):
    """The part of a hash that is used here."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class _Zlib:
    """A checksum of zlib, as a hash."""

    def __init__(self, checksum: Callable[[bytes | memoryview, int], int], value: int) -> None:
        self._checksum = checksum
        self._value = value

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = self._checksum(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def new_hash(name: str) -> Hash:
    """Return a fresh hash by its name in this module."""
    if name == "crc32":
        return _Zlib(zlib.crc32, 0)
    if name == "adler32":
        return _Zlib(zlib.adler32, 1)
    if name == "crc32c":
        return Crc(0x82F63B78, 32)
    if name == "crc64nvme":
        return Crc(0x9A6C9329AC4BC9B5, 64)
    return hashlib.new(name, usedforsecurity=False)


def expected_digests(status: int, headers: Headers) -> dict[str, bytes]:
    """Return the digests of the whole object that a response has, by algorithm.

    In the response to a range, `Content-MD5` and Amazon's headers may be for the part; then only
    headers that are always for the whole object count. A malformed value is ignored. Two values
    that differ give an empty digest, which no object has.
    """
    found: dict[str, bytes] = {}
    if _FIELDS.isdisjoint(headers):
        return found
    for name, text in _named(status, headers):
        algorithm = _NAMES.get(name.strip().lower())
        value = _from_hex(text) if algorithm == "adler32" else _decoded(text)
        if algorithm and value is not None and len(value) == len(new_hash(algorithm).digest()):
            found = agreed(found, {algorithm: value})
    return found


def agreed(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> dict[str, bytes]:
    """Merge two sets of digests; where they differ, no object can pass."""
    both = {**one, **other}
    return {name: value if one.get(name, value) == value else b"" for name, value in both.items()}


def _named(status: int, headers: Headers) -> Iterator[tuple[str, str]]:
    """Yield names and values of checksums of the whole object; a repeated header has several."""
    whole = holds_all(status, headers)
    if whole:
        for text in headers.get("content-md5", "").split(","):
            yield "md5", text
    if _amazon_counts(status, headers, whole=whole):
        for name in _AMAZON:
            for text in headers.get(f"x-amz-checksum-{name}", "").split(","):
                yield name, text
    for field in ("x-goog-hash", "digest"):
        if field == "digest" or _is_as_stored(headers):
            for item in headers.get(field, "").split(","):
                name, _, value = item.partition("=")
                yield name, value
    if told := headers.get("repr-digest"):
        yield from re.findall(_DICTIONARY, told)


def _amazon_counts(status: int, headers: Headers, *, whole: bool) -> bool:
    """Tell whether Amazon's checksums cover the object's bytes.

    A composite covers the digests of the parts. S3 marks it by `-N` after the value, but not in the
    response to a range, even of all bytes; there only the checksum type can be trusted.
    """
    kinds = {kind.strip().upper() for kind in headers.get("x-amz-checksum-type", "").split(",")}
    return "COMPOSITE" not in kinds and ((whole and status == 200) or "FULL_OBJECT" in kinds)


def _is_as_stored(headers: Headers) -> bool:
    """Tell whether the body is what Google hashed: it may decompress an object to send it."""
    stored, sent = (
        headers.get(name, "").strip().lower().removeprefix("identity")
        for name in ("x-goog-stored-content-encoding", "content-encoding")
    )
    return stored == sent or "x-goog-stored-content-encoding" not in headers


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

    def __init__(self, expected: Mapping[str, bytes] | None = None) -> None:
        self.position = 0
        """Bytes hashed so far, from the start of the object."""
        self._expected = dict(expected or {})
        self._hashes: dict[str, Hash] = {"sha256": hashlib.sha256(usedforsecurity=False)}
        for name, value in self._expected.items():
            if value and name != "sha256":
                self._hashes[name] = new_hash(name)

    @property
    def expected(self) -> dict[str, bytes]:
        """The expected digests, by algorithm."""
        return dict(self._expected)

    def expect(self, more: Mapping[str, bytes]) -> dict[str, bytes]:
        """Add digests that a later response sent.

        Returns those that can no longer be computed, because hashing has already begun.
        """
        known = {name: value for name, value in more.items() if name in self._hashes}
        self._expected = agreed(self._expected, known)
        return {name: value for name, value in more.items() if name not in known}

    def update(self, data: bytes | memoryview) -> None:
        """Hash the bytes that follow."""
        for one in self._hashes.values():
            one.update(data)
        self.position += len(data)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes so far, in hexadecimal."""
        return self._hashes["sha256"].digest().hex()

    def check(self) -> None:
        """Raise `TransferError` if a digest differs from the one that the storage sent."""
        for name, value in self._expected.items():
            if not value or self._hashes[name].digest() != value:
                raise TransferError(
                    f"the {name} of the received bytes is not the one that the storage sent",
                    code="checksum",
                )
