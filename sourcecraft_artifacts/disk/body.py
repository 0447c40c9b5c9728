"""The open part file of one version of an object: bytes at their offsets, synced, closed once."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from .directory import sync_file


class Body:
    """The open part file of one version."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._lost: OSError | None = None

    def close(self) -> None:
        """Close it; harmless twice."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def sync(self) -> None:
        """Put the bytes on the disk. Raises OSError, and the same one from then on.

        After an error Linux counts pages as clean that never reached the disk, and tells of it
        once: no later fsync can be believed.
        """
        if self._lost is not None:
            raise self._lost
        try:
            sync_file(self.descriptor)
        except OSError as error:
            self._lost = error
            raise

    @property
    def is_lost(self) -> bool:
        """Whether a sync failed: what was written is not known to reach the disk."""
        return self._lost is not None


def start_writing(descriptor: int, start: int = 0, count: int = 0) -> None:
    """Have the system begin to put bytes from an offset on, or all, on the disk.

    That is what this advice does on Linux, before it drops pages that are on the disk already.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, start, count, os.POSIX_FADV_DONTNEED)


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
