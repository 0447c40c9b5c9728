"""The output folder as the download fills it, with its state folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..disk.aside import FEW
from ..disk.directory import Directory
from ..disk.entry import Entry
from ..disk.file_system import sync_file_system
from ..disk.files import write_file
from ..disk.partial import Partial
from ..disk.parts import PartialStore
from ..disk.paths import STATE_FOLDER, SafePath
from ..disk.tree import Tree
from ..errors import Refused, local_fault
from ..models import Artifact
from ..results import FileResult, Outcome
from ..transfer.jobs import Job, Whole, each
from .known_folder import PARTIAL, KnownFolder, members_of
from .placing import Placer, entry_of
from .plan import Action, Step
from .unpacker import Unpacking

_IGNORE = ".gitignore"
_TRIES = 5
"""How often a folder that another run removes is created again."""


class OutputFolder(KnownFolder):
    """An output folder that a download fills: a target (`jobs.Target`) besides its facts.

    Opening it creates nothing; `prepare` does. A lock on the state folder makes a second run wait;
    without locks two runs may do the same work twice, but do no harm.
    """

    def __init__(
        self, path: str, *, overwrite: bool = False, unpacking: Unpacking | None = None
    ) -> None:
        super().__init__(path, unpacking=unpacking)
        self._overwrite = overwrite
        self._parts: PartialStore | None = None
        self._placer: Placer | None = None
        self._steps: dict[str, Step] = {}
        """The steps of jobs, by the jobs' final paths."""
        self._packed: set[str] = set()
        """The final paths of jobs that turned out to be archives."""

    def prepare(self) -> bool:
        """Create the folder and its state folder; return whether the plan must be made again."""
        looked_at = vars(self).get("manifest")
        try:
            is_new = self._enter_state()
        except OSError as error:
            raise local_fault(error, os.path.join(self.path, STATE_FOLDER)) from error
        assert self._partial is not None, "the state folder was entered"
        self._parts = PartialStore(self._partial, run=self._run)
        with suppress(OSError):  # `open` raises it again
            self._parts.look()
        assert self._tree is not None, "its state folder was entered"
        # Made here, once, as several threads put files in place.
        self._placer = Placer(
            self._tree,
            self.manifest,
            self.unpacker.owners,
            overwrite=self._overwrite,
            judged=self._unpacking.wanted,
        )
        # Without a manifest and a journal nothing is known of the folder's files.
        knew = looked_at is not None and looked_at.exists
        return is_new and (knew or self.manifest.exists)

    def _enter_state(self) -> bool:
        """Open the state folder; return whether it is another one than before.

        A run without a lock may remove the empty folder at its end; then it is created again.
        """
        if self._tree is None:
            self._tree = Tree.open(self.path, create=True)
        before, tries = self._state, 0
        while True:
            try:
                self._state = self._state or self._tree.root.child(STATE_FOLDER, create=True)
                self.lock()
                self._ignore(self._state)
                self._partial = self._state.child(PARTIAL, create=True)
                self._run.enter(self._partial)
                break
            except FileNotFoundError:
                tries += 1
                if tries == _TRIES:
                    raise
                self._state, self._locked = None, False
        # Read the manifest here, once, as the workers share it.
        is_new = self._state is not before
        if is_new:
            self._tree.root.sync()  # else a file could survive a power cut without its records
            vars(self).pop("manifest", None)
        assert self.manifest is not None
        return is_new

    def _ignore(self, state: Directory) -> None:
        """Write a `.gitignore`, so that git ignores the state folder."""
        if state.lstat(_IGNORE) is None:
            write_file(state, _IGNORE, b"*\n", sync=False)

    def create(self) -> None:
        """Create the output folder. Raises `LocalError`."""
        if self._tree is None:
            self._tree = Tree.open(self.path, create=True)

    # The target of the download.

    def job(self, step: Step) -> Job:
        """Return the job that carries out a step."""
        job = Job(step.artifact, self.path_of(step.place))
        self._steps[job.path] = step
        return job

    def fresh(self, job: Job) -> Partial | None:
        """Return empty partial data for a job, unless the disk may have some."""
        assert self._parts is not None, "the folder was not prepared"
        return self._parts.fresh(part_key(job.artifact))

    def open(self, job: Job) -> Partial:
        """Return the partial data for a job."""
        assert self._parts is not None, "the folder was not prepared"
        return self._parts.open(part_key(job.artifact))

    def takes_long(self, whole: Whole) -> bool:
        """Tell whether the file is large or an archive to be unpacked."""
        partial = whole.partial
        try:
            is_packed = self.unpacker.is_packed(whole.job.artifact, partial)
        except OSError:
            return False  # the commit gets the error again
        if is_packed:
            self._packed.add(whole.job.path)
        return is_packed or partial.is_large

    def cancel(self) -> None:
        """Stop unpacking within a second."""
        if self._unpacker is not None:
            self._unpacker.cancel()

    def commit(self, batch: Sequence[Whole]) -> None:
        """Put complete files in their places, and the members of archives in theirs."""
        packed = [whole for whole in batch if whole.job.path in self._packed]
        each(packed, self._unpack)
        files = [one for one in batch if one.error is None and one.members is None]
        assert self._placer is not None, "the folder was not prepared"
        self._placer.put((one, self._steps[one.job.path]) for one in files)

    def _unpack(self, whole: Whole) -> None:
        """Put the members of an archive in place, unless it is to stay one file."""
        partial, step = whole.partial, self._steps[whole.job.path]
        with suppress(OSError):
            partial.checkpoint()  # so that after a kill the archive is complete
        descriptor = partial.directory.open(partial.part_name, os.O_RDONLY)
        try:
            key, artifact = str(step.place), whole.job.artifact
            made = self.unpacker.unpack(
                entry_of(whole, os.fstat(descriptor)),
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
        """Unpack an archive that an earlier run put in place without unpacking it.

        Raises what `Unpacker.unpack` raises; the archive then stays.
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

    def tidy(self, steps: Sequence[Step], *, look_only: bool = False) -> None:
        """Note the selected artifacts; remove what a killed run did not; put permissions right."""
        if self._tree is None:
            return
        self.unpacker.owners.current = {str(step.place) for step in steps}
        for step in steps:
            if look_only:
                continue
            if step.action is Action.KEEP and step.entry is not None:
                if step.entry.before:
                    self.unpacker.owners.settle(str(step.place), step.entry)
                self.unpacker.owners.restore_modes(str(step.place))

    def with_members(self, result: FileResult) -> FileResult:
        """Add the members of an unpacked artifact to the result of its job."""
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

    def finish(self, *, complete: bool) -> None:
        """Sync the folders and write the manifest; after a complete run remove all other state.

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
                self._state.rmdir(PARTIAL)
        with suppress(OSError, Refused):
            if self._tree is not None and self._parts is not None:
                if self._state is not None and self._state.listdir() == [_IGNORE]:
                    self._state.unlink(_IGNORE)
                self._tree.root.rmdir(STATE_FOLDER)  # only if it is empty

    def _find_partial(self) -> None:
        """Open the folder of partial data, also after a run that had nothing to fetch."""
        if self._partial is None and self._state is not None:
            with suppress(OSError, Refused):
                self._partial = self._state.child(PARTIAL, create=False)
                self._run.marks = self._partial
                self._parts = PartialStore(self._partial, run=self._run)

    def _clear_partial(self) -> None:
        """Remove partial data and marks of runs that have ended."""
        with suppress(OSError, Refused):
            if self._parts is not None:
                self._parts.clear()
                self._run.clear_marks()

    def _sync_touched(self) -> None:
        touched = set() if self._placer is None else self._placer.touched
        # The folders above too: the run may have created some of them.
        parts = {above[:depth] for above in touched for depth in range(len(above) + 1)}
        for above in sorted(parts, key=len, reverse=True):
            if self._tree is not None:
                with self._tree.parent(SafePath((*above, "any")), create=False) as parent:
                    parent.sync()
        touched.clear()
        self._sync_unpacked()

    def _sync_unpacked(self) -> None:
        if self._tree is None or self._unpacker is None or not self._unpacker.touched:
            return
        touched = self._unpacker.touched
        if len(touched) <= FEW or not sync_file_system(self._tree.root):
            for folder in touched:
                # A folder of an older version may be gone, or may be a file now.
                with (
                    suppress(FileNotFoundError, Refused),
                    self._tree.parent(SafePath((*folder, "-")), create=False) as parent,
                ):
                    parent.sync()
        touched.clear()


def part_key(artifact: Artifact, more: str = "") -> str:
    """Return the key by which the partial data of an artifact are found."""
    where = artifact.address
    names = (where.repo, where.run, where.workflow, where.task, where.cube, artifact.local_path)
    text = "\0".join((*names, more))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
