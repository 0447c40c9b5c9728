"""Unusual file systems and limits: the program does without what they lack."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from archives import archive, link, member
from conftest import HURRY, Cli
from fake_service import CUBE, STATE, FakeService, eventually, held, tree
from servers import ranged

from sourcecraft_artifacts.disk.directory import open_root
from sourcecraft_artifacts.disk.file_lock import FileLock
from sourcecraft_artifacts.disk.paths import folds_names, safe_path
from sourcecraft_artifacts.disk.tree import Tree, most_cached

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="made with Linux's own means")

REFUSED = """
import errno, os, resource, fcntl
def refused(number):
    def call(*args, **options):
        raise OSError(number, os.strerror(number))
    return call
"""
CHANGING = """
import itertools, os
numbers = itertools.count(1)
def changing(real):
    def look(*args, **options):
        found = real(*args, **options)
        times = {n: getattr(found, n) for n in dir(found) if n.startswith("st_") and n[3:] not in T}
        return os.stat_result((found[0], next(numbers), *found[2:10]), times)
    return look
T = ("mode", "ino", "dev", "nlink", "uid", "gid", "size")
added = {os.stat, os.lstat} & os.supports_dir_fd
os.stat, os.lstat, os.fstat = changing(os.stat), changing(os.lstat), changing(os.fstat)
os.supports_dir_fd |= {os.stat, os.lstat}
"""
"""Numbers of files that differ from one look to the next, as some FUSE file systems have them."""


@pytest.fixture
def odd(tmp_path: Path) -> Any:
    """Return an environment in which Python runs some code at its start."""

    def make(code: str) -> dict[str, str]:
        folder = tmp_path / "odd"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(HURRY + REFUSED + code)
        return {"PYTHONPATH": str(folder)}

    return make


@pytest.mark.parametrize("number", ["EINVAL", "EOPNOTSUPP", "ENOSYS"])
@pytest.mark.parametrize("where", [("-d", "out"), ("-o", "one")])
def test_a_file_system_without_sync(
    service: FakeService, cli: Cli, odd: Any, number: str, where: tuple[str, str]
) -> None:
    """A file system that cannot sync does not fail the download."""
    service.add("dir/file", b"file")
    cli("download", "7", *CUBE, *where, env=odd(f"os.fsync = refused(errno.{number})"))
    found = tree(cli.out) if where[0] == "-d" else {"dir/file": (cli.cwd / "one").read_bytes()}
    assert found == {"dir/file": b"file"}


@pytest.mark.parametrize("number", ["EIO", "ENOSPC", "EDQUOT", "EROFS"])
def test_a_sync_that_fails(service: FakeService, cli: Cli, odd: Any, number: str) -> None:
    """An I/O error of a sync is exit 1."""
    service.add("file", b"file")
    cli.download(env=odd(f"os.fsync = refused(errno.{number})"), code=1)
    assert tree(cli.out) == {}


@pytest.mark.parametrize("number", ["EACCES", "EPERM", "ENOLCK", "ENOSYS", "EINVAL"])
@pytest.mark.parametrize("where", [("-d", "out"), ("-o", "one")])
def test_locks_that_are_forbidden(
    service: FakeService, cli: Cli, odd: Any, number: str, where: tuple[str, str]
) -> None:
    """If locks are forbidden, the program does not wait for them."""
    service.add("file", b"file")
    env = odd(f"fcntl.flock = refused(errno.{number})")
    for _ in range(2):
        assert "waiting" not in cli("download", "7", *CUBE, *where, env=env).err
    assert [path.name for path in cli.cwd.iterdir()] == [where[1]]


@pytest.mark.parametrize("where", [("-d", "out"), ("-o", "one")])
def test_a_wait_says_for_whom_and_can_be_ended(
    service: FakeService, cli: Cli, where: tuple[str, str]
) -> None:
    """A run that waits for another one names its process, and Ctrl-C ends it at once."""

    gate, body = threading.Event(), b"x" * 100_000
    service.add("file", body, held(body, gate))
    first = cli.start("download", "7", *CUBE, *where)
    eventually(lambda: service.storage.requests, "the first is at it")
    said = cli.cwd / "said"
    with open(said, "wb") as stderr:
        second = cli.start("download", "7", *CUBE, *where, stderr=stderr)
        eventually(lambda: b"waiting for another" in said.read_bytes(), "the second waits")
        second.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert cli.finish(second).code == 130
    assert time.monotonic() - started < 10
    assert f"to end (process {first.pid})" in said.read_text()
    gate.set()
    assert cli.finish(first).code == 0


def test_numbers_of_files_that_change(service: FakeService, cli: Cli, odd: Any) -> None:
    """Files are recognised, replaced and locked also if inode numbers change."""
    env = odd(CHANGING)
    stored = service.add("dir/file", b"file")
    cli.download(env=env)
    stored.replies = [ranged(b"newer", etag='"v2"')]
    stored.dates["updated_at"] = "2026-11-02T10:02:00Z"
    (cli.out / "dir/file").write_bytes(b"spoiled by the user")
    cli.download(env=env)
    assert tree(cli.out) == {"dir/file": b"newer"}
    assert set(cli.download("--json", env=env).outcomes.values()) == {"unchanged"}
    cli("download", "7", *CUBE, "-o", "one", env=env)
    assert (cli.cwd / "one").read_bytes() == b"newer"
    assert {path.name for path in (cli.out / STATE).iterdir()} <= {"manifest.json", ".gitignore"}


def test_a_removed_lock_locks_nobody_out(tmp_path: Path) -> None:
    """A lock on a file that its owner has removed does not count."""
    with open_root(str(tmp_path)) as directory:
        lock = FileLock(directory, "lock")
        descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
        (tmp_path / "lock").unlink()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert not lock._is_ours(descriptor)
        os.close(descriptor)
        with lock.held("it") as alone:
            assert alone
            assert (tmp_path / "lock").read_bytes().startswith(b"%d " % os.getpid())
        assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_lock_of_another_user(service: FakeService, cli: Cli, odd: Any, mode: int) -> None:
    """A lock file that cannot be opened is no error."""
    service.add("file", b"file")
    code = (
        "import re\nreal = os.open\n"
        "def picky(path, flags, *a, **o):\n"
        "    if str(path).endswith('.lock') and (flags & 3 or not MODE):\n"
        "        raise PermissionError(13, 'Permission denied')\n"
        "    return real(path, flags, *a, **o)\n"
        "os.open = picky\nos.supports_dir_fd.add(picky)\n"
    )
    cli("download", "7", *CUBE, "-o", "one", env=odd(f"MODE = {mode}\n{code}"))
    assert (cli.cwd / "one").read_bytes() == b"file"


@pytest.mark.parametrize("mode", [0o755, 0o600, 0o444])
def test_the_mode_of_a_replaced_file_is_kept(service: FakeService, cli: Cli, mode: int) -> None:
    """A replaced file keeps its mode, with `-o` and with an update."""
    stored = service.add("script", b"old")
    cli.download()
    cli("download", "7", *CUBE, "-o", "one")
    stored.replies = [ranged(b"new", etag='"v2"')]
    stored.dates["updated_at"] = "2026-11-02T10:02:00Z"
    for path in (cli.out / "script", cli.cwd / "one"):
        path.chmod(mode)
    cli.download()
    cli("download", "7", *CUBE, "-o", "one")
    for path in (cli.out / "script", cli.cwd / "one"):
        assert path.read_bytes() == b"new"
        assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another group, as root only")
def test_a_folder_gives_its_group(service: FakeService, cli: Cli) -> None:
    """What lands in a folder with the set-group-ID bit has its group, and folders have the bit."""
    service.add("shared/file", b"file")
    files = [member("old/b", b"1"), member("new/deep/a", b"2"), link("new/b", "deep/a")]
    service.add("shared/dist", archive(*files))
    (cli.out / "shared/dist/old").mkdir(parents=True)
    for path in [cli.out / "shared", cli.out / "shared/dist", cli.out / "shared/dist/old"]:
        os.chown(path, -1, 4242)
        path.chmod(0o2775)
    cli.download()
    landed = list((cli.out / "shared").rglob("*"))
    assert len(landed) == 8
    assert {path.lstat().st_gid for path in landed} == {4242}
    assert all(path.stat().st_mode & stat.S_ISGID for path in landed if path.is_dir())


def test_a_limit_that_may_not_be_asked_for(service: FakeService, cli: Cli, odd: Any) -> None:
    """A program that may not read the limit of open files works too."""
    service.add("dir/file", b"file")
    cli.download(env=odd("resource.getrlimit = refused(errno.EPERM)"))
    assert tree(cli.out) == {"dir/file": b"file"}


@pytest.mark.parametrize(("limit", "most"), [(8, 1), (64, 8), (256, 32), (1024, 64)])
def test_folders_are_kept_open_as_the_limit_allows(
    monkeypatch: pytest.MonkeyPatch, limit: int, most: int
) -> None:
    """At most an eighth of the limit of open files, and at most 64."""
    monkeypatch.setattr(resource, "getrlimit", lambda what: (limit, limit))
    assert most_cached() == most


def test_folders_are_closed_where_no_other_can_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no more files can be opened, cached folders are closed."""
    with Tree(str(tmp_path)) as tree_:
        for at in range(5):
            with tree_.parent(safe_path(f"{at}/file", portable=False), create=True):
                pass
        real, opened = os.open, 0

        def full(path: Any, flags: int, *args: Any, **options: Any) -> int:
            nonlocal opened
            if path == "more" and tree_._entries:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            opened += 1
            return real(path, flags, *args, **options)

        monkeypatch.setattr(os, "open", full)
        with tree_.parent(safe_path("more/file", portable=False), create=True):
            pass
        assert opened


DEEP = "a/" * 1_900 + "file"


def test_time_does_not_grow_with_the_square_of_the_depth(tmp_path: Path) -> None:
    """Hundreds of paths with thousands of folders take little time."""
    places = [safe_path(f"{at}/{DEEP}", portable=False) for at in range(400)]
    started = time.process_time()
    with Tree(str(tmp_path)) as tree_:
        assert [tree_.lstat(place) for place in places] == [None] * 400
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("path", ["a/" * 8_000 + "x", "/".join(["n" * 200] * 30)])
@pytest.mark.parametrize("exists", [False, True])
def test_a_path_longer_than_any_system_allows(
    service: FakeService, cli: Cli, path: str, exists: bool
) -> None:
    """A path that is too long is refused before any transfer, also without its folder."""
    for at in range(20):
        service.add(f"{at}/{path}", b"x")
    if exists:
        cli.out.mkdir()
    assert "longer than this system allows" in cli.download(code=8).err
    assert service.storage.requests == []


def test_a_folder_that_folds_names_without_stable_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folding is also detected if inode numbers change."""
    (tmp_path / "File").touch()
    real = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path, **_: real(str(path).replace("fILE", "File")))
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    assert folds_names(str(tmp_path))
    (tmp_path / "fILE").touch()
    assert not folds_names(str(tmp_path))


@pytest.mark.parametrize("limit", [20, 32, 64])
@pytest.mark.parametrize("jobs", [("-j", "1"), ()])
def test_a_hard_limit_of_open_files(
    service: FakeService, cli: Cli, limit: int, jobs: tuple[str, ...]
) -> None:
    """Many folders do not need more descriptors than the limit."""
    for at in range(100):
        service.add(f"dir-{at}/below/file", b"%d" % at)
    cli.download(*jobs, env=cli.limited(NOFILE=limit))
    assert tree(cli.out) == {f"dir-{at}/below/file": b"%d" % at for at in range(100)}
