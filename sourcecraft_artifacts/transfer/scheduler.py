"""Assigns files to workers: the jobs, workers and timers of one run, in the loop's thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from operator import itemgetter
from urllib.parse import urlsplit

from ..http.blocks import SIZE, Blocks
from ..http.storage import Connections, Storage
from ..http.waits import Call, Outcome, Steps
from ..models import Artifact, CubeAddress
from ..urls import is_loopback
from .attempt import Attempt
from .crew import Crew
from .jobs import Target, Tuning
from .links import Links
from .loop import Loop, Task
from .pacing import MOST, Pace, RateLimit, Use, spare_descriptors
from .reporter import Reporter
from .settler import Settler
from .transfer import Transfer
from .writer import Order, Writer

_MEMORY = 24 << 20
"""The size of all blocks together, in bytes."""
_PULSE = 0.05
_SAVE_EVERY = 0.25
_SYNC_EVERY = 5.0
"""Seconds between adjustments of the pace, checkpoints, and synced checkpoints."""
_LOOK_EVERY = 0.5
"""The most seconds between checks for stalled connections."""
_WORTH = 2
"""How many files or pieces there must be for each further connection."""
_LATE = 0.1
_WORTH_WAITS = 6
"""At the end a piece is shared if it would still take so many seconds, and so many times as long as
a response."""
_SEEN_WAITS = 3
"""A connection's speed is known after so many times as long as a response takes: at first it grows
with each round trip."""
_SPARE = 8
_LONG = 0.008
"""How many connections are opened for one file at once, if the first took so many seconds."""
_CONNECTORS = 8
"""How many threads look up names and try new addresses."""
_ASIDE = 24
"""How many started files, each with a descriptor, may wait, besides those with a connection."""


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
        self._storage = storage
        self._limit = RateLimit(tuning.limit_rate)
        # A connection needs a socket and a file; as many files again wait to be committed.
        spare = spare_descriptors() // 4
        self._pace = Pace(min(tuning.jobs or MOST, max(1, spare)))
        self.loop = Loop(self._elsewhere)
        blocks = Blocks(_MEMORY // SIZE, self.loop.post)
        self.net = Connections(storage, blocks, self.loop.time, self.loop.forget, self._pace.most)
        self.net.read_at_once = self._limit.buffer_size
        self.net.on_open = self._opened
        self._links = Links(relist, self._notice_refresh)
        self._writer = Writer(blocks, self.loop.post, self._commit)
        self._settler = Settler(target, self._settled, repeat=tuning.retries > 0)
        self._aside = min(_ASIDE, spare)
        self._crews = {
            "connector": Crew("connector", _CONNECTORS, self._call),
            "lister": Crew("lister", 1, self._call),
        }
        self._queue: deque[Attempt] = deque()
        self._whole: list[Attempt] = []
        """Files to be committed, for the writer's thread."""
        self._active: dict[Attempt, None] = {}
        self._shared: dict[Transfer, Attempt] = {}
        """Large files, each of which may have several connections."""
        self._changed = False
        self._spares: list[Task] = []
        """The tasks that open spare connections."""
        self._busy = 0
        self._receiving = 0
        self._received = 0
        self._synced = self.loop.time()
        self._cancelled = False
        self._over = False
        self.loop.after_round = self._after_round
        self.loop.later(_PULSE, self._beat)
        self.loop.later(_SAVE_EVERY, self._save)
        self._look_every = min(_LOOK_EVERY, storage.stall_timeout / 4)
        self.loop.later(self._look_every, self._look)

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Add jobs; after `cancel` they end as failed."""
        if self._cancelled:
            self._give_up(attempts)
        else:
            self._queue.extend(attempts)
            self.changed()

    def cancel(self) -> None:
        """Cancel everything; all partial data are kept, and the jobs end as failed."""
        if self._cancelled:
            return
        self._cancelled = True
        self._close_spares()
        unstarted = [one for one in self._queue if one.transfer is None]
        self._queue.clear()
        for attempt in list(self._active):
            self._stop(attempt)
        self._give_up(unstarted)

    def close(self, deadline: float | None) -> None:
        """End the threads; return by `deadline`, in monotonic seconds, in any case."""
        self._over = True
        self._writer.flush()
        self._writer.close(deadline)
        self._settler.close(deadline)
        for crew in self._crews.values():
            crew.close(0.0)
        self.net.close()

    # What a transfer needs (transfer.Host).

    def write(
        self, transfer: Transfer, do: Callable[[], object], block: memoryview | None = None
    ) -> None:
        """Pass an order to the writer; an error makes the transfer fail."""

        attempt = transfer.attempt

        def failed(error: Exception) -> None:
            self._fail(attempt, error)

        self._writer.put(Order(do, failed, block, transfer.partial if block else None))

    def spend(self, count: int) -> float:
        """Note received bytes; return the seconds that the rate limit asks to wait."""
        self._received += count
        return self._limit.owed(count)

    def listed_anew(self, artifact: Artifact, stale: str | None) -> Steps[Artifact]:
        """Return the artifact with a newer URL than `stale`."""
        return self._links.fresh(artifact, stale)

    def slices(self) -> int:
        """Return how many connections one file may have by now."""
        return self._pace.width

    def answered(self, seconds: float) -> None:
        """Note the time from a request to its response on an open connection."""
        self._pace.answered(seconds)

    def receiving(self, change: int) -> None:
        """Note that so many more connections, or fewer, receive a body."""
        self._receiving += change

    def shares(self, transfer: Transfer) -> None:
        """Let several connections fetch it."""
        self._shared[transfer] = transfer.attempt
        self._changed = True

    def changed(self) -> None:
        """Look for files to fetch at the end of this round."""
        self._changed = True

    def _opened(self, seconds: float) -> None:
        """Open spare connections if the storage is far away, in case the file is large."""
        self.net.on_open = lambda seconds: None
        transfers = [one.transfer for one in self._active if one.transfer is not None]
        if seconds < _LONG or len(self._active) + len(self._queue) > 1 or not transfers:
            return
        url = transfers[0].artifact.download_url
        if url is None or is_loopback(urlsplit(url).hostname or ""):
            return
        if transfers[0].partial.keeps:
            for _ in range(min(_SPARE, self._pace.width) - 1):
                self._spares.append(self.loop.begin(self.net.prepare(url), lambda error: None))
                self._spares[-1].resume()

    def retrying(self, transfer: Transfer, reason: str, delay: float) -> None:
        """Report that a request will be repeated, and pause its file until then."""
        self._pace.troubled(self._busy, self.loop.time())
        transfer.resting += 1
        self.loop.later(delay, lambda: self._rested(transfer))
        self._reporter.retrying(transfer, reason, delay)

    # Workers.

    def _after_round(self) -> None:
        while self._changed:
            self._changed = False
            while self._busy < self._pace.width and (attempt := self._choose()) is not None:
                self._hire(attempt)
        self._writer.flush()

    def _choose(self) -> Attempt | None:
        """Choose a file for another connection: large files get up to half of them."""
        if self._shared:
            helped = sum(max(0, len(one.tasks) - 1) for one in self._shared.values())
            if not self._queue or helped < self._pace.width // 2:
                needy = [one for one in self._shared.values() if one.wants_help]
                if needy:
                    chosen = max(needy, key=_need)
                    with suppress(ValueError):  # or it would be started again when it is complete
                        self._queue.remove(chosen)
                    return chosen
        if self._queue and len(self._active) < self._pace.width + self._aside:
            return self._queue.popleft()
        return None if self._queue else self._latest()

    def _latest(self) -> Attempt | None:
        """Share the piece that would arrive last, if an idle connection can help."""
        if not self._shared or self._tuning.limit_rate is not None:
            return None
        seen = _SEEN_WAITS * self._pace.quickest
        found = [(*transfer.slowest(seen), attempt) for transfer, attempt in self._shared.items()]
        seconds, piece, attempt = max(found, key=itemgetter(0))
        if piece is None or seconds < max(_LATE, _WORTH_WAITS * self._pace.quickest):
            return None
        assert attempt.transfer is not None
        attempt.transfer.share(piece)
        return attempt

    def _hire(self, attempt: Attempt) -> None:
        self._active[attempt] = None
        self._busy += 1
        task = self.loop.begin(self._work(attempt), lambda error: self._left(attempt, task, error))
        attempt.tasks.add(task)
        task.resume()

    def _work(self, attempt: Attempt) -> Steps[None]:
        if attempt.transfer is None:
            partial = self._target.fresh(attempt.job)
            if partial is None:
                call = Call(lambda: self._target.open(attempt.job), "writer")
                partial = yield Outcome(call)
            attempt.transfer = Transfer(self, attempt, partial, retries=self._tuning.retries)
            self._reporter.started(attempt.transfer)
        yield from attempt.transfer.work()

    def _left(self, attempt: Attempt, task: Task, error: Exception | None) -> None:
        """Decide what to do with a file that a worker has left."""
        attempt.tasks.discard(task)
        self._busy -= 1
        if error is not None:
            self._fail(attempt, error)
        elif attempt.is_whole and not attempt.tasks:
            self._settle(attempt)
        else:
            self._want(attempt)
        self.changed()

    def _want(self, attempt: Attempt) -> None:
        """Queue a file again if it has no worker and does not wait for anything."""
        resting = attempt.transfer is not None and attempt.transfer.resting
        if self._cancelled:
            self._stop(attempt)
        elif not (attempt.tasks or resting or attempt.settling or attempt in self._queue):
            self._queue.appendleft(attempt)

    def _rested(self, transfer: Transfer) -> None:
        transfer.resting -= 1
        if transfer.attempt in self._active:
            self._want(transfer.attempt)
        self.changed()

    # Ends.

    def _settle(self, attempt: Attempt) -> None:
        """Commit a file when all its bytes are written."""
        attempt.settling = True
        transfer = attempt.transfer
        assert transfer is not None
        self._shared.pop(transfer, None)

        def put() -> None:
            self._writer.leave(transfer.partial)
            self._whole.append(attempt)

        self._writer.put(Order(put, lambda error: self._broken(attempt, error)))

    def _commit(self) -> None:
        """Pass on the files whose bytes are all written, in the writer's thread."""
        if self._whole:
            whole, self._whole = self._whole, []
            self._settler.put(whole, more=bool(self._queue))

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
            self._shared.pop(attempt.transfer, None)
        tasks, attempt.tasks = attempt.tasks, set()
        for task in tasks:
            task.close()
            self._busy -= 1
        with suppress(ValueError):
            self._queue.remove(attempt)

        def suspend() -> None:
            if attempt.transfer is not None:
                self._writer.leave(attempt.transfer.partial)
            attempt.suspend()
            self.loop.post(lambda: self._end(attempt))

        self._writer.put(Order(suspend, lambda error: self._broken(attempt, error)))

    def _broken(self, attempt: Attempt, error: Exception) -> None:
        attempt.fail(error)
        self._end(attempt)

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
        self._active.pop(attempt, None)
        if not self._active and not self._queue:
            self._close_spares()
            self.net.close()  # idle connections use the storage's resources too
        self._finished(attempt)
        attempt.transfer = None

    def _close_spares(self) -> None:
        for task in self._spares:
            task.close()
        self._spares.clear()

    def _give_up(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            attempt.suspend()
            self._finished(attempt)

    # Timers.

    def _beat(self) -> None:
        now = self.loop.time()
        pieces = sum(one.pieces_left for one in self._shared.values())
        wanted = (len(self._queue) + pieces) // _WORTH
        use = Use(self._busy, self.net.asking, self._receiving)
        self._pace.tick(now, self._received, use, wanted=wanted)
        self.changed()
        self.loop.later(_PULSE, self._beat)

    def _save(self) -> None:
        """Write received bytes and checkpoints."""
        sync = self.loop.time() - self._synced >= _SYNC_EVERY
        if sync:
            self._synced = self.loop.time()
        for attempt in self._active:
            if attempt.transfer is not None and not attempt.settling:
                attempt.transfer.hand_over()
                self._writer.put(Order(_saving(attempt, sync=sync), lambda error: None))
        self.loop.later(_SAVE_EVERY, self._save)

    def _look(self) -> None:
        """Give up stalled connections."""
        self.loop.expire()
        self.loop.later(self._look_every, self._look)

    def _elsewhere(self, call: Call) -> None:
        """Pass a call to its thread."""
        if call.kind == "writer":
            self._writer.put(Order(lambda: self._call([call]), lambda error: None))
        else:
            self._crews[call.kind].put([call])

    def _call(self, calls: Sequence[Call]) -> None:
        for call in calls:
            try:
                call.result = call.function()
            except Exception as error:
                call.error = error
            self.loop.post(lambda call=call: self.loop.finish(call))  # type: ignore[misc]
            if self._over and call.unwanted is not None:
                call.unwanted()  # the loop, which would do it, has ended

    def _notice_refresh(self, address: CubeAddress) -> None:
        waiting = sum(attempt.job.artifact.address == address for attempt in self._active)
        self._reporter.refreshing(waiting)


def _need(attempt: Attempt) -> float:
    """Return how many bytes of a file are left for each of its workers."""
    assert attempt.transfer is not None
    return attempt.transfer.pieces.unclaimed / (1 + len(attempt.tasks))


def _saving(attempt: Attempt, *, sync: bool) -> Callable[[], None]:
    """Return an order that writes a checkpoint; its failure does not fail the transfer."""

    def save() -> None:
        transfer = attempt.transfer
        if transfer is not None:
            partial = transfer.partial
            partial.start_writing()
            partial.sync() if sync else partial.checkpoint()

    return save
