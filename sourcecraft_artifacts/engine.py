"""Runs a plan: workers that share files and connections, and the outcome of each artifact."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from .errors import ArtifactsError, Cancelled, LocalError, TransferError, bug
from .links import Links
from .models import Artifact, CubeAddress
from .pacing import LATE, Pace, RateLimit
from .partial import Partial
from .results import FileResult, Outcome
from .storage import Storage
from .text import visible
from .tracking import Activity
from .transfer import Transfer

_PULSE = 0.05
_SAVE_EVERY = 0.25
_SYNC_EVERY = 5.0
"""Seconds between looks at the pace, checkpoints, and checkpoints that outlive a power loss."""
_GRACE = 1.2
"""Seconds that workers get to leave their parts in order after a signal."""
_SETTLERS = 4
_MOST_COMPLETE = 24
"""Threads that commit complete files, and the most files, each with a descriptor, that wait."""


@dataclass(frozen=True, slots=True)
class Job:
    """One artifact to fetch; `path` is its final place as the report shows it."""

    artifact: Artifact
    path: str


class Reporter(Protocol):
    """Who is told how it goes; methods may be called from any thread, and must not block."""

    def begin(self, total: int) -> None:
        """Learn how many files are to be fetched; called again when there are more."""

    def started(self, activity: Activity) -> None:
        """Learn that a file is being fetched: its numbers can be read at any time."""

    def retrying(self, activity: Activity, reason: str, delay: float) -> None:
        """Learn that a request is repeated in `delay` seconds."""

    def refreshing(self, count: int) -> None:
        """Learn that the listing is asked again, for `count` files whose URLs expired."""

    def finished(self, activity: Activity | None, result: FileResult) -> None:
        """Learn how an artifact ended; without an activity when it was not fetched."""

    def waiting(self, what: str) -> None:
        """Learn what a run in progress is waited for."""

    def close(self) -> None:
        """Say the last, and leave the terminal in order."""


class Target(Protocol):
    """Where finished artifacts go."""

    def open(self, job: Job) -> Partial:
        """Return the partial data for a job. Raises OSError."""

    def commit(self, job: Job, partial: Partial, sha256: str) -> int:
        """Move complete partial data to its final name; return its size in bytes.

        Raises ArtifactsError or OSError; what stood at the final name stays then.
        """


@dataclass(frozen=True, slots=True)
class Tuning:
    """How to fetch: `jobs` connections at most, `limit_rate` in bytes a second (None: no limit)."""

    jobs: int | None = None
    limit_rate: float | None = None
    retries: int = 5
    fail_fast: bool = False


class _Run:
    """One job under way: its transfer, the workers at it, and the first error."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.transfer: Transfer | None = None
        self.workers = 0
        self.error: ArtifactsError | None = None
        self.settling = False
        self.checked = False
        """Whether its checksums failed once already."""


class Downloads:
    """Fetches jobs with as many connections as pay; use it as a context.

    Leaving the context normally waits for all jobs; leaving it by an exception calls them off,
    within two seconds, with all partial data kept.
    """

    def __init__(
        self,
        storage: Storage,
        target: Target,
        relist: Callable[[CubeAddress], list[Artifact]],
        reporter: Reporter,
        tuning: Tuning,
    ) -> None:
        self.results: dict[Job, FileResult] = {}
        self._storage = storage
        self._target = target
        self._links = Links(relist, self._notice_refresh)
        self._reporter = reporter
        self._tuning = tuning
        self._pace = Pace(tuning.jobs)
        self._limit = RateLimit(tuning.limit_rate)
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        """Told to workers, one for each piece of work."""
        self._done = threading.Condition(self._lock)
        """Told to the caller when nothing is left."""
        self._queue: deque[_Run] = deque()
        self._active: list[_Run] = []
        self._busy = 0
        self._idle = 0
        self._total = 0
        self._received = 0
        self._ended = 0
        self._threads: list[threading.Thread] = []
        self._settlers: list[threading.Thread] = []
        self._complete: deque[_Run] = deque()
        self._settlement = threading.Condition(self._lock)
        """Told to settlers, one for each complete job."""
        self._closing = False
        self._cancelled = threading.Event()
        self._over = threading.Event()
        self._pulse: threading.Thread | None = None

    def __enter__(self) -> Downloads:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.cancel()
        with self._lock:
            self._closing = True
            self._work.notify_all()
            self._settlement.notify_all()
        deadline = time.monotonic() + _GRACE
        for thread in [*self._threads, *self._settlers]:
            thread.join(max(0.0, deadline - time.monotonic()) if kind else None)
        self._over.set()
        if self._pulse is not None:
            # A checkpoint must not outlive the folder that it is written in.
            self._pulse.join(max(0.2, deadline - time.monotonic()) if kind else None)
        self._storage.close()

    def submit(self, jobs: Iterable[Job]) -> None:
        """Add jobs to fetch; returns at once."""
        with self._lock:
            runs = [_Run(job) for job in jobs]
            self._queue.extend(runs)
            self._total += len(runs)
            self._reporter.begin(self._total)
            self._staff()
            self._work.notify(len(runs))
        if self._pulse is None and runs:
            self._pulse = threading.Thread(target=self._beat, daemon=True, name="pulse")
            self._pulse.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until all submitted jobs have ended, or for `seconds`; tell whether they have."""
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._lock:
            while self._queue or self._active:
                left = 1.0 if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return False
                self._done.wait(min(left, 1.0))
            return True

    # What a transfer needs (transfer.Host).

    def pause(self, seconds: float) -> None:
        """Wait, or raise Cancelled."""
        if self._cancelled.wait(seconds):
            raise Cancelled

    def spend(self, count: int) -> None:
        """Note received bytes, and wait as long as the rate limit asks."""
        self._received += count  # a lost update between threads only blurs the pace
        owed = self._limit.owed(count)
        if owed > 0:
            self.pause(owed)

    def fresh_url(self, artifact: Artifact, stale: str | None) -> str:
        """Return a newer URL than `stale`."""
        return self._links.fresh(artifact, stale)

    def connections(self) -> int:
        """Return how many connections one file may have by now."""
        return self._pace.slices

    def opened(self, seconds: float) -> None:
        """Note a time to the first byte."""
        self._pace.opened(seconds)

    def troubled(self) -> None:
        """Go on with fewer connections."""
        self._pace.troubled(self._busy, time.monotonic())

    def changed(self) -> None:
        """Wake a worker that may find a piece to fetch."""
        if self._idle:
            with self._lock:
                self._work.notify()

    def retrying(self, transfer: Transfer, reason: str, delay: float) -> None:
        """Tell that a request is repeated."""
        self._reporter.retrying(transfer, reason, delay)

    def _notice_refresh(self, address: CubeAddress) -> None:
        with self._lock:
            waiting = sum(run.job.artifact.address == address for run in self._active)
        self._reporter.refreshing(waiting)

    # The workers.

    def _staff(self) -> None:
        """Start workers as far as there is work for them; called under the condition."""
        helpers = self._pace.slices if any(self._wants_help(run) for run in self._active) else 0
        wanted = min(self._pace.width, len(self._queue) + self._busy + helpers)
        while len(self._threads) < wanted and not self._cancelled.is_set():
            self._start(self._worker, "worker", self._threads)

    @staticmethod
    def _start(target: Callable[[], None], name: str, group: list[threading.Thread]) -> None:
        thread = threading.Thread(target=target, daemon=True, name=name)
        group.append(thread)
        thread.start()

    def _worker(self) -> None:
        while (run := self._next()) is not None:
            self._serve(run)
        self._storage.drop_connection()

    def _next(self) -> _Run | None:
        """Wait for a job, or for a file that wants another connection; None is the end."""
        with self._lock:
            while not self._cancelled.is_set():
                run = self._choose() if self._busy < self._pace.width else None
                if run is not None:
                    run.workers += 1
                    self._busy += 1
                    return run
                if self._closing and not self._queue and not self._active:
                    break
                self._storage.drop_connection()  # an idle one counts at the storage too
                self._idle += 1
                self._work.wait()
                self._idle -= 1
            return None

    def _choose(self) -> _Run | None:
        if self._queue:
            run = self._queue.popleft()
            self._active.append(run)
            return run
        if self._busy < self._pace.slices:
            return next((run for run in self._active if self._wants_help(run)), None)
        return None

    @staticmethod
    def _wants_help(run: _Run) -> bool:
        return run.transfer is not None and not run.settling and run.transfer.wants_help

    def _serve(self, run: _Run) -> None:
        """Work on a job until there is nothing to do there; the last worker settles it."""
        try:
            self._transfer(run).work()
        except Cancelled:
            pass
        except Exception as error:
            self._fail(run, self._explained(error, run.job))
        with self._lock:
            run.workers -= 1
            run.settling = is_last = not run.workers
            handed_over = is_last and run.error is None and len(self._complete) < _MOST_COMPLETE
            if handed_over:
                self._complete.append(run)
                self._settlement.notify()
                if len(self._settlers) < _SETTLERS:
                    self._start(self._settler, "settler", self._settlers)
        if is_last and not handed_over:
            self._conclude(run)
        with self._lock:
            self._busy -= 1
            self._ended += is_last

    def _settler(self) -> None:
        """Settle what is complete, so that no connection waits for the disk."""
        while True:
            with self._lock:
                while not self._complete:
                    if self._closing and not self._queue and not self._active:
                        return
                    self._settlement.wait()
                run = self._complete.popleft()
            self._conclude(run)

    def _conclude(self, run: _Run) -> None:
        """Settle a job for good, or put it back in the queue."""
        again = not self._settle(run)
        with self._lock:
            again = again and not self._cancelled.is_set()
        if not again and run.job not in self.results:
            self._settle(run)
        with self._lock:
            self._active.remove(run)
            if again:
                run.settling = False
                self._queue.appendleft(run)
                self._work.notify()
            if not self._queue and not self._active:
                self._done.notify_all()
                self._work.notify_all()
                self._settlement.notify_all()

    def _transfer(self, run: _Run) -> Transfer:
        if run.transfer is None:
            job = run.job
            run.transfer = Transfer(
                self,
                self._storage,
                job.artifact,
                visible(job.path),
                self._target.open(job),
                retries=self._tuning.retries,
                buffer_size=self._limit.buffer_size,
            )
            self._reporter.started(run.transfer)
        return run.transfer

    def _fail(self, run: _Run, error: ArtifactsError) -> None:
        run.error = run.error or error
        if run.transfer is not None:
            run.transfer.failed = True

    def _settle(self, run: _Run) -> bool:
        """Commit a complete file or park its part; False when it has to be worked on again."""
        transfer, size, digest = run.transfer, None, None
        if transfer is not None and run.error is None and transfer.partial.complete:
            try:
                digest = transfer.partial.digest()
                size = self._target.commit(run.job, transfer.partial, digest)
            except TransferError as error:
                transfer.partial.forget()
                if self._tuning.retries and not run.checked:
                    run.checked = True
                    self._reporter.retrying(transfer, error.message, 0.0)
                    return False
                run.error = error
            except Exception as error:
                run.error = self._explained(error, run.job)
        elif run.error is None and not self._cancelled.is_set():
            return False
        if digest is None or run.error is not None:
            if transfer is not None:
                transfer.partial.park()
            run.error = run.error or TransferError("it was called off", code="cancelled")
        self._finish(run, size, digest)
        return True

    def _finish(self, run: _Run, size: int | None, digest: str | None) -> None:
        transfer, error = run.transfer, run.error
        result = FileResult(
            run.job.artifact,
            run.job.path,
            Outcome.DOWNLOADED if error is None else Outcome.FAILED,
            size=size,
            sha256=digest if error is None else None,
            transferred=transfer.received if transfer else 0,
            seconds=time.monotonic() - transfer.started if transfer else 0.0,
            error=error,
        )
        self.results[run.job] = result
        self._reporter.finished(transfer, result)
        if error is not None and self._tuning.fail_fast:
            self.cancel()

    def _explained(self, error: Exception, job: Job) -> ArtifactsError:
        if isinstance(error, ArtifactsError):
            return error
        if isinstance(error, OSError):
            return local_fault(error, job.path)
        return bug(error)

    def cancel(self) -> None:
        """Call everything off; all partial data is kept, and the jobs end as failed."""
        with self._lock:
            if self._cancelled.is_set():
                return
            self._cancelled.set()
        self._storage.cancel()
        with self._lock:
            unstarted = list(self._queue)
            self._queue.clear()
            self._work.notify_all()
        for run in unstarted:
            run.error = run.error or TransferError("it was called off", code="cancelled")
            self._finish(run, None, None)

    # The pulse.

    def _beat(self) -> None:
        """Keep the pace and the checkpoints, until all is done."""
        saved = synced = time.monotonic()
        pulse = 2 * LATE
        while not self._over.wait(pulse):
            now, pulse = time.monotonic(), _PULSE
            with self._lock:
                active = list(self._active)
                shared = any(self._wants_help(run) for run in active)
                queued = bool(self._queue)
                self._pace.tick(
                    now, self._received, self._ended, self._busy, queued=queued, shared=shared
                )
                self._staff()
                self._work.notify(self._pace.width)
            for run in active:
                if run.transfer is not None:
                    run.transfer.partial.start_writing()
            if now - saved >= _SAVE_EVERY:
                saved, sync = now, now - synced >= _SYNC_EVERY
                synced = now if sync else synced
                for run in active:
                    _save(run, sync=sync)


def _save(run: _Run, *, sync: bool) -> None:
    """Write a checkpoint; one that cannot be written is no reason to fail a transfer."""
    if run.transfer is not None and not run.settling:
        with suppress(OSError):
            run.transfer.partial.checkpoint(sync=sync)


def local_fault(error: OSError, path: str) -> LocalError:
    """Return what a failure of this machine's means to the user."""
    hints = {
        errno.ENOSPC: "make room and run the same command again: it goes on where it stopped",
        errno.EDQUOT: "make room and run the same command again: it goes on where it stopped",
        errno.EACCES: "check the permissions of the folder",
        errno.EROFS: "choose another output folder",
        errno.EMFILE: "raise the limit of open files (ulimit -n), or lower --jobs",
        errno.ENAMETOOLONG: "choose another output folder or --layout",
    }
    reason = error.strerror or str(error)
    message = f"cannot write {visible(path)}: {visible(reason)}"
    return LocalError(message, hint=hints.get(error.errno or 0))
