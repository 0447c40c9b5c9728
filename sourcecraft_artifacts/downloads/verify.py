"""Checks a download folder against its manifest."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress

from ..choices import Layout
from ..disk.entry import Entry
from ..disk.members import Stored
from ..disk.paths import SafePath, UnsafePath, safe_path
from ..disk.records import joined
from ..errors import ArtifactsError, Refused, UsageError
from ..logs import get_logger
from ..select import normalised
from ..text import visible
from .known_folder import KnownFolder

_log = get_logger(__name__)


def verify(directory: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each file in the manifest (`DIR` joined with its place) and its state.

    The state is `OK`, `FAILED` (it differs, cannot be read, or is not a plain file) or `MISSING`.
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
                yield from _members(folder, directory, entry)
            else:
                yield visible(os.path.join(directory, name)), _verdict(folder, name)


def _nothing_to_check(directory: str) -> UsageError:
    name = visible(directory)
    is_there = os.path.isdir(directory)
    return UsageError(
        f"the folder {name} has no manifest of a download" if is_there else f"no folder {name}",
        hint="name a folder into which artifacts were downloaded",
    )


def _members(folder: KnownFolder, directory: str, entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield each file of an unpacked artifact, and empty folders that are missing."""
    for path, record in sorted((entry.members or {}).items()):
        place = joined(entry.base, path.rstrip("/"))
        verdict = _member_verdict(folder, place, record)
        if verdict != "OK" or not path.endswith("/"):
            yield visible(os.path.join(directory, place)), verdict


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


def repairing_download(directory: str) -> str:
    """Return the command that fetches the files that differ from the manifest.

    It is complete if all files came from one run with one layout; else it names only the folder,
    because the selection is not recorded.
    """
    with KnownFolder(directory) as folder:
        manifest = folder.manifest
        found = {name: entry for name in manifest.places() if (entry := manifest.get(name))}
    words = ["sourcecraft-artifacts", "download"]
    cubes = {entry.address for entry in found.values()}
    layouts = {_layout(name, entry) for name, entry in found.items()}
    if len({(cube.repo, cube.run) for cube in cubes}) != 1 or len(layouts) != 1:
        return " ".join([*words, "RUN …", "--dir", shlex.quote(visible(directory))])
    cube, layout = cubes.pop(), layouts.pop()
    address = [cube.run] if cubes else [cube.run, cube.workflow, cube.task, cube.cube]
    usual = Layout.NESTED if cubes else Layout.MIRROR
    words += [*address, "--repo", cube.repo, "--dir", directory]
    words += [] if layout is usual else ["--layout", str(layout)]
    return " ".join(shlex.quote(visible(word)) for word in words)


def _layout(name: str, entry: Entry) -> Layout:
    """Return the layout that put an artifact at its place."""
    if name.startswith(f"{entry.address.path}/"):
        return Layout.NESTED
    return Layout.MIRROR if name == normalised(entry.local_path) else Layout.FLAT
