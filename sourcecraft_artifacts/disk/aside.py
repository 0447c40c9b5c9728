"""Unpacks an archive into a folder beside the partial data, before any file is put in place.

Each folder of the archive is a folder there that has a number as its name, whatever lies in which
one: no path from the archive is used there. So a new folder can be put in place by one rename, and
thousands of files in one folder, which some file systems are slow to make, are only made if the
archive has them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count, filterfalse

from .archives import PIECE, Check, reader_of
from .directory import CANNOT_SYNC, Directory, sync_file
from .members import MOST_MEMBERS, Contents, Stored, check_name, most_bytes, normal_name
from .tar import Kind, Member, TarReader
from .tar_fields import UnsafeArchive

SUFFIX = "tree"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_TELL_EVERY = 500
FEW = 100
"""Up to this many files or folders, each is synced by itself."""
_MANY = 30_000
"""After this many members, the rest of the archive is checked before more files are made."""
_MOST_OPEN = 16
"""How many of the folders are kept open."""
_CAN_SET_TIME = os.utime in os.supports_fd


class Aside:
    """The unpacked files of one archive, in a folder that `remove` deletes."""

    def __init__(self, above: Directory, name: str) -> None:
        self._above = above
        self._name = name
        remove_folder(above, name)
        self._directory = above.child(name, create=True)
        self._numbers: dict[str, int] = {}
        """The numbers of the archive's folders that have files."""
        self._open: dict[int, Directory] = {}
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
            if member.kind is not Kind.FOLDER:
                original = found.original(member) if member.kind is Kind.HARD_LINK else None
                left -= original.size if original is not None else 0
                found.files[path] = self._member(path, member, reader, original, check)
            if found.count == _MANY:
                _count_all(descriptor, size, check)
            if found.count % _TELL_EVERY == 0:
                tell(f"unpacking, {found.count:,} so far")
        while read(PIECE):
            pass  # the decompressor verifies the checksum at the end of its data
        return found

    def folder(self, number: int) -> Directory:
        """Return one of the numbered folders, which stays open for a while."""
        found = self._open.get(number)
        if found is None:
            if len(self._open) >= _MOST_OPEN:
                self.close_folders()
            found = self._open[number] = self._directory.child(str(number), create=False)
        return found

    def move_folder(self, number: int, target: Directory, name: str) -> bool:
        """Move a whole numbered folder to a name that is free; return whether that was possible."""
        if (kept := self._open.pop(number, None)) is not None:
            kept.close()
        try:
            self._directory.replace(str(number), target, name)
        except OSError:
            return False  # something is there by now; what it is is found when files are moved
        return True

    def close_folders(self) -> None:
        """Close the numbered folders that were kept open."""
        while self._open:
            self._open.popitem()[1].close()

    def _member(
        self,
        path: str,
        member: Member,
        reader: TarReader,
        original: Stored | None,
        check: Check,
    ) -> Stored:
        """Make one file or symlink, under its own name in the numbered folder."""
        above, _, name = path.rpartition("/")
        check_name((), name, portable=False)
        number = self._numbers.get(above)
        if number is None:
            number = self._numbers[above] = len(self._numbers) + 1
            self._open_new(number)
        self._count += 1
        try:
            if original is not None and original.target is None:
                return self._copy(member.target, original, number, name, check)
            folder = self.folder(number)
            if member.kind is Kind.FILE:
                return _written(reader.content(), member, folder, number, name)
            target = member.target if original is None else original.target
            if not target or "\0" in target:
                raise UnsafeArchive(f"the link {member.name} in it leads nowhere")
            folder.symlink(target, name)
            return Stored(number, target=target)
        except FileExistsError:
            what = "differs from another only by case or normalisation"
            raise UnsafeArchive(f"{path} in it {what}") from None
        except UnicodeEncodeError:
            what = "cannot be written in this system's encoding"
            raise UnsafeArchive(f"{path} in it {what}") from None

    def _open_new(self, number: int) -> None:
        if len(self._open) >= _MOST_OPEN:
            self.close_folders()
        self._open[number] = self._directory.child(str(number), create=True)

    def _copy(self, target: str, original: Stored, number: int, name: str, check: Check) -> Stored:
        """Make another file with the bytes of an earlier one, which is at `target`."""
        same = normal_name(target).rpartition("/")[2]
        source = _open_to_read(self.folder(original.number), same)
        try:
            blocks = _blocks(source, check)
            return _written(blocks, original, self.folder(number), number, name)
        finally:
            os.close(source)

    def sync(self) -> None:
        """Sync all files. Raises OSError.

        A few files are synced one by one: syncing the file system could wait for the data of
        other programs.
        """
        if self._count > FEW and sync_file_system(self._directory):
            return
        for number in self._numbers.values():
            folder = self.folder(number)
            for name in folder.listdir():
                found = folder.lstat(name)
                if found is not None and stat.S_ISREG(found.st_mode):
                    descriptor = _open_to_read(folder, name)
                    try:
                        sync_file(descriptor)
                    finally:
                        os.close(descriptor)

    def remove(self) -> None:
        """Remove the folder with what is left in it."""
        self.close_folders()
        self._directory.close()
        remove_folder(self._above, self._name)


def _written(
    pieces: Iterable[bytes | memoryview],
    like: Member | Stored,
    folder: Directory,
    number: int,
    name: str,
) -> Stored:
    """Make a file with the mode and time of another one, and return its record."""
    digest = hashlib.sha256()
    descriptor = folder.open(name, _CREATE, like.mode)
    try:
        for piece in pieces:
            digest.update(piece)
            while piece:
                piece = memoryview(piece)[os.write(descriptor, piece) :]
        if _CAN_SET_TIME:
            os.utime(descriptor, ns=(like.mtime_ns, like.mtime_ns))
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    mode = stat.S_IMODE(found.st_mode)
    return Stored(number, found.st_size, digest.hexdigest(), mode, found.st_mtime_ns)


def _blocks(source: int, check: Check) -> Iterator[bytes]:
    while block := os.read(source, PIECE):
        check()
        yield block


def _open_to_read(folder: Directory, name: str) -> int:
    """Open one of our files, whose mode may not let its own owner read it."""
    try:
        return folder.open(name, os.O_RDONLY)
    except PermissionError:
        found = folder.lstat(name)
        if found is None:
            raise
        mode = stat.S_IMODE(found.st_mode)
        folder.chmod(name, mode | stat.S_IRUSR)
        try:
            return folder.open(name, os.O_RDONLY)
        finally:
            folder.chmod(name, mode)


def _count_all(descriptor: int, size: int, check: Check) -> None:
    """Check the whole archive's size and number of members. Raises `UnsafeArchive`."""
    left = most_bytes(size)
    for number, member in enumerate(TarReader(reader_of(descriptor, size, check)), start=1):
        left -= member.size
        if left < 0:
            raise UnsafeArchive("it becomes too large")
        if number > MOST_MEMBERS:
            raise UnsafeArchive(f"it has more than {MOST_MEMBERS:,} members")


def remove_folder(above: Directory, name: str) -> None:
    """Remove a folder of numbered folders if it exists; errors are ignored.

    After a loss of power one of them may be there that had been moved to its place, with others in
    it. Folders are then moved up before they are removed, so that no depth is too much.
    """
    with suppress(OSError):
        if above.lstat(name) is None:
            return
        with above.child(name, create=False) as directory:
            left = directory.listdir()
            taken = set(left)
            free = filterfalse(taken.__contains__, map("moved-{}".format, count()))
            while left:
                one = left.pop()
                found = directory.lstat(one)
                if found is None or not stat.S_ISDIR(found.st_mode):
                    directory.unlink(one)
                    continue
                with directory.child(one, create=False) as folder:
                    for inner in _remove_files(folder):
                        left.append(next(free))
                        folder.replace(inner, directory, left[-1])
                directory.rmdir(one)
        above.rmdir(name)


def _remove_files(folder: Directory) -> Iterator[str]:
    """Remove the files in a folder, and yield the names of the folders in it."""
    for name in folder.listdir():
        try:
            folder.unlink(name)
        except OSError:
            found = folder.lstat(name)
            if found is None or not stat.S_ISDIR(found.st_mode):
                raise
            yield name


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
