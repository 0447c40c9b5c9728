"""`download` through the installed command: what it writes, keeps and reports."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest
from conftest import Cli
from fake_service import CUBE, DATES, REPO, SIGNATURE, STATE, FakeService, tree
from servers import Received, Response, ranged

BINARY = bytes(range(256)) + b"\r\n\r\n\x1a"


def test_a_second_run_asks_the_storage_nothing(service: FakeService, cli: Cli) -> None:
    """The first run leaves files and a manifest; the second sends requests only to the API."""
    service.add("dist/ёж.bin", BINARY)
    service.add("./empty", b"")
    first = cli.download()
    assert first.stdout == b""
    assert tree(cli.out) == {"dist/ёж.bin": BINARY, "empty": b""}
    assert sorted(os.listdir(cli.out / STATE)) == [".gitignore", "manifest.json"]
    manifest = (cli.out / STATE / "manifest.json").read_text()
    assert json.loads(manifest)
    for part in (hashlib.sha256(BINARY).hexdigest(), *CUBE, *DATES.values()):
        assert part in manifest
    assert SIGNATURE not in manifest
    umask = os.umask(0o022)
    os.umask(umask)
    assert (cli.out / "empty").stat().st_mode & 0o777 == 0o666 & ~umask
    service.storage.requests.clear()
    service.api.requests.clear()
    assert set(cli.download("--json").outcomes.values()) == {"unchanged"}
    assert service.storage.requests == []
    assert len(service.api.requests) == 1


def test_a_folder_collects_several_downloads(service: FakeService, cli: Cli) -> None:
    """A second cube in the same folder keeps the manifest's entries of the first."""
    other = ("ci", "test", "linux")
    service.add("a", b"1")
    service.add("b", b"2", cube=other)
    cli.download()
    cli("download", "7", *other, "-d", "out")
    cli("download", "7", "-d", "out", "--layout", "mirror")
    assert tree(cli.out) == {"a": b"1", "b": b"2"}
    assert len(service.storage.requests) == 2


def test_the_report_is_the_promised_document(service: FakeService, cli: Cli) -> None:
    """Each file has all its keys, the summary counts them, and an error is in its file."""
    service.add("dist/a", BINARY)
    service.add("lost", b"", Response(404, body=b"<Error>NoSuchKey</Error>"))
    service.add("later", status="registered")
    report = cli.download("--json", code=6).json
    assert set(report) == {"schema_version", "repo", "run", "dir", "files", "summary"}
    assert [report[key] for key in ("schema_version", "repo", "run", "dir")] == [
        1,
        REPO,
        "7",
        "out",
    ]
    good, lost, later = report["files"]
    seconds = good.pop("seconds")
    assert seconds >= 0
    assert good == {
        "workflow": "ci",
        "task": "build",
        "cube": "linux",
        "local_path": "dist/a",
        "path": os.path.join("out", "dist/a"),
        "status": "success",
        "outcome": "downloaded",
        "size": len(BINARY),
        "sha256": hashlib.sha256(BINARY).hexdigest(),
        "transferred": len(BINARY),
        "error": None,
    }
    assert lost["outcome"] == "failed"
    assert set(lost["error"]) == {"code", "message"}
    assert (later["outcome"], later["status"]) == ("unavailable", "registered")
    summary = report["summary"]
    assert summary.pop("seconds") >= 0
    counts = {"selected": 3, "downloaded": 1, "failed": 1, "unavailable": 1}
    assert summary == counts | {"unchanged": 0, "skipped": 0, "bytes": len(BINARY)}


@pytest.mark.parametrize(
    ("arguments", "places"),
    [
        ([*CUBE], ["dist/a.txt"]),
        (["ci", "build", "linu*"], ["ci/build/linux/dist/a.txt"]),
        ([], ["ci/build/linux/dist/a.txt", "ci/test/linux/b.txt"]),
        (["--layout", "flat"], ["a.txt", "b.txt"]),
        (["--layout", "mirror", "-x", "b.*"], ["dist/a.txt"]),
        ([*CUBE, "--layout", "nested"], ["ci/build/linux/dist/a.txt"]),
    ],
)
def test_layouts(service: FakeService, cli: Cli, arguments: list[str], places: list[str]) -> None:
    """`auto` is mirror for one exactly named cube, else nested; `--paths` names the files."""
    service.add("dist/a.txt", b"a")
    service.add("b.txt", b"b", cube=("ci", "test", "linux"))
    finished = cli("download", "7", *arguments, "--dir", "out", "--paths")
    assert sorted(finished.out.splitlines()) == [os.path.join("out", place) for place in places]
    assert sorted(tree(cli.out)) == places


def test_one_artifact_to_a_file_or_to_stdout(service: FakeService, cli: Cli) -> None:
    """`-o FILE` replaces FILE and leaves no state folder; `-o -` writes the exact bytes."""
    service.add("dist/a.bin", BINARY)
    (cli.cwd / "b.bin").write_bytes(b"old")
    assert cli("download", "7", *CUBE, "-o", "b.bin").stdout == b""
    assert cli("download", "7", "-o", "-", "-i", "a.bin").stdout == BINARY
    assert tree(cli.cwd) == {"b.bin": BINARY}
    assert os.listdir(cli.cwd) == ["b.bin"]
    service.artifacts[0].replies = [Response(404)]
    assert cli("download", "7", *CUBE, "-o", "-", code=6).stdout == b""
    cli("download", "7", *CUBE, "-o", "b.bin", code=6)
    assert (cli.cwd / "b.bin").read_bytes() == BINARY


def test_dry_run_writes_nothing(service: FakeService, cli: Cli) -> None:
    """The plan is shown, also as JSON, without a storage request or a write."""
    service.add("dist/a", b"1")
    assert cli.download("--dry-run", "--json").outcomes == {"dist/a": "planned"}
    shown = cli.download("-n")
    assert "dist/a" in shown.out + shown.err
    assert os.listdir(cli.cwd) == []
    assert service.storage.requests == []


@pytest.mark.parametrize(
    ("arguments", "code"), [([], 6), (["--allow-missing"], 0), (["-x", "no-*"], 0)]
)
def test_unavailable_artifacts(
    service: FakeService, cli: Cli, arguments: list[str], code: int
) -> None:
    """Unavailable artifacts are shown, and are exit 6 without --allow-missing."""
    service.add("here", b"1")
    names = {f"no-{status}": status for status in ("registered", "failed", "missing")}
    for name, status in names.items():
        service.add(name, status=status)
    finished = cli.download("--json", *arguments, code=code)
    shown = dict.fromkeys(() if "-x" in arguments else names, "unavailable")
    assert finished.outcomes == shown | {"here": "downloaded"}
    assert all(name in finished.out + finished.err for name in shown)
    assert tree(cli.out) == {"here": b"1"}


@pytest.mark.parametrize(
    ("run", "cube", "lost", "hint"),
    [
        ("processing", "processing", False, "--wait fetches"),
        ("processing", "success", False, "--allow-missing makes"),
        ("failed", "processing", False, "--allow-missing makes"),
        ("failed", "failed", True, ""),
    ],
)
def test_what_helps_against_unavailable_artifacts(
    service: FakeService, cli: Cli, run: str, cube: str, lost: bool, hint: str
) -> None:
    """A hint names --wait if a cube goes on, else --allow-missing if that is a success."""
    service.add("never", status="registered")
    service.runs["7"].status, service.runs["7"].cubes[CUBE] = run, cube
    if lost:
        service.add("lost", b"1", Response(404))
    err = cli("download", "7", "-d", "out", code=6).err
    hints = [line for line in err.splitlines() if "--" in line]
    assert (len(hints), hint in "".join(hints)) == (len(hint[:1]), True)


def test_selecting_nothing(service: FakeService, cli: Cli) -> None:
    """An empty selection is exit 3 with a list of what there is, without --allow-empty."""
    service.add("dist/there.txt", b"1")
    assert "there.txt" in cli.download("-i", "nope", code=3).err
    assert "build" in cli("download", "7", "ci", "nope*", "-d", "out", code=3).err
    cli("download", "7", "nope*", "-d", "out", "--allow-empty")
    report = cli.download("-i", "nope", "--allow-empty", "--json").json
    assert (report["files"], report["summary"]["selected"]) == ([], 0)
    assert not (cli.out / STATE).exists()
    assert service.storage.requests == []


@pytest.mark.parametrize(("arguments", "most"), [(["--fail-fast"], 1), ([], 9)])
def test_fail_fast(service: FakeService, cli: Cli, arguments: list[str], most: int) -> None:
    """With --fail-fast the first failure ends the download; else all others are fetched."""
    for at in range(8):
        service.add(f"lost-{at}", b"", Response(404))
    service.add("there", b"1")
    finished = cli.download("-j", "1", *arguments, code=6)
    assert sum(bool(one.requests) for one in service.artifacts) == most
    assert (cli.out / "there").exists() == (most == 9)
    assert "lost-" in finished.err


def test_jobs_bound_the_connections(service: FakeService, cli: Cli) -> None:
    """Connections, slices included, are several at a time and never more than --jobs."""
    together = threading.Barrier(3)

    def reply(received: Received) -> Response:
        try:
            together.wait(10)
        except threading.BrokenBarrierError:
            return Response(404)
        return ranged(BINARY)(received)

    for at in range(9):
        service.add(f"small-{at}", BINARY, reply)
    cli.download("-j", "3", "-q")
    service.add("large", bytes(24 << 20))
    assert cli.download("--jobs", "3", "-q").err == ""
    assert service.storage.max_open <= 3
    assert len(tree(cli.out)) == 10


def test_a_manifest_that_lies_costs_no_data(service: FakeService, cli: Cli) -> None:
    """With a damaged manifest no file counts as ours: it is refused or fetched again."""
    service.add("a", b"1")
    cli.download()
    for garbage in (b"", b"{", b"[]", b'{"files": 7}', b"\xff\xfe"):
        (cli.out / STATE / "manifest.json").write_bytes(garbage)
        finished = cli.download(code=(0, 1, 8))
        assert finished.err
        assert tree(cli.out) == {"a": b"1"}
    cli.download("--if-exists", "overwrite", code=(0, 1))


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "f", "-d", "out"],
        ["-o", "f", "--layout", "flat"],
        ["--layout", "bogus"],
        ["--if-exists", "bogus"],
        ["--jobs", "0"],
        ["--limit-rate", "fast"],
        ["--wait", "--wait-timeout", "5x"],
        ["--retries", "x"],
        ["--stall-timeout", "-1"],
        ["--progress", "bogus"],
    ],
)
def test_usage_errors_ask_nobody(service: FakeService, cli: Cli, arguments: list[str]) -> None:
    """Bad arguments are exit 2 before any request, and nothing is written."""
    service.add("a")
    assert cli("download", "7", *CUBE, *arguments, code=2).err
    assert service.api.requests == []
    assert os.listdir(cli.cwd) == []


def test_one_file_cannot_hold_several_artifacts(service: FakeService, cli: Cli) -> None:
    """`-o` with more than one selected artifact is exit 2, before any transfer."""
    service.add("a")
    service.add("b")
    said = cli("download", "7", *CUBE, "-o", "f", code=2).err
    assert said.endswith("  hint: choose one with --include: a, b\n")
    service.add("a", cube=("ci", "test", "linux"))
    said = cli("download", "7", "-o", "f", "-i", "a", code=2).err
    names = "ci/build/linux: a, ci/test/linux: a"
    assert said.endswith(f"  hint: name its cube, or choose one with --include: {names}\n")
    assert service.storage.requests == []
    assert os.listdir(cli.cwd) == []


def test_odd_folders(service: FakeService, cli: Cli, tmp_path: Path) -> None:
    """A file as DIR is exit 1; DIR may be a symlink, or come from its variable."""
    service.add("a", b"1")
    (cli.cwd / "file").write_bytes(b"theirs")
    cli("download", "7", *CUBE, "-d", "file", code=1)
    (tmp_path / "real").mkdir()
    (cli.cwd / "link").symlink_to(tmp_path / "real")
    cli("download", "7", *CUBE, env={"SOURCECRAFT_ARTIFACTS_DIR": "link"})
    assert tree(tmp_path / "real") == {"a": b"1"}
    assert (cli.cwd / "file").read_bytes() == b"theirs"
