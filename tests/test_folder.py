import errno
import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from sourcecraft_artifacts import folder
from sourcecraft_artifacts.errors import LocalError, Refused
from sourcecraft_artifacts.folder import MAX_CACHED, Directory, PathDirectory, Tree
from sourcecraft_artifacts.paths import SafePath, safe_path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="makes symlinks and FIFOs")

CREATE = os.O_WRONLY | os.O_CREAT


def at(text: str) -> SafePath:
    """A place below the output folder."""
    return safe_path(text, portable=False)


@pytest.fixture(params=["descriptors", "paths"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to know a folder; the second as on a system that has nothing better."""
    if request.param == "paths":
        monkeypatch.setattr(folder, "_HAS_DIR_FD", False)
        monkeypatch.setattr(folder, "_SAFELY", 0)
    return str(request.param)


@pytest.fixture
def tree(tmp_path: Path, kind: str) -> Iterator[Tree]:
    """An output folder `out` with folders `a/b` and a file, beside a folder `outside`."""
    (tmp_path / "out/a/b").mkdir(parents=True)
    (tmp_path / "out/file").write_text("mine")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("theirs")
    with Tree(str(tmp_path / "out")) as tree:
        assert isinstance(tree.root, PathDirectory) == (kind == "paths")
        yield tree
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]
    assert (tmp_path / "outside/secret").read_text() == "theirs"


@pytest.fixture
def descriptors() -> Iterator[set[int]]:
    """The descriptors that are open by now; at the end there must be none."""
    opened: set[int] = set()
    real_open, real_close = os.open, os.close

    def spy_open(*args: object, **options: object) -> int:
        descriptor: int = real_open(*args, **options)  # type: ignore[arg-type]
        opened.add(descriptor)
        return descriptor

    def spy_close(descriptor: int) -> None:
        opened.remove(descriptor)
        real_close(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", spy_open)
        patch.setattr(os, "close", spy_close)
        yield opened
    assert opened == set()


def write(parent: Directory, name: str, body: bytes = b"new") -> None:
    """Write to a file, new or not."""
    descriptor = parent.open(name, CREATE)
    os.write(descriptor, body)
    os.close(descriptor)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR, CREATE, CREATE | os.O_TRUNC])
@pytest.mark.parametrize("target", ["secret", "absent"])
def test_open_follows_no_symlink(tree: Tree, tmp_path: Path, flags: int, target: str) -> None:
    """A final name that is a symlink is neither read nor written through."""
    (tmp_path / "out/link").symlink_to(tmp_path / "outside" / target)
    with pytest.raises(Refused, match="out/link is a symlink"):
        tree.root.open("link", flags)


def test_open_lets_other_errors_through(tree: Tree) -> None:
    """What the system says is for the caller to translate."""
    with pytest.raises(FileNotFoundError):
        tree.root.open("absent", os.O_RDONLY)
    with pytest.raises(FileExistsError):
        tree.root.open("file", CREATE | os.O_EXCL)


def test_open_obeys_the_mode_and_umask(tree: Tree, tmp_path: Path) -> None:
    """New files and folders get the permissions that the user's umask leaves."""
    old = os.umask(0o027)
    try:
        os.close(tree.root.open("open", CREATE))
        os.close(tree.root.open("private", CREATE, 0o600))
        with tree.parent(at("new/x"), create=True):
            pass
    finally:
        os.umask(old)
    found = [
        stat.S_IMODE((tmp_path / "out" / n).stat().st_mode) for n in ("open", "private", "new")
    ]
    assert found == [0o640, 0o600, 0o750]


def test_open_waits_for_no_fifo(tmp_path: Path) -> None:
    """A FIFO in the way does not hang the program."""
    os.mkfifo(tmp_path / "fifo")
    with Tree(str(tmp_path)) as tree:
        os.close(tree.root.open("fifo", os.O_RDONLY))


def test_lstat_does_not_follow(tree: Tree, tmp_path: Path) -> None:
    """A name is looked at itself, symlink or not."""
    (tmp_path / "out/link").symlink_to(tmp_path / "outside")
    found = [tree.root.lstat(name) for name in ("file", "a", "link", "absent")]
    kinds = [None if status is None else stat.S_IFMT(status.st_mode) for status in found]
    assert kinds == [stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, None]


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "out/file is not a folder"),
        ("link", "out/link is a symlink"),
        ("dangling", "out/dangling is a symlink"),
        ("inner\u202e", r"out/inner\\u202e is a symlink"),
    ],
)
def test_only_folders_are_entered(
    tree: Tree, tmp_path: Path, create: bool, name: str, message: str
) -> None:
    """A symlink is not followed, even to a folder inside; a file in the way is named."""
    (tmp_path / "out/link").symlink_to(tmp_path / "outside")
    (tmp_path / "out/dangling").symlink_to(tmp_path / "outside/new")
    (tmp_path / "out/inner\u202e").symlink_to("a")
    with pytest.raises(Refused, match=message):
        tree.root.child(name, create=create)
    for place in (f"{name}/x", f"{name}/x/y"):
        with pytest.raises(Refused, match=message):
            tree.lstat(at(place))
        with pytest.raises(Refused, match=message), tree.parent(at(place), create=create):
            pass


def test_junctions_are_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reparse point of Windows that leads elsewhere is refused; a cloud folder is none."""
    (tmp_path / "a").mkdir()
    root = PathDirectory(str(tmp_path))
    for tag, refused in ((0xA0000003, True), (0xA000000C, True), (0x9000001A, False), (0, False)):
        status = SimpleNamespace(st_mode=stat.S_IFDIR, st_reparse_tag=tag)
        monkeypatch.setattr(os, "lstat", lambda *_, status=status, **__: status)
        if refused:
            with pytest.raises(Refused, match="symlink"):
                root.child("a", create=False)
        else:
            root.child("a", create=False)


def test_folders_are_made_on_demand(tree: Tree, tmp_path: Path) -> None:
    """A missing folder is made with `create`, and otherwise is an error of the system."""
    with pytest.raises(FileNotFoundError):
        tree.root.child("x", create=False)
    with pytest.raises(FileNotFoundError), tree.parent(at("x/y/z"), create=False):
        pass
    assert not (tmp_path / "out/x").exists()
    with tree.parent(at("x/y/z"), create=True) as parent:
        write(parent, "z")
        assert parent.path == str(tmp_path / "out/x/y")
    assert (tmp_path / "out/x/y/z").read_bytes() == b"new"
    with tree.parent(at("top"), create=True) as parent:
        assert parent is tree.root


def test_replace_moves_over_symlinks(tree: Tree, tmp_path: Path) -> None:
    """A file takes a name, in another folder too; what a symlink there led to stays."""
    (tmp_path / "out/a/link").symlink_to(tmp_path / "outside/secret")
    with tree.root.child("a", create=False) as target:
        tree.root.replace("file", target, "link")
    assert not (tmp_path / "out/a/link").is_symlink()
    assert (tmp_path / "out/a/link").read_text() == "mine"
    assert not (tmp_path / "out/file").exists()


def test_names_are_removed(tree: Tree, tmp_path: Path) -> None:
    """A symlink goes itself; an absent name may be no error; folders go when empty."""
    (tmp_path / "out/link").symlink_to(tmp_path / "outside/secret")
    assert sorted(tree.root.listdir()) == ["a", "file", "link"]
    tree.root.unlink("link")
    tree.root.unlink("link")
    with pytest.raises(FileNotFoundError):
        tree.root.unlink("link", missing_ok=False)
    with tree.root.child("a", create=False) as below:
        below.rmdir("b")
    tree.root.rmdir("a")
    assert tree.root.listdir() == ["file"]
    with pytest.raises(NotADirectoryError):
        tree.root.rmdir("file")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "../outside"])
def test_names_are_single_components(tree: Tree, name: str) -> None:
    """No name leads out of its folder, whoever asks."""
    root = tree.root
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
    """Where paths are joined, the system's own separators count too, as in `C:x`."""
    monkeypatch.setattr(os.path, "basename", lambda name: name.rpartition(":")[2])
    with pytest.raises(ValueError, match="'C:x' is not one path component"):
        PathDirectory(str(tmp_path)).lstat("C:x")


def test_sync_asks_for_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is synced where possible; a failing disk is told, a simple file system is not."""
    synced: list[int] = []
    answers = iter([0, errno.EINVAL, errno.ENOTSUP, errno.EIO])

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        if number := next(answers):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with Tree(str(tmp_path)) as tree:
        for _ in range(3):
            tree.root.sync()
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            tree.root.sync()
    PathDirectory(str(tmp_path)).sync()
    assert synced == [tmp_path.stat().st_ino] * 4


def test_closed_folders_do_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was closed fails, and does not act on the current folder instead."""
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


def swap(tmp_path: Path) -> None:
    """Put a symlink to the outside where the folder `a` was."""
    (tmp_path / "out/a").rename(tmp_path / "out/moved")
    (tmp_path / "out/a").symlink_to(tmp_path / "outside")


def test_swapped_folders_lead_nowhere_else(tree: Tree, tmp_path: Path, kind: str) -> None:
    """A symlink put in the place of a folder in use is never followed."""
    (tmp_path / "outside/b").mkdir()
    with (
        tree.parent(at("a/b/x"), create=False) as parent,
        tree.parent(at("a/x"), create=False) as above,
    ):
        swap(tmp_path)
        attempts: list[Callable[[], object]] = [
            lambda: write(parent, "x"),
            lambda: parent.replace("x", parent, "y"),
            lambda: parent.child("c", create=True).close(),
            lambda: parent.lstat("x"),
            lambda: parent.listdir(),
            lambda: above.child("b", create=True).close(),
            lambda: tree.root.replace("file", parent, "z"),
        ]
        for attempt in attempts:
            if kind == "descriptors":
                attempt()
            else:
                with pytest.raises(Refused, match="out/a is a symlink"):
                    attempt()
    if kind == "descriptors":
        assert sorted(os.listdir(tmp_path / "out/moved/b")) == ["c", "y", "z"]
    assert os.listdir(tmp_path / "outside/b") == []
    (tmp_path / "outside/b").rmdir()


@pytest.mark.parametrize(("step", "landed"), [(0, None), (1, "moved/b/x"), (2, "moved/b/x")])
def test_folders_swapped_between_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, landed: str | None
) -> None:
    """Whenever the swap comes, the file lands in the folder that was there, or nowhere."""
    (tmp_path / "out/a/b").mkdir(parents=True)
    (tmp_path / "outside/b").mkdir(parents=True)
    steps, real_open = iter(range(9)), os.open

    def open_after_swap(*args: object, **options: object) -> int:
        if next(steps) == step:
            swap(tmp_path)
        return real_open(*args, **options)  # type: ignore[arg-type]

    with Tree(str(tmp_path / "out")) as tree:
        monkeypatch.setattr(os, "open", open_after_swap)
        try:
            with tree.parent(at("a/b/x"), create=True) as parent:
                write(parent, "x")
        except Refused:
            assert landed is None
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == ([] if landed is None else [tmp_path / "out" / landed])


def test_tree_looks_at_places(tree: Tree) -> None:
    """A place is there, or it or a folder above it is not."""
    found = [tree.lstat(at(text)) for text in ("file", "a/b", "a/x", "x/y/z", "a/b/c/d")]
    assert [status is not None for status in found] == [True, True, False, False, False]


def test_the_output_folder_may_be_a_symlink(tmp_path: Path, kind: str) -> None:
    """The user named it, so it is followed, absolute or not."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with Tree.open(str(tmp_path / "link"), create=True) as tree:
        write(tree.root, "x")
        with tree.parent(at("a/y"), create=True) as parent:
            write(parent, "y")
    assert sorted(os.listdir(tmp_path / "real")) == ["a", "x"]


def test_the_output_folder_is_made(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `create` the output folder appears, folders above it included; it may be `.`."""
    Tree.open(str(tmp_path / "x/y"), create=True).close()
    Tree.open(str(tmp_path / "x/y"), create=False).close()
    monkeypatch.chdir(tmp_path / "x/y")
    with Tree.open(".", create=True) as tree:
        assert tree.root.listdir() == []


@pytest.mark.parametrize(
    ("name", "create", "message"),
    [
        ("file", True, "file is not a folder"),
        ("file", False, "file is not a folder"),
        ("dangling", True, "dangling is not a folder"),
        ("absent", False, "cannot open the folder .*absent: No such file"),
        ("file/x", True, "cannot open the folder .*file/x: Not a directory"),
        ("a\u202e", False, r"cannot open the folder .*a\\u202e: No such file"),
    ],
)
def test_a_bad_output_folder_is_named(
    tmp_path: Path, kind: str, name: str, create: bool, message: str
) -> None:
    """What is wrong with the output folder is said, and nothing is made."""
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("absent")
    with pytest.raises(LocalError, match=message):
        Tree.open(str(tmp_path / name), create=create)
    assert sorted(os.listdir(tmp_path)) == ["dangling", "file"]


def test_no_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses is a fault of this machine."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(LocalError, match="out: Permission denied"):
        Tree.open(str(tmp_path / "out"), create=True)


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("text", ["a/" * 100_000 + "x", f"{'n' * 250}/" * 17 + "x"])
def test_paths_that_no_program_could_open(tree: Tree, create: bool, text: str) -> None:
    """A path beyond what the system takes at once is its error, and nothing is made."""
    before = tree.root.listdir()
    with (
        pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)),
        tree.parent(at(text), create=create),
    ):
        pass
    assert tree.root.listdir() == before


@pytest.fixture
def bottomless(tmp_path: Path) -> Iterator[Path]:
    """A folder for trees deeper than the rmtree of Python 3.12, and so pytest's, can clear."""
    yield tmp_path
    subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)


def test_deep_paths_are_fine(bottomless: Path, descriptors: set[int]) -> None:
    """A path near the system's limit is no deeper than we can go."""
    place = at("a/" * 1500 + "x")
    with Tree(str(bottomless)) as tree:
        with tree.parent(place, create=True) as parent:
            write(parent, "x")
        assert tree.lstat(place) is not None
        assert (bottomless / str(place)).read_bytes() == b"new"
        assert len(descriptors) == 1 + MAX_CACHED


@pytest.mark.parametrize("call", ["open", "mkdir", "replace", "unlink"])
def test_a_folder_is_not_closed_under_who_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A thread that a signal left behind never meets another folder under the old number."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "there").write_bytes(name.encode())
    ours = folder.open_root(str(tmp_path / "ours"))
    theirs: list[Directory] = []
    real = getattr(os, call)

    def late(*args: object, **options: object) -> object:
        if not theirs:
            theirs.append(ours)
            ours.close()
            theirs[:] = [folder.open_root(str(tmp_path / "theirs"))]
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


def test_folders_stay_open(tmp_path: Path, descriptors: set[int]) -> None:
    """The folders used last need no opening; the one unused longest is closed first."""
    for number in range(MAX_CACHED + 1):
        (tmp_path / str(number)).mkdir()
    with Tree(str(tmp_path)) as tree:
        for number in range(MAX_CACHED):
            tree.lstat(at(f"{number}/x"))
        before = set(descriptors)
        tree.lstat(at("0/x"))
        assert descriptors == before
        tree.lstat(at(f"{MAX_CACHED}/x"))
        assert len(descriptors) == len(before)
        before = set(descriptors)
        tree.lstat(at("0/x"))
        tree.lstat(at(f"{MAX_CACHED}/x"))
        assert descriptors == before
        assert len(descriptors) == 1 + MAX_CACHED


def test_folders_in_use_are_not_closed(tmp_path: Path, descriptors: set[int]) -> None:
    """A folder that left the cache while in use works on, and is closed when it no longer is."""
    with Tree(str(tmp_path)) as tree:
        with tree.parent(at("held/x"), create=True) as first:
            for number in range(MAX_CACHED):
                with tree.parent(at(f"{number}/x"), create=True):
                    pass
            assert len(descriptors) == 2 + MAX_CACHED
            write(first, "x")
            with tree.parent(at("held/y"), create=False) as second:
                write(second, "y")
            assert len(descriptors) == 2 + MAX_CACHED
        assert len(descriptors) == 1 + MAX_CACHED
    assert sorted(os.listdir(tmp_path / "held")) == ["x", "y"]


@pytest.mark.parametrize("text", ["a/x", "x"])
def test_closing_waits_for_users(tmp_path: Path, descriptors: set[int], text: str) -> None:
    """A tree that is closed early lets those who hold a folder finish."""
    tree = Tree(str(tmp_path))
    with tree.parent(at(text), create=True) as parent:
        tree.close()
        write(parent, "x")
    tree.close()
    assert (tmp_path / text).read_bytes() == b"new"


def test_errors_leave_nothing_open(tmp_path: Path, descriptors: set[int]) -> None:
    """Folders are let go of when their user, or the way to them, fails."""
    (tmp_path / "file").touch()
    with Tree(str(tmp_path)) as tree:
        with pytest.raises(KeyError), tree.parent(at("a/b/x"), create=True):
            raise KeyError
        for text in ("a/b/absent/x", "x/y", "a/b/" + "n" * 255):
            assert tree.lstat(at(text)) is None
        with pytest.raises(Refused):
            tree.lstat(at("file/x"))


def test_two_threads_open_one_folder(
    tmp_path: Path, descriptors: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder that two threads open at once, one descriptor is kept."""
    enter, others = Directory.child, iter(["a/x"])

    def enter_second(directory: Directory, name: str, *, create: bool) -> Directory:
        for text in others:  # what another thread does in this instant
            shared.lstat(at(text))
        return enter(directory, name, create=create)

    (tmp_path / "a").mkdir()
    with Tree(str(tmp_path)) as shared:
        monkeypatch.setattr(Directory, "child", enter_second)
        with shared.parent(at("a/x"), create=False) as parent:
            write(parent, "x")
            assert len(descriptors) == 2


def test_many_threads(tmp_path: Path, descriptors: set[int]) -> None:
    """A hundred threads share the folders, more of them than are kept open, and all get theirs."""
    start = threading.Barrier(100)
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            start.wait()
            for number in range(10):
                place = at(f"d{(thread + number * 7) % 90}/e/{thread}-{number}")
                with shared.parent(place, create=True) as parent:
                    write(parent, place.name, str(place).encode())
                assert shared.lstat(place) is not None
        except BaseException as failure:
            failures.append(failure)

    with Tree(str(tmp_path)) as shared:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(descriptors) == 1 + MAX_CACHED
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 1000
    assert all(path.read_text() == path.relative_to(tmp_path).as_posix() for path in files)
