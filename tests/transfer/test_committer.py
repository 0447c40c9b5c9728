"""Complete files wait for each other, for a moment, and never for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from fake_service import eventually

from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress
from sourcecraft_artifacts.transfer import committer as module
from sourcecraft_artifacts.transfer.attempt import Attempt
from sourcecraft_artifacts.transfer.committer import Committer
from sourcecraft_artifacts.transfer.jobs import Job

LONG = 60.0
"""Seconds to linger that no test can wait for."""
ARTIFACT = Artifact(CubeAddress("o/r", "1", "w", "t", "c"), "x", "success", ArtifactDates())


class Desk:
    """A committer, and what it committed; while `busy` is held it comes to no end."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.busy = threading.Lock()
        self.committer = Committer(self._commit)

    def _commit(self, attempts: Sequence[Attempt]) -> None:
        self.batches.append(len(attempts))
        with self.busy:
            pass

    def offer(self, count: int, *, more: bool = True) -> list[int]:
        """Offer so many; tell how many each offer gave back."""
        attempts = [Attempt(Job(ARTIFACT, str(at))) for at in range(count)]
        return [len(self.committer.offer(attempt, more=more)) for attempt in attempts]


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A committer that is closed in the end."""
    desk = Desk()
    yield desk
    desk.committer.close(time.monotonic() + 10)


def test_a_full_batch_waits_for_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are committed together are committed at once."""
    monkeypatch.setattr(module, "_LINGER", LONG)
    desk.offer(module._BATCH)
    eventually(lambda: sum(desk.batches) == module._BATCH, "all are committed")


def test_the_last_waits_for_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no other is to come soon, there is nothing to wait for."""
    monkeypatch.setattr(module, "_LINGER", LONG)
    desk.offer(1)
    desk.offer(1, more=False)
    eventually(lambda: sum(desk.batches) == 2, "both are committed")


def test_few_wait_for_a_moment(desk: Desk) -> None:
    """What is not joined by others is committed all the same."""
    desk.offer(2)
    eventually(lambda: sum(desk.batches) == 2, "both are committed")


def test_who_offers_too_much_settles_it(desk: Desk) -> None:
    """While the thread is held up, as many wait as may, and then all of them are given back."""
    with desk.busy:
        desk.offer(1, more=False)
        eventually(lambda: desk.batches == [1], "the thread is held up")
        given_back = desk.offer(module._MOST_WAITING + 2)
    assert given_back == [0] * module._MOST_WAITING + [module._MOST_WAITING + 1, 0]
    eventually(lambda: sum(desk.batches) == 2, "the one behind them is committed by the thread")


def test_what_waits_at_the_end_is_settled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing does not linger either."""
    monkeypatch.setattr(module, "_LINGER", LONG)
    desk.offer(3)
    desk.committer.close(time.monotonic() + 10)
    assert sum(desk.batches) == 3
