"""Unplanned ends through the installed command: kills, signals, full disks, and the run after."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial

import pytest
from conftest import Cli
from fake_service import CUBE, REPO, FakeService, eventually, held, partial_bytes, tree
from servers import Response, ranged

from sourcecraft_artifacts.cli import boundary
from sourcecraft_artifacts.errors import Interrupted
from sourcecraft_artifacts.transfer.pacing import MOST

LARGE = bytes(range(256)) * (32 << 10)
SMALL = b"small"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGKILL, -9),
        (signal.SIGTERM, 143),
        (signal.SIGINT, 130),
        (signal.SIGHUP, 129),
    ],
)
def test_the_run_after_goes_on_where_it_stopped(
    service: FakeService, cli: Cli, number: int, code: int
) -> None:
    """The next run resumes and refetches no whole file; no final name is incomplete."""
    gate = threading.Event()
    service.add("small", SMALL)
    large = service.add("large", LARGE, held(LARGE, gate))
    process = cli.start("download", "7", *CUBE, "-d", "out")
    eventually(lambda: partial_bytes(cli.out) >= 2 << 20, "half of the large file has come")
    eventually((cli.out / "small").exists, "the small file is there")
    sent = time.monotonic()
    process.send_signal(number)
    finished = cli.finish(process)
    assert finished.code == code
    assert time.monotonic() - sent < 2
    if number != signal.SIGKILL:
        end, hint = finished.err.splitlines()[-2:]
        assert end.startswith("interrupted: 1 of 2 files, ")
        assert end.endswith(" are on disk")
        assert hint == "  hint: run the same command again: it goes on where it stopped"
    gate.set()
    assert tree(cli.out) == {"small": SMALL}
    service.storage.requests.clear()
    large.requests.clear()
    report = cli.download("--json")
    assert report.outcomes == {"small": "unchanged", "large": "downloaded"}
    assert "\nResumed 1 file: " in report.err
    assert tree(cli.out) == {"small": SMALL, "large": LARGE}
    assert partial_bytes(cli.out) == 0
    assert 0 < report.json["summary"]["bytes"] <= len(LARGE) - (1 << 20)
    # Several files are active at once: each list has its own order.
    assert sorted(map(repr, large.requests)) == sorted(map(repr, service.storage.requests))
    for received in large.requests:
        assert (received.header("Range") or "").startswith("bytes=")
        assert received.header("If-Range") == '"v1"'


def test_the_last_event_tells_of_the_signal(service: FakeService, cli: Cli) -> None:
    """With `--progress json` an interruption is an error event with a hint, and no other line."""
    gate = threading.Event()
    service.add("large", LARGE, held(LARGE, gate))
    process = cli.start("download", "7", *CUBE, "-d", "out", "--progress", "json")
    eventually(lambda: partial_bytes(cli.out) >= 2 << 20, "half of the file has come")
    process.send_signal(signal.SIGTERM)
    finished = cli.finish(process)
    gate.set()
    *events, last = map(json.loads, finished.err.splitlines())
    assert last.pop("message").startswith("interrupted: 0 of 1 file, ")
    hint = "run the same command again: it goes on where it stopped"
    assert last == {"event": "error", "code": "interrupted", "hint": hint}
    assert {one["event"] for one in events}.isdisjoint({"error", "notice"})


def test_a_run_after_a_change_starts_over(service: FakeService, cli: Cli) -> None:
    """Partial data of an object that has changed is not mixed into the new version."""
    other = LARGE[::-1]
    cut = ranged(LARGE, cut_first=3 << 20)
    stored = service.add("large", LARGE, cut, Response(404))
    (cli.out).mkdir()
    (cli.out / "large").write_bytes(b"older")
    cli.download("--retries", "0", "--if-exists", "overwrite", code=6)
    assert tree(cli.out) == {"large": b"older"}
    stored.replies = [ranged(other, etag='"v2"')]
    cli.download("--if-exists", "overwrite")
    assert tree(cli.out) == {"large": other}


def come_or_ended(cli: Cli, process: subprocess.Popen[bytes], enough: int) -> bool:
    """Tell whether this many files are in place, or the run has ended."""
    return len(tree(cli.out)) >= enough or process.poll() is not None


def test_kill_after_kill_among_many_files(service: FakeService, cli: Cli) -> None:
    """After a kill at any moment, the next run recognises all files as its own."""
    names = [f"dir-{at % 7}/file-{at}" for at in range(300)]
    for name in names:
        service.add(name, name.encode())
    for enough in (1, 60, 150):
        process = cli.start("download", "7", *CUBE, "-d", "out", "-j", "4")
        eventually(partial(come_or_ended, cli, process, enough), "files have come")
        process.kill()
        assert cli.finish(process).code in (-9, 0)
        assert all(name.encode() == body for name, body in tree(cli.out).items())
    cli.download()
    assert tree(cli.out) == {name: name.encode() for name in names}
    assert partial_bytes(cli.out) == 0
    # Files in transfer, or complete and about to be put in place, are fetched again.
    assert len(service.storage.requests) <= len(names) + 3 * (4 + MOST)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_every_wait(service: FakeService, cli: Cli, number: int, code: int) -> None:
    """A silent storage, a long Retry-After or a stalled body does not delay a signal."""
    for at in range(8):
        service.add(f"hang-{at}", LARGE, Response(hang=True))
    service.add("busy", LARGE, Response(503, {"Retry-After": "50"}))
    service.add("held", LARGE, held(LARGE, threading.Event()))
    process = cli.start("download", "7", *CUBE, "-d", "out", "-j", "16")
    eventually(lambda: all(one.asked.is_set() for one in service.artifacts), "all are asked")
    sent = time.monotonic()
    process.send_signal(number)
    assert cli.finish(process).code == code
    assert time.monotonic() - sent < 2
    assert tree(cli.out) == {}


@pytest.mark.parametrize("command", ["list", "download"])
def test_ctrl_c_ends_a_silent_api(service: FakeService, cli: Cli, command: str) -> None:
    """A signal also ends the wait for a listing at once."""
    service.api.on(f"/repos/{REPO}/cicd/", Response(hang=True))
    process = cli.start(command, "7", *CUBE)
    eventually(lambda: service.api.requests, "the listing is asked")
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert cli.finish(process).code == 130
    assert time.monotonic() - sent < 2


LIMITED = ("sh", "-c", 'ulimit -f 2048; exec "$@"', "sh")
TINY = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=2m none out && exec "$@"', "sh")


@pytest.mark.parametrize("wrap", [LIMITED, TINY])
def test_a_full_disk(service: FakeService, cli: Cli, wrap: tuple[str, ...]) -> None:
    """A full disk is exit 1, no final name is incomplete, and the next run goes on."""
    cli.out.mkdir()
    tried = shutil.which(wrap[0]) and subprocess.run([*wrap, "true"], cwd=cli.cwd, check=False)
    if not tried or tried.returncode:
        pytest.skip("needs leave to mount")
    service.add("small", SMALL)
    large = service.add("large", LARGE)
    finished = cli.download("--json", wrap=wrap, code=1)
    assert finished.outcomes["large"] == "failed"
    assert "large" in finished.err
    assert len(large.requests) < 16
    assert "large" not in tree(cli.out)
    cli.download()
    assert tree(cli.out) == {"small": SMALL, "large": LARGE}


@pytest.mark.parametrize("size", ["1m", "1300k", "2m"])
def test_what_a_full_disk_took_is_not_fetched_again(
    service: FakeService, cli: Cli, size: str
) -> None:
    """Also if there was no room for the checkpoint: the end of the file makes room for it."""
    body = LARGE[: 3 << 20]
    service.add("large", body)
    cli.out.mkdir()
    mount = f"mount -t tmpfs -o size={size} none out"
    both = f'{mount} && "$@"; mount -o remount,size=9m out && "$@" --json'
    tried = subprocess.run(["unshare", "-m", "sh", "-c", mount], cwd=cli.cwd, check=False)
    if tried.returncode:
        pytest.skip("needs leave to mount")
    finished = cli.download(wrap=("unshare", "-m", "sh", "-c", both, "sh"))
    assert "make room" in finished.err
    assert finished.json["files"][0]["transferred"] <= len(body) - (512 << 10)


def test_a_reader_that_leaves_a_full_stdout(service: FakeService, cli: Cli) -> None:
    """`-o -` to a closed pipe ends quietly, and to a full disk with exit 1."""
    service.add("large", LARGE)
    process = cli.start("download", "7", *CUBE, "-o", "-", "-q")
    assert process.stdout
    assert process.stdout.read(10) == LARGE[:10]
    process.stdout.close()
    process.stdout = None
    finished = cli.finish(process)
    assert (finished.code in (0, 141, -13), finished.err) == (True, "")
    with open("/dev/full", "wb") as full:
        finished = cli("download", "7", *CUBE, "-o", "-", stdout=full, code=1)
    assert "large: cannot write to stdout: No space left on device\n" in finished.err


def test_two_at_once_in_one_folder(service: FakeService, cli: Cli) -> None:
    """The second process in a folder waits for the first, and fetches nothing again."""
    gate = threading.Event()
    for at in range(4):
        service.add(f"large-{at}", LARGE, held(LARGE, gate))
    first = cli.start("download", "7", *CUBE, "-d", "out")
    eventually(lambda: service.storage.requests, "the first has begun")
    second = cli.start("download", "7", *CUBE, "-d", "out")
    assert second.stderr
    assert b"waiting for another download into out to end" in second.stderr.readline()
    gate.set()
    assert cli.finish(first).code == 0
    asked = len(service.storage.requests)
    assert cli.finish(second).code == 0
    assert len(service.storage.requests) == asked
    assert set(tree(cli.out).values()) == {LARGE}
    cli.download()
    assert set(cli.download("--json").outcomes.values()) == {"unchanged"}


@pytest.mark.parametrize("killed", [False, True])
def test_two_at_once_to_one_file(service: FakeService, cli: Cli, killed: bool) -> None:
    """The second process waits for the first, or resumes its part, and leaves no other file."""
    gate = threading.Event()
    service.add("large", LARGE, held(LARGE, gate))
    command = ("download", "7", *CUBE, "-o", "file", "-j", "1")
    first = cli.start(*command)
    eventually(lambda: service.storage.requests, "the first has begun")
    second = cli.start(*command)
    assert second.stderr
    assert b"waiting for another download to file to end" in second.stderr.readline()
    assert len(service.storage.requests) == 1
    if killed:
        first.kill()
    gate.set()
    assert [cli.finish(first).code, cli.finish(second).code] == [-9 if killed else 0, 0]
    assert tree(cli.cwd) == {"file": LARGE}


class Deleted:
    """Sends a signal, in a function of its own, while it is deleted."""

    def __del__(self) -> None:
        send()


class Finalized:
    """Sends a signal after it was deleted, as urllib3 closes connections."""

    def __init__(self) -> None:
        weakref.finalize(self, send)


def send() -> None:
    """Send a signal to this process."""
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("kind", [Deleted, Finalized])
def test_a_signal_while_an_object_is_deleted(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[[], object]
) -> None:
    """It interrupts a moment later: Python would only print an exception that is raised there."""

    def die() -> None:
        kind()
        assert not threading.Event().wait(60)

    monkeypatch.setattr(boundary, "_interrupts", 0)
    before = signal.signal(signal.SIGTERM, boundary._interrupt)
    began = time.monotonic()
    try:
        with pytest.raises(Interrupted):
            die()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert time.monotonic() - began < 30
