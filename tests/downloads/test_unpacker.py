"""For any archive, nothing outside its folder is touched, and nobody's file is lost."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from archives import archive, folder, link, member, pax, record
from fake_service import STATE
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sourcecraft_artifacts.choices import IfExists, Layout
from sourcecraft_artifacts.disk.entry import Entry
from sourcecraft_artifacts.disk.paths import safe_path
from sourcecraft_artifacts.downloads.output_folder import OutputFolder
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


@settings(max_examples=150, deadline=None)
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
            assert {verdict for _, verdict in verify(opened.path)} <= {"OK"}


def test_a_folder_of_any_depth() -> None:
    """As many nested folders as a path can have are unpacked, when they are new and later.

    The depth is above Python's recursion limit.
    """
    deep = "/".join("d" * 1100)
    with a_folder() as (home, opened):
        for body in (b"1", b"2"):
            name = pax(record("path", f"{deep}/a"))
            made = unpack(home, opened, archive(name, member("x", body)))
            assert made is not None
            assert opened.holds_members(safe_path("dist", portable=False), made)
        (home / "out/dist" / deep / "a").unlink()
        os.removedirs(home / "out/dist" / deep)  # rmtree goes no deeper than functions do


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
