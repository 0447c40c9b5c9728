"""Many files, and many connections for one file: no bytes are lost or mixed, and every run ends."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_service import eventually, held
from servers import Received, Reply, Response, ScriptedServer, ranged

from sourcecraft_artifacts import network
from sourcecraft_artifacts.disk import hashing, partial
from sourcecraft_artifacts.disk.body import Body, read_at
from sourcecraft_artifacts.disk.directory import Directory, open_root
from sourcecraft_artifacts.disk.partial import Partial
from sourcecraft_artifacts.disk.parts import PartialStore
from sourcecraft_artifacts.errors import ArtifactsError, Cancelled, Interrupted, LocalError, Refused
from sourcecraft_artifacts.http import opening
from sourcecraft_artifacts.http.blocks import SIZE
from sourcecraft_artifacts.http.connection import Connection
from sourcecraft_artifacts.http.storage import Storage
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress
from sourcecraft_artifacts.results import FileResult, Outcome
from sourcecraft_artifacts.transfer import (
    files,
    hasher,
    incoming,
    saving,
    scheduler,
    slices,
    transfer,
)
from sourcecraft_artifacts.transfer.attempt import Attempt
from sourcecraft_artifacts.transfer.engine import Downloads
from sourcecraft_artifacts.transfer.files import Files
from sourcecraft_artifacts.transfer.jobs import Job, Tuning, Whole
from sourcecraft_artifacts.transfer.loop import Loop
from sourcecraft_artifacts.transfer.meter import Meter
from sourcecraft_artifacts.transfer.pacing import MOST, Pace, RateLimit, Use
from sourcecraft_artifacts.transfer.pieces import Piece
from sourcecraft_artifacts.transfer.reporter import Activity, NullReporter
from sourcecraft_artifacts.transfer.scheduler import Scheduler

ADDRESS = CubeAddress("org/repo", "7", "ci", "build", "linux")
SLICES = 8
PIECE = 64 << 10
BODY = random.Random(1).randbytes(20 * PIECE + 5)
OTHER = random.Random(2).randbytes(20 * PIECE + 5)
SMALL = b"small"


class Wide(Pace):
    """A pace that allows one file several connections from the start."""

    made: list[Wide] = []  # noqa: RUF012

    def __init__(self, most: int | None) -> None:
        super().__init__(most)
        self.width = min(SLICES, most or SLICES)
        self.narrowest = self.width
        Wide.made.append(self)

    def tick(self, now: float, received: int, use: Use, *, wanted: int) -> None:
        """Do not grow, so that a test knows the number of connections."""

    def troubled(self, busy: int, now: float) -> None:
        """Record how far the pace was reduced."""
        super().troubled(busy, now)
        self.narrowest = min(self.narrowest, self.width)


class Folder:
    """The target of finished files; `fault` is the error of the next commits."""

    def __init__(self, directory: Directory, path: Path) -> None:
        self.directory = directory
        self.path = path
        self.fault: Exception | None = None
        self.slow: set[str] = set()
        """Names whose commit lasts until it is called off."""
        self.cancelled = threading.Event()
        self.parts = PartialStore(directory, ".p-")

    def fresh(self, job: Job) -> Partial | None:
        """Empty partial data, where there is none on disk."""
        return self.parts.fresh(job.path)

    def open(self, job: Job) -> Partial:
        """Open the partial data for a job."""
        return self.parts.open(job.path)

    def takes_long(self, whole: Whole) -> bool:
        """Tell whether it is one of the slow files."""
        return whole.job.path in self.slow

    def cancel(self) -> None:
        """Cancel the slow files."""
        self.cancelled.set()

    def commit(self, batch: Sequence[Whole]) -> None:
        """Give complete files their names."""
        for whole in batch:
            try:
                if self.takes_long(whole):
                    whole.partial.seal()
                    whole.tell_stage("unpacking")
                    assert self.cancelled.wait(10)
                    raise Cancelled
                whole.size = self._place(whole.job, whole.partial, whole.sha256)
            except Exception as error:
                whole.error = error

    def _place(self, job: Job, partial: Partial, sha256: str) -> int:
        found = partial.seal()
        if self.fault is not None:
            raise self.fault
        self.directory.replace(partial.part_name, self.directory, job.path)
        partial.placed()
        assert hashlib.sha256((self.path / job.path).read_bytes()).hexdigest() == sha256
        return found.st_size


class Watcher(NullReporter):
    """Records what the reporter is called with."""

    def __init__(self) -> None:
        self.retries: list[str] = []
        self.refreshed: list[int] = []

    def retrying(self, activity: object, reason: str, delay: float) -> None:
        """Record a failure."""
        self.retries.append(reason)

    def refreshing(self, count: int) -> None:
        """Record a new listing."""
        self.refreshed.append(count)


class World:
    """A storage, a folder, and downloads from one to the other."""

    def __init__(self, server: ScriptedServer, directory: Directory, path: Path) -> None:
        self.server = server
        self.directory = directory
        self.path = path
        self.folder = Folder(directory, path)
        self.watcher = Watcher()
        self.generation = 1

    def artifact(self, name: str) -> Artifact:
        """Return an artifact with its newest URL."""
        url = f"{self.server.url}/{name}/{self.generation}"
        return Artifact(ADDRESS, name, "success", ArtifactDates(), download_url=url)

    def relist(self, _: CubeAddress) -> list[Artifact]:
        """List everything with new URLs."""
        self.generation += 1
        return [self.artifact(name) for name in ("a", "b", "c")]

    def downloads(self, *, stall: float = 20, **tuning: Any) -> Downloads:
        """Make a run, which must be entered."""
        self.folder = Folder(self.directory, self.path)
        storage = Storage(stall_timeout=stall)
        settings = Tuning(**tuning)
        return Downloads(storage, self.folder, self.relist, self.watcher, settings)

    def run(self, *names: str, within: float = 10, **tuning: Any) -> dict[str, FileResult]:
        """Download these artifacts; a run that does not end is cancelled, and fails the test."""
        jobs = {name: Job(self.artifact(name), name) for name in names or ("a",)}
        with self.downloads(**tuning) as downloads:
            downloads.submit(jobs.values())
            ended = downloads.wait(within)
            if not ended:
                downloads.cancel()
        assert ended, f"no end after {len(self.server.requests)} requests"
        return {name: downloads.results[job] for name, job in jobs.items()}

    def fetch(self, *replies: Reply, **tuning: Any) -> bytes:
        """Download one file that the storage serves in this way."""
        self.server.on("/a", *replies)
        (result,) = self.run(**tuning).values()
        assert result.error is None, result.error
        assert self.leftovers() == []
        return (self.path / "a").read_bytes()

    def failure(self, *replies: Reply, **tuning: Any) -> ArtifactsError:
        """Download one file that fails, and return its error."""
        self.server.on("/a", *replies)
        (result,) = self.run(**tuning).values()
        assert result.outcome is Outcome.FAILED
        assert result.error is not None
        assert not (self.path / "a").exists()
        return result.error

    def leftovers(self) -> list[str]:
        """Return the partial data in the folder."""
        return sorted(one.name for one in self.path.iterdir() if one.name.startswith(".p-"))

    def asked(self) -> list[str | None]:
        """Return the requested ranges."""
        return [one.header("Range") for one in self.server.requests]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make an empty folder and a storage without a script."""
    with ScriptedServer() as server, open_root(str(tmp_path)) as directory:
        yield World(server, directory, tmp_path)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use small pieces, several connections from the start, and no waits."""
    Wide.made.clear()
    monkeypatch.setattr(scheduler, "Pace", Wide)
    monkeypatch.setattr(slices, "MIN_PIECE", PIECE // 4)
    monkeypatch.setattr(slices, "MAX_PIECE", PIECE)
    quickly(monkeypatch)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait before retries."""
    quickly(monkeypatch)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the response of each connection, however slow the machine is."""
    monkeypatch.setattr(incoming, "_PATIENCE", 20.0)
    monkeypatch.setattr(files, "_PATIENCE", 20.0)


def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once, unless the storage sends Retry-After."""
    monkeypatch.setattr(transfer, "backoff", lambda tries, after=None: after or 0.0)


def received(downloads: Downloads) -> int:
    """Return the number of received bytes."""
    return downloads._scheduler.meter.received if downloads._scheduler else 0


def span(received: Received) -> tuple[int, int] | None:
    """Return the requested span, which may have no end."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", received.header("Range") or "")
    return (int(match[1]), int(match[2] or 0)) if match else None


class Crowd:
    """Holds responses back until so many requests are there at once, then sends them all.

    The first request is for the whole object; the first half of its response comes at once.
    """

    def __init__(self, number: int, good: Reply, bad: Callable[[Received], Response]) -> None:
        self.number = number
        self.waiting = 0
        self.together = threading.Event()
        self._good = good
        self._bad = bad
        self._lock = threading.Lock()

    def __call__(self, received: Received) -> Response:
        """Respond to a request, or make it wait for the others."""
        with self._lock:
            late = self.together.is_set()
            self.waiting += 1
            if self.waiting == self.number:
                self.together.set()
        assert callable(self._good)
        if late:
            return self._good(received)
        if span(received) is None:
            return replace(self._bad(received), gate=self.together)
        self.together.wait(10)
        return self._bad(received)


# Several connections for one file.


@pytest.mark.usefixtures("patient")
def test_a_large_file_is_fetched_in_slices(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several connections each request a part; no byte is requested twice."""
    monkeypatch.setattr(scheduler, "Pace", Wide)
    body = random.Random(3).randbytes(24 << 20)
    crowd = Crowd(SLICES, ranged(body), ranged(body))
    assert world.fetch(crowd) == body
    assert crowd.together.is_set()
    spans = sorted(found for one in world.server.requests if (found := span(one)))
    assert len(spans) >= SLICES - 1
    assert len(set(spans)) == len(spans)
    assert world.server.max_open == SLICES
    for received in world.server.requests[1:]:
        assert received.header("If-Range") == '"v1"'


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("jobs", [2, SLICES])
def test_slices_are_neither_tiny_nor_huge(
    world: World, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    """A request is worth its round trip, and a connection that is slow holds up little.

    Only the last pieces are shared further, and only late responses make them larger: a slow
    machine must not.
    """
    monkeypatch.setattr(scheduler, "Pace", Wide)
    monkeypatch.setattr(Files, "_share_latest", lambda *_: None)
    monkeypatch.setattr(Meter, "response_time", 0.0)
    body = bytes(24 << 20)
    assert world.fetch(Crowd(jobs, ranged(body), ranged(body)), jobs=jobs) == body
    spans = sorted(found for one in world.server.requests if (found := span(one)))
    sizes = [last + 1 - first for first, last in spans if last]
    assert sizes
    assert min(sizes) >= 1 << 20
    assert max(sizes) <= 4 << 20


@pytest.mark.parametrize(
    ("good", "jobs"),
    [
        (ranged(BODY, headers={"Accept-Ranges": "none"}), None),
        (Response(200, {"ETag": '"v1"'}, BODY), None),
        (ranged(BODY, etag=None), None),
        (ranged(BODY, etag='W/"v1"'), None),
        (ranged(BODY), 1),
    ],
)
@pytest.mark.usefixtures("wide")
def test_one_connection_where_more_cannot_be(world: World, good: Reply, jobs: int | None) -> None:
    """Without ranges, a strong validator, or with `--jobs 1`, there is one connection."""
    if jobs is None and callable(good):
        plain = good
        good = lambda received: replace(  # noqa: E731
            plain(received), headers=[p for p in plain(received).pairs if p[0] != "Accept-Ranges"]
        )
    assert world.fetch(good, jobs=jobs) == BODY
    assert world.server.max_open == 1


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("obeys", [True, False])
@pytest.mark.usefixtures("wide")
def test_an_object_that_changes_under_its_slices(world: World, number: int, obeys: bool) -> None:
    """If the object changes after some requests, the file is one version, complete."""
    count = iter(range(1000))
    old, new = ranged(BODY), ranged(OTHER, etag='"v2"')

    def reply(received: Received) -> Response:
        if next(count) < number:
            return old(received)
        if obeys:
            return new(received)
        kept = [pair for pair in received.headers if pair[0].lower() != "if-range"]
        return new(replace(received, headers=tuple(kept)))

    assert world.fetch(reply) in (BODY, OTHER)
    assert len(world.server.requests) < 100


def always_other(received: Received) -> Response:
    """A storage whose servers have different ETags for the same object."""
    etag = f'"{random.randrange(1 << 60)}"'
    return ranged(BODY, etag=etag)(received)


def empty_part(received: Received) -> Response:
    """Send a part of the right range, without a byte in it."""
    return replace(ranged(BODY)(received), body=b"", length="0")


def endless_part(received: Received) -> Response:
    """Send a part that is shorter than its range, without a length."""
    good = ranged(BODY)(received)
    return replace(good, body=b"", no_length=True)


def longer_part(received: Received) -> Response:
    """Send a part with more bytes than its range, without a length."""
    good = ranged(BODY)(received)
    asked = span(received)
    assert asked is not None
    end = min(asked[0] + PIECE, len(BODY))
    told = f"bytes {asked[0]}-{end - 1}/{len(BODY)}"
    pairs = {**dict(good.pairs), "Content-Range": told}
    return replace(good, headers=pairs, body=good.body[:PIECE] + b"x" * 500, chunked=True)


LIARS: list[tuple[str, Reply]] = [
    ("whole", ranged(BODY, ignore_range=True)),
    ("200 with a range", ranged(BODY, status_200_with_content_range=True)),
    ("another start", ranged(BODY, wrong_start=True)),
    ("416", Response(416, {"Content-Range": f"bytes */{len(BODY)}"})),
    ("an empty part", empty_part),
    ("an empty part without a length", endless_part),
    ("a part that is longer than it says", longer_part),
    ("always another ETag", always_other),
]


@pytest.mark.parametrize(("how", "liar"), LIARS)
@pytest.mark.parametrize("honest", [0, 2, 4])
@pytest.mark.usefixtures("wide")
def test_ranges_that_stop_working(world: World, how: str, liar: Reply, honest: int) -> None:
    """A storage that serves ranges wrongly, at once or later, still gives the exact file."""
    count = iter(range(10_000))
    good = ranged(BODY)

    def reply(received: Received) -> Response:
        if span(received) is None or next(count) < honest:
            return good(received)
        return liar if isinstance(liar, Response) else liar(received)

    assert world.fetch(reply) == BODY
    assert len(world.server.requests) < 80


@pytest.mark.usefixtures("wide")
def test_ranges_that_hold_nothing_are_given_up(world: World) -> None:
    """If ranges are always empty, the whole file is requested in the end."""
    good = ranged(BODY, cut_first=5 * PIECE)
    assert world.fetch(lambda asked: (endless_part if span(asked) else good)(asked)) == BODY


@pytest.mark.usefixtures("wide")
def test_wrong_ranges_that_come_late(world: World) -> None:
    """Useless slices after the end of the first connection do not repeat for ever."""
    liar = ranged(BODY, status_200_with_content_range=True)
    sliced = threading.Event()

    def reply(received: Received) -> Response:
        if span(received) is None:
            return replace(liar(received), gate=sliced)
        sliced.set()
        threading.Event().wait(0.05)
        return liar(received)

    assert world.fetch(reply) == BODY
    assert len(world.server.requests) < 20


@pytest.mark.parametrize(("how", "liar"), [one for one in LIARS if one[1] is not endless_part])
@pytest.mark.usefixtures("quick")
def test_a_cut_before_ranges_that_do_not_work(world: World, how: str, liar: Reply) -> None:
    """A file that was cut is fetched whole if its ranges do not work."""
    good = ranged(BODY, cut_first=PIECE)

    def reply(received: Received) -> Response:
        if span(received) is None:
            return good(received)
        return liar if isinstance(liar, Response) else liar(received)

    assert world.fetch(reply) == BODY
    assert len(world.server.requests) < 80


@pytest.mark.usefixtures("wide", "patient")
def test_connections_that_all_break_at_once_are_one_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections of one file that break together count as one failed try."""
    monkeypatch.setattr(transfer, "backoff", lambda tries, after=None: 0.1)

    def broken(received: Received) -> Response:
        good = ranged(BODY)(received)
        return replace(good, reset_after=len(good.body) // 2 if span(received) is None else 0)

    crowd = Crowd(SLICES, ranged(BODY), broken)
    assert world.fetch(crowd, retries=2) == BODY
    assert crowd.together.is_set()


@pytest.mark.usefixtures("wide")
def test_a_cut_file_is_put_in_place_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that resumes after a back-off is not started again when it has ended."""
    monkeypatch.setattr(Wide, "troubled", lambda self, busy, now: setattr(self, "width", 2))
    settled: list[str] = []
    settle = scheduler.Scheduler._settle

    def note(self: scheduler.Scheduler, attempt: Attempt) -> None:
        settled.append(attempt.job.path)
        if attempt.job.path == "a":
            gate.set()
        settle(self, attempt)

    monkeypatch.setattr(scheduler.Scheduler, "_settle", note)
    gate = threading.Event()
    body = bytes(PIECE)
    world.server.on("/a", ranged(body, cut_first=PIECE // 4), ranged(body))
    world.server.on("/b", Response(200, {"ETag": '"v1"'}, SMALL, gate=gate))
    results = world.run("a", "b")
    assert [result.error for result in results.values()] == [None, None]
    assert sorted(settled) == ["a", "b"]


@pytest.mark.usefixtures("wide", "patient")
def test_a_busy_storage_gets_fewer_connections(world: World) -> None:
    """A 503 for slices lowers their number, and the file is complete."""

    def busy(received: Received) -> Response:
        return ranged(BODY)(received) if span(received) is None else Response(503)

    crowd = Crowd(SLICES, ranged(BODY), busy)
    assert world.fetch(crowd, retries=5) == BODY
    assert any("503" in reason for reason in world.watcher.retries)
    (pace,) = Wide.made
    assert pace.narrowest == SLICES // 2


@pytest.mark.usefixtures("wide", "patient")
def test_slices_beyond_the_pace_are_given_up(world: World) -> None:
    """If the number of connections is lowered, those of one file end with their pieces."""
    body = bytes(4 * len(BODY))
    busy: list[int] = []

    def good(received: Received) -> Response:
        if crowd.together.is_set() and downloads._scheduler is not None:
            Wide.made[0].width = 2
            busy.append(downloads._scheduler.meter.busy)
        return ranged(body)(received)

    crowd = Crowd(SLICES, good, good)
    world.server.on("/a", crowd)
    with world.downloads() as downloads:
        downloads.submit([Job(world.artifact("a"), "a")])
        assert downloads.wait(10)
    assert (world.path / "a").read_bytes() == body
    assert busy[0] == SLICES
    assert max(busy[-SLICES:]) <= 2


@pytest.mark.usefixtures("wide", "patient")
def test_slices_share_a_new_url(world: World) -> None:
    """If the URL expires, its slices share one new listing."""

    def expired(received: Received) -> Response:
        return ranged(BODY)(received) if span(received) is None else Response(403)

    assert world.fetch(Crowd(SLICES, ranged(BODY), expired), retries=0) == BODY
    assert (world.generation, world.watcher.refreshed) == (2, [1])


@pytest.mark.usefixtures("wide", "patient")
def test_a_resumed_file_is_sliced_too(world: World) -> None:
    """The rest of a large file of a killed run is fetched over several connections."""
    world.failure(ranged(BODY, cut_first=PIECE // 2), Response(404))
    world.server.requests.clear()
    crowd = Crowd(SLICES, ranged(BODY), ranged(BODY))
    threading.Timer(2, crowd.together.set).start()
    assert world.fetch(crowd) == BODY
    assert crowd.waiting >= SLICES
    assert world.server.max_open >= SLICES


# Retries.


@pytest.mark.parametrize("retries", [0, 1, 3])
@pytest.mark.usefixtures("quick")
def test_tries_are_counted_while_nothing_comes(world: World, retries: int) -> None:
    """`--retries N` is N retries; any byte resets the count."""
    assert "503" in world.failure(Response(503), retries=retries).message
    assert len(world.server.requests) == 1 + retries
    step = 10_000
    cuts = [
        lambda received: replace(ranged(BODY)(received), cut_after=step)
        for _ in range(0, 5 * step, step)
    ]
    world.server.requests.clear()
    assert world.fetch(*cuts, ranged(BODY), retries=max(retries, 1)) == BODY
    assert [one for one in world.asked() if one] == [f"bytes={at * step}-" for at in range(1, 6)]


@pytest.mark.parametrize("failures", [8, 1000])
def test_files_that_all_wait_after_failures_are_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """Neither an outage nor a storage that is gone makes a run wait for ever.

    While files wait for their next tries, others begin, until no more may be open at once; by then
    failures have reduced the number of connections.
    """
    monkeypatch.setattr(scheduler, "_ASIDE", 4)
    monkeypatch.setattr(transfer, "backoff", lambda tries, after=None: 0.1)
    outage = [Response(503)] * failures
    world.server.on("/", lambda received: outage.pop() if outage else ranged(SMALL)(received))
    results = world.run(*(f"file-{at}" for at in range(20)), jobs=4, retries=2)
    there = {one.outcome for one in results.values()}
    assert there == {Outcome.DOWNLOADED if failures < 20 else Outcome.FAILED}
    assert len(world.server.requests) == (20 + failures if failures < 20 else 3 * 20)


FAULTS: dict[str, Callable[[Response, random.Random], Response]] = {
    "busy": lambda good, chance: Response(503),
    "limited": lambda good, chance: Response(429, {"Retry-After": "0"}),
    "cut": lambda good, chance: replace(good, cut_after=chance.randrange(30_000)),
    "reset": lambda good, chance: replace(good, reset_after=chance.randrange(30_000)),
    "closed": lambda good, chance: Response(raw=b""),
}


@pytest.mark.parametrize("seed", range(15))
def test_a_run_through_faults_ends_with_the_exact_bytes(
    world: World, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """However many files wait for their next tries, and whatever fails first, each gets there."""
    chance = random.Random(seed)
    monkeypatch.setattr(scheduler, "_ASIDE", chance.choice([0, 1, 8, 96]))
    monkeypatch.setattr(transfer, "backoff", lambda tries, after=None: 0.1 * chance.random())
    sizes = chance.choice([(0, 1, 5_000, 70_000), (20 * PIECE,)])
    number = chance.choice([1, 5, 40] if len(sizes) > 1 else [1, 3])
    bodies = {f"file-{at}": chance.randbytes(chance.choice(sizes)) for at in range(number)}
    kinds = chance.sample(sorted(FAULTS), 2)
    faults = chance.choices(kinds, k=chance.choice([4, 20, 60]))

    def reply(received: Received) -> Response:
        good = ranged(bodies[received.target.split("/")[1]])(received)
        with suppress(IndexError):
            return FAULTS[faults.pop()](good, chance)
        return good

    world.server.on("/", reply)
    jobs = chance.choice([None, 1, 2, 8])
    world.run(*bodies, within=60, jobs=jobs, retries=100)
    assert {name: (world.path / name).read_bytes() for name in bodies} == bodies
    assert world.leftovers() == []


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.usefixtures("quick")
def test_what_is_not_there_is_listed_once_more(world: World, status: int) -> None:
    """A moved object is fetched from its new URL; a deleted one takes one more listing."""
    assert world.fetch(Response(status), ranged(BODY), retries=0) == BODY
    assert (world.generation, world.watcher.refreshed) == (2, [1])
    world.server.requests.clear()
    (world.path / "a").unlink()
    failure = world.failure(Response(status), retries=0)
    assert (failure.code, len(world.server.requests)) == (f"http_{status}", 2)
    assert str(status) in failure.message


@pytest.mark.usefixtures("quick")
def test_new_urls_that_expire_too_have_an_end(world: World) -> None:
    """Two new ones are tried without a byte of progress; each byte gives two more."""
    assert world.failure(Response(403), retries=0).code == "denied"
    assert (world.generation, len(world.server.requests)) == (3, 3)
    cut = ranged(BODY, cut_first=SIZE)
    stale = Response(403)
    assert world.fetch(stale, stale, cut, stale, stale, ranged(BODY), retries=1) == BODY


@pytest.mark.parametrize("status", [405, 418, 302, 304])
@pytest.mark.usefixtures("quick")
def test_final_answers_are_not_tried_again(world: World, status: int) -> None:
    """A response that is not retryable takes one request."""
    assert str(status) in world.failure(Response(status)).message
    assert len(world.server.requests) == 1


@pytest.mark.parametrize("status", [403, 405])
@pytest.mark.usefixtures("quick")
def test_refused_slices_are_left_to_the_connection_that_works(world: World, status: int) -> None:
    """A storage that refuses further requests for a file still sends the first response."""
    go_on = threading.Event()
    later = threading.Timer(0.3, go_on.set)

    def refuse(received: Received) -> Response:
        with suppress(RuntimeError):  # it was started by the first one
            later.start()
        return Response(status)

    first = replace(ranged(BODY)(Received("GET", "/a")), gate=go_on)
    assert world.fetch(first, refuse, retries=0, jobs=2) == BODY
    assert len(world.server.requests) > 1


@pytest.mark.parametrize("bad", [Response(hang=True), Response(403), Response(405), Response(404)])
@pytest.mark.parametrize("retries", [0, 5])
@pytest.mark.usefixtures("wide")
def test_slices_that_bring_nothing_do_not_harm_the_first_connection(
    world: World, bad: Response, retries: int
) -> None:
    """It fetches the spans of other connections that are refused or never answered."""
    body = BODY * 4

    def reply(received: Received) -> Response:
        return ranged(body)(received) if span(received) is None else bad

    assert world.fetch(reply, retries=retries) == body
    assert 1 < len(world.server.requests) <= 6 * SLICES
    assert sum(span(one) is None for one in world.server.requests) == 1


@pytest.mark.usefixtures("wide", "patient")
def test_a_late_answer_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first connection waits for a second one's answer before it takes over its piece."""
    monkeypatch.setattr(saving, "_SAVE_EVERY", 0.01)
    first = ranged(BODY)

    def reply(received: Received) -> Response:
        if span(received) is not None:
            threading.Event().wait(0.3)
        return first(received)

    assert world.fetch(reply, jobs=2) == BODY
    spans = [span(one) for one in world.server.requests]
    assert spans[0] is None
    assert len(set(spans)) == len(spans) > 1


@pytest.mark.usefixtures("quick")
def test_parts_that_name_no_version_are_not_mixed_in(world: World) -> None:
    """A 206 without the ETag of the first response may be of another version: it is not used."""
    other, asked = bytes(reversed(BODY)), threading.Event()

    def part_of_other(received: Received) -> Response:
        asked.set()
        return ranged(other, etag=None)(received)

    first = replace(ranged(BODY)(Received("GET", "/a")), gate=asked)
    assert world.fetch(first, part_of_other) in (BODY, other)
    assert len(world.server.requests) > 1


def test_the_piece_that_would_come_last_is_shared(world: World) -> None:
    """An idle connection fetches half of the missing bytes of the slowest piece."""
    body, gate = BODY * 2, threading.Event()

    def slow(received: Received) -> Response:
        return replace(ranged(body)(received), gate=gate)

    def other(received: Received) -> Response:
        gate.set()
        return ranged(body)(received)

    assert world.fetch(slow, other) == body
    first, *others = world.asked()  # on a slow machine what is left may be shared again
    assert first is None
    spans = [(one or "").removeprefix("bytes=").split("-") for one in others]
    starts = {end: int(start) for start, end in spans}
    assert (starts.get("") or starts[str(len(body) - 1)]) > len(body) // 2


@pytest.mark.usefixtures("wide")
def test_a_piece_without_a_response_is_requested_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end nobody waits for the stall timeout while other connections are idle."""
    monkeypatch.setattr(files, "_PATIENCE", 60.0)
    monkeypatch.setattr(files, "_PATIENT_WAITS", 0)
    silent: list[str | None] = []

    def reply(received: Received) -> Response:
        if span(received) is None or len(silent) == 2:
            return ranged(BODY)(received)
        silent.append(received.header("Range"))
        if len(silent) == 2:
            monkeypatch.setattr(files, "_PATIENCE", 0.05)
        return Response(hang=True)

    began = time.monotonic()
    assert world.fetch(ranged(BODY), ranged(BODY), reply, stall=60) == BODY
    assert len(silent) == 2
    assert time.monotonic() - began < 30


def test_a_file_with_unwritten_bytes_is_not_committed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the loop hears of the error late, when the rest has been written and is complete."""
    settle, fail = Scheduler._settle, Scheduler._fail
    settled = threading.Event()
    write = Body.write

    def settling(self: Scheduler, attempt: Attempt) -> None:
        settle(self, attempt)
        settled.set()

    def failing(self: Scheduler, attempt: Attempt, error: Exception) -> None:
        threading.Event().wait(0.2)  # time to commit it
        fail(self, attempt, error)

    def full(self: Body, data: memoryview, at: int) -> None:
        if at == 0:
            assert settled.wait(10)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, data, at)

    monkeypatch.setattr(Scheduler, "_settle", settling)
    monkeypatch.setattr(Scheduler, "_fail", failing)
    monkeypatch.setattr(Body, "write", full)
    error = world.failure(Response(body=random.Random(1).randbytes(3 * SIZE)))
    assert "No space left" in error.message


@pytest.mark.usefixtures("wide")
def test_a_storage_that_becomes_slow_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time a piece is requested again it is waited for longer, so that a response is used."""
    monkeypatch.setattr(files, "_PATIENCE", 0.01)
    monkeypatch.setattr(files, "_PATIENT_WAITS", 0)
    asked: list[str | None] = []

    def reply(received: Received) -> Response:
        if span(received) is not None:
            asked.append(received.header("Range"))
            threading.Event().wait(0.2)
        return ranged(BODY)(received)

    assert world.fetch(ranged(BODY), reply, stall=60) == BODY
    assert max(Counter(asked).values()) <= 6


@pytest.mark.usefixtures("wide")
def test_a_late_storage_is_asked_once_for_what_comes_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a second response is asked for, the speed of the first must be known."""
    monkeypatch.setattr(slices, "_LATE", 0.02)
    monkeypatch.setattr(slices, "_OBSERVED", 60.0)
    monkeypatch.setattr(slices, "_PATIENCE", 60.0)

    def reply(received: Received) -> Response:
        threading.Event().wait(0.05)
        return ranged(BODY)(received)

    assert world.fetch(reply) == BODY
    assert len(world.server.requests) == 1


@pytest.mark.usefixtures("wide", "patient")
def test_the_speed_of_each_response_is_measured(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later pieces are as large as the connections are fast."""
    measured: list[int] = []

    def note(self: slices.Slices, piece: Piece) -> None:
        measured.append(piece.position - piece.start)

    monkeypatch.setattr(slices.Slices, "received", note)
    assert world.fetch(Crowd(SLICES, ranged(BODY), ranged(BODY))) == BODY
    assert len(measured) == len(world.server.requests)
    assert sum(measured) == len(BODY)


@pytest.mark.usefixtures("quick")
def test_what_trickles_before_a_stall_is_no_progress(world: World) -> None:
    """Bytes of a connection that is given up as stalled do not reset the count."""
    drip = 0.3

    def trickle(received: Received) -> Response:
        return replace(ranged(BODY)(received), drip=drip)

    failure = world.failure(trickle, retries=1, stall=0.2)
    assert failure.code == "stalled"
    assert len(world.server.requests) == 2


@pytest.mark.parametrize("part", [empty_part, endless_part])
@pytest.mark.usefixtures("quick")
def test_an_empty_part_for_ever_comes_to_an_end(
    world: World, part: Callable[[Received], Response]
) -> None:
    """A storage that never sends the rest fails the file in the end."""

    def reply(received: Received) -> Response:
        good = ranged(BODY, cut_first=PIECE)(received)
        return good if span(received) is None else part(received)

    world.failure(reply, retries=2)
    assert len(world.server.requests) < 20


@pytest.mark.parametrize("size", ["Content-Length: " + "9" * 5000, "Content-Range: bytes 0-9/10"])
@pytest.mark.usefixtures("quick")
def test_a_misshapen_answer_is_a_failure_like_others(world: World, size: str) -> None:
    """A malformed response is retried, and is not a bug."""
    bad = Response(raw=f"HTTP/1.1 200 OK\r\n{size}\r\n\r\n".encode() + BODY)
    assert world.fetch(bad, ranged(BODY)) == BODY


@pytest.mark.usefixtures("quick")
def test_a_wrong_checksum_is_tried_once_more(world: World) -> None:
    """A wrong checksum is retried once from the first byte, and then fails the file."""
    promise = {"Digest": "md5=1B2M2Y8AsgTpgAmY7PhCfg=="}
    assert world.fetch(ranged(BODY, headers=promise), ranged(BODY)) == BODY
    assert world.asked() == [None, None]
    (world.path / "a").unlink()
    world.server.requests.clear()
    assert world.failure(ranged(BODY, headers=promise)).code == "checksum"
    assert world.asked() == [None, None]
    assert world.leftovers() == []


def test_a_slow_rate_is_no_stall(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that waits because of `--limit-rate` is not given up when it goes on."""
    gate, rested, expire = threading.Event(), Connection.rested, Loop.expire
    rests: list[float] = []

    def resting(self: Connection, seconds: float) -> None:
        rested(self, seconds)
        rests.append(seconds)

    def expiring(self: Loop) -> None:
        expire(self)
        if max(rests, default=0) > 0.5:
            gate.set()

    monkeypatch.setattr(RateLimit, "buffer_size", 4096)  # so that it waits long at once
    monkeypatch.setattr(Connection, "rested", resting)
    monkeypatch.setattr(Loop, "expire", expiring)
    slow = Response(body=bytes(1600), gate=gate)
    assert len(world.fetch(slow, limit_rate=1200, stall=0.5)) == 1600
    assert world.watcher.retries == []


# Ends.


@pytest.mark.parametrize("fault", [Refused("no"), OSError(errno.ENOSPC, "full"), KeyError("x")])
@pytest.mark.usefixtures("quick")
def test_a_file_that_finds_no_place_is_kept(world: World, fault: Exception) -> None:
    """A failed commit keeps the part, and the next run confirms and commits it."""
    world.server.on("/a", ranged(BODY))
    jobs = [Job(world.artifact("a"), "a")]
    with world.downloads() as downloads:
        world.folder.fault = fault
        downloads.submit(jobs)
        downloads.wait()
    error = downloads.results[jobs[0]].error
    assert isinstance(error, ArtifactsError)
    assert len(world.leftovers()) == 2
    world.server.requests.clear()
    assert world.fetch(ranged(BODY)) == BODY
    assert world.asked() == [f"bytes={len(BODY) - 1}-"]


@pytest.mark.usefixtures("quick")
def test_one_that_fails_stops_no_other(world: World) -> None:
    """A failed file stops the others only with `fail_fast`."""
    world.server.on("/a", Response(404))
    world.server.on("/b", ranged(SMALL))
    results = world.run("a", "b")
    assert [one.outcome for one in results.values()] == [Outcome.FAILED, Outcome.DOWNLOADED]
    world.server.on("/b", Response(hang=True))
    results = world.run("a", "b", "c", fail_fast=True, jobs=2)
    assert {one.outcome for one in results.values()} == {Outcome.FAILED}
    assert results["a"].error is not None
    assert results["a"].error.code == "http_404"


@pytest.mark.parametrize("held", ["body", "head", "busy", "queue"])
@pytest.mark.usefixtures("wide")
def test_cancelling_keeps_what_has_come(world: World, held: str) -> None:
    """Whatever the workers wait for, they end at once, and the next run resumes."""
    gate = threading.Event()
    replies: dict[str, list[Reply]] = {
        "body": [lambda received: replace(ranged(BODY)(received), gate=gate)],
        "head": [ranged(BODY, cut_first=3 * PIECE), Response(hang=True)],
        "busy": [ranged(BODY, cut_first=3 * PIECE), Response(503, {"Retry-After": "30"})],
        "queue": [lambda received: replace(ranged(BODY)(received), gate=gate)],
    }
    world.server.on("/a", *replies[held])
    jobs = [Job(world.artifact("a"), "a")]
    if held == "queue":
        jobs += [Job(world.artifact("b"), f"b-{at}") for at in range(200)]
    with world.downloads(jobs=1 if held == "queue" else None) as downloads:
        downloads.submit(jobs)
        wanted = 2 if held in ("head", "busy") else 1
        eventually(lambda: len(world.server.requests) >= wanted, "it is asked")
        eventually(lambda: received(downloads) >= PIECE, "bytes have come")
        threading.Event().wait(0.05)
        began = time.monotonic()
        downloads.cancel()
        assert downloads.wait(5)
        assert time.monotonic() - began < 1
    assert {one.error.code for one in downloads.results.values() if one.error} == {"cancelled"}
    assert len(downloads.results) == len(jobs)
    assert len(world.leftovers()) == 2
    world.server.requests.clear()
    assert world.fetch(ranged(BODY)) == BODY
    assert None not in world.asked()


def test_what_comes_after_cancelling_is_not_begun(world: World) -> None:
    """A job that is submitted after cancelling ends at once."""
    job = Job(world.artifact("a"), "a")
    with world.downloads() as downloads:
        downloads.cancel()
        downloads.submit([job])
        assert downloads.wait(5)
    error = downloads.results[job].error
    assert error is not None
    assert error.code == "cancelled"
    assert world.server.requests == []


def test_a_commit_that_takes_long_is_called_off_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long commit tells its stage, is cancelled, and leaves a part that a later run uses."""
    world.server.on("/a", ranged(BODY))
    world.server.on("/b", ranged(SMALL))
    jobs = [Job(world.artifact(name), name) for name in ("a", "b")]
    with world.downloads() as downloads:
        world.folder.slow.add("a")
        started: list[Activity] = []
        monkeypatch.setattr(world.watcher, "started", started.append)
        downloads.submit(jobs[1:])
        eventually(lambda: jobs[1] in downloads.results, "the small one is in its place")
        downloads.submit(jobs[:1])
        eventually(lambda: "unpacking" in [one.stage for one in started], "it is committed")
        downloads.cancel()
        assert downloads.wait(1)
    error = downloads.results[jobs[0]].error
    assert error is not None
    assert error.code == "cancelled"
    world.server.requests.clear()
    assert world.fetch(ranged(BODY)) == BODY
    assert world.asked() == [f"bytes={len(BODY) - 1}-"]


def test_leaving_by_an_exception_calls_off(world: World) -> None:
    """An exception in the caller's block cancels all files, and is raised."""
    world.server.on("/a", Response(hang=True))

    def interrupted() -> None:
        with world.downloads() as downloads:
            downloads.submit([Job(world.artifact("a"), "a")])
            eventually(lambda: world.server.requests, "it is asked")
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - began < 2


@pytest.mark.usefixtures("quick")
def test_a_signal_while_threads_are_started(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal while a thread is being started ends the run too."""
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name == "network":
            raise Interrupted(15)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    world.server.on("/a", Response(body=SMALL))
    with pytest.raises(Interrupted):
        world.run()


@pytest.mark.parametrize("thread", ["writer.Writer._work", "settler.Settler._commit"])
def test_an_error_of_a_thread_ends_the_download(
    world: World, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    """A thread without memory is not waited for."""

    def short(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(f"sourcecraft_artifacts.transfer.{thread}", short)
    with pytest.raises(MemoryError):
        world.fetch(Response(body=BODY))


@pytest.mark.parametrize("method", ["begin", "finished", "retrying"])
def test_what_a_reporter_raises_reaches_the_caller(
    world: World, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """An exception of the reporter ends the download, and is raised."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.watcher, method, broken)
    digest = {"Repr-Digest": f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"}
    world.server.on("/a", Response(body=SMALL, headers=digest))
    with pytest.raises(ZeroDivisionError):
        world.run("a", "b")


def test_a_large_file_holds_up_no_small_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a large file is synced, small files are put in place."""
    done: list[str] = []
    sealing = threading.Event()

    def finished(_: object, result: FileResult) -> None:
        done.append(result.path or "")

    def slow(one: Partial) -> os.stat_result:
        if one.is_large:
            sealing.set()
            eventually(lambda: len(done) == 2, "the small files are in place")
        return seal(one)

    def late(_: Received) -> Response:
        assert sealing.wait(10)
        return Response(body=SMALL)

    seal = Partial.seal
    monkeypatch.setattr(Partial, "seal", slow)
    monkeypatch.setattr(partial, "LARGE", len(BODY))
    monkeypatch.setattr(world.watcher, "finished", finished)
    world.server.on("/a", Response(body=BODY))
    world.server.on("/", late)
    world.run("a", "b", "c")
    assert sorted(done) == ["a", "b", "c"]
    assert done[-1] == "a"


def test_a_disk_that_lags_holds_up_the_network(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a slow disk the bytes in memory are limited, and then everything completes."""
    monkeypatch.setattr(scheduler, "_MEMORY", 4 * SIZE)
    gate, held = threading.Event(), threading.Event()
    write = Partial.write

    def slow(partial: Partial, data: memoryview, at: int) -> None:
        held.set()
        assert gate.wait(20)
        write(partial, data, at)

    monkeypatch.setattr(Partial, "write", slow)
    body = random.Random(3).randbytes(4 << 20)
    world.server.on("/a", ranged(body))
    job = Job(world.artifact("a"), "a")
    with world.downloads() as downloads:
        downloads.submit([job])
        assert held.wait(10)
        threading.Event().wait(0.3)  # until all that can come has come
        assert 0 < received(downloads) <= 4 * SIZE
        gate.set()
        assert downloads.wait(20)
    assert downloads.results[job].error is None
    assert (world.path / "a").read_bytes() == body


@pytest.mark.parametrize("ends", ["whole", "cancelled", "wrong"])
@pytest.mark.usefixtures("wide")
def test_a_hash_that_lags_holds_up_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """While nothing can be hashed all bytes arrive, and cancelling does not wait for the rest."""
    monkeypatch.setattr(partial, "LARGE", 1)
    monkeypatch.setattr(hasher, "_LAG", 1)
    monkeypatch.setattr(hasher, "BLOCK", 1 << 10)
    monkeypatch.setattr(scheduler, "_MEMORY", 2 * SIZE)
    reading, gate = threading.Event(), threading.Event()

    def slow(descriptor: int, buffer: memoryview, offset: int) -> int:
        reading.set()
        gate.wait(0.05 if ends == "cancelled" else 20)
        return read(descriptor, buffer, offset)

    read = read_at
    monkeypatch.setattr(hashing, "read_at", slow)
    digest = {"x-amz-checksum-sha256": base64.b64encode(bytes(32)).decode()}
    whole = ranged(BODY, headers=digest if ends == "wrong" else {})
    world.server.on("/a", held(BODY, gate) if ends == "cancelled" else whole)
    job = Job(world.artifact("a"), "a")
    with world.downloads(retries=0) as downloads:
        downloads.submit([job])
        assert reading.wait(10)
        wanted = 2 * PIECE if ends == "cancelled" else len(BODY)
        eventually(lambda: received(downloads) >= wanted, "the bytes have come")
        if ends == "cancelled":
            began = time.monotonic()
            downloads.cancel()
            assert downloads.wait(5)
            assert time.monotonic() - began < 1
        gate.set()
        assert downloads.wait(10)
    error = downloads.results[job].error
    assert (error.code if error else "whole") == {"wrong": "checksum"}.get(ends, ends)
    assert world.fetch(ranged(BODY)) == BODY


@pytest.mark.parametrize(
    "missing", [("connector", "writer", "hasher", "lister", "committer", "long"), ()]
)
@pytest.mark.usefixtures("quick")
def test_as_many_threads_as_there_are(
    world: World, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    """One thread is enough; without any, a message says so."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name in missing or (not missing and thread.name == "network"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    world.server.on("/a", Response(403), ranged(BODY))
    world.server.on("/", ranged(SMALL))
    if missing:
        results = world.run("a", "b", "c")
        assert {one.outcome for one in results.values()} == {Outcome.DOWNLOADED}
        assert world.generation == 2
    else:
        with pytest.raises(LocalError, match="no more threads"):
            world.run("a")


def test_a_name_that_is_looked_up_for_ever_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endless name lookup delays neither files from other hosts nor the end."""
    real = network.open_socket
    asked, over = threading.Event(), threading.Event()

    def hang(host: str, port: int, timeout: float) -> socket.socket:
        if host == "localhost":
            asked.set()
            over.wait(20)
        return real(host, port, timeout)

    monkeypatch.setattr(opening, "open_socket", hang)
    world.server.on("/", ranged(SMALL))
    url = f"http://localhost:{world.server.port}/lost"
    lost = Artifact(ADDRESS, "lost", "success", ArtifactDates(), download_url=url)
    good = world.artifact("b")
    jobs = [Job(lost, "lost"), Job(good, "b")]
    with world.downloads() as downloads:
        downloads.submit(jobs)
        assert asked.wait(10)
        eventually(lambda: (world.path / "b").exists(), "the other file is there")
        began = time.monotonic()
        downloads.cancel()
        assert downloads.wait(5)
    assert time.monotonic() - began < 2
    over.set()


@pytest.mark.parametrize(("every", "is_due"), [(0.05, True), (1000.0, False)])
def test_what_has_come_is_synced_now_and_then(
    world: World, monkeypatch: pytest.MonkeyPatch, every: float, is_due: bool
) -> None:
    """A loss of power costs the bytes of some seconds; other checkpoints do not sync."""
    monkeypatch.setattr(saving, "_SAVE_EVERY", 0.01)
    monkeypatch.setattr(saving, "_SYNC_EVERY", every)
    gate = threading.Event()
    saved: list[int] = []
    synced: list[int] = []
    save, sync = Partial.checkpoint, os.fsync

    def noting(one: Partial) -> None:
        saved.append(one.position)
        save(one)

    def syncing(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        sync(descriptor)

    monkeypatch.setattr(Partial, "checkpoint", noting)
    monkeypatch.setattr(os, "fsync", syncing)
    world.server.on("/a", held(BODY, gate))
    with world.downloads() as downloads:
        downloads.submit([Job(world.artifact("a"), "a")])
        if is_due:
            eventually(lambda: len(BODY) // 2 in synced, "the half that has come is synced")
        else:
            eventually(lambda: saved.count(len(BODY) // 2) >= 5, "it is saved some times")
            assert synced == []
        gate.set()
        assert downloads.wait(10)


def test_files_that_wait_for_the_disk_are_few(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a descriptor: while none can be put in place, only 96 are begun besides."""
    held, gate = threading.Event(), threading.Event()

    def slow(folder: Folder, batch: Sequence[Whole]) -> None:
        held.set()
        assert gate.wait(20)
        commit(folder, batch)

    commit = Folder.commit
    monkeypatch.setattr(Folder, "commit", slow)
    world.server.on("/", ranged(SMALL))
    jobs = [Job(world.artifact(f"{at}"), f"{at}") for at in range(200)]
    with world.downloads(jobs=1) as downloads:
        downloads.submit(jobs)
        assert held.wait(10)
        eventually(lambda: len(world.server.requests) > MOST, "all that can begin have begun")
        threading.Event().wait(0.2)
        assert len(world.server.requests) == 1 + MOST
        gate.set()
        assert downloads.wait(20)
    assert len(world.server.requests) == 200


def test_the_pace_sees_all_connections_in_use(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections whose files have just ended get the next ones before they are counted."""
    seen: set[int] = set()

    class Noting(Wide):
        def tick(self, now: float, received: int, use: Use, *, wanted: int) -> None:
            if wanted:
                seen.add(use.busy)

    monkeypatch.setattr(scheduler, "Pace", Noting)
    monkeypatch.setattr(scheduler, "_PULSE", 0.0)
    monkeypatch.setattr(scheduler, "_ASIDE", 1000)
    world.server.on("/", ranged(SMALL))
    world.run(*(f"file-{at}" for at in range(200)))
    assert seen == {SLICES}


def test_many_small_files(world: World) -> None:
    """Hundreds of files over a few connections are all correct."""
    world.server.on("/", lambda received: ranged(received.target.encode())(received))
    names = [f"file-{at}" for at in range(400)]
    results = world.run(*names, jobs=8)
    assert {one.outcome for one in results.values()} == {Outcome.DOWNLOADED}
    for name in names:
        assert (world.path / name).read_bytes() == f"/{name}/1".encode()
    assert world.server.opened <= 8
    assert world.leftovers() == []
