"""The token and the signed URLs go to their one place and nowhere else.

`Cli.finish` searches the output of every run for both, and the `service` fixture searches every
request to the storage for credentials; these tests create situations in which they could leak.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from conftest import Cli
from fake_service import (
    CUBE,
    REPO,
    SIGNATURE,
    TOKEN,
    FakeService,
    eventually,
    held,
    partial_bytes,
    problem,
    target,
)
from servers import Received, Response, ScriptedServer, json_response, ranged

BODY = bytes(range(256)) * 20_000


def bytes_below(folder: Path) -> bytes:
    """Return the names and contents of all files, joined."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return b"\n".join(str(path).encode() + path.read_bytes() for path in files)


@pytest.mark.parametrize("arguments", [["--debug"], ["--debug", "--progress", "json"], ["--json"]])
def test_troubled_transfers_tell_no_secrets(
    service: FakeService, cli: Cli, arguments: list[str]
) -> None:
    """Retries, new URLs, redirects, errors and refused connections show no secret."""
    with ScriptedServer(host="localhost") as gone:
        dead = f"{gone.url}/x?X-Signature={SIGNATURE}"
    moved = {"Location": f"/final?X-Signature={SIGNATURE}"}
    service.storage.on("/final", Response(200, (), BODY))
    service.add("moved", BODY, Response(302, moved))
    service.add("dead", url=dead)
    service.add("cut", BODY, ranged(BODY, cut_first=100_000), ranged(BODY))
    service.add("echo", BODY, lambda r: Response(404, body=f"<Error>{r.target}</Error>".encode()))
    service.add("bad", BODY, Response(raw=b"HTTP/9 hello\r\n\r\n"))
    circle = {"Location": f"http://example.com/?X-Signature={SIGNATURE}"}
    service.add("circle", BODY, Response(302, circle))
    service.stale_listings = 1
    finished = cli.download("--retries", "1", *arguments, code=(6, 8))
    if "--debug" in arguments:
        assert "/cicd/artifacts/7/ci/build/linux" in finished.err
    left = bytes_below(cli.cwd)
    assert TOKEN.encode() not in left
    assert SIGNATURE.encode() not in left


def test_partial_data_tells_no_secrets(service: FakeService, cli: Cli) -> None:
    """A killed run leaves no URL or token on disk."""
    service.add("large", BODY, held(BODY, threading.Event()))
    process = cli.start("download", "7", *CUBE, "-d", "out", "--debug")
    eventually(lambda: partial_bytes(cli.out), "something is on disk")
    process.kill()
    cli.finish(process)
    left = bytes_below(cli.cwd)
    assert TOKEN.encode() not in left
    assert SIGNATURE.encode() not in left


def test_an_api_error_that_echoes_the_token(service: FakeService, cli: Cli) -> None:
    """A token that the service repeats in an error is not shown."""

    def echo(received: Received) -> Response:
        return problem(403, f"bad {received.header('Authorization')} \x1b[31m[red]hm[/nope]\u202e")

    service.api.on(f"/repos/{REPO}/cicd/", echo)
    finished = cli("list", "7", *CUBE, "--debug", code=4)
    assert "[red]hm[/nope]" in finished.err
    assert not {"\x1b", "\u202e"} & set(finished.err)


def test_the_token_goes_to_the_api_alone(service: FakeService, cli: Cli, tmp_path: Path) -> None:
    """`.netrc` is not read, neither for the API nor for the storage."""
    netrc = "".join(
        f"machine {h} login l password netrc-pa55\n" for h in ("localhost", "127.0.0.1")
    )
    (tmp_path / ".netrc").write_text(netrc)
    (tmp_path / ".netrc").chmod(0o600)
    service.add("file", b"x")
    cli.download(env={"NETRC": str(tmp_path / ".netrc")})
    cli.download("--if-exists", "overwrite", env={"SOURCECRAFT_TOKEN": None})
    sent = [received.header("Authorization") for received in service.api.requests]
    assert sent == [f"Bearer {TOKEN}", None]


def test_api_redirects_are_not_followed(service: FakeService, cli: Cli) -> None:
    """A redirect of the API is an error, and its target gets no request."""
    moved = {"Location": f"{service.storage.url}/elsewhere"}
    for status in (301, 302, 307, 308):
        service.api.on(target("7", *CUBE), Response(status, moved))
        cli("list", "7", *CUBE, code=7)
    assert service.storage.requests == []
    assert len(service.api.requests) == 4


def test_proxies_are_honoured_and_their_passwords_kept(service: FakeService, cli: Cli) -> None:
    """HTTP_PROXY and NO_PROXY are honoured, and the proxy's user info is never shown."""
    answer = json_response({"artifacts": []})
    with ScriptedServer() as proxy:
        proxy.on("http://", answer)
        url = proxy.url.replace("//", "//ann:pa55word@")
        env = {"HTTP_PROXY": url, "http_proxy": url}
        finished = cli("list", "7", *CUBE, "--debug", env=env)
        assert "pa55word" not in finished.err
        assert [one.target for one in proxy.requests] == [service.api.url + target("7", *CUBE)]
        assert proxy.requests[0].header("Proxy-Authorization")
        service.add("file", b"x")
        cli.download(env={**env, "NO_PROXY": "127.0.0.1,localhost"})
        assert len(proxy.requests) == 1
        assert all(one.header("Proxy-Authorization") is None for one in service.api.requests)
    finished = cli("list", "7", *CUBE, "--debug", "--retries", "0", env=env, code=7)
    assert "pa55word" not in finished.err


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://ann:pa55word@127.0.0.1:1",
        "https://ann:pa55word@api.example.com",
        "ftp://127.0.0.1",
        "127.0.0.1",
        "http://127.0.0.1@example.com",
        "http://localhost.example.com",
    ],
)
def test_an_unsafe_api_address_is_usage(cli: Cli, url: str) -> None:
    """An API address with http off loopback or with user info is exit 2, and is not shown."""
    finished = cli("list", "7", *CUBE, "--api-url", url, code=2)
    assert "pa55word" not in finished.err
