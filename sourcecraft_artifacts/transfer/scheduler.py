"""Assigns files to workers: the jobs, workers and timers of one run, in the loop's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..disk.partial import Partial
from ..http.blocks import SIZE, Blocks
from ..http.storage import Connections, Storage
from ..http.waits import Call, Outcome, Steps
from ..models import Artifact, CubeAddress
from .attempt import Attempt
from .files import Files
from .helpers import Helpers
from .jobs import Target, Tuning
from .links import Links
from .loop import Loop, Task
from .meter import Meter
from .pacing import MOST, Pace, RateLimit, spare_descriptors
from .reporter import Reporter
from .saving import Saver
from .settler import Settler
from .spares import Spares
from .transfer import Transfer
from .writer import Writer

_MEMORY = 24 << 20
"""The size of all blocks together, in bytes."""
_PULSE = 0.02
"""Seconds between adjustments of the pace."""
_LOOK_EVERY = 0.5
"""The most seconds between checks for stalled connections."""
_ASIDE = MOST
"""How many started files, each with a descriptor, may wait, besides those with a connection: small
files often end on all connections at once, and the next requests must not wait for the disk."""


class Scheduler:
    """Runs attempts until each has ended, and calls `finished` for it, in the loop's thread."""

    def __init__(
        self,
        storage: Storage,
        target: Target,
        relist: Callable[[CubeAddress], list[Artifact]],
        reporter: Reporter,
        tuning: Tuning,
        finished: Callable[[Attempt], None],
    ) -> None:
        self._target, self._reporter, self._tuning = target, reporter, tuning
        self._finished = finished
        # A connection needs a socket and a file; as many files again wait to be committed.
        spare = spare_descriptors() // 4
        self._pace = Pace(min(tuning.jobs or MOST, max(1, spare)))
        limit = RateLimit(tuning.limit_rate)
        self.meter = Meter(self._pace, limit)
        self.loop = Loop(lambda call: self._helpers.put(call))
        blocks = Blocks(_MEMORY // SIZE, self.loop.post)
        self.net = Connections(storage, blocks, self.loop.time, self.loop.forget, self._pace.most)
        self.net.read_at_once = limit.buffer_size
        self.links = Links(relist, self._notice_refresh, self.loop.time)
        self.writer = Writer(blocks, self.loop.post, self._fail, self._commit, self.loop.fail)
        self._settler = Settler(target, self._settled, self.loop.fail, repeat=tuning.retries > 0)
        self._helpers = Helpers(self.loop, self.writer)
        self._files = Files(self._pace, min(_ASIDE, spare), sharing=tuning.limit_rate is None)
        self._spares = Spares(self.loop, self.net, self._files, self._pace)
        self._whole: list[Attempt] = []
        """Files to be committed, for the writer's thread."""
        self._changed = False
        self._cancelled = False
        self.loop.after_round = self._after_round
        self.loop.later(_PULSE, self._beat)
        Saver(self.loop, self.writer, self._files).begin()
        self._look_every = min(_LOOK_EVERY, storage.stall_timeout / 4)
        self.loop.later(self._look_every, self._look)

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Add jobs; after `cancel` they end as failed."""
        if self._cancelled:
            self._give_up(attempts)
        else:
            self._files.add(attempts)
            self.changed()

    def cancel(self) -> None:
        """Cancel everything; all partial data are kept, and the jobs end as failed."""
        if self._cancelled:
            return
        self._cancelled = True
        self._spares.close()
        unbegun = self._files.take_unbegun()
        for attempt in list(self._files.begun):
            self._stop(attempt)
        self._give_up(unbegun)

    def close(self, deadline: float | None) -> None:
        """End the threads; return by `deadline`, in monotonic seconds, in any case."""
        self._helpers.leave()
        self.writer.flush()
        self.writer.close(deadline)
        self._settler.close(deadline)
        self._helpers.close()
        self.net.close()

    # What a transfer needs (host.Host).

    def shares(self, transfer: Transfer) -> None:
        """Let several connections fetch it."""
        self._files.shared[transfer] = transfer.attempt
        self._changed = True

    def changed(self) -> None:
        """Look for files to fetch at the end of this round."""
        self._changed = True

    def retrying(self, transfer: Transfer, reason: str, delay: float) -> None:
        """Report that a request will be repeated, and pause its file until then."""
        self._pace.troubled(self.meter.busy, self.loop.time())
        transfer.resting += 1
        self.loop.later(delay, lambda: self._rested(transfer))
        self._reporter.retrying(transfer, reason, delay)

    # Workers.

    def _after_round(self) -> None:
        while self._changed:
            self._changed = False
            while self.meter.busy < self._pace.width and (attempt := self._files.choose()):
                self._hire(attempt)
        self.writer.flush()

    def _hire(self, attempt: Attempt) -> None:
        self._files.begun[attempt] = None
        self.meter.busy += 1
        steps = attempt.transfer.work() if attempt.transfer is not None else self._start(attempt)
        task = self.loop.begin(steps, lambda error: self._left(attempt, task, error))
        attempt.tasks.add(task)
        task.resume()

    def _start(self, attempt: Attempt) -> Steps[None]:
        """Return the steps of a file's first worker."""
        partial = self._target.fresh(attempt.job)
        return self._open(attempt) if partial is None else self._begun(attempt, partial).work()

    def _open(self, attempt: Attempt) -> Steps[None]:
        partial = yield Outcome(Call(lambda: self._target.open(attempt.job), "writer"))
        yield from self._begun(attempt, partial).work()

    def _begun(self, attempt: Attempt, partial: Partial) -> Transfer:
        attempt.transfer = Transfer(self, attempt, partial, retries=self._tuning.retries)
        self._reporter.started(attempt.transfer)
        return attempt.transfer

    def _left(self, attempt: Attempt, task: Task, error: Exception | None) -> None:
        """Decide what to do with a file that a worker has left."""
        attempt.tasks.discard(task)
        self.meter.busy -= 1
        if error is not None:
            self._fail(attempt, error)
        elif attempt.is_whole:
            self._dismiss(attempt)
            self._settle(attempt)
        else:
            self._want(attempt)
        self._changed = True

    def _dismiss(self, attempt: Attempt) -> None:
        """Close what still waits for something that the file does not need."""
        while attempt.tasks:
            attempt.tasks.pop().close()
            self.meter.busy -= 1

    def _want(self, attempt: Attempt) -> None:
        """Queue a file again if it has no worker and does not wait for anything."""
        resting = attempt.transfer is not None and attempt.transfer.resting
        if self._cancelled:
            self._stop(attempt)
        elif not (attempt.tasks or resting or attempt.settling):
            self._files.put_back(attempt)

    def _rested(self, transfer: Transfer) -> None:
        transfer.resting -= 1
        if transfer.attempt in self._files.begun:
            self._want(transfer.attempt)
        self.changed()

    # Ends.

    def _settle(self, attempt: Attempt) -> None:
        """Commit a file when all its bytes are written."""
        attempt.settling = True
        assert attempt.transfer is not None
        self._files.shared.pop(attempt.transfer, None)
        partial = attempt.transfer.partial

        def put() -> None:
            if partial.complete:
                self._whole.append(attempt)
            else:  # the loop may not know yet that a write failed
                self.loop.post(lambda: self._unwritten(attempt))

        self.writer.put(put)

    def _unwritten(self, attempt: Attempt) -> None:
        """Stop a file of which some bytes could not be written."""
        attempt.settling = False
        self._fail(attempt, OSError("not all of its bytes were written"))

    def _commit(self) -> None:
        """Pass on the files whose bytes are all written, in the writer's thread."""
        if self._whole:
            whole, self._whole = self._whole, []
            self._settler.put(whole, more=bool(self._files.waiting))

    def _fail(self, attempt: Attempt, error: Exception) -> None:
        attempt.fail(error)
        self._stop(attempt)
        if self._tuning.fail_fast:
            self.cancel()

    def _stop(self, attempt: Attempt) -> None:
        """Stop a file; its partial data are kept for a later run."""
        if attempt.settling:
            return
        attempt.settling = True
        if attempt.transfer is not None:
            attempt.transfer.failed = True
        self._dismiss(attempt)
        self._files.leave(attempt)

        def suspend() -> None:
            try:
                attempt.suspend()
            finally:
                self.loop.post(lambda: self._end(attempt))

        self.writer.put(suspend)

    def _settled(self, attempts: Sequence[Attempt]) -> None:
        """Take the results of commits, from any thread."""
        for attempt in attempts:
            if attempt.failed:
                attempt.suspend()
        self.loop.post(lambda: self._take_back(attempts))

    def _take_back(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            if attempt.ended:
                self._end(attempt)
                continue
            attempt.settling = False
            if self._cancelled:
                self._stop(attempt)
                continue
            assert attempt.transfer is not None
            if attempt.mismatch:
                attempt.transfer.pieces.forget()
                self._reporter.retrying(attempt.transfer, attempt.mismatch, 0.0)
            self._want(attempt)
        self.changed()

    def _end(self, attempt: Attempt) -> None:
        self._files.begun.pop(attempt, None)
        if not self._files.begun and not self._files.waiting:
            self._spares.close()
            self.net.close()  # idle connections use the storage's resources too
        self._finished(attempt)
        attempt.transfer = None

    def _give_up(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            attempt.suspend()
            self._finished(attempt)

    # Timers.

    def _beat(self) -> None:
        self._after_round()  # or those whose files have just ended would count as not in use
        now, wanted = self.loop.time(), self._files.wanted
        self.meter.tick(now, asking=self.net.asking, wanted=wanted)
        self.changed()
        self.loop.later(_PULSE, self._beat)

    def _look(self) -> None:
        """Give up stalled connections."""
        self.loop.expire()
        self.loop.later(self._look_every, self._look)

    def _notice_refresh(self, address: CubeAddress) -> None:
        waiting = sum(attempt.job.artifact.address == address for attempt in self._files.begun)
        self._reporter.refreshing(waiting)
