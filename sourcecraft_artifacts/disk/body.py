"""The open part file of one version of an object: bytes are written at their offsets."""

from __future__ import annotations

import os
import threading

from .directory import sync_file


class Body:
    """The open part file of one version."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._lost: OSError | None = None

    def write(self, data: memoryview, at: int) -> None:
        """Write all the bytes at an offset. Raises OSError."""
        written = write_at(self.descriptor, data, at)
        while written < len(data):
            written += write_at(self.descriptor, data[written:], at + written)

    def read(self, buffer: memoryview, at: int) -> int:
        """Read bytes from an offset into a buffer; return how many were read. Raises OSError."""
        return read_at(self.descriptor, buffer, at)

    def close(self) -> None:
        """Close it; it may be closed already."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def sync(self) -> None:
        """Sync the bytes. Raises OSError; after an error, each later call raises it again.

        Linux reports an error once and then counts the pages as clean, although they never reached
        the disk: a later fsync that succeeds means nothing.
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
        """Whether a sync failed: the bytes may never reach the disk."""
        return self._lost is not None


def start_writing(descriptor: int, start: int = 0, count: int = 0) -> None:
    """Ask the system to begin writing to the disk `count` bytes from `start`, or all (0).

    On Linux this advice does that, and then drops pages that are on the disk already.
    """
    try:  # noqa: SIM105 - for a small file `suppress` takes as long as the call
        os.posix_fadvise(descriptor, start, count, os.POSIX_FADV_DONTNEED)
    except (AttributeError, OSError):  # it is advice, and not every system takes it
        pass


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
