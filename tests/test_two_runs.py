"""Two runs into one folder without locks: both succeed, and so does a third.

Each run is a process of its own, or a thread of this one if the moments at which they meet are
chosen.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import HURRY, Cli
from fake_service import CUBE, STATE, FakeService, eventually, held, partial_bytes, tree
from servers import ranged

pytestmark = pytest.mark.skipif(os.name == "nt", reason="takes flock away")

LARGE = bytes(range(256)) * (4 << 20 >> 8)
NO_LOCKS = """
import errno, fcntl, os
def flock(descriptor, operation):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.flock = flock
"""
"""What a file system without locks answers."""


@pytest.fixture
def lockless(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which Python finds no locks."""
    folder = tmp_path / "lockless"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HURRY + NO_LOCKS)
    return {"PYTHONPATH": str(folder)}


def left(out: Path) -> set[str]:
    """Return the names in the state folder."""
    state = out / STATE
    return {str(path.relative_to(state)) for path in state.rglob("*")} - {".gitignore"}


def check_settled(service: FakeService, cli: Cli, env: dict[str, str]) -> None:
    """Check that all is in place and recorded, nothing else is left, and the next run is idle."""
    asked = len(service.storage.requests)
    again = cli.download("--json", env=env)
    assert set(again.outcomes.values()) == {"unchanged"}
    assert len(service.storage.requests) == asked
    assert left(cli.out) == {"manifest.json"}
    assert "FAILED" not in cli("verify", "out", env=env).out


def download(cli: Cli, env: dict[str, str], *more: str) -> Any:
    """Start a download of the usual cube to the usual folder."""
    return cli.start("download", "7", *CUBE, "-d", "out", *more, env=env)


def test_one_that_ends_meanwhile_takes_nothing_away(
    service: FakeService, cli: Cli, lockless: dict[str, str]
) -> None:
    """A run that starts and ends during another one leaves it alone; both are complete."""
    gate = threading.Event()
    service.add("large", LARGE, held(LARGE, gate), ranged(LARGE))
    service.add("small", b"small")
    first = download(cli, lockless)
    eventually(lambda: partial_bytes(cli.out) >= len(LARGE) // 4, "part of the file is on disk")
    eventually((cli.out / "small").exists, "the small one is in place")
    cli.download(env=lockless)
    assert partial_bytes(cli.out) > 0, "the part of the run that goes on"
    gate.set()
    assert cli.finish(first).code == 0
    assert tree(cli.out) == {"large": LARGE, "small": b"small"}
    check_settled(service, cli, lockless)


def test_what_each_did_is_remembered(
    service: FakeService, cli: Cli, lockless: dict[str, str]
) -> None:
    """Two runs that fetch different files at once are both in the manifest."""
    gates = {name: threading.Event() for name in ("a", "b")}
    for name, gate in gates.items():
        service.add(f"{name}/1", b"1")
        service.add(f"{name}/2", LARGE, held(LARGE, gate))
    runs = {name: download(cli, lockless, "-i", f"{name}/*") for name in gates}
    for name in gates:
        eventually((cli.out / name / "1").exists, "one of its files is in place")
        eventually(lambda: partial_bytes(cli.out) > 1 << 20, "and the other on its way")
    for name, gate in gates.items():
        gate.set()
        assert cli.finish(runs[name]).code == 0
    check_settled(service, cli, lockless)


def test_one_with_nothing_to_fetch_leaves_the_journal(
    service: FakeService, cli: Cli, lockless: dict[str, str]
) -> None:
    """A run with nothing to fetch does not remove another run's journal."""
    gate = threading.Event()
    service.add("right", b"right")
    cli.download(env=lockless)
    service.add("new", b"new")
    service.add("large", LARGE, held(LARGE, gate), ranged(LARGE))
    first = download(cli, lockless)
    eventually((cli.out / "new").exists, "the new one is in place")
    os.utime(cli.out / "right", (1, 1))  # so that the manifest is written anew
    cli.download("-i", "right", env=lockless)
    first.send_signal(signal.SIGKILL)
    cli.finish(first)
    gate.set()
    cli.download(env=lockless)
    check_settled(service, cli, lockless)


def test_what_a_killed_one_left_is_taken_over(
    service: FakeService, cli: Cli, lockless: dict[str, str]
) -> None:
    """The next run resumes the parts of a process that has ended."""
    gate = threading.Event()
    service.add("large", LARGE, held(LARGE, gate), ranged(LARGE))
    first = download(cli, lockless)
    # Bytes that no checkpoint has are fetched again, so bytes alone are not enough.
    partial = cli.out / STATE / "partial"
    eventually(lambda: list(partial.glob("*.json")), "a checkpoint of the file is on disk")
    first.send_signal(signal.SIGKILL)
    cli.finish(first)
    gate.set()
    report = cli.download("--json", env=lockless).json
    assert report["summary"]["bytes"] < len(LARGE)
    check_settled(service, cli, lockless)


@pytest.mark.parametrize("round_", range(3))
def test_any_two_at_once(
    service: FakeService, cli: Cli, lockless: dict[str, str], round_: int
) -> None:
    """Two runs that start together with many files both succeed, and a third has no work."""
    for at in range(40):
        service.add(f"dir-{at % 7}/file-{at}", b"%d" % at * (at * round_ + 1))
    runs = [download(cli, lockless) for _ in range(2)]
    for run in runs:
        assert (finished := cli.finish(run)).code == 0, finished.err
    check_settled(service, cli, lockless)


def test_a_confined_run_beside_one_with_a_lock(
    service: FakeService, cli: Cli, lockless: dict[str, str]
) -> None:
    """A run that may not lock is noticed by its mark."""
    gate = threading.Event()
    service.add("large", LARGE, held(LARGE, gate), ranged(LARGE))
    first = download(cli, lockless)
    eventually(lambda: partial_bytes(cli.out) >= len(LARGE) // 4, "part of the file is on disk")
    cli.download()
    gate.set()
    assert cli.finish(first).code == 0
    check_settled(service, cli, {})
