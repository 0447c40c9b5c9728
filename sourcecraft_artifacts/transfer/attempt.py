"""One job under way, from its first byte to its outcome."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ..errors import ArtifactsError, Cancelled, TransferError, bug, local_fault
from ..results import FileResult, Outcome
from .jobs import Job, Target, Whole
from .transfer import Transfer


class Attempt:
    """One job under way. The engine guards `workers`, how many are at it, and `settling`."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.transfer: Transfer | None = None
        self.workers = 0
        self.settling = False
        self.mismatch: str | None = None
        """What was wrong with the whole of it just now: it is fetched a second time."""
        self._repeated = False
        self._error: ArtifactsError | None = None
        self._size: int | None = None
        self._sha256: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it cannot be had."""
        return self._error is not None

    @property
    def is_large(self) -> bool:
        """Whether it takes long to commit."""
        return self.transfer is not None and self.transfer.partial.is_large

    @property
    def wants_help(self) -> bool:
        """Whether another connection would find something to do."""
        return self.transfer is not None and not self.settling and self.transfer.wants_help

    def fail(self, error: Exception) -> None:
        """Give it up for an error; the first one counts."""
        if isinstance(error, OSError):
            error = local_fault(error, self.job.path)
        elif not isinstance(error, ArtifactsError):
            error = bug(error)
        self._error = self._error or error
        if self.transfer is not None:
            self.transfer.failed = True

    @property
    def ended(self) -> bool:
        """Whether it failed or is in its place: there is nothing more to fetch."""
        return self.failed or self._sha256 is not None

    def whole(self, *, repeat: bool) -> Whole | None:
        """Return what is complete and as the storage's checksums say, or None.

        What differs from them is dropped, and with `repeat` fetched again, once. Errors make it
        fail, and raise nothing.
        """
        self.mismatch = None
        if self.failed or self.transfer is None or not self.transfer.partial.complete:
            return None
        partial = self.transfer.partial
        try:
            sha256 = partial.digest()
        except TransferError as error:
            partial.forget()
            if repeat and not self._repeated:
                self._repeated, self.mismatch = True, error.message
            else:
                self.fail(error)
        except Exception as error:
            self.fail(error)
        else:
            job = replace(self.job, artifact=self.transfer.artifact)
            return Whole(job, partial, sha256, self.transfer.tell_stage)
        return None

    def take(self, whole: Whole) -> None:
        """Learn what came of the commit; one that was called off leaves it as it is."""
        if isinstance(whole.error, Cancelled):
            return
        if whole.error is not None:
            self.fail(whole.error)
        else:
            self._size, self._sha256 = whole.size, whole.sha256

    def suspend(self) -> None:
        """End it as it is: what came of it is left for a later run."""
        if self._sha256 is not None:
            return
        self.fail(TransferError("it was called off", code="cancelled"))
        if self.transfer is not None:
            self.transfer.partial.suspend()

    def result(self) -> FileResult:
        """Return what became of it."""
        transfer = self.transfer
        return FileResult(
            transfer.artifact if transfer else self.job.artifact,
            self.job.path,
            Outcome.FAILED if self.failed else Outcome.DOWNLOADED,
            size=self._size,
            sha256=self._sha256,
            transferred=transfer.received if transfer else 0,
            seconds=time.monotonic() - transfer.started if transfer else 0.0,
            error=self._error,
            resumed=0 if self.failed else self._resumed(),
        )

    def _resumed(self) -> int:
        """Return the bytes of it that were there already when this run began."""
        if self.transfer is None:
            return 0
        return max(0, (self.transfer.partial.size or 0) - self.transfer.received)


def commit(attempts: Sequence[Attempt], target: Target, *, repeat: bool) -> None:
    """Check what is whole, and move it to its place in one go; what is not is left as it is.

    What takes long comes after the others, one by one.
    """
    batch = [(one, whole) for one in attempts if (whole := one.whole(repeat=repeat)) is not None]
    takes_long = [whole for _, whole in batch if target.takes_long(whole)]
    if quick := [whole for _, whole in batch if whole not in takes_long]:
        target.commit(quick)
    for whole in takes_long:
        target.commit([whole])
    for attempt, whole in batch:
        attempt.take(whole)
