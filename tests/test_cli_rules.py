"""Rules where two options, two settings or two readings of an answer meet."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from conftest import Cli
from servers import json_answer
from service import CUBE, REPO, FakeService, tree

BODY = b"body"
SLOW = ("ci", "test", "slow")


@pytest.fixture
def waiting(service: FakeService) -> FakeService:
    """A run that goes on, with an artifact that does not come."""
    service.add_run("7", "processing").cubes[SLOW] = "processing"
    service.add("quick", BODY)
    service.add("later", status="registered", cube=SLOW)
    return service


@pytest.mark.parametrize("output", ["x", "-"])
@pytest.mark.usefixtures("waiting")
def test_waiting_for_one_has_an_end(cli: Cli, output: str) -> None:
    """`-o` with a time-out that passes is exit 9, on time, and leaves no file."""
    began = time.monotonic()
    command = ("download", "7", *SLOW, "-o", output, "--wait", "--wait-timeout", "0.3s")
    selections: list[tuple[str, ...]] = [("-i", "later"), ("-i", "nothing")]
    selections += [(*one, "--allow-missing") for one in selections]
    for process in [cli.start(*command, *one) for one in selections]:
        finished = cli.finish(process)
        assert (finished.code, finished.stdout) == (9, b"")
        assert "--wait-timeout" in finished.err
        assert 0.3 <= time.monotonic() - began < 4
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
    """What can be said at once is said at once."""
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
    """The file of checksums never takes the place of what else is written."""
    service.add("a", BODY)
    cli("download", "7", *CUBE, *arguments, code=code)
    left = {name: body for name, body in tree(cli.cwd).items() if "manifest" not in name}
    assert set(left.values()) <= {BODY}


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
    """A variable gives way to an option that it does not go with."""
    service.add("a", BODY)
    finished = cli(*arguments, env={f"SOURCECRAFT_ARTIFACTS_{variable}": "1"})
    assert finished.stdout


@pytest.mark.parametrize("arguments", [("list", "7"), ("list", "7", *CUBE), ("runs",)])
def test_an_error_with_status_200_is_an_error(
    service: FakeService, cli: Cli, arguments: tuple[str, ...]
) -> None:
    """The service's form of an error is not taken for an empty answer."""
    error = {"error_code": "PermissionDenied", "message": "no way", "request_id": "q2"}
    for target in ("runs", "runs/7", "artifacts", "artifacts/7/ci/build/linux"):
        service.api.on(f"/repos/{REPO}/cicd/{target}", json_answer(error))
    said = cli(*arguments, code=7).err
    assert all(value in said for value in error.values())


@pytest.mark.parametrize("arguments", [("--version",), ("-h",), ("list", "-h")])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_help_into_a_full_disk_is_a_local_fault(cli: Cli, arguments: tuple[str, ...]) -> None:
    """What the parser itself prints keeps to the exit statuses as well."""
    with open("/dev/full", "wb") as full:
        assert "No space left" in cli(*arguments, stdout=full, code=1).err


def test_a_cube_without_a_listing_is_told_of(service: FakeService, cli: Cli) -> None:
    """A 404 for a cube that the run names is no failure, and not passed over in silence."""
    service.add("a", BODY)
    run = service.add_run("7")
    run.cubes[("ci", "build", "linux")] = "success"
    run.cubes[("ci", "build", "gone")] = "success"
    service.api.on(f"/repos/{REPO}/cicd/artifacts/7/ci/build/gone", json_answer({}, 404))
    finished = cli("list", "7")
    assert finished.stdout.count(b"\n") == 1
    assert "ci/build/gone" in finished.err
