"""Faults of the machine: disks, limits, permissions, homes, clocks, streams.

After each fault, the next run without it ends with the exact bytes.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest
from archives import archive, member, packed
from conftest import HURRY, Cli
from fake_service import (
    CUBE,
    STATE,
    FakeService,
    Stored,
    eventually,
    held,
    partial_bytes,
    problem,
    target,
    tree,
)
from realservers import find
from servers import Response, ranged

from sourcecraft_artifacts.disk.directory import open_root

LARGE = bytes(range(256)) * (8 << 20 >> 8)
SMALL = b"small"
WHOLE = {"dir/small": SMALL, "large": LARGE}
OVERWRITE = ("--if-exists", "overwrite")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="made with Linux's own means")


@cache
def bare(*wrap: str) -> tuple[str, ...]:
    """Commands that put a fault around the one they run; skip if this machine forbids them."""
    tried = subprocess.run([*wrap, "true"], check=False, capture_output=True, timeout=20)
    if tried.returncode:
        pytest.skip(f"{wrap[0]} is not allowed here: {tried.stderr.decode().strip()}")
    return wrap


def injected(calls: str, *more: str) -> tuple[str, ...]:
    """Let the kernel answer system calls with an error, as strace does it."""
    wrap = bare("strace", "-f", "--seccomp-bpf", "-o", os.devnull)  # no stop at other calls
    names = calls.partition(":")[0]
    return (*wrap, "-qq", *more, "-e", f"trace={names}", "-e", f"inject={calls}")


def unprivileged() -> tuple[str, ...]:
    """Make permissions apply to root too, in a user namespace of its own."""
    return bare("unshare", "-U") if os.geteuid() == 0 else ()


def declare(service: FakeService, cli: Cli) -> None:
    """Serve a small and a large artifact, and put an older file in the large one's place."""
    service.add("dir/small", SMALL)
    service.add("large", LARGE)
    cli.out.mkdir()
    (cli.out / "large").write_bytes(b"older")


def is_old_or_whole(found: Mapping[str, bytes]) -> bool:
    """Tell whether each final name has the older or the whole body."""
    return found.get("large") in (b"older", LARGE) and found.get("dir/small", SMALL) == SMALL


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ("pwrite64:error=EIO:when=2+", "Input/output error"),
        ("pwrite64:error=EDQUOT:when=3+", "make room"),
        ("fsync:error=EIO", "Input/output error"),
        ("fsync:error=ENOSPC:when=2+", "make room"),
        ("rename,renameat,renameat2:error=EIO", "Input/output error"),
        ("mkdir,mkdirat:error=ENOSPC", "make room"),
        ("unlink,unlinkat:error=EIO", ""),
    ],
)
def test_a_disk_that_fails(service: FakeService, cli: Cli, calls: str, said: str) -> None:
    """Each disk error is exit 1 with its reason, and every file is old or whole."""
    find("strace", "Debian: strace")
    declare(service, cli)
    finished = cli.download(*OVERWRITE, wrap=injected(calls), code=1 if said else (0, 1))
    assert said in finished.err
    assert is_old_or_whole(tree(cli.out))
    cli.download(*OVERWRITE)
    assert tree(cli.out) == WHOLE
    assert partial_bytes(cli.out) == 0


@pytest.mark.parametrize("name", ["journal.jsonl", "manifest.json.new"])
def test_a_disk_that_is_full_for_the_records(service: FakeService, cli: Cli, name: str) -> None:
    """A file that cannot be recorded is not put in place; those in place stay ours."""
    find("strace", "Debian: strace")
    declare(service, cli)
    only = ("-P", str(cli.out / STATE / name))
    wrap = injected("write:error=ENOSPC", *only)
    assert "make room" in cli.download(*OVERWRITE, wrap=wrap, code=1).err
    assert is_old_or_whole(tree(cli.out))
    if name == "manifest.json.new":
        assert set(cli.download("--json").outcomes.values()) == {"unchanged"}
    cli.download(*OVERWRITE)
    assert tree(cli.out) == WHOLE


SICK = """
import os
real = os.fsync

def fsync(descriptor):
    if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".part"):
        raise OSError(5, "sick")
    real(descriptor)

os.fsync = fsync
"""


def test_bytes_that_failed_to_be_synced_are_not_trusted(
    service: FakeService, cli: Cli, tmp_path: Path
) -> None:
    """After a failed fsync, bytes are fetched again: Linux counts lost pages as written."""
    (tmp_path / "sick").mkdir()
    (tmp_path / "sick" / "sitecustomize.py").write_text(HURRY + SICK)
    large = service.add("large", LARGE)
    assert "sick" in cli.download(env={"PYTHONPATH": str(tmp_path / "sick")}, code=1).err
    assert large.requests
    summary = cli.download("--json").json["summary"]
    assert tree(cli.out) == {"large": LARGE}
    assert summary["bytes"] >= len(LARGE)  # a few bytes may come twice


def test_too_few_open_files(service: FakeService, cli: Cli) -> None:
    """The error names the limit of open files, and files in place stay."""
    for at in range(40):
        service.add(f"file-{at}", b"%d" % at)
    finished = cli.download("--retries", "0", env=cli.limited(NOFILE=16), code=(0, 1))
    assert finished.code == 0 or "ulimit -n" in finished.err
    whole = {f"file-{at}": b"%d" % at for at in range(40)}
    assert tree(cli.out).items() <= whole.items()
    cli.download()
    assert tree(cli.out) == whole


def test_a_low_soft_limit_of_open_files(service: FakeService, cli: Cli) -> None:
    """A soft limit of open files that may be raised is no error."""
    for at in range(100):
        service.add(f"dir-{at}/file", b"%d" % at)
    cli.download("--retries", "1", wrap=("sh", "-c", 'ulimit -Sn 48; exec "$@"', "sh"))
    assert tree(cli.out) == {f"dir-{at}/file": b"%d" % at for at in range(100)}


@pytest.mark.parametrize("where", ["out", "out/dir"])
def test_a_read_only_folder(service: FakeService, cli: Cli, where: str) -> None:
    """A missing permission fails the files in that folder; the others are in place."""
    wrap = unprivileged()
    service.add("dir/small", SMALL)
    service.add("large", LARGE)
    (cli.out / "dir").mkdir(parents=True)
    (cli.cwd / where).chmod(0o555)
    finished = cli.download(wrap=wrap, code=1)
    assert "Permission denied" in finished.err
    assert "permissions" in finished.err
    assert tree(cli.out) == ({} if where == "out" else {"large": LARGE})
    (cli.cwd / where).chmod(0o755)
    cli.download()
    assert tree(cli.out) == WHOLE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "out/one"), "failed: out/one (large): cannot write: Permission denied"),
        (("--checksums", "out/sums"), "error: cannot write out/sums: Permission denied"),
    ],
)
def test_a_read_only_folder_of_one_file(
    service: FakeService, cli: Cli, arguments: tuple[str, str], said: str
) -> None:
    """With `-o` the message names the file's folder too."""
    wrap = unprivileged()
    service.add("large", LARGE)
    cli.out.mkdir(mode=0o555)
    finished = cli("download", "7", *CUBE, *arguments, wrap=wrap, code=1)
    assert said in finished.err.splitlines()
    assert os.listdir(cli.out) == []
    assert ("--checksums" not in arguments) or service.storage.requests == []


def test_a_state_folder_that_must_not_be_entered(service: FakeService, cli: Cli) -> None:
    """It is named with the output folder, and the hint speaks of permissions."""
    wrap = unprivileged()
    service.add("large", LARGE)
    cli.download()
    (cli.out / STATE).chmod(0)
    for command in (("download", "7", *CUBE, "-d", "out"), ("verify", "out")):
        finished = cli(*command, wrap=wrap, code=1)
        assert f"cannot open out/{STATE}: Permission denied" in finished.err
        assert "permissions" in finished.err
    (cli.out / STATE).chmod(0o755)


def test_a_folder_that_is_mounted_cannot_become_a_file(service: FakeService, cli: Cli) -> None:
    """The artifact is refused with a way round, and its files stay in the mounted folder."""
    service.add("dist", archive(member("a", b"1"), member("lib/b", b"2")))
    (cli.cwd / "other").mkdir()
    (cli.out / "dist").mkdir(parents=True)
    mount = f'mount --bind "{cli.cwd}/other" "{cli.out}/dist" && exec "$@"'
    wrap = bare("unshare", "-m", "sh", "-c", mount, "sh")
    cli.download(wrap=wrap)
    finished = cli.download("--no-unpack", wrap=wrap, code=8)
    assert "out/dist" in finished.err
    assert "something is mounted there" in finished.err
    assert "unmount it" in finished.err
    assert tree(cli.cwd / "other") == {"a": b"1", "lib/b": b"2"}
    assert cli.download("--json", wrap=wrap).outcomes == {"dist": "unchanged"}
    cli.download("--no-unpack")
    assert (cli.out / "dist").is_file()


def test_a_read_only_file_system(service: FakeService, cli: Cli) -> None:
    """The error names it, and the hint proposes another folder."""
    service.add("large", LARGE)
    cli.out.mkdir()
    mount = f'mount -t tmpfs -o ro none "{cli.out}" && exec "$@"'
    finished = cli.download(wrap=bare("unshare", "-m", "sh", "-c", mount, "sh"), code=1)
    assert "Read-only file system" in finished.err
    assert "another output folder" in finished.err


HOMES: dict[str, Callable[[Path], str | None]] = {
    "unset": lambda folder: None,
    "empty": lambda folder: "",
    "missing": lambda folder: str(folder / "missing"),
    "a file": lambda folder: "/dev/null",
    "closed": lambda folder: str(folder / "closed"),
}


@pytest.mark.parametrize("home", HOMES)
def test_no_home(service: FakeService, cli: Cli, tmp_path: Path, home: str) -> None:
    """A download needs no home folder."""
    service.add("large", LARGE)
    (tmp_path / "closed").mkdir(mode=0)
    env = {"HOME": HOMES[home](tmp_path), "XDG_CONFIG_HOME": None, "XDG_CACHE_HOME": None}
    cli.download(env=env, wrap=unprivileged())
    assert tree(cli.out) == {"large": LARGE}
    (tmp_path / "closed").chmod(0o755)


@pytest.mark.parametrize("home", ["a file", "closed"])
def test_no_home_for_the_token(cli: Cli, tmp_path: Path, home: str) -> None:
    """`auth login` says that it cannot store the token, and names the variable."""
    (tmp_path / "closed").mkdir(mode=0)
    env = {"HOME": HOMES[home](tmp_path), "XDG_CONFIG_HOME": None}
    wrap = unprivileged()
    finished = cli(
        "auth", "login", "--with-token", stdin=b"t0ken-t0ken", env=env, wrap=wrap, code=1
    )
    assert "SOURCECRAFT_TOKEN" in finished.err
    assert "t0ken-t0ken" not in finished.err
    (tmp_path / "closed").chmod(0o755)


JUMPING = """
import itertools, time
jumps = itertools.cycle([0.0, -3e9, 4e9, 86400.0])
real = time.time
time.time = lambda: max(0.0, real() + next(jumps))
"""


def test_a_clock_that_jumps(service: FakeService, cli: Cli, tmp_path: Path) -> None:
    """Waits, retries and records do not depend on the wall clock."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(HURRY + JUMPING)
    env = {"PYTHONPATH": str(tmp_path / "clock")}
    past = {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}
    service.add("busy", SMALL, Response(503, past), ranged(SMALL))
    service.add("cut", LARGE, ranged(LARGE, cut_first=1 << 20), ranged(LARGE))
    service.api.on(target("7", *CUBE), problem(503, "busy"), service._answer)
    cli.download(env=env)
    assert tree(cli.out) == {"busy": SMALL, "cut": LARGE}
    again = cli.download("--json", env=env)
    assert set(again.outcomes.values()) == {"unchanged"}


def begun(service: FakeService, cli: Cli, gate: threading.Event) -> subprocess.Popen[bytes]:
    """Start a download; stop when half of a large file is on disk and a small one in place."""
    stored: list[Stored] = [service.add("large", LARGE, held(LARGE, gate), ranged(LARGE))]
    stored.append(service.add("dir/small", SMALL))
    process = cli.start("download", "7", *CUBE, "-d", "out")
    eventually(lambda: partial_bytes(cli.out) >= 2 << 20, "half of the large file is on disk")
    eventually((cli.out / "dir" / "small").exists, "the small one is in place")
    return process


def clear(folder: Path) -> None:
    """Remove a folder in which a process is still working."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


VANISH: dict[str, Callable[[Path], object]] = {
    "folder": clear,
    "state": lambda out: clear(out / STATE),
    "parts": lambda out: clear(out / STATE / "partial"),
    "moved": lambda out: out.rename(out.with_name("elsewhere")),
    "replaced": lambda out: (out.rename(out.with_name("elsewhere")), out.write_bytes(b"")),
}


@pytest.mark.parametrize("what", VANISH)
def test_what_vanishes_meanwhile(service: FakeService, cli: Cli, what: str) -> None:
    """If files vanish, it is at most exit 1, and the next run fetches them again."""
    gate = threading.Event()
    process = begun(service, cli, gate)
    VANISH[what](cli.out)
    gate.set()
    finished = cli.finish(process)
    assert finished.code in (0, 1), finished.err
    assert finished.code == 0 or "large" in finished.err or STATE in finished.err
    if what == "replaced":
        assert "not a folder" in cli.download(code=1).err
        cli.out.unlink()
    assert tree(cli.out).get("large", LARGE) == LARGE if cli.out.exists() else True
    # Without its records the small file counts as a stranger's.
    cli.download(*(OVERWRITE if what == "state" else ()))
    assert tree(cli.out) == WHOLE
    assert partial_bytes(cli.out) == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("list", "7", *CUBE), 0),
        (("download", "7", *CUBE, "-d", "out", "--paths", "--debug"), 0),
        (("download", "7", *CUBE, "-o", "one"), 0),
        (("download", "8", *CUBE), 5),
    ],
)
def test_closed_streams(
    service: FakeService, cli: Cli, closed: str, arguments: Sequence[str], code: int
) -> None:
    """A stream that was closed at the start is no error, and no file gets its number."""
    service.add("large", LARGE)
    cli(*arguments, wrap=("sh", "-c", f'exec "$@" {closed}', "sh"), code=code)
    places = [path for path in (cli.out / "large", cli.cwd / "one") if path.exists()]
    assert [path.read_bytes() == LARGE for path in places] == [True] * (
        "-d" in arguments or "-o" in arguments
    )


def test_a_stream_to_nowhere(service: FakeService, cli: Cli) -> None:
    """`-o -` with a closed stdout is exit 1, and does not write into another file."""
    service.add("large", LARGE)
    cli("download", "7", *CUBE, "-o", "-", wrap=("sh", "-c", 'exec "$@" >&-', "sh"), code=1)
    assert os.listdir(cli.cwd) == []


def test_a_full_stderr(service: FakeService, cli: Cli) -> None:
    """A stderr that cannot be written does not fail a download."""
    service.add("large", LARGE)
    with open("/dev/full", "wb") as full:
        cli.download("--debug", "--progress", "plain", stderr=full)
    assert tree(cli.out) == {"large": LARGE}


@pytest.mark.parametrize("mode", [0o555, 0])
def test_an_old_member_that_cannot_be_removed(service: FakeService, cli: Cli, mode: int) -> None:
    """It is named, again and again, until a later run can remove it."""
    service.add("dist", packed({"dist/a": b"1", "dist/s/gone": b"2"}))
    cli.download()
    stored = service.artifacts[0]
    stored.dates = {**stored.dates, "updated_at": "2"}
    stored.replies = [ranged(packed({"dist/a": b"new"}), etag='"2"')]
    (cli.out / "dist/s").chmod(mode)
    for _ in range(2):
        finished = cli.download(wrap=unprivileged(), code=1)
        assert "dist/s/gone cannot be removed: Permission denied" in finished.err
        assert (cli.out / "dist/a").read_bytes() == b"new"
    (cli.out / "dist/s").chmod(0o755)
    cli.download()
    assert tree(cli.out) == {"dist/a": b"new"}
    assert partial_bytes(cli.out) == 0


OLD = {"a": b"a1", "gone": b"gone", "sub/c": b"old!"}
NEW = {"a": b"a2", "b": b"b2", "m": b"m2", "sub/c": b"new!"}


def half_updates(
    service: FakeService, cli: Cli, new: bytes | None = None
) -> Iterator[dict[str, bytes]]:
    """Kill the update of a folder at one rename after the other; yield what is there then.

    `new` is the new version, if it is not a folder.
    """
    find("strace", "Debian: strace")
    usual = cli.out
    new = new or packed({f"dist/{name}": body for name, body in NEW.items()})
    for at in range(1, 20):
        service.artifacts.clear()
        stored = service.add("dist", packed({f"dist/{name}": body for name, body in OLD.items()}))
        shutil.rmtree(usual, ignore_errors=True)
        cli.download()
        stored.dates = {**stored.dates, "updated_at": "2"}
        stored.replies = [ranged(new, etag='"2"')]
        inject = f"inject=renameat:signal=KILL:when={at}"  # --seccomp-bpf would count wrongly
        wrap = (
            *bare("strace", "-f", "-qq", "-o", os.devnull),
            "-e",
            "trace=renameat",
            "-e",
            inject,
        )
        if cli.download(wrap=wrap, code=(0, -9, 137)).code == 0:
            return
        there = {path.removeprefix("dist/"): body for path, body in tree(cli.out).items()}
        if there not in (OLD, NEW):
            yield there


def test_what_skip_leaves_of_half_an_update_is_not_right(service: FakeService, cli: Cli) -> None:
    """Old members are not recorded as new ones, although their times and sizes are the same."""
    halves = 0
    for _ in half_updates(service, cli):
        halves += 1
        cli.download("--if-exists", "skip")
        cli.download()
        assert tree(cli.out) == {f"dist/{name}": body for name, body in NEW.items()}
        cli("verify", "out")
    assert halves


def test_half_an_update_does_not_make_others_files_ours(service: FakeService, cli: Cli) -> None:
    """Where a killed run has not put a member yet, somebody else's file is refused."""
    halves = 0
    for there in half_updates(service, cli):
        missing = NEW.keys() - there.keys()
        for name in missing:
            (cli.out / "dist" / name).write_bytes(b"mine")
        if missing:
            halves += 1
            assert "did not put there" in cli.download(code=8).err
        for name in missing:
            assert (cli.out / "dist" / name).read_bytes() == b"mine"
            (cli.out / "dist" / name).unlink()
        cli.download()
        assert tree(cli.out) == {f"dist/{name}": body for name, body in NEW.items()}
    assert halves


def test_half_a_change_to_a_file_does_not_make_others_files_ours(
    service: FakeService, cli: Cli
) -> None:
    """If the folder has gone and the file has not come, somebody else's file stays."""
    halves = 0
    for there in half_updates(service, cli, b"a file"):
        if there:
            continue
        halves += 1
        (cli.out / "dist").write_bytes(b"mine")
        assert "dist" in cli.download(code=8).err
        assert tree(cli.out) == {"dist": b"mine"}
        (cli.out / "dist").unlink()
        cli.download()
        assert tree(cli.out) == {"dist": b"a file"}
    assert halves


def test_a_file_that_cannot_be_pruned(service: FakeService, cli: Cli) -> None:
    """It has failed, and is pruned by a later run."""
    service.add("old/gone", b"1")
    service.add("kept", b"2", run="8")
    cli.download()
    (cli.out / "old").chmod(0o555)
    newer = ("download", "8", *CUBE, "-d", "out", "--prune")
    finished = cli(*newer, "--json", wrap=unprivileged(), code=1)
    assert finished.outcomes["old/gone"] == "failed"
    assert "old/gone cannot be removed: Permission denied" in finished.err
    (cli.out / "old").chmod(0o755)
    assert cli(*newer, "--json").outcomes["old/gone"] == "deleted"
    assert tree(cli.out) == {"kept": b"2"}


def test_a_file_that_verify_cannot_read(service: FakeService, cli: Cli) -> None:
    """It fails, and the reason is said: to download it again would not help."""
    service.add("dist", packed({"dist/a": b"1", "dist/b": b"2"}))
    service.add("plain", b"3")
    cli.download()
    for name in ("dist/a", "plain"):
        (cli.out / name).chmod(0)
    finished = cli("verify", "out", wrap=unprivileged(), code=8)
    assert finished.out.splitlines() == [
        "out/dist/a: FAILED",
        "out/dist/b: OK",
        "out/plain: FAILED",
    ]
    for name in ("dist/a", "plain"):
        assert f"out/{name} cannot be read: Permission denied" in finished.err


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's error has its descriptor instead."""

    def broken(descriptor: int) -> list[str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO), descriptor)

    monkeypatch.setattr(os, "listdir", broken)
    with open_root(str(tmp_path)) as folder, pytest.raises(OSError, match="error") as caught:
        folder.listdir()
    assert caught.value.filename == str(tmp_path)
