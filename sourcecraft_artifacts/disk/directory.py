"""One open folder; all operations in it take a single name, so that no symlink is followed."""

import errno
import os
import stat
from contextlib import suppress
from functools import cached_property
from typing import Self

from ..errors import MOVE_AWAY, Refused
from ..text import visible
from .locks import Lock, try_lock

_HAS_DIR_FD = {os.open, os.stat, os.mkdir, os.rename, os.unlink, os.rmdir} <= os.supports_dir_fd
# Without O_NONBLOCK, opening a FIFO would wait for ever.
_SAFELY: int = (
    getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)
_IS_LINK = {errno.ELOOP, errno.EMLINK}  # FreeBSD uses EMLINK when O_NOFOLLOW refuses a symlink
CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_CLOSED = 2**31 - 1  # not a descriptor; None, and at times -1, would mean the current folder
_NAME_SURROGATE = 0x20000000  # the reparse tags of junctions and mount points have this bit


class _Handle:
    """A descriptor, which is closed when the last reference to it is gone.

    If it were closed while another thread is about to use its number, the next folder to be opened
    could get that number, and the thread would work in the wrong folder.
    """

    __slots__ = ("number",)

    def __init__(self, number: int | None) -> None:
        self.number = number

    def __del__(self) -> None:
        if self.number is not None and self.number != _CLOSED:
            os.close(self.number)


class Directory:
    """One open folder; operations use its descriptor, so that it does not matter if it is moved.

    Names are single components. Raises OSError, or `Refused` if something is in the way: a symlink,
    which is never followed, or a file instead of a folder.
    """

    def __init__(self, path: str, descriptor: int | None) -> None:
        self.path = path
        self._handle = _Handle(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        """Open a file, for this process alone, by its descriptor. Raises `Refused` for a link."""
        handle = self._handle
        try:
            return os.open(self._at(name), flags | _SAFELY, mode, dir_fd=handle.number)
        except OSError as error:
            if error.errno in _IS_LINK:
                raise self._in_the_way(name) from error
            raise

    @property
    def descriptor(self) -> int | None:
        """The descriptor; None on systems that cannot open files relative to a folder."""
        return self._handle.number

    def lstat(self, name: str) -> os.stat_result | None:
        """Return the `lstat` of a name; None if nothing is there."""
        handle = self._handle
        try:
            return os.lstat(self._at(name), dir_fd=handle.number)
        except FileNotFoundError:
            return None

    @cached_property
    def group_for_new_files(self) -> int | None:
        """The group that the folder gives to new files by its set-group-ID bit, if it has that."""
        with suppress(OSError):
            found = self.stat()
            return found.st_gid if found.st_mode & stat.S_ISGID else None
        return None

    def stat(self) -> os.stat_result:
        """Return the `stat` of the folder itself."""
        handle = self._handle
        return os.stat(self.path) if handle.number is None else os.fstat(handle.number)

    def child(self, name: str, *, create: bool) -> "Directory":
        """Open a folder in this one; with `create`, create it if it is absent.

        Raises `Refused` for a symlink or a file, and OSError: `FileNotFoundError` without `create`.
        """
        if create:
            handle = self._handle
            with suppress(FileExistsError):
                os.mkdir(self._at(name), dir_fd=handle.number)
        return self._enter(name)

    def _enter(self, name: str) -> "Directory":
        handle, flags = self._handle, os.O_RDONLY | os.O_DIRECTORY | _SAFELY
        try:
            descriptor = os.open(self._at(name), flags, dir_fd=handle.number)
        except OSError as error:
            if error.errno == errno.ENOTDIR or error.errno in _IS_LINK:
                raise self._in_the_way(name) from error
            raise
        return Directory(os.path.join(self.path, name), descriptor)

    def replace(self, name: str, target: "Directory", target_name: str) -> None:
        """Move a file to a name, atomically; a file or symlink there is replaced, not followed."""
        handle, other = self._handle, target._handle
        os.replace(
            self._at(name),
            target._at(target_name),
            src_dir_fd=handle.number,
            dst_dir_fd=other.number,
        )

    def chmod(self, name: str, mode: int) -> None:
        """Set the permission bits of a plain file."""
        handle = self._handle
        os.chmod(self._at(name), mode, dir_fd=handle.number)

    def chgrp(self, name: str, group: int) -> None:
        """Set the group of a file, by its number."""
        handle = self._handle
        os.chown(self._at(name), -1, group, dir_fd=handle.number, follow_symlinks=False)

    def unlink(self, name: str, missing_ok: bool = True) -> None:
        """Remove a file, or a symlink itself."""
        handle = self._handle
        try:
            os.unlink(self._at(name), dir_fd=handle.number)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def readlink(self, name: str) -> str:
        """Return where a symlink leads."""
        handle = self._handle
        return os.readlink(self._at(name), dir_fd=handle.number)

    def symlink(self, target: str, name: str) -> None:
        """Make a symlink. Raises `FileExistsError` if the name exists."""
        handle = self._handle
        os.symlink(target, self._at(name), dir_fd=handle.number)

    def rmdir(self, name: str) -> None:
        """Remove an empty folder."""
        handle = self._handle
        os.rmdir(self._at(name), dir_fd=handle.number)

    def listdir(self) -> list[str]:
        """Return the names in this folder, in no order."""
        handle = self._handle
        try:
            return os.listdir(self.path if handle.number is None else handle.number)
        except OSError as error:
            error.filename = self.path  # or it would be the descriptor
            raise

    def sync(self) -> None:
        """Sync the names in the folder, if its file system can."""
        handle = self._handle
        if handle.number is not None:
            sync_file(handle.number)

    def lock(self) -> Lock:
        """Try to take an exclusive lock on the folder itself, which lasts until it is closed."""
        handle = self._handle
        return Lock.NONE if handle.number is None else try_lock(handle.number)

    def close(self) -> None:
        """Close the folder when operations in progress have ended; later ones fail."""
        if self._handle.number is not None:
            self._handle = _Handle(_CLOSED)

    def _at(self, name: str) -> str:
        if name in ("", ".", "..") or "/" in name:
            raise ValueError(f"{name!r} is not one path component")
        return name

    def _in_the_way(self, name: str) -> Refused:
        found = self.lstat(name)
        is_link = found is None or _is_link(found)
        what = "a symlink, which is never followed" if is_link else "not a folder"
        return Refused(
            f"{visible(os.path.join(self.path, name))} is {what}",
            hint=MOVE_AWAY,
        )


class PathDirectory(Directory):
    """A folder known by its path alone, for systems that cannot open files relative to a folder.

    Each operation first looks for links from the output folder down. Such systems (Windows) leave
    no way to notice a link that somebody puts there after that look.
    """

    def __init__(self, path: str, above: "PathDirectory | None" = None) -> None:
        super().__init__(path, None)
        self._above = above

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        found = self.lstat(name)
        if found is not None and _is_link(found):
            raise self._in_the_way(name)
        return super().open(name, flags, mode)

    def listdir(self) -> list[str]:
        self._check()
        return super().listdir()

    def _enter(self, name: str) -> "PathDirectory":
        below = PathDirectory(self._at(name), self)
        below._check()
        return below

    def _at(self, name: str) -> str:
        if os.path.basename(name) != super()._at(name):
            raise ValueError(f"{name!r} is not one path component")
        self._check()
        return os.path.join(self.path, name)

    def _check(self) -> None:
        folder = self
        while (above := folder._above) is not None:
            found = os.lstat(folder.path)
            if _is_link(found) or not stat.S_ISDIR(found.st_mode):
                raise above._in_the_way(os.path.basename(folder.path))
            folder = above


def _is_link(found: os.stat_result) -> bool:
    """Tell whether a file is a symlink, or a junction of Windows."""
    tag: int = getattr(found, "st_reparse_tag", 0)
    return stat.S_ISLNK(found.st_mode) or bool(tag & _NAME_SURROGATE)


def sync_file(descriptor: int) -> None:
    """Sync an open file, or the names in an open folder. Raises OSError.

    Some network and FUSE file systems cannot sync; that is no error.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def open_root(path: str) -> Directory:
    """Open a folder that the user named, which may be a symlink. Raises OSError."""
    if _HAS_DIR_FD:
        return Directory(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY))
    if not stat.S_ISDIR(os.stat(path).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return PathDirectory(path)


def refuse_special(path: str) -> None:
    """Raise `Refused` if a path that the user named exists and is not a plain file.

    That is a folder, a FIFO, a device, a link to one of these, or a path in /dev or /proc, such as
    /dev/stdout, which stands for an open file.
    """
    place = path
    for _ in range(40):  # as many links as Linux follows
        folder = os.path.realpath(os.path.dirname(place) or ".")
        if folder == "/dev" or f"{folder}/".startswith("/proc/"):
            break
        if not os.path.islink(place):
            if not os.path.lexists(place) or os.path.isfile(place):
                return
            break
        place = os.path.join(os.path.dirname(place), os.readlink(place))
    raise Refused(f"{visible(path)} is not a plain file")
