"""The open part file of one version of an object: bytes at their offsets, synced, hashed."""

from __future__ import annotations

import os
import threading

from .checksums import Digests


class Body:
    """The open part file of one version; closed by whoever uses it last."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.users = 0
        self.dead = False
        self._lost: OSError | None = None

    def sync(self) -> None:
        """Put the bytes on the disk. Raises OSError, and the same one from then on.

        After an error Linux counts pages as clean that never reached the disk, and tells of it
        once: no later fsync can be believed.
        """
        if self._lost is not None:
            raise self._lost
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            self._lost = error
            raise

    def close_if_unused(self) -> None:
        if self.dead and not self.users and self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def hash_up_to(descriptor: int, digests: Digests, end: int, buffer: memoryview) -> None:
    """Read what follows the hashed bytes, up to `end`, and hash it. Raises OSError."""
    while (left := end - digests.position) > 0:
        count = read_at(descriptor, buffer[: min(left, len(buffer))], digests.position)
        if not count:
            raise OSError("the partial data is shorter than what was written")
        digests.update(buffer[:count])


_seeking = threading.Lock()


def write_at(descriptor: int, data: memoryview, offset: int) -> int:
    """Write bytes at an offset; return how many were written. Raises OSError."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, offset)
    with _seeking:  # Windows
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)


def read_at(descriptor: int, buffer: memoryview, offset: int) -> int:
    """Read bytes from an offset into a buffer; return how many were read. Raises OSError."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], offset)
    with _seeking:  # Windows
        os.lseek(descriptor, offset, os.SEEK_SET)
        data = os.read(descriptor, len(buffer))
    buffer[: len(data)] = data
    return len(data)
