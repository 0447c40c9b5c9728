"""The checkpoint of partial data: which bytes of which version of an object are on disk."""

from __future__ import annotations

import json
import os
import re
import stat
import zlib
from typing import Any, NamedTuple

from ..http.checksums import ALGORITHMS
from ..http.ranges import Version
from .body import Body
from .sums import Sum, Sums

SCHEMA = 2
_SENDABLE = r"[\x20-\x7e\x80-\xff]+"
"""A validator that can be sent in `If-Range`."""


class Checkpoint(NamedTuple):
    """The state of a part; only bytes that still match its `sums` are trusted.

    So it does not matter whether the program was killed or the power failed, what had reached the
    disk by then, or who changed the part since. `digests` are those that the storage sent for the
    whole object.
    """

    version: Version
    digests: dict[str, bytes]
    sums: list[Sum]

    def to_bytes(self) -> bytes:
        """Return the file's content: a line of JSON, and a line with the checksum of that."""
        value = {
            "schema_version": SCHEMA,
            "validator": self.version.validator,
            "size": self.version.size,
            "digests": {name: digest.hex() for name, digest in self.digests.items()},
            "sums": self.sums,
        }
        text = json.dumps(value).encode()
        return b"%b\n%08x\n" % (text, zlib.crc32(text))

    @classmethod
    def from_bytes(cls, content: bytes) -> Checkpoint:
        """Read a file's content. Raises ValueError, KeyError or TypeError for any other file."""
        text, _, check = content.partition(b"\n")
        if check != b"%08x\n" % zlib.crc32(text):
            raise ValueError("it is damaged")
        try:
            value: Any = json.loads(text)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        if value["schema_version"] != SCHEMA:
            raise ValueError("it is of another version")
        validator, size = value["validator"], value["size"]
        if not re.fullmatch(_SENDABLE, validator) or type(size) is not int or size <= 0:
            raise ValueError("its validator or size is not valid")
        digests = _read_digests(value["digests"])
        return cls(Version(validator, size), digests, _read_sums(value["sums"], size))

    def matching(self, body: Body) -> Sums:
        """Return the checksums that the bytes of a part match.

        Raises ValueError if there are none, or the file cannot be the part, and OSError.
        """
        found, size = os.fstat(body.descriptor), self.version.size or 0
        if found.st_size > size or not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise ValueError("it is longer than the object, not a plain file, or has other names")
        sums = Sums(size, self.sums).verified(body.read)
        if not sums:
            raise ValueError("none of its checksums match")
        return sums


def _read_digests(value: Any) -> dict[str, bytes]:
    if not isinstance(value, dict) or not value.keys() <= ALGORITHMS:
        raise ValueError("its digests are not known")
    return {name: bytes.fromhex(text) for name, text in value.items()}


def _read_sums(value: Any, size: int) -> list[Sum]:
    sums: list[Sum] = []
    at = 0
    for start, end, crc in value:
        if {type(start), type(end), type(crc)} != {int} or not at <= start < end <= size:
            raise ValueError("its spans are out of order")
        sums.append((start, end, crc))
        at = end
    return sums
