"""Unpacks an archive into a folder beside the partial data, before any file is put in place.

There the files lie as in the archive, so that a new folder is put in place by one rename with all
that is in it. Folders are entered one component at a time, and no symlink is followed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial

from ..errors import Refused
from .archives import PIECE, Check, reader_of
from .directory import Directory, sync_file
from .file_system import FEW, sync_file_system
from .files import fit_in
from .leftovers import remove_folder
from .members import MOST_MEMBERS, Contents, check_name, most_bytes, normal_name
from .records import Stored
from .tar import Kind, Member, TarReader
from .tar_fields import UnsafeArchive
from .tree import refuse_too_long

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_TELL_EVERY = 500
_MANY = 30_000
"""After this many members, the rest of the archive is checked before more files are made."""
_MOST_OPEN = 64
"""How many of the folders are kept open."""
_TOP = "0"
"""The name of the folder for what is at the top of the archive."""
_CAN_SET_TIME = os.utime in os.supports_fd


class Aside:
    """The unpacked files of one archive, in a folder that `remove` deletes."""

    def __init__(self, above: Directory, name: str) -> None:
        self._above = above
        self._name = name
        remove_folder(above, name)
        self._directory = above.child(name, create=True)
        self._folders: set[str] = set()
        """The archive's folders that have files, with those above them."""
        self._open: dict[str, Directory] = {}
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
            original = None
            if member.kind is Kind.HARD_LINK:
                original = found.original(member)
                left -= original.size
            if left < 0:
                raise UnsafeArchive("it becomes too large")
            if found.count == _MANY:
                _count_all(descriptor, size, check)
            if found.count % _TELL_EVERY == 0:
                tell(f"unpacking, {found.count:,} so far")
            if member.kind is Kind.FILE:
                found.files[path] = self._put(path, partial(_written, reader.content(), member))
            elif member.kind is not Kind.FOLDER:
                found.files[path] = self._link(path, member, original, check)
        while read(PIECE):
            pass  # the decompressor verifies the checksum at the end of its data
        self._count = len(found.files)
        return found

    def folder(self, path: str) -> Directory:
        """Return a folder of the archive, which stays open for a while; it is made if absent."""
        if (found := self._open.get(path)) is not None:
            return found
        refuse_too_long(path)
        names = path.split("/") if path else []
        depth = len(names)
        while depth and (found := self._open.get("/".join(names[:depth]))) is None:
            depth -= 1
        found = found or self._open.get("") or self._enter("", self._directory, _TOP)
        for at in range(depth, len(names)):
            found = self._enter("/".join(names[: at + 1]), found, names[at])
        return found

    def _enter(self, path: str, above: Directory, name: str) -> Directory:
        is_new = path not in self._folders
        if is_new:
            check_name((), name, portable=False)
        found = above.child(name, create=is_new)
        if len(self._open) >= _MOST_OPEN:
            self._open.pop(next(iter(self._open))).close()
        self._folders.add(path)
        self._open[path] = found
        return found

    def move_folder(self, path: str, target: Directory, name: str) -> bool:
        """Move a folder with all that is in it to a name; return whether that was possible.

        It is not where new files get another group than in this one.
        """
        if target.group_for_new_files != self._directory.group_for_new_files:
            return False
        above, _, own = path.rpartition("/")
        try:
            source = self.folder(above) if own else self._directory
            source.replace(own or _TOP, target, name)
        except OSError:
            return False  # something is there by now; moving the files one by one tells what
        return True

    def move_file(self, folder: Directory, name: str, target: Directory) -> None:
        """Move a file from a numbered folder, also to another file system. Raises OSError."""
        fit_in(folder, name, target, None)
        try:
            folder.replace(name, target, name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._move_by_copy(folder, name, target)

    def _move_by_copy(self, folder: Directory, name: str, target: Directory) -> None:
        """Move a file by way of a synced copy beside its place."""
        copy = f".{self._name}"
        found = folder.lstat(name)
        try:
            if found is not None and stat.S_ISLNK(found.st_mode):
                target.symlink(folder.readlink(name), copy)
            elif found is not None:
                like = Stored(mode=stat.S_IMODE(found.st_mode), mtime_ns=found.st_mtime_ns)
                source = _open_to_read(folder, name)
                try:
                    _written(_blocks(source, lambda: None), like, target, copy)
                finally:
                    os.close(source)
                _sync(target, copy)
            target.replace(copy, target, name)
        except BaseException:
            with suppress(OSError):
                target.unlink(copy)
            raise
        folder.unlink(name)

    def close_folders(self) -> None:
        """Close the folders that were kept open."""
        while self._open:
            self._open.popitem()[1].close()

    def _put(self, path: str, make: Callable[[Directory, str], Stored]) -> Stored:
        """Make one file or symlink in its folder."""
        above, _, name = path.rpartition("/")
        check_name((), name, portable=False)
        try:
            return make(self._open.get(above) or self.folder(above), name)
        except (FileExistsError, Refused):
            what = "differs from another only by case or normalisation"
            if path in self._folders or above not in self._folders:
                what = "is a file and a folder"
            raise UnsafeArchive(f"{path} in it {what}") from None
        except UnicodeEncodeError:
            what = "cannot be written in this system's encoding"
            raise UnsafeArchive(f"{path} in it {what}") from None

    def _link(self, path: str, member: Member, original: Stored | None, check: Check) -> Stored:
        """Make a symlink, or for a hard link another file with the bytes of the `original`.

        A hard link to a symlink is that symlink once more, as `tar` has it.
        """
        if original is not None and original.target is None:
            folder, _, same = normal_name(member.target).rpartition("/")
            source = _open_to_read(self.folder(folder), same)
            try:
                return self._put(path, partial(_written, _blocks(source, check), original))
            finally:
                os.close(source)
        target = member.target if original is None else original.target
        if not target or "\0" in target:
            raise UnsafeArchive(f"the link {member.name} in it leads nowhere")
        return self._put(path, partial(_linked, target))

    def sync(self) -> None:
        """Sync all files. Raises OSError.

        A few files are synced one by one: syncing the file system could wait for the data of
        other programs.
        """
        if self._count > FEW and sync_file_system(self._directory):
            return
        for path in self._folders:
            folder = self.folder(path)
            for name in folder.listdir():
                found = folder.lstat(name)
                if found is not None and stat.S_ISREG(found.st_mode):
                    _sync(folder, name)

    def remove(self) -> None:
        """Remove the folder with what is left in it."""
        self.close_folders()
        self._directory.close()
        remove_folder(self._above, self._name)


def _written(
    pieces: Iterable[bytes | memoryview], like: Member | Stored, folder: Directory, name: str
) -> Stored:
    """Make a file with the mode and time of another one, and return its record."""
    digest = hashlib.sha256()
    descriptor = folder.open(name, _CREATE, like.mode)
    try:
        for piece in pieces:
            digest.update(piece)
            while piece:
                piece = piece[os.write(descriptor, piece) :]
        if _CAN_SET_TIME:
            os.utime(descriptor, ns=(like.mtime_ns, like.mtime_ns))
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    mode = stat.S_IMODE(found.st_mode)
    return Stored(found.st_size, digest.hexdigest(), mode, found.st_mtime_ns)


def _linked(target: str, folder: Directory, name: str) -> Stored:
    folder.symlink(target, name)
    return Stored(target=target)


def _sync(folder: Directory, name: str) -> None:
    descriptor = _open_to_read(folder, name)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


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
