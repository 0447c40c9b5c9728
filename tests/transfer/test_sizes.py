"""How sizes are requested from a storage, and read from its responses."""

from __future__ import annotations

import pytest
from servers import Received, Response, ScriptedServer, ranged

from sourcecraft_artifacts.transfer import sizes
from sourcecraft_artifacts.transfer.sizes import ask_sizes, read_size


@pytest.mark.parametrize(
    ("status", "headers", "size"),
    [
        (206, {"content-range": "bytes 0-0/1234"}, 1234),
        (206, {"content-range": " Bytes 0-0/7 ", "content-length": "1"}, 7),
        (206, {"content-range": "bytes 0-0/*"}, None),
        (206, {"content-length": "1"}, None),
        (206, {"content-range": "bytes 0-0/" + "9" * 30}, None),
        (416, {"content-range": "bytes */0"}, 0),
        (416, {}, None),
        (200, {"content-length": "42"}, 42),
        (200, {"content-length": "0"}, 0),
        (200, {"content-length": "1", "content-range": "bytes 0-0/5000"}, 5000),
        (200, {"content-length": "1", "content-range": "bytes 0-0/*"}, None),
        (200, {"content-length": "-1"}, None),
        (200, {"content-length": "1, 1"}, None),
        (200, {"content-length": "\u00b2"}, None),
        (200, {}, None),
        (200, {"content-length": "42", "content-encoding": "gzip"}, None),
        (206, {"content-range": "bytes 0-0/9", "content-encoding": "identity"}, 9),
        (403, {"content-length": "42"}, None),
        (404, {"content-range": "bytes 0-0/9"}, None),
    ],
)
def test_a_size_is_read_where_it_is_told(
    status: int, headers: dict[str, str], size: int | None
) -> None:
    """The size is the total of a range or the length of a whole body; nothing is guessed."""
    assert read_size(status, headers) == size


def test_sizes_come_in_order_and_unknown_ones_are_none() -> None:
    """Each takes one GET for its first byte, over few connections."""
    with ScriptedServer() as server:
        for name, body in {"/a?s=%7e": b"x" * 10_000, "/empty": b"", "/b": b"yy"}.items():
            server.on(name, ranged(body))
        server.on("/gone", Response(404))
        server.on("/whole", Response(200, body=b"z" * 100_000))
        names = ["/a?s=%7e", "/empty", "/gone", "/whole", "/b"]
        urls = [None, *(server.url + name for name in names)]
        assert ask_sizes(urls) == [None, 10_000, 0, None, 100_000, 2]
        assert sorted(request.target for request in server.requests) == sorted(names)
        for request in server.requests:
            assert request.method == "GET"
            assert request.header("Range") == "bytes=0-0"
            assert request.header("Authorization") is None


def test_a_storage_that_is_busy_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 503 is retried, twice at most; without retries the size is unknown."""
    monkeypatch.setattr(sizes, "backoff", lambda failed: 0.0)
    with ScriptedServer() as server:
        server.on("/a", Response(503), ranged(b"abc"))
        server.on("/b", Response(503))
        assert ask_sizes([server.url + "/a"], retries=5) == [3]
        assert ask_sizes([server.url + "/b"], retries=0) == [None]
        server.requests.clear()
        assert ask_sizes([server.url + "/b"], retries=9) == [None]
        assert len(server.requests) == 3


def test_a_storage_that_stalls_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another try would hold up the requests to others."""
    monkeypatch.setattr(sizes, "TIMEOUT", 0.2)
    with ScriptedServer() as server:
        server.on("/a", Response(hang=True))
        assert ask_sizes([server.url + "/a"], retries=5) == [None]
        assert len(server.requests) == 1


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_connections_are_open_than_allowed(jobs: int) -> None:
    """A storage or a gateway may not take more."""
    with ScriptedServer() as server:
        server.on("/a", ranged(b"abc"))
        assert ask_sizes([server.url + "/a"] * 40, jobs=jobs) == [3] * 40
        assert server.max_open <= jobs


def test_redirects_are_followed_and_not_for_ever() -> None:
    """Redirects are followed; endless ones leave the size unknown."""
    with ScriptedServer() as server:
        server.on("/from", Response(307, {"Location": "/to"}))
        server.on("/to", ranged(b"abcd"))
        server.on("/round", Response(302, {"Location": "/round"}))
        server.on("/out", Response(302, {"Location": "http://storage.example/x"}))
        urls = [server.url + path for path in ("/from", "/round", "/out")]
        assert ask_sizes(urls) == [4, None, None]


@pytest.mark.parametrize(
    "answer",
    [
        Response(raw=b"SSH-2.0-OpenSSH\r\n"),
        Response(raw=b""),
        Response(raw=b"HTTP/1.1 206 \r\nContent-Range: bytes 0-0/x\r\n\r\n"),
    ],
)
def test_what_is_no_answer_is_not_known(answer: Response) -> None:
    """A malformed response leaves the size unknown, without an error."""
    with ScriptedServer() as server:
        server.on("/a", answer)
        assert ask_sizes([server.url + "/a"], retries=0) == [None]


def test_a_dead_storage_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of artifacts do not take hundreds of timeouts."""
    monkeypatch.setattr(sizes, "backoff", lambda failed: 0.0)
    with ScriptedServer() as server:
        asked: list[Received] = []

        def silent(received: Received) -> Response:
            asked.append(received)
            return Response(raw=b"")

        server.on("/", silent)
        urls = [f"{server.url}/{number}" for number in range(500)]
        assert ask_sizes(urls) == [None] * 500
        assert len(asked) < 200


def test_a_storage_that_works_now_and_then_is_not_given_up() -> None:
    """Only failures in a row count."""
    with ScriptedServer() as server:
        server.on("/good", ranged(b"abc"))
        server.on("/bad", Response(raw=b""))
        urls = [f"{server.url}/{name}" for name in ("bad", "good") * 5]
        assert ask_sizes(urls, retries=0, jobs=1) == [None, 3] * 5


def test_a_storage_that_never_answers_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest of the listing is shown without it, before its connection counts as stalled."""
    monkeypatch.setattr(sizes, "PATIENCE", 0.2)
    monkeypatch.setattr(sizes, "TIMEOUT", 1.0)
    with ScriptedServer() as server:
        server.on("/slow", Response(hang=True))
        server.on("/quick", ranged(b"abc"))
        urls = [server.url + path for path in ("/quick", "/slow")]
        assert ask_sizes(urls) == [3, None]
    assert "there was no response for 0.2 s" in caplog.text
