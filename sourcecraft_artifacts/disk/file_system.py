"""Syncs a whole file system at once, where the system can do that."""

from __future__ import annotations

import os

from .directory import CANNOT_SYNC, Directory

FEW = 100
"""Up to this many files or folders, each is synced by itself."""


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
