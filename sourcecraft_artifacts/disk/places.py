"""The places of an artifact's files, taken folder by folder, and whether they are as recorded."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from ..errors import ArtifactsError
from .members import Stored
from .paths import SafePath, UnsafePath
from .records import Places, Records, is_as_left, joined
from .tree import Tree


def split(place: str) -> tuple[str, str]:
    """Return the folder of a place, and its own name."""
    folder, _, name = place.rpartition("/")
    return folder, name


def by_folder(places: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the folders of places, each with the names in it."""
    for folder, group in groupby(sorted(map(split, places)), key=lambda pair: pair[0]):
        yield folder, [name for _, name in group]


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


def all_as_left(tree: Tree, records: Records, base: str, skipped: Iterable[str]) -> bool:
    """Tell whether each member is as recorded; a skipped one only has to exist."""
    places = {joined(base, path.rstrip("/")): record for path, record in records.items()}
    wanted: dict[str, Stored | None] = {**places, **{joined(base, one): None for one in skipped}}
    try:
        for folder, names in by_folder(wanted):
            with tree.parent(place_in(folder, "-"), create=False) as parent:
                for name in names:
                    record = wanted[joined(folder, name)]
                    if record is None:
                        if parent.lstat(name) is None:
                            return False
                    elif not is_as_left(record, parent, name):
                        return False
        if not wanted and base:
            found = tree.lstat(SafePath(tuple(base.split("/"))))
            return found is not None and stat.S_ISDIR(found.st_mode)
        return True
    except (OSError, ArtifactsError, UnsafePath):
        return False


def are_there(tree: Tree, records: Records, base: str, skipped: Iterable[str]) -> bool:
    """Tell whether each member exists."""
    names = [*records, *skipped]
    return all_as_left(tree, {}, base, [name.rstrip("/") for name in names])
