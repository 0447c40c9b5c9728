"""The scripted server does exactly what its responses say."""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import trustme
from servers import (
    Headers,
    Received,
    Response,
    ScriptedServer,
    closed_port,
    json_response,
    ranged,
)

BODY = b"0123456789"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Start a server without a script."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[http.client.HTTPConnection]:
    """Connect a client to the server."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    yield connection
    connection.close()


def exchange(server: ScriptedServer, target: str = "/") -> bytes:
    """Return all bytes that the server sends for one request on its own connection.

    Raises: ConnectionResetError with the bytes received so far as its argument.
    """
    got = bytearray()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        try:
            while data := connection.recv(65536):
                got += data
        except ConnectionResetError:
            raise ConnectionResetError(bytes(got)) from None
    return bytes(got)


def split(answer: bytes) -> tuple[bytes, bytes]:
    """Split a response into its head and its body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def test_records_the_request_and_keeps_the_connection(
    server: ScriptedServer, client: http.client.HTTPConnection
) -> None:
    """Several requests share a connection, and are recorded as they were sent."""
    server.on("/", json_response({"id": 1}, retry_after="3"))
    for _ in range(2):
        client.request("GET", "/a%2Fb?x=%20", headers={"X-Name": "v"})
        response = client.getresponse()
        assert (response.status, response.read()) == (200, b'{"id": 1}')
        assert response.headers["Retry-After"] == "3"
    first, second = server.requests
    assert (first.method, first.target) == ("GET", "/a%2Fb?x=%20")
    assert (second.header("x-name"), second.header("absent")) == ("v", None)
    assert (server.opened, server.max_open) == (1, 1)


def test_answers_in_order_and_repeats_the_last(server: ScriptedServer) -> None:
    """Responses are used in order, the last one repeats, and the longest prefix wins."""
    server.on("/", Response(500), Response(body=b"last"))
    server.on("/call", lambda received: Response(body=received.target.encode()))
    assert b" 500 " in split(exchange(server))[0]
    assert [split(exchange(server))[1] for _ in range(2)] == [b"last", b"last"]
    assert split(exchange(server, "/call/me"))[1] == b"/call/me"


def test_no_script_is_404(server: ScriptedServer) -> None:
    """A target without a route is not found; a route without responses is refused."""
    assert exchange(server).startswith(b"HTTP/1.1 404 Not Found\r\n")
    with pytest.raises(ValueError, match="needs an answer"):
        server.on("/")


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (Response(body=BODY, cut_after=4), b"0123"),
        (Response(body=BODY, cut_after=0), b""),
        (Response(body=BODY, cut_after=99), BODY),
        (Response(body=BODY, chunked=True), b"5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"),
        (Response(body=BODY, chunked=True, cut_after=7), b"5\r\n01234\r\n2\r\n56\r\n"),
        (Response(body=BODY, no_length=True), BODY),
        (Response(body=BODY, extra=b"more"), b"0123456789more"),
        (Response(body=b"012", drip=0.001), b"012"),
        (Response(204, body=BODY), b""),
    ],
)
def test_body(server: ScriptedServer, answer: Response, body: bytes) -> None:
    """The body arrives as scripted, then the connection ends."""
    server.on("/", answer)
    assert split(exchange(server))[1] == body


@pytest.mark.parametrize(
    ("answer", "lengths"),
    [
        (Response(body=BODY), [b"10"]),
        (Response(body=BODY, length="garbage"), [b"garbage"]),
        (Response(body=BODY, length="-5"), [b"-5"]),
        (Response(body=BODY, length="11"), [b"11"]),
        (Response(body=BODY, headers={"Content-Length": "3"}), [b"3"]),
        (Response(body=BODY, cut_after=3), [b"10"]),
        (Response(body=BODY, no_length=True), []),
        (Response(body=BODY, chunked=True), []),
        (Response(304), []),
    ],
)
def test_length(server: ScriptedServer, answer: Response, lengths: list[bytes]) -> None:
    """Content-Length is what the script says, and by default the true length."""
    server.on("/", answer)
    lines = split(exchange(server))[0].split(b"\r\n")
    assert [line[16:] for line in lines if line.startswith(b"Content-Length: ")] == lengths


@pytest.mark.parametrize(
    "answer", [Response(length="11"), Response(no_length=True), Response(raw=b"")]
)
def test_closes_after(
    server: ScriptedServer, client: http.client.HTTPConnection, answer: Response
) -> None:
    """A response without a visible end closes the connection."""
    server.on("/", answer)
    client.connect()
    client.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    while client.sock.recv(65536):
        pass


@pytest.mark.parametrize("headers", [[("A", "1"), ("A", "2")], {"A": "1", "B": "имя"}])
def test_headers(server: ScriptedServer, headers: Headers) -> None:
    """Headers are sent in order, repeated ones too, in UTF-8."""
    answer = Response(headers=headers)
    server.on("/", answer)
    lines = [f"{name}: {value}".encode() for name, value in answer.pairs]
    assert split(exchange(server))[0].split(b"\r\n")[1:3] == lines


def test_raw(server: ScriptedServer) -> None:
    """Raw bytes are sent alone."""
    server.on("/", Response(raw=b"SSH-2.0-x\r\n"))
    assert exchange(server) == b"SSH-2.0-x\r\n"


@pytest.mark.parametrize("size", [4, 0, 1 << 20])
def test_reset(server: ScriptedServer, size: int) -> None:
    """A reset arrives after exactly the bytes before it."""
    server.on("/", Response(body=b"x" * (1 << 21), reset_after=size))
    with pytest.raises(ConnectionResetError) as caught:
        exchange(server)
    assert split(caught.value.args[0])[1] == b"x" * size


def test_gate(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """The second half of a body waits for the gate."""
    gate = threading.Event()
    server.on("/", Response(body=BODY, gate=gate))
    client.request("GET", "/")
    response = client.getresponse()
    assert response.read(5) == b"01234"
    client.sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.sock.recv(1, socket.MSG_PEEK)
    client.sock.settimeout(5)
    gate.set()
    raw = client.sock.recv(5)
    assert raw == b"56789"


@pytest.mark.parametrize(
    ("answer", "start"),
    [
        (Response(hang=True), b""),
        (Response(body=BODY, drip=60), b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0"),
        (Response(drip_headers=60), b"H"),
        (Response(body=BODY, gate=threading.Event()), b""),
        (Response(body=b"x" * (1 << 26)), b""),
    ],
    ids=["hang", "drip", "drip_headers", "gate", "unread"],
)
def test_close_ends_every_wait(answer: Response, start: bytes) -> None:
    """The end of the context ends a hanging response at once, with its thread."""
    threads = threading.active_count()
    with ScriptedServer() as server:
        server.on("/", answer)
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        got = b""
        while len(got) < len(start):
            got += connection.recv(len(start) - len(got))
        began = time.monotonic()
    assert (got, threading.active_count()) == (start, threads)
    assert time.monotonic() - began < 1
    connection.close()


def test_a_server_closes_once() -> None:
    """A closed server does not connect to its old port, which may be another server's."""
    with ScriptedServer() as server:
        server.close()
        with socket.create_server(("127.0.0.1", server.port)) as other:
            server.close()
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                other.accept()


def test_a_closed_port_stays_closed() -> None:
    """The port refuses connections, and no other server gets it meanwhile."""
    with closed_port() as port:
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_drip_headers_never_end(server: ScriptedServer, client: http.client.HTTPConnection) -> None:
    """A dripped head continues after its status line, in one endless line."""
    server.on("/", Response(drip_headers=0.0001))
    client.connect()
    client.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    got = b""
    while not got.endswith(b"X-Drip: ..."):
        got += client.sock.recv(1)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")


def test_max_open_counts_connections(server: ScriptedServer) -> None:
    """Connections that were never open together do not add up."""
    server.on("/", Response(body=BODY))
    for _ in range(50):
        exchange(server)
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        client.request("GET", "/")
        client.getresponse().read()
        client.close()
    assert (server.opened, server.max_open) == (100, 1)
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
    exchange(server)
    assert server.max_open == 4
    for connection in clients:
        connection.close()


@pytest.mark.parametrize("leave", [lambda sock: sock.close(), lambda sock: reset(sock)])
def test_survives_clients_that_leave(
    server: ScriptedServer, leave: Callable[[socket.socket], None]
) -> None:
    """A client that leaves early does not affect others."""
    server.on("/", Response(body=b"x" * (1 << 24)))
    for request in (b"", b"GET", b"GET / HTTP/1.1\r\n\r\n"):
        sock = socket.create_connection(("127.0.0.1", server.port))
        sock.sendall(request)
        leave(sock)
    assert len(split(exchange(server))[1]) == 1 << 24


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_tls() -> None:
    """HTTPS works for clients that trust the certificate, whatever others send."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ScriptedServer(tls=context, host="localhost") as server:
        server.on("/", Response(body=BODY), Response(body=BODY, reset_after=3), Response(hang=True))
        assert server.url == f"https://localhost:{server.port}"
        silent = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        rude = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        rude.sendall(b"GET / HTTP/1.1\r\n\r\n")
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        client = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=5, context=trust)
        client.request("GET", "/")
        assert client.getresponse().read() == BODY
        client.request("GET", "/")
        # Python's ssl may report a reset as an end of file.
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            client.getresponse().read()
        client.close()
        client.request("GET", "/")
        began = time.monotonic()
    assert time.monotonic() - began < 1
    for connection in (client, silent, rude):
        connection.close()


def asked(value: str | None, if_range: str | None = None) -> Received:
    """Return a request for a range."""
    headers = {"Range": value, "If-Range": if_range}
    return Received("GET", "/", tuple((k, v) for k, v in headers.items() if v is not None))


@pytest.mark.parametrize(
    ("request_", "status", "content_range", "body"),
    [
        (asked(None), 200, None, BODY),
        (asked("bytes=0-"), 206, "bytes 0-9/10", BODY),
        (asked("bytes=4-"), 206, "bytes 4-9/10", b"456789"),
        (asked("bytes=4-5"), 206, "bytes 4-5/10", b"45"),
        (asked("bytes=4-99"), 206, "bytes 4-9/10", b"456789"),
        (asked("bytes=10-"), 416, "bytes */10", b""),
        (asked("bytes=5-4"), 200, None, BODY),
        (asked("bytes=0-1,4-5"), 200, None, BODY),
        (asked("lines=0-1"), 200, None, BODY),
        (asked("bytes=4-", '"v1"'), 206, "bytes 4-9/10", b"456789"),
        (asked("bytes=4-", '"v2"'), 200, None, BODY),
        (asked("bytes=4-", 'W/"v1"'), 200, None, BODY),
        (asked("bytes=4-", "Mon, 01 Jan 2024 00:00:00 GMT"), 206, "bytes 4-9/10", b"456789"),
        (asked("bytes=4-", "Tue, 02 Jan 2024 00:00:00 GMT"), 200, None, BODY),
    ],
)
def test_ranged(request_: Received, status: int, content_range: str | None, body: bytes) -> None:
    """The storage responds to ranges as RFC 9110 says."""
    answer = ranged(BODY, last_modified="Mon, 01 Jan 2024 00:00:00 GMT")(request_)
    headers = dict(answer.pairs)
    assert (answer.status, headers.get("Content-Range"), answer.body) == (
        status,
        content_range,
        body,
    )
    assert (headers["ETag"], headers["Accept-Ranges"]) == ('"v1"', "bytes")


def test_ranged_misbehaves() -> None:
    """Each quirk changes exactly what it names."""
    part = asked("bytes=4-")
    ignored = ranged(BODY, etag=None, ignore_range=True)(part)
    assert (ignored.status, ignored.body, ignored.pairs) == (200, BODY, [])
    quirk = ranged(BODY, status_200_with_content_range=True)(part)
    assert (quirk.status, quirk.body) == (200, b"456789")
    wrong = ranged(BODY, wrong_start=True, headers={"X-A": "b"})(part)
    assert (wrong.status, wrong.body) == (206, b"3456789")
    assert dict(wrong.pairs).items() >= {"Content-Range": "bytes 3-9/10", "X-A": "b"}.items()
    cut = ranged(BODY, cut_first=3)
    assert [cut(one).cut_after for one in (asked(None), part)] == [3, None]
