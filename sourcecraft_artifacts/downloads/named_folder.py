"""Creates the folder of a file that the user named, and removes it again if it stays empty."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import named_file_fault


def is_missing(path: str) -> bool:
    """Tell whether the folder of a file does not exist."""
    return not os.path.lexists(os.path.dirname(path) or ".")


@contextmanager
def folder_of(path: str) -> Iterator[None]:
    """Create the missing folders above a file.

    At the end those that are empty are removed again. Raises `LocalError`.
    """
    made: list[str] = []
    try:
        try:
            for folder in _missing(path):
                with suppress(FileExistsError):  # another run has just made it
                    os.mkdir(folder)
                    made.append(folder)
        except OSError as error:
            raise named_file_fault(error, path) from error
        yield
    finally:
        for folder in reversed(made):
            with suppress(OSError):
                os.rmdir(folder)


def _missing(path: str) -> list[str]:
    """Return the missing folders above a file, the uppermost first. Raises OSError."""
    missing: list[str] = []
    folder = os.path.dirname(path)
    while folder and folder != os.path.dirname(folder):
        try:
            os.stat(folder)
            break
        except FileNotFoundError:
            if os.path.islink(folder):
                raise  # a dangling symlink
            missing.append(folder)
            folder = os.path.dirname(folder)
    return missing[::-1]
