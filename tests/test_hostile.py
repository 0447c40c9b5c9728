"""Hostile services, storages and folders: the command limits them, and says what is wrong."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Finished
from fake_service import (
    CUBE,
    REPO,
    SIGNATURE,
    STATE,
    TOKEN,
    FakeService,
    partial_bytes,
    problem,
    target,
    tree,
)
from servers import Received, Reply, Response, json_response, ranged

BODY = bytes(range(256)) * (2 << 20 >> 8)
HUGE = "9" * 5000
MEMORY = 1_000_000 << 10


def bomb(head: bytes, item: bytes, tail: bytes, mebibytes: int) -> bytes:
    """Compress a text that repeats one item up to a size; in members, which are cheap to make."""
    block = gzip.compress(item * ((1 << 20) // len(item)), 1)
    return gzip.compress(head) + block * mebibytes + gzip.compress(tail)


BOMBS = {
    "spaces": lambda: bomb(b"{", b" ", b"}", 1024),
    "long": lambda: bomb(b'{"x": "', b"x", b'"}', 65),
    "lists": lambda: bomb(b'{"artifacts": [', b"[],", b"[]]}", 62),
    "objects": lambda: bomb(b'{"artifacts": [', b"{},", b"{}]}", 62),
    "numbers": lambda: bomb(b'{"x": [', b"1e9,", b"1]}", 62),
    "keys": lambda: bomb(b'{"x": [', b'{"":1},', b"1]}", 62),
    "deep": lambda: bomb(b"", b"[", b"", 62),
    "deep objects": lambda: bomb(b"", b'{"a":', b"", 62),
}


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
@pytest.mark.parametrize(("kind", "status"), [*((kind, 200) for kind in BOMBS), ("spaces", 500)])
def test_bombs(service: FakeService, cli: Cli, kind: str, status: int) -> None:
    """A small body that expands to a huge one is an API error, in little memory."""
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    service.api.on(target("7", *CUBE), Response(status, headers, BOMBS[kind]()))
    finished = cli("list", "7", *CUBE, "--retries", "0", env=cli.limited(AS=MEMORY), code=7)
    assert len(finished.err) < 1000


@pytest.mark.parametrize("framing", [{}, {"chunked": True}, {"no_length": True}])
def test_a_listing_that_is_too_long(
    service: FakeService, cli: Cli, framing: dict[str, Any]
) -> None:
    """Of a listing above 64 MiB the rest is not read, whatever its framing."""
    answer = Response(200, (), b'{"x": "' + b"x" * (65 << 20), **framing)
    service.api.on(target("7", *CUBE), answer)
    assert "67,108,864" in cli("list", "7", *CUBE, env=cli.limited(AS=MEMORY), code=7).err
    assert service.listings() == 1


def test_an_honest_large_listing(service: FakeService, cli: Cli) -> None:
    """A listing of a hundred thousand artifacts is below the limits."""
    record = service.record(service.add("some/where/file", url=f"https://h/{'x' * 300}"))
    records = [record | {"local_path": f"some/where/file-{at}"} for at in range(100_000)]
    service.api.on(target("7", *CUBE), json_response({"artifacts": records}))
    assert cli("list", "7", *CUBE, env=cli.limited(AS=MEMORY)).stdout.count(b"\n") == 100_000


NUMBERS: dict[str, Reply] = {
    "length": Response(raw=f"HTTP/1.1 200 OK\r\nContent-Length: {HUGE}\r\n\r\nhello".encode()),
    "chunk": Response(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello"),
    "status": Response(raw=f"HTTP/1.1 {HUGE} OK\r\n\r\n".encode()),
    "range": Response(206, {"Content-Range": f"bytes 0-4/{HUGE}"}, b"hello"),
    "location": Response(302, {"Location": "//[x/"}),
    "port": Response(302, {"Location": f"http://localhost:{HUGE}/"}),
    "headers": Response(200, [(f"X-{at}", "x" * 1000) for at in range(500)], b"hello"),
    "continue": Response(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
}


def test_storages_that_break_the_rules(service: FakeService, cli: Cli) -> None:
    """Invalid numbers and addresses fail the artifact, and are not bugs."""
    for name, reply in NUMBERS.items():
        service.add(name, b"hello", reply)
    cut = ranged(BODY, cut_first=1 << 20)
    odd = Response(206, {"ETag": '"v1"', "Content-Range": f"bytes 0-4/{HUGE}"}, b"hello")
    service.add("resumed", BODY, cut, odd, ranged(BODY))
    finished = cli.download("--retries", "1", "--json", code=8)  # an unsafe redirect is a refusal
    assert "bug" not in finished.err
    assert finished.outcomes == dict.fromkeys(NUMBERS, "failed") | {"resumed": "downloaded"}


@pytest.mark.parametrize("ending", ["\n", "\r", "\r\n "])
def test_headers_are_not_carried_into_requests(service: FakeService, cli: Cli, ending: str) -> None:
    """A validator with a line break adds no header to a later request."""
    dated = {"Last-Modified": f"Sat, 01 Nov 2025 10:00:00 GMT{ending}X-Evil: 1"}
    good = ranged(BODY, etag=None, headers=dated, cut_first=1 << 20)
    stored = service.add("file", BODY, good, ranged(BODY))
    cli.download("--retries", "1", code=(0, 6))
    assert all(received.header("X-Evil") is None for received in stored.requests)


def test_run_slugs_of_any_length(service: FakeService, cli: Cli) -> None:
    """A run number of five thousand digits is sorted like any other name."""
    service.add_run(HUGE)
    service.add_run("7")
    assert len(cli("runs").out.splitlines()) == 2
    cli("list", "latest")


@pytest.mark.parametrize("glob", ["*a*a*a*b", "**/a/**/a/**/b", "**/*a*/**/*a*/*.xml"])
def test_globs_take_their_time_from_no_name(service: FakeService, cli: Cli, glob: str) -> None:
    """A crafted path takes a glob no more time than its length."""
    service.add("a" * 100_000)
    service.add("a/" * 50_000)
    service.add("b")
    finished = cli("list", "7", *CUBE, "-i", glob, code=3)
    assert len(finished.err) < 1000


ODD_URLS = (
    "/it's/x?X-Signature=",
    "/x?a='b'&X-Signature=",
    '/x?a="&X-Signature=',
    "/x?a=<b>&X-Signature=",
    "/x?a=\u00a0&X-Signature=",
    "/x?a={}|^`&X-Signature=",
    "/x;a?b?X-Signature=",
    "/x?b@c&X-Signature=",
)


def test_urls_in_the_log_have_no_key(service: FakeService, cli: Cli) -> None:
    """`--debug` shows no secret of a URL, whatever its form."""
    service.storage.on("/", Response(200, (), b"x"))
    for at, odd in enumerate(ODD_URLS):
        service.add(f"file-{at}", url=f"{service.storage.url}{odd}{SIGNATURE}")
    loud = service.storage.url.replace("http", "HTTP")
    service.add("loud", url=f"{loud}/x?X-Signature={SIGNATURE}")
    service.add("hash", url=f"{service.storage.url}/x#?X-Signature={SIGNATURE}")
    service.add("path", url=f"{service.storage.url}/{SIGNATURE}/x")
    finished = cli.download("--debug")
    assert finished.err.count("storage: 200") == len(ODD_URLS) + 3


def echo_line(received: Received) -> Response:
    """Respond with the request itself."""
    return Response(raw=f"GET {received.target} HTTP/1.1\r\n\r\n".encode())


def echo_message(received: Received) -> Response:
    """Repeat the target in an error's message."""
    text = f"<Error><Code>{received.target}</Code><Message>no {received.target}</Message></Error>"
    return Response(404, body=text.encode())


def echo_location(received: Received) -> Response:
    """Redirect to an unsafe URL, with the query."""
    return Response(302, {"Location": f"http://example.com{received.target}"})


def echo_signature(received: Received) -> Response:
    """Repeat the bare signature."""
    signature = received.target.rpartition("=")[2]
    return Response(400, body=f"<Error><Message>not {signature}</Message></Error>".encode())


@pytest.mark.parametrize("echo", [echo_line, echo_message, echo_location, echo_signature])
@pytest.mark.parametrize("arguments", [("--debug", "--json"), ("--debug", "-o", "one")])
def test_echoes(service: FakeService, cli: Cli, echo: Reply, arguments: tuple[str, ...]) -> None:
    """A storage that repeats the request puts no signature on the screen or into the report."""
    service.add("file", BODY, echo)
    command = ("download", "7", *CUBE, "--retries", "0", *arguments)
    finished = cli(*command, code=6 if echo is not echo_location else (6, 8))
    assert "file" in finished.err


def test_a_storage_that_knows_the_token(service: FakeService, cli: Cli) -> None:
    """The token is not shown, also if a storage's message has it."""
    said = f"<Error><Code>{TOKEN}</Code><Message>no {TOKEN.upper()}</Message></Error>"
    service.add("file", BODY, Response(403, body=said.encode()))
    finished = cli.download("--retries", "0", "--debug", "--json", code=6)
    assert "[redacted]: no [redacted]" in finished.err
    assert TOKEN.lower() not in (finished.err + finished.out).lower()


@pytest.mark.parametrize("output", ["one", "-"])
def test_an_unsafe_url_of_one_file(service: FakeService, cli: Cli, output: str) -> None:
    """`-o` refuses an unsafe URL as a download to a folder does."""
    service.add("file", url="http://example.com/x")
    cli("download", "7", *CUBE, "-o", output, code=8)
    assert os.listdir(cli.cwd) == []


REMOTES = [
    "https://ann:gitpa55@git.sourcecraft.dev/org/repo.git",
    "https://ann:gitpa55@git.sourcecraft.dev/org/repo/more.git",
    "https://ann:gitpa55@git.sourcecraft.dev@example.com/org/repo.git",
    "https://ann:gitpa55@example.com/org/repo.git",
    "ssh://ann:gitpa55@ssh.sourcecraft.dev/or\x1b[31mg/repo.git",
]


@pytest.mark.parametrize("remote", REMOTES)
def test_git_credentials(service: FakeService, cli: Cli, remote: str) -> None:
    """The remote's password is in no error, and is not sent."""
    subprocess.run(["git", "init", "-q"], cwd=cli.cwd, check=True)
    subprocess.run(["git", "config", "remote.origin.url", remote], cwd=cli.cwd, check=True)
    env = {"SOURCECRAFT_ARTIFACTS_REPO": None}
    finished = cli("list", "8", *CUBE, "--debug", env=env, code=(2, 5))
    assert "gitpa55" not in finished.err + finished.out
    assert "\x1b" not in finished.err
    assert not [one for one in service.api.requests if "gitpa55" in f"{one.target}{one.headers}"]


def test_a_linked_journal_is_not_written_to(service: FakeService, cli: Cli) -> None:
    """A hard link in the journal's place is not written through."""
    service.add("file", b"x")
    victim = cli.cwd / "victim"
    victim.write_bytes(b"theirs")
    (cli.out / STATE).mkdir(parents=True)
    os.link(victim, cli.out / STATE / "journal.jsonl")
    cli.download("--if-exists", "overwrite", code=(0, 1, 8))
    assert victim.read_bytes() == b"theirs"


def test_a_linked_part_is_not_written_to(service: FakeService, cli: Cli) -> None:
    """Partial data with another name outside is not resumed."""
    service.add("file", BODY, ranged(BODY, cut_first=1 << 20), ranged(BODY))
    cli.download("--retries", "0", code=6)
    part = next((cli.out / STATE / "partial").glob("*.part"))
    os.link(part, cli.cwd / "victim")
    before = (cli.cwd / "victim").read_bytes()
    cli.download()
    assert tree(cli.out) == {"file": BODY}
    assert (cli.cwd / "victim").read_bytes() == before


LINES = (
    '{"file": 5}',
    '{"file": null}',
    "[]",
    "[" * 100_000,
    '{"file": {}}',
    '{"odd": {"repo": 1, "size": "x", "sha256": [], "dates": []}}',
    "\udcff\udcfe",
)


def test_a_journal_that_is_not_ours(service: FakeService, cli: Cli) -> None:
    """Lines without meaning are ignored."""
    service.add("other", b"x")
    (cli.out / STATE).mkdir(parents=True)
    text = "\n".join(LINES).encode("utf-8", "surrogateescape")
    (cli.out / STATE / "journal.jsonl").write_bytes(text)
    cli.download()
    assert tree(cli.out) == {"other": b"x"}
    cli("verify", "out", code=(0, 8))


FIELDS = ("sha256", "size", "mtime_ns", "repo", "local_path", "validator", "dates")


@pytest.mark.parametrize("value", [5, [], "\n0  /etc/passwd", "\x1b[31mé"])
def test_a_manifest_that_is_not_ours(service: FakeService, cli: Cli, value: object) -> None:
    """Any manifest content causes no crash, and no odd text in other files."""
    for field in FIELDS:
        service.add(field, b"x")
    cli.download()
    path = cli.out / STATE / "manifest.json"
    manifest = json.loads(path.read_text())
    for field in FIELDS:
        manifest["files"][field][field] = value
    path.write_text(json.dumps(manifest))
    assert "bug" not in cli("verify", "out", code=(0, 8)).err
    arguments = ("--json", "--checksums", "sums", "--if-exists")
    assert "bug" not in cli.download(*arguments, "update", code=(0, 8)).err
    cli.download(*arguments, "overwrite")
    sums = (cli.cwd / "sums").read_text().splitlines()
    assert [line[64:] for line in sums] == [f"  out/{field}" for field in FIELDS]


def test_odd_things_in_the_state_folder(service: FakeService, cli: Cli) -> None:
    """Folders and FIFOs under its names are named, block nothing, and stay."""
    service.add("file", b"x")
    state = cli.out / STATE
    for name in ("manifest.json", "journal.jsonl"):
        for make in (os.mkdir, os.mkfifo):
            state.mkdir(parents=True, exist_ok=True)
            make(state / name)
            for command in (("download", "7", *CUBE, "-d", "out"), ("verify", "out")):
                finished = cli(*command, code=(0, 1, 2, 8))
                assert finished.code in (0, 2, 8) or "out" in finished.err
            subprocess.run(["rm", "-r", str(cli.out)], check=True)


def test_checksums_replace_their_file_alone(service: FakeService, cli: Cli) -> None:
    """A file with a name like a temporary one stays."""
    service.add("file", b"x")
    neighbours = [cli.cwd / name for name in ("sums.new", "sums.tmp", ".sums", "sums~")]
    for path in neighbours:
        path.write_bytes(b"mine")
    cli.download("--checksums", "sums")
    assert [path.read_bytes() for path in neighbours] == [b"mine"] * len(neighbours)


@pytest.mark.parametrize("arguments", [("-o",), ("-d", "out", "--checksums")])
@pytest.mark.parametrize("kind", ["fifo", "device", "stream"])
def test_what_is_no_file_is_not_replaced(
    service: FakeService, cli: Cli, kind: str, arguments: tuple[str, ...]
) -> None:
    """A FIFO, or a link to a device or to an open stream such as /dev/stdout, stays."""
    service.add("file", b"x")
    place = cli.cwd / "place"
    if kind == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/null" if kind == "device" else "/proc/self/fd/1")
    before = os.lstat(place).st_ino
    with open(cli.cwd / "stdout", "wb") as stdout:
        process = cli.start("download", "7", *CUBE, *arguments, "place", stdout=stdout)
        finished = cli.finish(process)
    assert os.lstat(place).st_ino == before
    assert finished.code in (0, 8), finished.err


EVIL = "\x1b]0;pwn\x07\x9b31m\u202e[red]:bomb:[/nope]\r\n\t\x7f\u2028é"
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
# Without a locale Python uses UTF-8.
LOCALES: list[dict[str, str]] = [{}, {"PYTHONIOENCODING": "ascii:strict"}, BARE]


def hostile_text(service: FakeService) -> None:
    """Put control characters and markup wherever a service can put text."""
    names = (f"w{EVIL}", f"t{EVIL}", f"c{EVIL}")
    dates = {"registered_at": EVIL, "obtained_at": EVIL, "updated_at": EVIL}
    service.add(f"path{EVIL}\ud800", b"", cube=names, status=f"s{EVIL}", dates=dates)
    message = f"<Error><Code>{EVIL}</Code><Message>{EVIL}</Message></Error>"
    refusal = Response(404, {"X-Odd": "\x1b[31m"}, message.encode())
    service.add("failing", b"x", refusal, cube=names)
    service.runs["7"].status = EVIL
    service.runs["7"].created_at = EVIL


def is_safe(finished: Finished) -> bool:
    """Tell whether the outputs are only printable text, line ends and tabs."""
    text = finished.err + finished.stdout.decode("utf-8", "surrogateescape")
    return all(c.isprintable() or c in "\n\t" for c in text) and "\u202e" not in text


def told_in_every_mode(service: FakeService, cli: Cli) -> list[Finished]:
    """Run commands that show what the service sends, in each of their forms."""
    run = ("download", "7", "-d", "out", "--retries", "0")
    only = ("-i", "failing", "--layout", "flat")
    told = [
        cli("list", "7"),
        cli("list", "7", "--json"),
        cli("runs"),
        cli(*run, code=8),
        cli(*run, *only, "--progress", "plain", "--debug", code=6),
        cli(*run, *only, "--json", "--progress", "json", "--debug", code=6),
        cli(*run, "-i", "none", code=3),
        cli("list", "latest", "none", code=5),
    ]
    broken = [
        problem(500, EVIL),
        Response(raw=b"HTTP/1.1 500 \x1b]0;pwn\x07\r\nX: \x9b\r\n\r\n"),
        Response(200, (), f"<p>{EVIL}</p>".encode()),
    ]
    for answer in broken:
        service.api.on(f"/repos/{REPO}/cicd/", answer)
        told.append(cli("list", "7", "--retries", "0", "--debug", code=7))
    return told


@pytest.mark.parametrize("env", LOCALES)
def test_text_in_every_mode(service: FakeService, cli: Cli, env: dict[str, str]) -> None:
    """Text from outside is made visible in every mode and every encoding of the streams."""
    hostile_text(service)
    cli.env |= env
    with cli.started_with(env):
        told = told_in_every_mode(service, cli)
    assert [finished for finished in told if not is_safe(finished)] == []


def on_a_terminal(cli: Cli, *arguments: str, env: dict[str, str]) -> str:
    """Run the command with a terminal as its stdout and stderr; return what it wrote there."""
    ours, theirs = pty.openpty()
    shown = bytearray()

    def read() -> None:
        while True:
            try:
                shown.extend(os.read(ours, 1 << 16))
            except OSError:  # the other side is closed everywhere
                return

    reader = threading.Thread(target=read)
    process = cli.start(*arguments, env=env, stdout=theirs, stderr=theirs)
    reader.start()
    process.communicate(timeout=30)
    os.close(theirs)
    reader.join()
    os.close(ours)
    return shown.decode("utf-8", "replace")


@pytest.mark.parametrize("env", [{}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}])
@pytest.mark.parametrize("command", ["list", "runs", "download"])
def test_text_on_a_terminal(
    service: FakeService, cli: Cli, command: str, env: dict[str, str]
) -> None:
    """Tables and bars show such text with visible escapes, and read no markup or emoji."""
    hostile_text(service)
    more = {
        "list": ["7"],
        "runs": [],
        "download": ["7", "-d", "out", "--layout", "flat", "-i", "failing"],
    }[command]
    shown = on_a_terminal(cli, command, *more, env={"TERM": "xterm", "COLUMNS": "2000", **env})
    assert "\\x1b]0;pwn\\x07\\x9b31m\\u202e[red]:bomb:[/nope]" in shown
    assert not {"\x9b", "\u202e", "\x07", "\u2028", "\x7f"} & set(shown)
    assert "\x1b]" not in shown


def test_what_is_left_has_no_secrets(service: FakeService, cli: Cli, tmp_path: Path) -> None:
    """After all kinds of failures, only the config file has a secret."""
    service.stale_listings = 1
    service.add("cut", BODY, ranged(BODY, cut_first=1 << 20), echo_line)
    service.add("echo", BODY, echo_message)
    service.add("etag", BODY, ranged(BODY, etag=f'"{SIGNATURE[:4]}"', cut_first=1 << 20))
    service.add("good", BODY)
    cli.download("--retries", "1", "--checksums", "sums", code=(0, 6))
    assert partial_bytes(cli.out)
    left = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SIGNATURE.encode() not in left
    assert cli.env["SOURCECRAFT_TOKEN"].encode() not in left
