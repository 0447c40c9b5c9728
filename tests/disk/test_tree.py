"""The output folder and its subfolders, with swapped folders and many threads."""

import errno
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from folders import OBSTACLES, laid_out, put_obstacles, write

from sourcecraft_artifacts.disk.directory import Directory, PathDirectory
from sourcecraft_artifacts.disk.paths import SafePath, safe_path
from sourcecraft_artifacts.disk.tree import MAX_CACHED, Tree
from sourcecraft_artifacts.errors import LocalError, Refused

pytestmark = pytest.mark.skipif(os.name == "nt", reason="makes symlinks")


def at(text: str) -> SafePath:
    """Return a place below the output folder."""
    return safe_path(text, portable=False)


@pytest.fixture
def tree(tmp_path: Path, kind: str) -> Iterator[Tree]:
    """Create an output folder with files."""
    with laid_out(tmp_path) as path, Tree(path) as tree:
        assert isinstance(tree.root, PathDirectory) == (kind == "paths")
        yield tree


@pytest.fixture
def descriptors() -> Iterator[set[int]]:
    """Return the descriptors that were opened; check that none is left."""
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


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(("name", "message"), OBSTACLES.items())
def test_the_way_leads_through_folders_alone(
    tree: Tree, tmp_path: Path, create: bool, name: str, message: str
) -> None:
    """A symlink above a place is not followed, even to the inside; a file there is named."""
    put_obstacles(tmp_path)
    for place in (f"{name}/x", f"{name}/x/y"):
        with pytest.raises(Refused, match=message):
            tree.lstat(at(place))
        with pytest.raises(Refused, match=message), tree.parent(at(place), create=create):
            pass


def test_the_folders_of_a_place_are_made_on_demand(tree: Tree, tmp_path: Path) -> None:
    """Missing folders are created with `create`, and otherwise an OSError."""
    with pytest.raises(FileNotFoundError), tree.parent(at("x/y/z"), create=False):
        pass
    assert not (tmp_path / "out/x").exists()
    with tree.parent(at("x/y/z"), create=True) as parent:
        write(parent, "z")
        assert parent.path == str(tmp_path / "out/x/y")
    assert (tmp_path / "out/x/y/z").read_bytes() == b"new"
    with tree.parent(at("top"), create=True) as parent:
        assert parent is tree.root


def swap(tmp_path: Path) -> None:
    """Replace the folder `a` by a symlink to the outside."""
    (tmp_path / "out/a").rename(tmp_path / "out/moved")
    (tmp_path / "out/a").symlink_to(tmp_path / "outside")


def test_swapped_folders_lead_nowhere_else(tree: Tree, tmp_path: Path, kind: str) -> None:
    """A symlink that replaces a folder in use is never followed."""
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
    """Whenever the swap happens, the file lands in the original folder, or nowhere."""
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
    """`lstat` tells whether a place exists, also if a folder above it is missing."""
    found = [tree.lstat(at(text)) for text in ("file", "a/b", "a/x", "x/y/z", "a/b/c/d")]
    assert [status is not None for status in found] == [True, True, False, False, False]


def test_the_output_folder_may_be_a_symlink(tmp_path: Path, kind: str) -> None:
    """An output folder that is a symlink is followed, as the user named it."""
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
    """With `create` the output folder and its parents are created; it may be `.`."""
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
        ("file/x", True, "cannot create the folder .*file/x: Not a directory"),
        ("a\u202e", False, r"cannot open the folder .*a\\u202e: No such file"),
    ],
)
def test_a_bad_output_folder_is_named(
    tmp_path: Path, kind: str, name: str, create: bool, message: str
) -> None:
    """The error says what is wrong with the output folder, and nothing is created."""
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("absent")
    with pytest.raises(LocalError, match=message):
        Tree.open(str(tmp_path / name), create=create)
    assert sorted(os.listdir(tmp_path)) == ["dangling", "file"]


def test_no_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A permission that is missing is a `LocalError`."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(LocalError, match=r"create the folder .*out: Permission denied") as caught:
        Tree.open(str(tmp_path / "out"), create=True)
    assert caught.value.hint == "choose another output folder"
    monkeypatch.setattr(Tree, "__init__", refuse)
    with pytest.raises(LocalError, match=r"open the folder .*: Permission denied") as caught:
        Tree.open(str(tmp_path), create=False)
    assert caught.value.hint == "check the permissions of the folder"


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("text", ["a/" * 100_000 + "x", f"{'n' * 250}/" * 17 + "x"])
def test_paths_that_no_program_could_open(tree: Tree, create: bool, text: str) -> None:
    """A path that is too long for the system is its error, and nothing is created."""
    before = tree.root.listdir()
    with (
        pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)),
        tree.parent(at(text), create=create),
    ):
        pass
    assert tree.root.listdir() == before


@pytest.fixture
def bottomless(tmp_path: Path) -> Iterator[Path]:
    """A folder for deep trees, which pytest cannot remove on Python 3.12."""
    yield tmp_path
    subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)


def test_deep_paths_are_fine(bottomless: Path, descriptors: set[int]) -> None:
    """A path near the system's limit can be created."""
    place = at("a/" * 1500 + "x")
    with Tree(str(bottomless)) as tree:
        with tree.parent(place, create=True) as parent:
            write(parent, "x")
        assert tree.lstat(place) is not None
        assert (bottomless / str(place)).read_bytes() == b"new"
        assert len(descriptors) <= 1 + MAX_CACHED


def test_folders_stay_open(tmp_path: Path, descriptors: set[int]) -> None:
    """Recently used folders stay open; the least recently used is closed first."""
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
        assert len(descriptors) <= 1 + MAX_CACHED


def test_folders_in_use_are_not_closed(tmp_path: Path, descriptors: set[int]) -> None:
    """A folder in use that leaves the cache is closed by its last user."""
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
        assert len(descriptors) <= 1 + MAX_CACHED
    assert sorted(os.listdir(tmp_path / "held")) == ["x", "y"]


@pytest.mark.parametrize("text", ["a/x", "x"])
def test_closing_waits_for_users(tmp_path: Path, descriptors: set[int], text: str) -> None:
    """When a tree is closed, folders in use stay open until they are released."""
    tree = Tree(str(tmp_path))
    with tree.parent(at(text), create=True) as parent:
        tree.close()
        write(parent, "x")
    tree.close()
    assert (tmp_path / text).read_bytes() == b"new"


def test_errors_leave_nothing_open(tmp_path: Path, descriptors: set[int]) -> None:
    """An error in a folder, or on the way to it, leaves no folder open."""
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
    """If two threads open a folder at once, one descriptor is kept."""
    enter, others = Directory.child, iter(["a/x"])

    def enter_second(directory: Directory, name: str, *, create: bool) -> Directory:
        for text in others:  # another thread does this at that moment
            shared.lstat(at(text))
        return enter(directory, name, create=create)

    (tmp_path / "a").mkdir()
    with Tree(str(tmp_path)) as shared:
        monkeypatch.setattr(Directory, "child", enter_second)
        with shared.parent(at("a/x"), create=False) as parent:
            write(parent, "x")
            assert len(descriptors) == 2


def test_many_threads(tmp_path: Path, descriptors: set[int]) -> None:
    """A hundred threads share more folders than are kept open."""
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
        assert len(descriptors) <= 1 + MAX_CACHED
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 1000
    assert all(path.read_text() == path.relative_to(tmp_path).as_posix() for path in files)
