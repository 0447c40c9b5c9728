"""Tells which run a file in a state folder belongs to, by a token, and whether that run is active.

Here a run is one run of this tool (a process, or a call of the library), not one of CI. A lock
keeps runs apart if there are locks. Without locks, two runs into one folder each work on files of
their own, whose names have their tokens, and take over files of runs that have ended.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from functools import cache
from hashlib import sha256

from ..errors import Refused
from .directory import Directory
from .files import read_file

_FORGOTTEN = 300.0
"""Seconds without change after which a file of a run on an unknown machine is abandoned."""
_TOKEN = r"(?P<place>[0-9a-f]{8})_(?P<process>\d+)_(?P<started>\d+)_[0-9a-f]{8}"
_MARK = ".run"
_here: set[str] = set()
"""The tokens of the active runs in this process."""


class Run:
    """One run of this tool, as other runs into the same folder see it.

    `alone` means that a lock keeps other runs out: files of others then belong to runs that have
    ended, unless such a run (without a lock) can be seen to be active.
    """

    def __init__(self) -> None:
        self.alone = True
        self.marks: Directory | None = None
        """The folder in which each active run has a mark, if it exists."""
        number = os.getpid()
        self.token = f"{_place()}_{number}_{_started(number)}_{os.urandom(4).hex()}"
        self._marked = False
        _here.add(self.token)

    def enter(self, marks: Directory) -> None:
        """Create this run's mark, which also keeps the folder from being removed.

        Raises OSError; `FileNotFoundError` if the folder was just removed.
        """
        mark = marks.open(self.token + _MARK, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            self.marks, self._marked = marks, True
            os.write(mark, b"%d" % os.fstat(mark).st_ino)
        finally:
            os.close(mark)

    def leave(self) -> None:
        """Remove the mark: others may then take over this run's files."""
        _here.discard(self.token)
        if self.marks is not None and self._marked:
            with suppress(OSError):
                self.marks.unlink(self.token + _MARK)
            self._marked = False

    def is_over(self, token: str, folder: Directory, *names: str) -> bool:
        """Tell whether the run that left files of these names in a folder has ended."""
        marked = self._has_mark(token)
        goes_on = None if marked is False else _goes_on(token)
        if marked is False or goes_on is False:
            return True
        if goes_on:
            return self.alone and marked is None
        # Windows itself protects a file that is open.
        return self.alone or os.name == "nt" or not _is_fresh(folder, names)

    def has_died(self, token: str, folder: Directory, name: str) -> bool:
        """Tell the same for a file that a run keeps for a moment, with or without a mark."""
        return _goes_on(token) is False or not _is_fresh(folder, (name,))

    def _has_mark(self, token: str) -> bool | None:
        """Tell whether a run has a mark; None if runs have no marks here."""
        if self.marks is None:
            return None
        found = self.marks.lstat(token + _MARK)
        if found is None or not self.alone:
            return found is not None
        try:
            # Else the folder was copied, and the run is active in the original.
            return int(read_file(self.marks, token + _MARK)) == found.st_ino
        except (OSError, ValueError, Refused):
            return False

    def clear_marks(self) -> None:
        """Remove the marks of runs that have ended."""
        for name in self.marks.listdir() if self.marks is not None else ():
            token = name.removesuffix(_MARK)
            if name.endswith(_MARK) and self.marks and self.is_over(token, self.marks, name):
                with suppress(OSError):
                    self.marks.unlink(name)


def others_at_work(folder: Directory) -> list[int]:
    """Return the process IDs of the active runs on this machine in a folder."""
    tokens = [name.removesuffix(_MARK) for name in folder.listdir() if name.endswith(_MARK)]
    return sorted(int(token.split("_")[1]) for token in tokens if _goes_on(token))


def _goes_on(token: str) -> bool | None:
    """Tell whether the process of a run exists; None if that cannot be known here."""
    match = re.fullmatch(_TOKEN, token)
    if match is None or match["place"] != _place() or os.name == "nt":
        return None
    number = int(match["process"])
    if number == os.getpid():
        return token in _here
    started = _started(number)
    if started != "0" and match["started"] != "0":
        return started == match["started"]
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return None if started == "0" else True


def _is_fresh(folder: Directory, names: tuple[str, ...]) -> bool:
    found = [found for name in names if (found := folder.lstat(name)) is not None]
    return any(abs(time.time() - one.st_mtime) < _FORGOTTEN for one in found)


@cache
def _place() -> str:
    """Return what identifies the machine or container whose process IDs we see."""
    machine = os.uname().nodename if hasattr(os, "uname") else ""
    boot = space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read()
    text = "\0".join((machine, boot, space))
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _started(number: int) -> str:
    """Return when a process was started, in the system's units; "0" if unknown.

    A zombie counts as no process: that is "gone".
    """
    try:
        with open(f"/proc/{number}/stat", "rb") as file:
            state, *fields = file.read().decode("ascii", "replace").rpartition(")")[2].split()
            return "gone" if state in "ZX" else fields[18]
    except (OSError, ValueError, IndexError):
        return "0"
