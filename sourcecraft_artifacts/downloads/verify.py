"""Checks a download folder against its manifest."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from ..disk.entry import Entry
from ..disk.paths import SafePath, UnsafePath, safe_path
from ..disk.records import Stored, joined
from ..errors import ArtifactsError, Refused, UsageError
from ..logs import get_logger
from ..text import visible
from .known_folder import KnownFolder

_log = get_logger(__name__)


class Checked(NamedTuple):
    """A file of the manifest.

    - `path`: `DIR` joined with its place, safe to show.
    - `state`: `OK`, `FAILED` (it differs, cannot be read, or is not a plain file) or `MISSING`.
    - `key`: the place of its artifact, by which the manifest has it.
    - `place`: its own place, which is another one if the artifact was unpacked.
    """

    path: str
    state: str
    key: str
    place: str


def verify(directory: str) -> Iterator[Checked]:
    """Yield each file of the manifest, once it has been read.

    Raises `UsageError` if there is no manifest, `Refused` if it is damaged.
    """
    with KnownFolder(directory) as folder:
        if folder.manifest.damaged:
            raise Refused(
                f"the manifest of {visible(directory)} is damaged: nothing can be checked",
                hint="download again with --if-exists overwrite",
            )
        places = sorted(folder.manifest.places())
        if not folder.manifest.exists:
            raise _nothing_to_check(directory)
        for name in places:
            entry = folder.manifest.get(name)
            if entry is not None and entry.members is not None:
                yield from _members(folder, directory, name, entry)
            else:
                path = visible(os.path.join(directory, name))
                yield Checked(path, _verdict(folder, name), name, name)


def _nothing_to_check(directory: str) -> UsageError:
    name = visible(directory)
    is_there = os.path.isdir(directory)
    return UsageError(
        f"the folder {name} has no manifest of a download" if is_there else f"no folder {name}",
        hint="name a folder into which artifacts were downloaded",
    )


def _members(folder: KnownFolder, directory: str, key: str, entry: Entry) -> Iterator[Checked]:
    """Yield each file of an unpacked artifact, and empty folders that are missing."""
    for path, record in sorted((entry.members or {}).items()):
        place = joined(entry.base, path.rstrip("/"))
        verdict = _member_verdict(folder, place, record)
        if verdict != "OK" or not path.endswith("/"):
            yield Checked(visible(os.path.join(directory, place)), verdict, key, place)


def _member_verdict(folder: KnownFolder, name: str, record: Stored) -> str:
    try:
        place = safe_path(name, portable=False)
        with suppress(FileNotFoundError):
            if folder.is_exactly(place, record):
                return "OK"
        found = folder.lstat(place)
        if found is not None and stat.S_ISREG(found.st_mode) and found.st_size == record.size:
            folder.sha256(place)  # raises the error if it cannot be read
        return "MISSING" if found is None else "FAILED"
    except OSError as error:
        return _unreadable(folder, place, error)
    except (UnsafePath, ArtifactsError):
        return "FAILED"


def _verdict(folder: KnownFolder, name: str) -> str:
    try:
        place: SafePath = safe_path(name, portable=False)
        found, entry = folder.lstat(place), folder.entry(place)
        if found is None:
            return "MISSING"
        if entry is None or not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
            return "FAILED"
        return "OK" if folder.sha256(place) == entry.sha256 else "FAILED"
    except OSError as error:
        return _unreadable(folder, place, error)
    except (UnsafePath, ArtifactsError):
        return "FAILED"


def _unreadable(folder: KnownFolder, place: SafePath, error: OSError) -> str:
    """Say why a file fails that cannot be read: to download it again need not help."""
    _log.warning("%s cannot be read: %s", visible(folder.path_of(place)), error.strerror)
    return "FAILED"
