"""One artifact to one file that the user named (`-o FILE`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from ..disk.directory import Directory, open_root, refuse_special
from ..disk.file_lock import FileLock
from ..disk.files import fit_in
from ..disk.partial import Partial
from ..disk.parts import PartialStore
from ..errors import Refused, UsageError, named_file_fault
from ..text import visible
from ..transfer.jobs import Job, Whole, each
from .output_folder import part_key

_PREFIX = ".sourcecraft-artifacts-"


class OutputFile:
    """A file that the user named: a target (`jobs.Target`) for one job; a context manager.

    Partial data are beside it under a hidden name until they are complete. Raises `UsageError` for
    a name that cannot be a file's, `LocalError` if its folder cannot be opened or the name is too
    long, `Refused` if it is a folder, a device or a link to one.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        folder, self._name = os.path.split(path)
        if self._name in ("", ".", ".."):
            raise UsageError(f"{visible(path)} does not name a file")
        try:
            refuse_special(path)
        except Refused as refusal:
            raise Refused(refusal.message, hint="write to a stream with -o -") from None
        try:
            self._directory: Directory = open_root(folder or ".")
            self._directory.lstat(self._name)  # fails before any transfer if the name is too long
        except OSError as error:
            raise named_file_fault(error, path) from error
        self._parts = PartialStore(self._directory, _PREFIX)
        key = hashlib.sha256(os.fsencode(self._name)).hexdigest()[:32]
        self._lock_name = f"{_PREFIX}{key}.lock"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.run.leave()
        self._directory.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the file, after waiting for another run that has it locked.

        The lock is a hidden file beside it, which is removed at the end. Raises `Refused` if a
        symlink is in its place.
        """
        lock = FileLock(self._directory, self._lock_name)
        with lock.held(visible(self.path)) as alone:
            self._parts.run.alone = alone
            yield

    @property
    def exists(self) -> bool:
        """Whether something has that name already."""
        return os.path.lexists(self.path)

    def fresh(self, job: Job) -> Partial | None:
        """Return None: an earlier run may have left partial data."""
        return None

    def open(self, job: Job) -> Partial:
        """Return the partial data for the job."""
        return self._parts.open(part_key(job.artifact, self._name))

    def takes_long(self, whole: Whole) -> bool:
        """Return false: the file is only renamed."""
        return False

    def cancel(self) -> None:
        """Do nothing: no commit takes long."""

    def commit(self, batch: Sequence[Whole]) -> None:
        """Sync complete partial data and rename them to the file's name; a link is replaced."""
        each(batch, self._put_in_place)

    def _put_in_place(self, whole: Whole) -> None:
        size = whole.partial.seal().st_size
        before = self._directory.lstat(self._name)
        fit_in(self._directory, whole.partial.part_name, self._directory, before)
        self._directory.replace(whole.partial.part_name, self._directory, self._name)
        whole.partial.placed()
        self._directory.sync()
        whole.size = size
