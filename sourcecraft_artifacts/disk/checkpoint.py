"""The checkpoint of partial data: which bytes of which version of an object are on disk.

`Checkpoint` is what a checkpoint file says, and `CheckpointFile` decides what it may say.
"""

import json
import os
import re
import stat
import zlib
from contextlib import suppress
from typing import Any, NamedTuple, Self

from ..http.checksums import ALGORITHMS
from ..http.ranges import Version
from .body import Body
from .directory import Directory
from .files import write_file
from .hashing import Hashing
from .spans import Span
from .sums import Read, Sum, Sums

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
    def from_bytes(cls, content: bytes) -> Self:
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


class CheckpointFile:
    """Knows the checksums of a part's bytes, and writes them to the file `name`.

    The first call is `begin`, for each version.
    """

    _version: Version
    _hashing: Hashing
    _sums: Sums
    _synced: list[Sum]
    """The checksums of synced bytes."""
    _written: list[Sum]
    """The checksums in the file."""

    def __init__(self, directory: Directory, name: str) -> None:
        self._directory, self._name = directory, name
        self._may_exist = False

    def begin(self, version: Version, hashing: Hashing, found: Sums | None = None) -> None:
        """Begin a version; an earlier run left a file, of which the checksums `found` match."""
        self._version, self._hashing = version, hashing
        self._sums = Sums(version.size or 0) if found is None else found
        self._synced, self._written = [], list(found or ())
        self._may_exist = found is not None

    def note(self, data: memoryview, at: int) -> None:
        """Compute the checksums of bytes that have just been written at an offset."""
        self._sums.add(data, at)

    def learn(self, read: Read, done: list[Span], most: int) -> None:
        """Compute missing checksums of the spans that are `done`; read at most `most` bytes.

        Raises OSError.
        """
        self._sums.learn(read, done, most)

    def cut(self, end: int) -> None:
        """Forget the checksums of bytes from an offset on, which are dropped."""
        self._sums.cut(end)

    def save(self) -> None:
        """Write the file if there are new checksums. Raises OSError; an older file then stays."""
        if list(self._sums) != self._written:
            self._write(sync=False)

    def save_synced(self) -> None:
        """Write and sync the file, after all bytes that have a checksum were synced.

        Raises OSError.
        """
        self._synced = list(self._sums)
        self._write(sync=True)

    def retract(self) -> bool:
        """Write what was synced before a sync failed; tell whether there was something.

        Later bytes may be in the system's memory alone, although they can be read.
        """
        self._sums = Sums(self._version.size or 0, self._synced)
        if self._synced:
            with suppress(OSError):
                self._write(sync=False)
                return True
        self.remove()
        return False

    def remove(self) -> None:
        """Remove the file, if there is one; errors are ignored."""
        if self._may_exist:
            self._may_exist = False
            with suppress(OSError):
                self._directory.unlink(self._name)

    def _write(self, *, sync: bool) -> None:
        sums = list(self._sums)
        if sums:
            saved = Checkpoint(self._version, self._hashing.expected, sums)
            self._may_exist = True
            write_file(self._directory, self._name, saved.to_bytes(), sync=sync)
            self._written = sums
