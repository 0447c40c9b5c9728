"""How many connections, and how fast."""

from __future__ import annotations

import time

import pytest

from sourcecraft_artifacts.transfer.pacing import FAST, LATE, MOST, NEAR, START, Pace, RateLimit

TICK = 0.05
MB = 1e6


class Clock:
    """Drives a pace through ticks, with a steady rate for each connection."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.now = 100.0
        self.received = 0.0
        self.ended = 0

    def ticks(
        self,
        number: int,
        each: float,
        *,
        ended: int = 0,
        queued: bool = False,
        shared: bool = False,
    ) -> None:
        """Let time pass while all connections are busy at `each` bytes a second.

        In each tick as many files as `ended` come to their end.
        """
        for _ in range(number):
            busy = self.pace.width
            self.now += TICK
            self.received += each * busy * TICK
            self.ended += ended
            self.pace.tick(
                self.now, int(self.received), self.ended, busy, queued=queued, shared=shared
            )


@pytest.mark.parametrize(
    ("jobs", "files", "most"), [(None, NEAR, MOST), (1, 1, 1), (8, NEAR, 8), (500, NEAR, 500)]
)
def test_where_it_begins(jobs: int | None, files: int, most: int) -> None:
    """`--jobs` caps all, slices included; large files begin with one connection."""
    pace = Pace(jobs)
    assert (pace.files, pace.slices, pace.width) == (files, 1, files)
    clock = Clock(pace)
    for _ in range(4):
        pace.opened(0.03)
        clock.ticks(20, MB, queued=True, shared=True)
    assert max(pace.files, pace.slices, pace.width) == most


def test_near_storage_gets_few_connections() -> None:
    """Where files come in no time, more threads would only be in each other's way."""
    pace = Pace(None)
    pace.opened(0.0005)
    clock = Clock(pace)
    clock.ticks(20, MB, ended=int(2 * NEAR * TICK / LATE), queued=True)
    assert pace.files == NEAR


@pytest.mark.parametrize("ended", [0, 1])
def test_late_storage_gets_many_at_once(ended: int) -> None:
    """Where a connection mostly waits, the first look already is enough to see it."""
    pace = Pace(None)
    Clock(pace).ticks(1, MB, ended=ended, queued=True)
    assert pace.files == START


@pytest.mark.parametrize("ended", [0, 1, int(NEAR * TICK / LATE) - 1])
def test_storage_that_becomes_late_is_seen(ended: int) -> None:
    """A good first look is no promise: each later one counts the files of its own time."""
    pace = Pace(None)
    clock = Clock(pace)
    clock.ticks(1, MB, ended=NEAR, queued=True)
    assert pace.files == NEAR
    clock.ticks(1, MB, ended=ended, queued=True)
    assert pace.files == START


def test_files_that_wait_for_nothing_bring_no_connections() -> None:
    """With no file in the queue there is nothing to open another connection for."""
    pace = Pace(None)
    Clock(pace).ticks(4, MB, queued=False)
    assert pace.files == NEAR


def test_trouble_before_the_first_look() -> None:
    """A storage that is busy from the start is not met with all connections at once."""
    pace = Pace(None)
    clock = Clock(pace)
    pace.troubled(NEAR, clock.now)
    clock.ticks(200, MB, queued=True)
    assert pace.files < START // 8


def test_files_grow_while_answers_stay_quick() -> None:
    """More files at once, as long as the time to the first byte does not double."""
    pace = Pace(None)
    clock = Clock(pace)
    pace.opened(0.03)
    clock.ticks(1, MB, queued=True)
    assert pace.files == START
    clock.ticks(4, MB, queued=False)
    assert pace.files == START
    clock.ticks(4, MB, queued=True)
    assert pace.files > START


def test_files_do_not_grow_when_answers_get_slow() -> None:
    """When each answer takes much longer than the quickest one, something else is the limit."""
    pace = Pace(None)
    clock = Clock(pace)
    pace.opened(0.03)
    for _ in range(30):
        pace.opened(0.3)
    clock.ticks(20, MB, queued=True)
    assert pace.files == START


def test_slices_grow_while_each_stays_fast() -> None:
    """A store that caps each connection gets as many as there may be."""
    pace = Pace(16)
    Clock(pace).ticks(40, 20 * MB, shared=True)
    assert pace.slices == 16


def test_slices_do_not_grow_past_the_network() -> None:
    """Connections that only take from each other do not get more."""
    pace = Pace(None)
    now, received = 100.0, 0.0
    for _ in range(60):
        now, received = now + TICK, received + 50 * MB * TICK
        pace.tick(now, int(received), 0, pace.slices, queued=False, shared=True)
    assert pace.slices <= 16


def test_slices_do_not_grow_past_what_memory_gives() -> None:
    """At hundreds of megabytes a second one connection is enough."""
    pace = Pace(None)
    clock = Clock(pace)
    clock.ticks(1, 0, shared=True)
    before = pace.slices
    clock.ticks(20, 2 * FAST, shared=True)
    assert pace.slices == before


def test_trouble_halves_once_for_all_that_fail_together() -> None:
    """A burst of 503 is one piece of news, and after it growth is slow."""
    pace = Pace(64)
    clock = Clock(pace)
    clock.ticks(40, MB, shared=True)
    assert pace.slices == 64
    for _ in range(64):
        pace.troubled(64, clock.now)
    assert (pace.slices, pace.files) == (32, NEAR // 2)
    clock.ticks(20, MB, shared=True, queued=True)
    assert pace.slices == 32
    clock.ticks(30, MB, shared=True, queued=True)
    assert pace.slices == 33
    pace.troubled(2, clock.now + 10)
    assert (pace.slices, pace.files) == (1, 1)
    pace.troubled(1, clock.now + 20)
    assert pace.width == 1


def test_an_idle_tick_changes_nothing() -> None:
    """Without a busy connection there is nothing to learn."""
    pace = Pace(None)
    for at in range(10):
        pace.tick(100.0 + at, 0, 0, 0, queued=True, shared=True)
    assert (pace.files, pace.slices) == (NEAR, 1)


@pytest.mark.parametrize(
    ("rate", "size"),
    [(None, 256 << 10), (1, 1), (5.0, 1), (1000.0, 100), (1e6, 100_000), (1e9, 256 << 10)],
)
def test_the_buffer_of_a_limit_is_a_tenth_of_a_second(rate: float | None, size: int) -> None:
    """So that a low rate is even."""
    assert RateLimit(rate).buffer_size == size


def test_no_limit_owes_nothing() -> None:
    """Without a limit nobody waits."""
    assert RateLimit(None).owed(1 << 40) == 0


def test_a_limit_is_for_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes waits behind all bytes before; time that passed unused is not saved up."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    limit = RateLimit(1000)
    assert [limit.owed(100) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    now[0] += 0.2
    assert limit.owed(100) == pytest.approx(0.2)
    now[0] += 1000
    assert limit.owed(100) == pytest.approx(0.1)
