"""Puts the members of one archive in place: decides about each, moves them, removes old files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from typing import NamedTuple

from ..choices import IfExists
from ..disk.aside import Aside, Check
from ..disk.members import Arrangement, Stored
from ..disk.paths import SafePath, UnsafePath, fold_key
from ..disk.records import FOLDER, Places, Records, is_as_left, joined
from ..disk.tree import Tree
from ..errors import ArtifactsError, Refused

_MOVE = "move it away, or choose another output folder"
_STRANGER = "--if-exists overwrite replaces what is there, and --if-exists skip leaves it"
_TELL_EVERY = 2000

Owner = Callable[[str], bool]
"""Tells whether this tool has put a file at a place."""


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


@dataclass(slots=True)
class Landing:
    """What to do at the places of one archive's members, decided before anything is done.

    `skipped` are existing members that are kept; `in_the_way` are files where the new version has
    folders, and `emptied` are our files in folders where it has files.
    """

    files: dict[str, Stored]
    """The files by place, with the numbers of the unpacked files."""
    folders: set[str]
    skipped: set[str] = field(default_factory=set)
    in_the_way: set[str] = field(default_factory=set)
    emptied: set[str] = field(default_factory=set)


def landing(
    tree: Tree,
    arrangement: Arrangement,
    base: str,
    *,
    if_exists: IfExists,
    old: Mapping[str, list[Stored]],
    is_ours: Callable[[str, Stored], bool],
    folds: bool,
) -> Landing:
    """Decide what to do at the members' places. Raises `Refused` for the first obstacle.

    `old` has the recorded files of an older version. `is_ours` tells whether this tool put a file
    at a place.
    """
    found = Landing(
        {joined(base, path): stored for path, stored in arrangement.files.items()},
        {joined(base, path) for path in arrangement.folders} - {""},
    )
    if not arrangement.is_one_file and base:
        found.folders.add(base)
    judge = _Judge(tree, found, base, if_exists, old, is_ours, {})
    for folder, names in by_folder(found.files):
        judge.files(folder, names, folds=folds)
    for place in found.files.keys() & found.skipped:
        del found.files[place]
    for place in found.folders:
        judge.folder(place)
    return found


class _Judge(NamedTuple):
    tree: Tree
    found: Landing
    base: str
    if_exists: IfExists
    old: Mapping[str, list[Stored]]
    is_ours: Callable[[str, Stored], bool]
    exists: dict[str, bool]
    """The folders that were examined, and whether they exist."""

    def files(self, folder: str, names: list[str], *, folds: bool) -> None:
        """Decide about what exists at the places of files in one folder."""
        if not self.folder(folder):
            return
        with self.tree.parent(place_in(folder, "-"), create=False) as parent:
            there = set(names) if folds else set(parent.listdir())
            for name in names:
                if name in there and (seen := parent.lstat(name)) is not None:
                    self._file(joined(folder, name), seen)

    def _file(self, place: str, seen: os.stat_result) -> None:
        if stat.S_ISDIR(seen.st_mode):
            if not _holds_only(self.tree, place, self.old):
                raise Refused(f"a folder stands in the place of {place}", hint=_MOVE)
            self.found.emptied |= {one for one in self.old if one.startswith(f"{place}/")}
            self.found.emptied.add(f"{place}/")
        elif self.if_exists is IfExists.ERROR:
            raise Refused(f"{place} is there already, and --if-exists is error", hint=_MOVE)
        elif self.if_exists is IfExists.SKIP:
            self.found.skipped.add(place)
        elif not self._may_go(place, self.found.files[place]):
            what = "a file that this tool did not put there"
            raise Refused(f"{what} stands in the place of {place}", hint=_STRANGER)

    def _may_go(self, place: str, new: Stored) -> bool:
        return self.if_exists is IfExists.OVERWRITE or (
            self.if_exists is IfExists.UPDATE and self.is_ours(place, new)
        )

    def folder(self, folder: str) -> bool:
        """Tell whether a folder exists; a file in its place is to be removed if that is allowed."""
        above = accumulate(folder.split("/"), "{}/{}".format) if folder else ()
        return all(map(self._is_folder, above))

    def _is_folder(self, place: str) -> bool:
        if (known := self.exists.get(place)) is None:
            known = self.exists[place] = self._look_at_folder(place)
        return known

    def _look_at_folder(self, place: str) -> bool:
        seen = self.tree.lstat(SafePath(tuple(place.split("/"))))
        if seen is None or stat.S_ISDIR(seen.st_mode):
            return seen is not None
        # Inside and above an artifact's place, only files that this tool put there may be removed.
        is_kept = self.if_exists in (IfExists.SKIP, IfExists.ERROR)
        may_go = not is_kept and self.is_ours(place, FOLDER)
        if not (may_go or (place == self.base and self._may_go(place, FOLDER))):
            raise Refused(f"{place} is not a folder, and has to be one", hint=_MOVE)
        self.found.in_the_way.add(place)
        return False


def is_old(tree: Tree, place: str, records: Iterable[Stored]) -> bool:
    """Tell whether a file of an older version is unchanged."""
    folder, name = split(place)
    try:
        with tree.parent(place_in(folder, "-"), create=False) as parent:
            return any(is_as_left(record, parent, name, exactly=False) for record in records)
    except (OSError, ArtifactsError, UnsafePath):
        return False


def _holds_only(tree: Tree, folder: str, old: Mapping[str, list[Stored]]) -> bool:
    """Tell whether a folder has only unchanged files of an older version."""
    with tree.parent(place_in(folder, "-"), create=False) as parent:
        seen = {name: parent.lstat(name) for name in parent.listdir()}
    for name, found in seen.items():
        place = joined(folder, name)
        if found is not None and stat.S_ISDIR(found.st_mode):
            if not _holds_only(tree, place, old):
                return False
        elif place not in old or not is_old(tree, place, old[place]):
            return False
    return True


def holds_only(tree: Tree, folder: str, places: Places) -> bool:
    """Tell whether a folder has only recorded, unchanged files."""
    return _holds_only(tree, folder, grouped(places))


def grouped(places: Places) -> dict[str, list[Stored]]:
    """Return the records that may describe each place."""
    found: dict[str, list[Stored]] = {}
    for place, record in places:
        found.setdefault(place, []).append(record)
    return found


def move_in(
    tree: Tree, landing: Landing, aside: Aside, check: Check, tell: Callable[[str], None]
) -> None:
    """Move the files to their places, folder by folder. Raises OSError, `Refused`, `Cancelled`."""
    for place in landing.in_the_way:
        folder, name = split(place)
        with tree.parent(place_in(folder, "-"), create=False) as parent:
            parent.unlink(name)
    for place in landing.folders:
        with tree.parent(place_in(place, "-"), create=True):
            pass
    done, move = 0, aside.directory.replace
    for folder, names in by_folder(landing.files):
        check()
        with tree.parent(place_in(folder, "-"), create=True) as parent:
            for name in names:
                move(str(landing.files[joined(folder, name)].number), parent, name)
        done += len(names)
        if done // _TELL_EVERY != (done - len(names)) // _TELL_EVERY:
            tell(f"putting {done:,} of {len(landing.files):,} in place")


def remove_old(tree: Tree, places: Places, keep: Callable[[str], bool]) -> None:
    """Remove unchanged files of an older version, and folders that become empty.

    What cannot be examined or removed is kept.
    """
    emptied: set[str] = set()
    for place, records in grouped(places).items():
        if keep(place):
            continue
        folder, name = split(place.rstrip("/"))
        if any(record == FOLDER for record in records):
            emptied.add(place.rstrip("/"))
        elif is_old(tree, place, records):
            with (
                suppress(OSError, ArtifactsError, UnsafePath),
                tree.parent(place_in(folder, "-"), create=False) as parent,
            ):
                parent.unlink(name)
                emptied.add(folder)
    for folder in _with_those_above(emptied):
        if not keep(f"{folder}/"):
            _remove_if_empty(tree, folder)


def remove_empty(tree: Tree, folder: str) -> None:
    """Remove a folder and those below it if they are empty, as a killed run may leave them."""
    with (
        suppress(OSError, ArtifactsError, UnsafePath),
        tree.parent(place_in(folder, "-"), create=False) as parent,
    ):
        for name in parent.listdir():
            found = parent.lstat(name)
            if found is not None and stat.S_ISDIR(found.st_mode):
                remove_empty(tree, joined(folder, name))
    _remove_if_empty(tree, folder)


def _with_those_above(folders: Iterable[str]) -> list[str]:
    """Return folders and all their parents, the deepest first."""
    found: set[str] = set()
    for folder in folders:
        while folder and folder not in found:
            found.add(folder)
            folder = split(folder)[0]
    return sorted(found, key=lambda folder: -folder.count("/"))


def _remove_if_empty(tree: Tree, folder: str) -> None:
    above, name = split(folder)
    with (
        suppress(OSError, ArtifactsError, UnsafePath),
        tree.parent(place_in(above, "-"), create=False) as parent,
    ):
        parent.rmdir(name)
        tree.forget(tuple(folder.split("/")))


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


def folded(place: str, *, fold: bool) -> str:
    """Return a key that is equal for places that are the same file."""
    return fold_key(place) if fold else place


def touched_folders(landing: Landing) -> Iterator[tuple[str, ...]]:
    """Yield the folders that have to be synced."""
    seen: set[str] = set()
    for place in (*landing.files, *landing.folders):
        folder = split(place)[0]
        while folder not in seen:
            seen.add(folder)
            yield tuple(folder.split("/")) if folder else ()
            folder = split(folder)[0]
