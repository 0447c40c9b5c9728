"""One job under way, from its first byte to its outcome."""

from __future__ import annotations

import time
from dataclasses import replace

from .errors import ArtifactsError, TransferError, bug, local_fault
from .jobs import Job, Target
from .results import FileResult, Outcome
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

    def commit(self, target: Target, *, repeat: bool) -> bool:
        """Check what is whole and move it to its place; False when there is more to fetch.

        What does not match the storage's checksums is dropped, and with `repeat` fetched again,
        once. Errors make it fail, and raise nothing.
        """
        self.mismatch = None
        if self.failed:
            return True
        if self.transfer is None or not self.transfer.partial.complete:
            return False
        partial = self.transfer.partial
        try:
            sha256 = partial.digest()
            listed = replace(self.job, artifact=self.transfer.artifact)
            self._size = target.commit(listed, partial, sha256)
            self._sha256 = sha256
        except TransferError as error:
            partial.forget()
            if repeat and not self._repeated:
                self._repeated, self.mismatch = True, error.message
                return False
            self.fail(error)
        except Exception as error:
            self.fail(error)
        return True

    def park(self) -> None:
        """End it as it is: what came of it is left for a later run."""
        if self._sha256 is not None:
            return
        self.fail(TransferError("it was called off", code="cancelled"))
        if self.transfer is not None:
            self.transfer.partial.park()

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
        )
