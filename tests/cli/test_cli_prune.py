"""`--prune`: a folder that follows the latest run has its files and no older ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from archives import packed
from conftest import Cli
from fake_service import STATE, FakeService, tree

OTHER = ("ci", "build", "mac")


def known(cli: Cli) -> set[str]:
    """Return the places in the manifest."""
    return set(json.loads((cli.out / STATE / "manifest.json").read_text())["files"])


@pytest.fixture
def two_runs(service: FakeService, cli: Cli) -> None:
    """Download run 7, and serve a run 8 that lacks some of its artifacts."""
    for name in ("same.txt", "gone.txt", "sub/gone.txt", "changed.txt", "touched.txt"):
        service.add(name, name.encode())
    service.add("dist", packed({"dist/a": b"1", "dist/sub/b": b"2", "dist/mine": b"3"}))
    service.add("same.txt", b"new", run="8")
    service.add("other.txt", b"of another cube", cube=OTHER)
    cli.download()
    cli("download", "7", *OTHER, "-d", "out")
    (cli.out / "changed.txt").write_bytes(b"changed")
    (cli.out / "touched.txt").touch()
    (cli.out / "stranger.txt").write_bytes(b"a stranger's")
    (cli.out / "dist/mine").write_bytes(b"mine")
    (cli.out / "dist/sub/stranger").write_bytes(b"a stranger's")


LEFT = {
    "same.txt": b"new",
    "changed.txt": b"changed",
    "stranger.txt": b"a stranger's",
    "dist/mine": b"mine",
    "dist/sub/stranger": b"a stranger's",
    "other.txt": b"of another cube",
}


@pytest.mark.usefixtures("two_runs")
def test_only_what_is_ours_and_listed_no_more_goes(cli: Cli) -> None:
    """Strangers, changed files and other cubes' files stay; the report has what was removed."""
    before = tree(cli.out)
    newer = ("download", "8", "ci", "build", "linux", "-d", "out", "--prune")
    planned = cli(*newer, "-n").out.splitlines()
    assert tree(cli.out) == before
    deleted = ["dist", "gone.txt", "sub/gone.txt", "touched.txt"]
    assert sorted(planned) == [
        *(f"delete\tout/{name}" for name in deleted),
        "replace\tout/same.txt",
    ]
    files = cli(*newer, "-n", "--json").json["files"]
    assert [file["action"] for file in files] == ["replace", *["delete"] * 4]
    assert {file["outcome"] for file in files} == {"planned"}
    report = cli(*newer, "--json").json
    assert tree(cli.out) == LEFT
    assert not (cli.out / "sub").exists()
    gone = [one["local_path"] for one in report["files"] if one["outcome"] == "deleted"]
    assert (sorted(gone), report["summary"]["deleted"]) == (deleted, 4)
    assert report["summary"]["selected"] == 1
    assert known(cli) == {"same.txt", "changed.txt", "dist", "other.txt"}
    assert cli(*newer, "--json").json["summary"]["deleted"] == 0
    assert tree(cli.out) == LEFT


@pytest.mark.usefixtures("two_runs")
@pytest.mark.parametrize(
    "options",
    [
        ("7", "ci", "build", "linux"),
        ("8", "ci", "build", "linux", "-i", "same.txt"),
        ("8", "ci", "build", "linux", "-x", "gone.txt", "-x", "touched.txt", "-x", "dist"),
        ("8", "ci", "build", "linux", "--layout", "nested"),
        ("8", "ci", "build", "mac", "--allow-empty"),
        ("8",),
    ],
)
def test_what_the_selection_does_not_cover_stays(cli: Cli, options: tuple[str, ...]) -> None:
    """Nothing goes with another layout, other globs, another cube, or an empty selection."""
    before = set(tree(cli.out))
    code = (0, 5, 8) if "mac" in options or options[0] == "7" else 0
    cli("download", *options, "-d", "out", "--prune", code=code)
    assert before <= set(tree(cli.out))


@pytest.mark.usefixtures("two_runs")
def test_nothing_goes_where_something_is_missing(service: FakeService, cli: Cli) -> None:
    """Nothing goes after a failure, in a run in progress, or with an unavailable artifact."""
    before = set(tree(cli.out))
    newer = ("download", "8", "ci", "build", "linux", "-d", "out", "--prune")
    lacking = service.add("late.txt", b"late", run="8", status="registered")
    cli(*newer, code=6)
    assert before <= set(tree(cli.out))
    service.runs["8"].status = "processing"
    lacking.status = "success"
    service.runs["8"].cubes[("ci", "build", "linux")] = "success"
    assert "--prune removes nothing: the run has not ended" in cli(*newer).err
    assert before <= set(tree(cli.out))
    service.runs["8"].status = "success"
    cli(*newer)
    assert "gone.txt" not in tree(cli.out)


def test_prune_is_for_a_folder(cli: Cli) -> None:
    """--prune with -o is exit 2."""
    cli("download", "7", "ci", "build", "linux", "-o", "x", "--prune", code=2)


def test_a_symlink_in_the_place_of_a_file_stays(service: FakeService, cli: Cli) -> None:
    """A symlink in a file's place is not removed, whatever its target."""
    service.add("a", b"1")
    service.add("b", b"2", run="8")
    cli.download()
    (cli.out / "a").rename(cli.out / "moved")
    (cli.out / "a").symlink_to("moved")
    cli("download", "8", "ci", "build", "linux", "-d", "out", "--prune")
    assert (cli.out / "a").is_symlink()
    assert Path(cli.out / "moved").read_bytes() == b"1"
