"""The output folder as the plan sees it and the download fills it, with its state folder."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Self

from ..disk.directory import Directory, Lock, wait_for_lock
from ..disk.entry import Entry
from ..disk.files import move_file
from ..disk.manifest import Manifest
from ..disk.partial import Partial
from ..disk.parts import PartialStore
from ..disk.paths import STATE_FOLDER, SafePath, UnsafePath, folds_names, safe_path
from ..disk.runs import Run
from ..disk.tree import Tree
from ..errors import ArtifactsError, Refused, local_fault
from ..models import Artifact
from ..text import visible
from ..transfer.jobs import Job, Whole, each
from .plan import Step

_PARTIAL = "partial"
_TRIES = 5
"""How often a folder is made anew that another run removes."""


class OutputFolder:
    """An output folder: facts for the plan (`plan.Disk`), then a target (`jobs.Target`).

    As a context. Opening it creates nothing; `prepare` does. A lock on the state folder keeps a
    second run out; where there are no locks, runs may do the same work twice and no more.
    """

    def __init__(self, path: str, *, overwrite: bool = False) -> None:
        self.path = path
        self._overwrite = overwrite
        self._tree: Tree | None = None
        self._state: Directory | None = None
        self._partial: Directory | None = None
        self._parts: PartialStore | None = None
        self._run = Run()
        self._locked = False
        self._touched: dict[tuple[str, ...], SafePath] = {}
        self._lock = threading.Lock()
        self._folds: bool | None = None
        self._steps: dict[str, Step] = {}
        """By the final path of their jobs."""

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
        """Open what exists. Raises `LocalError`, and `Refused` for a state folder not ours."""
        if not os.path.lexists(self.path):
            return
        self._tree = Tree.open(self.path, create=False)
        with suppress(FileNotFoundError):
            self._state = self._tree.root.child(STATE_FOLDER, create=False)

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, read when it is first asked for: after `lock`, where there is one.

        Raises `Refused` where a newer version of this tool wrote it.
        """
        return Manifest(self._state, self._run, self._look)

    def _look(self, place: str) -> os.stat_result | None:
        """Look at a place of the manifest; None when nothing is to be seen there."""
        try:
            return self.lstat(safe_path(place, portable=False))
        except (UnsafePath, ArtifactsError):
            return None

    def lock(self) -> None:
        """Keep other runs out of the folder, after waiting for one that is at it.

        What the other run did is seen afterwards.
        """
        if self._state is None or self._locked:
            return
        state, wait = self._state, f"waiting for another download into {visible(self.path)} to end"

        def take() -> Lock | None:
            lock = state.lock()
            return None if lock is Lock.TAKEN else lock

        self._run.alone = wait_for_lock(take, wait) is Lock.HAD
        self._locked = True

    def prepare(self) -> bool:
        """Make the folder and its state ready to be written; True when that changed the facts."""
        try:
            is_new = self._enter_state()
        except OSError as error:
            raise local_fault(error, os.path.join(self.path, STATE_FOLDER)) from error
        assert self._partial is not None, "it was entered"
        self._parts = PartialStore(self._partial, run=self._run)
        return is_new

    def _enter_state(self) -> bool:
        """Open the state folder and what is in it; True when it is another than was looked at.

        A run that has no lock may remove what it empties at its end: then it is made once more.
        """
        if self._tree is None:
            self._tree = Tree.open(self.path, create=True)
        before, tries = self._state, 0
        while True:
            try:
                self._state = self._state or self._tree.root.child(STATE_FOLDER, create=True)
                self.lock()
                self._partial = self._state.child(_PARTIAL, create=True)
                self._run.enter(self._partial)
                break
            except FileNotFoundError:
                tries += 1
                if tries == _TRIES:
                    raise
                self._state, self._locked = None, False
        # Read here: the workers that share it must not each read their own.
        is_new = self._state is not before
        if is_new or "manifest" not in vars(self):
            self.manifest = Manifest(self._state, self._run, self._look)
        return is_new

    def create(self) -> None:
        """Make the folder itself. Raises `LocalError`."""
        if self._tree is None:
            self._tree = Tree.open(self.path, create=True)

    # Facts for the plan.

    @property
    def folds_names(self) -> bool:
        """Whether names that differ by case or normalisation are one file here."""
        if self._folds is None:
            self._folds = folds_names(self.path)
        return self._folds

    def lstat(self, place: SafePath) -> os.stat_result | None:
        """Look at a place, without following it. Raises `Refused` when it cannot be reached."""
        try:
            return None if self._tree is None else self._tree.lstat(place)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise Refused("its path is longer than this system allows") from error
            raise local_fault(error, self.path_of(place)) from error
        except UnicodeEncodeError as error:
            raise Refused(
                f"its name cannot be written in this system's encoding ({error.encoding})"
            ) from error

    def entry(self, place: SafePath) -> Entry | None:
        """Return what the manifest has of a place, and a run that goes on beside this one."""
        found = None if self._run.alone else self.lstat(place)
        if found is not None:
            self.manifest.knows(str(place), found)
        return self.manifest.get(str(place))

    def was_only_intended(self, place: SafePath) -> bool:
        """Tell whether a killed run may not have come to put its first file here."""
        return self.manifest.was_only_intended(str(place))

    def holds(self, place: SafePath, entry: Entry, found: os.stat_result) -> bool:
        """Tell whether the file there is the recorded one: by size and time, else by SHA-256.

        A file that was only touched is recorded anew with its time.
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

    def sha256(self, place: SafePath) -> str:
        """Hash the file at a place. Raises OSError, and `Refused` for a symlink."""
        assert self._tree is not None, "a file was seen below it"
        with (
            self._tree.parent(place, create=False) as parent,
            os.fdopen(parent.open(place.name, os.O_RDONLY), "rb", buffering=0) as file,
        ):
            return hashlib.file_digest(file, "sha256").hexdigest()

    def path_of(self, place: SafePath) -> str:
        """Return a place as the report shows it: DIR joined with what is below."""
        return os.path.join(self.path, *place.parts)

    # The target of the download.

    def job(self, step: Step) -> Job:
        """Return the job that carries out a step."""
        job = Job(step.artifact, self.path_of(step.place))
        self._steps[job.path] = step
        return job

    def open(self, job: Job) -> Partial:
        """Return the partial data for a job."""
        assert self._parts is not None, "the folder was not prepared"
        return self._parts.open(part_key(job.artifact))

    def takes_long(self, whole: Whole) -> bool:
        """No: it is renamed."""
        return False

    def cancel(self) -> None:
        """Do nothing: no commit takes long."""

    def commit(self, batch: Sequence[Whole]) -> None:
        """Move complete partial data to its places: synced, recorded, then renamed.

        A batch is written to the disk as one, and recorded as one: file by file it would take
        three times as long. The folders' own names are synced at the end of the run, before the
        manifest that speaks of them: a loss of power before that leaves the old file or none,
        never an empty one.
        """
        entries: dict[Whole, Entry] = {}

        def seal(whole: Whole) -> None:
            entries[whole] = self._seal(whole)

        for whole in batch:
            whole.partial.start_sync()
        each(batch, seal)
        each(entries, self._check_unchanged)
        ready = [whole for whole in entries if whole.error is None]
        try:
            self.manifest.intend({str(self._place(whole)): entries[whole] for whole in ready})
        except Exception as error:
            for whole in ready:
                whole.error = error
        else:
            each(ready, self._put_in_place)

    def _place(self, whole: Whole) -> SafePath:
        return self._steps[whole.job.path].place

    def _seal(self, whole: Whole) -> Entry:
        """Put the bytes on the disk and return what is to be recorded of them."""
        artifact, version = whole.job.artifact, whole.partial.version
        found = whole.partial.seal()
        return Entry(
            artifact.address,
            artifact.local_path,
            artifact.dates,
            found.st_size,
            whole.sha256,
            found.st_mtime_ns,
            version.validator if version else None,
        )

    def _check_unchanged(self, whole: Whole) -> None:
        """Refuse to replace what came to stand at the place after the plan was made."""
        step = self._steps[whole.job.path]
        before, found = step.before, None if self._overwrite else self.lstat(step.place)
        if found is None or (before is not None and _are_same(before, found)):
            return
        # Else it is of another run that no lock kept out.
        if not self.manifest.knows(str(step.place), found):
            raise Refused("a file came to stand in its place while it was downloaded")

    def _put_in_place(self, whole: Whole) -> None:
        place, partial = self._place(whole), whole.partial
        assert self._tree is not None, "the folder was not prepared"
        with self._tree.parent(place, create=True) as parent:
            move_file(partial.directory, partial.part_name, parent, place.name)
        self.manifest.placed(str(place))
        partial.placed()
        whole.size = partial.size
        with self._lock:
            self._touched[place.parts[:-1]] = place

    def finish(self, *, complete: bool) -> None:
        """Sync the folders, write the manifest, and after a complete run leave nothing else.

        Raises `LocalError`; the journal then stays for the next run.
        """
        try:
            self._sync_touched()
            self._find_partial()
            self.manifest.save()
        except OSError as error:
            raise local_fault(error, os.path.join(self.path, STATE_FOLDER)) from error
        self._run.leave()
        if complete:
            self._clear_partial()
        with suppress(OSError, Refused):
            if self._state is not None and (self._locked or complete):
                self._state.rmdir(_PARTIAL)
        with suppress(OSError, Refused):
            if self._tree is not None and self._parts is not None:
                self._tree.root.rmdir(STATE_FOLDER)  # where nothing is left in it at all

    def _find_partial(self) -> None:
        """Open the folder of partial data, also after a run that had nothing to fetch."""
        if self._partial is None and self._state is not None:
            with suppress(OSError, Refused):
                self._partial = self._state.child(_PARTIAL, create=False)
                self._run.marks = self._partial
                self._parts = PartialStore(self._partial, run=self._run)

    def _clear_partial(self) -> None:
        """Remove what runs left that are over."""
        with suppress(OSError, Refused):
            if self._parts is not None:
                self._parts.clear()
                self._run.clear_marks()

    def _sync_touched(self) -> None:
        assert self._tree is not None or not self._touched
        for place in self._touched.values():
            if self._tree is not None:
                with self._tree.parent(place, create=False) as parent:
                    parent.sync()
        self._touched.clear()


def _are_same(before: os.stat_result, found: os.stat_result) -> bool:
    """Tell whether a file is as it was at an earlier look."""
    return (before.st_ino, before.st_mtime_ns, before.st_size) == (
        found.st_ino,
        found.st_mtime_ns,
        found.st_size,
    )


def part_key(artifact: Artifact, more: str = "") -> str:
    """Return the name under which an artifact's partial data is found again."""
    where = artifact.address
    names = (where.repo, where.run, where.workflow, where.task, where.cube, artifact.local_path)
    text = "\0".join((*names, more))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
