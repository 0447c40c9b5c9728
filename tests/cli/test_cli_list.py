"""`list` and `runs` through the installed command: output, requests, exit statuses."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from typing import Any

import pytest
from conftest import Cli
from fake_service import CUBE, DATES, REPO, FakeService, problem, target, tree
from servers import Response, closed_port, json_response, ranged

LISTING = target("7", *CUBE)
ALL_CLOSED = "<&- >&- 2>&-"
HOSTILE = "a\x1b[31m\tb\nc\u202e[red]x[/nope]:bomb:\x9b"


def test_a_cube_is_one_request_and_lines_of_six_columns(service: FakeService, cli: Cli) -> None:
    """Three plain names take one request to the artifacts endpoint; the service's order is kept."""
    service.add("z/last.bin", b"1")
    service.add("./dist", status="registered", dates={})
    finished = cli("list", "-q", "7", "ci", "build", "linux")
    assert finished.out.split("\n") == [
        f"ci\tbuild\tlinux\tsuccess\t{DATES['updated_at']}\tz/last.bin",
        "ci\tbuild\tlinux\tregistered\t\t./dist",
        "",
    ]
    assert finished.err == ""
    assert [received.target for received in service.api.requests] == [LISTING]


def test_json_keeps_the_temporary_urls_to_itself(service: FakeService, cli: Cli) -> None:
    """The JSON is as documented; it has `download_url` only with --with-urls."""
    stored = service.add(HOSTILE, b"1")
    entry: dict[str, Any] = {"workflow": "ci", "task": "build", "cube": "linux", "id": "id-0"}
    entry |= {"local_path": HOSTILE, "status": "success", "dates": DATES}
    document = {"schema_version": 1, "repo": REPO, "run": "7", "artifacts": [entry]}
    assert cli("list", "--json", "7", *CUBE).json == document
    document["artifacts"] = [entry | {"download_url": service.url(stored)}]
    assert cli("list", "7", *CUBE, "--json", "--with-urls").json == document


@pytest.mark.parametrize("body", [{}, {"artifacts": None}, {"artifacts": []}, {"new": {"x": 1}}])
def test_an_empty_list_is_success(service: FakeService, cli: Cli, body: dict[str, Any]) -> None:
    """An absent, null or empty list is exit 0 and prints nothing."""
    service.api.on(LISTING, json_response(body))
    assert cli("list", "7", *CUBE).stdout == b""


@pytest.mark.parametrize(
    ("selection", "there"),
    [
        (("7", *CUBE, "-i", "nope"), "available: a, b/c"),
        (("7", *CUBE, "-x", "**"), "available: a, b/c"),
        (("7", *CUBE, "-i", "b/cd"), "the nearest: b/c, a"),
        (
            ("7", *CUBE, "-i", "b/c/*.html"),
            "b/c is one artifact, which -i b/c/ selects; available: a, b/c",
        ),
        (("7", "-i", "nope"), "available: a, b/c"),
        (("7", "c?", "build", "w*"), "available: ci/build/linux"),
        (("7", "nope*"), "available: ci/build/linux"),
    ],
)
def test_a_selection_that_leaves_nothing_names_what_there_is(
    service: FakeService, cli: Cli, selection: tuple[str, ...], there: str
) -> None:
    """It is exit 3 without JSON, as with `download`; with --allow-empty it is exit 0."""
    service.add("a")
    service.add("b/c")
    for form in ([], ["--json"]):
        finished = cli("list", *selection, *form, code=3)
        assert finished.stdout == b""
        assert finished.err == f"error: no artifact is selected\n  hint: {there}\n"
    assert cli("list", *selection, "--allow-empty").stdout == b""
    assert cli("list", *selection, "--allow-empty", "--json").json["artifacts"] == []


def test_where_there_is_nothing_nothing_is_selected_in_vain(service: FakeService, cli: Cli) -> None:
    """A cube or run without artifacts is exit 0, also with a selection."""
    service.add_run("7").cubes[CUBE] = "success"
    service.add_run("8")
    for address in (["7", *CUBE], ["7"], ["8"]):
        assert cli("list", *address, "-i", "nope").stdout == b""


def test_sizes_are_asked_of_the_storage(service: FakeService, cli: Cli) -> None:
    """--sizes sends one GET for the first byte of each artifact; an unknown size is null."""
    for number in range(30):
        service.add(f"file{number}", b"x" * number)
    service.add("lost", b"1", Response(404))
    service.add("never", status="registered")
    sizes = [*range(30), None, None]
    finished = cli("list", "7", *CUBE, "--sizes")
    told = [line.split("\t")[6] for line in finished.out.splitlines()]
    assert told == ["" if size is None else str(size) for size in sizes]
    assert finished.err == (
        "the size of 1 artifact is not known: the storage answered 404 Not Found\n"
    )
    document = cli("list", "7", *CUBE, "--sizes", "--json").json
    assert [one["size"] for one in document["artifacts"]] == sizes
    assert len(service.storage.requests) == 2 * 31
    assert {request.header("Range") for request in service.storage.requests} == {"bytes=0-0"}
    assert all("size" not in one for one in cli("list", "7", "--json").json["artifacts"])


def test_debug_shows_the_requests_for_sizes(service: FakeService, cli: Cli) -> None:
    """--debug shows each request to the storage, and why it is repeated, without its URL."""
    service.add("a", b"abc", Response(503), ranged(b"abc"))
    service.add("b", b"", Response(403))
    shown = cli("list", "7", *CUBE, "--sizes", "--debug").err
    for status in (503, 206, 403):
        assert (
            f"debug: storage: {status} for bytes=0-0 of a file at {service.storage.url}\n" in shown
        )
    assert "debug: storage: retrying in" in shown


def test_a_plan_with_sizes_adds_them_up(service: FakeService, cli: Cli) -> None:
    """A plan adds up the sizes of what it would fetch; without `-n` --sizes is exit 2."""
    service.add("kept", b"x" * 5000)
    cli.download()
    service.add("a", b"x" * 1000)
    service.add("b", b"x" * 1048)
    asked = len(service.storage.requests)
    planned = cli.download("-n", "--sizes")
    assert planned.out == "keep\tout/kept\t5000\ndownload\tout/a\t1000\ndownload\tout/b\t1048\n"
    assert planned.err == "Would fetch 2 files to out, 2.0 KiB; 1 unchanged.\n"
    assert len(service.storage.requests) == asked + 2
    assert [one["size"] for one in cli.download("-n", "--sizes", "--json").json["files"]] == [
        5000,
        1000,
        1048,
    ]
    assert "error: --sizes needs --dry-run" in cli.download("--sizes", code=2).err


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        (4, problem(401, "who are you")),
        (4, problem(403, "who are you")),
        (5, problem(404, "who are you")),
        (7, problem(500, "who are you")),
        (5, Response(404, {"Content-Type": "text/html"}, b"<html>lost</html>")),
        (7, Response(200, {"Content-Type": "text/html"}, b"<html>proxy</html>")),
        (7, Response(502, {"Content-Type": "text/html"}, b"<html>proxy</html>")),
        (7, Response(200, body=b'{"artifacts": [')),
        (7, Response(200, body=b"[" * 100_000)),
        (7, json_response({"artifacts": {"a": 1}})),
        (7, json_response(["artifacts"])),
        (7, Response(302, {"Location": "/moved"})),
        (7, Response(200, body=b'{"artifacts": []}', cut_after=5)),
        (7, Response(raw=b"SSH-2.0-OpenSSH\r\n")),
        (7, Response(raw=b"")),
    ],
)
def test_how_api_errors_end(service: FakeService, cli: Cli, code: int, answer: Response) -> None:
    """Each API error has its exit status, and its message has all parts of the service's."""
    service.api.on(LISTING, answer)
    service.api.on("/moved", json_response({"artifacts": []}))
    finished = cli("list", "7", *CUBE, "--retries", "0", code=code)
    assert finished.stdout == b""
    assert finished.err.strip()
    if b"who are you" in answer.body:
        assert all(part in finished.err for part in ("who are you", "Odd", "req-17"))
    if code in (4, 5) and answer.body.startswith(b"{"):
        assert REPO in finished.err
    if code == 4:
        assert "auth login" in finished.err
    asked = [received.target for received in service.api.requests]
    assert asked[0] == LISTING
    assert len(asked) == 1 or code == 5  # then the nearest names are looked for


def test_an_api_that_is_not_there(cli: Cli) -> None:
    """A refused connection is exit 7, and the message names the host."""
    with closed_port() as port:
        env = {"SOURCECRAFT_API_URL": f"http://127.0.0.1:{port}"}
        finished = cli("list", "7", *CUBE, "--retries", "0", env=env, code=7)
    assert f"cannot reach 127.0.0.1:{port}: Connection refused" in finished.err


@pytest.mark.parametrize("status", [429, 503])
def test_busy_answers_are_tried_again(service: FakeService, cli: Cli, status: int) -> None:
    """Rate limits and short outages are retried."""
    busy = Response(status, {"Retry-After": "0"}, b"<html>busy</html>")
    reset = Response(200, body=b"{}", reset_after=1)
    service.api.on(LISTING, busy, reset, json_response({"artifacts": []}))
    cli("list", "7", *CUBE)
    assert len(service.api.requests) == 3


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_a_closed_stdout_ends_quietly(
    service: FakeService, cli: Cli, arguments: tuple[str, ...]
) -> None:
    """`list | head -1` over 20,000 artifacts ends with nothing on stderr."""
    record = service.record(service.add("dist/file"))
    many = [{**record, "local_path": f"dist/file-{at}"} for at in range(20_000)]
    service.api.on(LISTING, json_response({"artifacts": many}))
    ends_quietly(cli, "list", "7", *CUBE, *arguments)


def ends_quietly(cli: Cli, *arguments: str) -> None:
    """Read one byte of what a command writes, close its stdout, and check how it ends."""
    process = cli.start(*arguments)
    assert process.stdout
    assert process.stdout.read(1)
    process.stdout.close()
    process.stdout = None
    finished = cli.finish(process)
    assert finished.code in (0, 141, -13)
    assert finished.err == ""


def test_a_stream_whose_reader_has_enough_ends_quietly(service: FakeService, cli: Cli) -> None:
    """`download … -o - | head -c 1` of a large artifact ends with nothing on stderr."""
    service.add("large", bytes(8 << 20))
    ends_quietly(cli, "download", "7", *CUBE, "-o", "-")


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "7"],
        ["list", "7", "--json"],
        ["runs"],
        ["download", "7", "--json"],
    ],
)
def test_streams_that_are_not_there(service: FakeService, cli: Cli, arguments: list[str]) -> None:
    """A program started without stdout, or without any stream, ends without a message."""
    service.add("a", b"1")
    for closed in (">&-", ALL_CLOSED):
        wrap = ("sh", "-c", f'exec "$@" {closed}', "sh")
        assert cli(*arguments, "-q", wrap=wrap).err == ""
    assert not tree(cli.cwd) or [*tree(cli.cwd)] == ["ci/build/linux/a"]


def test_an_output_that_is_not_there(service: FakeService, cli: Cli) -> None:
    """`-o -` without stdout is exit 1, and no other file gets the bytes."""
    service.add("a", b"1")
    wrap = ("sh", "-c", f'exec "$@" {ALL_CLOSED}', "sh")
    cli("download", "7", "-o", "-", "-q", wrap=wrap, code=(0, 1))
    assert os.listdir(cli.cwd) == []


FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
REPORTS = [
    ("list", "7", *CUBE),
    ("list", "7", *CUBE, "--json"),
    ("runs",),
    ("download", "7", *CUBE, "-d", "out", "--json"),
    ("download", "7", *CUBE, "-d", "out", "--json", "-q"),
    ("download", "7", *CUBE, "-d", "out", "--paths"),
    ("download", "7", *CUBE, "-d", "out", "-n", "--json"),
    ("verify", "out"),
]


@FULL
@pytest.mark.parametrize("arguments", REPORTS, ids=" ".join)
def test_a_full_stdout_is_a_local_fault(
    service: FakeService, cli: Cli, arguments: tuple[str, ...]
) -> None:
    """Output that cannot be written is exit 1, however short it is."""
    service.add("a", b"1")
    cli.download()
    with open("/dev/full", "wb") as full:
        finished = cli(*arguments, stdout=full, code=1)
    assert finished.err.endswith("error: cannot write to stdout: No space left on device\n")


def test_a_report_without_its_end_is_a_local_fault(service: FakeService, cli: Cli) -> None:
    """It is exit 1 also if only the end of the output cannot be written."""
    for number in range(50):
        service.add(f"a{number}", b"1")
    command = ("download", "7", *CUBE, "-n", "--json")
    assert 8192 < len(cli(*command).stdout) < 16384
    with open(cli.cwd / "report", "wb") as report:
        finished = cli(*command, "-q", env=cli.limited(FSIZE=8192), stdout=report, code=1)
    assert finished.err == "error: cannot write to stdout: File too large\n"
    assert (cli.cwd / "report").stat().st_size == 8192


@pytest.mark.parametrize(
    "arguments",
    [
        *REPORTS,
        ("--help",),
        ("download", "--help"),
        ("--version",),
        ("--show-completion", "bash"),
    ],
    ids=" ".join,
)
def test_a_reader_that_has_left_is_no_fault(
    service: FakeService, cli: Cli, arguments: tuple[str, ...]
) -> None:
    """A reader that leaves before the first byte, as `| true` does, is exit 0 and quiet."""
    service.add("a", b"1")
    cli.download()
    reader, writer = os.pipe()
    os.close(reader)
    process = cli.start(*arguments, stdout=writer)
    os.close(writer)
    finished = cli.finish(process)
    assert finished.code == 0
    assert "error" not in finished.err


def test_hostile_text_is_made_visible(service: FakeService, cli: Cli) -> None:
    """Control, bidi and escape characters are made visible, and text is not read as markup."""
    service.add(HOSTILE, dates={"updated_at": "now\r"}, cube=("ci", "b\tc", "linux"))
    plain = cli("list", "7", env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}).out
    assert plain.count("\t") == 5
    assert plain.isascii()
    master, slave = pty.openpty()
    size = {"COLUMNS": "250", "TERM": "xterm-256color", "NO_COLOR": "1"}
    process = cli.start("list", "7", stdout=slave, stderr=subprocess.PIPE, env=size)
    os.close(slave)
    table = b""
    try:
        while piece := os.read(master, 65536):
            table += piece
    except OSError:
        pass
    finally:
        os.close(master)
    assert cli.finish(process).code == 0
    for shown in (plain, table.decode()):
        assert "[red]x[/nope]:bomb:" in shown
        assert not any(raw in shown for raw in ("\x1b[31m", "\u202e", "\x9b"))


def test_the_document_survives_a_locale_without_unicode(service: FakeService, cli: Cli) -> None:
    """Cyrillic names are written in a C locale, as JSON and as lines."""
    service.add("отчёт.txt")
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    assert json.loads(cli("list", "7", "--json", env=ascii_only).stdout)["artifacts"]
    assert cli("list", "7", env=ascii_only).stdout.count(b"\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "7", "-R", "noslash"],
        ["list", "7", "-R", "a/b/c"],
        ["list", "7", "a", "b", "c", "d"],
        ["list", f"https://sourcecraft.dev/{REPO}/cicd/runs/7", "-R", "other/repo"],
        ["list", "7", "--retries", "-1"],
        ["runs", "-L", "0"],
        ["list", "7", "--nope"],
        ["nope"],
    ],
)
def test_usage_errors_ask_nobody(service: FakeService, cli: Cli, arguments: list[str]) -> None:
    """Bad arguments are exit 2, before any request."""
    assert cli(*arguments, code=2).err
    assert service.api.requests == []


def test_help_and_version_stand_alone(cli: Cli) -> None:
    """`--version` prints one line; `-h` works with every command."""
    assert cli("--version").out.startswith("sourcecraft-artifacts ")
    for command in ("list", "download", "runs", "verify", "auth", "sandbox"):
        assert "Usage" in cli(command, "-h").out
