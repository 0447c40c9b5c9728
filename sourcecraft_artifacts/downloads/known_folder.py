"""An output folder that may exist: what is in it and in its manifest."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import Self

from ..disk.directory import Directory
from ..disk.entry import Entry
from ..disk.locks import Lock, wait_for_lock
from ..disk.manifest import Manifest
from ..disk.paths import STATE_FOLDER, SafePath, UnsafePath, folds_names, safe_path
from ..disk.records import Places, Stored, all_joined, files_of, is_as_left
from ..disk.runs import Run, others_at_work
from ..disk.tree import Tree, refuse_too_long
from ..errors import ArtifactsError, LocalError, Refused, local_fault
from ..models import Artifact
from ..results import MemberFile
from ..text import visible
from .unpacker import Unpacker, Unpacking

PARTIAL = "partial"
"""The folder of partial data in the state folder."""


class KnownFolder:
    """An output folder and its manifest: the facts for `verify` and the plan (`decisions.Disk`).

    It is a context manager. Opening it creates nothing, and only `remove` changes what is on disk.
    """

    def __init__(self, path: str, *, unpacking: Unpacking | None = None) -> None:
        self.path = path
        self._above = os.path.join(path, "")
        """The path with a separator at its end."""
        self._unpacking = unpacking or Unpacking(wanted=False)
        self._tree: Tree | None = None
        self._state: Directory | None = None
        self._partial: Directory | None = None
        self._run = Run()
        self._locked = False
        self._folds: bool | None = None

    def __enter__(self) -> Self:
        self.look()
        return self

    def __exit__(self, *_: object) -> None:
        if "manifest" in vars(self):
            self.manifest.close()
        self._run.leave()
        for directory in (self._partial, self._state, self._tree):
            if directory is not None:
                directory.close()

    def look(self) -> None:
        """Open the folder and its state folder if they exist.

        Raises OSError, `LocalError`, and `Refused` if the state folder is not a folder.
        """
        if not os.path.isabs(self.path):
            os.getcwd()  # fails if it was deleted, while opening a deleted folder succeeds
        if not os.path.lexists(self.path):
            return
        self._tree = Tree.open(self.path, create=False)
        try:
            self._state = self._tree.root.child(STATE_FOLDER, create=False)
        except FileNotFoundError:
            return
        except OSError as error:
            path = os.path.join(self.path, STATE_FOLDER)
            reason = error.strerror or "it cannot be entered"
            hint = local_fault(error, path).hint
            raise LocalError(f"cannot open {visible(path)}: {reason}", hint=hint) from error

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, read when it is first needed, which is after `lock` in a download.

        Raises `Refused` if a newer version of this tool wrote it or it is not a plain file, and
        `LocalError` if it cannot be read.
        """
        try:
            return Manifest(self._state, self._run, self._look)
        except OSError as error:
            path = visible(error.filename or os.path.join(self.path, STATE_FOLDER))
            reason = visible(error.strerror or "it cannot be opened")
            raise LocalError(f"cannot read {path}: {reason}") from error

    def _look(self, place: str) -> os.stat_result | None:
        """Return the `lstat` of a place in the manifest; None if there is none."""
        try:
            return self.lstat(safe_path(place, portable=False))
        except (UnsafePath, ArtifactsError):
            return None

    def lock(self) -> None:
        """Lock the folder, after waiting for another run that has it locked.

        The manifest is read afterwards, with the other run's files.
        """
        if self._state is None or self._locked:
            return
        state = self._state

        def take() -> Lock | None:
            lock = state.lock()
            return None if lock is Lock.TAKEN else lock

        self._run.alone = wait_for_lock(take, lambda: self._wait(state)) is Lock.HAD
        self._locked = True

    @cached_property
    def unpacker(self) -> Unpacker:
        """The unpacker for this folder, and for the manifest that was read last."""
        assert self._tree is not None, "there is no folder"
        return Unpacker(self._tree, self.manifest, self._unpacking, folds=self.folds_names)

    def read_again(self) -> None:
        """Let the manifest be read when it is needed next: it may be another one now."""
        for name in ("manifest", "unpacker"):
            vars(self).pop(name, None)

    def _wait(self, state: Directory) -> str:
        """Return a message about the run that is waited for, with its process if that is known."""
        numbers: list[int] = []
        with suppress(OSError, Refused), state.child(PARTIAL, create=False) as partial:
            numbers = others_at_work(partial)
        whom = f" (process {', '.join(map(str, numbers))})" if numbers else ""
        return f"waiting for another download into {visible(self.path)} to end{whom}"

    # Facts for the plan.

    @property
    def folds_names(self) -> bool:
        """Whether names that differ by case or normalisation are the same file here."""
        if self._folds is None:
            self._folds = folds_names(self.path)
        return self._folds

    def lstat(
        self, place: SafePath, absent: set[tuple[str, ...]] | None = None
    ) -> os.stat_result | None:
        """Return the `lstat` of a place, or None. Raises `Refused` if it cannot be reached.

        `absent` collects folders that were not there; they are not looked for again.
        """
        path = self.path_of(place)
        try:
            refuse_too_long(path)
            if self._tree is None:
                os.fsencode(path)  # as the system would do
                return None
            return self._tree.lstat(place, absent)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise Refused("its path is longer than this system allows") from error
            raise local_fault(error, path) from error
        except UnicodeEncodeError as error:
            raise Refused(
                f"its name cannot be written in this system's encoding ({error.encoding})"
            ) from error

    def entry(self, place: SafePath) -> Entry | None:
        """Return the entry of a place in the manifest, also of a run that is active beside this."""
        key, manifest = str(place), self.manifest
        found = None if self._run.alone else self.lstat(place)
        if found is not None:
            manifest.knows(key, found)
        entry = manifest.get(key)
        if entry is None and self._tree is not None:
            return self.unpacker.owners.member_at(key)
        return entry

    def own_file_above(self, place: SafePath) -> SafePath | None:
        """Return the place of the unchanged file that this tool put where a folder is needed.

        It is of an older version of the run's artifacts, and may make way. None if there is none.
        """
        return None if self._tree is None else self.unpacker.owners.own_file_above(place)

    def was_only_intended(self, place: SafePath) -> bool:
        """Tell whether a run may have been killed before it put its first file here."""
        return self.manifest.was_only_intended(str(place))

    def is_as_left(self, place: SafePath) -> bool:
        """Tell whether a file is one that this tool put there, and nobody changed it."""
        return self._tree is not None and self.unpacker.owners.is_as_left(str(place))

    def holds(self, place: SafePath, entry: Entry, found: os.stat_result) -> bool:
        """Tell whether a file is the recorded one: by size and time, else by SHA-256.

        If only its time changed, the new time is recorded.
        """
        if entry.looks_like(found):
            self.manifest.placed(str(place))
            return True
        if found.st_size != entry.size:
            return False
        try:
            same = self.sha256(place) == entry.sha256
        except OSError:
            return False
        if same:
            self.manifest.renewed(str(place), entry, found.st_mtime_ns)
        return same

    def holds_members(self, place: SafePath, entry: Entry) -> bool:
        """Tell whether all files of an unpacked artifact are unchanged."""
        return self._tree is not None and self.unpacker.owners.is_whole(str(place), entry)

    def has_members(self, entry: Entry) -> bool:
        """Tell whether each member exists."""
        return self._tree is not None and self.unpacker.owners.are_there(entry)

    def has_any_member(self, entry: Entry) -> bool:
        """Tell whether at least one member exists."""
        return self._tree is not None and self.unpacker.owners.is_any_there(entry)

    def holds_only_ours(self, place: SafePath, entry: Entry) -> bool:
        """Tell whether a folder has only files of an unpacked artifact."""
        return self.unpacker.owners.holds_only(place, str(place), entry)

    def is_to_be_unpacked(self, place: SafePath, artifact: Artifact) -> bool:
        """Tell whether the file there is an archive that should become a folder."""
        assert self._tree is not None, "a file was seen below it"
        with self._tree.parent(place, create=False) as parent:
            descriptor = parent.open(place.name, os.O_RDONLY)
        try:
            return self.unpacker.is_folder(artifact, descriptor, str(place))
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def sha256(self, place: SafePath) -> str:
        """Hash the file at a place. Raises OSError, and `Refused` for a symlink."""
        assert self._tree is not None, "a file was seen below it"
        with (
            self._tree.parent(place, create=False) as parent,
            os.fdopen(parent.open(place.name, os.O_RDONLY), "rb", buffering=0) as file,
        ):
            return hashlib.file_digest(file, "sha256").hexdigest()

    def is_exactly(self, place: SafePath, record: Stored) -> bool:
        """Tell whether a member is as recorded, by its bytes. Raises OSError."""
        assert self._tree is not None, "a file was seen below it"
        with self._tree.parent(place, create=False) as parent:
            return is_as_left(record._replace(mtime_ns=-1), parent, place.name)

    def path_of(self, place: SafePath) -> str:
        """Return a place as the report shows it: DIR joined with the place."""
        return self._above + os.sep.join(place.parts)

    def shown_path(self, key: str, entry: Entry | None) -> str:
        """Return the path of an artifact's file, or of the folder of its members."""
        base = key if entry is None or entry.members is None else entry.base
        return os.path.join(self.path, *base.split("/")) if base else self.path

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield the manifest's places and entries, in order."""
        for key in sorted(self.manifest.places()):
            entry = self.manifest.get(key)
            if entry is not None:
                yield key, entry

    def removable(self, key: str, entry: Entry) -> Places:
        """Return the unchanged files and empty folders of an artifact."""
        return () if self._tree is None else self.unpacker.owners.removable(key, entry)

    def remove(self, key: str, entry: Entry, places: Places) -> None:
        """Remove files of an artifact that `removable` returned, and folders that become empty."""
        self.unpacker.owners.remove(key, entry, places)


def members_of(entry: Entry | None, directory: str) -> tuple[MemberFile, ...] | None:
    """Return the files that an artifact was unpacked to; None if it is one file."""
    if entry is None or entry.members is None:
        return None
    files = dict(files_of(entry.members))
    places = all_joined(entry.base, files)
    above = os.path.join(directory, "")
    return tuple(
        MemberFile(above + place.replace("/", os.sep), record.sha256)
        for place, record in zip(places, files.values(), strict=True)
    )
