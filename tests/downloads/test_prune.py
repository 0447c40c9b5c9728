"""Only unchanged files of this tool that the selection no longer lists are removed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from archives import archive, member
from fake_service import STATE
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from sourcecraft_artifacts.choices import Layout
from sourcecraft_artifacts.disk.entry import Entry
from sourcecraft_artifacts.downloads.output_folder import OutputFolder
from sourcecraft_artifacts.downloads.prune import outdated, prune
from sourcecraft_artifacts.downloads.unpacker import Unpacking
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress
from sourcecraft_artifacts.select import Selection
from sourcecraft_artifacts.service.address import Address

cubes = st.sampled_from(["x", "y"])
names = st.sampled_from(["a", "b", "c/d", "c/e"])
globs = st.sampled_from([(), (), (), (), ("a",), ("c/*",), ("**/e",)])


DISTURBANCES = ["bytes", "link", "gone", "touched"]


class Folder(RuleBasedStateMachine):
    """A folder in which runs, strangers and its owner leave files, and prunes remove some.

    `ours` has the places of unchanged files that runs put there, each with its artifact.
    """

    @initialize(
        items=st.lists(st.tuples(cubes, names, st.booleans()), min_size=2, max_size=5),
        how=st.lists(st.sampled_from(DISTURBANCES), max_size=3),
    )
    def begin(self, items: list[tuple[str, str, bool]], how: list[str]) -> None:
        """Download some artifacts, and change some of their files."""
        self.home = Path(tempfile.mkdtemp())
        self.ours: dict[str, tuple[str, str]] = {}
        self.count = 0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda descriptor: None)
        self.folder = OutputFolder(str(self.home), unpacking=Unpacking(layout=Layout.NESTED))
        self.folder.look()
        self.folder.prepare()
        for item in items:
            self.put(*item)
        for place, what in zip(sorted(self.ours), how, strict=False):
            self.spoil(place, what)

    def entry(self, cube: str, name: str, body: bytes) -> Entry:
        """Return the entry that a download of these bytes records."""
        self.count += 1
        address = CubeAddress("o/r", str(self.count), "w", "t", cube)
        digest = hashlib.sha256(body).hexdigest()
        return Entry(address, name, ArtifactDates(str(self.count)), len(body), digest, self.count)

    @rule(cube=cubes, name=names, unpacked=st.booleans())
    def run(self, cube: str, name: str, unpacked: bool) -> None:
        """A run puts an artifact there, as a file or as a folder of two."""
        self.put(cube, name, unpacked)

    def put(self, cube: str, name: str, unpacked: bool) -> None:
        """Put an artifact where nothing is yet."""
        key, top = f"w/t/{cube}/{name}", self.home / "w/t" / cube / name
        if any(place.startswith(f"{key}/") for place in self.ours) or os.path.lexists(top):
            return
        if unpacked:
            body = archive(member("p", b"%d" % self.count), member("q/r", b"2"))
            (self.home / "body").write_bytes(body)
            entry = self.entry(cube, name, body)
            artifact = Artifact(entry.address, name, "success", entry.dates)
            descriptor = os.open(self.home / "body", os.O_RDONLY)
            partial = self.folder._partial
            assert partial is not None
            self.folder.unpacker.unpack(
                entry, artifact, key, descriptor, partial, "s-x", lambda stage: None
            )
            os.close(descriptor)
            (self.home / "body").unlink()
            self.ours |= {f"{key}/p": (cube, name), f"{key}/q/r": (cube, name)}
            return
        body = b"%d" % self.count
        top.parent.mkdir(parents=True, exist_ok=True)
        top.write_bytes(body)
        os.utime(top, ns=(self.count, self.count + 1))
        self.folder.manifest.settled(key, self.entry(cube, name, body))
        self.ours[key] = (cube, name)

    @rule(data=st.data(), how=st.sampled_from(DISTURBANCES))
    def disturb(self, data: st.DataObject, how: str) -> None:
        """Somebody changes a file, puts a link in its place, removes it, or only touches it."""
        if self.ours:
            self.spoil(data.draw(st.sampled_from(sorted(self.ours))), how)

    def spoil(self, place: str, how: str) -> None:
        """Change the file in this way."""
        path = self.home / place
        if how == "touched":
            path.touch()
            return
        del self.ours[place]
        path.unlink()
        if how == "bytes":
            path.write_bytes(b"changed")
        elif how == "link":
            path.symlink_to("/etc/hostname")

    @rule(cube=cubes, name=st.sampled_from(["mine", "c/mine", "a/mine"]))
    def strange(self, cube: str, name: str) -> None:
        """A stranger's file appears between ours."""
        path = self.home / "w/t" / cube / name
        if path.parent.is_dir():
            path.write_bytes(b"a stranger's")

    @rule(
        cube=st.sampled_from(["x", "y", None, "*"]),
        include=globs,
        exclude=globs,
        layout=st.sampled_from([*[Layout.NESTED] * 4, Layout.MIRROR]),
        kept=st.sets(
            st.tuples(cubes, names).map(lambda pair: f"w/t/{pair[0]}/{pair[1]}"), max_size=1
        ),
        dry_run=st.sampled_from([False, False, False, True]),
    )
    def prune(
        self,
        cube: str | None,
        include: tuple[str, ...],
        exclude: tuple[str, ...],
        layout: Layout,
        kept: set[str],
        dry_run: bool,
    ) -> None:
        """Exactly the files that are ours, covered and not kept are removed."""
        selection = Selection(include, exclude)
        self.folder.unpacker.owners.current = kept
        before = self.files()
        entries = outdated(
            list(self.folder.entries()),
            Address("o/r", "9", "w", None, cube),
            selection,
            layout,
            kept,
        )
        prune(self.folder, list(entries), dry_run=dry_run)
        expected = {
            place
            for place, (whose, name) in self.ours.items()
            if cube in (whose, None, "*")
            and selection.matches(name)
            and layout is Layout.NESTED
            and f"w/t/{whose}/{name}" not in kept
        }
        gone = before - self.files()
        assert gone == (set() if dry_run else expected)
        for place in gone:
            del self.ours[place]

    def files(self) -> set[str]:
        """Return all files and links, without the state folder."""
        found = (path for path in self.home.rglob("*") if path.is_symlink() or path.is_file())
        places = {path.relative_to(self.home).as_posix() for path in found}
        return {place for place in places if not place.startswith(STATE)}

    def teardown(self) -> None:
        """Remove everything."""
        self.folder.__exit__()
        self.patch.undo()
        shutil.rmtree(self.home)


Folder.TestCase.settings = settings(max_examples=40, stateful_step_count=12)
TestFolder = Folder.TestCase


@pytest.mark.parametrize(
    ("listed", "key", "is_outdated"),
    [
        ("Notes.txt", "notes.txt", False),
        ("\u00c9t\u00e9", "e\u0301te\u0301", False),
        ("stra\u00dfe", "STRASSE", False),
        ("notes.txt", "note.txt", True),
    ],
)
def test_a_name_that_may_be_one_that_is_listed_stays(
    listed: str, key: str, is_outdated: bool
) -> None:
    """A name that differs from a listed one only by case stays, as it may be the same file."""
    address = CubeAddress("o/r", "1", "w", "t", "x")
    entry = Entry(address, key, ArtifactDates("1"), 1, "0" * 64, 1)
    asked = Address("o/r", "9", "w", None, None)
    found = outdated([(key, entry)], asked, Selection(), Layout.MIRROR, {listed})
    assert [one for one, _ in found] == [key] * is_outdated
