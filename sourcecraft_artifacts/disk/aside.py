"""Unpacks an archive into a folder beside the partial data, before any file is put in place.

Files in that folder have numbers as names: no name from the archive is used there.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .directory import CANNOT_SYNC, Directory, sync_file
from .inflate import Read, is_compressed, opened
from .members import MOST_MEMBERS, Contents, Form, Name, Stored, arranged, most_bytes
from .tar import Kind, Member, TarReader
from .tar_fields import BLOCK, UnsafeArchive, is_header

SUFFIX = "tree"
_BLOCK = 1 << 20
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_TELL_EVERY = 500
FEW = 100
"""Up to this many files or folders, each is synced by itself."""
_MANY = 30_000
"""After this many members, the rest of the archive is checked before more files are made."""
_LARGEST_EMPTY = 1 << 20
_SIZES_OF_EMPTY = (2 * BLOCK, 20 * BLOCK)
"""The sizes, in bytes, of an empty archive: two blocks, which many programs pad to twenty."""

Check = Callable[[], None]
"""Raises `Cancelled` if the download was cancelled."""


def reader_of(descriptor: int, size: int, check: Check = lambda: None) -> Read:
    """Return a function that reads an archive's decompressed bytes, up to a limit.

    Raises `CannotRead`; the function raises `UnsafeArchive` beyond the limit, and OSError.
    """
    at = 0
    most, came = most_bytes(size), 0

    def stored(count: int) -> bytes:
        nonlocal at
        data = _pread(descriptor, count, at)
        at += len(data)
        return data

    read = opened(stored(BLOCK), stored)
    at = 0

    def bounded(count: int) -> bytes:
        nonlocal came
        check()
        data = read(min(count, _BLOCK))
        came += len(data)
        if came > 2 * most:
            raise UnsafeArchive("it becomes too large")
        return data

    return bounded


def _pread(descriptor: int, count: int, at: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, at)
    os.lseek(descriptor, at, os.SEEK_SET)
    return os.read(descriptor, count)


def may_be_archive(start: bytes) -> bool:
    """Tell quickly, from its first 512 bytes, whether a file can be an archive."""
    return start[:1] == b"\0" or is_compressed(start) or is_header(start)


def is_archive(descriptor: int, size: int, name: Name) -> bool:
    """Tell from its first bytes whether a file is a tar archive, compressed or not.

    An empty archive is all zeros. Such a file counts as one if its name can only be a folder's, or
    if the name may be a folder's and the file has a usual size of empty archives. Raises
    `CannotRead` if the file cannot be decompressed, and OSError.
    """
    if not may_be_archive(_pread(descriptor, BLOCK, 0)):
        return False
    try:
        read, first = reader_of(descriptor, size), b""
        while len(first) < BLOCK and (more := read(BLOCK - len(first))):
            first += more
        if is_header(first):
            return True
        if name.form is not Form.FOLDER or first != bytes(BLOCK):
            return False
        rest = 0
        while more := read(_BLOCK):
            rest += len(more)
            if rest > _LARGEST_EMPTY or more.strip(b"\0"):
                return False
        if name.is_explicit:
            return rest >= BLOCK and rest % BLOCK == 0
        return BLOCK + rest in _SIZES_OF_EMPTY
    except UnsafeArchive:
        return False


def is_folder(descriptor: int, size: int, name: Name, check: Check) -> bool:
    """Tell from the names in an archive whether an artifact of this name is to be unpacked."""
    if name.form is Form.FOLDER:
        return True
    found = Contents()
    prefixes = ("/".join(name.base), "/".join(name.base[-1:]))
    try:
        for member in TarReader(reader_of(descriptor, size, check)):
            path = found.name_of(member)
            if member.kind is not Kind.FOLDER:
                found.files[path] = Stored(0)
                lies = any(path == one or path.startswith(f"{one}/") for one in prefixes)
                if not (lies or name.glob):
                    return False
        return arranged(found, name) is not None
    except UnsafeArchive:
        return False


class Aside:
    """The unpacked, numbered files of one archive, in a folder that `remove` deletes."""

    def __init__(self, above: Directory, name: str) -> None:
        self._above = above
        self._name = name
        remove_folder(above, name)
        self.directory = above.child(name, create=True)
        self._count = 0

    def fill(
        self, descriptor: int, size: int, check: Check, tell: Callable[[str], None]
    ) -> Contents:
        """Unpack an archive of `size` bytes; nothing is synced yet.

        Raises `UnsafeArchive`, `CannotRead`, `Cancelled` and OSError; files that were made until
        then stay until `remove`.
        """
        found, left = Contents(), most_bytes(size)
        read = reader_of(descriptor, size, check)
        reader = TarReader(read)
        for member in reader:
            path = found.name_of(member)
            left -= member.size
            if left < 0:
                raise UnsafeArchive("it becomes too large")
            if member.kind is Kind.FILE:
                found.files[path] = self._file(member, reader)
            elif member.kind is Kind.SYMLINK:
                found.files[path] = self._symlink(member)
            elif member.kind is Kind.HARD_LINK:
                original = found.original(member)
                left -= original.size
                found.files[path] = self._copy(original, check)
            if found.count == _MANY:
                _count_all(descriptor, size, check)
            if found.count % _TELL_EVERY == 0:
                tell(f"unpacking, {found.count:,} so far")
        while read(_BLOCK):
            pass  # the decompressor verifies the checksum at the end of its data
        return found

    def _next(self) -> str:
        self._count += 1
        return str(self._count)

    def _file(self, member: Member, reader: TarReader) -> Stored:
        digest = hashlib.sha256()
        descriptor = self.directory.open(self._next(), _CREATE, member.mode)
        try:
            for piece in reader.content():
                digest.update(piece)
                while piece:
                    piece = piece[os.write(descriptor, piece) :]
            return _finished(descriptor, self._count, digest, member.mtime_ns)
        finally:
            os.close(descriptor)

    def _copy(self, original: Stored, check: Check) -> Stored:
        """Make another file with the same bytes."""
        if original.target is not None:
            self.directory.symlink(original.target, self._next())
            return original._replace(number=self._count)
        digest = hashlib.sha256()
        source = self.directory.open(str(original.number), os.O_RDONLY)
        try:
            descriptor = self.directory.open(self._next(), _CREATE, original.mode)
            try:
                while block := os.read(source, _BLOCK):
                    check()
                    digest.update(block)
                    piece = memoryview(block)
                    while piece:
                        piece = piece[os.write(descriptor, piece) :]
                return _finished(descriptor, self._count, digest, original.mtime_ns)
            finally:
                os.close(descriptor)
        finally:
            os.close(source)

    def _symlink(self, member: Member) -> Stored:
        if "\0" in member.target or not member.target:
            raise UnsafeArchive(f"the link {member.name} in it leads nowhere")
        self.directory.symlink(member.target, self._next())
        return Stored(self._count, target=member.target)

    def sync(self) -> None:
        """Sync all files. Raises OSError.

        A few files are synced one by one: syncing the file system could wait for the data of
        other programs.
        """
        if self._count > FEW and sync_file_system(self.directory):
            return
        for number in range(1, self._count + 1):
            found = self.directory.lstat(str(number))
            if found is not None and stat.S_ISREG(found.st_mode):
                descriptor = self.directory.open(str(number), os.O_RDONLY)
                try:
                    sync_file(descriptor)
                finally:
                    os.close(descriptor)

    def remove(self) -> None:
        """Remove the folder with what is left in it."""
        self.directory.close()
        remove_folder(self._above, self._name)


def _count_all(descriptor: int, size: int, check: Check) -> None:
    """Check the whole archive's size and number of members. Raises `UnsafeArchive`."""
    left = most_bytes(size)
    for number, member in enumerate(TarReader(reader_of(descriptor, size, check)), start=1):
        left -= member.size
        if left < 0:
            raise UnsafeArchive("it becomes too large")
        if number > MOST_MEMBERS:
            raise UnsafeArchive(f"it has more than {MOST_MEMBERS:,} members")


def _finished(descriptor: int, number: int, digest: Any, mtime_ns: int) -> Stored:
    """Set a file's modification time, and return its record."""
    if os.utime in os.supports_fd:
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
    found = os.fstat(descriptor)
    mode = stat.S_IMODE(found.st_mode)
    return Stored(number, found.st_size, digest.hexdigest(), mode, found.st_mtime_ns)


def remove_folder(above: Directory, name: str) -> None:
    """Remove a folder of numbered files if it exists; errors are ignored."""
    with suppress(OSError):
        if above.lstat(name) is None:
            return
        with above.child(name, create=False) as folder:
            for one in folder.listdir():
                folder.unlink(one)
        above.rmdir(name)


def sync_file_system(directory: Directory) -> bool:
    """Sync the file system of a folder; return False if that is not possible. Raises OSError.

    For thousands of small files this is faster than to sync each of them. Only Linux can do it.
    """
    number = directory.descriptor
    if number is None:
        return False
    import ctypes  # slow to import, and few runs need it

    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError, TypeError):
        return False
    if syncfs(number):
        error = ctypes.get_errno()
        if error in CANNOT_SYNC:
            return False
        raise OSError(error, os.strerror(error))
    return True
