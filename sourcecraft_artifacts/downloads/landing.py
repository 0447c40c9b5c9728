"""Decides about the place of each member of an archive, before anything is done there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from ..choices import IfExists
from ..disk.members import Arrangement
from ..disk.paths import SafePath
from ..disk.places import by_folder, holds_only, place_in
from ..disk.records import FOLDER, Stored, all_joined, below, joined
from ..disk.tree import Tree, refuse_too_long
from ..errors import MOVE_AWAY, Refused
from .decisions import STRANGER


@dataclass(slots=True)
class Landing:
    """What to do at the places of one archive's members, decided before anything is done.

    `new_folders` are folders that do not exist yet, at or below the artifact's own place, in
    folders that exist, with all folders of files in them; `skipped` are existing members that are
    kept; `in_the_way` are files where the new version has folders, and `emptied` are our files in
    folders where it has files.
    """

    arrangement: Arrangement
    base: str
    files: dict[str, Stored]
    """The files by place."""
    folders: set[str]
    new_folders: dict[str, list[str]] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    in_the_way: set[str] = field(default_factory=set)
    emptied: set[str] = field(default_factory=set)

    def packed_folder(self, folder: str) -> str:
        """Return the name in the archive of the folder whose files are to be in this one."""
        return self.arrangement.packed_folder(below(self.base, folder))


def landing(
    tree: Tree,
    arrangement: Arrangement,
    base: str,
    *,
    if_exists: IfExists,
    old: Mapping[str, list[Stored]],
    is_ours: Callable[[str, Stored], bool],
    is_as_left: Callable[[str], bool],
    folds: bool,
) -> Landing:
    """Decide what to do at the members' places. Raises `Refused` for the first obstacle.

    `old` has the recorded files of an older version. `is_ours` tells whether this tool put a file
    at a place, and `is_as_left` whether nobody has changed that file since.
    """
    files = arrangement.files
    found = Landing(
        arrangement,
        base,
        dict(zip(all_joined(base, files), files.values(), strict=True)),
        {joined(base, path) for path in arrangement.folders} - {""},
    )
    if not arrangement.is_one_file and base:
        found.folders.add(base)
    judge = _Judge(tree, found, base, if_exists, old, is_ours, is_as_left, {})
    for folder, names in by_folder(found.files):
        judge.files(folder, names, folds=folds)
    for place in found.files.keys() & found.skipped:
        del found.files[place]
    for place in found.folders:
        judge.first_missing(place)
    return found


class _Judge(NamedTuple):
    tree: Tree
    found: Landing
    base: str
    if_exists: IfExists
    old: Mapping[str, list[Stored]]
    is_ours: Callable[[str, Stored], bool]
    is_as_left: Callable[[str], bool]
    exists: dict[str, bool]
    """The folders that were examined, and whether they exist."""

    def files(self, folder: str, names: list[str], *, folds: bool) -> None:
        """Decide about what exists at the places of files in one folder."""
        if (missing := self.first_missing(folder)) is not None:
            refuse_too_long(os.path.join(self.tree.root.path, folder))
            if f"{folder}/".startswith(f"{self.base}/" if self.base else ""):
                new = max(missing, self.base, key=len)
                self.found.new_folders.setdefault(new, []).append(folder)
            return
        with self.tree.parent(place_in(folder, "-"), create=False) as parent:
            there = set(names) if folds else set(parent.listdir())
            for name in names:
                if name in there and (seen := parent.lstat(name)) is not None:
                    self._file(joined(folder, name), seen)

    def _file(self, place: str, seen: os.stat_result) -> None:
        if stat.S_ISDIR(seen.st_mode):
            if not holds_only(self.tree, place, self.old):
                raise Refused(f"a folder stands in the place of {place}", hint=MOVE_AWAY)
            self.found.emptied |= {one for one in self.old if one.startswith(f"{place}/")}
            self.found.emptied.add(f"{place}/")
        elif self.if_exists is IfExists.ERROR:
            raise Refused(f"{place} is there already, and --if-exists is error", hint=MOVE_AWAY)
        elif self.if_exists is IfExists.SKIP:
            self.found.skipped.add(place)
        elif not self._may_go(place, self.found.files[place]):
            what = "a file that this tool did not put there"
            raise Refused(f"{what} stands in the place of {place}", hint=STRANGER)

    def _may_go(self, place: str, new: Stored) -> bool:
        return self.if_exists is IfExists.OVERWRITE or (
            self.if_exists is IfExists.UPDATE and self.is_ours(place, new)
        )

    def first_missing(self, folder: str) -> str | None:
        """Return the first folder that does not exist, of those above a folder and itself.

        A file in its place is to be removed if that is allowed.
        """
        above = accumulate(folder.split("/"), "{}/{}".format) if folder else ()
        return next((one for one in above if not self._is_folder(one)), None)

    def _is_folder(self, place: str) -> bool:
        if (known := self.exists.get(place)) is None:
            known = self.exists[place] = self._look_at_folder(place)
        return known

    def _look_at_folder(self, place: str) -> bool:
        seen = self.tree.lstat(SafePath(tuple(place.split("/"))))
        if seen is None or stat.S_ISDIR(seen.st_mode):
            return seen is not None
        # The new version lacks such a file, so that it may only be removed if it is as we left it.
        if self.if_exists is IfExists.OVERWRITE:
            may_go = place == self.base or self.is_ours(place, FOLDER)
        else:
            may_go = self.if_exists is IfExists.UPDATE and self.is_as_left(place)
        if not may_go:
            raise Refused(f"{place} is not a folder, and has to be one", hint=MOVE_AWAY)
        self.found.in_the_way.add(place)
        return False
