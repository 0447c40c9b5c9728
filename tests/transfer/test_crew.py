"""Threads for blocking work: few, started when needed; it works without them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
from fake_service import eventually

from sourcecraft_artifacts.transfer.crew import Crew

LONG = 60.0
"""Seconds to linger that no test can wait for."""


class Desk:
    """Records what a crew works on; it waits while `busy` is held."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.busy = threading.Lock()
        self.names: set[str] = set()
        self.errors: list[BaseException] = []

    def work(self, things: Sequence[int]) -> None:
        """Take things."""
        self.names.add(threading.current_thread().name)
        self.batches.append(list(things))
        with self.busy:
            pass

    def fail(self, error: BaseException) -> None:
        """Take an error."""
        self.errors.append(error)

    @property
    def done(self) -> list[int]:
        """Everything that was taken."""
        return sorted(number for batch in self.batches for number in batch)


@pytest.fixture
def desk() -> Desk:
    """Make work to do."""
    return Desk()


def test_a_full_batch_waits_for_nothing(desk: Desk) -> None:
    """A full batch is taken at once."""
    crew = Crew("crew", 1, desk.work, desk.fail, batch=8, linger=LONG)
    for number in range(8):
        crew.put([number], more=True)
    eventually(lambda: desk.done == list(range(8)), "all are done")
    crew.close()


def test_the_last_waits_for_nothing(desk: Desk) -> None:
    """If no more things are expected, or at the end, a batch is taken at once."""
    crew = Crew("crew", 1, desk.work, desk.fail, batch=8, linger=LONG)
    crew.put([1], more=True)
    crew.put([2])
    eventually(lambda: desk.done == [1, 2], "both are done")
    crew.put([3], more=True)
    crew.close(time.monotonic() + 10)
    assert desk.done == [1, 2, 3]


def test_few_wait_for_a_moment(desk: Desk) -> None:
    """A batch that stays small is taken after a moment."""
    crew = Crew("crew", 1, desk.work, desk.fail, batch=8, linger=0.01)
    crew.put([1], more=True)
    eventually(lambda: desk.done == [1], "it is done")
    crew.close()


def test_a_crew_grows_while_all_are_busy(desk: Desk) -> None:
    """A thread that hangs does not hold up the others, up to their greatest number."""
    with desk.busy:
        crew = Crew("crew", 3, desk.work, desk.fail)
        for number in range(5):
            crew.put([number])
        eventually(lambda: len(desk.batches) == 3, "three are at it")
    eventually(lambda: desk.done == list(range(5)), "all are done")
    crew.close()


def test_no_thread_is_to_be_had(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread the caller does the work."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    crew = Crew("crew", 3, desk.work, desk.fail, batch=4, linger=LONG)
    crew.put([1], more=True)
    crew.put([2, 3])
    assert desk.done == [1, 2, 3]
    crew.put([4], more=True)
    crew.close()
    assert desk.done == [1, 2, 3, 4]
    assert desk.names == {threading.current_thread().name}


def test_an_error_of_a_thread_is_told(desk: Desk) -> None:
    """A thread that has no memory left does not end in silence."""

    def short(_: object) -> None:
        raise MemoryError

    crew: Crew[int] = Crew("crew", 1, short, desk.fail)
    crew.put([1])
    eventually(lambda: desk.errors, "it is told")
    assert isinstance(desk.errors[0], MemoryError)
    crew.close()
