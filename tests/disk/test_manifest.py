"""The manifest, and the journal until the manifest is written."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sourcecraft_artifacts.disk.directory import Directory, open_root
from sourcecraft_artifacts.disk.entry import Entry
from sourcecraft_artifacts.disk.journal import JOURNAL
from sourcecraft_artifacts.disk.manifest import MANIFEST, Manifest
from sourcecraft_artifacts.errors import Refused
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress

ADDRESS = CubeAddress("org/repo", "7", "ci", "build", "linux")
DATES = ArtifactDates("2026-11-01T10:00:00Z", None, "2026-11-01T10:02:00Z")
ENTRY = Entry(ADDRESS, "a/b.txt", DATES, 5, "ab" * 32, 1_700_000_000_123_456_789, '"v1"')
OTHER = ENTRY._replace(size=6, sha256="cd" * 32, validator=None)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    """Open a state folder."""
    with open_root(str(tmp_path)) as directory:
        yield directory


@pytest.fixture
def saved(directory: Directory, tmp_path: Path) -> Path:
    """Create a state folder whose manifest has one entry, `a/b.txt`."""
    manifest = Manifest(directory)
    manifest.intend({"a/b.txt": ENTRY})
    manifest.placed("a/b.txt")
    manifest.save()
    return tmp_path


def names(path: Path) -> list[str]:
    """Return the names in the folder."""
    return sorted(one.name for one in path.iterdir())


def test_without_a_folder_nothing_is_known() -> None:
    """A missing output folder has no entries, and saving writes nothing."""
    manifest = Manifest(None)
    assert (manifest.get("a"), manifest.exists, manifest.damaged) == (None, False, False)
    manifest.save()
    manifest.close()


def test_what_is_saved_is_read(directory: Directory, saved: Path) -> None:
    """Saving leaves only the manifest, with the documented fields."""
    assert names(saved) == [MANIFEST]
    manifest = Manifest(directory)
    assert manifest.get("a/b.txt") == ENTRY
    assert (list(manifest.places()), manifest.exists) == (["a/b.txt"], True)
    assert not manifest.was_only_intended("a/b.txt")
    value = json.loads((saved / MANIFEST).read_bytes())
    assert value["schema_version"] == 1
    assert value["files"]["a/b.txt"].items() >= {
        ("repo", "org/repo"),
        ("run", "7"),
        ("workflow", "ci"),
        ("task", "build"),
        ("cube", "linux"),
        ("local_path", "a/b.txt"),
        ("size", 5),
        ("sha256", "ab" * 32),
        ("validator", '"v1"'),
    }
    assert value["files"]["a/b.txt"]["dates"] == {
        "registered_at": "2026-11-01T10:00:00Z",
        "obtained_at": None,
        "updated_at": "2026-11-01T10:02:00Z",
    }


def test_nothing_new_is_not_written_again(directory: Directory, saved: Path) -> None:
    """A run that changed nothing does not write the manifest."""
    before = (saved / MANIFEST).stat().st_ino
    manifest = Manifest(directory)
    manifest.save()
    manifest.close()
    assert (saved / MANIFEST).stat().st_ino == before


def test_a_touched_file_is_recorded_with_its_time(directory: Directory, saved: Path) -> None:
    """A new modification time is saved, so that the file is not hashed in each run."""
    manifest = Manifest(directory)
    manifest.renewed("a/b.txt", ENTRY, 42)
    assert names(saved) == [MANIFEST]
    manifest.save()
    assert Manifest(directory).get("a/b.txt") == ENTRY._replace(mtime_ns=42)


@pytest.mark.parametrize(
    ("artifact", "same"),
    [
        (Artifact(ADDRESS, "a/b.txt", "success", DATES), True),
        (Artifact(ADDRESS, "a/b.txt", "failed", DATES, "id", "https://x/y"), True),
        (Artifact(ADDRESS, "a/c.txt", "success", DATES), False),
        (Artifact(ADDRESS._replace(run="8"), "a/b.txt", "success", DATES), False),
        (Artifact(ADDRESS, "a/b.txt", "success", DATES._replace(updated_at=None)), False),
        (Artifact(ADDRESS, "a/b.txt", "success", ArtifactDates()), False),
    ],
)
def test_an_entry_is_of_one_address_path_and_date(artifact: Artifact, same: bool) -> None:
    """URL and status do not decide whether a file is up to date."""
    assert ENTRY.is_of(artifact) is same


# The journal.


def intended(directory: Directory, *places: str, entry: Entry = ENTRY) -> None:
    """Let a run write an intention to the journal, and kill it."""
    manifest = Manifest(directory)
    for place in places:
        manifest.intend({place: entry})
    manifest.close()


def test_a_killed_run_is_remembered(directory: Directory, tmp_path: Path) -> None:
    """An intention is on disk before the file gets its name, and is marked as uncertain."""
    intended(directory, "a", "б/в")
    assert names(tmp_path) == [JOURNAL]
    manifest = Manifest(directory)
    assert (manifest.get("a"), manifest.get("б/в")) == (ENTRY, ENTRY)
    assert manifest.was_only_intended("a")
    assert not manifest.was_only_intended("c")
    assert manifest.exists


def test_an_intention_is_synced_before_it_counts(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When `intend` returns, its line is synced; one fsync may serve several."""
    covered: list[int] = []
    real = os.fsync

    def spy(descriptor: int) -> None:
        real(descriptor)
        covered.append((tmp_path / JOURNAL).stat().st_size)

    monkeypatch.setattr(os, "fsync", spy)
    manifest = Manifest(directory)
    sizes: list[bool] = []

    def intend(number: int) -> None:
        manifest.intend({f"file-{number}": ENTRY})
        text = (tmp_path / JOURNAL).read_bytes()[: max(covered)]
        sizes.append(f'"file-{number}"'.encode() in text)

    threads = [threading.Thread(target=intend, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [True] * 32
    manifest.close()
    assert len(list(Manifest(directory).places())) == 32


def test_the_last_line_for_a_place_counts(directory: Directory) -> None:
    """Of several lines for a place, the last one counts."""
    intended(directory, "a")
    intended(directory, "a", entry=OTHER)
    manifest = Manifest(directory)
    assert manifest.get("a") == OTHER
    assert manifest.was_only_intended("a")


def test_a_replacement_of_ours_is_no_doubt(directory: Directory, saved: Path) -> None:
    """If a file of ours was in place before, the file that a killed run left there is ours."""
    intended(directory, "a/b.txt", entry=OTHER)
    manifest = Manifest(directory)
    assert manifest.get("a/b.txt") == OTHER
    assert not manifest.was_only_intended("a/b.txt")


def test_a_journal_ends_in_the_manifest(directory: Directory, tmp_path: Path) -> None:
    """The next run that succeeds moves the journal into the manifest, and removes it."""
    intended(directory, "a")
    manifest = Manifest(directory)
    manifest.intend({"b": OTHER})
    manifest.save()
    assert names(tmp_path) == [MANIFEST]
    again = Manifest(directory)
    assert (again.get("a"), again.get("b")) == (ENTRY, OTHER)
    again.intend({"c": ENTRY})
    again.save()
    assert names(tmp_path) == [MANIFEST]
    assert Manifest(directory).get("c") == ENTRY


def test_a_doubt_outlives_runs_of_other_files(directory: Directory) -> None:
    """A place that a killed run may not have written stays uncertain in later runs."""
    intended(directory, "a")
    for _ in range(2):
        manifest = Manifest(directory)
        assert manifest.was_only_intended("a")
        manifest.intend({"b": ENTRY})
        manifest.save()
    assert Manifest(directory).was_only_intended("a")
    assert Manifest(directory).get("a") == ENTRY
    manifest = Manifest(directory)
    manifest.renewed("a", ENTRY, 42)
    manifest.save()
    assert not Manifest(directory).was_only_intended("a")


def test_a_file_that_found_no_place_stays_in_doubt(directory: Directory) -> None:
    """An intention whose move failed in this run stays uncertain too."""
    manifest = Manifest(directory)
    for place in ("a", "b"):
        manifest.intend({place: ENTRY})
    manifest.placed("b")
    manifest.save()
    again = Manifest(directory)
    assert (again.was_only_intended("a"), again.was_only_intended("b")) == (True, False)


def test_a_kill_behind_a_kill_makes_no_stranger(directory: Directory) -> None:
    """A file found after a kill stays ours if a second run is killed before replacing it."""
    Manifest(directory).intend({"a": ENTRY})  # put in place, and killed
    second = Manifest(directory)
    assert second.was_only_intended("a")
    second.placed("a")  # found as recorded
    second.intend({"a": ENTRY._replace(size=ENTRY.size + 1)})  # and killed before the rename
    assert not Manifest(directory).was_only_intended("a")


TORN = [1, 10, -1, -2, -20]


@pytest.mark.parametrize("cut", TORN)
def test_a_torn_line_swallows_no_other(directory: Directory, tmp_path: Path, cut: int) -> None:
    """A kill in the middle of a line loses only that line."""
    intended(directory, "a")
    whole = (tmp_path / JOURNAL).read_bytes()
    intended(directory, "b")
    text = (tmp_path / JOURNAL).read_bytes()
    end = len(whole) + cut if cut > 0 else len(text) + cut
    (tmp_path / JOURNAL).write_bytes(text[:end])
    intended(directory, "c")
    manifest = Manifest(directory)
    assert (manifest.get("a"), manifest.get("c")) == (ENTRY, ENTRY)
    manifest.save()
    assert Manifest(directory).get("c") == ENTRY


@pytest.mark.parametrize(
    "line",
    [
        b"\0" * 400,
        b"\xff",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b'{"z": 5}',
        b'{"z": ["a"]}',
        b'{"z": {}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_line_is_passed_over(directory: Directory, tmp_path: Path, line: bytes) -> None:
    """Damaged lines of the journal are ignored, and the valid ones count."""
    intended(directory, "a")
    good = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(line + b"\n" + good + line)
    manifest = Manifest(directory)
    assert manifest.get("a") == ENTRY
    assert manifest.get("z") is None
    manifest.save()
    assert set(Manifest(directory).places()) == {"a"}


def test_a_short_write_is_no_intention(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk `intend` fails, and later lines are still readable."""
    manifest = Manifest(directory)
    manifest.intend({"a": ENTRY})
    real, room = os.write, [20]

    def nearly_full(descriptor: int, data: Any) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data[: room.pop()])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", nearly_full)
        with pytest.raises(OSError, match="full"):
            manifest.intend({"b": ENTRY})
    assert manifest.get("b") is None
    manifest.intend({"c": ENTRY})
    manifest.close()
    again = Manifest(directory)
    assert (again.get("a"), again.get("b"), again.get("c")) == (ENTRY, None, ENTRY)


def test_a_manifest_that_cannot_be_saved_stays(
    directory: Directory, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If saving fails, the older manifest and the journal are kept."""
    manifest = Manifest(directory)
    manifest.intend({"b": OTHER})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "replace", full)
        with pytest.raises(OSError, match="full"):
            manifest.save()
    manifest.close()
    assert names(saved) == [JOURNAL, MANIFEST]
    again = Manifest(directory)
    assert (again.get("a/b.txt"), again.get("b")) == (ENTRY, OTHER)


# Manifests that are damaged or of another version.


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0" * 100,
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"schema_version": 1}',
        b'{"schema_version": 1, "files": []}',
        b'{"schema_version": 0, "files": {}}',
        b'{"schema_version": "1", "files": {}}',
        b'{"schema_version": 1, "files": {}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_manifest_makes_strangers(
    directory: Directory, tmp_path: Path, text: bytes
) -> None:
    """A damaged manifest counts as absent, is reported, and is replaced at the end."""
    (tmp_path / MANIFEST).write_bytes(text)
    manifest = Manifest(directory)
    assert (manifest.damaged, manifest.exists, list(manifest.places())) == (True, True, [])
    manifest.intend({"a": ENTRY})
    manifest.save()
    assert (Manifest(directory).get("a"), Manifest(directory).damaged) == (ENTRY, False)


@pytest.mark.parametrize(
    "text",
    [b'{"schema_version": 2, "files": {}}', b'{"schema_version": 2, "files": [], "more": 1}'],
)
def test_a_newer_manifest_is_refused(directory: Directory, tmp_path: Path, text: bytes) -> None:
    """A manifest of a newer version is neither used nor replaced."""
    (tmp_path / MANIFEST).write_bytes(text)
    with pytest.raises(Refused, match="newer version") as caught:
        Manifest(directory)
    assert "update" in (caught.value.hint or "")
    assert (tmp_path / MANIFEST).read_bytes() == text


def test_a_newer_manifest_of_another_shape_is_refused(directory: Directory, tmp_path: Path) -> None:
    """A newer manifest is refused, whatever its form."""
    (tmp_path / MANIFEST).write_bytes(b'{"schema_version": 3, "entries": []}')
    with pytest.raises(Refused, match="newer version"):
        Manifest(directory)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("size", "5"),
        ("size", None),
        ("size", True),
        ("size", ...),
        ("sha256", None),
        ("sha256", 5),
        ("sha256", ...),
        ("mtime_ns", "0"),
        ("mtime_ns", 1.5),
        ("validator", 5),
        ("local_path", None),
        ("repo", 7),
        ("cube", ...),
        ("dates", None),
        ("dates", []),
        ("dates", {}),
        ("dates", {"registered_at": 5, "obtained_at": None, "updated_at": None}),
    ],
)
def test_a_damaged_entry_is_none(
    directory: Directory, saved: Path, member: str, value: object
) -> None:
    """A damaged entry does not count, and the other entries do."""
    whole = json.loads((saved / MANIFEST).read_bytes())
    whole["files"]["other"] = dict(whole["files"]["a/b.txt"])
    entry = whole["files"]["a/b.txt"]
    if value is ...:
        del entry[member]
    else:
        entry[member] = value
    (saved / MANIFEST).write_text(json.dumps(whole))
    manifest = Manifest(directory)
    assert (manifest.get("a/b.txt"), manifest.get("other")) == (None, ENTRY)
    assert not manifest.damaged


@pytest.mark.parametrize("entry", [None, 5, [], "x", {}])
def test_an_entry_of_another_shape_is_none(
    directory: Directory, saved: Path, entry: object
) -> None:
    """A value that is not an entry does not count either."""
    text = json.dumps({"schema_version": 1, "files": {"a": entry}})
    (saved / MANIFEST).write_text(text)
    assert Manifest(directory).get("a") is None


@pytest.mark.skipif(os.name == "nt", reason="makes symlinks")
@pytest.mark.parametrize("name", [MANIFEST, JOURNAL])
def test_links_are_refused(directory: Directory, tmp_path: Path, name: str) -> None:
    """A symlink in the state folder is refused."""
    outside = tmp_path.parent / f"outside-{tmp_path.name}"
    outside.write_text('{"schema_version": 1, "files": {}}')
    (tmp_path / name).symlink_to(outside)
    with pytest.raises(Refused, match="symlink"):
        Manifest(directory)


@pytest.mark.parametrize("name", [MANIFEST, JOURNAL])
def test_a_folder_in_the_way_is_refused(directory: Directory, tmp_path: Path, name: str) -> None:
    """A folder in the manifest's place is refused."""
    (tmp_path / name).mkdir()
    with pytest.raises((Refused, OSError)):
        Manifest(directory)
