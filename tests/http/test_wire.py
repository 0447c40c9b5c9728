"""One HTTP answer off a socket: framing as RFC 9112 has it, and what is ambiguous refused."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcecraft_artifacts.http.wire import MAX_HEAD, Ended, ProtocolError, WireResponse


@contextmanager
def fed(*pieces: bytes, end: bool = True) -> Iterator[socket.socket]:
    """A socket on which these pieces have arrived, closed by the other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for piece in pieces:
            theirs.sendall(piece)
        if end:
            theirs.shutdown(socket.SHUT_WR)
        yield ours


def body(answer: WireResponse, room: int = 7) -> bytes:
    """The whole body, read in small steps."""
    buffer, got = memoryview(bytearray(room)), b""
    while count := answer.read_into(buffer):
        got += bytes(buffer[:count])
    return got


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
    """The body ends where the framing says, and the connection is kept only when that is sure."""
    with fed(
        head.encode() + (b"\n\n" if "\r" not in head and "\n" in head else b"\r\n\r\n"), rest
    ) as sock:
        answer = WireResponse(sock)
        assert (answer.length, body(answer)) == (length, got)
        assert (answer.ended, answer.reusable) == (True, reusable)
        assert answer.read_into(memoryview(bytearray(1))) == 0


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
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * MAX_HEAD + b"\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_refused(raw: bytes) -> None:
    """A head that is not HTTP/1.1, or whose framing is ambiguous, is never guessed at."""
    with fed(raw) as sock, pytest.raises(ProtocolError):
        WireResponse(sock)


@pytest.mark.parametrize("rest", [b"x\r\n", b"\r\n", b"5\r\nhello!", b"1" * 5000])
def test_misshapen_chunks_are_refused(rest: bytes) -> None:
    """A chunk that is not framed as one ends the body with an error."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with fed(head, rest) as sock, pytest.raises((ProtocolError, Ended)):
        body(WireResponse(sock))


@pytest.mark.parametrize(
    ("raw", "started"),
    [
        (b"", False),
        (b"HTTP/1.1 200", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", True),
    ],
)
def test_an_early_end_is_told(raw: bytes, started: bool) -> None:
    """A connection that closes too early raises, and tells whether anything had come."""
    with fed(raw) as sock, pytest.raises(Ended) as caught:
        body(WireResponse(sock))
    assert caught.value.started is started


def test_headers_are_joined_and_folded() -> None:
    """Repeated headers are joined by commas, and an old fold is one line again."""
    raw = b"HTTP/1.1 206 x\r\nA: 1\r\na:  2 \r\nB: c\r\n  d\r\nContent-Length: 0\r\n\r\n"
    with fed(raw) as sock:
        answer = WireResponse(sock)
    assert answer.headers == {"a": "1, 2", "b": "c d", "content-length": "0"}


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(1, 90), max_size=8), st.integers(1, 50))
def test_any_chunking_gives_the_same_bytes(data: bytes, cuts: list[int], room: int) -> None:
    """However a body is cut into chunks and read, its bytes are the same."""
    chunks, at = b"", 0
    for size in [*cuts, len(data)]:
        piece = data[at : at + size]
        at += len(piece)
        chunks += b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    with fed(raw) as sock:
        answer = WireResponse(sock)
        assert body(answer, room) == data
        assert answer.reusable
