"""Parsing one HTTP response: framing by RFC 9112; ambiguous responses are refused."""

from __future__ import annotations

import http.client
import io
import socket
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sourcecraft_artifacts.http.wire import MAX_OVERHEAD, Ended, Head, Parser, ProtocolError


class Answer:
    """The result of parsing a response that comes in pieces of `step` bytes, and then ends."""

    def __init__(self, *pieces: bytes, step: int = 7, end: bool = True) -> None:
        self.parser = Parser()
        self.head: Head | None = None
        self.body = b""
        raw = b"".join(pieces)
        for at in range(0, len(raw), step):
            self._take(self.parser.feed(memoryview(raw)[at : at + step]))
        if end and not self.parser.ended:
            self.parser.close()

    def _take(self, events: list[Head | memoryview]) -> None:
        for event in events:
            if isinstance(event, Head):
                assert self.head is None, "there is one head"
                self.head = event
            else:
                assert self.head is not None, "the head comes before the body"
                self.body += bytes(event)


@pytest.mark.parametrize(
    ("head", "rest", "got", "length", "reusable"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5", b"hello", b"hello", 5, True),
        ("HTTP/1.1 200 OK\r\ncontent-length:5", b"hello", b"hello", 5, True),
        ("HTTP/1.1 200\r\nContent-Length: 5, 5", b"hello", b"hello", 5, True),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5", b"hello, more", b"hello", 5, False),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0", b"", b"", 0, True),
        ("HTTP/1.1 204 No Content", b"", b"", 0, True),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9", b"", b"", 0, True),
        ("HTTP/1.1 200 OK", b"to the end", b"to the end", None, False),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close", b"hello", b"hello", 5, False),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5", b"hello", b"hello", 5, False),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive", b"x", b"x", 1, True),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
            b"5\r\nhello\r\n7;a=b\r\n, world\r\n0\r\nX: y\r\n\r\n",
            b"hello, world",
            None,
            True,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 3",
            b"a\r\n0123456789\r\n0\r\n\r\n",
            b"0123456789",
            None,
            True,
        ),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1", b"x", b"x", 1, True),
        ("HTTP/1.1 200 OK\nContent-Length: 2", b"ok", b"ok", 2, True),
    ],
)
def test_bodies(head: str, rest: bytes, got: bytes, length: int | None, reusable: bool) -> None:
    """The framing ends the body, and the connection is kept only if that is certain."""
    end = b"\n\n" if "\r" not in head and "\n" in head else b"\r\n\r\n"
    for step in (1, 7, 1000):
        answer = Answer(head.encode(), end, rest, step=step)
        assert answer.head is not None
        assert (answer.head.length, answer.body) == (length, got)
        assert (answer.parser.ended, answer.parser.keeps) == (True, reusable)


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * MAX_OVERHEAD + b"\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_refused(raw: bytes) -> None:
    """A head that is not HTTP/1.1, or has ambiguous framing, is refused."""
    for step in (1, 1000):
        with pytest.raises(ProtocolError):
            Answer(raw, step=step)


@pytest.mark.parametrize("rest", [b"x\r\n", b"\r\n", b"5\r\nhello!", b"1" * 5000])
def test_misshapen_chunks_are_refused(rest: bytes) -> None:
    """A malformed chunk ends the body with an error."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with pytest.raises((ProtocolError, Ended)):
        Answer(head, rest)


@pytest.mark.parametrize(
    ("raw", "started"),
    [
        (b"", False),
        (b"HTTP/1.1 200", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", True),
    ],
)
def test_an_early_end_is_told(raw: bytes, started: bool) -> None:
    """A connection that closes early raises, and tells whether bytes had come."""
    with pytest.raises(Ended) as caught:
        Answer(raw)
    assert caught.value.started is started


def test_headers_are_joined_and_folded() -> None:
    """Repeated headers are joined by commas, and an obsolete fold becomes one line."""
    raw = b"HTTP/1.1 206 x\r\nA: 1\r\na:  2 \r\nB: c\r\n  d\r\nContent-Length: 0\r\n\r\n"
    answer = Answer(raw)
    assert answer.head is not None
    assert answer.head.headers == {"a": "1, 2", "b": "c d", "content-length": "0"}


@pytest.mark.parametrize(
    ("told", "rest", "got"),
    [
        ("identity", b"hello", b"hello"),
        ("Identity, chunked", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("identity\r\nContent-Length: 2", b"hello", b"he"),
    ],
)
def test_identity_is_no_coding(told: str, rest: bytes, got: bytes) -> None:
    """`Transfer-Encoding: identity` has no effect, as before RFC 7230 removed it."""
    assert (
        Answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %b\r\n\r\n" % told.encode(), rest).body
        == got
    )


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (CHUNKED, b"1;" + b"x" * 4000 + b"\r\na\r\n"),
        (CHUNKED + b"0\r\n", b"X-Trailer: y\r\n"),
        (CHUNKED, b"1" + b" " * 500 + b"\r\na\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"", b"x"),
        (CHUNKED, b"1"),
        (CHUNKED + b"0\r\nX:", b"y"),
    ],
)
def test_what_is_no_body_is_bounded(first: bytes, again: bytes) -> None:
    """Extensions, trailers, 1xx and endless lines are limited, in little memory."""
    parser = Parser()
    parser.feed(memoryview(first))
    refused = False
    for _ in range(2 * MAX_OVERHEAD // len(again) + 1):
        try:
            parser.feed(memoryview(again))
        except ProtocolError:
            refused = True
            break
        assert len(parser._pending) <= MAX_OVERHEAD
    assert refused


def test_small_chunks_are_no_overhead() -> None:
    """A body in very small chunks is read."""
    count = MAX_OVERHEAD
    answer = Answer(CHUNKED, b"1\r\na\r\n" * count, b"0\r\n\r\n", step=10_000)
    assert answer.body == b"a" * count


def test_a_tunnel_has_no_body() -> None:
    """After a response to CONNECT the tunnel begins, whatever its headers say."""
    parser = Parser(tunnel=True)
    (head,) = parser.feed(memoryview(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))
    assert isinstance(head, Head)
    assert (head.length, parser.ended) == (0, True)


# Compared with `http.client`.


class Sock:
    """A socket from which `http.client` reads a response."""

    def __init__(self, raw: bytes) -> None:
        self._file = io.BytesIO(raw)

    def makefile(self, _: str) -> io.BytesIO:
        """Return the bytes as a file."""
        return self._file


def reference(raw: bytes) -> bytes | None:
    """Return the body as `http.client` reads it; None if it refuses."""
    answer = http.client.HTTPResponse(cast("socket.socket", Sock(raw)))
    try:
        answer.begin()
        return answer.read()
    except (http.client.HTTPException, ValueError, OSError):
        return None


def ours(raw: bytes, step: int) -> bytes | None:
    """Return the body as our parser reads it."""
    try:
        return Answer(raw, step=step).body
    except (ProtocolError, Ended):
        return None


LINES = st.sampled_from(
    [
        b"Content-Length: 5",
        b"content-length:  12 ",
        b"Content-Length: 5, 5",
        b"Content-Length: 7",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Connection: close",
        b"X-Folded: a\r\n b",
        b'ETag: "x"',
        b"broken",
    ]
)
BODIES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            b"hello",
            b"hello, world",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"5;a=b\r\nhello\r\n00\r\nX: y\r\n\r\n",
            b"c\r\nhello, world\r\n5\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello",
            b"5\r\nhelloxx0\r\n\r\n",
        ]
    ),
)
STATUS = st.sampled_from([b"200 OK", b"206 Partial Content", b"204 No Content", b"304 x", b"404"])


@settings(max_examples=300)
@given(STATUS, st.lists(LINES, max_size=3), BODIES, st.integers(1, 50))
@example(b"200 OK", [b"Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n", 1)
def test_the_same_body_or_a_refusal(
    status: bytes, lines: list[bytes], body: bytes, step: int
) -> None:
    """A response that we accept has the same body in `http.client`, in steps of any size."""
    raw = b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", body])
    got = ours(raw, step)
    assert got == ours(raw, 1000)
    told = {line.lower() for line in lines}
    if got is not None and b"transfer-encoding: identity" not in told:
        # It takes a repeated or invalid length for no length.
        expected = reference(raw)
        assert got == expected or (expected or b"").startswith(got)


@settings(max_examples=60)
@given(st.binary(max_size=300), st.lists(st.integers(1, 90), max_size=8), st.integers(1, 50))
def test_any_chunking_gives_the_same_bytes(data: bytes, cuts: list[int], step: int) -> None:
    """A body in any chunks and pieces has the same bytes."""
    chunks, at = b"", 0
    for size in [*cuts, len(data)]:
        piece = data[at : at + size]
        at += len(piece)
        chunks += b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    answer = Answer(CHUNKED, chunks, b"0\r\n\r\n", step=step)
    assert answer.body == data
    assert answer.parser.keeps
