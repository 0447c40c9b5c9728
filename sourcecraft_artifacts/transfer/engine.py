"""The interface of the package: runs jobs in a thread of its own until each has its result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import LocalError
from ..http.storage import Storage
from ..models import Artifact, CubeAddress
from ..results import FileResult
from .attempt import Attempt
from .crew import join
from .jobs import Job, Target, Tuning
from .reporter import Reporter
from .scheduler import Scheduler

_GRACE = 1.2
"""The seconds that are left after a signal to save partial data."""


class Downloads:
    """Fetches jobs with as many connections as help; use it as a context manager.

    Leaving the context normally waits for all jobs; leaving it by an exception cancels them within
    two seconds and keeps all partial data. `results` has the results by job.
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
        self._target, self._reporter, self._tuning = target, reporter, tuning
        self._told: Any = _Told(reporter, self._failed)
        self._make: Callable[[], Scheduler] = lambda: Scheduler(
            storage, target, relist, self._told, tuning, self._finish
        )
        self._scheduler: Scheduler | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._total = 0
        self._paths: set[str] = set()
        """Where the jobs go; a newer version of a file goes where the older one went."""
        self._ended = 0
        self._cancelled = False
        self._fault: BaseException | None = None

    def __enter__(self) -> Downloads:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.cancel()
        else:
            self._wait_for_all()
        scheduler = self._scheduler
        if scheduler is None:
            return
        deadline = None if kind is None else time.monotonic() + _GRACE
        thread = self._thread
        while not self._is_over and thread and thread.is_alive():
            with self._lock:
                self._news.wait(0.1)
            if deadline is not None and time.monotonic() >= deadline:
                break
        scheduler.loop.post(scheduler.loop.stop)
        if thread is not None:
            join(thread, deadline)
        scheduler.close(deadline)
        if thread is None or not thread.is_alive():
            scheduler.loop.close()

    def submit(self, jobs: Iterable[Job]) -> None:
        """Add jobs to fetch; returns at once. After `cancel` they end as failed.

        Raises `LocalError` if the system has no thread for them.
        """
        attempts = [Attempt(job) for job in jobs]
        with self._lock:
            self._total += len(attempts)
        self._paths.update(attempt.job.path for attempt in attempts)
        self._reporter.begin(len(self._paths))
        if not attempts:
            return
        if self._scheduler is None:
            self._scheduler = self._make()
        scheduler = self._scheduler
        if self._cancelled:
            scheduler.loop.post(scheduler.cancel)
        scheduler.loop.post(lambda: scheduler.add(attempts))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="network")
            try:
                self._thread.start()
            except (RuntimeError, MemoryError) as error:
                self._thread, self._fault = None, error
                raise LocalError(
                    "the system allows this program no more threads",
                    hint="raise the limit of processes (ulimit -u) or of memory (ulimit -v)",
                ) from error

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until all submitted jobs have ended, or for `seconds`; tell whether they have.

        Raises what the reporter raised.
        """
        is_over = self._wait_for_all(seconds)
        if self._fault is not None:
            raise self._fault
        return is_over

    def cancel(self) -> None:
        """Cancel everything; all partial data are kept, and the jobs end as failed."""
        self._cancelled = True
        scheduler = self._scheduler
        if scheduler is not None:
            # This comes first, or a cancelled commit could return before it and be tried again.
            scheduler.loop.post(scheduler.cancel)
        self._target.cancel()

    @property
    def _is_over(self) -> bool:
        return self._ended >= self._total or self._fault is not None

    def _wait_for_all(self, seconds: float | None = None) -> bool:
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._lock:
            while not self._is_over:
                left = 1.0 if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return False
                self._news.wait(min(left, 1.0))
        return True

    # In the network's thread.

    def _run(self) -> None:
        assert self._scheduler is not None
        try:
            self._scheduler.loop.run()
        except BaseException as error:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        with self._lock:
            self._fault = self._fault or error
            self._news.notify_all()

    def _finish(self, attempt: Attempt) -> None:
        result = attempt.result()
        self._told.finished(attempt.transfer, result)
        with self._lock:
            self.results[attempt.job] = result
            self._ended += 1
            if self._is_over:
                self._news.notify_all()
        if attempt.failed and self._tuning.fail_fast:
            self.cancel()


class _Told:
    """A reporter whose exceptions end the run, like exceptions of the caller."""

    def __init__(self, reporter: Reporter, failed: Callable[[BaseException], None]) -> None:
        self._reporter = reporter
        self._failed = failed

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._reporter, name)

        def tell(*arguments: Any) -> None:
            try:
                method(*arguments)
            except BaseException as error:
                self._failed(error)

        setattr(self, name, tell)
        return tell
