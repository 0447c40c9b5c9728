"""Rules for options, settings and responses that meet."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import picture
import pytest
from archives import packed
from conftest import Cli
from fake_service import CUBE, REPO, STATE, FakeService, tree
from servers import Response, json_response

from sourcecraft_artifacts.downloads.request import Request
from sourcecraft_artifacts.errors import UsageError
from sourcecraft_artifacts.service.address import Address

BODY = b"body"
DOWNLOAD = ("download", "7", *CUBE, "-d", "out")
SLOW = ("ci", "test", "slow")


@pytest.fixture
def waiting(service: FakeService) -> FakeService:
    """Serve a run in progress, with an artifact that does not become ready."""
    service.add_run("7", "processing").cubes[SLOW] = "processing"
    service.add("quick", BODY)
    service.add("later", status="registered", cube=SLOW)
    return service


@pytest.mark.parametrize("output", ["x", "-"])
@pytest.mark.usefixtures("waiting")
def test_waiting_for_one_has_an_end(cli: Cli, output: str) -> None:
    """`-o` with a --wait-timeout that passes is exit 9, not earlier, and leaves no file."""
    began = time.monotonic()
    command = ("download", "7", *SLOW, "-o", output, "--wait", "--wait-timeout", "0.3s")
    selections: list[tuple[str, ...]] = [("-i", "later"), ("-i", "nothing")]
    selections += [(*one, "--allow-missing") for one in selections]
    for process in [cli.start(*command, *one) for one in selections]:
        finished = cli.finish(process)
        assert (finished.code, finished.stdout) == (9, b"")
        assert "--wait-timeout" in finished.err
        assert time.monotonic() - began >= 0.3
    assert tree(cli.cwd) == {}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("-o", "x"), 2),
        (("-o", "there", "--if-exists", "error", "-i", "later"), 8),
        (("-o", "there", "--if-exists", "skip", "-i", "later"), 0),
        (("-o", "x", "-n", "-i", "later"), 0),
    ],
)
def test_refusals_do_not_wait(
    waiting: FakeService, cli: Cli, options: tuple[str, ...], code: int
) -> None:
    """With --wait, a command that is refused or needs no transfer ends at once."""
    (cli.cwd / "there").write_bytes(b"old")
    cli("download", "7", "--wait", *options, code=code)
    assert waiting.listings() <= 2
    assert tree(cli.cwd) == {"there": b"old"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("-d", "out", "--checksums", "out/.sourcecraft-artifacts/manifest.json"), 2),
        (("-d", "out", "--checksums", "-"), 2),
        (("-o", "e", "--checksums", "e"), 2),
        (("-d", "out", "--checksums", "out/a"), 8),
    ],
)
def test_checksums_destroy_nothing(
    service: FakeService, cli: Cli, arguments: tuple[str, ...], code: int
) -> None:
    """--checksums is refused if its file is one that the run writes for another purpose."""
    service.add("a", BODY)
    cli("download", "7", *CUBE, *arguments, code=code)
    ours = ("manifest.json", ".gitignore")
    left = {name: body for name, body in tree(cli.cwd).items() if not name.endswith(ours)}
    assert set(left.values()) <= {BODY}


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("", 2, "the name of the file is empty"),
        ("there", 8, "there is not a plain file\n  hint: choose another name\n"),
        ("/dev/stdout", 8, "/dev/stdout is not a plain file"),
        ("missing/sums", 1, "No such file or directory\n  hint: create its folder first\n"),
        ("out/missing/sums", 1, "No such file or directory\n  hint: create its folder first\n"),
        ("file/sums", 1, "Not a directory\n  hint: choose another folder for it\n"),
        ("x" * 256, 1, "File name too long\n  hint: choose a shorter name\n"),
        ("x/" * 3000 + "x", 1, "File name too long\n  hint: choose a shorter name\n"),
    ],
    ids=["empty", "folder", "stream", "missing", "below", "file", "long", "long-path"],
)
def test_a_file_of_checksums_is_judged_first(
    service: FakeService, cli: Cli, name: str, code: int, said: str
) -> None:
    """A --checksums that cannot be written is refused before any request."""
    service.add("a", BODY)
    (cli.cwd / "there").mkdir()
    (cli.cwd / "file").write_bytes(b"")
    finished = cli.download("--json", "--checksums", name, code=code)
    assert said in finished.err
    assert finished.stdout == b""
    assert service.api.requests == []
    assert tree(cli.cwd) == {"file": b""}


@pytest.mark.parametrize("name", ["out/sums", "out/deep/sums", "\u0436" * 125])
def test_a_file_of_checksums_may_be_where_the_artifacts_go(
    service: FakeService, cli: Cli, name: str
) -> None:
    """It may be in or above the output folder, which is created; its name may have 255 bytes."""
    service.add("a", BODY)
    cli("download", "7", *CUBE, "-d", "out/deep", "--checksums", name)
    assert (cli.cwd / name).read_bytes().endswith(b"  out/deep/a\n")


@pytest.mark.parametrize("option", ["-i", "-x"])
def test_an_empty_glob(service: FakeService, cli: Cli, option: str) -> None:
    """An empty glob, as of a script's unset variable, is exit 2."""
    assert "clude: the pattern is empty" in cli.download(option, "", code=2).err
    assert "clude: the pattern is empty" in cli("list", "7", option, "", code=2).err
    assert service.api.requests == []


@pytest.mark.parametrize("more", [(), ("-n",), ("--json",)])
def test_a_file_of_checksums_in_the_place_of_an_artifact(
    service: FakeService, cli: Cli, more: tuple[str, ...]
) -> None:
    """It is refused before any transfer, under any spelling of its path."""
    service.add("a", BODY)
    for name in ("out/a", "./out/../out/a", str(cli.out / "a")):
        finished = cli.download("--checksums", name, *more, code=8)
        assert "is one of the artifacts" in finished.err
    assert service.storage.requests == []
    assert tree(cli.cwd) == {}


def test_a_report_survives_a_file_of_checksums_that_fails(service: FakeService, cli: Cli) -> None:
    """The report is written even if the checksum file cannot be, and then the error is shown."""
    service.add("dist", packed({"dist/a": BODY}))
    (cli.out / "dist").mkdir(parents=True)
    for option in ("--json", "--paths"):
        finished = cli.download(option, "--checksums", "out/dist/a", code=8)
        assert b"out/dist" in finished.stdout
        done, fault, _ = finished.err.splitlines()[-3:]
        assert done.startswith("Downloaded ")
        assert fault == "error: --checksums: out/dist/a is one of the artifacts"
    read, write = os.pipe()
    os.close(read)
    process = cli.start(*DOWNLOAD, "--json", "--checksums", "out/dist/a", stdout=write)
    os.close(write)
    assert cli.finish(process).code == 8


@pytest.mark.parametrize("name", [STATE, f"a/{STATE}/partial"])
def test_a_state_folder_is_no_output_folder(service: FakeService, cli: Cli, name: str) -> None:
    """Artifacts among a manifest or partial data would be lost or taken for these."""
    service.add("a", BODY)
    said = cli("download", "7", *CUBE, "-d", name, code=2).err
    assert said == f"error: --dir: {name} is inside {STATE}\n"
    with pytest.raises(UsageError, match=f"directory: {name} is inside"):
        Request(Address(REPO, "7"), name)
    assert tree(cli.cwd) == {}


@pytest.mark.parametrize(
    ("output", "code", "said"),
    [
        ("", 2, "error: --output: the name of the file is empty\n"),
        ("x" * 256, 1, "File name too long\n  hint: choose a shorter name\n"),
        ("x/" * 3000 + "x", 1, "File name too long\n  hint: choose a shorter name\n"),
        ("missing/" + "x" * 256, 1, "File name too long\n  hint: choose a shorter name\n"),
        (
            "missing/",
            2,
            "error: --output: missing/ is a folder\n  hint: --dir missing/ downloads into it;"
            " --output missing/NAME writes one artifact to a file in it\n",
        ),
        (
            f"out/{STATE}/manifest.json",
            2,
            f"error: --output: out/{STATE}/manifest.json is inside {STATE}\n",
        ),
    ],
    ids=["empty", "long", "long-path", "long-below", "slash", "state"],
)
def test_an_output_that_cannot_be_is_no_transfer(
    service: FakeService, cli: Cli, output: str, code: int, said: str
) -> None:
    """An --output that cannot be written is refused before any request to the storage."""
    service.add("a", BODY)
    assert cli("download", "7", *CUBE, "-o", output, code=code).err.endswith(said)
    assert service.storage.requests == []
    assert tree(cli.cwd) == {}


@pytest.mark.parametrize(
    ("variable", "arguments"),
    [
        ("JSON", ("download", "7", *CUBE, "-d", "out", "--paths")),
        ("PATHS", ("download", "7", *CUBE, "-d", "out", "--json")),
        ("JSON", ("download", "7", *CUBE, "-o", "-")),
        ("WITH_URLS", ("list", "7", *CUBE)),
    ],
)
def test_the_command_line_beats_the_environment(
    service: FakeService, cli: Cli, variable: str, arguments: tuple[str, ...]
) -> None:
    """A variable is ignored if an option that excludes it is on the command line."""
    service.add("a", BODY)
    finished = cli(*arguments, env={f"SOURCECRAFT_ARTIFACTS_{variable}": "1"})
    assert finished.stdout


@pytest.mark.parametrize("arguments", [("list", "7"), ("list", "7", *CUBE), ("runs",)])
def test_an_error_with_status_200_is_an_error(
    service: FakeService, cli: Cli, arguments: tuple[str, ...]
) -> None:
    """A 200 with the service's form of an error is not taken for an empty listing."""
    error = {"error_code": "PermissionDenied", "message": "no way", "request_id": "q2"}
    for target in ("runs", "runs/7", "artifacts", "artifacts/7/ci/build/linux"):
        service.api.on(f"/repos/{REPO}/cicd/{target}", json_response(error))
    said = cli(*arguments, code=7).err
    assert all(value in said for value in error.values())


@pytest.mark.parametrize("arguments", [("--version",), ("-h",), ("list", "-h")])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_help_into_a_full_disk_is_a_local_fault(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Help that cannot be written is exit 1 too."""
    with open("/dev/full", "wb") as full:
        assert "No space left" in cli(*arguments, stdout=full, code=1).err


def test_a_cube_without_a_listing_is_told_of(service: FakeService, cli: Cli) -> None:
    """A 404 for a cube that the run names is not a failure, but is reported."""
    service.add("a", BODY)
    run = service.add_run("7")
    run.cubes[("ci", "build", "linux")] = "success"
    run.cubes[("ci", "build", "gone")] = "success"
    service.api.on(f"/repos/{REPO}/cicd/artifacts/7/ci/build/gone", json_response({}, 404))
    finished = cli("list", "7")
    assert finished.stdout.count(b"\n") == 1
    assert "ci/build/gone" in finished.err


@pytest.mark.parametrize("output", ["new/deep/file", "new//file", "./new/file"])
def test_the_folder_of_an_output_is_made(service: FakeService, cli: Cli, output: str) -> None:
    """The folder of --output is created, as that of --dir is; not by a plan."""
    service.add("a", BODY)
    command = ("download", "7", *CUBE, "-o", output)
    planned = cli(*command, "-n")
    assert planned.out == f"download\t{output}\n"
    assert not (cli.cwd / "new").exists()
    cli(*command)
    assert (cli.cwd / output).read_bytes() == BODY


@pytest.mark.parametrize(
    ("artifact", "arguments", "code"),
    [
        ({"status": "registered"}, (), 6),
        ({"status": "success"}, ("--retries", "0"), 6),
        ({"status": "success", "url": "http://example.com/x"}, (), 8),
    ],
)
def test_a_folder_made_in_vain_is_removed(
    service: FakeService, cli: Cli, artifact: dict[str, str], arguments: tuple[str, ...], code: int
) -> None:
    """If nothing is written, a folder created for --output is removed; an older one stays."""
    service.add("a", BODY, Response(404), **artifact)
    (cli.cwd / "there").mkdir()
    cli("download", "7", *CUBE, "-o", "there/new/file", *arguments, code=code)
    assert os.listdir(cli.cwd) == ["there"]
    assert os.listdir(cli.cwd / "there") == []


def test_a_folder_is_no_file(service: FakeService, cli: Cli) -> None:
    """A folder as --output is refused before any request, with a hint what to write."""
    (cli.cwd / "there").mkdir()
    finished = cli("download", "7", *CUBE, "-o", "there", code=2)
    assert "error: --output: there is a folder\n  hint: --dir there downloads" in finished.err
    assert service.api.requests == []


def test_bytes_do_not_go_to_a_terminal(service: FakeService, cli: Cli) -> None:
    """`-o -` is refused on a terminal, but not for a plan."""
    service.add("a", BODY)
    command = [sys.executable, "-P", "-m", "sourcecraft_artifacts", "download", "7", *CUBE]
    status, written = picture.on_terminal([*command, "-o", "-"], cli.cwd, cli.env)
    assert status == 2
    assert " --output -: stdout is a terminal" in written
    assert service.api.requests == []
    status, written = picture.on_terminal([*command, "-o", "-", "-n"], cli.cwd, cli.env)
    assert status == 0
    assert written.startswith("download     -\n")
