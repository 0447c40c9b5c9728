"""Two processes make the files of an archive as one does, whatever becomes of the second."""

from __future__ import annotations

import errno
import hashlib
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from archives import archive, folder, link, member

from sourcecraft_artifacts.disk import second_process, sharing
from sourcecraft_artifacts.disk.aside import Aside
from sourcecraft_artifacts.disk.directory import open_root
from sourcecraft_artifacts.disk.members import Stored
from sourcecraft_artifacts.disk.second_process import SecondProcess
from sourcecraft_artifacts.disk.tar_fields import UnsafeArchive

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no second process")

MEMBERS = [
    member(f"d-{at // 7}/e-{at % 3}/f-{at}", bytes([at % 251]) * (at % 700), mode=0o600 + at % 64)
    for at in range(400)
]
Take = Callable[[SecondProcess], list[tuple[int, str, int, int] | int]]


@pytest.fixture(autouse=True)
def second(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Share small batches between two processes; note what is given, and the processes."""
    seen = SimpleNamespace(given=0, processes=[])
    start, give = SecondProcess.start, SecondProcess.give

    def started() -> SecondProcess | None:
        process = start()
        assert process is not None
        seen.processes.append(process)
        return process

    def given(process: SecondProcess, *arguments: object) -> None:
        seen.given += 1
        give(process, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(second_process, "_processors", lambda: 2)
    monkeypatch.setattr(SecondProcess, "start", started)
    monkeypatch.setattr(SecondProcess, "give", given)
    monkeypatch.setattr(SecondProcess, "is_done", lambda _: True)
    monkeypatch.setattr(sharing, "_MANY", 50)
    yield seen
    for process in seen.processes:
        with pytest.raises(ChildProcessError):
            os.waitpid(process._process, os.WNOHANG)


def filled(home: Path, *members: bytes) -> tuple[dict[str, Stored], dict[str, tuple[object, ...]]]:
    """Unpack an archive aside; return the records, and what is there: bytes, mode and time."""
    body = archive(*members)
    (home / "packed").write_bytes(body)
    with open_root(str(home)) as above, (home / "packed").open("rb") as file:
        aside = Aside(above, "aside")
        found = aside.fill(file.fileno(), len(body), lambda: None, lambda _: None)
        there: dict[str, tuple[object, ...]] = {}
        for path in (home / "aside/0").rglob("*"):
            if path.is_file():
                seen = path.lstat()
                place = path.relative_to(home / "aside/0").as_posix()
                there[place] = path.read_bytes(), stat.S_IMODE(seen.st_mode), seen.st_mtime_ns
        aside.remove()
    return found.files, there


def alone(home: Path, *members: bytes) -> object:
    """Do the same in one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SecondProcess, "start", lambda: None)
        return filled(home, *members)


def test_two_make_what_one_makes(tmp_path: Path, second: SimpleNamespace) -> None:
    """Bytes, modes under the umask, times and records are the same, in the order of the archive."""
    hard = [link("h-1", "d-0/e-0/f-0", b"1"), link("h-2", "d-57/e-0/f-399", b"1")]
    members = [*MEMBERS[:200], hard[0], member("large", b"x" * 100_000), *MEMBERS[200:], hard[1]]
    records, there = filled(tmp_path, *members)
    assert second.given > 2
    assert (records, there) == alone(tmp_path, *members)
    assert len(there) == len(records) == len(members)
    for path, record in records.items():
        body, mode, mtime_ns = there[path]
        assert (record.mode, record.mtime_ns) == (mode, mtime_ns)
        assert isinstance(body, bytes)
        assert (record.size, record.sha256) == (len(body), hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("when", ["before it is given a batch", "while it has one", "halfway"])
def test_the_second_process_is_killed(
    when: str, tmp_path: Path, second: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had to make, and may have made in part, is made by the first one."""
    give, take = SecondProcess.give, SecondProcess.take

    def kill(process: SecondProcess) -> None:
        os.kill(process._process, signal.SIGKILL)
        os.waitid(os.P_PID, process._process, os.WEXITED | os.WNOWAIT)

    def given(process: SecondProcess, folders: list[int], files: list[object], data: bytes) -> None:
        if when == "before it is given a batch":
            kill(process)
        give(process, folders, files, data)  # type: ignore[arg-type]

    def taken(process: SecondProcess) -> list[tuple[int, str, int, int] | int]:
        if when == "while it has one":
            kill(process)
            return take(process)
        told = take(process)
        if when == "halfway":
            raise ConnectionResetError
        return told

    monkeypatch.setattr(SecondProcess, "give", given)
    monkeypatch.setattr(SecondProcess, "take", taken)
    found = filled(tmp_path, *MEMBERS)
    assert second.given == 1
    assert found == alone(tmp_path, *MEMBERS)


@pytest.mark.parametrize(
    ("number", "kind", "reason"),
    [
        (errno.ENOSPC, OSError, "No space left"),
        (errno.EEXIST, UnsafeArchive, "f-0 in it differs from another only by case"),
    ],
)
def test_an_error_in_the_second_process(
    number: int,
    kind: type[Exception],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has the same effect as one here."""
    monkeypatch.setattr(SecondProcess, "take", lambda _: [number])
    monkeypatch.setattr(sharing, "_MANY", 1)
    with pytest.raises(kind, match=reason):
        filled(tmp_path, *MEMBERS)


def test_errors_are_told_as_numbers(tmp_path: Path) -> None:
    """The files before the first error are told too, and none is made after it."""
    (tmp_path / "b").write_bytes(b"theirs")
    files = [(0, name, 0o644, 10**9, 1) for name in (b"a", b"b", b"c")]
    with open_root(str(tmp_path)) as one:
        assert one.descriptor is not None
        made = second_process._made([one.descriptor], files, memoryview(b"xyz"), os.getppid())
    assert made == [(1, hashlib.sha256(b"x").hexdigest(), 0o644, 10**9), errno.EEXIST]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a": b"x",
        "b": b"theirs",
    }


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    """A conflict is found although the files are made later than their folders."""
    with pytest.raises(UnsafeArchive, match="d-0 in it is a file and a folder"):
        filled(tmp_path, *MEMBERS, folder("d-0"), member("d-0", b"x"))


def test_it_ends_with_the_first_process(tmp_path: Path) -> None:
    """After a kill of the first process the second one makes no more files, and ends."""
    script = (
        "import os, sys; from sourcecraft_artifacts.disk import second_process as one\n"
        "one._processors = lambda: 2\n"
        "process = one.SecondProcess.start()\n"
        "folder = os.open(sys.argv[1], os.O_RDONLY)\n"
        "process.give([folder], [(0, b'a', 0o644, 0, 1)], b'a'); process.take()\n"
        "print(process._process, flush=True); os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-P", "-c", script, str(tmp_path)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_bytes() == b"a"
    try:
        process = os.pidfd_open(int(ended.stdout))
    except ProcessLookupError:
        return
    with os.fdopen(process) as ending:
        assert select.select([ending], [], [], 10)[0] == [ending]


def test_files_are_not_made_for_a_process_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks before each file whether the first process is still there."""

    def ended(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", ended)
    files = [(0, b"a", 0o644, 0, 0)]
    with pytest.raises(SystemExit):
        second_process._made([0], files, memoryview(b""), first=-1)


@pytest.mark.parametrize(
    ("program", "processors"), [("/usr/bin/editor", 8), (None, 8), (sys.executable, 1)]
)
def test_where_there_is_none(
    program: str | None, processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that embeds Python is not run once more, and one processor is not shared."""
    monkeypatch.undo()
    monkeypatch.setattr(second_process, "_processors", lambda: processors)
    monkeypatch.setattr(sys, "executable", program)
    assert SecondProcess.start() is None
