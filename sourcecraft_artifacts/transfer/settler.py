"""The threads that put complete files in place: many together, long commits alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .attempt import Attempt, commit
from .crew import Crew
from .jobs import Target, Whole

_BATCH = 16
"""The most files that are committed together."""
_LINGER = 0.005
"""Seconds that a file waits for others, to be committed together with them."""


class Settler:
    """Commits complete attempts, and calls `settled` for each, in any thread.

    One thread commits small files, as many files together take hardly longer than one
    (`OutputFolder.commit`). Another thread has the commits that take long, one at a time. With
    `repeat` an object that does not match its checksums is fetched once more.
    """

    def __init__(
        self,
        target: Target,
        settled: Callable[[Sequence[Attempt]], None],
        fail: Callable[[BaseException], None],
        *,
        repeat: bool,
    ) -> None:
        self._target, self._settled, self._repeat = target, settled, repeat
        self._quick: Crew[Attempt] = Crew(
            "committer", 1, self._commit, fail, batch=_BATCH, linger=_LINGER
        )
        self._long: Crew[Callable[[], None]] = Crew("long", 1, _call, fail)

    def put(self, attempts: Sequence[Attempt], *, more: bool) -> None:
        """Add attempts whose bytes are all written; `more` tells that others follow soon."""
        quick = []
        for one in attempts:
            if one.transfer is not None and one.transfer.partial.is_large:
                self.aside(lambda one=one: self._commit([one]))  # type: ignore[misc]
            else:
                quick.append(one)
        if quick:
            self._quick.put(quick, more=more)

    def aside(self, call: Callable[[], None]) -> None:
        """Call a function that takes long, after those that were put aside before."""
        self._long.put([call])

    def close(self, deadline: float | None = None) -> None:
        """Finish the queues and end; return by `deadline`, in monotonic seconds, in any case."""
        self._quick.close(deadline)
        self._long.close(deadline)

    def _commit(self, attempts: Sequence[Attempt]) -> None:
        try:
            takes_long = commit(attempts, self._target, repeat=self._repeat)
        except Exception as error:
            takes_long = []
            for attempt in attempts:
                attempt.fail(error)
        for pair in takes_long:
            self._put_aside(*pair)
        aside = [attempt for attempt, _ in takes_long]
        self._settled([attempt for attempt in attempts if attempt not in aside])

    def _put_aside(self, attempt: Attempt, whole: Whole) -> None:
        def commit_it() -> None:
            try:
                self._target.commit([whole])
                attempt.take(whole)
            except Exception as error:
                attempt.fail(error)
            self._settled([attempt])

        self.aside(commit_it)


def _call(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()
