"""Whose a file in a state folder is: each run has a token, from which others see if it goes on.

A lock keeps runs apart where there are locks. Where there are none, two runs into one folder each
work on files of their own, which bear their tokens, and take over what is of a run that is over.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from contextlib import suppress
from functools import cache
from hashlib import sha256

from ..errors import Refused
from .directory import Directory
from .files import read_file

_FORGOTTEN = 300.0
"""Seconds after which what a run of an unknown machine has left untouched is taken for left."""
_TOKEN = re.compile(r"(?P<place>[0-9a-f]{8})_(?P<process>\d+)_(?P<started>\d+)_[0-9a-f]{8}")
_MARK = ".run"
_here: set[str] = set()
"""The tokens of the runs that go on in this process."""


class Run:
    """One run, as other runs into the same folder see it.

    `alone` tells that a lock keeps other runs out: what is found is then of runs that are over,
    unless it can be seen that one goes on, which had no lock.
    """

    def __init__(self) -> None:
        self.alone = True
        self.marks: Directory | None = None
        """The folder in which each run that goes on has a mark, where there is one."""
        number = os.getpid()
        self.token = f"{_place()}_{number}_{_started(number)}_{secrets.token_hex(4)}"
        self._marked = False
        _here.add(self.token)

    def enter(self, marks: Directory) -> None:
        """Leave a mark that says that this run goes on, and keeps the folder from being removed.

        Raises OSError, `FileNotFoundError` where the folder was removed just now.
        """
        mark = marks.open(self.token + _MARK, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            self.marks, self._marked = marks, True
            os.write(mark, b"%d" % os.fstat(mark).st_ino)
        finally:
            os.close(mark)

    def leave(self) -> None:
        """Take the mark away: what this run leaves is free for others."""
        _here.discard(self.token)
        if self.marks is not None and self._marked:
            with suppress(OSError):
                self.marks.unlink(self.token + _MARK)
            self._marked = False

    def is_over(self, token: str, folder: Directory, *names: str) -> bool:
        """Tell whether another run has ended, which left files of these names in a folder."""
        marked = self._has_mark(token)
        goes_on = None if marked is False else _goes_on(token)
        if marked is False or goes_on is False:
            return True
        if goes_on:
            return self.alone and marked is None
        # Windows itself lets nobody touch a file that is open.
        return self.alone or os.name == "nt" or not _is_fresh(folder, names)

    def has_died(self, token: str, folder: Directory, name: str) -> bool:
        """Tell the same of a file that a run holds for a moment, with a mark or without one."""
        return _goes_on(token) is False or not _is_fresh(folder, (name,))

    def _has_mark(self, token: str) -> bool | None:
        """Tell whether a run says that it goes on; None where runs do not say so."""
        if self.marks is None:
            return None
        found = self.marks.lstat(token + _MARK)
        if found is None or not self.alone:
            return found is not None
        try:
            # Else the folder was copied, and the run goes on in the one that it was copied from.
            return int(read_file(self.marks, token + _MARK)) == found.st_ino
        except (OSError, ValueError, Refused):
            return False

    def clear_marks(self) -> None:
        """Remove the marks of runs that are over."""
        for name in self.marks.listdir() if self.marks is not None else ():
            token = name.removesuffix(_MARK)
            if name.endswith(_MARK) and self.marks and self.is_over(token, self.marks, name):
                with suppress(OSError):
                    self.marks.unlink(name)


def others_at_work(folder: Directory) -> list[int]:
    """Return the process numbers of the runs on this machine that go on in a folder."""
    tokens = [name.removesuffix(_MARK) for name in folder.listdir() if name.endswith(_MARK)]
    return sorted(int(token.split("_")[1]) for token in tokens if _goes_on(token))


def _goes_on(token: str) -> bool | None:
    """Tell whether the process of a run is there; None where it cannot be told from here."""
    match = _TOKEN.fullmatch(token)
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
    """Return what tells the processes that are numbered as ours are from all others."""
    machine = os.uname().nodename if hasattr(os, "uname") else ""
    boot = space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read()
    text = "\0".join((machine, boot, space))
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _started(number: int) -> str:
    """Return when a process was started, as the system counts; "0" where that is not told.

    One that was killed, and that nobody has asked for, is as good as none: that is "gone".
    """
    try:
        with open(f"/proc/{number}/stat", "rb") as file:
            state, *fields = file.read().decode("ascii", "replace").rpartition(")")[2].split()
            return "gone" if state in "ZX" else fields[18]
    except (OSError, ValueError, IndexError):
        return "0"
