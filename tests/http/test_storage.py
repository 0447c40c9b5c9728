"""HTTP to the storage: requests byte for byte, responses, and errors."""

from __future__ import annotations

import base64
import gzip
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Self

import pytest
import trustme
from fake_service import eventually
from loops import Net
from servers import Response, ScriptedServer, closed_port

from sourcecraft_artifacts.errors import BrokenTransfer, TransferError
from sourcecraft_artifacts.http import opening
from sourcecraft_artifacts.http.connection import Connection
from sourcecraft_artifacts.http.storage import MAX_REDIRECTS
from sourcecraft_artifacts.http.targets import redirected, split_target
from sourcecraft_artifacts.http.waits import Steps
from sourcecraft_artifacts.logs import PACKAGE

BODY = bytes(range(256)) * 40
STALL = 0.25


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Start a storage without a script."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def storage() -> Iterator[Net]:
    """Make connections with a long stall timeout."""
    with Net() as storage:
        yield storage


@pytest.fixture
def impatient() -> Iterator[Net]:
    """Make connections with a short stall timeout."""
    with Net(stall_timeout=STALL) as storage:
        yield storage


def fetch(storage: Net, url: str, **headers: str) -> bytes:
    """Return the whole body of a URL."""
    return storage.fetch(url, **headers)


# Requests.


@pytest.mark.parametrize(
    "target",
    [
        "/a/%7e/~/%7E",
        "/a/../b/./c//d",
        "/%2f%2F/%41",
        "/?sig=a%2Fb/../~&&x=%7e;?=&q='(*)+%20",
        "/объект?имя=é",
        "//host/x",
        "/a?b?c",
        "/[x]|{y}^`",
    ],
)
def test_targets_are_sent_byte_for_byte(server: ScriptedServer, storage: Net, target: str) -> None:
    """A URL is sent byte for byte, so that its signature stays valid."""
    server.on("/", Response(body=BODY))
    assert fetch(storage, server.url + target) == BODY
    assert server.requests[0].target.encode("latin-1").decode() == target


@pytest.mark.parametrize(
    ("rest", "target"),
    [("", "/"), ("?a=/b", "/?a=/b"), ("/x#frag?no", "/x"), ("#frag/no", "/"), ("?q#f", "/?q")],
)
def test_a_target_starts_with_a_slash(
    server: ScriptedServer, storage: Net, rest: str, target: str
) -> None:
    """An empty path is sent as a slash (RFC 9112, 3.2.1), and a fragment is not sent."""
    server.on("/", Response(body=BODY))
    fetch(storage, server.url + rest)
    assert server.requests[0].target == target


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://host.example:443/x", "host.example"),
        ("https://host.example:80/x", "host.example:80"),
        ("http://localhost:80/x", "localhost"),
        ("http://localhost:443/x", "localhost:443"),
        ("https://[::1]:443/x", "[::1]"),
        ("https://host.example/x", "host.example"),
    ],
)
def test_the_host_is_sent_without_a_usual_port(storage: Net, url: str, host: str) -> None:
    """The Host header is as other clients send it, as a signature may cover it too."""
    net = storage.net
    origin, target = split_target(url)
    made = Connection(origin, storage.storage, net._peers, storage.blocks, storage.loop.time)
    assert f"\r\nHost: {host}\r\n".encode() in made._request(target, {})


def test_no_credentials_and_no_codings_are_asked_for(server: ScriptedServer, storage: Net) -> None:
    """A request has only the needed headers, and nothing of the user."""
    server.on("/", Response(body=BODY))
    fetch(storage, server.url, Range="bytes=1-")
    (received,) = server.requests
    names = sorted(name.lower() for name, _ in received.headers)
    assert names == ["accept", "accept-encoding", "host", "range", "user-agent"]
    assert received.header("Accept-Encoding") == "identity"
    assert received.header("Host") == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/x", "ftp://localhost/x", "https://u:pa55@localhost/x", "/x", ""]
)
def test_unsafe_urls_are_never_asked(storage: Net, url: str) -> None:
    """An unsafe URL is refused here too."""
    with pytest.raises(TransferError, match="unsafe") as caught:
        storage.get(url)
    assert not isinstance(caught.value, BrokenTransfer)
    assert "pa55" not in caught.value.message


# Responses.


@pytest.mark.parametrize(
    ("answer", "body", "length"),
    [
        (Response(body=BODY), BODY, len(BODY)),
        (Response(body=b""), b"", 0),
        (Response(body=BODY, chunked=True), BODY, None),
        (Response(body=b"", chunked=True), b"", None),
        (Response(body=BODY, no_length=True), BODY, None),
        (Response(204), b"", 0),
        (Response(304), b"", 0),
        (Response(206, body=BODY), BODY, len(BODY)),
        (Response(404, body=b"no"), b"no", 2),
        (
            Response(200, {"Content-Encoding": "gzip"}, gzip.compress(BODY)),
            gzip.compress(BODY),
            len(gzip.compress(BODY)),
        ),
        (
            Response(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
            b"ok",
            2,
        ),
        (Response(raw=b"HTTP/1.0 200 OK\r\n\r\nok"), b"ok", None),
        (Response(raw=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok"), b"ok", None),
    ],
)
def test_bodies_come_as_they_are(
    server: ScriptedServer, storage: Net, answer: Response, body: bytes, length: int | None
) -> None:
    """No coding is decoded, and the length is the one in the headers."""
    server.on("/", answer)
    got = storage.get(server.url)
    assert got.length == length
    assert storage.read(got) == body
    assert got.connection.ended


def test_repeated_headers_are_joined(server: ScriptedServer, storage: Net) -> None:
    """Repeated headers are joined (RFC 9110, 5.2); an absent one is None."""
    pairs = [("x-goog-hash", "crc32c=a"), ("X-Goog-Hash", "md5=b"), ("ETag", '"\u00e9"')]
    server.on("/", Response(200, pairs, BODY))
    got = storage.get(server.url)
    assert got.headers.get("x-goog-hash") == "crc32c=a, md5=b"
    assert got.headers.get("digest") is None
    assert got.headers.get("etag") == '"\u00e9"'.encode().decode("latin-1")
    storage.finish(got)


def test_a_validator_goes_back_as_it_came(server: ScriptedServer, storage: Net) -> None:
    """A validator is sent back byte for byte, also if it is not ASCII."""
    server.on("/", Response(200, [("ETag", '"\u00e9"')], BODY))
    got = storage.get(server.url)
    etag = got.headers.get("etag")
    storage.finish(got)
    assert etag is not None
    fetch(storage, server.url, **{"If-Range": etag})
    assert server.requests[-1].header("If-Range") == etag


def raw(*lines: str, body: bytes = b"") -> Response:
    """Return a response with exactly this head; the connection is closed after it."""
    return Response(raw="\r\n".join([*lines, "", ""]).encode("latin-1") + body)


CHUNKED = ("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")
BROKEN = [
    Response(body=BODY, cut_after=500),
    Response(body=BODY, reset_after=500),
    Response(body=BODY, chunked=True, cut_after=500),
    Response(body=BODY, chunked=True, cut_after=0),
    Response(body=BODY, length="99999999"),
    Response(body=BODY, length=""),
    Response(body=BODY, length="abc"),
    Response(body=BODY, length="-1"),
    Response(body=BODY, length="+5"),
    Response(body=BODY, length="1_0"),
    Response(body=BODY, length="5 5"),
    Response(body=BODY, length="5, 6"),
    Response(body=BODY, length="٥"),
    Response(200, {"Content-Length": "5"}, BODY, length="6"),
    Response(body=BODY, length="9" * 5000),
    Response(raw=b""),
    raw("garbage"),
    raw("HTTP/1.1 abc OK"),
    Response(raw=b"HTTP/1.1 200 OK\r\nContent-Le"),
    raw("HTTP/1.1 200 OK", "X: " + "x" * 300_000),
    raw(*CHUNKED, body=b"zz\r\nabc"),
    raw(*CHUNKED, body=b"-5\r\nabc"),
    raw(*CHUNKED, body=b"f" * 400 + b"\r\nabc"),
    raw(*CHUNKED, body=b"5\r\nhello world\r\n0\r\n\r\n"),
    raw(*CHUNKED, body=b"5\r\nhello\r\n0\r\n"),
]


@pytest.mark.parametrize("answer", BROKEN)
def test_what_breaks_is_worth_another_try(
    server: ScriptedServer, storage: Net, answer: Response
) -> None:
    """Short, cut and malformed responses are retryable, and affect no later response."""
    server.on("/bad", answer)
    server.on("/good", Response(body=b"good"))
    with pytest.raises(BrokenTransfer) as caught:
        fetch(storage, f"{server.url}/bad")
    assert caught.value.code in ("cut", "network", "protocol")
    assert len(caught.value.message) < 200
    assert fetch(storage, f"{server.url}/good") == b"good"


def test_the_text_of_an_error_is_short(server: ScriptedServer, storage: Net) -> None:
    """Only the beginning of an error's body is read, and a failure to read it is ignored."""
    server.on("/long", Response(503, body=b"x" * 100_000))
    server.on("/torn", Response(503, body=b"some\xff\n" * 10, cut_after=12))
    assert set(storage.finish(storage.get(f"{server.url}/long"))) == {"x"}
    assert storage.finish(storage.get(f"{server.url}/torn")) == ""


# Connections.


def test_a_connection_is_kept(server: ScriptedServer, storage: Net) -> None:
    """Whole bodies, small unwanted ones and empty ones keep the connection."""
    server.on("/whole", Response(body=BODY), Response(body=BODY, chunked=True))
    server.on("/small", Response(404, body=b"no"))
    server.on("/none", Response(204))
    for path in ("whole", "whole", "none"):
        fetch(storage, f"{server.url}/{path}")
    storage.finish(storage.get(f"{server.url}/small"))
    fetch(storage, f"{server.url}/whole")
    assert server.opened == 1


SMUGGLED = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


@pytest.mark.parametrize("body", [b"", b"x", BODY * 20])
@pytest.mark.parametrize("chunked", [False, True])
def test_stray_bytes_are_never_an_answer(
    server: ScriptedServer, storage: Net, body: bytes, chunked: bool
) -> None:
    """Bytes after a body are not taken for the next response."""
    server.on("/first", Response(body=body, chunked=chunked, extra=SMUGGLED))
    server.on("/second", Response(body=b"good"))
    storage.fetch(f"{server.url}/first")
    storage.pause(0.05)  # until the bytes after the body have arrived
    assert fetch(storage, f"{server.url}/second") == b"good"
    assert server.opened == 2


def test_stray_bytes_that_come_late_are_no_answer(server: ScriptedServer, storage: Net) -> None:
    """Such bytes are noticed even if they arrive after the connection was checked."""
    server.on("/first", Response(body=b"first"))
    server.on("/second", Response(body=b"good"))
    assert fetch(storage, f"{server.url}/first") == b"first"
    (connection,) = server._open
    connection.sendall(SMUGGLED)
    threading.Event().wait(0.05)
    assert fetch(storage, f"{server.url}/second") == b"good"


@pytest.mark.parametrize(
    "answer",
    [
        Response(body=BODY * 100),
        Response(body=BODY * 100, chunked=True),
        Response(200, {"Connection": "close"}, BODY),
        Response(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ],
)
def test_a_connection_is_not_used_again(
    server: ScriptedServer, storage: Net, answer: Response
) -> None:
    """A connection with an unread body, or one that has ended, is not used again."""
    server.on("/first", answer)
    server.on("/second", Response(body=b"second"))
    got = storage.get(f"{server.url}/first")
    storage.net.release(got)
    storage.pause(0.05)  # until the end of the connection has arrived
    assert fetch(storage, f"{server.url}/second") == b"second"
    assert server.opened == 2
    assert [one.target for one in server.requests] == ["/first", "/second"]


def test_a_kept_connection_that_ends_is_no_failure(server: ScriptedServer, storage: Net) -> None:
    """A kept connection that ends before the response is replaced by a new one."""
    server.on("/first", Response(body=b"first"))
    server.on("/second", Response(raw=b""), Response(body=b"second"))
    assert fetch(storage, f"{server.url}/first") == b"first"
    assert fetch(storage, f"{server.url}/second") == b"second"
    assert server.opened == 2


def test_a_new_connection_that_ends_is_a_failure(server: ScriptedServer, storage: Net) -> None:
    """A new connection that ends is an error, which the caller counts."""
    server.on("/", Response(raw=b""))
    with pytest.raises(BrokenTransfer):
        fetch(storage, server.url)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("prepared", "asked"), [(2, 1), (2, 2), (2, 3), (1, 3)])
def test_a_request_takes_a_connection_that_is_being_opened(
    server: ScriptedServer, storage: Net, prepared: int, asked: int
) -> None:
    """No more connections are opened than there are requests, or were prepared before."""
    server.on("/", Response(body=BODY))
    got: list[bytes] = []

    def get() -> Steps[None]:
        answer = yield from storage.net.get(server.url, {})
        while not answer.connection.ended:
            yield from storage.net.more(answer)
        got.append(bytes(answer.connection.block or b"")[: answer.connection.high])
        storage.net.release(answer)

    for steps in [
        *(storage.net.prepare(server.url) for _ in range(prepared)),
        *(get() for _ in range(asked)),
    ]:
        storage.loop.begin(steps, lambda error: None).resume()
    while len(got) < asked or storage.net.busy:
        storage.loop._round()
    assert got == [BODY] * asked
    # The server accepts a connection after the client has opened it.
    eventually(lambda: server.opened >= max(prepared, asked), "all connections are accepted")
    assert server.opened == max(prepared, asked)


def test_a_prepared_connection_that_fails_is_not_waited_for(storage: Net) -> None:
    """A request that waits for a connection that cannot be opened tries by itself."""
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}"
        storage.loop.begin(storage.net.prepare(url), lambda error: None).resume()
        with pytest.raises(BrokenTransfer, match="refused"):
            storage.get(url)


def test_idle_connections_are_bounded(server: ScriptedServer) -> None:
    """At most as many idle connections are kept as may be open; the oldest are closed."""
    server.on("/", Response(body=BODY))
    with Net(most=2) as storage:
        answers = [storage.get(server.url) for _ in range(3)]
        for answer in answers:
            storage.read(answer)
        eventually(lambda: len(server._open) == 2, "one is closed")
    eventually(lambda: not server._open, "all are closed")


# Redirects.


def test_redirects_keep_their_bytes_and_the_range(server: ScriptedServer, storage: Net) -> None:
    """The address is sent byte for byte, with the same headers."""
    there = "/b/%7e/../x?%2f=é"
    server.on("/a", Response(302, {"Location": server.url + there}, b"moved"))
    server.on("/b", Response(206, body=BODY))
    assert fetch(storage, f"{server.url}/a", Range="bytes=5-") == BODY
    assert server.requests[1].target.encode("latin-1").decode() == there
    assert [one.header("Range") for one in server.requests] == ["bytes=5-"] * 2
    assert server.opened == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_relative_redirects(server: ScriptedServer, storage: Net, status: int) -> None:
    """Relative redirects of every form are resolved."""
    server.on("/a/b", Response(status, {"Location": "../c?d"}))
    server.on("/c?d", Response(body=BODY))
    assert fetch(storage, f"{server.url}/a/b") == BODY


@pytest.mark.parametrize(("length", "ends"), [(MAX_REDIRECTS, True), (MAX_REDIRECTS + 1, False)])
def test_redirects_are_bounded(
    server: ScriptedServer, storage: Net, length: int, ends: bool
) -> None:
    """At most five redirects are followed."""
    for at in range(length):
        server.on(f"/{at}", Response(302, {"Location": f"/{at + 1}"}))
    server.on(f"/{length}", Response(body=BODY))
    if ends:
        assert fetch(storage, f"{server.url}/0") == BODY
    else:
        with pytest.raises(TransferError, match="more than 5 times"):
            fetch(storage, f"{server.url}/0")


@pytest.mark.parametrize("status", [300, 304, 305, 302])
def test_what_leads_nowhere_is_an_answer(server: ScriptedServer, storage: Net, status: int) -> None:
    """A redirect without a Location, or another 3xx, is returned to the caller."""
    server.on("/", Response(status, {} if status == 302 else {"Location": "/x"}))
    got = storage.get(server.url)
    assert got.status == status
    storage.finish(got)


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("https://a/b/c", "d", "https://a/b/d"),
        ("https://a/b/c", "/d", "https://a/d"),
        ("https://a/b/c", "?d", "https://a/b/c?d"),
        ("https://a/b", "//c/d", "https://c/d"),
        ("https://a/b", "https://c/%7e/../d", "https://c/%7e/../d"),
        ("https://a/b", "HTTPS://c/d", "HTTPS://c/d"),
        ("https://a/b", "/c?to=http://d", "https://a/c?to=http://d"),
        ("http://localhost/b", "https://c/d", "https://c/d"),
        ("https://a/b", "http://c/d", None),
        ("https://a/b", "http://localhost/d", None),
        ("HTTPS://a/b", "http://localhost/d", None),
        ("https://a/b", "file:///etc/passwd", None),
    ],
)
def test_where_redirects_lead(url: str, location: str, target: str | None) -> None:
    """Redirects follow RFC 9110, 10.2.2, and never from https to http."""
    if target is None:
        with pytest.raises(TransferError, match="from https"):
            redirected(url, location)
    else:
        assert redirected(url, location) == target


# Stalls and cancelling.


@pytest.mark.parametrize(
    "answer",
    [
        Response(hang=True),
        Response(body=BODY, drip_headers=0.01),
        Response(body=BODY, gate=threading.Event()),
        Response(body=b"xy" * 100, drip=3 * STALL),
    ],
)
def test_silence_and_dripping_are_given_up(
    server: ScriptedServer, impatient: Net, answer: Response
) -> None:
    """A missing or endless head, and a body that stops or is too slow, are given up."""
    server.on("/", answer)
    with pytest.raises(BrokenTransfer, match="stalled") as caught:
        fetch(impatient, server.url)
    assert caught.value.code == "stalled"
    server.on("/", Response(body=b"good"))
    assert fetch(impatient, server.url) == b"good"


def test_a_kept_connection_that_stalls_has_stalled(server: ScriptedServer, impatient: Net) -> None:
    """Silence is a failure that counts; only what the other end has closed is asked anew unsaid."""
    server.on("/", Response(body=BODY), Response(hang=True))
    assert fetch(impatient, server.url) == BODY
    with pytest.raises(BrokenTransfer, match="stalled"):
        fetch(impatient, server.url)
    assert (server.opened, len(server.requests)) == (1, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="a full backlog drops SYNs on Linux")
def test_an_address_that_falls_silent_is_looked_up_anew(
    server: ScriptedServer, impatient: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that answered before is tried first, and forgotten when it answers no more."""
    server.on("/", Response(200, {"Connection": "close"}, BODY))
    url = server.url.replace("127.0.0.1", "localhost")
    alive = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
    with socket.create_server(("127.0.0.2", server.port), backlog=8) as old:
        first = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", old.getsockname())]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: first)
        threading.Thread(target=answer_once, args=(old,), daemon=True).start()
        assert fetch(impatient, url) == b"old"
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: alive)
        old.listen(0)
        with filled(old):
            with pytest.raises(BrokenTransfer, match="stalled"):
                fetch(impatient, url)
            assert fetch(impatient, url) == BODY


def test_a_number_needs_no_look_up_and_no_race(
    server: ScriptedServer, impatient: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that is given by its number has one address, so that no connection waits for it."""
    server.on("/", Response(body=BODY))
    monkeypatch.setattr(opening, "open_socket", None)
    assert fetch(impatient, server.url) == BODY


def answer_once(listener: socket.socket) -> None:
    """Answer one request as a storage does."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nold")


@contextmanager
def filled(listener: socket.socket) -> Iterator[None]:
    """Fill a listener's queue, so that it answers no more."""
    with ExitStack() as stack:
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield


def test_slow_is_not_stalled(server: ScriptedServer) -> None:
    """A byte at a time is accepted as long as bytes keep coming."""
    server.on("/", Response(body=b"x" * 12, drip=STALL / 2))
    # Longer than STALL, so that a busy machine has time to open the connection.
    with Net(stall_timeout=4 * STALL) as patient:
        assert fetch(patient, server.url) == b"x" * 12


def test_a_reader_who_waits_does_not_stall(server: ScriptedServer, impatient: Net) -> None:
    """Time between reads (a rate limit, a slow disk) does not count as a stall."""
    gate = threading.Event()
    server.on("/", Response(body=b"0123456789", gate=gate))
    got = impatient.get(server.url)
    impatient.pause(2 * STALL)
    got.connection.rested(2 * STALL)
    threading.Timer(STALL / 2, gate.set).start()
    assert impatient.read(got) == b"0123456789"


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "answer", [Response(hang=True), Response(body=BODY, gate=threading.Event())]
)
def test_what_is_given_up_is_closed(
    certificate: tuple[ssl.SSLContext, str], answer: Response, tls: bool
) -> None:
    """A cancelled request is closed, in its head or body, and others go on."""
    context, bundle = certificate
    with ScriptedServer(tls=context if tls else None) as server:
        server.on("/bad", answer)
        server.on("/good", Response(body=b"good"))
        with Net(stall_timeout=20, ca_bundle=bundle) as storage:
            storage.loop.later(0.2, lambda: setattr(storage, "given_up", True))
            with pytest.raises(InterruptedError):
                fetch(storage, f"{server.url}/bad")
            storage.given_up = False
            assert (storage.net.idle, storage.net.busy) == (0, 0)
            assert fetch(storage, f"{server.url}/good") == b"good"


# TLS and proxies.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """Return a server's TLS context, and the CA file for its certificate."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return context, str(path)


@pytest.fixture
def secure(certificate: tuple[ssl.SSLContext, str]) -> Iterator[tuple[ScriptedServer, Net]]:
    """Start a storage with TLS, and make connections that trust it."""
    context, bundle = certificate
    with (
        ScriptedServer(tls=context, host="localhost") as server,
        Net(ca_bundle=bundle) as storage,
    ):
        yield server, storage


def test_tls(secure: tuple[ScriptedServer, Net]) -> None:
    """Bodies of all kinds come over TLS, on kept connections."""
    server, storage = secure
    server.on("/", Response(body=BODY))
    server.on("/chunked", Response(body=BODY, chunked=True))
    for path in ("a", "chunked", "a"):
        assert fetch(storage, f"{server.url}/{path}") == BODY
    assert server.opened == 1


def test_a_body_that_only_the_end_ends_needs_its_goodbye(
    secure: tuple[ScriptedServer, Net],
) -> None:
    """Over TLS a body that only the end delimits needs a proper close (close_notify)."""
    server, storage = secure
    server.on("/", Response(body=BODY, no_length=True))  # closed without close_notify
    with pytest.raises(BrokenTransfer):
        fetch(storage, server.url)


def test_what_is_left_in_the_buffer_of_tls(secure: tuple[ScriptedServer, Net]) -> None:
    """Decrypted bytes in the TLS buffer are read without waiting for the socket."""
    server, storage = secure
    server.on("/", Response(body=BODY))
    storage.net.read_at_once = 100
    assert fetch(storage, server.url) == BODY


def test_a_request_that_does_not_fit(secure: tuple[ScriptedServer, Net]) -> None:
    """A request that the server reads slowly is sent completely."""
    server, storage = secure
    server.on("/", Response(body=BODY))
    target = "/?" + "0123456789" * 800_000
    assert fetch(storage, server.url + target) == BODY
    assert server.requests[0].target == target


def test_sessions_are_taken_up_again(secure: tuple[ScriptedServer, Net]) -> None:
    """A second connection to an origin offers the TLS session of the first one."""
    server, storage = secure
    server.on("/", Response(body=BODY))
    first = storage.get(server.url)
    second = storage.get(server.url)
    assert first.connection.sock.session_reused is False
    assert second.connection.sock.session_reused is True
    for answer in (first, second):
        assert storage.read(answer) == BODY


def test_a_session_is_known_before_the_first_response(
    certificate: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TLS 1.2 the second connection takes up the session, though nothing was requested yet."""
    context, bundle = certificate
    monkeypatch.setattr(context, "maximum_version", ssl.TLSVersion.TLSv1_2)
    with ScriptedServer(tls=context, host="localhost") as server, Net(ca_bundle=bundle) as storage:
        server.on("/", Response(body=BODY))
        for _ in range(2):
            storage.run(storage.net.prepare(server.url))
        answer = storage.get(server.url)
        assert answer.connection.sock.session_reused is True
        assert storage.read(answer) == BODY


def test_an_unknown_authority_is_final(secure: tuple[ScriptedServer, Net]) -> None:
    """An unknown CA is not retryable."""
    server, _ = secure
    with (
        Net(stall_timeout=20) as storage,
        pytest.raises(TransferError, match="certificate is not trusted") as caught,
    ):
        storage.get(server.url)
    assert not isinstance(caught.value, BrokenTransfer)
    assert "--ca-bundle" in (caught.value.hint or "")


@pytest.mark.parametrize("first", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", None])
def test_a_handshake_that_fails(
    certificate: tuple[ssl.SSLContext, str], first: bytes | None
) -> None:
    """A failed or silent handshake is retryable, within a time limit."""
    ended = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):  # the client may have left already
            if first is not None:
                connection.sendall(first)
                connection.shutdown(socket.SHUT_WR)
            ended.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with (
            Net(stall_timeout=STALL, ca_bundle=certificate[1]) as storage,
            pytest.raises(BrokenTransfer),
        ):
            storage.get(f"https://localhost:{listener.getsockname()[1]}/")
        ended.set()
        thread.join()


def test_nobody_listens(storage: Net) -> None:
    """A refused connection is retryable."""
    with closed_port() as port, pytest.raises(BrokenTransfer, match="could not be reached"):
        storage.get(f"http://127.0.0.1:{port}/")


def test_https_never_redirects_to_http(
    server: ScriptedServer, secure: tuple[ScriptedServer, Net]
) -> None:
    """A redirect from https to http is refused, even on loopback."""
    safe, storage = secure
    safe.on("/", Response(302, {"Location": f"{server.url}/x"}))
    with pytest.raises(TransferError, match="from https to http"):
        fetch(storage, safe.url)
    assert server.requests == []


class Tunnel:
    """A proxy that answers CONNECT with `answer` and then passes bytes in both directions."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.heads: list[str] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (byte := client.recv(1)):
            head += byte
        self.heads.append(head.decode("latin-1"))
        client.sendall(self._answer)
        if b" 200 " not in self._answer:
            return
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        server = socket.create_connection(("127.0.0.1", port))
        self._sockets.append(server)
        threading.Thread(target=self._pass, args=(server, client), daemon=True).start()
        self._pass(client, server)

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


BASIC = "Basic " + base64.b64encode("us:er@é:pä ss".encode()).decode()
CREDENTIALS = "us%3Aer%40%C3%A9:p%C3%A4%20ss"


def test_a_forwarding_proxy(
    server: ScriptedServer, storage: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain http is sent to the proxy with the whole URL, and with its credentials."""
    with ScriptedServer() as proxy:
        proxy.on("http://", Response(body=BODY))
        monkeypatch.setenv("http_proxy", f"http://{CREDENTIALS}@127.0.0.1:{proxy.port}")
        for _ in range(2):
            assert fetch(storage, f"{server.url}/%7e/../x?y#z") == BODY
        assert proxy.opened == 1
        for received in proxy.requests:
            assert received.target == f"{server.url}/%7e/../x?y"
            assert received.header("Host") == f"127.0.0.1:{server.port}"
            assert received.header("Proxy-Authorization") == BASIC
    assert server.requests == []


def test_a_tunnel(secure: tuple[ScriptedServer, Net], monkeypatch: pytest.MonkeyPatch) -> None:
    """https uses CONNECT; the proxy gets its credentials, and the storage does not."""
    server, storage = secure
    server.on("/", Response(body=BODY))
    with Tunnel() as proxy:
        monkeypatch.setenv("https_proxy", f"http://{CREDENTIALS}@127.0.0.1:{proxy.port}")
        for _ in range(2):
            assert fetch(storage, f"{server.url}/%7e/x") == BODY
        (head,) = proxy.heads
        assert head.startswith(f"CONNECT localhost:{server.port} HTTP/1.")
        assert f"Proxy-Authorization: {BASIC}\r\n" in head
        storage.net.close()
    assert [one.target for one in server.requests] == ["/%7e/x"] * 2
    assert all(one.header("Proxy-Authorization") is None for one in server.requests)


@pytest.mark.parametrize(
    "first",
    [Response(200, {"Connection": "close"}, BODY), Response(raw=b""), Response(raw=SMUGGLED)],
)
def test_a_tunnel_is_dug_again(
    secure: tuple[ScriptedServer, Net], monkeypatch: pytest.MonkeyPatch, first: Response
) -> None:
    """After a connection has ended, the next one uses the proxy too."""
    server, storage = secure
    server.on("/first", first)
    server.on("/second", Response(body=BODY), Response(raw=b""), Response(body=BODY))
    with Tunnel() as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        with suppress(BrokenTransfer):
            fetch(storage, f"{server.url}/first")
        for _ in range(2):
            assert fetch(storage, f"{server.url}/second") == BODY
        assert [head.split()[0] for head in proxy.heads] == ["CONNECT"] * 3
        storage.net.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 3\r\n\r\nbad",
        b"garbage\r\n\r\n",
    ],
)
def test_a_tunnel_that_is_refused(
    secure: tuple[ScriptedServer, Net], monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """The proxy's status is shown, without its password."""
    server, storage = secure
    with Tunnel(answer) as proxy:
        monkeypatch.setenv("https_proxy", f"http://u:pa55@127.0.0.1:{proxy.port}")
        with pytest.raises(TransferError) as caught:
            storage.get(server.url)
    assert "pa55" not in caught.value.message
    assert server.requests == []


def test_no_proxy_is_honoured(
    server: ScriptedServer, storage: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host in NO_PROXY is contacted without the proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.on("/", Response(body=BODY))
    assert fetch(storage, server.url) == BODY


@pytest.mark.parametrize("proxy", ["https://127.0.0.1:9"])
def test_a_proxy_of_another_kind_is_told(
    storage: Net, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """An unsupported kind of proxy is an error that is not retried."""
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(TransferError, match="not supported") as caught:
        storage.get("https://storage.example/x")
    assert caught.value.code == "proxy"


def test_the_log_holds_no_secret(
    server: ScriptedServer, storage: Net, caplog: pytest.LogCaptureFixture
) -> None:
    """Each request is a log line with status and range, and without the signature."""
    caplog.set_level(logging.DEBUG, PACKAGE)
    server.on("/", Response(206, body=BODY))
    fetch(storage, f"{server.url}/x?sig=s3cret", Range="bytes=5-")
    (line,) = caplog.messages
    assert "206 for bytes=5-" in line
    assert "s3cret" not in line
