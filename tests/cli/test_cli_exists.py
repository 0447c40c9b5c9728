"""`--if-exists` through the installed command: each mode for each state of a file."""

from __future__ import annotations

import os

import pytest
from archives import archive, member, packed
from conftest import Cli
from fake_service import CUBE, STATE, FakeService, tree
from servers import ranged

STATES = ["right", "touched", "stale", "damaged", "rewritten", "stranger", "absent"]


def prepare(service: FakeService, cli: Cli, states: list[str]) -> None:
    """Create each state of a file that a second download may find."""
    for state in states:
        service.add(state, b"new " + state.encode())
    mine = {"right", "touched", "stale", "damaged", "rewritten"}
    chosen = [word for state in states if state in mine for word in ("-i", state)]
    if chosen:
        cli.download(*chosen)
    cli.out.mkdir(exist_ok=True)
    for one in service.artifacts:
        place = cli.out / one.local_path
        if one.local_path == "touched":
            os.utime(place, (1, 1))
        elif one.local_path == "stale":
            one.dates = {**one.dates, "updated_at": "2026-11-02T00:00:00Z"}
            one.replies = [ranged(b"newer stale", etag='"v2"')]
        elif one.local_path == "damaged":
            place.write_bytes(b"cut")
        elif one.local_path == "rewritten":
            place.write_bytes(b"New rewritten")
            os.utime(place, (1, 1))
        elif one.local_path == "stranger":
            place.write_bytes(b"theirs")
        elif one.local_path == "folder.d":
            place.mkdir()
        elif one.local_path == "symlink":
            (cli.cwd / "outside").write_bytes(b"theirs")
            place.symlink_to(cli.cwd / "outside")
    service.storage.requests.clear()


@pytest.mark.parametrize(
    ("mode", "left_out", "outcome"),
    [
        ("update", ["stranger"], {"right": "unchanged", "touched": "unchanged"}),
        ("skip", [], {state: "skipped" for state in STATES if state != "absent"}),
        ("overwrite", [], {}),
    ],
)
def test_if_exists(
    service: FakeService, cli: Cli, mode: str, left_out: list[str], outcome: dict[str, str]
) -> None:
    """The truth table of the modes: files that are not kept are downloaded."""
    states = [state for state in STATES if state not in left_out]
    prepare(service, cli, states)
    before = tree(cli.out)
    outcomes = cli.download("--json", "--if-exists", mode).outcomes
    if mode == "skip":  # Whether a correct file is reported as skipped or unchanged is open.
        outcomes |= {"right": "skipped", "touched": "skipped"}
    assert outcomes == {state: outcome.get(state, "downloaded") for state in states}
    after = tree(cli.out)
    for state in states:
        fresh = b"newer stale" if state == "stale" else b"new " + state.encode()
        assert after[state] == (before[state] if state in outcome else fresh)
    assert len(service.storage.requests) == len(states) - len(outcome)


@pytest.mark.parametrize(
    ("mode", "state"),
    [
        ("update", "stranger"),
        ("update", "folder.d"),
        ("update", "symlink"),
        ("error", "right"),
        ("error", "damaged"),
        ("error", "stranger"),
        ("error", "folder.d"),
        ("error", "symlink"),
        ("overwrite", "folder.d"),
    ],
)
def test_files_in_the_way(service: FakeService, cli: Cli, mode: str, state: str) -> None:
    """One file in the way refuses the plan before any transfer, and the message names it."""
    prepare(service, cli, [state, "absent"])
    before = tree(cli.out)
    finished = cli.download("--if-exists", mode, code=8)
    assert state in finished.err
    assert service.storage.requests == []
    assert tree(cli.out) == before


def moved(service: FakeService, cli: Cli) -> None:
    """Download a file `x`, and list an artifact below it instead."""
    service.add("x", b"old")
    cli.download()
    service.artifacts.clear()
    service.add("x/y/z", b"new")


@pytest.mark.parametrize("mode", ["update", "overwrite"])
def test_our_own_file_makes_way_for_a_folder(service: FakeService, cli: Cli, mode: str) -> None:
    """A file of an earlier run, unchanged, goes where a listed artifact needs a folder."""
    moved(service, cli)
    assert cli.download("-n").out == "replace\tout/x/y/z\n"
    assert tree(cli.out) == {"x": b"old"}
    assert cli.download("--json", "--if-exists", mode).outcomes == {"x/y/z": "downloaded"}
    assert tree(cli.out) == {"x/y/z": b"new"}
    assert cli("verify", "out").out == "out/x/y/z: OK\n"
    assert cli.download("--json").outcomes == {"x/y/z": "unchanged"}


def test_our_own_file_makes_way_for_an_archive(service: FakeService, cli: Cli) -> None:
    """The same where the artifact is unpacked below that place."""
    moved(service, cli)
    service.artifacts.clear()
    service.add("x/y", archive(member("a", b"1")))
    cli.download()
    assert tree(cli.out) == {"x/y/a": b"1"}
    assert cli("verify", "out").out == "out/x/y/a: OK\n"


@pytest.mark.parametrize("change", ["edited", "skip", "error", "link", "stranger"])
def test_what_does_not_make_way_for_a_folder(service: FakeService, cli: Cli, change: str) -> None:
    """A changed file, a stranger's, and any file that is to be kept refuse the plan."""
    moved(service, cli)
    place = cli.out / "x"
    if change == "edited":
        place.write_bytes(b"edited")
    elif change == "link":
        place.rename(cli.cwd / "elsewhere")
        place.symlink_to(cli.cwd / "elsewhere")
    elif change == "stranger":
        (cli.out / STATE / "manifest.json").unlink()
    before = place.read_bytes()
    mode = change if change in ("skip", "error") else "update"
    assert "x/y/z" in cli.download("--if-exists", mode, code=8).err
    assert place.read_bytes() == before
    assert service.storage.requests[1:] == []


@pytest.mark.parametrize("options", [(), ("-n",), ("-q",), ("--if-exists", "overwrite")])
def test_a_damaged_manifest_is_named(
    service: FakeService, cli: Cli, options: tuple[str, ...]
) -> None:
    """A download warns once that it does not know its files, before it refuses to replace them."""
    service.add("a", b"1")
    cli.download()
    (cli.out / STATE / "manifest.json").write_bytes(b"garbage")
    refused = "overwrite" not in options
    warning, *more = cli.download(*options, code=8 if refused else 0).err.splitlines()
    assert warning == (
        "warning: the manifest of out is damaged, so that this tool does not know which files"
        " there are its own"
    )
    assert more[0].startswith("error: nothing was downloaded") == refused
    assert "damaged" not in "".join(more)


def test_a_file_in_the_way_of_output(service: FakeService, cli: Cli) -> None:
    """The message names the file, and no folder."""
    service.add("a", b"1")
    (cli.cwd / "x").write_bytes(b"mine")
    said = cli(
        "download", "7", "ci", "build", "linux", "-o", "x", "--if-exists", "error", code=8
    ).err
    assert said.splitlines()[-2:] == [
        "error: x is there already, and --if-exists is error",
        "  hint: move it away, or choose another name",
    ]
    assert service.storage.requests == []


@pytest.mark.parametrize(
    ("there", "options", "planned"),
    [
        (False, ("-o", "x"), "download\tx"),
        (True, ("-o", "x"), "replace\tx"),
        (True, ("-o", "x", "--if-exists", "overwrite"), "replace\tx"),
        (True, ("-o", "x", "--if-exists", "skip"), "skip\tx"),
        (True, ("-o", "-"), "download\t-"),
    ],
)
def test_a_plan_says_that_output_replaces_a_file(
    service: FakeService, cli: Cli, there: bool, options: tuple[str, ...], planned: str
) -> None:
    """A plan for `-o FILE` shows whether a file is replaced; nothing is written."""
    service.add("a", b"1")
    if there:
        (cli.cwd / "x").write_bytes(b"mine")
    assert cli("download", "7", *CUBE, *options, "-n").out == f"{planned}\n"
    assert tree(cli.cwd) == ({"x": b"mine"} if there else {})


def test_skip_leaves_a_folder_that_became_a_file(service: FakeService, cli: Cli) -> None:
    """No file of it is removed."""
    service.add("dist", packed({"dist/a": b"1"}))
    service.add("dist", b"a file", run="8")
    cli.download()
    newer = ("download", "8", *CUBE, "-d", "out")
    assert "--if-exists skip" in cli(*newer, "--if-exists", "skip", code=8).err
    assert tree(cli.out) == {"dist/a": b"1"}
    cli(*newer)
    assert tree(cli.out) == {"dist": b"a file"}
