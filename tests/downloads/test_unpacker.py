"""For any archive, nothing outside its folder is touched, and nobody's file is lost."""

from __future__ import annotations

import errno
import inspect
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from archives import archive, folder, link, member, pax, record
from fake_service import STATE
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sourcecraft_artifacts.choices import IfExists, Layout
from sourcecraft_artifacts.disk.aside import Aside
from sourcecraft_artifacts.disk.directory import Directory, open_root
from sourcecraft_artifacts.disk.entry import Entry
from sourcecraft_artifacts.disk.leftovers import remove_folder
from sourcecraft_artifacts.disk.paths import safe_path
from sourcecraft_artifacts.downloads.output_folder import OutputFolder
from sourcecraft_artifacts.downloads.plan import plan
from sourcecraft_artifacts.downloads.unpacker import Unpacking
from sourcecraft_artifacts.downloads.verify import verify
from sourcecraft_artifacts.errors import ArtifactsError, Cancelled
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress

ARTIFACT = Artifact(CubeAddress("o/r", "1", "w", "t", "c"), "dist", "success", ArtifactDates())


def seen(root: Path) -> dict[str, str | bytes | None]:
    """Return the content below a folder: bytes of files, targets of links, None for folders."""
    found: dict[str, str | bytes | None] = {}
    for path in root.rglob("*"):
        place = path.relative_to(root).as_posix()
        if STATE in place.split("/"):
            continue
        if path.is_symlink():
            found[place] = str(path.readlink())
        else:
            found[place] = None if path.is_dir() else path.read_bytes()
    return found


@pytest.fixture(autouse=True, scope="module")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Do not sync the hundreds of folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@contextmanager
def a_folder(rule: IfExists = IfExists.UPDATE) -> Iterator[tuple[Path, OutputFolder]]:
    """Create an output folder beside files that nobody may touch."""
    home = Path(tempfile.mkdtemp())
    try:
        (home / "out/dist").mkdir(parents=True)
        (home / "secret").write_bytes(b"secret")
        unpacking = Unpacking(True, Layout.MIRROR, rule)
        with OutputFolder(str(home / "out"), unpacking=unpacking) as opened:
            opened.prepare()
            yield home, opened
    finally:
        shutil.rmtree(home)


def unpack(home: Path, opened: OutputFolder, body: bytes) -> Entry | None:
    """Unpack an archive as a download of `dist` does."""
    (home / "body").write_bytes(body)
    entry = Entry(ARTIFACT.address, "dist", ARTIFACT.dates, len(body), "0" * 64, 0)
    descriptor = os.open(home / "body", os.O_RDONLY)
    assert opened._partial is not None
    try:
        return opened.unpacker.unpack(
            entry, ARTIFACT, "dist", descriptor, opened._partial, "stem-x", lambda stage: None
        )
    finally:
        os.close(descriptor)
        (home / "body").unlink()


INSIDE = ["a", "b", "a/b", "b/a", "a/b/a", "dist/a", "dist/b/a", "A", ".", "./a", "a/./b", "x"]
OUTSIDE = ["../a", "a/../../x", "/a", "../secret", f"{STATE}/x"]
names = st.sampled_from([*INSIDE, *OUTSIDE])
targets = st.sampled_from(["a", "b", "..", "../..", "../../secret", "/etc", ".", "a/..", "../a"])
members = st.lists(
    st.one_of(
        st.builds(lambda name, body: member(name, body), names, st.binary(max_size=3)),
        st.builds(folder, names),
        st.builds(link, names, targets),
        st.builds(lambda name, target: link(name, target, b"1"), names, names),
    ),
    max_size=5,
)
strangers = st.dictionaries(st.sampled_from(["a", "b", "c/a"]), st.binary(max_size=3), max_size=2)


@settings(max_examples=150)
@given(strangers, st.lists(members, min_size=1, max_size=3), st.sampled_from(IfExists))
@example({"a": b"1"}, [[member("a/b", b"2")], [member("a", b"3")]], IfExists.UPDATE)
@example({}, [[member("a/b", b"2")], [member("a", b"3")]], IfExists.UPDATE)
@example({}, [[member("b/a/b", b"2")], [member("x", b"3")], [member("b", b"4")]], IfExists.UPDATE)
@example({}, [[folder("a"), folder("a/b")], [member("a", b"2")]], IfExists.SKIP)
def test_nothing_of_others_is_lost(
    theirs: dict[str, bytes], versions: list[list[bytes]], rule: IfExists
) -> None:
    """A refused archive changes nothing, an accepted one is complete; strangers' files stay."""
    with a_folder(rule) as (home, opened):
        for name, body in theirs.items():
            (home / "out/dist" / name).parent.mkdir(exist_ok=True)
            (home / "out/dist" / name).write_bytes(body)
        mine: set[str] = set()
        for version in versions:
            before = seen(home)
            try:
                made = unpack(home, opened, archive(*version))
            except ArtifactsError:
                assert seen(home) == before
                continue
            after = seen(home)
            assert made is not None
            assert made.members is not None
            mine = {f"dist/{path}".rstrip("/") for path in made.members} | {"dist"}
            assert {place for place in after if not place.startswith("out")} == {"secret"}
            assert after["secret"] == b"secret"
            for name, body in theirs.items():
                if rule is not IfExists.OVERWRITE:
                    assert after[f"out/dist/{name}"] == body
            assert {f"out/{place}" for place in mine} <= after.keys()
        if opened.manifest.get("dist") is not None:
            opened.finish(complete=True)
            assert {checked.state for checked in verify(opened.path)} <= {"OK"}


def test_a_folder_of_any_depth(request: pytest.FixtureRequest) -> None:
    """More nested folders than the recursion limit are unpacked, when they are new and later."""
    deep = "/".join("d" * 300)
    request.addfinalizer(partial(sys.setrecursionlimit, sys.getrecursionlimit()))
    sys.setrecursionlimit(len(inspect.stack()) + 200)
    with a_folder() as (home, opened):
        for body in (b"1", b"2"):
            name = pax(record("path", f"{deep}/a"))
            made = unpack(home, opened, archive(name, member("x", body)))
            assert made is not None
            assert opened.holds_members(safe_path("dist", portable=False), made)
        (home / "out/dist" / deep / "a").unlink()
        os.removedirs(home / "out/dist" / deep)  # rmtree goes no deeper than functions do


def test_a_path_that_is_too_long() -> None:
    """It is refused before any of its folders is made."""
    name = pax(record("path", "/".join("d" * 3000)))
    with a_folder() as (home, opened):
        with pytest.raises(OSError, match="too long"):
            unpack(home, opened, archive(name, member("x")))
        assert seen(home / "out/dist") == {}


@pytest.mark.parametrize("stop", range(1, 9))
def test_called_off_in_the_middle(stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in place when it is cancelled are recorded as ours, and the next call completes it."""
    body = archive(*(member(f"d-{number}/a", b"new") for number in range(5)))
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise Cancelled

    with a_folder() as (home, opened):
        unpack(home, opened, archive(member("d-0/a", b"old"), member("gone", b"old")))
        with monkeypatch.context() as patch, suppress(Cancelled):
            patch.setattr(opened.unpacker, "check", check)
            unpack(home, opened, body)
        opened.__exit__()
        with OutputFolder(opened.path, unpacking=Unpacking()) as again:
            again.prepare()
            unpack(home, again, body)
            again.finish(complete=True)
        files = {place: what for place, what in seen(home / "out/dist").items() if what}
        assert files == {f"d-{number}/a": b"new" for number in range(5)}


def test_new_folders_are_moved_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that does not exist yet comes by one rename, whatever is in it."""
    moved: list[str] = []
    real = os.replace
    with a_folder() as (home, opened):
        (home / "out/dist/old").mkdir()
        inside = ("old", "new", "new/deep", "old/deep/er", "new/deep/er")
        body = archive(*(member(f"{one}/{n}", b"1") for one in inside for n in "123"))

        def replace(source: str, target: str, **options: int) -> None:
            moved.append(target)
            real(source, target, **options)

        monkeypatch.setattr(os, "replace", replace)
        made = unpack(home, opened, body)
        assert made is not None
        assert len([path for path in (home / "out/dist").rglob("*") if path.is_file()]) == 15
    placed = [one for one in moved if not one.startswith("moved-")]  # not what is removed
    assert sorted(placed) == ["1", "2", "3", "deep", "new"]


def test_a_new_artifact_comes_by_one_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its files are at the top of the archive or in a folder of its name."""
    moved: list[str] = []
    real = os.replace

    def replace(source: str, target: str, **options: int) -> None:
        moved.append(target)
        real(source, target, **options)

    for prefix in ("", "dist/"):
        with a_folder() as (home, opened), monkeypatch.context() as patch:
            (home / "out/dist").rmdir()
            patch.setattr(os, "replace", replace)
            names = ("a", "b/c", "b/d/e")
            unpack(home, opened, archive(*(member(f"{prefix}{name}", b"1") for name in names)))
            assert seen(home / "out/dist").keys() == {*names, "b", "b/d"}
    assert moved == ["dist", "dist"]


def test_a_folder_that_appears_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody makes a folder while it is unpacked, the files are put beside theirs."""
    with a_folder() as (home, opened):

        def appears(aside: Aside) -> None:
            (home / "out/dist/lib/deep").mkdir(parents=True)
            (home / "out/dist/lib/theirs").write_bytes(b"theirs")
            (home / "out/dist/lib/deep/theirs").write_bytes(b"theirs")

        monkeypatch.setattr(Aside, "sync", appears)
        body = archive(member("lib/a", b"1"), member("lib/deep/b", b"2"), member("lib/new/c", b"3"))
        unpack(home, opened, body)
        files = {name: body for name, body in seen(home / "out/dist").items() if body is not None}
        ours: dict[str, str | bytes] = {"lib/a": b"1", "lib/deep/b": b"2", "lib/new/c": b"3"}
        assert files == {**ours, "lib/theirs": b"theirs", "lib/deep/theirs": b"theirs"}


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_that_appears_in_the_place_of_a_folder(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If somebody puts a file or a link there while it is unpacked, theirs stays."""
    with a_folder() as (home, opened):
        place = home / "out/dist/lib"

        def appears(aside: Aside) -> None:
            place.symlink_to(home) if kind == "link" else place.write_bytes(b"theirs")

        monkeypatch.setattr(Aside, "sync", appears)
        with pytest.raises(ArtifactsError):
            unpack(home, opened, archive(member("lib/a", b"1")))
        assert seen(home / "out/dist") == {"lib": str(home) if kind == "link" else b"theirs"}
        assert not (home / "a").exists()


def test_a_folder_on_another_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files reach a mounted folder as copies, of which nothing is left; a full disk leaves none."""
    real, full = os.replace, os.write

    def replace(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if src_dir_fd != dst_dir_fd:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    with a_folder() as (home, opened):
        monkeypatch.setattr(os, "replace", replace)
        (home / "out/dist/.a").write_bytes(b"theirs")
        body = archive(member("a", b"1", mode=0o600), member("lib/b", b"2" * 999), link("c", "a"))
        made = unpack(home, opened, body)
        files = {name: body for name, body in seen(home / "out/dist").items() if name != "lib"}
        assert files == {".a": b"theirs", "a": b"1", "c": "a", "lib/b": b"2" * 999}
        assert made is not None
        assert opened.unpacker.owners.is_whole("dist", made)

        def no_space(descriptor: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Aside, "sync", lambda _: monkeypatch.setattr(os, "write", no_space))
        with pytest.raises(OSError, match="No space"):
            unpack(home, opened, archive(member("new", b"3")))
        monkeypatch.setattr(os, "write", full)
        assert seen(home / "out/dist").keys() == {".a", "a", "c", "lib", "lib/b"}


@pytest.mark.parametrize("rule", IfExists)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_killed_run_is_completed_under_any_rule(
    count: int, rule: IfExists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed run put in place is no reason to refuse the rest, even with `error`."""
    body = archive(*(member(f"{name}/x", name.encode()) for name in "abc"))
    left, real = list(range(count)), Aside.move_folder

    def move_folder(aside: Aside, path: str, target: Directory, name: str) -> bool:
        if not left:
            raise Cancelled
        left.pop()
        return real(aside, path, target, name)

    with a_folder(rule) as (home, opened):
        with monkeypatch.context() as patch:
            patch.setattr(Aside, "move_folder", move_folder)
            patch.setattr(opened.unpacker.owners, "settle", Mock(side_effect=Cancelled))
            with pytest.raises(Cancelled):
                unpack(home, opened, body)
        opened.manifest.close()
        del opened.manifest  # so that it is read again
        (step,) = plan([ARTIFACT], opened, layout=Layout.MIRROR, if_exists=rule, unpack=True)
        if step.fetches:
            unpack(home, opened, body)
        assert step.fetches or count == 3
        files = {place: body for place, body in seen(home / "out/dist").items() if body}
        assert files == {"a/x": b"a", "b/x": b"b", "c/x": b"c"}


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_killed_update_is_completed(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version whose members have the sizes and times of the older ones is not taken for them."""
    versions = [archive(*(member(f"{name}/x", body) for name in "abc")) for body in (b"1", b"2")]
    left, real = list(range(count)), Aside.move_file

    def move_file(aside: Aside, folder: Directory, name: str, target: Directory) -> None:
        if not left:
            raise Cancelled
        left.pop()
        real(aside, folder, name, target)

    with a_folder() as (home, opened):
        unpack(home, opened, versions[0])
        opened.manifest.save()
        with monkeypatch.context() as patch:
            patch.setattr(Aside, "move_file", move_file)
            patch.setattr(opened.unpacker.owners, "settle", Mock(side_effect=Cancelled))
            with pytest.raises(Cancelled):
                unpack(home, opened, versions[1])
        opened.manifest.close()
        del opened.manifest  # so that it is read again
        (step,) = plan([ARTIFACT], opened, layout=Layout.MIRROR, unpack=True)
        if step.fetches:
            unpack(home, opened, versions[1])
        assert step.fetches or count == 3
        files = {place: body for place, body in seen(home / "out/dist").items() if body}
        assert files == {"a/x": b"2", "b/x": b"2", "c/x": b"2"}


def test_names_that_the_disk_takes_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk folds names that are not expected to be one, the archive is refused."""
    real = os.open

    def folding(path: str, *args: int, **options: int) -> int:
        return real(path.lower() if path == "README" else path, *args, **options)

    with a_folder() as (home, opened):
        monkeypatch.setattr(os, "open", folding)
        with pytest.raises(ArtifactsError, match="README in it differs from another only by case"):
            unpack(home, opened, archive(member("readme", b"1"), member("README", b"2")))
        assert seen(home / "out/dist") == {}


@pytest.mark.skipif(os.name == "nt", reason="has no such modes")
@pytest.mark.parametrize("mode", [0o000, 0o200, 0o100])
def test_files_that_their_owner_may_not_read(mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are synced and copied for hard links all the same, and keep their modes."""
    real = os.open

    def as_nobody(path: str, flags: int, *args: int, **options: int) -> int:
        if not flags & os.O_WRONLY and os.path.basename(path) in ("a", "b"):
            found = os.lstat(path, dir_fd=options.get("dir_fd"))
            if not found.st_mode & 0o400:
                raise PermissionError(13, "Permission denied")
        return real(path, flags, *args, **options)

    with a_folder() as (home, opened):
        monkeypatch.setattr(os, "open", as_nobody)
        hard = link("b", "a", b"1")
        unpack(home, opened, archive(member("a", b"1", mode=mode), hard))
        for name in "ab":
            assert (home / "out/dist" / name).stat().st_mode & 0o777 == mode


def test_what_a_loss_of_power_leaves_aside_is_removed(tmp_path: Path) -> None:
    """Folders in one another, deeper than a path may be long, and files and links are removed."""
    aside = tmp_path / "x.tree"
    aside.mkdir()
    (aside / "1").mkdir()
    (aside / "1/a").write_bytes(b"1")
    (aside / "1/link").symlink_to(tmp_path)
    (aside / "moved-0/deep").mkdir(parents=True)
    (tmp_path / "kept").write_bytes(b"kept")
    with open_root(str(aside / "1")) as top:
        for _ in range(1200):
            with top.child("deep", create=True) as below, suppress(FileNotFoundError):
                top.replace("next", below, "deep")
            top.replace("deep", top, "next")
    with open_root(str(tmp_path)) as above:
        remove_folder(above, "x.tree")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
