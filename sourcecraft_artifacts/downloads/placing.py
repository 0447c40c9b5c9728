"""Puts complete files in their places: each is checked, recorded in the journal, and renamed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Sequence

from ..disk.entry import Entry
from ..disk.files import fit_in, move_file
from ..disk.manifest import Manifest
from ..disk.paths import SafePath
from ..disk.records import Places
from ..disk.tree import Tree
from ..errors import MOVE_AWAY, Refused
from ..transfer.jobs import Whole
from .claims import old_places
from .decisions import Step
from .moving import remove_empty, remove_old
from .owners import Owners


class _File:
    """A complete file on its way to its place; `key` is that place in the manifest."""

    def __init__(self, whole: Whole, step: Step) -> None:
        self.whole, self.step, self.key = whole, step, str(step.place)
        self.entry: Entry | None = None
        self.found: os.stat_result | None = None
        """What is at its place."""
        self.own_file_above: SafePath | None = None
        """A file of an older version that has to make way for its folder."""


class Placer:
    """Puts files in their places, together: one by one they would take three times as long.

    `touched` are the folders that have to be synced at the end of the run, before the manifest is
    written: a loss of power before that leaves the old file or none, never an empty one. `judged`
    means that archives were looked for, so the record says that a file is to stay one; `skips` is
    `--if-exists skip`, so no folder is replaced by a file.
    """

    def __init__(
        self,
        tree: Tree,
        manifest: Manifest,
        owners: Owners,
        *,
        overwrite: bool,
        skips: bool,
        judged: bool,
    ) -> None:
        self._tree, self._manifest, self._owners = tree, manifest, owners
        self._overwrite, self._skips, self._judged = overwrite, skips, judged
        self.touched: set[tuple[str, ...]] = set()

    def put(self, batch: Iterable[tuple[Whole, Step]]) -> None:
        """Sync files, record them, and move them; an error concerns one file alone."""
        files = [_File(whole, step) for whole, step in batch]
        for one in files if len(files) > 1 else ():
            one.whole.partial.start_sync()
        ready = _each(_each(files, self._seal), self._check_unchanged)
        try:
            self._manifest.intend({one.key: one.entry for one in ready if one.entry is not None})
        except Exception as error:
            for one in ready:
                one.whole.error = error
        else:
            self._manifest.placed(*(one.key for one in _each(ready, self._move)))

    def _seal(self, one: _File) -> None:
        """Sync the bytes, and make the entry to be recorded."""
        found = one.whole.partial.seal()
        before = old_places(one.key, self._manifest.get(one.key))
        left = tuple(pair for pair in before if pair[0] != one.key)
        one.entry = entry_of(one.whole, found, before=left, is_judged=self._judged)

    def _check_unchanged(self, one: _File) -> None:
        """Refuse to replace a file that appeared at the place after the plan was made."""
        before = one.step.before
        try:
            found = one.found = self._tree.lstat(one.step.place)
        except Refused:
            one.own_file_above = self._owners.own_file_above(one.step.place)
            if one.own_file_above is None:
                raise
            return
        if found is None:
            return
        if stat.S_ISDIR(found.st_mode):
            self._check_folder(one)
            return
        if not self._overwrite and self._manifest.is_folder(one.key):
            if not self._owners.is_as_left(one.key):
                raise Refused("a file that this tool did not put there stands in its place")
            return
        if self._overwrite or (before and _are_same(before, found)):
            return
        # The file may be from another run, if there are no locks.
        if not self._manifest.knows(one.key, found):
            raise Refused("a file appeared in its place while it was downloaded")

    def _check_folder(self, one: _File) -> None:
        """Refuse a file if its place is a folder with other files than the artifact's members."""
        entry = self._manifest.get(one.key)
        is_own = entry is not None and self._owners.holds_only(one.step.place, one.key, entry)
        if self._skips or not is_own:
            raise Refused(
                "it is a file, and a folder stands in its place"
                + (", which --if-exists skip leaves" if is_own else ""),
                hint=MOVE_AWAY,
            )
        self._refuse_mounted(one.step.place)

    def _refuse_mounted(self, place: SafePath) -> None:
        """Raise `Refused` before files are removed from a folder that must stay itself.

        The system says that something is mounted there before it says that there are files.
        """
        try:
            with self._tree.parent(place, create=False) as parent:
                parent.rmdir(place.name)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise _mounted() from error

    def _move(self, one: _File) -> None:
        place, partial, before = one.step.place, one.whole.partial, one.found
        if one.own_file_above is not None:
            self._clear(one.own_file_above)
        with self._tree.parent(place, create=True) as parent:
            if before is not None and stat.S_ISDIR(before.st_mode):
                self._make_way(one.key)
            fit_in(partial.directory, partial.part_name, parent, before)
            move_file(partial.directory, partial.part_name, parent, place.name)
        if one.own_file_above is not None:
            self._owners.forget_above(place)
        partial.placed()
        one.whole.size = partial.size
        self.touched.add(place.parts[:-1])
        self._owners.settle_file(one.key)

    def _clear(self, place: SafePath) -> None:
        """Remove a file of ours where a folder is needed, unless that was done before.

        The new file's own record tells the next run after a kill that it is gone.
        """
        with self._tree.parent(place, create=False) as parent:
            found = parent.lstat(place.name)
            if found is not None and stat.S_ISREG(found.st_mode):
                parent.unlink(place.name)
        self.touched.add(place.parts[:-1])

    def _make_way(self, key: str) -> None:
        """Remove the folder of an older version of the artifact, which is a file now."""
        entry = self._manifest.get(key)
        if entry is not None:
            # The folders above the place stay: the file is about to be put there.
            remove_old(self._tree, entry.before, key.startswith)
            remove_empty(self._tree, key)


def entry_of(
    whole: Whole, found: os.stat_result, *, before: Places = (), is_judged: bool = False
) -> Entry:
    """Return the entry to be recorded for an object."""
    artifact, version = whole.job.artifact, whole.partial.version
    return Entry(
        artifact.address,
        artifact.local_path,
        artifact.dates,
        found.st_size,
        whole.sha256,
        found.st_mtime_ns,
        version.validator if version else None,
        before=before,
        is_judged=is_judged,
    )


def _mounted() -> Refused:
    return Refused(
        "it is a file, and the folder in its place cannot be removed: something is mounted there",
        hint="unmount it, choose another output folder, or let the artifact become a folder",
    )


def _each(files: Sequence[_File], step: Callable[[_File], None]) -> list[_File]:
    """Do a step for each file; return those for which it raised nothing."""
    done = []
    for one in files:
        try:
            step(one)
        except Exception as error:
            one.whole.error = error
        else:
            done.append(one)
    return done


def _are_same(before: os.stat_result, found: os.stat_result) -> bool:
    """Tell whether a file is unchanged between two `lstat` calls.

    On some file systems inode numbers change; then the time of the last change must be the same.
    """
    return (before.st_mtime_ns, before.st_size) == (found.st_mtime_ns, found.st_size) and (
        before.st_ino == found.st_ino or before.st_ctime_ns == found.st_ctime_ns
    )
