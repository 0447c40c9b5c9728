"""Complete files that are put into the output folder in batches, each with its own result."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sourcecraft_artifacts.disk import files
from sourcecraft_artifacts.disk.journal import JOURNAL
from sourcecraft_artifacts.disk.paths import STATE_FOLDER, safe_path
from sourcecraft_artifacts.downloads import placing, prepared_folder
from sourcecraft_artifacts.downloads.decisions import Action, Step
from sourcecraft_artifacts.downloads.output_folder import OutputFolder
from sourcecraft_artifacts.errors import LocalError, Refused
from sourcecraft_artifacts.http.ranges import Version
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress
from sourcecraft_artifacts.transfer.jobs import Whole

pytestmark = pytest.mark.skipif(os.name == "nt", reason="patches calls that Windows lacks")

ADDRESS = CubeAddress("org/repo", "7", "ci", "build", "linux")
PLACES = ("a", "dir/b", "dir/c", "d")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return the path of the output folder."""
    return tmp_path / "out"


@pytest.fixture
def folder(out: Path) -> Iterator[OutputFolder]:
    """Open an output folder for writing."""
    with OutputFolder(str(out)) as folder:
        folder.prepare()
        yield folder


def whole(folder: OutputFolder, name: str) -> Whole:
    """Return a completely received file, whose content is its own name."""
    body = name.encode()
    artifact = Artifact(ADDRESS, name, "success", ArtifactDates(), download_url="https://x/y")
    place = safe_path(name, portable=False)
    job = folder.job(Step(artifact, place, Action.DOWNLOAD, before=folder.lstat(place)))
    partial = folder.open(job)
    partial.restart(Version(f'"{name}"', len(body)), {})
    partial.write(memoryview(body), 0)
    return Whole(job, partial, hashlib.sha256(body).hexdigest())


def in_place(out: Path) -> set[str]:
    """Return the files that have their final name; check their content."""
    found = {
        str(path.relative_to(out))
        for path in out.rglob("*")
        if path.is_file() and STATE_FOLDER not in path.parts
    }
    assert all((out / name).read_bytes() == name.encode() for name in found)
    return found


def test_a_file_that_cannot_be_examined_is_not_put_in_place(
    folder: OutputFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be an archive: as a plain file it would stay one for ever."""

    def broken(*_: object) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    one = whole(folder, "a")
    monkeypatch.setattr(folder.unpacker, "is_packed", broken)
    assert not folder.takes_long(one)
    folder.commit([one])
    assert isinstance(one.error, OSError)
    assert in_place(tmp_path) == set()
    assert folder.manifest.get("a") is None


def test_a_batch_is_synced_and_recorded_before_the_first_file_has_its_name(
    folder: OutputFolder, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All data are synced, then all lines with one fsync, and only then comes the first rename."""
    synced: list[str] = []
    moved: list[str] = []
    journal = out / STATE_FOLDER / JOURNAL
    fsync, move = os.fsync, files.move_file

    def spy(descriptor: int) -> None:
        fsync(descriptor)
        assert not moved, "everything is on the disk by now"
        found = os.fstat(descriptor)
        is_journal = journal.exists() and os.path.samestat(found, journal.stat())
        lines = journal.read_text().splitlines() if is_journal else []
        synced.extend(place for line in lines if line for place in json.loads(line))
        synced.extend(["a body"] * (not is_journal and found.st_size > 0))

    def spied_move(*arguments: Any) -> None:
        moved.append(arguments[3])
        move(*arguments)

    batch = [whole(folder, name) for name in PLACES]
    monkeypatch.setattr(placing, "move_file", spied_move)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", spy)
        folder.commit(batch)
    assert [one for one in synced if one != "a body"] == list(PLACES)
    assert synced.index("a") >= synced.count("a body") >= len(PLACES)
    assert [(one.size, one.error) for one in batch] == [(len(name), None) for name in PLACES]
    assert in_place(out) == set(PLACES)


def test_threads_share_what_puts_files_in_place(
    folder: OutputFolder, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there before the first file: two threads could each make one, and one be forgotten."""
    monkeypatch.setattr(prepared_folder, "Placer", None)
    folder.commit([whole(folder, "a")])
    assert in_place(out) == {"a"}


def test_each_file_of_a_batch_fails_alone(folder: OutputFolder, out: Path) -> None:
    """A file that cannot be put in place affects no other; an older file stays."""
    batch = [whole(folder, name) for name in ("a", "stranger", "cut", "way/in", "gone", "z")]
    (out / "stranger").write_bytes(b"stranger")
    os.ftruncate(batch[2].partial.descriptor, 1)
    (out / "way").write_bytes(b"way")
    state = out / STATE_FOLDER / "partial"
    (state / batch[4].partial.part_name).unlink()
    folder.commit(batch)
    errors = [type(one.error) for one in batch]
    assert errors == [type(None), Refused, LocalError, Refused, FileNotFoundError, type(None)]
    assert [one.size for one in batch] == [1, None, None, None, None, 1]
    assert in_place(out) == {"a", "stranger", "way", "z"}
    places = {place: folder.manifest.was_only_intended(place) for place in folder.manifest.places()}
    # A rename that failed leaves an uncertain entry; a file refused before it was never ours.
    assert places == {"a": False, "gone": True, "z": False}


def test_what_cannot_be_recorded_is_not_moved(
    folder: OutputFolder, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its line in the journal no file gets its name; all parts are kept."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    batch = [whole(folder, name) for name in PLACES]
    monkeypatch.setattr(os, "write", full)
    folder.commit(batch)
    monkeypatch.undo()
    assert all(isinstance(one.error, OSError) and one.size is None for one in batch)
    assert in_place(out) == set()
    left = {path.name for path in (out / STATE_FOLDER / "partial").iterdir()}
    assert {one.partial.part_name for one in batch} <= left


def test_nothing_that_failed_is_recorded(folder: OutputFolder, out: Path) -> None:
    """If all files of a batch fail, no line is written to the journal."""
    batch = [whole(folder, "a")]
    os.ftruncate(batch[0].partial.descriptor, 0)
    folder.commit(batch)
    assert isinstance(batch[0].error, LocalError)
    assert not (out / STATE_FOLDER / JOURNAL).exists()
