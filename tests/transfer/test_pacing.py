"""How many connections, and how fast."""

from __future__ import annotations

import time

import pytest

from sourcecraft_artifacts.transfer.pacing import MOST, SOON, START, Pace, RateLimit, Use

TICK = 0.05
MB = 1e6
PLENTY = 1000


class Wire:
    """Simulates a network: a response comes after `late` seconds, and has `size` bytes.

    All connections together bring at most `most` bytes a second, and each at most `each`. If they
    want more, responses wait in a queue.
    """

    def __init__(
        self, pace: Pace, *, late: float, size: float, most: float, each: float, queue: float = 0.1
    ) -> None:
        self.pace = pace
        self.now = 100.0
        self.received = 0.0
        self._late, self._size, self._most, self._each = late, size, most, each
        self._queue = queue

    def run(self, seconds: float, wanted: int = PLENTY) -> int:
        """Let time pass; return the number of connections after it."""
        for _ in range(round(seconds / TICK)):
            busy = self.pace.width
            body = self._size / self._each
            rate = busy * self._size / (self._late + body)
            late = self._late
            if rate > self._most:
                rate, late = self._most, self._late + self._queue
                body = max(body, busy * self._size / rate - late)
            self.now += TICK
            self.received += rate * TICK
            for _ in range(max(1, round(rate * TICK / self._size))):
                self.pace.answered(late if self.now > 100.0 + 3 * self._late else self._late)
            receiving = round(busy * body / (late + body))
            use = Use(busy, busy - receiving, receiving)
            self.pace.tick(self.now, int(self.received), use, wanted=wanted)
        return self.pace.width


@pytest.mark.parametrize(("jobs", "width"), [(None, START), (1, 1), (8, 8), (500, START)])
def test_where_it_begins(jobs: int | None, width: int) -> None:
    """`--jobs` limits all connections, slices included."""
    assert Pace(jobs).width == width


@pytest.mark.parametrize("jobs", [None, 8, 40])
def test_many_where_answers_are_late(jobs: int | None) -> None:
    """With small files and a long round trip, more connections bring more."""
    wire = Wire(Pace(jobs), late=0.05, size=20e3, most=1e9, each=10 * MB)
    assert wire.run(1.5) == (jobs or MOST)


@pytest.mark.parametrize(
    ("lateness", "wanted", "width"),
    [
        (1.0, PLENTY, MOST),
        (1.15, PLENTY, MOST),
        (1.25, PLENTY, 19),
        (1.4, PLENTY, 17),
        (1.5, PLENTY, START),
        (9.0, PLENTY, START),
        (1.0, 100, 44),
        (1.0, 20, 20),
        (1.0, 3, START),
        (1.3, 20, 18),
    ],
)
def test_the_later_responses_are_the_fewer_are_added(
    lateness: float, wanted: int, width: int
) -> None:
    """As many as there are files for, or as many as make responses half as late again."""
    pace = seen(START, [0.05] * START)
    more(pace, [0.05 * lateness] * START, wanted)
    assert pace.width == width


@pytest.mark.parametrize(
    ("width", "lateness", "after"),
    [(MOST, 2.0, MOST), (MOST, 2.1, 72), (40, 9.0, 30), (20, 3.0, START), (START, 9.0, START)],
)
def test_those_that_queue_are_closed(width: int, lateness: float, after: int) -> None:
    """Where small files come so late that a queue is full, a quarter of the connections goes."""
    pace = seen(width, [0.05] * width)
    more(pace, [0.05 * lateness] * width, PLENTY)
    assert pace.width == after


def test_responses_that_differ_are_not_late() -> None:
    """Where some responses always take longer, the mean is what is usual, not the quickest one."""
    pace = seen(START, [0.02] * (START // 2) + [0.08] * (START // 2))
    more(pace, [0.08] * (START // 2) + [0.02] * (START // 2), PLENTY)
    assert pace.width == MOST


def test_a_few_quick_responses_are_not_usual() -> None:
    """Responses that are too few to tell do not make all later ones late."""
    pace = seen(START, [0.05] * START)
    pace.tick(100.3, 3, Use(START, 0, START), wanted=0)
    pace.answered(0.02)
    pace.tick(100.6, 10**6, Use(START, 0, START), wanted=0)
    assert pace.response_time == pytest.approx(0.05)


def seen(width: int, waits: list[float]) -> Pace:
    """Return a pace that has seen responses after these seconds, when there was no more to do."""
    pace = Pace(None)
    pace.width = width
    pace.tick(100.0, 0, Use(width, width, 0), wanted=0)
    for seconds in waits:
        pace.answered(seconds)
    pace.tick(100.1, 1, Use(width, width, 0), wanted=0)
    assert pace.width == width
    return pace


def more(pace: Pace, waits: list[float], wanted: int) -> None:
    """Let it see further responses."""
    for seconds in waits:
        pace.answered(seconds)
    pace.tick(100.2, 2, Use(pace.width, pace.width, 0), wanted=wanted)


def test_new_connections_are_judged_when_they_are_open() -> None:
    """Responses that were requested before there were so many tell nothing about them."""
    pace = Pace(None)
    pace.tick(100.0, 0, Use(START, START, 0), wanted=PLENTY)
    for at in range(1, 9):
        for _ in range(START):
            pace.answered(0.05)
        open_ones = START if at < 8 else 30
        pace.tick(100.0 + at * TICK, at, Use(pace.width, open_ones, 0), wanted=45)
        assert pace.width == 30
    for _ in range(30):
        pace.answered(0.05)
    pace.tick(100.6, 9, Use(30, 30, 0), wanted=60)
    assert pace.width > 30


def test_no_more_than_there_is_to_do() -> None:
    """No more connections are opened than there are requests to make."""
    wire = Wire(Pace(None), late=0.05, size=20e3, most=1e9, each=10 * MB)
    assert wire.run(1.5, wanted=0) == START
    assert wire.run(0.2, wanted=12) == START
    assert wire.run(0.2, wanted=20) <= START + 6


def test_very_many_files_get_many_at_once() -> None:
    """Where each connection has many files to fetch, all are opened after the first responses."""
    wire = Wire(Pace(None), late=0.05, size=20e3, most=1e9, each=10 * MB)
    widths = [wire.run(TICK, wanted=500) for _ in range(8)]
    assert set(widths) == {START, MOST}


def test_few_where_the_way_is_full() -> None:
    """Files that fill the network get no more connections than that takes."""
    wire = Wire(Pace(None), late=0.05, size=MB, most=25 * MB, each=5 * MB)
    assert wire.run(3) == START


def test_few_where_the_processor_is_the_limit() -> None:
    """If responses come at once, the number stays low, as the CPU is the limit."""
    wire = Wire(Pace(None), late=SOON / 4, size=20e3, most=1e9, each=100 * MB)
    assert wire.run(1) == START


def test_more_where_each_is_capped() -> None:
    """If each connection is limited, there are as many as raise the total."""
    wire = Wire(Pace(None), late=0.03, size=4 * MB, most=1e9, each=5 * MB)
    assert wire.run(3) == MOST


def test_more_that_do_not_pay_are_taken_back() -> None:
    """More connections that do not raise the total are closed, even without a visible queue."""
    pace = Pace(None)
    wire = Wire(pace, late=0.03, size=4 * MB, most=16 * 5 * MB, each=5 * MB, queue=0.0)
    assert max(wire.run(TICK) for _ in range(40)) == START + START // 2
    assert pace.width == START
    assert wire.run(2) == START


def test_a_trial_that_nothing_can_prove_is_taken_back() -> None:
    """If the work runs out during a trial of more connections, they are not kept."""
    pace = Pace(None)
    wire = Wire(pace, late=0.03, size=4 * MB, most=1e9, each=5 * MB)
    while wire.run(TICK) == START:
        pass
    assert wire.run(1, wanted=0) == START


def test_bodies_that_begin_to_come_are_no_waiting() -> None:
    """When all connections begin to receive large files, their waits no longer count."""
    pace = Pace(None)
    pace.tick(100.0, 0, Use(START, START, 0), wanted=PLENTY)
    for at in range(1, 8):
        for _ in range(START if at == 1 else 0):
            pace.answered(0.05)
        pace.tick(100.0 + at * TICK, at * 10**6 * at, Use(START, 0, START), wanted=PLENTY)
    assert pace.width == START


def test_none_while_connections_are_being_opened() -> None:
    """Connections that are still being opened, over a long way, do not count as waiting."""
    pace = Pace(None)
    for at in range(20):
        pace.answered(0.16)
        pace.tick(100.0 + at * TICK, at, Use(START, 2, 2), wanted=PLENTY)
    assert pace.width == START


def test_those_of_small_files_are_given_up_where_large_ones_follow() -> None:
    """Many connections that fill the network become fewer, down to the number at the start."""
    pace = Pace(None)
    assert Wire(pace, late=0.05, size=20e3, most=1e9, each=10 * MB).run(1.5) == MOST
    large = Wire(pace, late=0.05, size=MB, most=25 * MB, each=5 * MB)
    large.now = 110.0
    assert large.run(6) == START


def test_a_trial_that_failed_does_not_keep_small_files_waiting() -> None:
    """If small files follow large ones, connections are added at once, as responses are awaited."""
    pace = Pace(None)
    large = Wire(pace, late=0.03, size=4 * MB, most=16 * 5 * MB, each=5 * MB, queue=0.0)
    assert max(large.run(TICK) for _ in range(40)) > START
    assert pace.width == START
    small = Wire(pace, late=0.03, size=20e3, most=1e9, each=10 * MB)
    small.now = large.now
    small.received = large.received
    assert small.run(0.5) > START


def test_one_response_tells_nothing() -> None:
    """While all others are still under way, nothing is known yet."""
    pace = Pace(None)
    pace.tick(100.0, 0, Use(START, START, 0), wanted=PLENTY)
    pace.answered(0.16)
    for at in range(1, 20):
        pace.tick(100.0 + at * TICK, 20_000, Use(START, START, 0), wanted=PLENTY)
    assert pace.width == START
    for _ in range(START // 2 - 1):
        pace.answered(0.16)
    pace.tick(101.0, 20_000, Use(START, START, 0), wanted=PLENTY)
    assert pace.width > START


def test_trouble_halves_once_for_all_that_fail_together() -> None:
    """A burst of 503 halves the number once, and then it grows slowly."""
    pace = Pace(64)
    wire = Wire(pace, late=0.05, size=20e3, most=1e9, each=10 * MB)
    assert wire.run(1) == 64
    for _ in range(64):
        pace.troubled(64, wire.now)
    assert pace.width == 32
    assert wire.run(1.5) == 32
    assert wire.run(1.5) == 33
    pace.troubled(2, wire.now + 10)
    assert pace.width == 1
    pace.troubled(1, wire.now + 20)
    assert pace.width == 1


@pytest.mark.parametrize(("later", "width"), [(0.0, 32), (0.99, 32), (1.01, 16)])
def test_trouble_of_the_next_second_is_news(later: float, width: int) -> None:
    """What fails within a second of the first failure is the same trouble."""
    pace = Pace(64)
    pace.width = 64
    pace.troubled(64, 10.0)
    pace.troubled(64, 10.0 + later)
    assert pace.width == width


def test_an_idle_tick_changes_nothing() -> None:
    """Without an active connection a tick changes nothing."""
    pace = Pace(None)
    for at in range(10):
        pace.tick(100.0 + at, 0, Use(0, 0, 0), wanted=PLENTY)
    assert pace.width == START


@pytest.mark.parametrize(
    ("rate", "size"),
    [(None, 256 << 10), (1, 1), (5.0, 1), (1000.0, 100), (1e6, 100_000), (1e9, 256 << 10)],
)
def test_the_buffer_of_a_limit_is_a_tenth_of_a_second(rate: float | None, size: int) -> None:
    """The buffer is small, so that a low rate is even."""
    assert RateLimit(rate).buffer_size == size


def test_no_limit_owes_nothing() -> None:
    """Without a limit there is no wait."""
    assert RateLimit(None).owed(1 << 40) == 0


def test_a_limit_is_for_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """All bytes share the rate, and unused time is not saved up."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    limit = RateLimit(1000)
    assert [limit.owed(100) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    now[0] += 0.2
    assert limit.owed(100) == pytest.approx(0.2)
    now[0] += 1000
    assert limit.owed(100) == pytest.approx(0.1)


def test_recent_responses_tell_how_late_the_storage_is_now() -> None:
    """The usual time is the shortest; a storage may become late, and recover."""
    pace = Pace(None)
    for seconds, recently in ((0.1, 0.1), (3.1, 1.6), (3.0, 2.3), (0.1, 1.2)):
        pace.answered(seconds)
        assert pace.recently == pytest.approx(recently)
