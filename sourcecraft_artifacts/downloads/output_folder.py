"""The output folder as the plan sees it and the download fills it, with its state folder."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Self

from ..disk.aside import FEW, sync_file_system
from ..disk.directory import Directory
from ..disk.entry import Entry
from ..disk.files import fit_in, move_file, write_file
from ..disk.locks import Lock, wait_for_lock
from ..disk.manifest import Manifest
from ..disk.members import Stored
from ..disk.partial import Partial
from ..disk.parts import PartialStore
from ..disk.paths import STATE_FOLDER, SafePath, UnsafePath, folds_names, safe_path
from ..disk.records import Places, files_of, is_as_left, joined
from ..disk.runs import Run, others_at_work
from ..disk.tree import Tree, refuse_too_long
from ..errors import ArtifactsError, LocalError, Refused, local_fault
from ..models import Artifact
from ..results import FileResult, MemberFile, Outcome
from ..text import visible
from ..transfer.jobs import Job, Whole, each
from .plan import Action, Step
from .unpack import remove_empty, remove_old
from .unpacker import Unpacker, Unpacking, old_places

_PARTIAL = "partial"
_IGNORE = ".gitignore"
_TRIES = 5
"""How often a folder is made anew that another run removes."""


class OutputFolder:
    """An output folder: facts for the plan (`plan.Disk`), then a target (`jobs.Target`).

    As a context. Opening it creates nothing; `prepare` does. A lock on the state folder keeps a
    second run out; where there are no locks, runs may do the same work twice and no more.
    """

    def __init__(
        self, path: str, *, overwrite: bool = False, unpacking: Unpacking | None = None
    ) -> None:
        self.path = path
        self._overwrite = overwrite
        self._unpacking = unpacking or Unpacking(wanted=False)
        self._tree: Tree | None = None
        self._state: Directory | None = None
        self._partial: Directory | None = None
        self._parts: PartialStore | None = None
        self._run = Run()
        self._locked = False
        self._touched: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()
        self._folds: bool | None = None
        self._unpacker: Unpacker | None = None
        self._steps: dict[str, Step] = {}
        """By the final path of their jobs."""
        self._packed: set[str] = set()
        """The final paths of jobs that turned out to be archives."""

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
        """Open what exists.

        Raises OSError, `LocalError`, and `Refused` for a state folder not ours.
        """
        if not os.path.isabs(self.path):
            os.getcwd()  # one that was deleted can still be opened, and holds nothing
        if not os.path.lexists(self.path):
            return
        self._tree = Tree.open(self.path, create=False)
        with suppress(FileNotFoundError):
            self._state = self._tree.root.child(STATE_FOLDER, create=False)

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, read when it is first asked for: after `lock`, where there is one.

        Raises `Refused` where a newer version of this tool wrote it, or where it is no plain file,
        and `LocalError` where it cannot be read.
        """
        try:
            return Manifest(self._state, self._run, self._look)
        except OSError as error:
            path = visible(error.filename or os.path.join(self.path, STATE_FOLDER))
            reason = visible(error.strerror or "it cannot be opened")
            raise LocalError(f"cannot read {path}: {reason}") from error

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
        state = self._state

        def take() -> Lock | None:
            lock = state.lock()
            return None if lock is Lock.TAKEN else lock

        self._run.alone = wait_for_lock(take, lambda: self._wait(state)) is Lock.HAD
        self._locked = True

    @property
    def unpacker(self) -> Unpacker:
        """What turns archives into folders here; made anew with the manifest."""
        assert self._tree is not None, "there is no folder"
        if self._unpacker is None or self._unpacker.manifest is not self.manifest:
            made = Unpacker(self._tree, self.manifest, self._unpacking, folds=self.folds_names)
            self._unpacker = made
        return self._unpacker

    def _wait(self, state: Directory) -> str:
        """Say what is waited for, with the processes of the runs that are seen at work."""
        numbers: list[int] = []
        with suppress(OSError, Refused), state.child(_PARTIAL, create=False) as partial:
            numbers = others_at_work(partial)
        whom = f" (process {', '.join(map(str, numbers))})" if numbers else ""
        return f"waiting for another download into {visible(self.path)} to end{whom}"

    def prepare(self) -> bool:
        """Make the folder and its state ready to be written; True when that changed the facts."""
        looked_at = vars(self).get("manifest")
        try:
            is_new = self._enter_state()
        except OSError as error:
            raise local_fault(error, os.path.join(self.path, STATE_FOLDER)) from error
        assert self._partial is not None, "it was entered"
        self._parts = PartialStore(self._partial, run=self._run)
        with suppress(OSError):  # `open` meets it again
            self._parts.look()
        # Nothing has been put into a state folder that has no manifest and no journal.
        knew = looked_at is not None and looked_at.exists
        return is_new and (knew or self.manifest.exists)

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
                self._ignore(self._state)
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
        if is_new:
            self._tree.root.sync()  # or a file could outlive the folder that knows it as ours
            vars(self).pop("manifest", None)
        assert self.manifest is not None
        return is_new

    def _ignore(self, state: Directory) -> None:
        """Keep the state folder out of git, as whoever has the output folder there wants it."""
        if state.lstat(_IGNORE) is None:
            write_file(state, _IGNORE, b"*\n", sync=False)

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
            refuse_too_long(self.path_of(place))
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
        entry = self.manifest.get(str(place))
        if entry is None and self._tree is not None:
            return self.unpacker.member_at(str(place))
        return entry

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

    def holds_members(self, place: SafePath, entry: Entry) -> bool:
        """Tell whether all that an artifact was unpacked to is as it was put there."""
        return self._tree is not None and self.unpacker.is_whole(str(place), entry)

    def has_members(self, entry: Entry) -> bool:
        """Tell whether something stands at the place of each of them."""
        return self._tree is not None and self.unpacker.are_there(entry)

    def holds_only_ours(self, place: SafePath, entry: Entry) -> bool:
        """Tell whether a folder holds nothing but what an artifact was unpacked to."""
        return self.unpacker.holds_only(place, str(place), entry)

    def is_to_be_unpacked(self, place: SafePath, artifact: Artifact) -> bool:
        """Tell whether the file there is an archive that is to be a folder."""
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
        """Tell whether a member is as recorded, by all of its bytes. Raises OSError."""
        assert self._tree is not None, "a file was seen below it"
        with self._tree.parent(place, create=False) as parent:
            return is_as_left(record._replace(mtime_ns=-1), parent, place.name)

    def path_of(self, place: SafePath) -> str:
        """Return a place as the report shows it: DIR joined with what is below."""
        return os.path.join(self.path, *place.parts)

    def shown_path(self, place: SafePath, entry: Entry | None) -> str:
        """Return where an artifact is: a file's place, or the folder that its members are in."""
        if entry is None or entry.members is None:
            return self.path_of(place)
        return os.path.join(self.path, *entry.base.split("/")) if entry.base else self.path

    def with_members(self, result: FileResult) -> FileResult:
        """Add to the result of a job what the artifact was unpacked to."""
        step = self._steps.get(result.path or "")
        if step is None or result.outcome is not Outcome.DOWNLOADED:
            return result
        if not self.manifest.is_folder(str(step.place)):
            return result
        entry = self.manifest.get(str(step.place))
        if entry is None or entry.members is None:
            return result
        path = self.shown_path(step.place, entry)
        return result._replace(path=path, members=members_of(entry, self.path))

    # The target of the download.

    def job(self, step: Step) -> Job:
        """Return the job that carries out a step."""
        job = Job(step.artifact, self.path_of(step.place))
        self._steps[job.path] = step
        return job

    def fresh(self, job: Job) -> Partial | None:
        """Return empty partial data for a job of which the disk has none."""
        assert self._parts is not None, "the folder was not prepared"
        return self._parts.fresh(part_key(job.artifact))

    def open(self, job: Job) -> Partial:
        """Return the partial data for a job."""
        assert self._parts is not None, "the folder was not prepared"
        return self._parts.open(part_key(job.artifact))

    def takes_long(self, whole: Whole) -> bool:
        """Tell whether it is an archive, or large."""
        partial = whole.partial
        artifact, size = whole.job.artifact, partial.size or 0
        try:
            is_packed = self.unpacker.is_packed(artifact, partial.descriptor, size)
        except OSError:
            return False  # whoever commits it meets the error
        if is_packed:
            self._packed.add(whole.job.path)
        return is_packed or partial.is_large

    def cancel(self) -> None:
        """End what is being unpacked within a second."""
        if self._unpacker is not None:
            self._unpacker.cancel()

    def commit(self, batch: Sequence[Whole]) -> None:
        """Move complete partial data to its places: synced, recorded, then renamed.

        A batch is written to the disk as one, and recorded as one: file by file it would take
        three times as long. The folders' own names are synced at the end of the run, before the
        manifest that speaks of them: a loss of power before that leaves the old file or none,
        never an empty one.
        """
        packed = [whole for whole in batch if whole.job.path in self._packed]
        each(packed, self._unpack)
        self._commit_files([w for w in batch if w.error is None and w.members is None])

    def _unpack(self, whole: Whole) -> None:
        """Put the members of an archive in place; what is none stays for the others' commit."""
        partial, step = whole.partial, self._steps[whole.job.path]
        with suppress(OSError):
            partial.checkpoint()  # a kill from here on leaves an archive that is whole
        descriptor = partial.directory.open(partial.part_name, os.O_RDONLY)
        try:
            key, artifact = str(step.place), whole.job.artifact
            made = self.unpacker.unpack(
                self._entry(whole, os.fstat(descriptor)),
                artifact,
                key,
                descriptor,
                partial.directory,
                partial.stem,
                whole.tell_stage,
            )
        finally:
            os.close(descriptor)
        if made is not None:
            whole.members, whole.size = made.members, made.size
            partial.forget()

    def unpack_here(self, step: Step, tell: Callable[[str], None]) -> Entry:
        """Unpack an archive that lies at its place, where an earlier run had left it as it came.

        Raises what `Unpacker.unpack` does; the archive then stays.
        """
        assert self._tree is not None, "the folder was not prepared"
        assert self._partial is not None, "the folder was not prepared"
        assert step.entry is not None, "it was found in the manifest"
        key = str(step.place)
        entry = step.entry._replace(before=())
        with self._tree.parent(step.place, create=False) as parent:
            descriptor = parent.open(step.place.name, os.O_RDONLY)
        try:
            made = self.unpacker.unpack(
                entry,
                step.artifact,
                key,
                descriptor,
                self._partial,
                f"{part_key(step.artifact)}-{self._run.token}",
                tell,
            )
        finally:
            os.close(descriptor)
        if made is None:
            made = entry._replace(is_judged=True)
            self.manifest.settled(key, made)
        return made

    def _commit_files(self, batch: Sequence[Whole]) -> None:
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
        key, found = str(self._place(whole)), whole.partial.seal()
        before = old_places(key, self.manifest.get(key))
        left = tuple(pair for pair in before if pair[0] != key)
        return self._entry(whole, found, before=left, is_judged=self._unpacking.wanted)

    def _entry(
        self,
        whole: Whole,
        found: os.stat_result,
        *,
        before: Places = (),
        is_judged: bool = False,
    ) -> Entry:
        """Return what is to be recorded of an object."""
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

    def _check_unchanged(self, whole: Whole) -> None:
        """Refuse to replace what came to stand at the place after the plan was made."""
        step = self._steps[whole.job.path]
        assert self._tree is not None, "the folder was not prepared"
        before, found = step.before, self._tree.lstat(step.place)
        if found is not None and stat.S_ISDIR(found.st_mode):
            self._check_folder(step.place)
            return
        if found is None or self._overwrite or (before and _are_same(before, found)):
            return
        # Else it is of another run that no lock kept out.
        if not self.manifest.knows(str(step.place), found):
            raise Refused("a file came to stand in its place while it was downloaded")

    def _check_folder(self, place: SafePath) -> None:
        """Refuse a file where a folder holds anything but what the artifact was unpacked to."""
        entry = self.manifest.get(str(place))
        if entry is None or not self.holds_only_ours(place, entry):
            raise Refused(
                "it is a file, and a folder stands in its place",
                hint="move it away, or choose another output folder",
            )

    def _put_in_place(self, whole: Whole) -> None:
        place, partial = self._place(whole), whole.partial
        assert self._tree is not None, "the folder was not prepared"
        with self._tree.parent(place, create=True) as parent:
            before = parent.lstat(place.name)
            if before is not None and stat.S_ISDIR(before.st_mode):
                self._make_way(place)
            fit_in(partial.directory, partial.part_name, parent, before)
            move_file(partial.directory, partial.part_name, parent, place.name)
        self.manifest.placed(str(place))
        self.unpacker.settle_file(str(place))
        partial.placed()
        whole.size = partial.size
        with self._lock:
            self._touched.add(place.parts[:-1])

    def _make_way(self, place: SafePath) -> None:
        """Remove the folder that an artifact was, where a file is to come in its place."""
        assert self._tree is not None, "the folder was not prepared"
        entry = self.manifest.get(str(place))
        if entry is not None:
            remove_old(self._tree, entry.before, lambda _: False)
            remove_empty(self._tree, str(place))

    def tidy(self, steps: Sequence[Step], *, look_only: bool = False) -> None:
        """Learn which artifacts are selected, and end what a killed run had almost ended."""
        if self._tree is None:
            return
        self.unpacker.current = {str(step.place) for step in steps}
        for step in steps:
            if look_only:
                continue
            if step.action is Action.KEEP and step.entry is not None and step.entry.before:
                self.unpacker.settle(str(step.place), step.entry)

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield what the manifest has, by place."""
        for key in sorted(self.manifest.places()):
            entry = self.manifest.get(key)
            if entry is not None:
                yield key, entry

    def removable(self, key: str, entry: Entry) -> Places:
        """Return the files and empty folders of an artifact that are as they were left."""
        return () if self._tree is None else self.unpacker.removable(key, entry)

    def remove(self, key: str, entry: Entry, places: Places) -> None:
        """Remove files of an artifact, as `removable` gave them, and folders left empty."""
        self.unpacker.remove(key, entry, places)

    def shown_path_of(self, key: str, entry: Entry) -> str:
        """Return where an artifact of the manifest is, as the report shows it."""
        base = key if entry.members is None else entry.base
        return os.path.join(self.path, *base.split("/")) if base else self.path

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
                if self._state is not None and self._state.listdir() == [_IGNORE]:
                    self._state.unlink(_IGNORE)
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
        # The folders above too: some of them may have been made for what is in them.
        parts = {above[:depth] for above in self._touched for depth in range(len(above) + 1)}
        for above in sorted(parts, key=len, reverse=True):
            if self._tree is not None:
                with self._tree.parent(SafePath((*above, "any")), create=False) as parent:
                    parent.sync()
        self._touched.clear()
        self._sync_unpacked()

    def _sync_unpacked(self) -> None:
        if self._tree is None or self._unpacker is None or not self._unpacker.touched:
            return
        touched = self._unpacker.touched
        if len(touched) <= FEW or not sync_file_system(self._tree.root):
            for folder in touched:
                # A folder of an older version may be gone, or a file of a newer one in its place.
                with (
                    suppress(FileNotFoundError, Refused),
                    self._tree.parent(SafePath((*folder, "-")), create=False) as parent,
                ):
                    parent.sync()
        touched.clear()


def _are_same(before: os.stat_result, found: os.stat_result) -> bool:
    """Tell whether a file is as it was at an earlier look.

    Its number may differ from look to look: then the time of its last change must not.
    """
    return (before.st_mtime_ns, before.st_size) == (found.st_mtime_ns, found.st_size) and (
        before.st_ino == found.st_ino or before.st_ctime_ns == found.st_ctime_ns
    )


def members_of(entry: Entry | None, directory: str) -> tuple[MemberFile, ...] | None:
    """Return the files that an artifact was unpacked to; None where it is one file."""
    if entry is None or entry.members is None:
        return None
    return tuple(
        MemberFile(os.path.join(directory, *joined(entry.base, path).split("/")), record.sha256)
        for path, record in files_of(entry.members)
    )


def part_key(artifact: Artifact, more: str = "") -> str:
    """Return the name under which an artifact's partial data is found again."""
    where = artifact.address
    names = (where.repo, where.run, where.workflow, where.task, where.cube, artifact.local_path)
    text = "\0".join((*names, more))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
