"""A second process that makes small files, as one alone is kept busy by thousands of them.

Threads are of no use for this: each call to the system is so short that they wait for one another.
The process gets open folders, and names and contents of files, through a socket; it opens no path
and ends when the socket is closed, or before its next file if the first process is gone.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress

CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
MOST_FOLDERS = 32
"""The most folders that one message may have: systems limit the descriptors in it."""
_FLAGS = CREATE | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
CAN_SET_TIME = os.utime in os.supports_fd
_HEAD = struct.Struct("=II")
_IS_POSSIBLE = hasattr(os, "posix_spawn") and hasattr(socket, "send_fds")

File = tuple[int, bytes, int, int, int]
"""The index of its folder, its name, mode, time in nanoseconds, and size in bytes."""
Made = tuple[int, str, int, int]
"""The size, SHA-256, permission bits and time of a file that was made."""


def write(descriptor: int, content: bytes | memoryview, mtime_ns: int) -> Made:
    """Write a file that was just created, and close it. Raises OSError."""
    try:
        count = os.write(descriptor, content) if content else 0
        while count < len(content):
            count += os.write(descriptor, content[count:])
        if CAN_SET_TIME:
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    sha256 = hashlib.sha256(content).hexdigest()
    return found.st_size, sha256, found.st_mode & 0o7777, found.st_mtime_ns


class SecondProcess:
    """The process, seen from the first one; `busy` while it has files to make."""

    def __init__(self, link: socket.socket, process: int) -> None:
        self._link, self._process = link, process
        self.busy = False

    @classmethod
    def start(cls) -> SecondProcess | None:
        """Start it; return None where that is impossible, or of no use."""
        if not (_IS_POSSIBLE and _is_python(sys.executable)) or _processors() < 2:
            return None
        here, there = socket.socketpair()
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        code = f"import sys; sys.path.insert(0, {package!r})\nfrom {__name__} import serve; serve()"
        try:
            with there:
                process = os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-I", "-S", "-c", code],
                    {name: one for name, one in os.environ.items() if name.startswith("LD_")},
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, there.fileno(), 0),
                        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                        (os.POSIX_SPAWN_DUP2, 1, 2),
                    ],
                    setpgroup=0,  # so that Ctrl-C is for the first process alone
                )
        except OSError:
            here.close()
            return None
        return cls(here, process)

    def give(self, folders: Sequence[int], files: list[File], content: bytes) -> None:
        """Have files made in open folders; `take` returns what became of them. Raises OSError."""
        text = marshal.dumps(files)
        socket.send_fds(self._link, [_HEAD.pack(len(text), len(content))], folders)
        self._link.sendall(text)
        self._link.sendall(content)
        self.busy = True

    def is_done(self) -> bool:
        """Tell whether `take` would not wait."""
        with suppress(ConnectionError):
            try:
                self._link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
        return True

    def take(self) -> list[Made | int]:
        """Return what was made, up to the first error, which is a number. Raises OSError."""
        self.busy = False
        (size,) = struct.unpack("=I", _received(self._link, 4))
        told: list[Made | int] = marshal.loads(_received(self._link, size))
        return told

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self._link.close()
        with suppress(OSError):  # a program that uses this library may ignore the end of processes
            os.waitpid(self._process, 0)


def _is_python(program: str | None) -> bool:
    """Tell whether the running program is Python itself, and not one that embeds it."""
    return bool(program) and os.path.basename(str(program)).startswith("python")


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _received(link: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = link.recv_into(view)
        if not count:
            raise ConnectionResetError
        view = view[count:]
    return bytes(data)


def serve() -> None:
    """Make files for the process that started this one, until it closes the socket."""
    first = os.getppid()
    with socket.socket(fileno=0) as link:
        while True:
            head, folders, _, _ = socket.recv_fds(link, _HEAD.size, MOST_FOLDERS)
            if len(head) < _HEAD.size:
                return
            length, size = _HEAD.unpack(head)
            files = marshal.loads(_received(link, length))
            told = marshal.dumps(_made(folders, files, memoryview(_received(link, size)), first))
            for folder in folders:
                os.close(folder)
            link.sendall(struct.pack("=I", len(told)) + told)


def _made(
    folders: list[int], files: list[File], content: memoryview, first: int
) -> list[Made | int]:
    told: list[Made | int] = []
    at = 0
    for index, name, mode, mtime_ns, size in files:
        if os.getppid() != first:
            os._exit(1)
        try:
            descriptor = os.open(name, _FLAGS, mode, dir_fd=folders[index])
            told.append(write(descriptor, content[at : at + size], mtime_ns))
        except OSError as error:
            return [*told, error.errno or 0]
        at += size
    return told
