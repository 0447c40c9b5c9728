"""The output folder as the target of a download: what happens to each complete file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..disk.entry import Entry
from ..disk.partial import Partial
from ..errors import LocalError
from ..models import Artifact
from ..results import FileResult, Outcome
from ..transfer.jobs import Job, Whole, each
from .decisions import Action, Step
from .known_folder import members_of
from .placing import entry_of
from .prepared_folder import PreparedFolder
from .unpacker import Unpacking


class OutputFolder(PreparedFolder):
    """An output folder that a download fills: a target (`jobs.Target`) besides its facts."""

    def __init__(
        self, path: str, *, overwrite: bool = False, unpacking: Unpacking | None = None
    ) -> None:
        super().__init__(path, overwrite=overwrite, unpacking=unpacking)
        self._steps: dict[str, Step] = {}
        """The steps of jobs, by the jobs' final paths."""
        self._packed: set[str] = set()
        """The final paths of jobs that turned out to be archives."""

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
        except OSError as error:
            whole.error = error
            return False
        if is_packed:
            self._packed.add(whole.job.path)
        return is_packed or partial.is_large

    def cancel(self) -> None:
        """Stop unpacking within a second."""
        if "unpacker" in vars(self):
            self.unpacker.cancel()

    def commit(self, batch: Sequence[Whole]) -> None:
        """Put complete files in their places, and the members of archives in theirs."""
        packed = [whole for whole in batch if whole.job.path in self._packed]
        each(packed, self._unpack)
        assert self._placer is not None, "the folder was not prepared"
        self._placer.put(
            (one, self._steps[one.job.path])
            for one in batch
            if one.error is None and one.members is None
        )

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
            if step.makes_way is not None:
                self.unpacker.owners.forget_above(step.place)
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

    def tidy(self, steps: Sequence[Step], *, look_only: bool = False) -> dict[Artifact, LocalError]:
        """Note the selected artifacts; remove what a killed run did not; put permissions right.

        Returns the artifacts of which old files cannot be removed, each with the error.
        """
        stuck: dict[Artifact, LocalError] = {}
        if self._tree is None:
            return stuck
        owners = self.unpacker.owners
        owners.current = {str(step.place) for step in steps}
        for step in () if look_only else steps:
            if step.action is not Action.NONE and step.makes_way is None:
                owners.forget_above(step.place)
            if step.action is Action.KEEP and step.entry is not None:
                try:
                    if step.entry.before:
                        owners.settle(str(step.place), step.entry)
                except LocalError as error:
                    stuck[step.artifact] = error
                owners.restore_modes(str(step.place))
        return stuck

    def with_members(self, result: FileResult) -> FileResult:
        """Add the members of an unpacked artifact to the result of its job."""
        if result.path not in self._packed or result.outcome is not Outcome.DOWNLOADED:
            return result
        key = str(self._steps[result.path].place)
        entry = self.manifest.get(key)
        if entry is None or entry.members is None:
            return result
        path = self.shown_path(key, entry)
        return result._replace(path=path, members=members_of(entry, self.path))


def part_key(artifact: Artifact, more: str = "") -> str:
    """Return the key by which the partial data of an artifact are found."""
    text = "\0".join((*artifact.address, artifact.local_path, more))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
