"""Runs jobs: workers that share files and connections, until each job has its outcome."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from ..errors import Cancelled
from ..http.storage import Storage
from ..models import Artifact, CubeAddress
from ..results import FileResult
from ..service.url_refresher import UrlRefresher
from ..text import visible
from .attempt import Attempt, commit
from .committer import Committer, join
from .jobs import Job, Target, Tuning
from .pacing import LATE, Pace, RateLimit
from .reporter import Reporter
from .transfer import Transfer

_PULSE = 0.05
_SAVE_EVERY = 0.25
_SYNC_EVERY = 5.0
"""Seconds between looks at the pace, checkpoints, and checkpoints that outlive a power loss."""
_GRACE = 1.2
_LAST_BEAT = 0.2
"""Seconds that workers, and then the pulse, get to leave their parts in order after a signal."""


class Downloads:
    """Fetches jobs with as many connections as pay; use it as a context.

    Leaving the context normally waits for all jobs; leaving it by an exception calls them off,
    within two seconds, with all partial data kept. `results` has what became of each job.
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
        self._links = UrlRefresher(relist, self._notice_refresh)
        self._reporter = reporter
        self._tuning = tuning
        self._pace = Pace(tuning.jobs)
        self._limit = RateLimit(tuning.limit_rate)
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        """Told to workers, one for each piece of work."""
        self._done = threading.Condition(self._lock)
        """Told to the caller when nothing is left."""
        self._queue: deque[Attempt] = deque()
        self._active: list[Attempt] = []
        self._workers: list[threading.Thread] = []
        self._committer = Committer(self._guarded(self._commit))
        self._busy = 0
        self._idle = 0
        self._total = 0
        self._ended = 0
        self._received = 0
        self._closing = False
        self._cancelled = threading.Event()
        self._fault: BaseException | None = None
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
        deadline = None if kind is None else time.monotonic() + _GRACE
        for worker in self._workers:
            join(worker, deadline)
        self._committer.close(deadline)
        self._over.set()
        if self._pulse is not None:
            # A checkpoint must not outlive the folder that it is written in.
            join(self._pulse, deadline and max(deadline, time.monotonic() + _LAST_BEAT))
        self._storage.close()

    def submit(self, jobs: Iterable[Job]) -> None:
        """Add jobs to fetch; returns at once. After `cancel` they end as failed."""
        attempts = [Attempt(job) for job in jobs]
        with self._lock:
            self._total += len(attempts)
            self._reporter.begin(self._total)
            called_off = self._cancelled.is_set()
            if not called_off:
                self._queue.extend(attempts)
                self._work.notify(len(attempts))
            hired = self._hire()
        _start(hired)
        if called_off:
            self._give_up(attempts)
            return
        if self._pulse is None and attempts:
            run = self._guarded(self._beat)
            self._pulse = threading.Thread(target=run, daemon=True, name="pulse")
            self._pulse.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until all submitted jobs have ended, or for `seconds`; tell whether they have.

        Raises what the reporter raised.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._lock:
            while (self._queue or self._active) and self._fault is None:
                left = 1.0 if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return False
                self._done.wait(min(left, 1.0))
        if self._fault is not None:
            raise self._fault
        return True

    def cancel(self) -> None:
        """Call everything off; all partial data is kept, and the jobs end as failed."""
        with self._lock:
            if self._cancelled.is_set():
                return
            self._cancelled.set()
        self._storage.cancel()
        self._target.cancel()
        with self._lock:
            unstarted = list(self._queue)
            self._queue.clear()
            self._work.notify_all()
        self._give_up(unstarted)

    def _give_up(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            attempt.suspend()
            self._finish(attempt)

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

    def listed_anew(self, artifact: Artifact, stale: str | None) -> Artifact:
        """Return the artifact with a newer URL than `stale`."""
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
            waiting = sum(attempt.job.artifact.address == address for attempt in self._active)
        self._reporter.refreshing(waiting)

    # The workers.

    def _guarded(self, run: Callable[..., None]) -> Callable[..., None]:
        """Return a function for a thread, what it raises being the caller's to see."""

        def guarded(*args: Any) -> None:
            try:
                run(*args)
            except BaseException as error:
                with self._lock:
                    self._fault = self._fault or error
                    self._done.notify_all()

        return guarded

    def _hire(self) -> list[threading.Thread]:
        """Make workers as far as there is work for them; called under the lock.

        Who calls it starts them afterwards: to start dozens takes so long that those who wait
        for the lock would lose half a round.
        """
        helpers = self._pace.slices if any(one.wants_help for one in self._active) else 0
        wanted = min(self._pace.width, len(self._queue) + self._busy + helpers)
        missing = 0 if self._cancelled.is_set() else max(0, wanted - len(self._workers))
        run = self._guarded(self._serve)
        hired = [threading.Thread(target=run, daemon=True, name="worker") for _ in range(missing)]
        self._workers += hired
        return hired

    def _serve(self) -> None:
        """Work on one job after the other, and where one is left by all others, commit it."""
        try:
            while (attempt := self._next()) is not None:
                self._work_on(attempt)
                with self._lock:
                    attempt.workers -= 1
                    attempt.settling = is_last = not attempt.workers
                if is_last and (ready := self._ready(attempt)):
                    self._commit(ready)
                with self._lock:
                    self._busy -= 1
                    self._ended += is_last
        finally:
            self._storage.drop_connection()

    def _ready(self, attempt: Attempt) -> Sequence[Attempt]:
        """Return what a worker is to commit, when it leaves an attempt as the last one.

        A large file takes its time at the disk, and is not to hold up the small ones.
        """
        if attempt.failed or attempt.is_large:
            return [attempt]
        return self._committer.offer(attempt, more=bool(self._queue))

    def _work_on(self, attempt: Attempt) -> None:
        try:
            self._transfer(attempt).work()
        except Cancelled:
            pass
        except Exception as error:
            attempt.fail(error)

    def _next(self) -> Attempt | None:
        """Wait for a job, or for a file that wants another connection; None is the end."""
        with self._lock:
            while not self._cancelled.is_set():
                attempt = self._choose() if self._busy < self._pace.width else None
                if attempt is not None:
                    attempt.workers += 1
                    self._busy += 1
                    return attempt
                if self._closing and not self._queue and not self._active:
                    break
                self._storage.drop_connection()  # an idle one counts at the storage too
                self._idle += 1
                self._work.wait()
                self._idle -= 1
            return None

    def _choose(self) -> Attempt | None:
        if self._queue:
            attempt = self._queue.popleft()
            self._active.append(attempt)
            return attempt
        if self._busy < self._pace.slices:
            return next((one for one in self._active if one.wants_help), None)
        return None

    def _transfer(self, attempt: Attempt) -> Transfer:
        if attempt.transfer is None:
            job = attempt.job
            attempt.transfer = Transfer(
                self,
                self._storage,
                job.artifact,
                visible(job.path),
                self._target.open(job),
                retries=self._tuning.retries,
                buffer_size=self._limit.buffer_size,
            )
            self._reporter.started(attempt.transfer)
        return attempt.transfer

    def _commit(self, attempts: Sequence[Attempt]) -> None:
        """Commit what is whole, suspend what failed, and put the rest back in the queue."""
        commit(attempts, self._target, repeat=self._tuning.retries > 0)
        with self._lock:
            called_off = self._cancelled.is_set()
        again = []
        for attempt in attempts:
            if attempt.ended or called_off:
                attempt.suspend()
                self._finish(attempt)
                continue
            again.append(attempt)
            if attempt.mismatch and attempt.transfer:
                self._reporter.retrying(attempt.transfer, attempt.mismatch, 0.0)
        with self._lock:
            for attempt in attempts:
                self._active.remove(attempt)
            for attempt in again:
                attempt.settling = False
                self._queue.appendleft(attempt)
                self._work.notify()
            if not self._queue and not self._active:
                self._done.notify_all()
                self._work.notify_all()

    def _finish(self, attempt: Attempt) -> None:
        result = attempt.result()
        self.results[attempt.job] = result
        self._reporter.finished(attempt.transfer, result)
        if attempt.failed and self._tuning.fail_fast:
            self.cancel()

    def _beat(self) -> None:
        """Keep the pace and the checkpoints, until all is done."""
        saved = synced = time.monotonic()
        pulse = 2 * LATE
        while not self._over.wait(pulse):
            now, pulse = time.monotonic(), _PULSE
            with self._lock:
                active = list(self._active)
                shared = any(attempt.wants_help for attempt in active)
                queued = bool(self._queue)
                self._pace.tick(
                    now, self._received, self._ended, self._busy, queued=queued, shared=shared
                )
                hired = self._hire()
                self._work.notify(self._pace.width)
            _start(hired)
            for attempt in active:
                if attempt.transfer is not None:
                    attempt.transfer.partial.start_writing()
            if now - saved >= _SAVE_EVERY:
                saved, sync = now, now - synced >= _SYNC_EVERY
                synced = now if sync else synced
                for attempt in active:
                    _save(attempt, sync=sync)


def _start(threads: Iterable[threading.Thread]) -> None:
    for thread in threads:
        thread.start()


def _save(attempt: Attempt, *, sync: bool) -> None:
    """Write a checkpoint; one that cannot be written is no reason to fail a transfer."""
    if attempt.transfer is not None and not attempt.settling:
        with suppress(OSError):
            attempt.transfer.partial.checkpoint(sync=sync)
