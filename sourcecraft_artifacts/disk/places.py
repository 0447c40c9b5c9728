"""The places of an artifact's files, taken folder by folder, and whether they are as recorded."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from ..errors import ArtifactsError
from .directory import Directory
from .paths import SafePath, UnsafePath
from .records import Places, Records, State, Stored, is_as_left, joined, state_of
from .tree import Tree


def split(place: str) -> tuple[str, str]:
    """Return the folder of a place, and its own name."""
    folder, _, name = place.rpartition("/")
    return folder, name


def by_folder(places: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the folders of places with the names in them, each folder before those below it."""
    found = defaultdict[str, list[str]](list)
    for place in places:
        folder, _, name = place.rpartition("/")
        found[folder].append(name)
    for folder in sorted(found):
        yield folder, found[folder]


def place_in(folder: str, name: str) -> SafePath:
    """Return a place by its folder and its name. Raises `UnsafePath`."""
    return SafePath(tuple([*folder.split("/"), name] if folder else [name]))


def grouped(places: Places) -> dict[str, list[Stored]]:
    """Return the records that may describe each place."""
    found: dict[str, list[Stored]] = {}
    for place, record in places:
        found.setdefault(place, []).append(record)
    return found


def is_old(tree: Tree, place: str, records: Iterable[Stored]) -> bool:
    """Tell whether a file of an older version is unchanged."""
    folder, name = split(place)
    try:
        with tree.parent(place_in(folder, "-"), create=False) as parent:
            return any(is_as_left(record, parent, name, exactly=False) for record in records)
    except (OSError, ArtifactsError, UnsafePath):
        return False


def holds_only(tree: Tree, folder: str, records: Mapping[str, list[Stored]]) -> bool:
    """Tell whether a folder has only recorded, unchanged files."""
    with tree.parent(place_in(folder, "-"), create=False) as parent:
        seen = {name: parent.lstat(name) for name in parent.listdir()}
    for name, found in seen.items():
        place = joined(folder, name)
        if found is not None and stat.S_ISDIR(found.st_mode):
            if not holds_only(tree, place, records):
                return False
        elif place not in records or not is_old(tree, place, records[place]):
            return False
    return True


def other_modes(
    tree: Tree, records: Records, base: str, skipped: Iterable[str], *, by_bytes: bool = False
) -> dict[str, int] | None:
    """Return where only the permissions differ from the records, with the recorded ones.

    Returns None if anything else differs, or if such a file cannot be read. A skipped member only
    has to exist. With `by_bytes`, a file's time is no proof.
    """
    places = {joined(base, path.rstrip("/")): record for path, record in records.items()}
    if by_bytes:
        places = {place: record._replace(mtime_ns=-1) for place, record in places.items()}
    wanted: dict[str, Stored | None] = {**places, **{joined(base, one): None for one in skipped}}
    found: dict[str, int] = {}
    try:
        for folder, names in by_folder(wanted):
            with tree.parent(place_in(folder, "-"), create=False) as parent:
                for name in names:
                    place = joined(folder, name)
                    mode = _other_mode(wanted[place], parent, name)
                    if mode is not None:
                        found[place] = mode
        return found if wanted or not base or _is_folder(tree, base) else None
    except (OSError, ArtifactsError, UnsafePath, _Differs):
        return None


class _Differs(Exception):
    """A file is not as recorded."""


def _other_mode(record: Stored | None, parent: Directory, name: str) -> int | None:
    """Return the recorded mode if only that differs, else None. Raises `_Differs` and OSError."""
    state = State.SAME
    if record is not None:
        state = state_of(record, parent, name)
    elif parent.lstat(name) is None:
        state = State.CHANGED
    if state is State.SAME:
        return None
    seen = parent.lstat(name) if state is State.OTHER_MODE else None
    if record is None or seen is None or not seen.st_mode & stat.S_IRUSR:
        raise _Differs
    return record.mode


def _is_folder(tree: Tree, place: str) -> bool:
    found = tree.lstat(SafePath(tuple(place.split("/"))))
    return found is not None and stat.S_ISDIR(found.st_mode)


def set_mode(tree: Tree, place: str, mode: int) -> None:
    """Set the permissions of a plain file that can be read. Raises OSError and `Refused`."""
    folder, name = split(place)
    with tree.parent(place_in(folder, name), create=False) as parent:
        if not hasattr(os, "fchmod"):
            parent.chmod(name, mode)
            return
        descriptor = parent.open(name, os.O_RDONLY)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)


def are_there(tree: Tree, records: Records, base: str, skipped: Iterable[str]) -> bool:
    """Tell whether each member exists."""
    names = [*records, *skipped]
    return other_modes(tree, {}, base, [name.rstrip("/") for name in names]) is not None
