import io
import json
import re
import threading
from dataclasses import dataclass

import pytest
from rich.cells import cell_len
from terminal import screen

from sourcecraft_artifacts.errors import TransferError
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress
from sourcecraft_artifacts.results import FileResult, Outcome
from sourcecraft_artifacts.show.bars import Bars, clipped, fitted
from sourcecraft_artifacts.show.progress import MOST_LINES, JsonEvents, Plain, make_reporter
from sourcecraft_artifacts.show.tracking import Totals, Tracker, summary_text
from sourcecraft_artifacts.transfer.reporter import NullReporter

MIB = 1 << 20
HOSTILE = "a\x1b[31m\x9b2J\u202e[/nope] [red]:bomb:\n\r\tb"
STEERING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
DISPLAY_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@dataclass
class FakeActivity:
    name: str
    size: int | None = None
    position: int = 0
    stage: str = ""


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class AsciiTerminal(Terminal):
    encoding = "ascii"


class Broken(Terminal):
    """A terminal or pipe that has been closed."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def result(
    name: str = "f", outcome: Outcome = Outcome.DOWNLOADED, size: int = MIB, message: str = ""
) -> FileResult:
    artifact = Artifact(CubeAddress("o/r", "1", "w", "t", "c"), name, "registered", ArtifactDates())
    error = TransferError(message, code="http") if message else None
    return FileResult(artifact, f"out/{name}", outcome, size, None, size, 0.5, error)


def called_off(name: str) -> FileResult:
    error = TransferError("it was cancelled", code="cancelled")
    return result(name, Outcome.FAILED)._replace(error=error)


def shown(bars: Bars, width: int = 80, height: int = 24) -> list[str]:
    lines = [line.plain for line in bars.lines(width, height)]
    assert all(cell_len(line) <= width for line in lines)
    return lines


@pytest.mark.parametrize(
    ("kind", "terminal", "term", "made"),
    [
        ("auto", True, "xterm", Bars),
        ("auto", True, "dumb", Plain),
        ("auto", False, "xterm", Plain),
        ("bar", True, "xterm", Bars),
        ("bar", False, "xterm", Plain),
        ("plain", True, "xterm", Plain),
        ("json", True, "xterm", JsonEvents),
    ],
)
def test_the_reporter_fits_the_wish_and_the_stream(
    kind: str, terminal: bool, term: str, made: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bars appear only if the stream can move its cursor."""
    monkeypatch.setenv("TERM", term)
    stream = Terminal() if terminal else io.StringIO()
    assert type(make_reporter(kind, stream=stream)) is made


@pytest.mark.parametrize(
    ("total", "known", "text"),
    [
        (0, False, ""),
        (1, False, "0 of 1 file is on disk"),
        (2, False, "0 of 2 files are on disk"),
        (1, True, "0 of 1 file, 5 B of 9 B are on disk"),
    ],
)
def test_how_far_it_came_is_a_sentence(total: int, known: bool, text: str) -> None:
    """At the end of an interrupted download its verb fits the numbers."""
    tracker = Tracker(io.StringIO())
    tracker.begin(total)
    if known:
        tracker.started(FakeActivity("a", size=9, position=5))
    assert tracker.reached() == text


def test_without_stderr_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a closed stderr (`2>&-`), which is None in Python, nothing is written."""
    monkeypatch.setattr("sys.stderr", None)
    assert type(make_reporter("plain")) is NullReporter


@pytest.mark.parametrize(
    ("totals", "text"),
    [
        (Totals(0, 1, 0, 0, False, 0, 0.0), "0 of 1 file"),
        (
            Totals(12, 40, 103 * MIB, 220 * MIB, False, 0, 21.0 * MIB),
            "12 of 40 files, 103.0 MiB of at least 220.0 MiB, 21.0 MiB/s",
        ),
        (
            Totals(1, 2, 10 * MIB, 52 * MIB, True, 0, 2.0 * MIB),
            "1 of 2 files, 10.0 MiB of 52.0 MiB, 2.0 MiB/s, 21 s left",
        ),
        (
            Totals(1, 2, 0, 180 * MIB, True, 0, 2.0 * MIB),
            "1 of 2 files, 0 B of 180.0 MiB, 2.0 MiB/s, 1 min 30 s left",
        ),
        (Totals(1, 2, 0, MIB, True, 0, 0.0), "1 of 2 files, 0 B of 1.0 MiB"),
        (Totals(1, 2, MIB, MIB, True, MIB, 512.0), "1 of 2 files, 1.0 MiB of 1.0 MiB"),
        (Totals(2, 2, MIB, MIB, True, MIB, 512.0), "2 of 2 files, 1.0 MiB of 1.0 MiB"),
    ],
)
def test_the_summary_claims_only_what_is_known(totals: Totals, text: str) -> None:
    """The time left needs a speed and all sizes; with nothing left, neither is shown."""
    assert summary_text(totals) == text


def test_totals_add_up_what_ended_and_what_is_under_way() -> None:
    """Bytes of an earlier run count as on disk, but not as received."""
    clock = FakeClock()
    tracker = Tracker(io.StringIO(), clock=clock, ticks=None)
    tracker.begin(3)
    resumed, unsized = FakeActivity("a", 10 * MIB, 4 * MIB), FakeActivity("b")
    tracker.started(resumed)
    tracker.started(unsized)
    resumed.position, unsized.position = 6 * MIB, MIB
    tracker.finished(FakeActivity("c"), result(size=2 * MIB))
    tracker.finished(None, result(outcome=Outcome.UNCHANGED))
    clock.now += 2
    assert tracker.totals() == Totals(
        1, 3, 9 * MIB, 13 * MIB, sized=False, transferred=5 * MIB, speed=2.5 * MIB
    )


def test_a_newer_version_of_a_file_counts_in_its_place() -> None:
    """While it is fetched again it is not done, and of its bytes only the newer ones count."""
    tracker = Tracker(io.StringIO(), clock=FakeClock(), ticks=None)
    tracker.begin(2)
    for name in ("a", "b"):
        tracker.finished(FakeActivity(f"out/{name}", MIB, MIB), result(name))
    newer = FakeActivity("out/a", 3 * MIB, 0)
    tracker.started(newer)
    assert tracker.totals()[:4] == (1, 2, MIB, 4 * MIB)
    tracker.finished(newer, result("a", size=3 * MIB))
    assert tracker.totals()[:6] == (2, 2, 4 * MIB, 4 * MIB, True, 5 * MIB)
    tracker.finished(None, result("a", Outcome.FAILED, message="refused"))
    assert tracker.totals()[:4] == (2, 2, MIB, MIB)


def test_the_speed_is_that_of_the_last_seconds() -> None:
    """A fast start does not count later, and in silence the speed falls to zero."""
    clock = FakeClock()
    tracker = Tracker(io.StringIO(), clock=clock, ticks=None)
    tracker.begin(1)
    activity = FakeActivity("a")
    tracker.started(activity)
    speeds = []
    for position in (50, 100, 101, 102, 102, 102):
        clock.now += 5
        activity.position = position
        speeds.append(tracker.totals().speed)
    assert speeds == [10.0, 10.0, 0.2, 0.2, 0.0, 0.0]


def test_plain_says_each_end_and_retry_in_a_line() -> None:
    """Skipped, unavailable and cancelled files are left to the summary."""
    stream, clock = io.StringIO(), FakeClock()
    plain = Plain(stream, ticks=None, clock=clock)
    plain.begin(4)
    one, two = FakeActivity("one"), FakeActivity("two")
    plain.started(one)
    plain.started(two)
    plain.retrying(one, "connection reset", 2.0)
    for _ in range(40):
        plain.retrying(one, "a wrong checksum", 0.04)
        clock.now += 0.25
    plain.retrying(two, "reset", 0.0)
    plain.refreshing(3)
    plain.finished(one, result("one"))
    plain.finished(two, result("two", Outcome.FAILED, message="the storage answered 500"))
    plain.finished(None, result("three", Outcome.UNAVAILABLE))
    plain.finished(None, result("four", Outcome.UNCHANGED))
    plain.finished(None, called_off("five"))
    for what in ("3 of 5 cubes", "3 of 5 cubes", ""):
        plain.waiting(what)
    assert stream.getvalue() == ""
    plain.close()
    plain.close()
    assert stream.getvalue().splitlines() == [
        "one: retrying in 2.0 s: connection reset",
        "one: retrying (22 times so far): a wrong checksum",
        "two: retrying: reset",
        "listing the artifacts again, for new URLs",
        "one: 1.0 MiB in 0.5 s",
        "failed: two: the storage answered 500",
        "waiting: 3 of 5 cubes",
    ]


def test_a_failure_names_the_artifact_too() -> None:
    """With `-o FILE` the message names the artifact as well as the file; a path stands once."""
    stream = io.StringIO()
    plain = Plain(stream, ticks=None)
    for name, path in [("file", "./dist//app.tar"), ("out/dist/app.tar", "./dist//app.tar")]:
        plain.finished(FakeActivity(name), result(path, Outcome.FAILED, message="gone"))
    full = "cannot write out/a: No space left on device"
    plain.finished(FakeActivity("out/a"), result("a", Outcome.FAILED, message=full))
    plain.close()
    assert stream.getvalue().splitlines() == [
        "failed: file (dist/app.tar): gone",
        "failed: out/dist/app.tar: gone",
        "failed: out/a: cannot write: No space left on device",
    ]


def test_plain_sums_up_every_few_seconds_while_something_is_active() -> None:
    """While no file is active, no line is written."""
    stream, clock = io.StringIO(), FakeClock()
    plain = Plain(stream, clock=clock, ticks=None)
    plain.begin(2)
    activity = FakeActivity("a", 20 * MIB)
    plain.started(activity)
    for _ in range(12):
        clock.now += 1
        activity.position += MIB
        plain.tick()
    plain.finished(activity, result())
    clock.now += 60
    plain.tick()
    assert stream.getvalue().splitlines() == [
        "0 of 2 files, 5.0 MiB of at least 20.0 MiB, 1.0 MiB/s",
        "0 of 2 files, 10.0 MiB of at least 20.0 MiB, 1.0 MiB/s",
        "a: 1.0 MiB in 0.5 s",
    ]


def test_small_files_cost_one_write() -> None:
    """Lines are collected, so that many files take few writes."""
    writes: list[str] = []

    class Counting(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    plain = Plain(Counting(), ticks=None)
    plain.begin(MOST_LINES)
    for number in range(MOST_LINES):
        plain.finished(FakeActivity(f"f{number}"), result())
    plain.close()
    assert len(writes) == 1
    assert writes[0].count("\n") == MOST_LINES


def test_many_files_are_counted_in_a_log() -> None:
    """Above a few dozen files a line every few seconds counts them; only failures have lines."""
    stream, clock = io.StringIO(), FakeClock()
    plain = Plain(stream, clock=clock, ticks=None)
    plain.begin(1000)
    for number in range(120):
        activity = FakeActivity(f"f{number}", MIB, MIB)
        plain.started(activity)
        if number % 50 == 7:
            plain.retrying(activity, "connection reset", 0.0)
        clock.now += 0.1
        plain.tick()
        message = "gone" if number == 60 else ""
        outcome = Outcome.FAILED if message else Outcome.DOWNLOADED
        plain.finished(activity, result(activity.name, outcome, message=message))
    plain.close()
    assert stream.getvalue().splitlines() == [
        "49 of 1,000 files, 50.0 MiB of at least 50.0 MiB, 9.8 MiB/s, retried 1 time",
        "failed: f60: gone",
        "99 of 1,000 files, 99.0 MiB of at least 99.0 MiB, 10.0 MiB/s, retried 2 times",
    ]


def test_a_run_that_grows_is_counted_from_then_on() -> None:
    """With `--wait` the number of files may grow above the limit later."""
    stream = io.StringIO()
    plain = Plain(stream, ticks=None)
    for total in (1, MOST_LINES + 1):
        plain.begin(total)
        plain.finished(FakeActivity(f"of {total}"), result())
    plain.close()
    assert stream.getvalue() == "of 1: 1.0 MiB in 0.5 s\n"


def test_what_takes_long_is_said_in_each_display() -> None:
    """Bars, lines and events say that a complete archive is being unpacked."""
    clock, stream, log = FakeClock(), io.StringIO(), io.StringIO()
    activity = FakeActivity("dist", 10 * MIB, 10 * MIB)
    bars = Bars(Terminal(), clock=clock, ticks=None)
    plain, json_events = (
        made(out, clock=clock, ticks=None) for made, out in ((Plain, log), (JsonEvents, stream))
    )
    for reporter in (bars, plain, json_events):
        reporter.begin(1)
        reporter.started(activity)
    clock.now += 6
    json_events.tick()
    activity.stage = f"unpacking, 1,200 so far{HOSTILE}"
    clock.now += 6
    for reporter in (plain, json_events):
        reporter.tick()
    assert shown(bars)[0].startswith("dist  ━━━━━━━━━━━━━━━━  unpacking, 1,200 so far")
    assert log.getvalue().splitlines()[0].startswith("dist: unpacking, 1,200 so fara\\x1b")
    told = [one["stage"] for one in events(stream) if one["event"] == "progress"]
    assert told == ["", activity.stage]


def test_no_display_claims_more_than_the_limit() -> None:
    """Bytes that come at once from a buffer are not shown as a speed above the limit."""
    clock = FakeClock()
    tracker = Tracker(io.StringIO(), clock=clock, ticks=None, limit=float(MIB))
    tracker.begin(1)
    activity = FakeActivity("a", 20 * MIB)
    tracker.started(activity)
    clock.now += 1
    activity.position = 3 * MIB
    assert tracker.totals().speed == MIB
    clock.now += 5
    activity.position = 4 * MIB
    assert tracker.totals().speed < MIB


def events(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_events_have_the_documented_fields() -> None:
    """Each event of one download, in order."""
    stream, clock = io.StringIO(), FakeClock()
    reporter = JsonEvents(stream, clock=clock, ticks=None)
    reporter.begin(2)
    activity = FakeActivity("a", 100, 10)
    reporter.started(activity)
    for position in (30, 40, 40):
        clock.now += 0.6
        activity.position = position
        reporter.tick()
    reporter.retrying(activity, "reset", 1.25)
    reporter.refreshing(2)
    reporter.waiting("run 12")
    reporter.finished(activity, result("a", Outcome.FAILED, 0, "no such object"))
    reporter.finished(None, result("b", Outcome.UNCHANGED))
    reporter.close()
    start, *rest = events(stream)
    assert start == {
        "event": "summary",
        "done": 0,
        "total": 2,
        "bytes": 0,
        "size": 0,
        "sized": False,
        "transferred": 0,
        "speed": 0,
    }
    assert rest == [
        {"event": "started", "name": "a", "size": 100, "position": 10},
        {"event": "progress", "name": "a", "size": 100, "position": 40, "stage": ""},
        start | {"bytes": 40, "size": 100, "transferred": 30, "speed": 25},
        {"event": "retrying", "name": "a", "reason": "reset", "delay": 1.25},
        {"event": "refreshing", "count": 2},
        {"event": "waiting", "what": "run 12"},
        {
            "event": "finished",
            "name": "a",
            "path": "out/a",
            "status": "registered",
            "outcome": "failed",
            "size": 0,
            "transferred": 0,
            "seconds": 0.5,
            "error": {"code": "http", "message": "no such object"},
        },
        {
            "event": "finished",
            "name": "out/b",
            "path": "out/b",
            "status": "registered",
            "outcome": "unchanged",
            "size": MIB,
            "transferred": MIB,
            "seconds": 0.5,
            "error": None,
        },
        start | {"done": 1},
    ]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_bars_show_each_file_and_the_total(width: int) -> None:
    """Every line fits the terminal, whatever its width."""
    clock = FakeClock()
    bars = Bars(Terminal(), clock=clock, ticks=None)
    bars.begin(40)
    bars.started(FakeActivity("x/" * 100 + "app.tar.gz", 10 * MIB, 5 * MIB))
    bars.started(FakeActivity("日本語" * 40, None, 3 * MIB))
    clock.now += 1
    first, second, total = shown(bars, width)
    assert " 50% of 10.0 MiB" in first or width == 20
    assert "3.0 MiB" in second or width == 20
    assert total.lstrip("━─ ").startswith("0 of 40 files")
    assert ("━" in first) == (width >= 60)


def test_bars_at_80_columns_look_so() -> None:
    """Names are cut in the middle, and the columns line up."""
    clock = FakeClock()
    bars = Bars(Terminal(), clock=clock, ticks=None)
    bars.begin(2)
    bars.started(FakeActivity("dist/some long folder/app-linux-x86_64.tar.gz", 40 * MIB, 10 * MIB))
    bars.started(FakeActivity("plan.json", 100, 100))
    clock.now += 1
    assert shown(bars) == [
        "dist/some lon…der/app-linux-x86_64.tar.gz  ━━━━────────────   25% of 40.0 MiB",
        f"{'plan.json':<41}  ━━━━━━━━━━━━━━━━  100% of 100 B",
        "━━━━────────────  0 of 2 files, 10.0 MiB of 40.0 MiB",
    ]


@pytest.mark.parametrize(
    ("width", "total"),
    [
        (80, "━━━━────────────  0 of 2 files, 10.0 MiB of 40.0 MiB, 5.0 MiB/s, 6 s left"),
        (60, "0 of 2 files, 10.0 MiB of 40.0 MiB, 5.0 MiB/s, 6 s left"),
        (50, "0 of 2 files, 10.0 MiB of 40.0 MiB, 6 s left"),
        (40, "0 of 2 files, 10.0 MiB of 40.0 MiB"),
        (20, "0 of 2 files"),
        (10, "0 of 2 fi…"),
    ],
)
def test_a_narrow_total_says_less(width: int, total: str) -> None:
    """A narrow total drops the bar, the speed, the time left and the bytes, in this order."""
    clock = FakeClock()
    bars = Bars(Terminal(), clock=clock, ticks=None)
    bars.begin(2)
    one, other = FakeActivity("one", 20 * MIB), FakeActivity("other", 20 * MIB)
    bars.started(one)
    bars.started(other)
    clock.now += 2
    one.position = 10 * MIB
    assert shown(bars, width)[-1] == total


def test_bars_show_the_longest_running_first_and_count_the_rest() -> None:
    """Bars never fill the terminal, and files that end at once never appear."""
    clock = FakeClock()
    bars = Bars(Terminal(), clock=clock, ticks=None)
    bars.begin(100)
    for number in range(33):
        bars.started(FakeActivity(f"file{number}"))
    clock.now += 1
    bars.started(FakeActivity("just begun"))
    lines = shown(bars)
    assert [line.split()[0] for line in lines[:10]] == [f"file{n}" for n in range(10)]
    assert lines[10] == "and 23 more"
    assert len(lines) == 12
    assert len(shown(bars, height=8)) == 6
    assert len(shown(bars, height=2)) == 3


def test_a_retry_is_said_in_the_files_own_line_until_it_moves() -> None:
    """The delay counts down; the first new byte brings the bar back."""
    clock = FakeClock()
    bars = Bars(Terminal(), clock=clock, ticks=None)
    bars.begin(1)
    activity = FakeActivity("a", 100, 10)
    bars.started(activity)
    bars.retrying(activity, "connection reset", 2.0)
    bars.retrying(FakeActivity("unknown"), "connection reset", 2.0)
    said = []
    for _ in range(3):
        said.append(shown(bars)[0])
        clock.now += 1
    activity.position = 20
    assert said == [
        "a  retrying in 2 s: connection reset",
        "a  retrying in 1 s: connection reset",
        "a  retrying: connection reset",
    ]
    assert shown(bars)[0] == "a  ━━━─────────────   20% of 100 B"


def test_waiting_stays_and_a_refresh_passes() -> None:
    """Both are status lines between the files and the total; the second disappears."""
    clock = FakeClock()
    bars = Bars(Terminal(), clock=clock, ticks=None)
    bars.waiting("2 of 3 cubes")
    assert shown(bars) == ["waiting: 2 of 3 cubes"]
    bars.begin(1)
    bars.refreshing(1)
    assert shown(bars)[:2] == [
        "waiting: 2 of 3 cubes",
        "listing the artifacts again, for new URLs",
    ]
    clock.now += 10
    assert shown(bars) == ["waiting: 2 of 3 cubes", "0 of 1 file so far"]
    bars.waiting("")
    assert shown(bars) == ["────────────────  0 of 1 file"]


def drive(reporter: Tracker, clock: FakeClock) -> None:
    activity = FakeActivity(HOSTILE, 100, 10)
    reporter.begin(2)
    reporter.started(activity)
    clock.now += 1
    reporter.tick()
    reporter.retrying(activity, HOSTILE, 2.0)
    reporter.waiting(HOSTILE)
    clock.now += 6
    reporter.tick()
    reporter.finished(activity, result(HOSTILE, Outcome.FAILED, message=HOSTILE))
    reporter.finished(None, result(HOSTILE, Outcome.UNAVAILABLE))
    reporter.tick()
    reporter.close()


@pytest.mark.parametrize("made", [Plain, JsonEvents, Bars])
def test_hostile_names_come_out_harmless(made: type[Tracker]) -> None:
    """Control characters in names do not reach the terminal, and markup is not read."""
    stream, clock = Terminal(), FakeClock()
    drive(made(stream, clock=clock, ticks=None), clock)
    written = stream.getvalue()
    assert not STEERING.search(DISPLAY_CODES.sub("", written))
    assert "[/nope] [red]:bomb:" in re.sub(r"\x1b\[[0-9;]*m", "", written)


@pytest.mark.parametrize("made", [Plain, JsonEvents, Bars])
def test_a_stderr_that_breaks_ends_nothing(made: type[Tracker]) -> None:
    """A closed stderr loses the messages, but does not end the download."""
    clock = FakeClock()
    drive(made(Broken(), clock=clock, ticks=None), clock)


def test_messages_stand_above_the_bars() -> None:
    """Messages are printed above the bars as long as there are bars."""
    stream, clock = Terminal(), FakeClock()
    bars = Bars(stream, clock=clock, ticks=None)
    assert not bars.tell("too early")
    bars.begin(1)
    bars.started(FakeActivity("a", 100, 10))
    clock.now += 1
    bars.tick()
    assert bars.tell("the API answered 503")
    bars.tick()
    above, first, *_ = screen(stream.getvalue())
    assert above == "the API answered 503"
    assert first.startswith("a  ")
    bars.close()
    assert not bars.tell("too late")
    assert screen(stream.getvalue()) == ["the API answered 503"]


def test_after_the_end_only_failures_are_left() -> None:
    """After the bars have gone, the terminal has only the failures, in order."""
    stream, clock = Terminal(), FakeClock()
    bars = Bars(stream, clock=clock, ticks=None)
    bars.begin(2)
    activity = FakeActivity("good", 100, 10)
    bars.started(activity)
    clock.now += 1
    bars.tick()
    bars.finished(FakeActivity("bad"), result("bad", Outcome.FAILED, message="gone [/x]"))
    bars.tick()
    bars.finished(activity, result("good"))
    bars.finished(None, called_off("other"))
    bars.close()
    assert screen(stream.getvalue()) == ["failed: bad: gone [/x]"]


def test_without_colour_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR there are bars, whose two halves differ by shape."""
    monkeypatch.setenv("NO_COLOR", "1")
    stream, clock = Terminal(), FakeClock()
    drive(Bars(stream, clock=clock, ticks=None), clock)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", stream.getvalue())
    assert "━" in stream.getvalue()
    assert "─" in stream.getvalue()


def test_an_ascii_terminal_gets_plain_signs() -> None:
    """All signs are in the stream's encoding."""
    stream, clock = AsciiTerminal(), FakeClock()
    drive(Bars(stream, clock=clock, ticks=None), clock)
    assert stream.getvalue().isascii()
    assert "#" in stream.getvalue()


def test_a_stderr_that_takes_nothing_does_not_hold_up_the_end() -> None:
    """A blocked terminal blocks the timer thread alone; workers and the end go on."""
    blocked, released = threading.Event(), threading.Event()

    class Stopped(io.StringIO):
        def write(self, text: str) -> int:
            blocked.set()
            released.wait()
            return len(text)

    def end() -> None:
        plain.finished(FakeActivity("b"), result())
        plain.close()

    plain = Plain(Stopped(), ticks=0.001)
    worker = threading.Thread(target=end, daemon=True)
    try:
        plain.begin(1)
        plain.finished(FakeActivity("a"), result())
        assert blocked.wait(10)
        worker.start()
        worker.join(10)
        assert not worker.is_alive()
    finally:
        released.set()


@pytest.mark.parametrize("width", range(12))
@pytest.mark.parametrize("text", ["abc", "abcdefghijkl", "日本語日本語日本語", "a日b本c語d"])
def test_texts_are_fitted_by_cells(text: str, width: int) -> None:
    """Wide characters take two cells, and are never cut in half."""
    assert cell_len(fitted(text, width, "…")) == width
    assert cell_len(clipped(text, width, "…")) == min(width, cell_len(text))
