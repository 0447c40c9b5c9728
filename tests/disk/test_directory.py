"""One open folder: what is opened, created, moved and removed in it."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from folders import CREATE, OBSTACLES, laid_out, put_obstacles

from sourcecraft_artifacts.disk.directory import Directory, PathDirectory, open_root
from sourcecraft_artifacts.errors import Refused

pytestmark = pytest.mark.skipif(os.name == "nt", reason="makes symlinks and FIFOs")


@pytest.fixture
def root(tmp_path: Path, kind: str) -> Iterator[Directory]:
    """Create an output folder with files and links."""
    with laid_out(tmp_path) as path, open_root(path) as root:
        assert isinstance(root, PathDirectory) == (kind == "paths")
        yield root


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR, CREATE, CREATE | os.O_TRUNC])
@pytest.mark.parametrize("target", ["secret", "absent"])
def test_open_follows_no_symlink(root: Directory, tmp_path: Path, flags: int, target: str) -> None:
    """A symlink as a final name is neither read nor written through."""
    (tmp_path / "out/link").symlink_to(tmp_path / "outside" / target)
    with pytest.raises(Refused, match="out/link is a symlink"):
        root.open("link", flags)


def test_open_lets_other_errors_through(root: Directory) -> None:
    """Other errors of the system are raised unchanged."""
    with pytest.raises(FileNotFoundError):
        root.open("absent", os.O_RDONLY)
    with pytest.raises(FileExistsError):
        root.open("file", CREATE | os.O_EXCL)


def test_open_obeys_the_mode_and_umask(root: Directory, tmp_path: Path) -> None:
    """New files and folders have the permissions that the umask leaves."""
    old = os.umask(0o027)
    try:
        os.close(root.open("open", CREATE))
        os.close(root.open("private", CREATE, 0o600))
        root.child("new", create=True).close()
    finally:
        os.umask(old)
    found = [
        stat.S_IMODE((tmp_path / "out" / n).stat().st_mode) for n in ("open", "private", "new")
    ]
    assert found == [0o640, 0o600, 0o750]


def test_open_waits_for_no_fifo(tmp_path: Path) -> None:
    """Opening a FIFO does not block."""
    os.mkfifo(tmp_path / "fifo")
    with open_root(str(tmp_path)) as root:
        os.close(root.open("fifo", os.O_RDONLY))


def test_lstat_does_not_follow(root: Directory, tmp_path: Path) -> None:
    """`lstat` does not follow a symlink."""
    (tmp_path / "out/link").symlink_to(tmp_path / "outside")
    found = [root.lstat(name) for name in ("file", "a", "link", "absent")]
    kinds = [None if status is None else stat.S_IFMT(status.st_mode) for status in found]
    assert kinds == [stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, None]


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(("name", "message"), OBSTACLES.items())
def test_only_folders_are_entered(
    root: Directory, tmp_path: Path, create: bool, name: str, message: str
) -> None:
    """A symlink is not followed, even to a folder inside; a file in the way is named."""
    put_obstacles(tmp_path)
    with pytest.raises(Refused, match=message):
        root.child(name, create=create)


def test_junctions_are_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A junction of Windows is refused; another reparse point is not."""
    (tmp_path / "a").mkdir()
    root = PathDirectory(str(tmp_path))
    for tag, refused in ((0xA0000003, True), (0xA000000C, True), (0x9000001A, False), (0, False)):
        status = SimpleNamespace(st_mode=stat.S_IFDIR, st_reparse_tag=tag)
        with monkeypatch.context() as patch:
            patch.setattr(os, "lstat", lambda *_, status=status, **__: status)
            if refused:
                with pytest.raises(Refused, match="symlink"):
                    root.child("a", create=False)
            else:
                root.child("a", create=False)


def test_folders_are_made_on_demand(root: Directory, tmp_path: Path) -> None:
    """A missing folder is created with `create`, and otherwise an OSError."""
    with pytest.raises(FileNotFoundError):
        root.child("x", create=False)
    assert not (tmp_path / "out/x").exists()
    with root.child("x", create=True) as below:
        assert below.path == str(tmp_path / "out/x")
    assert (tmp_path / "out/x").is_dir()


def test_replace_moves_over_symlinks(root: Directory, tmp_path: Path) -> None:
    """A file replaces a symlink, in another folder too; the symlink's target stays."""
    (tmp_path / "out/a/link").symlink_to(tmp_path / "outside/secret")
    with root.child("a", create=False) as target:
        root.replace("file", target, "link")
    assert not (tmp_path / "out/a/link").is_symlink()
    assert (tmp_path / "out/a/link").read_text() == "mine"
    assert not (tmp_path / "out/file").exists()


def test_names_are_removed(root: Directory, tmp_path: Path) -> None:
    """A symlink itself is removed; an absent name may be no error; a folder must be empty."""
    (tmp_path / "out/link").symlink_to(tmp_path / "outside/secret")
    assert sorted(root.listdir()) == ["a", "file", "link"]
    root.unlink("link")
    root.unlink("link")
    with pytest.raises(FileNotFoundError):
        root.unlink("link", missing_ok=False)
    with root.child("a", create=False) as below:
        below.rmdir("b")
    root.rmdir("a")
    assert root.listdir() == ["file"]
    with pytest.raises(NotADirectoryError):
        root.rmdir("file")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "../outside"])
def test_names_are_single_components(root: Directory, name: str) -> None:
    """No name leads out of its folder."""
    attempts: list[Callable[[], object]] = [
        lambda: root.open(name, CREATE),
        lambda: root.lstat(name),
        lambda: root.child(name, create=True),
        lambda: root.replace(name, root, "x"),
        lambda: root.replace("file", root, name),
        lambda: root.unlink(name),
        lambda: root.rmdir(name),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="not one path component"):
            attempt()


def test_path_names_obey_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If paths are joined, the system's own separators are refused too, as in `C:x`."""
    monkeypatch.setattr(os.path, "basename", lambda name: name.rpartition(":")[2])
    with pytest.raises(ValueError, match="'C:x' is not one path component"):
        PathDirectory(str(tmp_path)).lstat("C:x")


def test_sync_asks_for_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is synced if possible; a disk error is raised, a missing feature is not."""
    synced: list[int] = []
    answers = iter([0, errno.EINVAL, errno.ENOTSUP, errno.EIO])

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        if number := next(answers):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with open_root(str(tmp_path)) as root:
        for _ in range(3):
            root.sync()
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            root.sync()
    PathDirectory(str(tmp_path)).sync()
    assert synced == [tmp_path.stat().st_ino] * 4


def test_closed_folders_do_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations in a closed folder fail, and do not use the current folder instead."""
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    with Directory("out", os.open("out", os.O_RDONLY)) as directory:
        pass
    directory.close()
    for attempt in (lambda: directory.open("x", CREATE), lambda: directory.lstat("out")):
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            attempt()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        directory.listdir()
    assert os.listdir() == ["out"]


@pytest.mark.parametrize("call", ["open", "mkdir", "replace", "unlink"])
def test_a_folder_is_not_closed_under_who_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A thread that still uses a closed folder never gets another one under its number."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "there").write_bytes(name.encode())
    ours = open_root(str(tmp_path / "ours"))
    theirs: list[Directory] = []
    real = getattr(os, call)

    def late(*args: object, **options: object) -> object:
        if not theirs:
            theirs.append(ours)
            ours.close()
            theirs[:] = [open_root(str(tmp_path / "theirs"))]
        return real(*args, **options)

    monkeypatch.setattr(os, call, late)
    match call:
        case "open":
            os.close(ours.open("new", CREATE))
        case "mkdir":
            with suppress(OSError):
                ours.child("new", create=True)
        case "replace":
            ours.replace("there", ours, "new")
        case "unlink":
            ours.unlink("there")
    theirs[0].close()
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["there"]
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        ours.open("another", CREATE)
