"""A loopback HTTP server with a script for each response, for tests of services that misbehave.

It works on raw sockets, so that it can send anything. Every connection has its own daemon thread,
and the end of the server's context ends every wait in these threads.
"""

from __future__ import annotations

import itertools
import json
import re
import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO, Self

Headers = Mapping[str, str] | Sequence[tuple[str, str]]

_PIECE = 64 * 1024
_POLL = 0.01


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived; the target is the exact text of the request line."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()

    def header(self, name: str) -> str | None:
        """Return the first value of a header, in any case, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Response:
    """One scripted response; by default it is what a good server sends.

    ``cut_after`` and ``reset_after`` send the head and that many body bytes, then FIN or RST.
    ``chunked`` frames the body, without the last chunk after a cut. ``no_length`` ends the body
    by closing. ``length`` is sent as Content-Length whatever the body. ``extra`` follows the body.
    ``drip`` is seconds between body bytes. ``drip_headers`` is seconds between bytes of a head that
    never ends. ``hang`` reads the request and stays silent. ``raw`` is sent alone, then closed.
    ``gate`` holds back the second half of the body. Header values are sent as UTF-8.
    """

    status: int = 200
    headers: Headers = ()
    body: bytes = b""
    cut_after: int | None = None
    reset_after: int | None = None
    chunked: bool = False
    no_length: bool = False
    length: str | None = None
    extra: bytes = b""
    drip: float | None = None
    drip_headers: float | None = None
    hang: bool = False
    raw: bytes | None = None
    gate: threading.Event | None = None

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The headers as pairs, without those the framing adds."""
        return list(self.headers.items() if isinstance(self.headers, Mapping) else self.headers)

    @property
    def stop(self) -> int | None:
        """Return how many body bytes a broken response sends, or None for a complete one."""
        limits = [limit for limit in (self.cut_after, self.reset_after) if limit is not None]
        return min(limits, default=None)

    @property
    def bodiless(self) -> bool:
        """Tell whether the status forbids a body (RFC 9110, 6.4.1)."""
        return self.status < 200 or self.status in (204, 304)

    @property
    def closes(self) -> bool:
        """Tell whether the connection ends with this response."""
        lies = self.length not in (None, str(len(self.body)))
        asked = ("connection", "close") in [(k.lower(), v.lower()) for k, v in self.pairs]
        broken = self.stop is not None or self.raw is not None
        return broken or lies or asked or self.no_length

    def head(self) -> bytes:
        """Return the status line and the headers, including the empty line."""
        known = {status.value: status.phrase for status in HTTPStatus}
        lines = [f"HTTP/1.1 {self.status} {known.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in [*self.pairs, *self._framing()]]
        return "\r\n".join([*lines, "", ""]).encode()

    def _framing(self) -> Iterator[tuple[str, str]]:
        given = {name.lower() for name, _ in self.pairs}
        if self.chunked:
            yield "Transfer-Encoding", "chunked"
        if self.no_length:
            yield "Connection", "close"
        if self.length is not None:
            yield "Content-Length", self.length
        elif not (self.chunked or self.no_length or self.bodiless or "content-length" in given):
            yield "Content-Length", str(len(self.body))


Reply = Response | Callable[[Received], Response]


class ScriptedServer:
    """Serve scripted responses on 127.0.0.1 until the end of the context.

    Args:
        tls: serve HTTPS with this context.
        host: the host in ``url``; "localhost" makes a second host of the same address.

    ``requests`` has the received requests, ``opened`` counts connections, and ``max_open`` is the
    greatest number of connections that were open at once (idle ones too).
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[Received] = []
        self.opened = 0
        self.max_open = 0
        self._tls = tls
        self._routes: dict[str, list[Reply]] = {}
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        self._acceptor = threading.Thread(target=self._accept, daemon=True, name="scripted-server")

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on(self, path_prefix: str, *answers: Reply) -> None:
        """Send these responses to targets with a prefix, in this order; the last one repeats.

        The longest prefix wins, a second call replaces the first, and other targets get a 404.
        """
        if not answers:
            raise ValueError("a route needs an answer")
        with self._lock:
            self._routes[path_prefix] = list(answers)

    def close(self) -> None:
        """End every wait and every connection, within a second."""
        if self._closing.is_set():  # another server may have the port now
            return
        deadline = time.monotonic() + 0.8
        self._closing.set()
        # A connection of our own ends accept() on every system; closing the listener does not.
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=0.2).close()
        self._acceptor.join(0.2)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                _shut(connection)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._closing.is_set():
                connection.close()
                return
            try:
                self._start(self._prepare(connection))
            except OSError:  # The client has left already.
                connection.close()

    def _prepare(self, connection: socket.socket) -> socket.socket:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return connection
        # The connection's thread does the handshake: a silent client must not block the others.
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

    def _start(self, connection: socket.socket) -> None:
        thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
        with self._lock:
            self._open.add(connection)
            self._threads.append(thread)
            self.opened += 1
            alive = sum(not _left(other) for other in self._open)
            self.max_open = max(self.max_open, alive)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with suppress(OSError):
                if isinstance(connection, ssl.SSLSocket):
                    connection.do_handshake()
                with connection.makefile("rb") as reader:
                    self._converse(connection, reader)
        finally:
            # Counted out before it closes: the client's next connection must not overlap with it.
            with self._lock:
                self._open.remove(connection)
            connection.close()

    def _converse(self, connection: socket.socket, reader: BinaryIO) -> None:
        while (received := _read_request(reader)) is not None:
            self.requests.append(received)
            answer = self._choose(received)
            self._send(connection, answer)
            if answer.reset_after is not None:
                self._reset(connection)
            if answer.closes or (received.header("Connection") or "").lower() == "close":
                return

    def _choose(self, received: Received) -> Response:
        with self._lock:
            prefixes = [prefix for prefix in self._routes if received.target.startswith(prefix)]
            if not prefixes:
                return Response(404, body=f"no script for {received.target}".encode())
            replies = self._routes[max(prefixes, key=len)]
            reply = replies.pop(0) if len(replies) > 1 else replies[0]
        return reply if isinstance(reply, Response) else reply(received)

    def _send(self, connection: socket.socket, answer: Response) -> None:
        if answer.raw is not None:
            connection.sendall(answer.raw)
        elif answer.hang:
            while connection.recv(_PIECE):
                pass
        elif answer.drip_headers is not None:
            self._drip_headers(connection, answer, answer.drip_headers)
        else:
            connection.sendall(answer.head())
            if not answer.bodiless:
                self._send_body(connection, answer)

    def _drip_headers(self, connection: socket.socket, answer: Response, seconds: float) -> None:
        start = answer.head().removesuffix(b"\r\n") + b"X-Drip: "
        for byte in itertools.chain(start, itertools.repeat(ord("."))):
            connection.sendall(bytes([byte]))
            self._pause(seconds)

    def _send_body(self, connection: socket.socket, answer: Response) -> None:
        for piece in self._pieces(answer):
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece
            connection.sendall(framed)
        if answer.stop is None:
            last = b"0\r\n\r\n" if answer.chunked else b""
            connection.sendall(last + answer.extra)

    def _pieces(self, answer: Response) -> Iterator[bytes]:
        body, half = answer.body[: answer.stop], len(answer.body) // 2
        step = _PIECE if answer.drip is None else 1
        for second, (first, stop) in enumerate(((0, min(half, len(body))), (half, len(body)))):
            if second and answer.gate:
                self._wait_for(answer.gate)
            for at in range(first, stop, step):
                if at and answer.drip is not None:
                    self._pause(answer.drip)
                yield body[at : min(at + step, stop)]

    def _reset(self, connection: socket.socket) -> None:
        """Close with RST, once what was sent has left: a reset drops what still waits."""
        for _ in range(100):
            if not _unsent(connection):
                break
            self._pause(_POLL)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _pause(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise ConnectionAbortedError("the server closes")

    def _wait_for(self, gate: threading.Event) -> None:
        while not gate.is_set():
            self._pause(_POLL)


@contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port that refuses connections, and that no other server gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def json_response(value: object, status: int = 200, **headers: str) -> Response:
    """Return a JSON response; ``retry_after="3"`` becomes the header Retry-After."""
    named = {name.replace("_", "-").title(): text for name, text in headers.items()}
    body = json.dumps(value).encode()
    return Response(status, {"Content-Type": "application/json", **named}, body)


def ranged(
    body: bytes,
    *,
    etag: str | None = '"v1"',
    last_modified: str | None = None,
    headers: Mapping[str, str] | None = None,
    ignore_range: bool = False,
    status_200_with_content_range: bool = False,
    wrong_start: bool = False,
    cut_first: int | None = None,
) -> Callable[[Received], Response]:
    """Make a storage that serves single ranges of a body (RFC 9110, 13.1.5 and 14).

    Args:
        headers: additional headers for every response.
        ignore_range: always send the whole body with 200.
        status_200_with_content_range: send partial responses with 200 and their Content-Range.
        wrong_start: start partial responses, and their Content-Range, a byte too early.
        cut_first: cut the first response after that many bytes of its body.
    """
    validators = {"ETag": etag, "Last-Modified": last_modified}
    common = {name: value for name, value in validators.items() if value is not None}
    common |= {} if ignore_range else {"Accept-Ranges": "bytes"}
    common |= headers or {}
    cuts = itertools.chain([cut_first], itertools.repeat(None))

    def reply(received: Received) -> Response:
        cut = next(cuts)
        valid = _if_range_holds(received.header("If-Range"), etag, last_modified)
        asked = None if ignore_range or not valid else _asked_range(received, len(body))
        if asked is None:
            return Response(200, common, body, cut_after=cut)
        first, last = asked
        if first > last:
            return Response(416, {**common, "Content-Range": f"bytes */{len(body)}"})
        first -= 1 if wrong_start and first else 0
        head = {**common, "Content-Range": f"bytes {first}-{last}/{len(body)}"}
        status = 200 if status_200_with_content_range else 206
        return Response(status, head, body[first : last + 1], cut_after=cut)

    return reply


def _if_range_holds(condition: str | None, etag: str | None, last_modified: str | None) -> bool:
    if condition is None:
        return True
    weak = condition.startswith("W/")
    return not weak and condition in (etag, last_modified)


def _asked_range(received: Received, length: int) -> tuple[int, int] | None:
    """Return the first and last requested byte; reversed if unsatisfiable, None for the whole."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", received.header("Range") or "")
    if not match:
        return None
    first, last = int(match[1]), int(match[2] or max(length - 1, int(match[1])))
    if last < first:
        return None
    return first, min(last, length - 1)


def _read_request(reader: BinaryIO) -> Received | None:
    line = reader.readline().decode("latin-1").rstrip("\r\n")
    if not line:
        return None
    method, _, rest = line.partition(" ")
    pairs = []
    while field := reader.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = field.partition(":")
        pairs.append((name, value.strip()))
    return Received(method, rest.rpartition(" ")[0], tuple(pairs))


def _shut(connection: socket.socket) -> None:
    # Past SSLSocket.shutdown, which would let the connection's thread go on without TLS.
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _left(connection: socket.socket) -> bool:
    """Tell whether the client has closed, even before its thread notices (Linux only)."""
    if sys.platform != "linux":
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))


def _unsent(connection: socket.socket) -> int:
    """Return how many bytes the other side has not acknowledged (known on Linux only)."""
    if sys.platform != "linux":
        return 0
    import fcntl
    import termios

    count = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return int(struct.unpack("i", count)[0])
