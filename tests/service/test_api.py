"""The API client: what it sends, how it reads responses, and that it shows no secret."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import ssl
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from servers import Received, Response, ScriptedServer, json_response

from sourcecraft_artifacts import proxies
from sourcecraft_artifacts.errors import ApiError, ArtifactsError, AuthError, NotFound, UsageError
from sourcecraft_artifacts.logs import PACKAGE
from sourcecraft_artifacts.models import CubeAddress
from sourcecraft_artifacts.service.api import Client, segment

TOKEN = "tok-7f3c9a1d"
SECRET = "sig-5e8b"
CUBE = CubeAddress("o/r", "12", "ci", "build", "linux")
PATH = "/repos/o/r/cicd/artifacts/12/ci/build/linux"
LISTING = {"artifacts": [{"local_path": "a", "download_url": f"https://s/a?x={SECRET}"}]}


@dataclass
class Desk:
    """A server, and clients of it, which do not really sleep."""

    server: ScriptedServer
    log: pytest.LogCaptureFixture
    slept: list[float] = field(default_factory=list)
    token: str | None = TOKEN

    def client(self, api_url: str | None = None, **options: Any) -> Client:
        """Make a client with this desk's token, sleep and log."""
        return Client(
            api_url or self.server.url, self.token, **{"sleep": self.slept.append, **options}
        )

    @property
    def lines(self) -> list[str]:
        """The lines of the log."""
        return self.log.messages

    def listing(self, *answers: Response, **options: Any) -> list[str]:
        """Return the paths that a client lists if the server responds so."""
        if answers:
            self.server.on("/", *answers)
        with self.client(**options) as client:
            return [artifact.local_path for artifact in client.artifacts(CUBE)]

    def fault(self, *answers: Response, **options: Any) -> ArtifactsError:
        """Return the error of a listing; check that neither it nor the log has a secret."""
        with pytest.raises(ArtifactsError) as caught:
            self.listing(*answers, **options)
        said = "\n".join([caught.value.message, caught.value.hint or "", *self.lines])
        assert TOKEN not in said
        assert SECRET not in said
        assert said.replace("\n", "").isprintable()
        return caught.value


@pytest.fixture
def desk(caplog: pytest.LogCaptureFixture) -> Iterator[Desk]:
    """Start a desk whose server has no script yet."""
    caplog.set_level(logging.DEBUG, PACKAGE)
    with ScriptedServer() as server:
        yield Desk(server, caplog)


# Requests.


def test_a_listing_is_one_request_with_the_token(desk: Desk) -> None:
    """The artifacts come with their URLs, from the documented path."""
    desk.server.on(PATH, json_response(LISTING))
    (artifact,) = desk.client().artifacts(CUBE)
    (request,) = desk.server.requests
    assert (request.method, request.target) == ("GET", PATH)
    assert request.header("Authorization") == f"Bearer {TOKEN}"
    assert (request.header("Accept"), request.header("Cookie")) == ("application/json", None)
    assert (artifact.local_path, artifact.address) == ("a", CUBE)
    assert artifact.download_url == f"https://s/a?x={SECRET}"


def test_without_a_token_there_is_no_header(desk: Desk) -> None:
    """Without a token there is no Authorization header."""
    desk.token = None
    assert desk.listing(json_response(LISTING)) == ["a"]
    assert desk.server.requests[0].header("Authorization") is None


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("linux", "linux"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("...", "..."),
        ("a/b", "a%2Fb"),
        ("../x", "..%2Fx"),
        ("a?b#c", "a%3Fb%23c"),
        ("100%", "100%25"),
        ("%2e", "%252e"),
        ("a b+c", "a%20b%2Bc"),
        ("~;=@:&", "~%3B%3D%40%3A%26"),
        ("сборка", "%D1%81%D0%B1%D0%BE%D1%80%D0%BA%D0%B0"),
        ("\ud800", "%ED%A0%80"),
        ("a\r\nHost: x", "a%0D%0AHost%3A%20x"),
    ],
)
@pytest.mark.parametrize("by_proxy", [False, True])
def test_every_name_is_one_segment_sent_byte_for_byte(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str, sent: str, by_proxy: bool
) -> None:
    """A name cannot change the path, and no library rewrites it."""
    if by_proxy:
        monkeypatch.setenv("HTTP_PROXY", desk.server.url)
    desk.server.on("", json_response({}))
    api_url = "http://127.0.0.1:9" if by_proxy else desk.server.url
    desk.client(api_url).artifacts(CubeAddress(f"o/{name}", name, name, name, name))
    target = desk.server.requests[0].target.removeprefix(api_url)
    assert target == f"/repos/o/{sent}/cicd/artifacts/{sent}/{sent}/{sent}/{sent}"


@pytest.mark.parametrize("repo", ["", "o", "o/", "/r"])
def test_an_empty_name_is_a_usage_error(desk: Desk, repo: str) -> None:
    """An empty name, which would lead to another endpoint, is refused."""
    with pytest.raises(UsageError, match="empty"):
        desk.client().run(repo, "1")
    assert desk.server.requests == []


@given(st.text(st.characters(), min_size=1))
def test_a_segment_is_plain_ascii(name: str) -> None:
    """An encoded segment has no character with a meaning in URLs."""
    assert not set(segment(name)) & set("/?#\\ \r\n")
    assert segment(name).isascii()
    assert segment(name) not in (".", "..")


def test_a_path_in_the_api_address_is_kept(desk: Desk) -> None:
    """An API address may have a path."""
    desk.server.on(f"/prefix{PATH}", json_response(LISTING))
    assert desk.client(f"{desk.server.url}/prefix/").artifacts(CUBE)


@pytest.mark.parametrize("url", ["http://api.example", "ftp://h", "https://u:p@h", "nonsense"])
def test_an_unsafe_api_address_is_refused(url: str) -> None:
    """An address with plain http or user info is refused."""
    with pytest.raises(UsageError):
        Client(url, TOKEN)


def test_a_token_that_is_no_header_is_refused() -> None:
    """A token with a line break is refused."""
    with pytest.raises(UsageError) as caught:
        Client("https://h", f"{TOKEN}\r\nX: y")
    assert TOKEN not in caught.value.message


# The token.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(desk: Desk, status: int) -> None:
    """A redirect is an error that names its host without the query; nothing is sent there."""
    with ScriptedServer(host="localhost") as canary:
        location = f"{canary.url}/a?x={SECRET}"
        fault = desk.fault(Response(status, {"Location": location}, b"x" * 100_000))
        assert (canary.opened, type(fault)) == (0, ApiError)
    assert "a redirect to localhost, which is not followed" in fault.message
    assert len(desk.server.requests) == 1


@pytest.mark.parametrize("host", [TOKEN, TOKEN.upper(), f"a.{TOKEN}.b", "%74ok-7f3c9a1d"])
def test_a_redirect_that_repeats_the_token(desk: Desk, host: str) -> None:
    """A token in a redirect is redacted in any case and encoding."""
    fault = desk.fault(Response(302, {"Location": f"http://{host}/"}))
    assert TOKEN not in fault.message.lower()


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PLAIN = json.dumps(LISTING).encode()


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + PLAIN,
        HEAD + b"%x\r\n%b" % (PLAIN.index(SECRET.encode()), PLAIN),
        HEAD + b"%x\r\n%b\r\n" % (PLAIN.index(SECRET.encode()) + 2, PLAIN),
        PLAIN.replace(b"/", b"\\/"),
        PLAIN[PLAIN.index(SECRET.encode()) :] + b"\r\n\r\n",
        b"HTTP/1.1 2" + PLAIN + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + PLAIN + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + PLAIN + b"\r\n\r\n",
    ],
)
def test_broken_framing_shows_no_piece_of_a_listing(desk: Desk, raw: bytes) -> None:
    """Messages have no text of a library, which may quote a response with URLs."""
    desk.fault(Response(raw=raw), retries=0)


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"page_size": "too\x1b large", "run": ""}, ": page_size: too\\x1b large"),
        ({"a": {"b": [1]}}, ': a: {"b": [1]}'),
        (["x", TOKEN], ': ["x", "[redacted]"]'),
        ("words", ": words"),
        ({}, "no good (error_code Odd)"),
        (None, "no good (error_code Odd)"),
    ],
)
def test_details_of_an_error_are_shown(desk: Desk, details: object, said: str) -> None:
    """The details of an error are shown, in any form."""
    body = {"error_code": "Odd", "message": "no good", "details": details}
    assert said in desk.fault(json_response(body, 400)).message


def test_what_is_listed_twice_is_one(desk: Desk) -> None:
    """Artifacts that differ only in the URL count once, with the URL if one has it."""
    one = {"local_path": "a", "status": "success", "dates": {"updated_at": "x"}}
    several = [one, one | {"id": "1", "download_url": "https://s/a"}, one | {"status": "failed"}]
    desk.server.on("/", json_response({"artifacts": several}))
    found = desk.client().artifacts(CUBE)
    assert [(a.status, a.download_url) for a in found] == [
        ("success", "https://s/a"),
        ("failed", None),
    ]


@pytest.mark.parametrize("location", ["//[", "http://", "\x1b", "/x", "http://\x9b/"])
def test_a_malformed_redirect_is_an_api_error(desk: Desk, location: str) -> None:
    """A redirect to a malformed address is an API error."""
    assert desk.fault(Response(302, {"Location": location})).code == "api"


@pytest.mark.parametrize("by_variable", [False, True])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_netrc_is_never_read(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    by_variable: bool,
    token: str | None,
) -> None:
    """Neither `.netrc` in the home folder nor the file in NETRC supplies credentials."""
    netrc = tmp_path / ("hostile" if by_variable else ".netrc")
    netrc.write_text("default login evil password evil\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    if by_variable:
        monkeypatch.setenv("NETRC", str(netrc))
    desk.token = token
    desk.listing(json_response(LISTING))
    expected = f"Bearer {token}" if token else None
    assert desk.server.requests[0].header("Authorization") == expected


def test_a_cookie_is_not_kept(desk: Desk) -> None:
    """Cookies are not sent back."""
    desk.server.on("/", json_response({}, set_cookie="a=b"))
    with desk.client() as client:
        client.artifacts(CUBE)
        client.artifacts(CUBE)
    assert [request.header("Cookie") for request in desk.server.requests] == [None, None]


# Proxies


def test_a_proxy_is_used_and_no_proxy_spares_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy gets the whole address and its own credentials; NO_PROXY avoids it."""
    with ScriptedServer() as proxy:
        proxy.on("http:", json_response(LISTING))
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//u:p@"))
        assert desk.listing() == ["a"]
        (request,) = proxy.requests
        assert request.target == desk.server.url + PATH
        assert request.header("Proxy-Authorization") == "Basic dTpw"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        proxies._proxy.cache_clear()
        assert desk.listing(json_response({})) == []
        assert len(proxy.requests) == 1


def test_a_proxy_that_refuses_a_tunnel_never_sees_the_token(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that refuses a tunnel gets no token, and its password is not shown."""
    desk.server.on("api.example:443", Response(407))
    monkeypatch.setenv("HTTPS_PROXY", desk.server.url.replace("//", f"//u:{SECRET}@"))
    fault = desk.fault(api_url="https://api.example", retries=0)
    assert f"through the proxy 127.0.0.1:{desk.server.port}" in fault.message
    assert "407" in fault.message
    (request,) = desk.server.requests
    assert (request.method, request.header("Authorization")) == ("CONNECT", None)


# TLS


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[ScriptedServer, str]]:
    """Start a server with a certificate for localhost; yield it and its CA file."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    with ScriptedServer(tls=context, host="localhost") as server:
        server.on("/", json_response(LISTING))
        yield server, str(path)


@pytest.mark.parametrize("setting", ["--ca-bundle", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_ca_bundle_is_trusted(
    tls: tuple[ScriptedServer, str], monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """The option and both variables are used, and the connection is kept."""
    server, path = tls
    if setting != "--ca-bundle":
        monkeypatch.setenv(setting, path)
    with Client(server.url, ca_bundle=path if setting == "--ca-bundle" else None) as client:
        assert client.artifacts(CUBE) == client.artifacts(CUBE)
    assert server.opened == 1


def test_a_proxy_over_tls_is_trusted_by_the_same_cas(
    tls: tuple[ScriptedServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CA bundle also applies to a proxy over TLS."""
    proxy, path = tls
    proxy.on("http:", json_response(LISTING))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    with Client("http://127.0.0.1:9", ca_bundle=path) as client:
        assert len(client.artifacts(CUBE)) == 1


@pytest.mark.parametrize(("wrong", "hint"), [("ca", "--ca-bundle"), ("host", "another host")])
def test_a_wrong_certificate_is_final(
    tls: tuple[ScriptedServer, str], wrong: str, hint: str, desk: Desk
) -> None:
    """A bad certificate is not retried, and the hint fits what is wrong with it."""
    server, path = tls
    url = server.url.replace("localhost", "127.0.0.1") if wrong == "host" else server.url
    fault = desk.fault(api_url=url, ca_bundle=path if wrong == "host" else None)
    assert "its certificate is not trusted" in fault.message
    assert hint in (fault.hint or "")
    assert (server.requests, desk.slept) == ([], [])


# Retries.


@pytest.mark.parametrize(
    "broken",
    [
        Response(408),
        Response(429),
        Response(500),
        Response(502, body=b"<html>Bad gateway"),
        Response(503),
        Response(504),
        Response(599),
        Response(raw=b""),
        Response(raw=b"nonsense\r\n\r\n"),
        Response(reset_after=0, body=b"{}"),
        Response(cut_after=1, body=b"{}"),
        Response(cut_after=1, body=b"{}", chunked=True),
        Response(body=b'{"artifacts": [', no_length=True),
        Response(headers={"Content-Encoding": "gzip"}, body=b"no gzip"),
    ],
)
def test_a_passing_fault_is_tried_again(desk: Desk, broken: Response) -> None:
    """Two retryable errors are logged with random delays, and then the listing comes."""
    assert desk.listing(broken, broken, json_response(LISTING)) == ["a"]
    assert len(desk.server.requests) == 3
    assert 0 <= desk.slept[0] <= 0.5
    assert 0 <= desk.slept[1] <= 1
    assert sum(f"GET {PATH}: retrying in " in line for line in desk.lines) == 2
    assert not [record for record in desk.log.records if record.levelno > logging.DEBUG]


@pytest.mark.parametrize("code", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_an_informational_response_is_not_the_answer(desk: Desk, code: bytes) -> None:
    """Any number of informational responses come before the response (RFC 9110, 15.2)."""
    body = json.dumps(LISTING).encode()
    hints = b"HTTP/1.1 " + code + b"\r\nLink: </x>\r\nContent-Length: 9\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert desk.listing(Response(raw=2 * hints + final + body), retries=0) == ["a"]


def test_another_protocol_is_an_api_error(desk: Desk) -> None:
    """A response 101 is no answer to a request that asks for no other protocol."""
    fault = desk.fault(Response(raw=b"HTTP/1.1 101 Switching Protocols\r\n\r\n"))
    assert "answered 101 Switching Protocols" in fault.message


def test_after_two_seconds_of_silence_retries_are_told(desk: Desk) -> None:
    """Retries are shown after two seconds, earlier ones only with `--debug`."""
    busy = Response(503, {"Retry-After": "3"})
    assert desk.listing(busy, busy, json_response(LISTING)) == ["a"]
    told = [one.getMessage() for one in desk.log.records if one.levelno == logging.INFO]
    assert len(told) == 2
    assert all("answered 503" in line for line in told)
    assert all(line.endswith("; trying again in 3 s") for line in told)


@pytest.mark.parametrize(
    "final",
    [
        Response(400),
        Response(401),
        Response(403),
        Response(404),
        Response(410),
        Response(501),
        Response(505),
        Response(304),
        Response(204),
        Response(body=b'{"artifacts": ['),
    ],
)
def test_a_lasting_fault_is_not_tried_again(desk: Desk, final: Response) -> None:
    """An error that is not retryable ends the request at once."""
    desk.fault(final)
    assert (len(desk.server.requests), desk.slept) == (1, [])


@pytest.mark.parametrize(("retries", "tries"), [(0, 1), (1, 2), (5, 6)])
def test_retries_count_after_the_first_try(desk: Desk, retries: int, tries: int) -> None:
    """The message has the last response and the number of tries."""
    fault = desk.fault(json_response({"message": "busy"}, 503), retries=retries)
    assert len(desk.server.requests) == tries
    assert "503 Service Unavailable: busy" in fault.message
    assert (f"after {tries} tries" in fault.message) == (tries > 1)


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [("3", 3, 3), ("3600", 60, 60), (formatdate(4e9, usegmt=True), 60, 60), ("x", 0, 0.5)],
)
def test_retry_after_is_honoured(desk: Desk, retry_after: str, least: float, most: float) -> None:
    """Retry-After is honoured in seconds and as a date, up to a minute."""
    busy = json_response({}, 429, retry_after=retry_after)
    assert desk.listing(busy, json_response(LISTING)) == ["a"]
    assert least <= desk.slept[0] <= most


@pytest.mark.parametrize(
    ("response", "hint"),
    [
        (Response(503), "again later"),
        (json_response({"error_code": "BUSY", "message": "busy"}), "again later"),
        (Response(200, body=b"<html>please log in</html>"), "lead to the API"),
    ],
    ids=["busy", "an error with status 200", "not the API"],
)
def test_a_response_without_a_listing_comes_with_advice(
    desk: Desk, response: Response, hint: str
) -> None:
    """The hint says what may help."""
    assert hint in (desk.fault(response, retries=0).hint or "")


def test_a_refused_connection_names_the_host(desk: Desk) -> None:
    """After the last try the message names the host and the reason, and a hint the proxy."""
    with ScriptedServer() as gone:
        url = gone.url
    fault = desk.fault(api_url=url, retries=2)
    assert f"cannot reach {url.removeprefix('http://')}: Connection refused" in fault.message
    assert fault.hint == "check the network, the proxy variables and --api-url"
    assert len(desk.slept) == 2


def test_an_unknown_host_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name that cannot be resolved is retried too."""

    def lookup(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", lookup)
    fault = desk.fault(api_url="https://api.example", retries=1)
    assert "cannot reach api.example: its name cannot be resolved" in fault.message
    assert len(desk.slept) == 1


def test_an_interrupted_wait_ends_at_once(desk: Desk) -> None:
    """An exception of a signal handler ends the wait, and no request follows."""

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    desk.server.on("/", Response(503))
    with pytest.raises(KeyboardInterrupt):
        desk.client(sleep=interrupted).artifacts(CUBE)
    assert len(desk.server.requests) == 1


# Time and size.


def test_silence_is_tried_again(desk: Desk) -> None:
    """A response that takes longer than `timeout` is retried."""
    assert desk.listing(Response(hang=True), json_response(LISTING), timeout=0.2) == ["a"]
    assert "it sent nothing for 0.2 s" in "".join(desk.lines)


@pytest.mark.parametrize(
    "dripping", [Response(drip_headers=0.01), Response(body=b" " * 10**6, drip=0.01)]
)
def test_dripping_ends_by_the_deadline(desk: Desk, dripping: Response) -> None:
    """A response that never stops dripping ends at the deadline, and is not retried."""
    fault = desk.fault(dripping, deadline=0.1)
    assert "did not finish its response within 0.1 s" in fault.message
    assert desk.slept == []


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_an_over_long_body_is_refused(desk: Desk, chunked: bool, packed: bool) -> None:
    """The limit applies to decoded bytes."""
    body = b" " * 100_001
    headers = {"Content-Encoding": "gzip"} if packed else {}
    answer = Response(200, headers, gzip.compress(body) if packed else body, chunked=chunked)
    fault = desk.fault(answer, max_body=100_000)
    assert "longer than 100,000 bytes" in fault.message
    assert desk.slept == []


@pytest.mark.parametrize("status", [200, 404])
def test_a_bomb_ends_within_bounded_memory(desk: Desk, status: int) -> None:
    """A body of 64 KiB that expands to 64 MiB is never all in memory."""
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    tracemalloc.start()
    try:
        desk.fault(Response(status, {"Content-Encoding": "gzip"}, bomb), max_body=10**6)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_gzip_is_read(desk: Desk) -> None:
    """A compressed listing is read."""
    packed = gzip.compress(json.dumps(LISTING).encode())
    assert desk.listing(Response(200, {"Content-Encoding": "gzip"}, packed)) == ["a"]


# Responses.


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "200 with an empty body"),
        (b"<html><style>p{}</style><p>Sign&nbsp;in\x1b", r"text/html instead of JSON: 'Sign&nbsp;"),
        (b"<html>" + TOKEN.encode(), "instead of JSON: '[redacted]'"),
        (b"go to https://s/a?x=" + SECRET.encode(), "text/html instead of JSON"),
        (b'{"download_url": "https:\\/\\/s\\/a?x=' + SECRET.encode(), "200 with malformed JSON"),
        (b'\xef\xbb\xbf{"download_url": "https:\\/\\/s\\/a?x=' + SECRET.encode(), "malformed JSON"),
        (b'<p>{"a":"https:\\/\\/s\\/a?x=' + SECRET.encode(), "text/html instead of JSON"),
        (b"<p>https:\\u002f\\u002fs/a\\u003fx=" + SECRET.encode(), "text/html instead of JSON"),
        (b"<p>HTTPS://s/a?x=" + SECRET.encode(), "'HTTPS://s/a?[redacted]'"),
        (b"<p>see /a?x=" + SECRET.encode(), "text/html instead of JSON"),
        (b"[]", "200 with JSON that is not an object"),
        (b"null", "200 with JSON that is not an object"),
        (b"[" * 100_000, "200 with JSON nested too deeply"),
        (b'{"a":' * 100_000, "200 with JSON nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "200 with malformed JSON"),
        (b"\xff\xfe\xfa", "text/html instead of JSON"),
        (b'{"artifacts": 7}', "artifacts is not a list"),
        (b'{"artifacts": [null]}', "artifacts is not a list"),
    ],
)
def test_what_is_no_listing_is_described(desk: Desk, body: bytes, said: str) -> None:
    """The message says what came instead of a listing, and shows no secret."""
    fault = desk.fault(Response(200, {"Content-Type": "text/html; charset=x"}, body))
    assert (said in fault.message, fault.code) == (True, "api")
    assert SECRET not in fault.message


@pytest.mark.parametrize("value", [{}, {"artifacts": None}, {"artifacts": []}, {"new": 1}])
def test_absent_null_and_empty_are_one(desk: Desk, value: object) -> None:
    """An absent, null or empty list of artifacts is empty."""
    assert desk.listing(json_response(value)) == []


@pytest.mark.parametrize(
    ("length", "said"), [(60_000, ": xxx"), (70_000, " with more than 65,536 bytes of JSON")]
)
def test_a_long_error_is_not_called_malformed(desk: Desk, length: int, said: str) -> None:
    """An error's message is shown if its body is read whole; else its length is told."""
    body = json.dumps({"error_code": "X", "message": "x" * length}).encode()
    fault = desk.fault(Response(400, {"Content-Type": "application/json"}, body))
    assert f"answered 400 Bad Request{said}" in fault.message


def test_an_error_shows_all_that_the_service_says(desk: Desk) -> None:
    """The message has the service's message, code and request id, safe to show."""
    error = {"message": f"bad \x1b[31mslug {TOKEN}", "error_code": "ValidationError"}
    fault = desk.fault(json_response({**error, "request_id": "r-1"}, 400))
    said = r"400 Bad Request: bad \x1b[31mslug [redacted] (error_code ValidationError, request_id"
    assert f"{said} r-1)" in fault.message
    assert "workflow ci, task build, cube linux in run 12 of o/r" in fault.message


@pytest.mark.parametrize("body", [b"", b"<p>no</p>", b"{}", b"[]", b'{"message": []}', b"{"])
def test_the_request_id_may_be_in_a_header(desk: Desk, body: bytes) -> None:
    """The request id may come from a header."""
    fault = desk.fault(Response(400, {"X-Request-Id": "r-2"}, body))
    assert fault.message.endswith("(request_id r-2)")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("token", "hint"),
    [
        (None, "log in with `sourcecraft-artifacts auth login`"),
        (TOKEN, "expired, or lack permission for this repository: change SOURCECRAFT_TOKEN if"),
    ],
)
def test_no_permission_says_how_to_log_in(
    desk: Desk, status: int, token: str | None, hint: str
) -> None:
    """The message names the repository; the hint depends on whether there was a token."""
    desk.token = token
    fault = desk.fault(json_response({"message": "no"}, status))
    assert isinstance(fault, AuthError)
    assert "o/r" in fault.message
    assert hint in (fault.hint or "")


@pytest.mark.parametrize(("token", "hint"), [(None, "auth login"), (TOKEN, "check the names")])
def test_not_found_names_what_was_asked_for(desk: Desk, token: str | None, hint: str) -> None:
    """The message says what was not found, also if the body is cut."""
    desk.token = token
    fault = desk.fault(Response(404, body=b"x" * 100, cut_after=10))
    assert isinstance(fault, NotFound)
    assert "workflow ci, task build, cube linux in run 12 of o/r" in fault.message
    assert hint in (fault.hint or "")


def test_the_log_has_a_line_for_each_exchange(desk: Desk) -> None:
    """A log line has method, path, status, duration and request id, and no secret."""
    desk.listing(json_response(LISTING, x_request_id=f"r-3\x9b{TOKEN}"))
    (line,) = desk.lines
    assert line.startswith(f"GET {PATH}: 200 in ")
    assert line.endswith(r" s (request_id r-3Â\x9b[redacted])")


# Runs.


def test_a_run_is_read(desk: Desk) -> None:
    """A run is requested by its path, and has its workflows."""
    desk.server.on("/repos/o/r/cicd/runs/12", json_response({"slug": "12", "workflows": [{}]}))
    run = desk.client().run("o/r", "12")
    assert (run.slug, len(run.workflows)) == ("12", 1)
    with pytest.raises(NotFound, match="run 13 of o/r"):
        desk.client().run("o/r", "13")


def page(*slugs: int, token: object = None) -> Response:
    """Return a page of runs."""
    return json_response({"runs": [{"slug": str(n)} for n in slugs], "next_page_token": token})


def test_runs_are_paged_lazily(desk: Desk) -> None:
    """A page is requested when it is needed; a run that is on two pages comes once."""
    desk.server.on("/", page(3, 2, token="a&b я"), page(token="c"), page(2, 1))
    runs = desk.client().runs("o/r", page_size=2)
    assert [next(runs).slug, next(runs).slug] == ["3", "2"]
    assert len(desk.server.requests) == 1
    assert [run.slug for run in runs] == ["1"]
    base = "/repos/o/r/cicd/runs?page_size=2"
    tokens = ["", "&page_token=a%26b+%D1%8F", "&page_token=c"]
    assert [request.target for request in desk.server.requests] == [base + t for t in tokens]
    assert not any("page_token" in line for line in desk.lines)


@pytest.mark.parametrize("token", [None, "", 0, []])
def test_no_token_is_the_last_page(desk: Desk, token: object) -> None:
    """An absent, null or empty page token ends the list."""
    desk.server.on("/", page(1, token=token))
    assert len(list(desk.client().runs("o/r"))) == 1
    assert len(desk.server.requests) == 1


def test_a_token_that_repeats_ends_the_pages(desk: Desk) -> None:
    """A page token that repeats ends the list."""
    desk.server.on("/", page(1, token="a"))
    assert len(list(desk.client().runs("o/r"))) == 1
    assert len(desk.server.requests) == 2


def test_empty_pages_may_come_before_the_runs(desk: Desk) -> None:
    """A page may be empty, and so may many in a row."""
    empty = [page(token=f"t{number}") for number in range(60)]
    desk.server.on("/", *empty, page(1))
    assert [run.slug for run in desk.client().runs("o/r")] == ["1"]


def test_pages_come_to_an_end() -> None:
    """Pages with new runs end at the limit."""
    count = iter(range(1000))

    def page(received: Received) -> Response:
        at = next(count)
        return json_response({"runs": [{"slug": str(at)}], "next_page_token": f"t{at}"})

    with ScriptedServer() as server, Client(server.url) as client:
        server.on("/", page)
        with pytest.raises(ApiError, match="more than 5 pages"):
            list(client.runs("o/r", most_pages=5))
        assert len(server.requests) == 5


@pytest.mark.skipif(sys.platform != "linux", reason="a full backlog drops SYNs on Linux")
def test_a_dead_address_does_not_hold_up_a_live_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API's addresses are raced, within one timeout for connecting."""
    with socket.create_server(("127.0.0.2", desk.server.port), backlog=0) as dead:
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(dead.getsockname())
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, desk.server.port))
            for host in ("127.0.0.2", "127.0.0.2", "127.0.0.1")
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        began = time.monotonic()
        try:
            assert desk.listing(json_response(LISTING), timeout=10, retries=0) == ["a"]
        finally:
            for filler in fillers:
                filler.close()
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("answer", "ask", "said"),
    [
        (
            {"artifacts": {}},
            lambda client: client.artifacts(CUBE),
            "workflow ci, task build, cube linux in run 12 of o/r: the API's response is"
            " malformed: artifacts is not a list of objects",
        ),
        (
            {"artifacts": [{"local_path": ["a"]}]},
            lambda client: client.artifacts(CUBE),
            "workflow ci, task build, cube linux in run 12 of o/r: the API's response is"
            " malformed: local_path is not a string",
        ),
        (
            {"workflows": [], "dates": "now"},
            lambda client: client.run("o/r", "12"),
            "run 12 of o/r: the API's response is malformed: dates is not an object",
        ),
        (
            {"runs": [{"slug": []}]},
            lambda client: list(client.runs("o/r")),
            "the runs of o/r: the API's response is malformed: slug is not a string",
        ),
        (
            {"runs": [{"slug": "1"}], "next_page_token": [1]},
            lambda client: list(client.runs("o/r")),
            "the runs of o/r: the API's response is malformed: next_page_token is not a string",
        ),
    ],
)
def test_a_response_of_the_wrong_shape_is_named(
    desk: Desk, answer: dict[str, Any], ask: Callable[[Client], object], said: str
) -> None:
    """The error says what was asked for, and that something else may have answered."""
    desk.server.on("/", json_response(answer))
    with desk.client() as client, pytest.raises(ApiError) as caught:
        ask(client)
    assert caught.value.message == said
    assert caught.value.hint is not None
    assert "--api-url" in caught.value.hint
