"""One job in progress, from its first byte to its result."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..errors import ArtifactsError, Cancelled, TransferError, bug, cancelled, local_fault
from ..results import FileResult, Outcome
from .jobs import Job, Target, Whole
from .loop import Task
from .slices import MIN_PIECE
from .transfer import Transfer


class Attempt:
    """One job in progress: its `tasks` fetch it, until it is `settling`.

    `settling` means that its bytes are being committed, or saved for a later run. Only the loop's
    thread uses it, and while it is settling a settler's thread.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.transfer: Transfer | None = None
        self.tasks: set[Task] = set()
        self.settling = False
        self.mismatch: str | None = None
        """The error of the whole object, which is then fetched a second time."""
        self.failed = False
        self._repeated = False
        self._error: ArtifactsError | None = None
        self._size: int | None = None
        self._sha256: str | None = None

    @property
    def ended(self) -> bool:
        """Whether it failed or is in place, so that there is nothing left to fetch."""
        return self.failed or self._sha256 is not None

    @property
    def is_whole(self) -> bool:
        """Whether all its bytes have arrived."""
        return not self.failed and self.transfer is not None and self.transfer.pieces.complete

    @property
    def wants_help(self) -> bool:
        """Whether another connection would have something to do."""
        return self.transfer is not None and not self.settling and self.transfer.wants_help

    @property
    def pieces_left(self) -> int:
        """How many more connections would have something to do."""
        if not self.wants_help or self.transfer is None:
            return 0
        return self.transfer.pieces.unclaimed // MIN_PIECE

    def fail(self, error: Exception) -> None:
        """Give it up because of an error; the first one counts."""
        if isinstance(error, OSError):
            error = local_fault(error, self.job.path)
        elif not isinstance(error, ArtifactsError):
            error = bug(error)
        self.failed, self._error = True, self._error or error
        if self.transfer is not None:
            self.transfer.failed = True

    def whole(self, *, repeat: bool) -> Whole | None:
        """Return the complete object if it matches the storage's checksums, else None.

        An object that differs is dropped, and with `repeat` fetched again, once. Errors make the
        attempt fail; nothing is raised.
        """
        self.mismatch = None
        if self.failed or self.transfer is None:
            return None
        partial = self.transfer.partial
        try:
            sha256 = partial.digest()
        except TransferError as error:
            if repeat and partial.keeps and not self._repeated:
                self._repeated, self.mismatch = True, error.message
            else:
                self.fail(error)
            partial.forget()
        except Exception as error:
            self.fail(error)
        else:
            job = self.job
            if self.transfer.artifact is not job.artifact:
                job = job._replace(artifact=self.transfer.artifact)
            return Whole(job, partial, sha256, self.transfer.tell_stage)
        return None

    def take(self, whole: Whole) -> None:
        """Take the result of the commit; a cancelled one leaves the attempt as it is."""
        if isinstance(whole.error, Cancelled):
            return
        if whole.error is not None:
            self.fail(whole.error)
        else:
            self._size, self._sha256 = whole.size, whole.sha256

    def suspend(self) -> None:
        """Stop it; its partial data are kept for a later run."""
        if self._sha256 is not None:
            return
        self.fail(cancelled())
        if self.transfer is not None:
            self.transfer.partial.suspend()

    def result(self) -> FileResult:
        """Return its result."""
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
        """Return how many of its bytes an earlier run had fetched."""
        if self.transfer is None:
            return 0
        return max(0, (self.transfer.partial.size or 0) - self.transfer.received)


def commit(
    attempts: Sequence[Attempt], target: Target, *, repeat: bool
) -> list[tuple[Attempt, Whole]]:
    """Check complete objects and move them to their places together; leave the others.

    Returns those that take long; each must be committed alone, so that it delays no other.
    """
    quick: list[tuple[Attempt, Whole]] = []
    takes_long: list[tuple[Attempt, Whole]] = []
    for one in attempts:
        if (whole := one.whole(repeat=repeat)) is not None:
            (takes_long if target.takes_long(whole) else quick).append((one, whole))
    if quick:
        target.commit([whole for _, whole in quick])
    for attempt, whole in quick:
        attempt.take(whole)
    return takes_long
