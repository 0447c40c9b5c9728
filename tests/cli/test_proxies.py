"""The command behind an HTTP or a SOCKS proxy that wants a password."""

from __future__ import annotations

import base64
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit

import pytest
import trustme
from conftest import Cli, Finished
from fake_service import CUBE, REPO, SIGNATURE, TOKEN, FakeService, Servers, target, tree
from servers import Received, ScriptedServer, json_response, ranged

BODY = bytes(range(256)) * 5000
USER, PASSWORD = "ann", "pa5s:w@rd/%"
QUOTED = f"{USER}:{quote(PASSWORD, safe='')}"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
NETRC = "default login bob password netrc-pa55\n"


class Server(socketserver.ThreadingTCPServer):
    """A server on loopback, as a context manager."""

    daemon_threads = True
    block_on_close = False

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Proxy(Server):
    """An HTTP proxy; `requests` has what it received.

    It forwards absolute targets (RFC 9112, 3.2.2), one per connection, and tunnels for CONNECT. A
    407 repeats the password that it received.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Visit)
        self.requests: list[Received] = []

    def url(self, user_info: str = QUOTED) -> str:
        """The proxy's address, with user info."""
        return f"http://{user_info}@127.0.0.1:{self.server_address[1]}"


class _Visit(socketserver.StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        method, where, *_ = self.rfile.readline().decode("latin-1").split(" ")
        pairs = []
        while line := self.rfile.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            pairs.append((name, value.strip()))
        received = Received(method, where, tuple(pairs))
        self.server.requests.append(received)
        got = received.header("Proxy-Authorization")
        if got != f"Basic {BASIC}":
            told = f"HTTP/1.1 407 No {got}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            self.wfile.write(told.encode())
        elif method == "CONNECT":
            host, _, port = where.rpartition(":")
            with socket.create_connection((host, int(port))) as origin:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                _relay(self.connection, origin)
        else:
            self._forward(received)

    def _forward(self, received: Received) -> None:
        parts = urlsplit(received.target)
        path = received.target.partition(parts.netloc)[2]
        kept = [pair for pair in received.headers if not pair[0].lower().startswith("proxy-")]
        lines = [f"{name}: {value}" for name, value in kept if name.lower() != "connection"]
        head = [f"{received.method} {path} HTTP/1.1", *lines, "Connection: close", "", ""]
        with socket.create_connection((parts.hostname or "", parts.port or 80)) as origin:
            origin.sendall("\r\n".join(head).encode("latin-1"))
            _relay(self.connection, origin)


def _relay(client: socket.socket, origin: socket.socket) -> None:
    """Pass bytes in both directions until one side ends."""
    others = {client: origin, origin: client}
    while True:
        for ready in select.select(list(others), [], [])[0]:
            data = ready.recv(1 << 16)
            if not data:
                return
            others[ready].sendall(data)


class SocksProxy(Server):
    """A SOCKS5 proxy with a password (RFC 1928 and 1929); `hosts` has what it was asked for.

    It answers with `reply`, where 0 is success.
    """

    def __init__(self, reply: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _SocksVisit)
        self.reply = reply
        self.hosts: list[str] = []

    def url(self, scheme: str = "socks5h", user_info: str = QUOTED) -> str:
        """The proxy's address, with user info."""
        return f"{scheme}://{user_info}@127.0.0.1:{self.server_address[1]}"


class _SocksVisit(socketserver.StreamRequestHandler):
    server: SocksProxy

    def handle(self) -> None:
        self.rfile.read(self.rfile.read(2)[1])
        self.wfile.write(b"\x05\x02")
        self.rfile.read(1)
        user, password = (self.rfile.read(self.rfile.read(1)[0]).decode() for _ in range(2))
        granted = (user, password) == (USER, PASSWORD)
        self.wfile.write(b"\x01" + (b"\x00" if granted else b"\x01"))
        if not granted:
            return
        kind = self.rfile.read(4)[3]
        if kind == 3:  # a name
            host = self.rfile.read(self.rfile.read(1)[0]).decode()
        else:
            host = socket.inet_ntop(*{1: (socket.AF_INET, self.rfile.read(4))}[kind])
        port = int.from_bytes(self.rfile.read(2))
        self.server.hosts.append(f"{host}:{port}")
        self.wfile.write(bytes([5, self.server.reply, 0, 1, 127, 0, 0, 1, 0, 0]))
        if not self.server.reply:
            with socket.create_connection((host, port)) as origin:
                _relay(self.connection, origin)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Start a proxy."""
    with Proxy() as proxy:
        yield proxy


class Https(Servers):
    """An API at localhost and a storage at 127.0.0.1, both with TLS, and one artifact."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.bundle = str(folder / "authority.pem")
        authority.cert_pem.write_to_path(self.bundle)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        self.api = ScriptedServer(tls=context, host="localhost")
        self.storage = ScriptedServer(tls=context)
        self.storage.on("/file", ranged(BODY))
        url = f"{self.storage.url}/file?X-Signature={SIGNATURE}"
        record = {"local_path": "file", "status": "success", "download_url": url}
        self.api.on(target("7", *CUBE), json_response({"artifacts": [record]}))

    @property
    def arguments(self) -> list[str]:
        """The options that point the command here."""
        return ["--api-url", self.api.url, "--ca-bundle", self.bundle]


@pytest.fixture
def https(tmp_path: Path) -> Iterator[Https]:
    """Start a service with TLS."""
    with Https(tmp_path) as https:
        yield https


def through(cli: Cli, env: Mapping[str, str | None], *arguments: str, code: int = 0) -> Finished:
    """Download through a proxy beside a hostile .netrc; check that no password leaks."""
    netrc = cli.cwd.parent / ".netrc"
    netrc.write_text(NETRC)
    netrc.chmod(0o600)
    env = {"NETRC": str(netrc), **env}
    finished = cli.download("--debug", "--json", "--retries", "1", *arguments, env=env, code=code)
    left = b"".join(path.read_bytes() for path in cli.cwd.rglob("*") if path.is_file())
    shown = finished.err.encode() + finished.stdout + left
    secrets = (PASSWORD, QUOTED.partition(":")[2], BASIC, "netrc-pa55", "bad-pa55")
    assert [secret for secret in secrets if secret.encode() in shown] == []
    return finished


def test_plain_requests_are_forwarded(service: FakeService, cli: Cli, proxy: Proxy) -> None:
    """Each request sends the password to the proxy, and the service does not get it."""
    service.add("one", BODY)
    service.add("two", BODY)
    through(cli, {"HTTP_PROXY": proxy.url()})
    assert tree(cli.out) == {"one": BODY, "two": BODY}
    assert len(proxy.requests) == 3
    for asked in proxy.requests:
        assert asked.target.startswith((service.api.url, service.storage.url))
        assert asked.header("Proxy-Authorization") == f"Basic {BASIC}"
    sent = [received.header("Authorization") for received in service.api.requests]
    assert sent == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_tls_goes_through_tunnels(cli: Cli, proxy: Proxy, https: Https, variable: str) -> None:
    """The proxy gets hosts, ports and its password; the token is only inside the tunnel."""
    through(cli, {variable: proxy.url()}, *https.arguments)
    assert tree(cli.out) == {"file": BODY}
    assert {asked.method for asked in proxy.requests} == {"CONNECT"}
    hosts = {urlsplit(server.url).netloc for server in (https.api, https.storage)}
    assert {asked.target for asked in proxy.requests} == hosts
    assert all(asked.header("Authorization") is None for asked in proxy.requests)
    assert https.api.requests[0].header("Authorization") == f"Bearer {TOKEN}"
    for received in (*https.api.requests, *https.storage.requests):
        assert received.header("Proxy-Authorization") is None
    assert all(received.header("Authorization") is None for received in https.storage.requests)


@pytest.mark.parametrize(
    ("scheme", "api"), [("socks5h", "localhost"), ("socks5", "127.0.0.1"), ("SOCKS5H", "localhost")]
)
def test_a_socks_proxy_carries_all(cli: Cli, https: Https, scheme: str, api: str) -> None:
    """API and storage are reached through it; the `h` lets it look the hosts up."""
    https.storage.on("/file", ranged(BODY, cut_first=50_000), ranged(BODY))
    with SocksProxy() as proxy:
        through(cli, {"ALL_PROXY": proxy.url(scheme)}, *https.arguments)
        assert tree(cli.out) == {"file": BODY}
        asked = f"{api}:{https.api.port}"
        assert proxy.hosts == [asked, *[f"127.0.0.1:{https.storage.port}"] * 2]


@pytest.mark.parametrize(("direct", "code"), [("", 7), ("localhost", 6)])
@pytest.mark.parametrize(("reply", "user_info"), [(5, QUOTED), (0, f"{USER}:bad-pa55")])
def test_a_socks_proxy_that_refuses(
    cli: Cli, https: Https, direct: str, code: int, reply: int, user_info: str
) -> None:
    """That it refused is shown, for the API and for the storage."""
    with SocksProxy(reply) as proxy:
        env = {"ALL_PROXY": proxy.url(user_info=user_info), "NO_PROXY": direct}
        finished = through(cli, env, *https.arguments, code=code)
    assert "the SOCKS proxy refused the connection" in finished.err
    assert tree(cli.out) == {}


def test_a_socks_proxy_that_is_gone(cli: Cli, https: Https) -> None:
    """The storage cannot be reached past it."""
    with SocksProxy() as gone:
        env = {"ALL_PROXY": gone.url(), "NO_PROXY": "localhost"}
    assert "Connection refused" in through(cli, env, *https.arguments, code=6).err
    assert https.storage.requests == []


@pytest.mark.parametrize(
    ("setting", "forwarded"),
    [
        ({"NO_PROXY": "127.0.0.1"}, ["localhost"]),
        ({"no_proxy": "example.com, localhost"}, ["127.0.0.1"]),
        ({"NO_PROXY": "127.0.0.0/8,localhost"}, []),
        ({"NO_PROXY": "*"}, []),
        ({"NO_PROXY": "ocalhost,127.0.0"}, ["127.0.0.1", "localhost"]),
    ],
)
def test_no_proxy(
    service: FakeService, cli: Cli, proxy: Proxy, setting: dict[str, str], forwarded: list[str]
) -> None:
    """Hosts in NO_PROXY are contacted directly, without the proxy's password."""
    service.add("file", BODY)
    through(cli, {"HTTP_PROXY": proxy.url(), **setting})
    assert tree(cli.out) == {"file": BODY}
    assert sorted(str(urlsplit(asked.target).hostname) for asked in proxy.requests) == forwarded
    for received in (*service.api.requests, *service.storage.requests):
        assert received.header("Proxy-Authorization") is None


def test_a_tunnel_that_breaks_is_dug_again(cli: Cli, proxy: Proxy, https: Https) -> None:
    """A transfer that is cut resumes through a new tunnel, never past the proxy."""
    https.storage.on("/file", ranged(BODY, cut_first=50_000), ranged(BODY))
    through(cli, {"HTTPS_PROXY": proxy.url()}, "--stall-timeout", "3", *https.arguments)
    assert tree(cli.out) == {"file": BODY}
    assert [asked.method for asked in proxy.requests] == ["CONNECT"] * 3


@pytest.mark.parametrize("user_info", [f"{USER}:bad-pa55", USER])
@pytest.mark.parametrize(
    ("tls", "direct", "code"),
    [(False, "", 7), (False, "127.0.0.1", 6), (True, "", 7), (True, "localhost", 6)],
)
def test_a_proxy_that_refuses(
    service: FakeService,
    cli: Cli,
    proxy: Proxy,
    https: Https,
    user_info: str,
    tls: bool,
    direct: str,
    code: int,
) -> None:
    """A 407 is shown by its number alone, also if the proxy repeats the password."""
    service.add("file", BODY)
    url = proxy.url(user_info)
    env = {"HTTP_PROXY": url, "HTTPS_PROXY": url, "NO_PROXY": direct}
    arguments = ["--stall-timeout", "3", *(https.arguments if tls else [])]
    finished = through(cli, env, *arguments, code=code)
    assert "407" in finished.err
    if ":" in user_info:
        wrong = base64.b64encode(user_info.encode()).decode()
        assert wrong not in finished.err + finished.out
    assert tree(cli.out) == {}
    assert {asked.method for asked in proxy.requests} == {"CONNECT" if tls else "GET"}


def test_a_proxy_that_is_gone(service: FakeService, cli: Cli, https: Https) -> None:
    """The message names the proxy's host and port, for the API and for the storage."""
    service.add("file", BODY)
    with Proxy() as gone:
        url = gone.url()
    env = {"HTTP_PROXY": url, "HTTPS_PROXY": url}
    assert url.partition("@")[2] in through(cli, env, code=7).err
    assert url.partition("@")[2] in through(cli, env, *https.arguments, code=7).err
    through(cli, env | {"NO_PROXY": "127.0.0.1"}, code=6)
    through(cli, env | {"NO_PROXY": "localhost"}, *https.arguments, code=6)
    assert tree(cli.out) == {}


def test_a_password_beyond_latin_1(service: FakeService, cli: Cli, proxy: Proxy) -> None:
    """A Cyrillic password is sent as UTF-8 (RFC 7617, 2.1), also to the API's proxy."""
    service.add("file", BODY)
    finished = cli.download(env={"HTTP_PROXY": proxy.url("ann:%D0%BF")}, code=7)
    assert "407" in finished.err
    assert f"/repos/{REPO}/" in proxy.requests[0].target
    basic = base64.b64encode("ann:п".encode()).decode()
    assert proxy.requests[0].header("Proxy-Authorization") == f"Basic {basic}"


@pytest.mark.parametrize("tls", [False, True])
def test_sizes_are_asked_through_the_proxy(
    service: FakeService, cli: Cli, proxy: Proxy, https: Https, tls: bool
) -> None:
    """--sizes reaches the storage as a download does, with the same proxy and the same CAs."""
    service.add("file", BODY)
    env = {"HTTP_PROXY": proxy.url(), "HTTPS_PROXY": proxy.url()}
    arguments = https.arguments if tls else []
    listed = cli("list", "7", *CUBE, "--sizes", "--json", *arguments, env=env).json
    assert [one["size"] for one in listed["artifacts"]] == [len(BODY)]
    storage = (https if tls else service).storage
    host = storage.url.partition("://")[2]
    assert any(host in asked.target for asked in proxy.requests)
