"""Removes what a run left aside while it unpacked an archive."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, filterfalse

from .directory import Directory

SUFFIX = "tree"
"""The suffix of the folder where a run unpacks an archive."""


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
